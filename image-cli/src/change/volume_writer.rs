//! Who changes a filesystem: one of ext4's kind, or a FAT, which has neither owners nor links.
//!
//! ```text
//! asked for      set_…     what cannot be is refused
//! brought along  give_…    what a FAT cannot hold is left out, as a mount with `quiet` does it
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use image_core::ErrorKind;
use image_core::block::{BlockRead, BlockWrite};
use image_core::fs::{
    Ext4Writer, FatRefusal, FatWriter, Filesystem, FilesystemKind, NewTimes, Node, NodeId, Ownership,
    Refusal, SpecialFile, Time,
};

use super::acl;
use crate::error::Advise;
use crate::files::SELINUX_LABEL;

const LABEL: &[u8] = SELINUX_LABEL.as_bytes();

/// A filesystem that is being changed.
pub(super) enum VolumeWriter {
    Ext4(Box<Ext4Writer>),
    Fat(Box<FatWriter>),
}

/// Whether files of such a filesystem are changed here.
pub(super) fn is_changed_here(kind: FilesystemKind) -> bool {
    kind.is_ext() || kind == FilesystemKind::Fat
}

/// What a FAT does not have is left out.
fn unless_refused(done: image_core::Result<()>) -> image_core::Result<()> {
    match done {
        Err(error) if matches!(error.cause(), Some(FatRefusal::Owner | FatRefusal::Mode)) => Ok(()),
        done => done,
    }
}

/// The number of an inode.
fn inode(node: NodeId) -> image_core::Result<u32> {
    u32::try_from(node.number)
        .map_err(|_| image_core::Error::corrupt(format!("no inode has the number {}", node.number)))
}

