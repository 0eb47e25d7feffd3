//! Bytes of any kind, changed as a FAT.
//!
//! ```text
//! cargo +nightly fuzz run change_fat fuzz/corpus
//! ```

#![no_main]

#[path = "../bodies/change_fat.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    body::change_fat(bytes);
});
