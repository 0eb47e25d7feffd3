//! Bytes of any kind, read as whatever filesystem they look like.
//!
//! ```text
//! cargo +nightly fuzz run open_filesystem fuzz/corpus
//! ```

#![no_main]

#[path = "../bodies/open_filesystem.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    body::open_filesystem(bytes);
});
