//! Bytes that say how an image is to be changed.
//!
//! ```text
//! cargo +nightly fuzz run qcow2_write fuzz/corpus tests/fixtures/qcow2
//! ```

#![no_main]

#[path = "../bodies/qcow2_write.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    body::qcow2_write(bytes);
});
