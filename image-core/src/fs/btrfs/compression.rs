//! Compressed extents: at most 128 KiB each, before and after.
//!
//! ```text
//! zlib   a stream
//! LZO    length of all, 4 bytes │ length, 4 bytes │ stream of one sector │ length │ stream …    a length lies in one sector
//! zstd   a frame
//! ```
//! Btrfs documentation, "Compression"; LZO as the kernel's lzo.c describes it at its beginning.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::io::Read;

use super::field::u32_at;
use super::lzo;

/// The longest extent that may be compressed, and the longest that comes of it.
pub(super) const LIMIT: u64 = 128 << 10;
/// zstd's window, as a power of two.
const WINDOW: u32 = 17;

/// How an extent is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Compression {
    Zlib,
    Lzo,
    Zstd,
}

impl Compression {
    /// By its number; the outer `None` for one that is not known.
    pub(super) fn from_number(number: u8) -> Option<Option<Self>> {
        Some(match number {
            0 => None,
            1 => Some(Self::Zlib),
            2 => Some(Self::Lzo),
            3 => Some(Self::Zstd),
            _ => return None,
        })
    }

    /// The `len` bytes that `packed` unpacks to, with zeroes behind what there is; `None` if it is broken. LZO's streams are
    /// of `sector` bytes each.
    pub(super) fn unpack(self, packed: &[u8], len: u64, sector: u32) -> Option<Vec<u8>> {
        if len > LIMIT {
            return None;
        }
        let mut out = match self {
            Self::Zlib => all_of(flate2::bufread::ZlibDecoder::new(packed), len),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).ok()?.single_frame();
                decoder.window_log_max(WINDOW).ok()?;
                all_of(decoder, len)
            }
            Self::Lzo => lzo_sectors(packed, len as usize, sector as usize),
        }?;
        out.resize(len as usize, 0);
        Some(out)
    }
}

/// The first `len` bytes that `from` gives.
fn all_of(from: impl Read, len: u64) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(len as usize);
    from.take(len).read_to_end(&mut out).ok()?;
    Some(out)
}

fn lzo_sectors(packed: &[u8], len: usize, sector: usize) -> Option<Vec<u8>> {
    let all = packed.get(..u32_at(packed, 0) as usize)?;
    let mut out = Vec::with_capacity(len);
    let mut at: usize = 4;
    while at < all.len() && out.len() < len {
        let left = sector.checked_sub(at.checked_rem(sector)?)?;
        if left < 4 {
            at = at.checked_add(left)?;
        }
        let start = at.checked_add(4)?;
        let end = start.checked_add(u32_at(all, at) as usize)?;
        out.extend(lzo::unpack(all.get(start..end)?, sector)?);
        at = end;
    }
    out.truncate(len);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacked_bytes_are_as_many_as_were_asked_for() {
        let packed = zstd::bulk::compress(&[b'a'; 5000], 3).unwrap();
        let padded = [&packed[..], &[0; 700]].concat();
        assert_eq!(Compression::Zstd.unpack(&padded, 5000, 4096).unwrap(), [b'a'; 5000]);
        assert_eq!(Compression::Zstd.unpack(&padded, 10, 4096).unwrap(), [b'a'; 10]);
        assert_eq!(Compression::Zstd.unpack(&padded, 5001, 4096).unwrap()[4999..], [b'a', 0]);
        assert_eq!(Compression::Zstd.unpack(&padded[..10], 5000, 4096), None);
        assert_eq!(Compression::Zstd.unpack(&padded, LIMIT + 1, 4096), None);
        let zlib = [0x78, 0x9c, 0x4b, 0x4c, 0x4a, 0x06, 0x00, 0x02, 0x4d, 0x01, 0x27, 0, 0, 0];
        assert_eq!(Compression::Zlib.unpack(&zlib, 3, 4096).unwrap(), b"abc");
        assert_eq!(Compression::Zlib.unpack(&zlib[1..], 3, 4096), None);
    }

    #[test]
    fn a_length_is_never_split_between_sectors() {
        // A stream that ends two bytes before its sector does.
        let mut packed = vec![0; 32];
        packed[4] = 22;
        packed[8] = 17 + 18;
        packed[9..27].fill(b'a');
        packed[27..30].copy_from_slice(&[0x11, 0, 0]);
        packed.extend([7, 0, 0, 0, 17 + 3, b'b', b'c', b'd', 0x11, 0, 0]);
        packed[0] = packed.len() as u8;
        let out = Compression::Lzo.unpack(&packed, 21, 32).unwrap();
        assert_eq!(out, b"aaaaaaaaaaaaaaaaaabcd");
        packed[0] += 1;
        assert_eq!(Compression::Lzo.unpack(&packed, 21, 32), None);
    }
}
