//! Btrfs on one disk: read without a kernel.
//!
//! ```text
//! superblock ─► chunks ─► root tree ─┬─► subvolume ─► inodes ─┬─► names ─► inodes, subvolumes
//!                                    │                        ├─► attributes
//!                                    │                        └─► extents ─► bytes, compressed or not
//!                                    └─► checksums of data
//! log ─► items that count in place of those of a subvolume
//! ```
//!
//! Everything that a kernel reads, and as it reads it: what was synced before a machine stopped and is only in the log is read as
//! if the log had been replayed; reading writes nothing. Every tree block and every sector of data is held against its
//! checksum, and taken from its second copy if there is one and the first is broken. What is broken is an error of what was
//! asked for, with its place; all else is still read.
//!
//! Btrfs documentation, "On-disk format". What is not read: filesystems on several disks, zoned ones, those with a RAID stripe
//! tree, extent tree v2 or encryption. Each is named in the error of opening.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod attributes;
mod blake2b;
mod blocks;
mod checksum;
mod chunks;
mod compression;
mod content;
mod data;
mod directory;
mod extent;
mod features;
mod field;
mod free_space;
mod inode;
mod key;
mod log;
mod lzo;
mod roots;
mod rule;
mod subvolume;
mod superblock;
mod tree;
mod tree_block;
mod xxhash;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

pub use rule::{BtrfsRule, Checksummed};
pub use subvolume::Subvolume;

use super::{
    Attribute, Condition, Entries, Filesystem, FilesystemKind, Node, NodeId, NodeKind, SubvolumeChoice, Usage,
};
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, Result};
use blocks::Blocks;
use chunks::Chunks;
use data::Unpacked;
use key::{CHUNK_ITEM, CHUNK_TREE, FIRST_OBJECT, ROOT_TREE};
use log::Replayed;
use roots::Opened;
use superblock::Superblock;
use tree::Tree;

/// The files of a Btrfs filesystem, as they are seen from one of its subvolumes. It may be asked from many threads; copies
/// share what was read.
#[derive(Clone)]
pub struct Btrfs {
    shared: Arc<Shared>,
    /// The one whose root directory is the root.
    subvolume: u64,
}

struct Shared {
    blocks: Blocks,
    root_tree: Tree,
    replayed: Replayed,
    trees: Mutex<HashMap<u64, Opened>>,
    unpacked: Unpacked,
}

impl fmt::Debug for Btrfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Btrfs").field("subvolume", &self.subvolume).finish_non_exhaustive()
    }
}

impl Btrfs {
    /// The filesystem on `disk`, seen from its default subvolume. What waits in its log is taken into account.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for features that are not read here and for filesystems on several disks;
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with a [`BtrfsRule`]; whatever the disk says.
    pub fn open(disk: Arc<dyn BlockRead>) -> Result<Self> {
        let doing = || "opening the Btrfs filesystem";
        let fs = Self::open_as_committed(disk)?;
        let replayed = log::replay(&fs).doing(|| "replaying the log").doing(doing)?;
        let Some(replayed) = replayed else { return Ok(fs) };
        let Self { shared, subvolume } = fs;
        let shared =
            Arc::into_inner(shared).ok_or_else(|| Error::invalid("the filesystem is in use")).doing(doing)?;
        let shared = Shared { replayed, trees: Mutex::default(), ..shared };
        Ok(Self { shared: Arc::new(shared), subvolume })
    }

