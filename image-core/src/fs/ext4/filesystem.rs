//! An ext filesystem in the words that all filesystems have.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4;
use super::inode::{Inode, NodeKind};
use super::read_directory::{Cursor, DirectoryEntry};
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, Result};
use crate::fs::FilesystemKind;
use crate::fs::filesystem::{Entries, Filesystem};
use crate::fs::node::{Attribute, Condition, Node, NodeEntry, NodeId, Usage};
use crate::fs::path;

/// A sector, in which inodes count what is set aside for them.
const SECTOR: u64 = 512;

impl Ext4 {
    /// What `path` leads to from the root directory; of a link at its end, the link itself unless `follow`. `None` if there is
    /// nothing.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for too many links; else as [`inode`](Self::inode).
    pub fn resolve(&self, path: &[u8], follow: bool) -> Result<Option<Inode>> {
        path::resolve(self, path, follow)?.map(|node| self.inode_of(node.id)).transpose()
    }

    /// The inode that `id` tells apart.
    ///
    /// # Errors
    /// As [`inode`](Self::inode).
    pub fn inode_of(&self, id: NodeId) -> Result<Inode> {
        match u32::try_from(id.number) {
            Ok(number) => self.inode(number),
            Err(_) => Err(Error::invalid(format!("no inode has the number {}", id.number))),
        }
    }
}

impl Inode {
    /// What is known of it, in the words that all filesystems have.
    pub fn node(&self) -> Node {
        Node {
            id: NodeId::new(self.number.into()),
            kind: self.kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            size: self.size,
            allocated: self.sectors.saturating_mul(SECTOR),
            links: self.links,
            flags: self.flags,
            accessed: self.accessed,
            changed: self.changed,
            modified: self.modified,
            created: self.created,
            device: self.device,
        }
    }
}

/// The names in a directory, with what has to be kept to read them.
struct Reading<'a> {
    fs: &'a Ext4,
    directory: Inode,
    cursor: Cursor,
}

impl Iterator for Reading<'_> {
    type Item = Result<NodeEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self { fs, directory, cursor } = self;
        let doing = || format!("reading the directory of inode {}", directory.number);
        let step = cursor.step(fs, directory).doing(doing).transpose()?;
        if step.is_err() {
            cursor.end();
        }
        let entry =
            |DirectoryEntry { name, inode, kind }| NodeEntry { name, id: NodeId::new(inode.into()), kind };
        Some(step.map(entry))
    }
}

impl Filesystem for Ext4 {
    fn kind(&self) -> FilesystemKind {
        let features = self.superblock().features;
        FilesystemKind::of_ext(features.compatible, features.incompatible, features.read_only)
    }

    fn root(&self) -> Result<Node> {
        Ok(self.root()?.node())
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        Ok(self.inode_of(id)?.node())
    }

    fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Option<NodeId>> {
        let found = self.lookup(&self.inode_of(directory.id)?, name)?;
        Ok(found.map(|number| NodeId::new(number.into())))
    }

    fn entries<'a>(&'a self, directory: &Node) -> Entries<'a> {
        if directory.kind != NodeKind::Directory {
            return Box::new(std::iter::empty());
        }
        match self.inode_of(directory.id) {
            Ok(directory) => {
                let cursor = Cursor::new(self, &directory);
                Box::new(Reading { fs: self, directory, cursor })
            }
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn read_link(&self, link: &Node) -> Result<Vec<u8>> {
        self.read_link(&self.inode_of(link.id)?)
    }

    fn attributes(&self, node: &Node) -> Result<Vec<Attribute>> {
        self.attributes(&self.inode_of(node.id)?)
    }

    fn content(&self, file: &Node) -> Result<Box<dyn BlockRead>> {
        let inode = self.inode_of(file.id)?;
        if inode.kind != NodeKind::File {
            return Err(Error::invalid(format!("inode {} is no regular file", inode.number)));
        }
        Ok(Box::new(self.content(inode)))
    }

    fn free_ranges(&self) -> Result<Vec<ByteRange>> {
        self.unused().doing(|| "looking for unused blocks")
    }

    fn condition(&self) -> Result<Condition> {
        let superblock = self.superblock();
        let is_clean = superblock.is_clean && self.replayed().is_none();
        Ok(Condition { is_clean, size: superblock.size() })
    }

    fn usage(&self) -> Result<Usage> {
        let superblock = self.superblock();
        let overhead = superblock.overhead.saturating_mul(superblock.cluster_size);
        Ok(Usage {
            size: superblock.size().saturating_sub(overhead),
            free: superblock.size().saturating_sub(superblock.used_size()),
        })
    }
}
