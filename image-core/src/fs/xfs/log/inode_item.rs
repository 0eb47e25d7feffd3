//! Inodes in the log: their fields, and what of their forks was changed.
//!
//! ```text
//! region 0   0 kind, regions │ 4 what is there │ 16 inode │ 24 device │ 40 first sector of its buffer │ 48 sectors │ 52 where in it
//! region 1   its fields, little endian, in the places where the inode has them
//! region 2   content fork: bytes, extents, or a root of extents as it is in memory      then the attribute fork
//! ```
//! Older kernels of 32 bits leave four bytes out before the inode. XFS Algorithms & Data Structures, "Inode Log Item".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::buffers::Buffers;
use super::transaction::Item;
use crate::error::Result;
use crate::fs::xfs::field::{le16_at, le32_at, le64_at, part, put, u8_at, u16_at, u64_at};
use crate::fs::xfs::inode::{FLAG2_BIG_TIME, LEN, MAGIC, OLD_LEN};
use crate::fs::xfs::overlay::SECTOR;
use crate::fs::xfs::rule::XfsRule;

/// Lengths of region 0, of most kernels and of those of 32 bits.
const HEAD_LEN: usize = 56;
const HEAD_LEN_32: usize = 52;
/// What is there: bytes, extents or a root of the content, a device, and those of attributes.
const CONTENT: u32 = 0xe;
const CONTENT_ROOT: u32 = 0x8;
const DEVICE: u32 = 0x10;
const ATTRIBUTES: u32 = 0x1c0;
const ATTRIBUTES_ROOT: u32 = 0x100;
/// Bytes of a sector.
const SECTOR_LEN: usize = SECTOR as usize;
/// How often an inode was written, counted up to here.
const FLUSHES_MAX: u16 = 0xffff;

/// Fields of an inode with more than one byte: places and lengths, without times.
const FIELDS: [(usize, usize); 17] = [
    (0, 2),
    (2, 2),
    (6, 2),
    (8, 4),
    (12, 4),
    (16, 4),
    (20, 2),
    (22, 2),
    (56, 8),
    (64, 8),
    (72, 4),
    (76, 4),
    (80, 2),
    (84, 4),
    (88, 2),
    (90, 2),
    (92, 4),
];
/// Those that inodes of version 3 have besides.
const FIELDS_V3: [(usize, usize); 5] = [(24, 8), (104, 8), (120, 8), (128, 4), (152, 8)];
/// Times, before version 3 without the last.
const TIMES: [usize; 4] = [32, 40, 48, 144];

/// Where an item's inode is.
struct Head {
    fields: u32,
    device: u32,
    first: u64,
    count: u64,
    offset: usize,
    inode: u64,
}

impl Head {
    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let skipped = match bytes.len() {
            HEAD_LEN => 0,
            HEAD_LEN_32 => 4,
            len => return Err(XfsRule::in_log("length of an inode's item", len as u64)),
        };
        let at = |at: usize| at.saturating_sub(skipped);
        Ok(Self {
            fields: le32_at(bytes, 4),
            inode: le64_at(bytes, at(16)),
            device: le32_at(bytes, at(24)),
            first: le64_at(bytes, at(40)),
            count: u64::from(le32_at(bytes, at(48))),
            offset: le32_at(bytes, at(52)) as usize,
        })
    }
}

/// Lays the inode of `item`, of a transaction that begins at `lsn`, over the disk.
pub(super) fn replay(buffers: &mut Buffers<'_>, item: &Item, lsn: u64) -> Result<()> {
    let head = Head::from_bytes(item.region(0))?;
    if buffers.is_removed(head.first, head.count) {
        return Ok(());
    }
    let size = buffers.log.superblock.inode_size as usize;
    let mut buffer = buffers.read(head.first, head.count)?;
    let wrong = || XfsRule::in_log("inode", head.inode);
    let inode = buffer.get_mut(head.offset..head.offset.saturating_add(size)).ok_or_else(wrong)?;
    let logged = item.region(1);
    // The mark is as it is in memory.
    if part(inode, 0, 2) != MAGIC || le16_at(logged, 0) != u16_at(MAGIC, 0) {
        return Err(wrong());
    }
    if is_newer(buffers.log.superblock.has_sums, inode, logged, lsn) {
        return Ok(());
    }
    put_fields(inode, logged, lsn);
    if head.fields & DEVICE != 0 {
        let at = if u8_at(inode, 4) == 3 { LEN } else { OLD_LEN };
        put(inode, at, &head.device.to_be_bytes());
    }
    let forks = put_forks(buffers.log.superblock.has_sums, inode, head.fields, item);
    forks.ok_or_else(wrong)?;
    // Sectors of other inodes stay those of the disk, unless they are smaller than one.
    let start = head.offset / SECTOR_LEN;
    let end = head.offset.saturating_add(size).div_ceil(SECTOR_LEN);
    let sectors = part(&buffer, start.saturating_mul(SECTOR_LEN), end.saturating_mul(SECTOR_LEN));
    buffers.put(head.first.saturating_add(start as u64), sectors)
}

/// Whether the inode that is on the disk is newer than `logged`.
fn is_newer(has_sums: bool, inode: &[u8], logged: &[u8], lsn: u64) -> bool {
    if has_sums {
        let found = u64_at(inode, 112);
        return found != 0 && found != u64::MAX && found > lsn;
    }
    let (stored, logged) = (u16_at(inode, 30), le16_at(logged, 30));
    let is_wrapped = stored == FLUSHES_MAX && logged < FLUSHES_MAX >> 1;
    logged < stored && !is_wrapped
}

