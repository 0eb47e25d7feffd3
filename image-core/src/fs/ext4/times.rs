//! The times of inodes: none later than the build's date, and those that only say when the filesystem was made are it.
//!
//! ```text
//! inode  0x08 atime │ 0x0c ctime │ 0x10 mtime │ 0x14 dtime       seconds
//!        0x84 ctime │ 0x88 mtime │ 0x8c atime │ 0x94 crtime      two bits of seconds, 30 of nanoseconds
//!        0x90 crtime
//! ```
//!
//! A program that makes a filesystem cannot choose when a file was changed or created in the filesystem's eyes
//! (ctime, crtime): two builds of the same tree differ in nothing else.
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::field::{field, put};
use super::inode::checksum_fields;
use super::superblock::Superblock;
use crate::block::BlockWrite;
use crate::error::{Doing, Result};

/// Inodes are read and written in pieces of this many bytes.
const PIECE: u64 = 1 << 20;
/// The inode is an extended attribute: its times are other things.
const FLAG_EA_INODE: u32 = 0x20_0000;

/// Sets atime, ctime and crtime of every inode on `disk`, an ext4 filesystem that nobody uses, to `seconds` after
/// 1970, and mtime too where it is later. Checksums are made anew.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) for a filesystem with impossible tables; whatever the disk says.
pub fn clamp_inode_times(disk: &impl BlockWrite, seconds: u32) -> Result<()> {
    let superblock = Superblock::read(disk)?;
    let inode_size = superblock.inode_size();
    for (index, group) in (0..).zip(superblock.groups(disk)?) {
        let start = group.inode_table.saturating_mul(superblock.block_size);
        let len = group.inodes_in_use.saturating_mul(inode_size);
        let mut done = 0;
        while done < len {
            let mut piece = vec![0; len.saturating_sub(done).min(PIECE) as usize];
            let offset = start.saturating_add(done);
            let doing = || format!("the inodes of group {index}");
            disk.read_at(&mut piece, offset).doing(doing)?;
            let before = piece.clone();
            let first =
                superblock.first_inode_of(index).saturating_add(done.checked_div(inode_size).unwrap_or(0));
            for (number, inode) in (first..).zip(piece.chunks_exact_mut(inode_size as usize)) {
                // Inode numbers have 32 bits; a table with more is cut short by the superblock's rules.
                clamp(&superblock, u32::try_from(number).unwrap_or(u32::MAX), inode, seconds);
            }
            if piece != before {
                disk.write_at(&piece, offset).doing(doing)?;
            }
            done = done.saturating_add(piece.len() as u64);
        }
    }
    Ok(())
}

fn clamp(superblock: &Superblock, number: u32, inode: &mut [u8], seconds: u32) {
    let u32_at = |inode: &[u8], at| u32::from_le_bytes(field(inode, at));
    let unused = [0x08, 0x0c, 0x10, 0x90].iter().all(|at| u32_at(inode, *at) == 0);
    let is_free = field::<2>(inode, 0x00) == [0; 2] && unused;
    if is_free || u32_at(inode, 0x20) & FLAG_EA_INODE != 0 {
        return;
    }
    let extra_size = usize::from(u16::from_le_bytes(field(inode, 0x80)));
    let extra_end = if inode.len() > 128 { extra_size.saturating_add(0x80) } else { 0 };
    for (at, extra_at, always) in
        [(0x08, 0x8c_usize, true), (0x0c, 0x84, true), (0x10, 0x88, false), (0x90, 0x94, true)]
    {
        let has_extra = extra_end >= extra_at.saturating_add(4);
        if at >= 0x80 && !has_extra {
            continue;
        }
        let extra = if has_extra { u32_at(inode, extra_at) } else { 0 };
        if !always && time_of(u32_at(inode, at), extra) <= u64::from(seconds) {
            continue;
        }
        put(inode, at, &seconds.to_le_bytes());
        if has_extra {
            // The stored seconds are signed: from 2038 on, the first of the two bits says 2³² more.
            put(inode, extra_at, &u32::from(seconds > i32::MAX as u32).to_le_bytes());
        }
    }
    if u32_at(inode, 0x14) != 0 {
        put(inode, 0x14, &seconds.to_le_bytes());
    }
    if let Some(checksum) = superblock.inode_checksum(number, inode) {
        let fields: Vec<usize> = checksum_fields(inode).collect();
        for (at, half) in fields.into_iter().zip(checksum.to_le_bytes().as_chunks::<2>().0) {
            put(inode, at, half);
        }
    }
}

/// A time rounded up to whole seconds, so that a fraction past a date is later than it; 0 before 1970.
fn time_of(low: u32, extra: u32) -> u64 {
    let base = i64::from(low.cast_signed()).saturating_add(i64::from(extra & 3) << 32);
    let fraction = i64::from(extra >> 2 != 0);
    u64::try_from(base.saturating_add(fraction)).unwrap_or(0)
}