impl VolumeWriter {
    /// Of the filesystem of this kind that is all of `disk`.
    pub(super) fn open(kind: FilesystemKind, disk: Arc<dyn BlockWrite>, time: Time) -> crate::Result<Self> {
        if kind != FilesystemKind::Fat {
            return Ok(Self::Ext4(Box::new(Ext4Writer::open(disk, time)?)));
        }
        let writer = FatWriter::open(disk, time);
        let is_broken = writer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Corrupt);
        let writer = match is_broken {
            true => writer.hint(|| "fsck.fat repairs a FAT")?,
            false => writer?,
        };
        Ok(Self::Fat(Box::new(writer)))
    }

    /// Its files, with all changes.
    pub(super) fn files(&self) -> Arc<dyn Filesystem> {
        match self {
            Self::Ext4(writer) => Arc::new(writer.files().clone()),
            Self::Fat(writer) => Arc::new(writer.files().clone()),
        }
    }

    pub(super) fn create_file(
        &mut self,
        directory: NodeId,
        name: &[u8],
        own: &Ownership,
    ) -> image_core::Result<NodeId> {
        match self {
            Self::Ext4(writer) => writer.create_file(inode(directory)?, name, own).map(node),
            Self::Fat(writer) => writer.create_file(directory, name),
        }
    }

    pub(super) fn make_directory(
        &mut self,
        directory: NodeId,
        name: &[u8],
        own: &Ownership,
    ) -> image_core::Result<NodeId> {
        match self {
            Self::Ext4(writer) => writer.make_directory(inode(directory)?, name, own).map(node),
            Self::Fat(writer) => writer.make_directory(directory, name),
        }
    }

    pub(super) fn make_symlink(
        &mut self,
        directory: NodeId,
        name: &[u8],
        target: &[u8],
        own: &Ownership,
    ) -> image_core::Result<NodeId> {
        match self {
            Self::Ext4(writer) => writer.make_symlink(inode(directory)?, name, target, own).map(node),
            Self::Fat(_) => Err(FatRefusal::Kind.into()),
        }
    }

    pub(super) fn make_node(
        &mut self,
        directory: NodeId,
        name: &[u8],
        what: SpecialFile,
        own: &Ownership,
    ) -> image_core::Result<NodeId> {
        match self {
            Self::Ext4(writer) => writer.make_node(inode(directory)?, name, what, own).map(node),
            Self::Fat(_) => Err(FatRefusal::Kind.into()),
        }
    }

    pub(super) fn make_link(
        &mut self,
        directory: NodeId,
        name: &[u8],
        target: NodeId,
    ) -> image_core::Result<()> {
        match self {
            Self::Ext4(writer) => writer.make_link(inode(directory)?, name, inode(target)?),
            Self::Fat(_) => Err(FatRefusal::Kind.into()),
        }
    }

    pub(super) fn remove(&mut self, directory: NodeId, name: &[u8]) -> image_core::Result<()> {
        match self {
            Self::Ext4(writer) => writer.remove(inode(directory)?, name),
            Self::Fat(writer) => writer.remove(directory, name),
        }
    }

    pub(super) fn remove_tree(&mut self, directory: NodeId, name: &[u8]) -> image_core::Result<()> {
        match self {
            Self::Ext4(writer) => writer.remove_tree(inode(directory)?, name),
            Self::Fat(writer) => writer.remove_tree(directory, name),
        }
    }

    pub(super) fn rename(
        &mut self,
        directory: NodeId,
        name: &[u8],
        new_directory: NodeId,
        new_name: &[u8],
    ) -> image_core::Result<()> {
        match self {
            Self::Ext4(writer) => writer.rename(inode(directory)?, name, inode(new_directory)?, new_name),
            Self::Fat(writer) => writer.rename(directory, name, new_directory, new_name),
        }
    }

    pub(super) fn write_content(&mut self, file: NodeId, source: &dyn BlockRead) -> image_core::Result<()> {
        match self {
            Self::Ext4(writer) => writer.write_content(inode(file)?, source),
            Self::Fat(writer) => writer.write_content(file, source),
        }
    }

    pub(super) fn write_range(
        &mut self,
        file: NodeId,
        offset: u64,
        content: &mut dyn Read,
    ) -> image_core::Result<u64> {
        match self {
            Self::Ext4(writer) => writer.write_range(inode(file)?, offset, content),
            Self::Fat(writer) => writer.write_range(file, offset, content),
        }
    }

    pub(super) fn append_content(&mut self, file: NodeId, content: &mut dyn Read) -> image_core::Result<u64> {
        match self {
            Self::Ext4(writer) => writer.append_content(inode(file)?, content),
            Self::Fat(writer) => writer.append_content(file, content),
        }
    }

    pub(super) fn truncate(&mut self, file: NodeId) -> image_core::Result<()> {
        match self {
            Self::Ext4(writer) => writer.truncate(inode(file)?),
            Self::Fat(writer) => writer.set_len(file, 0),
        }
    }

    pub(super) fn set_len(&mut self, file: NodeId, size: u64) -> image_core::Result<()> {
        match self {
            Self::Ext4(writer) => writer.set_len(inode(file)?, size),
            Self::Fat(writer) => writer.set_len(file, size),
        }
    }

    pub(super) fn set_times(&mut self, node: NodeId, times: NewTimes) -> image_core::Result<()> {
        match self {
            Self::Ext4(writer) => writer.set_times(inode(node)?, times),
            Self::Fat(writer) => writer.set_times(node, times),
        }
    }

    pub(super) fn set_mode(&mut self, node: NodeId, mode: u16) -> image_core::Result<()> {
        match self {
            Self::Ext4(writer) => {
                let number = inode(node)?;
                writer.set_mode(number, mode)?;
                // Where there is a list, that is what counts.
                let own = writer.files().attributes(&writer.files().inode(number)?)?;
                let list = own.into_iter().find(|own| own.name == acl::ACCESS);
                match list.and_then(|list| acl::with_mode(&list.value, mode)) {
                    Some(list) => writer.set_attribute(number, acl::ACCESS, &list),
                    None => Ok(()),
                }
            }
            Self::Fat(writer) => writer.set_mode(node, mode),
        }
    }

    pub(super) fn set_owner(
        &mut self,
        node: NodeId,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> image_core::Result<()> {
        match self {
            Self::Ext4(writer) => writer.set_owner(inode(node)?, uid, gid),
            Self::Fat(writer) => writer.set_owner(node, uid, gid),
        }
    }

    pub(super) fn give_mode(&mut self, node: NodeId, mode: u16) -> image_core::Result<()> {
        unless_refused(self.set_mode(node, mode))
    }

    pub(super) fn give_owner(
        &mut self,
        node: NodeId,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> image_core::Result<()> {
        unless_refused(self.set_owner(node, uid, gid))
    }

    pub(super) fn give_attribute(
        &mut self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
    ) -> image_core::Result<()> {
        match self {
            Self::Ext4(writer) => writer.set_attribute(inode(node)?, name, value),
            Self::Fat(_) => Ok(()),
        }
    }

    /// Sets times, but of a FAT's root directory, which has none.
    pub(super) fn give_times(&mut self, node: NodeId, times: NewTimes) -> image_core::Result<()> {
        match self {
            Self::Fat(writer) if writer.files().root()?.id == node => Ok(()),
            writer => writer.set_times(node, times),
        }
    }

    /// Gives `node` these attributes in place of its own.
    pub(super) fn put_attributes(
        &mut self,
        node: NodeId,
        attributes: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> image_core::Result<()> {
        let Self::Ext4(writer) = self else { return Ok(()) };
        let number = inode(node)?;
        let own = writer.files().attributes(&writer.files().inode(number)?)?;
        let own: BTreeMap<Vec<u8>, Vec<u8>> = own.into_iter().map(|own| (own.name, own.value)).collect();
        for name in own.keys().filter(|name| !attributes.contains_key(*name)) {
            writer.remove_attribute(number, name)?;
        }
        for (name, value) in attributes.iter().filter(|(name, value)| own.get(*name) != Some(value)) {
            writer.set_attribute(number, name, value)?;
        }
        Ok(())
    }

    /// Gives `made` the label of `directory`, as a kernel with SELinux does where no policy says otherwise.
    pub(super) fn give_label(&mut self, directory: &Node, made: NodeId) -> image_core::Result<()> {
        let Self::Ext4(writer) = self else { return Ok(()) };
        let directory = writer.files().inode(inode(directory.id)?)?;
        let label = writer.files().attributes(&directory)?.into_iter().find(|own| own.name == LABEL);
        match label {
            Some(label) => writer.set_attribute(inode(made)?, LABEL, &label.value),
            None => Ok(()),
        }
    }

    /// Refuses changes that cannot be written in place. Nodes may be others after it.
    pub(super) fn check_in_place(&mut self) -> crate::Result<()> {
        let writer = match self {
            Self::Ext4(writer) => writer,
            Self::Fat(writer) => return Ok(writer.prepare()?),
        };
        let done = writer.check_journal();
        let refusal = done.as_ref().err().and_then(|error| error.cause::<Refusal>());
        let is_for_copy = matches!(refusal, Some(Refusal::NoJournal | Refusal::JournalTooSmall { .. }));
        match is_for_copy {
            true => done.hint(|| "-o NEW writes a changed copy of the image"),
            false => Ok(done?),
        }
    }

    /// Writes all changes, so that a kill at any moment leaves the former files or these.
    pub(super) fn commit_in_place(&mut self) -> image_core::Result<()> {
        match self {
            Self::Ext4(writer) => writer.commit_journaled(),
            Self::Fat(writer) => writer.commit(),
        }
    }

    /// Writes all changes to a copy that nobody else knows yet.
    pub(super) fn commit_copy(&mut self) -> image_core::Result<()> {
        match self {
            Self::Ext4(writer) => writer.commit(),
            Self::Fat(writer) => writer.commit(),
        }
    }
}

fn node(inode: u32) -> NodeId {
    NodeId::new(u64::from(inode))
}
