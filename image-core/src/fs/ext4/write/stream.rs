//! Content from readers: of any length, at any place of a file, and files made longer and shorter.
//!
//! ```text
//! file       │ old │ old   │ old │                blocks that are touched are replaced by new ones, never changed in place:
//! written          │  new      │                  old │ new │ old
//! new blocks       │new│new│ne+o│                 the others stay where they are
//! ```
//! Only what is behind the end of a file in its last block is made zeroes in place, with the other changes.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::io::Read;

use super::Ext4Writer;
use super::inode::put_size;
use super::refusal::Refusal;
use super::runs::outside;
use crate::block::{BlockRead, ByteRange, ExtentKind};
use crate::error::{Doing, Result};
use crate::fs::ext4::blockmap::{DIRECT, LEVELS};
use crate::fs::ext4::features;
use crate::fs::ext4::inode::{FLAG_EXTENTS, FLAG_INLINE_DATA, Inode};
use crate::fs::ext4::mapping::leaf_of;
use crate::fs::ext4::run::{Place, Run};
use crate::fs::read_full::read_full;

/// So much of a source is asked for holes at a time.
const WINDOW: u64 = 1 << 30;
/// A file with more is told by the superblock (large_file).
const SMALL_MAX: u64 = 0x7fff_ffff;
/// More than any inode has inside.
const INSIDE_MAX: u64 = 1 << 16;
/// Blocks are counted in a file with 32 bits.
const BLOCKS_MAX: u64 = (1 << 32) - 1;

impl Ext4Writer {
    /// Makes what `source` has the content of the regular file `inode`; its holes and zeroes, as it tells them, are holes. Nothing of it
    /// is held in memory. All else about the file stays.
    ///
    /// # Errors
    /// [`Refusal::NoSpace`], [`Refusal::TooLarge`]; [`Unsupported`](crate::ErrorKind::Unsupported) for a file that is encrypted or
    /// sealed by verity; [`Invalid`](crate::ErrorKind::Invalid) for what is no regular file;
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with an [`Ext4Rule`](crate::fs::Ext4Rule); whatever the disk or the source says.
    pub fn write_content(&mut self, inode: u32, source: &dyn BlockRead) -> Result<()> {
        self.attempt(|changes| changes.replace_content(inode, source))
            .doing(|| format!("writing inode {inode}"))
    }

    /// Writes all that `content` gives into the regular file `inode` from `offset` on; a gap before it is a hole. Answers with how many
    /// bytes that was.
    ///
    /// # Errors
    /// As [`write_content`](Self::write_content).
    pub fn write_range(&mut self, inode: u32, offset: u64, content: &mut dyn Read) -> Result<u64> {
        self.attempt(|changes| changes.overwrite(inode, Some(offset), content))
            .doing(|| format!("writing inode {inode} from {offset} on"))
    }

    /// Writes all that `content` gives behind the end of the regular file `inode`. Answers with how many bytes that was.
    ///
    /// # Errors
    /// As [`write_content`](Self::write_content).
    pub fn append_content(&mut self, inode: u32, content: &mut dyn Read) -> Result<u64> {
        self.attempt(|changes| changes.overwrite(inode, None, content))
            .doing(|| format!("writing behind the end of inode {inode}"))
    }

    /// Cuts the regular file `inode` at `size`, or makes it longer by a hole.
    ///
    /// # Errors
    /// As [`write_content`](Self::write_content).
    pub fn set_len(&mut self, inode: u32, size: u64) -> Result<()> {
        self.attempt(|changes| changes.resize(inode, size))
            .doing(|| format!("making inode {inode} {size} bytes long"))
    }

    /// The regular file `number`, which has its content in blocks from now on.
    fn in_blocks(&mut self, number: u32) -> Result<Inode> {
        let inode = self.open_file(number)?;
        if !inode.has(FLAG_INLINE_DATA) {
            return Ok(inode);
        }
        let content = self.fs.read(&inode, INSIDE_MAX)?;
        self.move_out(&inode)?;
        let runs = self.pour_bytes(number, &content)?;
        self.set_runs(number, &runs)?;
        self.fs.inode(number)
    }

    /// Pours `content` into new blocks for inode `number`, from its first on.
    pub(super) fn pour_bytes(&mut self, number: u32, content: &[u8]) -> Result<Vec<Run>> {
        let mut rest = content;
        self.pour(number, 0, Some(content.len() as u64), &mut |buf| read_full(&mut rest, buf))
    }

