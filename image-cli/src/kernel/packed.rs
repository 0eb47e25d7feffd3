//! How files of a kernel are packed: by their first bytes.
//!
//! ```text
//! 28 b5 2f fd   zstd        1f 8b   gzip        fd 7zXZ   xz        02 21 4c 18   lz4, legacy
//! ```
//!
//! What the kernel itself unpacks (lib/decompress.c), but the packings that nobody uses any more.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod lz4;

use std::io::{BufRead, Read};

use lzma_rust2::XzReader;

/// More than any initrd unpacks to.
const UNPACKED_LIMIT: u64 = 4 << 30;
/// Memory for what is packed with xz: dictionaries of its level 9 have 64 MiB.
const XZ_LIMIT_KIB: u32 = 256 << 10;

/// `from`, which begins with `head`, unpacked; `None` if it is not packed in a way that is known here.
///
/// # Errors
/// If there is no memory for it.
pub(crate) fn unpacked<'a>(
    head: &[u8],
    from: impl BufRead + Send + 'a,
) -> crate::Result<Option<Box<dyn Read + Send + 'a>>> {
    Ok(Some(match head {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(from)?.take(UNPACKED_LIMIT)),
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(from).take(UNPACKED_LIMIT)),
        [0xfd, b'7', b'z', b'X', ..] => {
            Box::new(XzReader::new_mem_limit(from, true, XZ_LIMIT_KIB).take(UNPACKED_LIMIT))
        }
        [0x02, 0x21, 0x4c, 0x18, ..] => Box::new(lz4::Reader::new(from).take(UNPACKED_LIMIT)),
        _ => return Ok(None),
    }))
}
