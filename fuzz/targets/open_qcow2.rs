//! Bytes of any kind, read as a qcow2 image.
//!
//! ```text
//! cargo +nightly fuzz run open_qcow2 fuzz/corpus tests/fixtures/qcow2
//! ```

#![no_main]

#[path = "../bodies/open_qcow2.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    body::open_qcow2(bytes);
});