    fn replace_content(&mut self, number: u32, source: &dyn BlockRead) -> Result<()> {
        let inode = self.open_file(number)?;
        if inode.has(FLAG_INLINE_DATA) {
            if source.size() <= INSIDE_MAX {
                let mut content = vec![0; source.size() as usize];
                source.read_at(&mut content, 0)?;
                return self.rewrite(number, &content);
            }
            self.move_out(&inode)?;
        } else {
            self.take_blocks(&inode)?;
        }
        let inode = self.fs.inode(number)?;
        self.check_size(&inode, source.size())?;
        let mut waiting: Option<ByteRange> = None;
        let (mut at, end) = (0, source.size());
        while at < end {
            let window = ByteRange::between(at, end.min(at.saturating_add(WINDOW)));
            at = window.end();
            for extent in source.extents(window)?.iter().filter(|extent| extent.kind == ExtentKind::Data) {
                let range = self.whole_clusters(extent.range);
                match waiting {
                    Some(last) if range.offset() <= last.end() => {
                        waiting = Some(ByteRange::between(last.offset(), range.end().max(last.end())));
                    }
                    last => {
                        waiting = Some(range);
                        self.pour_range(number, source, last)?;
                    }
                }
            }
        }
        self.pour_range(number, source, waiting)?;
        self.put_length(number, source.size())?;
        self.touch(number)
    }

    /// `range` up to the ends of the clusters that it touches.
    fn whole_clusters(&self, range: ByteRange) -> ByteRange {
        let cluster = self.fs.superblock().cluster_size.max(1);
        let start = range.offset().saturating_sub(range.offset().checked_rem(cluster).unwrap_or(0));
        ByteRange::between(start, range.end().div_ceil(cluster).saturating_mul(cluster))
    }

    /// Pours what `source` has in `range` into inode `number`, which has nothing there or behind it.
    fn pour_range(&mut self, number: u32, source: &dyn BlockRead, range: Option<ByteRange>) -> Result<()> {
        let Some(range) = range else { return Ok(()) };
        let mut at = range.offset();
        let end = range.end().min(source.size());
        let first = at.checked_div(self.fs.superblock().block_size).unwrap_or(0);
        let runs = self.pour(number, first, Some(end.saturating_sub(at)), &mut |buf| {
            let len = (buf.len() as u64).min(end.saturating_sub(at)) as usize;
            source.read_at(buf.get_mut(..len).unwrap_or_default(), at)?;
            at = at.saturating_add(len as u64);
            Ok(len)
        })?;
        runs.iter().try_for_each(|run| self.append(number, run))
    }

