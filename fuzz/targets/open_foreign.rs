//! Bytes of any kind, read as an image of another program: the first one says which.
//!
//! ```text
//! cargo +nightly fuzz run open_foreign fuzz/corpus
//! ```

#![no_main]

#[path = "../bodies/open_foreign.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    body::open_foreign(bytes);
});
