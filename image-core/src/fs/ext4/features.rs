//! What a filesystem uses of ext4: the superblock's three sets of features, by the names that its tools give them.
//!
//! ```text
//! compatible     whoever does not know one may read and write
//! incompatible   … may do neither
//! read-only      … may read
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Super Block"): s_feature_compat, s_feature_incompat, s_feature_ro_compat.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::fmt;

/// The features of a filesystem, bit by bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features {
    /// s_feature_compat.
    pub compatible: u32,
    /// s_feature_incompat.
    pub incompatible: u32,
    /// s_feature_ro_compat.
    pub read_only: u32,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feature {
    Compatible(u32),
    Incompatible(u32),
    ReadOnly(u32),
}

pub(super) const HAS_JOURNAL: Feature = Feature::Compatible(0x4);
pub(super) const EXT_ATTR: Feature = Feature::Compatible(0x8);
pub(super) const DIR_INDEX: Feature = Feature::Compatible(0x20);
pub(super) const SPARSE_SUPER2: Feature = Feature::Compatible(0x200);
pub(super) const FILETYPE: Feature = Feature::Incompatible(0x2);
pub(super) const ORPHAN_FILE: Feature = Feature::Compatible(0x1000);
pub(super) const RECOVER: Feature = Feature::Incompatible(0x4);
pub(super) const META_BG: Feature = Feature::Incompatible(0x10);
pub(super) const WIDE: Feature = Feature::Incompatible(0x80);
pub(super) const EXTENTS: Feature = Feature::Incompatible(0x40);
pub(super) const MMP: Feature = Feature::Incompatible(0x100);
pub(super) const EA_INODE: Feature = Feature::Incompatible(0x400);
pub(super) const CSUM_SEED: Feature = Feature::Incompatible(0x2000);
pub(super) const LARGE_DIR: Feature = Feature::Incompatible(0x4000);
pub(super) const SPARSE_SUPER: Feature = Feature::ReadOnly(0x1);
pub(super) const LARGE_FILE: Feature = Feature::ReadOnly(0x2);
pub(super) const HUGE_FILE: Feature = Feature::ReadOnly(0x8);
pub(super) const DIR_NLINK: Feature = Feature::ReadOnly(0x20);
pub(super) const GDT_CSUM: Feature = Feature::ReadOnly(0x10);
pub(super) const QUOTA: Feature = Feature::ReadOnly(0x100);
pub(super) const BIGALLOC: Feature = Feature::ReadOnly(0x200);
pub(super) const METADATA_CSUM: Feature = Feature::ReadOnly(0x400);
pub(super) const PROJECT: Feature = Feature::ReadOnly(0x2000);
pub(super) const ORPHAN_PRESENT: Feature = Feature::ReadOnly(0x1_0000);

/// Those that a filesystem may have which is written to: dir_prealloc, has_journal, ext_attr, resize_inode, dir_index,
/// sparse_super2, fast_commit, stable_inodes, orphan_file.
const COMPATIBLE_WRITTEN: u32 = 0x1e3d;
/// sparse_super, large_file, huge_file, uninit_bg, dir_nlink, extra_isize, quota, bigalloc, metadata_csum, project, verity,
/// orphan_present.
const READ_ONLY_WRITTEN: u32 = 0x1_a77b;
/// Incompatible ones that change nothing that is read here, or are read: filetype, recover, meta_bg, extents, 64bit, mmp,
/// flex_bg, ea_inode, metadata_csum_seed, large_dir, inline_data, encrypt, casefold.
const READ_HERE: u32 = 0x3_e7d6;

