//! Bytes of any kind, compressed.
//!
//! ```text
//! cargo +nightly fuzz run deflate fuzz/corpus
//! ```

#![no_main]

#[path = "../bodies/deflate.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    body::deflate(bytes);
});