    /// The filesystem on `disk` as its last transaction left it, without what waits in its log: what a kernel mounts with
    /// `rescue=nologreplay`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_as_committed(disk: Arc<dyn BlockRead>) -> Result<Self> {
        let doing = || "opening the Btrfs filesystem";
        let superblock = Superblock::read(&*disk).doing(doing)?;
        let blocks = open_chunks(disk, superblock).doing(doing)?;
        let root_tree = Tree::new(ROOT_TREE, blocks.superblock.root);
        let shared = Shared {
            blocks,
            root_tree,
            replayed: Replayed::default(),
            trees: Mutex::default(),
            unpacked: Unpacked::default(),
        };
        let mut fs = Self { shared: Arc::new(shared), subvolume: 0 };
        fs.subvolume = fs.default_subvolume().doing(doing)?;
        Ok(fs)
    }

    /// Whether its log has something that was synced after its last transaction: the machine was not shut down.
    pub fn has_log(&self) -> bool {
        self.blocks().superblock.log_root.is_some()
    }

    /// The number of the subvolume that it is seen from.
    pub fn subvolume(&self) -> u64 {
        self.subvolume
    }

    fn blocks(&self) -> &Blocks {
        &self.shared.blocks
    }

    fn root_tree(&self) -> &Tree {
        &self.shared.root_tree
    }
}

/// The addresses of the filesystem on `disk`: the system's chunks first, in which the chunk tree has the others.
fn open_chunks(disk: Arc<dyn BlockRead>, superblock: Superblock) -> Result<Blocks> {
    let (device, root) = (superblock.device, superblock.chunk_root);
    let system = Chunks::from_array(&superblock.system_chunks, device)?;
    if superblock.device_count != 1 {
        let (count, profiles) = (superblock.device_count, system.profiles().join(", "));
        return Err(Error::unsupported(format!("it is on {count} disks ({profiles})")));
    }
    let blocks = Blocks::new(disk, superblock, system);
    let mut all = Chunks::default();
    for item in Tree::new(CHUNK_TREE, root).items(&blocks, FIRST_OBJECT, CHUNK_ITEM) {
        let item = item.doing(|| "reading the chunk tree")?;
        all.add(item.key.offset, &item, device)?;
    }
    all.sort()?;
    Ok(blocks.with_chunks(all))
}

impl Filesystem for Btrfs {
    fn kind(&self) -> FilesystemKind {
        FilesystemKind::Btrfs
    }

    fn root(&self) -> Result<Node> {
        self.node(self.root_of(self.subvolume)?)
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        self.inode(id)
    }

    fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Option<NodeId>> {
        match directory.kind {
            NodeKind::Directory => self.lookup_name(directory.id, name),
            _ => Ok(None),
        }
    }

    fn entries<'a>(&'a self, directory: &Node) -> Entries<'a> {
        if directory.kind != NodeKind::Directory {
            return Box::new(std::iter::empty());
        }
        match self.read_directory(directory) {
            Ok(names) => Box::new(names),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn read_link(&self, link: &Node) -> Result<Vec<u8>> {
        self.target_of(link)
    }

    fn attributes(&self, node: &Node) -> Result<Vec<Attribute>> {
        self.read_attributes(node.id)
    }

    fn content(&self, file: &Node) -> Result<Box<dyn BlockRead>> {
        self.file_content(file)
    }

    /// The size is that of the disk as the filesystem knows it, and what no extent has is free. A kernel takes from that what
    /// it keeps in reserve, and counts twice what is stored twice.
    fn usage(&self) -> Result<Usage> {
        let Superblock { total_bytes: size, bytes_used, .. } = self.blocks().superblock;
        Ok(Usage { size, free: size.saturating_sub(bytes_used) })
    }

    /// A filesystem that was not unmounted is as its last commit left it; what was synced since is in its log.
    fn condition(&self) -> Result<Condition> {
        let superblock = &self.blocks().superblock;
        Ok(Condition { is_clean: !self.has_log(), size: superblock.device_size })
    }

    fn free_ranges(&self) -> Result<Vec<ByteRange>> {
        self.unused().doing(|| "looking for what no extent has")
    }

    fn subvolume(&self, choice: SubvolumeChoice<'_>) -> Result<Arc<dyn Filesystem>> {
        Ok(Arc::new(self.open_subvolume(choice)?))
    }

    fn subvolume_paths(&self) -> Result<Vec<Vec<u8>>> {
        let all = self.subvolumes()?.into_iter().filter_map(|own| own.path);
        Ok(all.filter(|path| !path.is_empty()).collect())
    }
}
