//! What a filesystem uses of XFS that whoever does not know it cannot read, by the names that its tools give them.
//!
//! XFS Algorithms & Data Structures, "Superblocks": sb_features_incompat. Compatible features and those for writers only
//! (free inode tree, reverse mappings, shared extents) change nothing that is read here.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crate::error::{Error, Result};

pub(super) const FTYPE: u32 = 0x1;
pub(super) const META_UUID: u32 = 0x4;
const NEEDS_REPAIR: u32 = 0x10;
pub(super) const METADIR: u32 = 0x100;
pub(super) const ZONE_GAPS: u32 = 0x400;

/// Those that are read: ftype, sparse inodes, meta_uuid, bigtime, nrext64, exchange, parent, metadir, zoned, and zone gaps.
const READ_HERE: u32 = 0x7ef;

const NAMES: [&str; 11] = [
    "ftype",
    "sparse",
    "meta_uuid",
    "bigtime",
    "needsrepair",
    "nrext64",
    "exchange",
    "parent",
    "metadir",
    "zoned",
    "zone gaps",
];

/// Refuses a filesystem with the incompatible features `bits`, if one of them is not read here.
pub(super) fn check(bits: u32) -> Result<()> {
    let unread = bits & !READ_HERE;
    if unread == 0 {
        return Ok(());
    }
    let what = match unread & NEEDS_REPAIR {
        0 => "it has features that are not known here",
        _ => "it has to be repaired before anything is read",
    };
    Err(Error::unsupported(format!("{what}: {}", names(unread))))
}

/// The names of `bits`; those without one together, as a number.
fn names(bits: u32) -> String {
    let mut rest = bits;
    let mut all = Vec::new();
    for (bit, name) in (0_u32..).zip(NAMES) {
        if bits >> bit & 1 != 0 {
            rest &= !(1 << bit);
            all.push(name.to_owned());
        }
    }
    if rest != 0 {
        all.push(format!("{rest:#x}"));
    }
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_named() {
        assert!(check(0).is_ok() && check(0x7ef).is_ok());
        let repair = check(0x1b).unwrap_err().to_string();
        assert_eq!(repair, "it has to be repaired before anything is read: needsrepair");
        let unknown = check(0x8000_0803).unwrap_err().to_string();
        assert_eq!(unknown, "it has features that are not known here: 0x80000800");
    }
}