const COMPATIBLE: [&str; 13] = [
    "dir_prealloc",
    "imagic_inodes",
    "has_journal",
    "ext_attr",
    "resize_inode",
    "dir_index",
    "lazy_bg",
    "",
    "snapshot_bitmap",
    "sparse_super2",
    "fast_commit",
    "stable_inodes",
    "orphan_file",
];
const INCOMPATIBLE: [&str; 18] = [
    "compression",
    "filetype",
    "needs_recovery",
    "journal_dev",
    "meta_bg",
    "",
    "extent",
    "64bit",
    "mmp",
    "flex_bg",
    "ea_inode",
    "",
    "dirdata",
    "metadata_csum_seed",
    "large_dir",
    "inline_data",
    "encrypt",
    "casefold",
];
const READ_ONLY: [&str; 17] = [
    "sparse_super",
    "large_file",
    "",
    "huge_file",
    "uninit_bg",
    "dir_nlink",
    "extra_isize",
    "snapshot",
    "quota",
    "bigalloc",
    "metadata_csum",
    "replica",
    "read-only",
    "project",
    "shared_blocks",
    "verity",
    "orphan_present",
];

impl Features {
    pub(super) fn has(self, feature: Feature) -> bool {
        match feature {
            Feature::Compatible(bit) => self.compatible & bit != 0,
            Feature::Incompatible(bit) => self.incompatible & bit != 0,
            Feature::ReadOnly(bit) => self.read_only & bit != 0,
        }
    }

    /// Where a superblock has the bits of one, and which.
    pub(super) fn place_of(feature: Feature) -> (usize, u32) {
        match feature {
            Feature::Compatible(bit) => (0x5c, bit),
            Feature::Incompatible(bit) => (0x60, bit),
            Feature::ReadOnly(bit) => (0x64, bit),
        }
    }

    /// Those that make it unreadable here.
    pub(super) fn unread(self) -> Self {
        Self { incompatible: self.incompatible & !READ_HERE, ..Self::default() }
    }

    /// Those that make it unchangeable here. Compatible ones may be ignored by whoever writes; but of one that is not known it is not
    /// known what belongs to it.
    pub(super) fn unwritten(self) -> Self {
        Self {
            compatible: self.compatible & !COMPATIBLE_WRITTEN,
            incompatible: self.incompatible & !READ_HERE,
            read_only: self.read_only & !READ_ONLY_WRITTEN,
        }
    }

    /// Their names, in the order of their bits; one without a name by its number.
    pub fn names(self) -> Vec<String> {
        let sets = [
            (self.compatible, &COMPATIBLE[..], 'C'),
            (self.incompatible, &INCOMPATIBLE[..], 'I'),
            (self.read_only, &READ_ONLY[..], 'R'),
        ];
        let mut all = Vec::new();
        for (bits, names, letter) in sets {
            for bit in (0..32_usize).filter(|bit| bits >> bit & 1 != 0) {
                let name = names.get(bit).copied().filter(|name| !name.is_empty());
                all.push(name.map_or_else(|| format!("FEATURE_{letter}{bit}"), str::to_owned));
            }
        }
        all
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_have_the_names_of_their_tools() {
        // As mke2fs of Debian 12 makes an ext4.
        let usual = Features { compatible: 0x3c, incompatible: 0x2c2, read_only: 0x46b };
        let names = "has_journal, ext_attr, resize_inode, dir_index, filetype, extent, 64bit, flex_bg, sparse_super, \
                     large_file, huge_file, dir_nlink, extra_isize, metadata_csum";
        assert_eq!(usual.to_string(), names);
        assert_eq!(usual.unread(), Features::default());
        assert!(usual.has(METADATA_CSUM) && !usual.has(BIGALLOC));
        let unknown = Features { incompatible: 0x8004_0009, ..usual };
        assert_eq!(unknown.unread().to_string(), "compression, journal_dev, FEATURE_I18, FEATURE_I31");
        for bit in [1, 2, 4, 6, 7, 8, 9, 10, 13, 14, 15, 16, 17] {
            assert_eq!(Features { incompatible: 1 << bit, ..usual }.unread(), Features::default(), "{bit}");
        }
    }
}
