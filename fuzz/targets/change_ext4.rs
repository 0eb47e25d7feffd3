//! Bytes of any kind, changed as an ext4.
//!
//! ```text
//! cargo +nightly fuzz run change_ext4 fuzz/corpus
//! ```

#![no_main]

#[path = "../bodies/change_ext4.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    body::change_ext4(bytes);
});
