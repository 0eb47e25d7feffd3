//! What a filesystem uses of Btrfs that whoever does not know it cannot read: the superblock's incompatible features.
//!
//! Btrfs documentation, "Filesystem features", by the names under which the kernel and its tools list them. Features that
//! only writing needs to know (compat_ro) change nothing that is read here.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

pub(super) const METADATA_UUID: u64 = 1 << 10;

/// For writers only: the free space tree, that it is right, verity, and the block group tree.
pub(super) const KNOWN_READ_ONLY: u64 = 0xf;

/// All up to raid1c34, and simple_quota: they are read, or change nothing that is read here.
const READ_HERE: u64 = 0xfff | 1 << 16;

const NAMES: [&str; 18] = [
    "mixed_backref",
    "default_subvol",
    "mixed_groups",
    "compress_lzo",
    "compress_zstd",
    "big_metadata",
    "extended_iref",
    "raid56",
    "skinny_metadata",
    "no_holes",
    "metadata_uuid",
    "raid1c34",
    "zoned",
    "extent_tree_v2",
    "raid_stripe_tree",
    "encrypt",
    "simple_quota",
    "remap_tree",
];

/// Names of flags of the superblock, from bit 33 on, of filesystems that a tool was still changing as a whole.
const CHANGING: [(u64, &str); 5] = [
    (1 << 35, "changing_fsid"),
    (1 << 36, "changing_fsid_v2"),
    (1 << 38, "changing_bg_tree"),
    (1 << 39, "changing_data_csum"),
    (1 << 40, "changing_meta_csum"),
];

/// The names of those of `features` that make it unreadable here; one without a name by its bit.
pub(super) fn unread(features: u64) -> Vec<String> {
    let unread = features & !READ_HERE;
    (0..64_usize)
        .filter(|bit| unread >> bit & 1 != 0)
        .map(|bit| NAMES.get(bit).map_or_else(|| format!("FEATURE_I{bit}"), |name| (*name).to_owned()))
        .collect()
}

/// The names of changes that the superblock's `flags` say are half done.
pub(super) fn half_done(flags: u64) -> Vec<&'static str> {
    CHANGING.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect()
}

/// The names of a chunk's profiles.
pub(super) fn profile(kind: u64) -> &'static str {
    match kind >> 3 & 0xff {
        0 => "single",
        1 => "RAID0",
        2 => "RAID1",
        4 => "DUP",
        8 => "RAID10",
        16 => "RAID5",
        32 => "RAID6",
        64 => "RAID1C3",
        128 => "RAID1C4",
        _ => "unknown profile",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_named() {
        assert!(unread(0xfff | 1 << 16).is_empty());
        assert_eq!(
            unread(1 << 12 | 1 << 14 | 1 << 15 | 1 << 40),
            ["zoned", "raid_stripe_tree", "encrypt", "FEATURE_I40"]
        );
        assert_eq!(half_done(1 << 38 | 1), ["changing_bg_tree"]);
        assert_eq!((profile(1), profile(4 | 0x20), profile(0x401)), ("single", "DUP", "RAID1C4"));
    }
}
