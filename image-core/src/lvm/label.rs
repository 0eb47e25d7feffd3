//! The label of a physical volume: who it is, and where on it metadata is.
//!
//! ```text
//! in one of the first four sectors of 512 bytes
//! label   0 LABELONE │ 8 sector │ 16 CRC of what is behind │ 20 offset of the header │ 24 "LVM2 001"
//! header  0 identifier, 32 letters │ 32 size │ 40 data areas …, 0 │ metadata areas …, 0        an area: offset, size
//! ```
//! LVM2, lib/label/label.h and lib/format_text/layout.h.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crc::{Algorithm, Crc};

use super::rule::LvmRule;
use crate::block::{BlockRead, ByteRange};
use crate::error::{Error, Result};

/// In bytes, whatever those of the disk are.
pub(super) const SECTOR: u64 = 512;
/// In which a label may be.
const SECTORS: u64 = 4;
/// Of a label: its header begins behind it.
const LABEL_LEN: u64 = 32;
/// What has the CRC begins here.
const SUMMED: usize = 20;
/// More areas than a physical volume has.
const AREAS_MAX: usize = 16;

/// The usual CRC-32, but it begins with 0xf597a6cf (here with its bits turned round), and nothing is done to its end.
const SUM: Crc<u32> = Crc::<u32>::new(&Algorithm {
    width: 32,
    poly: 0x04c1_1db7,
    init: 0xf597_a6cf_u32.reverse_bits(),
    refin: true,
    refout: true,
    xorout: 0,
    check: 0,
    residue: 0,
});

/// LVM's checksum of `parts` one behind the other.
pub(super) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut digest = SUM.digest();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize()
}

/// The `N` bytes at `at`; what is outside counts as zero.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Four bytes, little endian.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

/// Eight bytes, little endian.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

/// What a physical volume says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    /// With the dashes that metadata has.
    pub(super) uuid: String,
    /// Where metadata is.
    pub(super) areas: Vec<ByteRange>,
}

impl Label {
    /// The first label of `disk` that is whole.
    pub(super) fn read(disk: &dyn BlockRead) -> Result<Self> {
        let mut error = LvmRule::NoLabel;
        for sector in 0..SECTORS {
            let offset = sector.saturating_mul(SECTOR);
            if offset.saturating_add(SECTOR) > disk.size() {
                break;
            }
            let mut bytes = [0; SECTOR as usize];
            disk.read_at(&mut bytes, offset)?;
            if !bytes.starts_with(b"LABELONE") || field(&bytes, 24) != *b"LVM2 001" {
                continue;
            }
            match Self::from_sector(&bytes, sector) {
                Ok(label) => return Ok(label),
                Err(rule) => error = rule,
            }
        }
        Err(Error::corrupt(error))
    }

    fn from_sector(bytes: &[u8], sector: u64) -> Result<Self, LvmRule> {
        let wrong = |field, value| Err(LvmRule::Label { field, value });
        if checksum(&[bytes.get(SUMMED..).unwrap_or_default()]) != u32_at(bytes, 16) {
            return Err(LvmRule::Checksum { what: "label" });
        }
        if u64_at(bytes, 8) != sector {
            return wrong("sector", u64_at(bytes, 8));
        }
        let offset = u64::from(u32_at(bytes, SUMMED));
        if !(LABEL_LEN..SECTOR).contains(&offset) {
            return wrong("offset of its header", offset);
        }
        let header = bytes.get(offset as usize..).unwrap_or_default();
        let mut lists = header.get(40..).unwrap_or_default().chunks_exact(16);
        let mut list = || -> Result<Vec<ByteRange>, LvmRule> {
            let mut areas = Vec::new();
            for pair in lists.by_ref().take(AREAS_MAX) {
                let (offset, len) = (u64_at(pair, 0), u64_at(pair, 8));
                if offset == 0 {
                    return Ok(areas);
                }
                let Ok(area) = ByteRange::new(offset, len) else { return Err(outside(offset)) };
                areas.push(area);
            }
            Err(LvmRule::Label { field: "number of areas", value: areas.len() as u64 })
        };
        // Where data is, the metadata says again.
        list()?;
        let areas = list()?;
        match dashed(&field::<32>(header, 0)) {
            Some(uuid) => Ok(Self { uuid, areas }),
            None => wrong("identifier", u64_at(header, 0)),
        }
    }
}

fn outside(value: u64) -> LvmRule {
    LvmRule::Label { field: "area", value }
}

/// An identifier of 32 letters, with dashes behind 6, 4, 4, 4, 4 and 4 of them.
fn dashed(letters: &[u8; 32]) -> Option<String> {
    let mut uuid = String::new();
    for (index, letter) in letters.iter().enumerate() {
        if !letter.is_ascii_graphic() {
            return None;
        }
        if matches!(index, 6 | 10 | 14 | 18 | 22 | 26) {
            uuid.push('-');
        }
        uuid.push(char::from(*letter));
    }
    Some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_lvms() {
        // The usual one of "123456789" is 0xcbf43926; another beginning gives another end.
        assert_eq!(checksum(&[b""]), 0xf597_a6cf);
        assert_eq!(checksum(&[b"1234", b"56789"]), checksum(&[b"123456789"]));
        assert_eq!(
            dashed(b"0123456789abcdefghijklmnopqrstuv").unwrap(),
            "012345-6789-abcd-efgh-ijkl-mnop-qrstuv"
        );
        assert_eq!(dashed(&[0; 32]), None);
    }
}