/// Puts the fields that were logged in place of those of `inode`.
fn put_fields(inode: &mut [u8], logged: &[u8], lsn: u64) {
    let is_v3 = u8_at(logged, 4) == 3;
    let mut turn = |at: usize, len: usize| {
        let mut value = part(logged, at, at.saturating_add(len)).to_vec();
        value.reverse();
        put(inode, at, &value);
    };
    FIELDS.iter().for_each(|(at, len)| turn(*at, *len));
    if is_v3 {
        FIELDS_V3.iter().for_each(|(at, len)| turn(*at, *len));
    }
    let is_big = is_v3 && le64_at(logged, 120) & FLAG2_BIG_TIME != 0;
    for at in TIMES.into_iter().take(if is_v3 { 4 } else { 3 }) {
        if is_big {
            turn(at, 8);
        } else {
            turn(at, 4);
            turn(at.saturating_add(4), 4);
        }
    }
    // Version and form, where the attributes begin and their form, the filesystem: bytes.
    for (at, len) in [(4, 2), (82, 2)] {
        put(inode, at, part(logged, at, at.saturating_add(len)));
    }
    match is_v3 {
        true => {
            put(inode, 112, &lsn.to_be_bytes());
            put(inode, 160, part(logged, 160, 176));
        }
        false => put(inode, 24, &[0; 8]),
    }
}

/// Puts the forks that were logged in place; `None` if they do not fit.
fn put_forks(has_sums: bool, inode: &mut [u8], fields: u32, item: &Item) -> Option<()> {
    let fields_end = if u8_at(inode, 4) == 3 { LEN } else { OLD_LEN };
    let content_len = usize::from(u8_at(inode, 82)).saturating_mul(8);
    let area = inode.get_mut(fields_end..)?;
    let content_len = if content_len == 0 { area.len() } else { content_len };
    let (content, attributes) = area.split_at_mut_checked(content_len)?;
    let mut index = 2;
    for (fork, what, root) in [(content, CONTENT, CONTENT_ROOT), (attributes, ATTRIBUTES, ATTRIBUTES_ROOT)] {
        if fields & what == 0 {
            continue;
        }
        let logged = item.region(index);
        index = index.saturating_add(1);
        match fields & what == root {
            true => put_root(has_sums, fork, logged)?,
            // Bytes are rounded up.
            false => fork.get_mut(..logged.len())?.copy_from_slice(logged),
        }
    }
    Some(())
}

/// Puts a root of extents in its place, which has less before its entries there than in memory.
fn put_root(has_sums: bool, fork: &mut [u8], logged: &[u8]) -> Option<()> {
    let entries = logged.get(if has_sums { 72 } else { 24 }..)?;
    let count = usize::from(u16_at(logged, 6));
    let room = entries.len() / 16;
    let room_here = fork.len().checked_sub(4)? / 16;
    if count > room.min(room_here) {
        return None;
    }
    put(fork, 0, part(logged, 4, 8));
    let len = count.saturating_mul(8);
    put(fork, 4, part(entries, 0, len));
    let (from, to) = (room.saturating_mul(8), room_here.saturating_mul(8).saturating_add(4));
    put(fork, to, part(entries, from, from.saturating_add(len)));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_turned_round() {
        let mut logged = vec![0; 176];
        logged[..6].copy_from_slice(&[b'N', b'I', 0xa4, 0x81, 3, 2]);
        logged[8..12].copy_from_slice(&7_u32.to_le_bytes());
        logged[32..40].copy_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0]);
        logged[82] = 9;
        let mut inode = vec![0xff; 512];
        put_fields(&mut inode, &logged, 0x55);
        assert_eq!(inode[..12], [b'I', b'N', 0x81, 0xa4, 3, 2, 0, 0, 0, 0, 0, 7]);
        assert_eq!((&inode[32..40], inode[82]), (&[0, 0, 0, 1, 0, 0, 0, 2][..], 9));
        assert_eq!(
            (inode[119], &inode[96..104]),
            (0x55, &[0xff; 8][..]),
            "neither the list nor the checksum"
        );
        logged[120] = 8;
        put_fields(&mut inode, &logged, 0);
        assert_eq!(inode[32..40], [0, 0, 0, 2, 0, 0, 0, 1]);
        assert!(is_newer(true, &[&[0; 112][..], &[0, 0, 0, 0, 0, 0, 0, 9]].concat(), &[], 8));
    }

    #[test]
    fn roots_are_shorter_on_the_disk() {
        let mut logged = vec![0; 72];
        logged[5] = 1;
        logged[7] = 1;
        for value in [10_u64, 20, 100, 200] {
            logged.extend(value.to_be_bytes());
        }
        let mut fork = vec![0; 100];
        put_root(true, &mut fork, &logged).unwrap();
        assert_eq!(fork[..4], [0, 1, 0, 1]);
        assert_eq!((fork[11], fork[4 + 6 * 8 + 7]), (10, 100));
        logged[7] = 3;
        assert_eq!(put_root(true, &mut fork, &logged), None);
    }

    #[test]
    fn forks_must_fit() {
        let item = Item { regions: vec![Vec::new(), Vec::new(), vec![1; 16], vec![2; 8]] };
        let mut inode = vec![0; 256];
        inode[4] = 3;
        inode[82] = 3;
        put_forks(true, &mut inode, 0x2 | 0x40, &item).unwrap();
        assert_eq!((inode[176], inode[191], inode[192], inode[200], inode[208]), (1, 1, 0, 2, 0));
        inode[82] = 1;
        assert_eq!(put_forks(true, &mut inode, 0x2, &item), None);
    }
}
