//! Bytes poured into blocks that nobody had: they are on the disk before the changes count, and in memory only piece by piece.
//!
//! ```text
//! source ─► piece of 1 MiB ─► blocks set aside ahead ─┬─ free before these changes too ─► written straight away
//!                                                     └─ only since                     ─► held as a change
//! ```
//! What was free when the filesystem was last whole is read by nobody: a loss of power leaves it as it was.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use crate::error::Result;
use crate::fs::ext4::extents::WRITTEN_MAX;
use crate::fs::ext4::run::{Place, Run};

/// What is in memory at a time; a multiple of all block sizes.
const PIECE: usize = 1 << 20;
/// What is set aside ahead where nobody knows how much is to come.
const AHEAD: u64 = 4 << 20;

/// Fills all of a buffer, or up to the end of what there is; answers with how much.
pub(super) type Source<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<usize>;

/// Blocks set aside, and not filled yet.
struct Reserve {
    next: u64,
    left: u64,
    /// Whether nobody had them before these changes either.
    is_unused: bool,
}

/// Where a file's next blocks are to be.
struct Pouring {
    number: u32,
    goal: u64,
    reserve: Reserve,
    /// Clusters set aside so far.
    taken: u64,
    runs: Vec<Run>,
}

impl Ext4Writer {
    /// Pours `source`, of about `expected` bytes where that is known, into new blocks for inode `number`, which are to be its blocks
    /// from `first` on: the first of a cluster. Answers with these, which the inode does not have yet but is charged for.
    pub(super) fn pour(
        &mut self,
        number: u32,
        first: u64,
        expected: Option<u64>,
        source: Source<'_>,
    ) -> Result<Vec<Run>> {
        let superblock = self.fs.superblock();
        let size = superblock.block_size as usize;
        let near = superblock.blocks_of(superblock.place_of_inode(number).0).start;
        let mut pouring = Pouring {
            number,
            goal: near,
            reserve: Reserve { next: 0, left: 0, is_unused: false },
            taken: 0,
            runs: Vec::new(),
        };
        let mut piece =
            vec![0; expected.map_or(PIECE, |len| (len as usize).clamp(1, PIECE)).next_multiple_of(size)];
        let mut at = first;
        let mut left = expected;
        loop {
            let len = source(&mut piece)?;
            if len == 0 {
                break;
            }
            let end = len.next_multiple_of(size);
            piece.get_mut(len..end).unwrap_or_default().fill(0);
            let wanted = left.unwrap_or(AHEAD).max(len as u64);
            self.place_piece(&mut pouring, at, wanted, piece.get(..end).unwrap_or_default())?;
            at = at.saturating_add((end as u64).checked_div(size as u64).unwrap_or(0));
            left = left.map(|left| left.saturating_sub(len as u64));
            if len < piece.len() {
                break;
            }
        }
        self.end_pouring(pouring)
    }

    /// Stores `content`, whole blocks, as the file's blocks from `at` on; `wanted` bytes are to come, these included.
    fn place_piece(&mut self, pouring: &mut Pouring, mut at: u64, wanted: u64, content: &[u8]) -> Result<()> {
        let superblock = self.fs.superblock();
        let (size, per_cluster) = (superblock.block_size, superblock.blocks_per_cluster());
        let most = WRITTEN_MAX.checked_div(per_cluster).unwrap_or(1).max(1);
        let mut rest = content;
        while !rest.is_empty() {
            let count = (rest.len() as u64).checked_div(size).unwrap_or(0);
            if pouring.reserve.left == 0 {
                let clusters = wanted.div_ceil(size).max(count).div_ceil(per_cluster).min(most);
                let (found, is_unused) = match self.allocate_unused(pouring.goal, clusters)? {
                    Some(found) => (found, true),
                    None => (self.allocate(pouring.goal, clusters)?, false),
                };
                pouring.reserve = Reserve { next: found.0, left: found.1, is_unused };
                pouring.taken = pouring.taken.saturating_add(found.1.div_ceil(per_cluster));
            }
            let reserve = &mut pouring.reserve;
            let count = count.min(reserve.left);
            let (own, behind) = rest.split_at(count.saturating_mul(size) as usize);
            let (block, is_unused) = (reserve.next, reserve.is_unused);
            reserve.next = block.saturating_add(count);
            reserve.left = reserve.left.saturating_sub(count);
            pouring.goal = reserve.next;
            push(&mut pouring.runs, Run { first: at, count, place: Place::Data(block) });
            self.store(block, own, is_unused)?;
            at = at.saturating_add(count);
            rest = behind;
        }
        Ok(())
    }

    /// Has the blocks from `block` on have `content`.
    fn store(&mut self, block: u64, content: &[u8], is_unused: bool) -> Result<()> {
        let size = self.fs.superblock().block_size;
        if is_unused {
            self.disk.write_at(content, block.saturating_mul(size))?;
            self.is_dirty = true;
            self.fs.blocks().forget_all(block, (content.len() as u64).div_ceil(size));
            return Ok(());
        }
        for (block, piece) in (block..).zip(content.chunks(size as usize)) {
            self.check_held()?;
            self.fs.blocks().change(block, |bytes| bytes.copy_from_slice(piece))?;
        }
        Ok(())
    }

    /// Gives back what was set aside for nothing.
    fn end_pouring(&mut self, pouring: Pouring) -> Result<Vec<Run>> {
        let Reserve { next, left, .. } = pouring.reserve;
        let mut taken = pouring.taken;
        if left > 0 {
            // The cluster that is begun stays.
            let last = self.cluster_of(next.saturating_add(left).saturating_sub(1));
            let used = self.cluster_of(next.saturating_sub(1));
            let is_begun = !pouring.runs.is_empty();
            let first = if is_begun { used.saturating_add(1) } else { self.cluster_of(next) };
            let count = last.saturating_add(1).saturating_sub(first);
            let freed = self.free_clusters(vec![(first, count)])?;
            taken = taken.saturating_sub(freed);
        }
        let inode = self.fs.inode(pouring.number)?;
        self.count_clusters(&inode, i64::try_from(taken).unwrap_or(i64::MAX))?;
        Ok(pouring.runs)
    }
}

/// Puts `run` behind `runs`, or makes the last one longer.
fn push(runs: &mut Vec<Run>, run: Run) {
    if let (Some(last), Place::Data(block)) = (runs.last_mut(), run.place)
        && let Place::Data(start) = last.place
        && last.end() == run.first
        && start.saturating_add(last.count) == block
        && last.count.saturating_add(run.count) <= WRITTEN_MAX
    {
        last.count = last.count.saturating_add(run.count);
        return;
    }
    runs.push(run);
}
