//! A filesystem: nodes, and names that lead from one to another.
//!
//! ```text
//! root ─► entries, lookup ─► NodeId ─► node ─┬─► content, a disk
//!                                            ├─► read_link
//!                                            └─► attributes
//! ```
//!
//! What is read here is untrusted. A directory may name itself, or a node that there is not: whoever walks keeps count of where
//! he was.

use std::sync::Arc;

use super::FilesystemKind;
use super::node::{Attribute, Condition, Node, NodeEntry, NodeId, SubvolumeChoice, Usage};
use crate::block::{BlockRead, ByteRange};
use crate::error::{Error, Result};

/// A filesystem that can be read, from many threads at once.
pub trait Filesystem: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> FilesystemKind;

    /// The root directory.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    fn root(&self) -> Result<Node>;

    /// The node `id`.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for one that there is not, or that is broken; whatever the disk says.
    fn node(&self, id: NodeId) -> Result<Node>;

    /// What `name` names in `directory`; `None` also for what is no directory.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Option<NodeId>>;

    /// The names in `directory`, in the filesystem's own order, without `.` and `..`; none of what is no directory. Behind an
    /// error there is nothing more.
    fn entries<'a>(&'a self, directory: &Node) -> Entries<'a>;

    /// Where `link` points to.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for what is no link; else as [`node`](Self::node).
    fn read_link(&self, link: &Node) -> Result<Vec<u8>>;

    /// Its extended attributes, with names and values as listxattr(2) and getxattr(2) have them for root.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    fn attributes(&self, node: &Node) -> Result<Vec<Attribute>>;

    /// What is in the regular file `file`, as a disk that says where it has data, zeroes and holes.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for what is no regular file; else as [`node`](Self::node).
    fn content(&self, file: &Node) -> Result<Box<dyn BlockRead>>;

    /// How full it is.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    fn usage(&self) -> Result<Usage>;

    /// Whether it was unmounted cleanly, and how much of its disk it takes.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where nothing tells that; else as [`node`](Self::node).
    fn condition(&self) -> Result<Condition> {
        Err(Error::unsupported(format!("whether {} was unmounted cleanly is not known here", self.kind())))
    }

    /// The places on its disk that it counts as free, in their order and as long as they can be; of very many, the longest.
    /// What waits in a log or journal is taken into account. Who leaves them out must be sure: whatever speaks against what is
    /// counted as free is an error.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where it is not sure what is free; else as [`node`](Self::node).
    fn free_ranges(&self) -> Result<Vec<ByteRange>> {
        Err(Error::unsupported(format!("what is free in {} is not known here", self.kind())))
    }

    /// It, seen from one of its subvolumes.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where there are none; [`Invalid`](crate::ErrorKind::Invalid) for one that there
    /// is not; else as [`node`](Self::node).
    fn subvolume(&self, _: SubvolumeChoice<'_>) -> Result<Arc<dyn Filesystem>> {
        Err(Error::unsupported(format!("{} has no subvolumes", self.kind())))
    }

    /// The paths of its subvolumes from the top, without the top itself; none where there are none.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    fn subvolume_paths(&self) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }
}

/// The names in a directory, one after the other.
pub type Entries<'a> = Box<dyn Iterator<Item = Result<NodeEntry>> + Send + 'a>;

impl<F: Filesystem + ?Sized> Filesystem for Arc<F> {
    fn kind(&self) -> FilesystemKind {
        (**self).kind()
    }

    fn root(&self) -> Result<Node> {
        (**self).root()
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        (**self).node(id)
    }

    fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Option<NodeId>> {
        (**self).lookup(directory, name)
    }

    fn entries<'a>(&'a self, directory: &Node) -> Entries<'a> {
        (**self).entries(directory)
    }

    fn read_link(&self, link: &Node) -> Result<Vec<u8>> {
        (**self).read_link(link)
    }

    fn attributes(&self, node: &Node) -> Result<Vec<Attribute>> {
        (**self).attributes(node)
    }

    fn content(&self, file: &Node) -> Result<Box<dyn BlockRead>> {
        (**self).content(file)
    }

    fn usage(&self) -> Result<Usage> {
        (**self).usage()
    }

    fn condition(&self) -> Result<Condition> {
        (**self).condition()
    }

    fn free_ranges(&self) -> Result<Vec<ByteRange>> {
        (**self).free_ranges()
    }

    fn subvolume(&self, choice: SubvolumeChoice<'_>) -> Result<Arc<dyn Filesystem>> {
        (**self).subvolume(choice)
    }

    fn subvolume_paths(&self) -> Result<Vec<Vec<u8>>> {
        (**self).subvolume_paths()
    }
}
