//! The blocks that nothing is in: where what was removed may still be read.
//!
//! ```text
//! group ─► block bitmap: bit i is block first + group × blocks per group + i; 0 is free
//! ```
//!
//! Who leaves blocks out, or clears them, must be sure: nothing waits in a journal, no error is recorded, and each bitmap
//! has its checksum and as many zeroes as its group says.
//! Linux kernel documentation, filesystems/ext4 ("Block and Inode Bitmaps").
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::features;
use super::groups::Group;
use super::rule::Ext4Rule;
use super::superblock::Superblock;
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, Result};

/// The ranges of `disk`, an ext filesystem that nobody uses, that are in no file and no table, in their order and as
/// long as they can be. A group that was never written to is left out, whatever lies there.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for a journal that is not replayed, recorded errors, and clusters (bigalloc);
/// [`Corrupt`](crate::ErrorKind::Corrupt) for impossible tables and bitmaps; whatever the disk says.
pub fn unused_ranges(disk: &(impl BlockRead + ?Sized)) -> Result<Vec<ByteRange>> {
    let doing = || "looking for unused blocks";
    let superblock = Superblock::read(disk)?;
    if !superblock.is_clean {
        return Err(Error::unsupported("the filesystem was not unmounted cleanly")).doing(doing);
    }
    if superblock.has_errors {
        return Err(Error::unsupported("errors are recorded in it")).doing(doing);
    }
    if superblock.has(features::BIGALLOC) {
        return Err(Error::unsupported("its blocks are counted in clusters (bigalloc)")).doing(doing);
    }
    let size = superblock.block_size;
    let mut ranges = Vec::new();
    // The run of free blocks that is not at its end yet.
    let mut run: Option<(u64, u64)> = None;
    for (index, group) in (0..).zip(superblock.groups(disk)?) {
        if !group.has_block_bitmap {
            finish(&mut ranges, run.take(), size)?;
            continue;
        }
        let mut bitmap = vec![0; size as usize];
        disk.read_at(&mut bitmap, group.block_bitmap.saturating_mul(size))
            .doing(|| format!("the block bitmap of group {index}"))?;
        check(&superblock, index, &group, &bitmap).doing(doing)?;
        for (bit, block) in (0_usize..).zip(superblock.blocks_of(index)) {
            let is_free = is_free(&bitmap, bit);
            run = match (run, is_free) {
                (Some((first, count)), true) if first.saturating_add(count) == block => {
                    Some((first, count.saturating_add(1)))
                }
                (ended, is_free) => {
                    finish(&mut ranges, ended, size)?;
                    is_free.then_some((block, 1))
                }
            };
        }
    }
    finish(&mut ranges, run, size)?;
    Ok(ranges)
}

fn is_free(bitmap: &[u8], bit: usize) -> bool {
    bitmap.get(bit >> 3).copied().unwrap_or(0xff) >> (bit & 7) & 1 == 0
}

/// Refuses a bitmap that is not what its group says it is.
fn check(superblock: &Superblock, index: u64, group: &Group, bitmap: &[u8]) -> Result<()> {
    let free = (0..).zip(superblock.blocks_of(index)).filter(|(bit, _)| is_free(bitmap, *bit)).count();
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
