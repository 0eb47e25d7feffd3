//! Bytes of any kind, read as an ext4.
//!
//! ```text
//! cargo +nightly fuzz run open_ext4 fuzz/corpus
//! ```

#![no_main]

#[path = "../bodies/open_ext4.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    body::open_ext4(bytes);
});
