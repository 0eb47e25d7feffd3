//! Bytes written into clusters that nobody has on the disk: straight there, piece by piece.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::FatWriter;
use crate::block::{ByteRange, ZeroMode};
use crate::error::{Error, Result};
use crate::fs::fat::rule::FatRule;

/// Clusters that follow one another on the disk.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Which of the file the first one is.
    index: u64,
    cluster: u32,
    count: u64,
}

/// The clusters of a file that is being written, all of them new. What is behind the end of the file in the last one is zeroes.
#[derive(Debug, Default)]
pub(super) struct Poured {
    runs: Vec<Run>,
    pub(super) count: u64,
}

impl Poured {
    /// Those of `chain`.
    pub(super) fn of(chain: &[u32]) -> Self {
        let mut found = Self::default();
        chain.iter().for_each(|cluster| found.push(*cluster));
        found
    }

    fn push(&mut self, cluster: u32) {
        let index = self.count;
        self.count = index.saturating_add(1);
        match self.runs.last_mut() {
            Some(run) if u64::from(run.cluster).saturating_add(run.count) == u64::from(cluster) => {
                run.count = run.count.saturating_add(1);
            }
            _ => self.runs.push(Run { index, cluster, count: 1 }),
        }
    }

    /// The first cluster; 0 if there is none.
    pub(super) fn first(&self) -> u32 {
        self.runs.first().map_or(0, |run| run.cluster)
    }

    /// The last one of those before `index`, and the one behind it.
    pub(super) fn around(&self, index: u64) -> Option<(u32, u32)> {
        Some((self.at(index.checked_sub(1)?)?.0, self.at(index)?.0))
    }

    /// Cluster `index`, and how many follow it on the disk, itself included.
    fn at(&self, index: u64) -> Option<(u32, u64)> {
        let behind = self.runs.partition_point(|run| run.index <= index);
        let run = self.runs.get(behind.checked_sub(1)?)?;
        let inside = index.saturating_sub(run.index);
        let left = run.count.checked_sub(inside).filter(|left| *left > 0)?;
        Some((run.cluster.saturating_add(inside as u32), left))
    }

    /// Where each piece of `range` is on the disk.
    fn pieces(&self, writer: &FatWriter, range: ByteRange) -> Result<Vec<ByteRange>> {
        let layout = writer.layout();
        let (mut at, mut pieces) = (range.offset(), Vec::new());
        while at < range.end() {
            let index = at.checked_div(layout.cluster_size).unwrap_or(0);
            let inside = at.checked_rem(layout.cluster_size).unwrap_or(0);
            let (cluster, count) = self.at(index).ok_or(Error::corrupt(FatRule::NoCluster(0)))?;
            let room = count.saturating_mul(layout.cluster_size).saturating_sub(inside);
            let len = room.min(range.end().saturating_sub(at));
            pieces.push(ByteRange::new(layout.place(cluster).saturating_add(inside), len)?);
            at = at.saturating_add(len);
        }
        Ok(pieces)
    }
}

impl FatWriter {
    /// Writes `bytes` into `file` from `at` on, which is not behind its end.
    pub(super) fn store(&mut self, file: &mut Poured, at: u64, bytes: &[u8]) -> Result<()> {
        let end = at.saturating_add(bytes.len() as u64);
        let padded;
        let bytes = match self.grow(file, end)? {
            Some(chain_end) => {
                let mut whole = bytes.to_vec();
                whole.resize(chain_end.saturating_sub(at) as usize, 0);
                padded = whole;
                &padded
            }
            None => bytes,
        };
        let mut rest = bytes;
        for piece in file.pieces(self, ByteRange::new(at, bytes.len() as u64)?)? {
            let Some((now, behind)) = rest.split_at_checked(piece.len() as usize) else { break };
            match now.iter().all(|byte| *byte == 0) {
                true => self.overlay.disk().write_zeroes(piece, ZeroMode::Punch)?,
                false => self.overlay.disk().write_at(now, piece.offset())?,
            }
            rest = behind;
        }
        Ok(())
    }

    /// Makes `file` reach up to `end` with zeroes.
    pub(super) fn store_zeroes(&mut self, file: &mut Poured, end: u64) -> Result<()> {
        let before = file.count.saturating_mul(self.layout().cluster_size);
        if let Some(chain_end) = self.grow(file, end)? {
            self.clear_between(file, before, chain_end)?;
        }
        Ok(())
    }

    /// Makes zeroes of what `file` has from `from` to `end`.
    pub(super) fn clear_between(&self, file: &Poured, from: u64, end: u64) -> Result<()> {
        for piece in file.pieces(self, ByteRange::between(from, end))? {
            self.overlay.disk().write_zeroes(piece, ZeroMode::Punch)?;
        }
        Ok(())
    }

    /// Has `file` have clusters up to `end`; where their end is, if there are more than before.
    fn grow(&mut self, file: &mut Poured, end: u64) -> Result<Option<u64>> {
        let size = self.layout().cluster_size;
        let wanted = end.div_ceil(size.max(1));
        if wanted <= file.count {
            return Ok(None);
        }
        let mut last = file.count.checked_sub(1).and_then(|last| file.at(last)).map(|(cluster, _)| cluster);
        while file.count < wanted {
            let cluster = self.take_cluster(last)?;
            file.push(cluster);
            last = Some(cluster);
        }
        Ok(Some(wanted.saturating_mul(size)))
    }
}
