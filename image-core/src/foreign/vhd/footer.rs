//! The footer: what a VHD is, at its end, and of dynamic ones at the start too.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::super::field::{be16, be32, be64, field, structure};
use super::super::rule::Corrupt;
use crate::block::BlockRead;
use crate::error::Result;

/// The bytes of a footer.
pub(super) const LEN: u64 = 512;
pub(super) const COOKIE: &[u8; 8] = b"conectix";
pub(super) const FIXED: u32 = 2;
pub(super) const DYNAMIC: u32 = 3;
pub(super) const DIFFERENCING: u32 = 4;
const SECTOR: u64 = 512;

/// The largest geometry; larger disks have this one, and no program goes by it.
const LARGEST_GEOMETRY: Geometry = Geometry { cylinders: 65535, heads: 16, sectors: 255 };

/// Whose disks are as large as the geometry says: Virtual PC's, Virtual Server's, and those QEMU makes for them.
const BY_GEOMETRY: [&[u8; 4]; 3] = [b"vpc ", b"vs  ", b"qemu"];

/// What the virtual size is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeFrom {
    /// The size in the footer.
    Footer,
    /// Cylinders, heads and sectors in the footer.
    Geometry,
}

/// Cylinders, heads, sectors per track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) cylinders: u16,
    pub(super) heads: u8,
    pub(super) sectors: u8,
}

impl Geometry {
    pub(super) fn size(self) -> u64 {
        let tracks = u64::from(self.cylinders).saturating_mul(self.heads.into());
        tracks.saturating_mul(self.sectors.into()).saturating_mul(SECTOR)
    }

    /// That of a disk of `size` bytes; it is never larger (specification, "CHS Calculation").
    pub(super) fn of_size(size: u64) -> Self {
        let total = (size >> 9).min(65535 * 16 * 255);
        let cylinder_heads = |sectors: u64| total.checked_div(sectors).unwrap_or_default();
        let (sectors, heads, tracks) = if total >= 65535 * 16 * 63 {
            (255, 16, cylinder_heads(255))
        } else {
            let tracks = cylinder_heads(17);
            let heads = tracks.saturating_add(1023).max(4 * 1024) >> 10;
            if tracks < heads << 10 && heads <= 16 {
                (17, heads, tracks)
            } else if cylinder_heads(31) < 16 << 10 {
                (31, 16, cylinder_heads(31))
            } else {
                (63, 16, cylinder_heads(63))
            }
        };
        let cylinders = tracks.checked_div(heads).unwrap_or_default();
        Self { cylinders: cylinders as u16, heads: heads as u8, sectors: sectors as u8 }
    }
}

/// What a footer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footer {
    /// Who made it.
    pub(crate) creator: [u8; 4],
    /// The size it says, in bytes.
    pub(crate) current_size: u64,
    /// What tells it from others, as it is stored.
    pub(crate) unique_id: [u8; 16],
    pub(super) geometry: Geometry,
    pub(super) data_offset: u64,
    pub(super) disk_type: u32,
}

impl Footer {
    /// The footer of `file`: the last sector, or where that is damaged the copy at the start of a dynamic image.
    pub(super) fn find(file: &dyn BlockRead) -> Result<Self> {
        let end = file.size().saturating_sub(LEN);
        // Programs before 2004 wrote a byte less.
        let old = file.size().saturating_sub(LEN - 1);
        let mut damage = None;
        for (offset, len) in [(end, LEN), (old, LEN - 1), (0, LEN)] {
            let bytes = structure(file, "footer", offset, len.min(file.size()))?;
            if !bytes.starts_with(COOKIE) {
                continue;
            }
            match verify(&bytes, 64, "footer").map(|()| Self::from_bytes(&bytes)) {
                // What begins a fixed image is the guest's.
                Ok(footer) if offset == 0 && end > 0 && footer.disk_type == FIXED => continue,
                Ok(footer) => return Ok(footer),
                Err(error) => damage = damage.or(Some(error)),
            }
        }
        Err(damage.unwrap_or(Corrupt::Missing { what: "footer" }).into())
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let [heads, sectors] = field(bytes, 58);
        Self {
            creator: field(bytes, 28),
            current_size: be64(bytes, 48),
            unique_id: field(bytes, 68),
            geometry: Geometry { cylinders: be16(bytes, 56), heads, sectors },
            data_offset: be64(bytes, 16),
            disk_type: be32(bytes, 60),
        }
    }

    /// What whoever made it takes the size from.
    pub(super) fn size_from(&self) -> SizeFrom {
        let is_whole = self.geometry.size() != LARGEST_GEOMETRY.size() && self.geometry.size() != 0;
        match BY_GEOMETRY.contains(&&self.creator) && is_whole {
            true => SizeFrom::Geometry,
            false => SizeFrom::Footer,
        }
    }

    /// The size from there, in bytes.
    pub(crate) fn size(&self, from: SizeFrom) -> u64 {
        match from {
            SizeFrom::Footer => self.current_size,
            SizeFrom::Geometry => self.geometry.size(),
        }
    }
}

/// The ones' complement of the sum of all bytes but the checksum's own four at `at`.
pub(super) fn checksum(bytes: &[u8], at: usize) -> u32 {
    let own = at..at.saturating_add(4);
    let others = bytes.iter().enumerate().filter(|(index, _)| !own.contains(index));
    !others.fold(0_u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)))
}

/// Compares it with what is stored.
pub(super) fn verify(bytes: &[u8], at: usize, what: &'static str) -> Result<(), Corrupt> {
    let (told, computed) = (be32(bytes, at), checksum(bytes, at));
    if told == computed { Ok(()) } else { Err(Corrupt::Checksum { what, told, computed }) }
}
