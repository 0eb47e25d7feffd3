//! ext2, ext3 and ext4: read, changed and wiped without a kernel, and the times of inodes set.
//!
//! ```text
//! superblock ─► groups ─► inodes ─┬─► attributes
//!     │                           ├─► extents, block map ─► runs of blocks ─► content, target of a link
//!     │                           └─► directory ─► names ─► path, walk
//!     └─► journal ─► copies of blocks that count in place of those on the disk
//! ```
//!
//! Everything that a kernel reads, and as it reads it: an image of a machine that was not shut down is read as that machine would
//! find it, and reading writes nothing. Every structure that has a checksum is held against it. What is broken is an error of what
//! was asked for, with its place; all else is still read.
//!
//! Linux kernel documentation, filesystems/ext4. What is not read: file systems that are compressed or Lustre's (dirdata), what is
//! in encrypted files, fast commits that were not played, and a journal on another disk if it is needed.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod attributes;
mod blockmap;
mod blocks;
mod checksum;
mod content;
mod directory;
mod extents;
mod features;
mod filesystem;
mod free_blocks;
mod fsck;
mod groups;
mod hash;
mod htree;
mod inode;
mod journal;
mod layout;
mod lookup;
mod mapping;
mod name_cache;
mod nokey;
mod read_directory;
mod rule;
mod run;
mod scrub;
mod superblock;
mod times;
mod walk;
mod write;

use std::fmt;
use std::sync::Arc;

pub use content::Content;
pub use features::Features;
pub use fsck::Finding;
pub use inode::Inode;
pub use journal::Replayed;
pub use read_directory::{DirectoryEntry, ReadDirectory};
pub use rule::{Checksummed, Ext4Rule};
pub use scrub::{scrub, wipe_content};
pub use superblock::Superblock;
pub use times::clamp_inode_times;
pub use walk::{Inodes, Walk, WalkEntry};
pub use write::{Ext4Writer, NewInode, NewTimes, Ownership, Refusal, SpecialFile};

use super::field;
use crate::block::BlockRead;
use crate::error::{Doing, Error, Result};
use blocks::Blocks;
use groups::Group;

/// The files of an ext filesystem. It may be asked from many threads; copies share what was read.
#[derive(Clone)]
pub struct Ext4 {
    shared: Arc<Shared>,
}

struct Shared {
    superblock: Superblock,
    blocks: Blocks,
    replayed: Option<Replayed>,
    name_cache: name_cache::NameCache,
}

impl fmt::Debug for Ext4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ext4").field("superblock", self.superblock()).finish_non_exhaustive()
    }
}

impl Ext4 {
    /// The filesystem on `disk`. What waits in its journal is taken into account.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for features that are not read here; [`Corrupt`](crate::ErrorKind::Corrupt)
    /// with an [`Ext4Rule`]; whatever the disk says.
    pub fn open(disk: Arc<dyn BlockRead>) -> Result<Self> {
        let doing = || "opening the ext4 filesystem";
        let superblock = Superblock::read(&*disk).doing(doing)?;
        refuse_unread(&superblock).doing(doing)?;
        let blocks = Blocks::new(disk, superblock.block_size, Vec::new());
        let is_promised = superblock.has(features::RECOVER) && superblock.has_journal;
        let fs = Self::new(superblock, blocks, None);
        if !is_promised {
            return Ok(fs);
        }
        let Some((copies, replayed)) = journal::replay(&fs).doing(doing)? else { return Ok(fs) };
        let disk = Arc::clone(fs.blocks().disk());
        let blocks = Blocks::new(disk, fs.superblock().block_size, copies);
        // The superblock itself may be among the copies.
        let mut bytes = vec![0; superblock::LEN];
        blocks.read_at(&mut bytes, superblock::OFFSET).doing(doing)?;
        let superblock =
            Superblock::from_bytes(&bytes, blocks.disk().size()).map_err(Error::corrupt).doing(doing)?;
        refuse_unread(&superblock).doing(doing)?;
        // It may have been made larger; but blocks stay as they are.
        if superblock.block_size != fs.superblock().block_size {
            let (field, value) = ("block size", superblock.block_size);
            return Err(Error::corrupt(Ext4Rule::Superblock { field, value })).doing(doing);
        }
        Ok(Self::new(superblock, blocks, Some(replayed)))
    }

    fn new(superblock: Superblock, blocks: Blocks, replayed: Option<Replayed>) -> Self {
        Self { shared: Arc::new(Shared { superblock, blocks, replayed, name_cache: Default::default() }) }
    }

    /// What its superblock says.
    pub fn superblock(&self) -> &Superblock {
        &self.shared.superblock
    }

    /// What had to be read from its journal; `None` if nothing waits there.
    pub fn replayed(&self) -> Option<Replayed> {
        self.shared.replayed
    }

    fn blocks(&self) -> &Blocks {
        &self.shared.blocks
    }

    /// The block bitmap of group `number`, also where it was never written.
    fn block_bitmap(&self, number: u64, group: &Group) -> Result<Vec<u8>> {
        match group.has_block_bitmap {
            true => Ok(self.blocks().block(group.block_bitmap)?.to_vec()),
            false => Ok(self.superblock().first_bitmap(number, group)),
        }
    }

    fn name_cache(&self) -> &name_cache::NameCache {
        &self.shared.name_cache
    }

    /// Group `number`.
    fn group(&self, number: u64) -> Result<Group> {
        let superblock = self.superblock();
        let descriptor =
            self.blocks().bytes(superblock.descriptor_offset(number), superblock.descriptor_size)?;
        superblock.group(number, &descriptor)
    }
}

fn refuse_unread(superblock: &Superblock) -> Result<()> {
    let unread = superblock.features.unread();
    match unread == Features::default() {
        true => Ok(()),
        false => Err(Error::unsupported(format!("it has unsupported features: {unread}"))),
    }
}
