//! XFS, versions 4 and 5, read without a kernel.
//!
//! ```text
//! superblock ─► inodes ─┬─► attributes
//!     │                 ├─► extents, or a tree of them ─► runs of blocks ─► content, target of a link
//!     │                 └─► directory: names, and their hashes
//!     └─► log ─► sectors that count in place of those on the disk
//! ```
//!
//! Everything that a kernel reads, and as it reads it; reading writes nothing. Every structure that has a checksum is held
//! against it. What is broken is an error of what was asked for, with its place; all else is still read.
//!
//! XFS Algorithms & Data Structures. What is not read: directories of version 1, filesystems that need repair, a log on another
//! disk if it is needed, files on a realtime device of its own, and what a change in the log left half done.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod access_list;
mod attributes;
mod blocks;
mod checksum;
mod content;
mod directory;
mod features;
mod field;
mod free_space;
mod hashes;
mod header;
mod inode;
mod link;
mod log;
mod lookup;
mod mapping;
mod name;
mod overlay;
mod read_directory;
mod rule;
mod run;
mod short_form;
mod superblock;
mod time;
mod usage;

use std::sync::Arc;

pub use rule::{XfsRule, XfsStructure};

use super::{Attribute, Condition, Entries, Filesystem, FilesystemKind, Node, NodeId, NodeKind, Usage};
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, Result};
use blocks::Blocks;
use content::Content;
use log::{Replayed, Unfinished};
use overlay::Overlay;
use read_directory::ReadDirectory;
use superblock::{SECTOR_MAX, Superblock};

/// The files of an XFS filesystem. It may be asked from many threads; copies share what was read.
#[derive(Clone)]
pub struct Xfs {
    shared: Arc<Shared>,
}

struct Shared {
    superblock: Superblock,
    blocks: Blocks,
    is_log_dirty: bool,
    unfinished: Unfinished,
}

impl Xfs {
    /// Opens the filesystem that begins where `disk` does.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with an [`XfsRule`]; [`Unsupported`](crate::ErrorKind::Unsupported) for features
    /// that are not read here; whatever the disk says.
    pub fn open(disk: Arc<dyn BlockRead>) -> Result<Self> {
        let doing = || "opening an XFS filesystem";
        let mut superblock = read_superblock(&*disk, &Overlay::default()).doing(doing)?;
        let replayed = log::replay(&*disk, &superblock).doing(doing)?;
        let is_log_dirty = replayed.is_some();
        let Replayed { overlay, unfinished } = replayed.unwrap_or_default();
        if is_log_dirty {
            superblock = read_superblock(&*disk, &overlay).doing(doing)?;
        }
        let blocks = Blocks::new(disk, superblock.block_size, overlay);
        Ok(Self { shared: Arc::new(Shared { superblock, blocks, is_log_dirty, unfinished }) })
    }

    /// Whether the log has changes that are not in their places on the disk; they are read as if they were.
    pub fn is_log_dirty(&self) -> bool {
        self.shared.is_log_dirty
    }

    fn superblock(&self) -> &Superblock {
        &self.shared.superblock
    }

    fn blocks(&self) -> &Blocks {
        &self.shared.blocks
    }
}

/// The superblock of `disk`, with `overlay` laid over it.
fn read_superblock(disk: &dyn BlockRead, overlay: &Overlay) -> Result<Superblock> {
    let mut bytes = vec![0; disk.size().min(SECTOR_MAX as u64) as usize];
    overlay.read_at(disk, &mut bytes, 0)?;
    Superblock::from_bytes(&bytes, disk.size(), overlay.is_over(0, bytes.len() as u64))
}

impl Filesystem for Xfs {
    fn kind(&self) -> FilesystemKind {
        FilesystemKind::Xfs
    }

    fn root(&self) -> Result<Node> {
        let node = self.inode(self.superblock().root)?.node;
        match node.kind {
            NodeKind::Directory => Ok(node),
            _ => Err(Error::corrupt(XfsRule::Inode {
                inode: node.id.number,
                field: "kind for a root",
                value: u64::from(node.st_mode()),
            })),
        }
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        Ok(self.inode(id.number)?.node)
    }

    fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Option<NodeId>> {
        if directory.kind != NodeKind::Directory || !directory::is_name(name) || matches!(name, b"." | b"..")
        {
            return Ok(None);
        }
        let number = directory.id.number;
        let doing = || format!("looking into the directory of inode {number}");
        let inode = self.inode(number)?;
        Ok(self.find(&inode, name).doing(doing)?.map(NodeId::new))
    }

    fn entries<'a>(&'a self, directory: &Node) -> Entries<'a> {
        if directory.kind != NodeKind::Directory {
            return Box::new(std::iter::empty());
        }
        match self.inode(directory.id.number) {
            Ok(inode) => Box::new(ReadDirectory::new(self.clone(), inode)),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn read_link(&self, link: &Node) -> Result<Vec<u8>> {
        let doing = || format!("reading the link of inode {}", link.id.number);
        let inode = self.inode(link.id.number)?;
        if inode.kind != NodeKind::Link {
            return Err(Error::invalid("it is no link")).doing(doing);
        }
        self.target(&inode).doing(doing)
    }

    fn attributes(&self, node: &Node) -> Result<Vec<Attribute>> {
        self.shared.unfinished.check_attributes(node.id.number)?;
        self.attributes_of(&self.inode(node.id.number)?)
    }

    fn content(&self, file: &Node) -> Result<Box<dyn BlockRead>> {
        let inode = self.inode(file.id.number)?;
        if inode.kind != NodeKind::File {
            let number = inode.number;
            return Err(Error::invalid("it is no regular file")).doing(|| format!("opening inode {number}"));
        }
        self.shared.unfinished.check_content(inode.number)?;
        Ok(Box::new(Content { fs: self.clone(), inode }))
    }

    fn condition(&self) -> Result<Condition> {
        let superblock = self.superblock();
        let size = superblock.block_count.saturating_mul(superblock.block_size);
        Ok(Condition { is_clean: !self.is_log_dirty(), size })
    }

    fn free_ranges(&self) -> Result<Vec<ByteRange>> {
        self.unused()
    }

    fn usage(&self) -> Result<Usage> {
        self.fullness()
    }
}