    fn overwrite(&mut self, number: u32, offset: Option<u64>, content: &mut dyn Read) -> Result<u64> {
        let mut first = [0];
        let len = read_full(content, &mut first)?;
        let mut content = first.get(..len).unwrap_or_default().chain(content);
        if len == 0 {
            self.open_file(number)?;
            return Ok(0);
        }
        let inode = self.in_blocks(number)?;
        let offset = offset.unwrap_or(inode.size);
        self.check_size(&inode, offset.saturating_add(1))?;
        let superblock = self.fs.superblock();
        let (size, cluster) = (superblock.block_size, superblock.cluster_size.max(1));
        let start = offset.saturating_sub(offset.checked_rem(cluster).unwrap_or(0));
        let first = start.checked_div(size).unwrap_or(0);
        let fs = self.fs.clone();
        let (mut at, mut end) = (start, None);
        let runs = self.pour(number, first, None, &mut |buf| {
            let mut filled = 0_usize;
            while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                let limit = match end {
                    _ if at < offset => Some(offset),
                    None => None,
                    Some(end) => Some(u64::div_ceil(end, cluster).saturating_mul(cluster).min(inode.size)),
                };
                let len = match limit {
                    None => read_full(&mut content, rest)?,
                    Some(limit) => read_old(&fs, &inode, rest, at..limit)?,
                };
                if len == 0 && limit.is_none() {
                    end = Some(at);
                } else if len == 0 {
                    break;
                }
                filled = filled.saturating_add(len);
                at = at.saturating_add(len as u64);
            }
            Ok(filled)
        })?;
        let end = end.unwrap_or(at);
        self.check_size(&inode, end)?;
        self.clear_tail(&inode)?;
        self.put_between(&inode, &runs)?;
        self.put_length(number, end.max(inode.size))?;
        self.touch(number)?;
        Ok(end.saturating_sub(offset))
    }

    /// Has `inode` have `runs`, one behind the other and in new clusters, in place of what it has there.
    fn put_between(&mut self, inode: &Inode, runs: &[Run]) -> Result<()> {
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Ok(()) };
        let per_cluster = self.fs.superblock().blocks_per_cluster();
        // What is behind it in its last cluster has no place any more.
        let replaced = first.first..last.end().div_ceil(per_cluster).saturating_mul(per_cluster);
        let before = self.runs_of(inode)?;
        if before.last().is_none_or(|run| run.end() <= replaced.start) {
            return runs.iter().try_for_each(|run| self.append(inode.number, run));
        }
        let mut all = outside(&before, &replaced);
        let at = all.partition_point(|run| run.first < replaced.start);
        all.splice(at..at, runs.iter().copied());
        self.set_runs(inode.number, &all)
    }

    fn resize(&mut self, number: u32, size: u64) -> Result<()> {
        let inode = self.open_file(number)?;
        self.check_size(&inode, size)?;
        if inode.has(FLAG_INLINE_DATA) && size <= INSIDE_MAX {
            let mut content = self.fs.read(&inode, INSIDE_MAX)?;
            content.resize(size as usize, 0);
            return self.rewrite(number, &content);
        }
        let inode = self.in_blocks(number)?;
        if size < inode.size {
            self.cut(&inode, size.div_ceil(self.fs.superblock().block_size))?;
        } else {
            self.clear_tail(&inode)?;
        }
        self.put_length(number, size)?;
        let inode = self.fs.inode(number)?;
        self.clear_tail(&inode)?;
        self.touch(number)
    }

    /// Makes what is behind the end of `inode` in its last block zeroes.
    fn clear_tail(&mut self, inode: &Inode) -> Result<()> {
        let size = self.fs.superblock().block_size;
        let (last, inside) = (inode.size.checked_div(size), inode.size.checked_rem(size).unwrap_or(0));
        if inside == 0 {
            return Ok(());
        }
        let last = last.unwrap_or(0);
        let Place::Data(block) = leaf_of(&self.fs, inode, last)?.at(last).place else { return Ok(()) };
        let content = self.fs.blocks().block(block)?;
        let tail = content.get(inside as usize..).unwrap_or_default();
        if tail.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        self.check_held()?;
        self.fs.blocks().change(block, |bytes| bytes.get_mut(inside as usize..).unwrap_or_default().fill(0))
    }

    /// Says how long inode `number` is.
    pub(super) fn put_length(&mut self, number: u32, size: u64) -> Result<()> {
        if size > SMALL_MAX && !self.fs.superblock().has(features::LARGE_FILE) {
            self.set_feature(features::LARGE_FILE, true)?;
        }
        self.edit_inode(number, |_, bytes| put_size(bytes, size))
    }

    /// Refuses a size that `inode` cannot have.
    fn check_size(&self, inode: &Inode, size: u64) -> Result<()> {
        let block_size = self.fs.superblock().block_size;
        let per_list = block_size >> 2;
        let in_lists =
            (1..=LEVELS).map(|level| per_list.saturating_pow(level)).fold(DIRECT, u64::saturating_add);
        let most = if inode.has(FLAG_EXTENTS) { BLOCKS_MAX } else { in_lists.min(BLOCKS_MAX) };
        match size > most.saturating_mul(block_size) {
            true => Err(Refusal::TooLarge.into()),
            false => Ok(()),
        }
    }
}

/// Fills as much of `buf` as there is in `range` of what `inode` had; behind its end there are zeroes.
fn read_old(
    fs: &crate::fs::Ext4,
    inode: &Inode,
    buf: &mut [u8],
    range: std::ops::Range<u64>,
) -> Result<usize> {
    let len = (buf.len() as u64).min(range.end.saturating_sub(range.start)) as usize;
    let buf = buf.get_mut(..len).unwrap_or_default();
    buf.fill(0);
    let stored = inode.size.saturating_sub(range.start).min(len as u64) as usize;
    if stored > 0 {
        fs.read_at(inode, buf.get_mut(..stored).unwrap_or_default(), range.start)?;
    }
    Ok(len)
}
