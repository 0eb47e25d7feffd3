//! What is in files.
//!
//! ```text
//! file of the disk   │ old │ old │ old │      read and copied, for no number of its chain may change before the entry does
//! written            │ new │ new │ new │ new │
//! file of these changes                       written in place, for nobody leads there yet
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::io::Read;
use std::sync::Arc;

use super::FatWriter;
use super::entries::put_cluster;
use super::pour::Poured;
use super::refusal::FatRefusal;
use crate::block::BlockRead;
use crate::error::{Doing, Result};
use crate::fs::NodeId;
use crate::fs::fat::content::Content;
use crate::fs::fat::entry::{ARCHIVE, ShortEntry};
use crate::fs::fat::times::date_and_time;
use crate::fs::field::{put, u8_at};
use crate::fs::read_full::read_full;

/// What is in memory at a time.
const PIECE: usize = 1 << 20;
/// More bytes are in no file.
const SIZE_MAX: u64 = u32::MAX as u64;

/// Fills a buffer, or as much of it as there is; answers with how much.
type Source<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<usize>;

impl FatWriter {
    /// Makes what `source` has the content of `file`. Nothing of it is held in memory.
    ///
    /// # Errors
    /// [`FatRefusal::NoSpace`], [`FatRefusal::TooLarge`], [`FatRefusal::IsADirectory`]; [`Corrupt`](crate::ErrorKind::Corrupt) with a
    /// [`FatRule`](crate::fs::FatRule); whatever the disk or the source says. What fails half-way is not written:
    /// [`commit`](Self::commit) is refused then.
    pub fn write_content(&mut self, file: NodeId, source: &dyn BlockRead) -> Result<()> {
        let doing = || format!("writing the file of the entry at {:#x}", file.number);
        self.attempt(|changes| {
            changes.check_size(source.size())?;
            changes.resize(file.number, 0)?;
            let mut at = 0_u64;
            changes.fill(file.number, Some(0), &mut |buf| {
                let len = (buf.len() as u64).min(source.size().saturating_sub(at)) as usize;
                source.read_at(buf.get_mut(..len).unwrap_or_default(), at)?;
                at = at.saturating_add(len as u64);
                Ok(len)
            })
        })
        .map(drop)
        .doing(doing)
    }

    /// Writes all that `content` gives into `file` from `offset` on; a gap before it is zeroes. Answers with how many bytes that was.
    ///
    /// # Errors
    /// As [`write_content`](Self::write_content).
    pub fn write_range(&mut self, file: NodeId, offset: u64, content: &mut dyn Read) -> Result<u64> {
        let doing = || format!("writing the file of the entry at {:#x} from {offset} on", file.number);
        self.attempt(|changes| changes.fill(file.number, Some(offset), &mut |buf| read_full(content, buf)))
            .doing(doing)
    }

    /// Writes all that `content` gives behind the end of `file`. Answers with how many bytes that was.
    ///
    /// # Errors
    /// As [`write_content`](Self::write_content).
    pub fn append_content(&mut self, file: NodeId, content: &mut dyn Read) -> Result<u64> {
        let doing = || format!("writing behind the end of the file of the entry at {:#x}", file.number);
        self.attempt(|changes| changes.fill(file.number, None, &mut |buf| read_full(content, buf)))
            .doing(doing)
    }

    /// Cuts `file` at `size`, or makes it longer by zeroes.
    ///
    /// # Errors
    /// As [`write_content`](Self::write_content).
    pub fn set_len(&mut self, file: NodeId, size: u64) -> Result<()> {
        let doing = || format!("making the file of the entry at {:#x} {size} bytes long", file.number);
        self.attempt(|changes| changes.resize(file.number, size)).doing(doing)
    }

    fn check_size(&self, size: u64) -> Result<()> {
        match size > SIZE_MAX {
            true => Err(FatRefusal::TooLarge.into()),
            false => Ok(()),
        }
    }

