//! The blocks that nothing is in: where what was removed may still be read.
//!
//! ```text
//! group ─► block bitmap: bit i is block first + group × blocks per group + i (bigalloc: cluster); 0 is free
//!      └─► never written: all but its own tables
//! ```
//!
//! Who leaves blocks out, or clears them, must be sure: nothing waits in a journal, no error is recorded, and each bitmap
//! has its checksum and as many zeroes as its group says.
//! Linux kernel documentation, filesystems/ext4 ("Block and Inode Bitmaps").
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::groups::Group;
use super::layout::is_set;
use super::rule::Ext4Rule;
use super::superblock::Superblock;
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, Result};

/// The ranges of `disk`, an ext filesystem that nobody uses, that are in no file and no table, in their order and as
/// long as they can be. With clusters (bigalloc), a cluster with one block in use is in use.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for a journal that is not replayed, and recorded errors;
/// [`Corrupt`](crate::ErrorKind::Corrupt) for impossible tables and bitmaps; whatever the disk says.
pub fn free_ranges(disk: &(impl BlockRead + ?Sized)) -> Result<Vec<ByteRange>> {
    let doing = || "looking for unused blocks";
    let superblock = Superblock::read(disk)?;
    if !superblock.is_clean {
        return Err(Error::unsupported("the filesystem was not unmounted cleanly")).doing(doing);
    }
    if superblock.has_errors {
        return Err(Error::unsupported("errors are recorded in it")).doing(doing);
    }
    let size = superblock.block_size;
    let mut ranges = Vec::new();
    // The run of free blocks that is not at its end yet.
    let mut run: Option<(u64, u64)> = None;
    let per_cluster = superblock.blocks_per_cluster();
    for (index, group) in (0..).zip(superblock.groups(disk)?) {
        let mut bitmap = superblock.first_bitmap(index, &group);
        if group.has_block_bitmap {
            disk.read_at(&mut bitmap, group.block_bitmap.saturating_mul(size))
                .doing(|| format!("the block bitmap of group {index}"))?;
            check(&superblock, index, &group, &bitmap).doing(doing)?;
        }
        let blocks = superblock.blocks_of(index);
        for (bit, block) in (0..).zip(blocks.clone().step_by(per_cluster as usize)) {
            let count = per_cluster.min(blocks.end.saturating_sub(block));
            let is_free = !is_set(&bitmap, bit);
            run = match (run, is_free) {
                (Some((first, len)), true) if first.saturating_add(len) == block => {
                    Some((first, len.saturating_add(count)))
                }
                (ended, is_free) => {
                    finish(&mut ranges, ended, size)?;
                    is_free.then_some((block, count))
                }
            };
        }
    }
    finish(&mut ranges, run, size)?;
    Ok(ranges)
}

/// Refuses a bitmap that is not what its group says it is.
fn check(superblock: &Superblock, index: u64, group: &Group, bitmap: &[u8]) -> Result<()> {
    let blocks = superblock.blocks_of(index);
    let bits = blocks.end.saturating_sub(blocks.start).div_ceil(superblock.blocks_per_cluster());
    let free = (0..bits).filter(|bit| !is_set(bitmap, *bit)).count();
    let what = match superblock.is_bitmap_sound(group, bitmap) {
        false => "another checksum",
        true if free as u64 != group.free_blocks => "another number of free blocks",
        true => return Ok(()),
    };
    Err(Error::corrupt(Ext4Rule::Bitmap { group: index, what }))
}

fn finish(ranges: &mut Vec<ByteRange>, run: Option<(u64, u64)>, block_size: u64) -> Result<()> {
    if let Some((first, count)) = run {
        ranges.push(ByteRange::new(first.saturating_mul(block_size), count.saturating_mul(block_size))?);
    }
    Ok(())
}
