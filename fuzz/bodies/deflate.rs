//! Whatever goes into the deflate encoder comes out of another's decoder again, and limits are exact.

use image_core::deflate::{Encoder, Level};

/// Compresses `bytes`, the first of which says how much effort that is worth.
pub(crate) fn deflate(bytes: &[u8]) {
    let Some((&first, input)) = bytes.split_first() else { return };
    let level = Level::new(first % 9 + 1).expect("1 to 9 are levels");
    let mut encoder = Encoder::new(level);
    let mut stream = Vec::new();
    assert!(encoder.encode(input, &mut stream, usize::MAX));
    let mut out = vec![0; input.len()];
    let length =
        libdeflater::Decompressor::new().deflate_decompress(&stream, &mut out).expect("a valid stream");
    assert!(length == input.len() && out == input);

    let size = stream.len();
    let mut again = Vec::new();
    assert!(encoder.encode(input, &mut again, size) && again == stream);
    again.clear();
    assert!(!encoder.encode(input, &mut again, size - 1) && again.is_empty());
}
