//! Many clusters at once, laid out as QEMU's programs do it: for what is set aside ahead of the first write.

use super::{Allocator, MAX_REFCOUNT_TABLE_LEN, TablePlace};
use crate::block::BlockRead;
use crate::error::{Error, Result};
use crate::qcow2::offset::HostOffset;

impl Allocator {
    /// The cluster behind the last one that is used.
    pub(super) fn end_of_used(&mut self, file: &dyn BlockRead) -> Result<u64> {
        let mut end = self.geometry.clusters_for(file.size());
        while let Some(last) = end.checked_sub(1) {
            let (index, within) = self.place(last);
            end = match self.block(file, index)? {
                None => last.saturating_sub(within),
                Some(block) if block.counts.count(within) == 0 => last,
                Some(_) => break,
            };
        }
        Ok(end)
    }

    /// Moves the refcount table behind all that is used, behind blocks for what has none yet of `count` clusters that
    /// follow, which are still free; returns the first of them.
    ///
    /// # Errors
    /// `Unsupported` if a table cannot count so many; whatever reading refcount blocks says.
    pub(in super::super) fn area_at_end(&mut self, file: &dyn BlockRead, count: u64) -> Result<u64> {
        let start = self.end_of_used(file)?;
        let end = start.saturating_add(count);
        let (mut blocks, mut clusters) =
            (0_u64, self.geometry.clusters_for(self.first_missing().saturating_mul(8)));
        loop {
            let all = end.saturating_add(blocks).saturating_add(clusters);
            let needed = all.div_ceil(self.geometry.refcounts_per_block());
            let table = self.geometry.clusters_for(needed.saturating_mul(8)).max(clusters);
            if (needed, table) == (blocks, clusters) {
                break;
            }
            (blocks, clusters) = (needed, table);
        }
        let len = clusters.saturating_mul(self.geometry.cluster_size());
        if len > MAX_REFCOUNT_TABLE_LEN {
            return Err(Error::unsupported(format!(
                "the file would grow past what a refcount table of {MAX_REFCOUNT_TABLE_LEN} bytes can count"
            )));
        }
        let is_missing = |index: &u64| self.table.get(*index as usize).is_none_or(|&host| host == 0);
        let missing: Vec<u64> = (self.place(start).0..blocks).filter(is_missing).collect();
        let table = start.saturating_add(missing.len() as u64);
        let offset = HostOffset(table.saturating_mul(self.geometry.cluster_size()));
        let old = std::mem::replace(&mut self.table_place, TablePlace { offset, count: clusters as u32 });
        self.moved_from.push(old);
        self.table.resize((len / 8) as usize, 0);
        self.dirty_entries = Some(0..self.table.len());
        for (index, cluster) in missing.into_iter().zip(start..) {
            self.new_block(index, cluster);
        }
        let behind = table.saturating_add(clusters);
        self.take(file, start, behind.saturating_sub(start))?;
        Ok(behind)
    }

    /// Takes `count` clusters from `start` on, which are free and whose blocks are there.
    pub(in super::super) fn take(&mut self, file: &dyn BlockRead, start: u64, count: u64) -> Result<()> {
        (start..start.saturating_add(count)).try_for_each(|cluster| self.set(file, cluster, 1))
    }

    /// Takes `count` free clusters in a row, fewer than a block counts. What is too small for them is not looked at again,
    /// and a new block goes behind them, as it does with QEMU.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub(in super::super) fn allocate_ahead(
        &mut self,
        file: &dyn BlockRead,
        count: u64,
    ) -> Result<HostOffset> {
        loop {
            let start = self.pass_free_run(file, count)?;
            let run = start..start.saturating_add(count);
            let Some(missing) = self.first_without_block(file, run.clone())? else {
                self.take(file, start, count)?;
                return Ok(HostOffset(start.saturating_mul(self.geometry.cluster_size())));
            };
            self.block_behind(file, missing)?;
            // The run itself is free still; were it passed by, so would be the next one, which needs a block too.
            self.first_free = start;
        }
    }

    /// The first run of free clusters from the first free one on, which is the one behind it then.
    fn pass_free_run(&mut self, file: &dyn BlockRead, count: u64) -> Result<u64> {
        let (mut at, mut found) = (self.first_free, 0);
        while found < count {
            found = if self.count(file, at)? == 0 { found.saturating_add(1) } else { 0 };
            at = at.saturating_add(1);
        }
        self.first_free = at;
        Ok(at.saturating_sub(count))
    }

    /// The first cluster of `run` that no block counts.
    fn first_without_block(
        &mut self,
        file: &dyn BlockRead,
        run: std::ops::Range<u64>,
    ) -> Result<Option<u64>> {
        for cluster in run {
            let (index, _) = self.place(cluster);
            if self.block(file, index)?.is_none() {
                return Ok(Some(cluster));
            }
        }
        Ok(None)
    }

    /// Makes the block for `cluster` behind what is free, where it is counted itself, or by a block that is there.
    fn block_behind(&mut self, file: &dyn BlockRead, cluster: u64) -> Result<()> {
        let (index, _) = self.place(cluster);
        if index >= self.table.len() as u64 {
            return self.move_table(file, index);
        }
        let place = self.pass_free_run(file, 1)?;
        let (of_place, _) = self.place(place);
        if of_place >= self.table.len() as u64 {
            return self.move_table(file, of_place);
        }
        if of_place != index && self.block(file, of_place)?.is_none() {
            // One that counts itself, for that it is in.
            self.new_block(of_place, place);
            return self.set(file, place, 1);
        }
        self.new_block(index, place);
        self.set(file, place, 1)
    }
}