    fn file(&self, number: u64) -> Result<ShortEntry> {
        if number == 0 {
            return Err(FatRefusal::IsADirectory.into());
        }
        let entry = self.entry(number)?;
        match entry.is_directory() {
            true => Err(FatRefusal::IsADirectory.into()),
            false => Ok(entry),
        }
    }

    fn fill(&mut self, number: u64, offset: Option<u64>, source: Source<'_>) -> Result<u64> {
        let size = self.file(number)?.size;
        let offset = offset.unwrap_or(size);
        let mut piece = vec![0; PIECE];
        let mut len = source(&mut piece)?;
        if len == 0 {
            return Ok(0);
        }
        self.check_size(offset.saturating_add(len as u64))?;
        let mut file = self.renewed(number, size)?;
        if offset > size {
            self.store_zeroes(&mut file, offset)?;
        }
        let mut at = offset;
        while len > 0 {
            let end = at.saturating_add(len as u64);
            self.check_size(end)?;
            self.store(&mut file, at, piece.get(..len).unwrap_or_default())?;
            at = end;
            len = if len < piece.len() { 0 } else { source(&mut piece)? };
        }
        self.put_file(number, file.first(), size.max(at))?;
        Ok(at.saturating_sub(offset))
    }

    fn resize(&mut self, number: u64, size: u64) -> Result<()> {
        self.check_size(size)?;
        let entry = self.file(number)?;
        if size == 0 {
            self.release(entry.cluster)?;
            return self.put_file(number, 0, 0);
        }
        if size > entry.size {
            let mut file = self.renewed(number, entry.size)?;
            self.store_zeroes(&mut file, size)?;
            return self.put_file(number, file.first(), size);
        }
        let chain = self.chain(entry.cluster)?;
        let kept = size.div_ceil(self.layout().cluster_size.max(1));
        if !self.clusters.new.get(entry.cluster) {
            let first = match chain.len() as u64 == kept {
                true => entry.cluster,
                false => self.renewed(number, size)?.first(),
            };
            return self.put_file(number, first, size);
        }
        let file = Poured::of(&chain);
        let end = kept.saturating_mul(self.layout().cluster_size);
        self.clear_between(&file, size, end)?;
        if let Some((last, behind)) = file.around(kept) {
            self.link(last, self.layout().width.mask())?;
            self.release(behind)?;
        }
        self.put_file(number, entry.cluster, size)
    }

    /// The file `number` in new clusters, with `keep` bytes of what it has.
    fn renewed(&mut self, number: u64, keep: u64) -> Result<Poured> {
        let entry = self.file(number)?;
        if entry.cluster != 0 && self.clusters.new.get(entry.cluster) {
            return Ok(Poured::of(&self.chain(entry.cluster)?));
        }
        let old = Content::new(Arc::clone(&self.fat.volume), entry.cluster, entry.size)?;
        let (mut file, mut at, end) = (Poured::default(), 0_u64, keep.min(entry.size));
        while at < end {
            let mut piece = vec![0; end.saturating_sub(at).min(PIECE as u64) as usize];
            old.read_at(&mut piece, at)?;
            self.store(&mut file, at, &piece)?;
            at = at.saturating_add(piece.len() as u64);
        }
        self.put_file(number, file.first(), end)?;
        self.release(entry.cluster)?;
        Ok(file)
    }

    /// Has the file `number` begin with cluster `first` and be `size` bytes long, and changed now.
    fn put_file(&mut self, number: u64, first: u32, size: u64) -> Result<()> {
        let (date, clock, _) = date_and_time(self.time);
        self.edit_slot(number, |slot| {
            put_cluster(slot, first);
            put(slot, 28, &(size as u32).to_le_bytes());
            put(slot, 22, &clock.to_le_bytes());
            put(slot, 24, &date.to_le_bytes());
            let attributes = u8_at(slot, 11) | ARCHIVE;
            put(slot, 11, &[attributes]);
        })
    }
}
