//! What is in files: the clusters of their chains.
//!
//! A file has no holes. A chain that is longer than its file was set aside for it and is no error; one that is shorter is.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::sync::Arc;

use super::Volume;
use super::chain::Chain;
use super::rule::FatRule;
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, Result};

/// More than the largest file, in bytes.
const FILE_END: u64 = 1 << 32;

/// What is in a file, as a disk.
pub(super) struct Content {
    volume: Arc<Volume>,
    chain: Chain,
    size: u64,
}

impl Content {
    /// Of the file of `size` bytes with the chain from `first` on.
    pub(super) fn new(volume: Arc<Volume>, first: u32, size: u64) -> Result<Self> {
        let cluster_size = volume.layout().cluster_size;
        let limit = FILE_END.checked_div(cluster_size).unwrap_or(1);
        let limit = limit.min(u64::from(volume.layout().clusters())) as u32;
        let chain = Chain::read(&volume.table, first, limit)?;
        let room = u64::from(chain.count()).saturating_mul(cluster_size);
        match size <= room {
            true => Ok(Self { volume, chain, size }),
            false => Err(Error::corrupt(FatRule::ShortChain { size, room })),
        }
    }

    fn read_pieces(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let layout = self.volume.layout();
        let (mut rest, mut at) = (buf, offset);
        while !rest.is_empty() {
            let index = at.checked_div(layout.cluster_size).unwrap_or(0);
            let inside = at.checked_rem(layout.cluster_size).unwrap_or(0);
            let (cluster, count) = self.chain.locate(&self.volume.table, index as u32)?;
            let there = u64::from(count).saturating_mul(layout.cluster_size).saturating_sub(inside);
            let len = there.min(rest.len() as u64);
            let Some((target, behind)) = rest.split_at_mut_checked(len as usize) else { break };
            let place = layout.place(cluster).saturating_add(inside);
            self.volume.check_on_disk(place, len, "content of a file")?;
            self.volume.table.pages().disk().read_at(target, place)?;
            rest = behind;
            at = at.saturating_add(len);
        }
        Ok(())
    }
}

impl BlockRead for Content {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        ByteRange::new(offset, buf.len() as u64)?.check_within(self.size)?;
        self.read_pieces(buf, offset).doing(|| "reading what is in a file of the FAT")
    }
}
