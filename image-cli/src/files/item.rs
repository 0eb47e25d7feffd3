//! Files of an image, a folder or an archive, told alike: to be compared, and to be packed.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::iter::Peekable;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_core::block::{BlockRead, FileDisk, MemoryDisk};
use image_core::fs::{Filesystem, FilesystemKind, Node, NodeId, NodeKind, Time};

use super::archived::{Archived, Stored};
use super::by_names;
use crate::error::{Context, err};
use crate::system::{Step, System};

/// No value of an attribute is larger (xattr(7)).
const VALUE_MAX: usize = 64 << 10;

/// The attribute in which SELinux has its label.
pub(crate) const SELINUX_LABEL: &str = "security.selinux";

/// What is compared.
#[derive(Debug)]
#[non_exhaustive]
pub enum Tree {
    /// The files of an image, from this path on.
    Image(Box<System>, PathBuf),
    /// A folder of this machine.
    Folder(PathBuf),
    /// The files of an archive, from this path on.
    Archive(Archived, PathBuf),
}

/// One file after the other.
pub(crate) type Items<'a> = Box<dyn Iterator<Item = crate::Result<Item<'a>>> + 'a>;

impl Tree {
    /// All of it, directories before what is in them, and names in the order of their bytes.
    pub(crate) fn items(&self) -> crate::Result<Items<'_>> {
        match self {
            Self::Image(system, start) => {
                let walk = system.walk(start, true)?;
                let walk =
                    walk.ok_or_else(|| err!("{}: there is no such file in the image", start.display()))?;
                Ok(Box::new(walk.map(Item::of)))
            }
            // Items of a folder live as long as anybody wants.
            Self::Folder(folder) => {
                Ok(Box::new(Folder::new(folder)?.map(|item| item.map(|item: Item<'static>| item))))
            }
            Self::Archive(archive, start) => {
                let found = archive.beneath(start).with_context(|| start.display().to_string())?;
                Ok(Box::new(found.map(|(path, stored)| Ok(Item::stored(path, stored, archive)))))
            }
        }
    }
}

/// A file.
pub(crate) struct Item<'a> {
    /// Its path from where the comparison began, without a slash in front.
    pub(crate) path: Vec<u8>,
    pub(crate) node: Node,
    source: Source<'a>,
}

enum Source<'a> {
    Image(&'a Arc<dyn Filesystem>),
    /// A file of this machine.
    Host(PathBuf),
    /// What is in it, or where it points to.
    Made(Vec<u8>),
    /// An entry of an archive.
    Archive(&'a Stored, &'a Archived),
}

impl<'a> Item<'a> {
    /// What a walk through an image has come to.
    ///
    /// # Errors
    /// If that cannot be read.
    pub(crate) fn of(step: Step<'a>) -> crate::Result<Self> {
        Ok(Item { path: step.path, node: step.node?, source: Source::Image(step.fs) })
    }

    /// The file `path` beneath the folder `root` of this machine, itself if it is a link.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn at(root: &Path, path: &[u8]) -> crate::Result<Item<'static>> {
        let host = match path.is_empty() {
            true => root.to_owned(),
            false => root.join(OsStr::from_bytes(path)),
        };
        let metadata =
            std::fs::symlink_metadata(&host).with_context(|| format!("looking at {}", host.display()))?;
        Ok(Item { node: node_of(&metadata), path: path.to_vec(), source: Source::Host(host) })
    }

    /// The file `path` that is nowhere yet, without attributes: of a regular file `content` is in it, a link points there.
    pub(crate) fn made(path: Vec<u8>, node: Node, content: Vec<u8>) -> Item<'static> {
        let size = content.len() as u64;
        Item { node: Node { size, ..node }, path, source: Source::Made(content) }
    }

    /// An entry of an `archive`, which has this path from where the comparison began.
    fn stored(path: Vec<u8>, stored: &'a Stored, archive: &'a Archived) -> Self {
        Item { path, node: stored.node(), source: Source::Archive(stored, archive) }
    }

    /// Whether nothing is known of it but that it is a directory.
    pub(super) fn is_implied(&self) -> bool {
        matches!(self.source, Source::Archive(stored, _) if stored.is_implied())
    }

    /// What its filesystem is; `None` for one of this machine.
    pub(crate) fn filesystem(&self) -> Option<FilesystemKind> {
        match &self.source {
            Source::Image(fs) => Some(fs.kind()),
            Source::Host(_) | Source::Made(_) | Source::Archive(..) => None,
        }
    }

    /// Its path from the root of what it is in.
    pub(crate) fn absolute(&self) -> PathBuf {
        absolute(&self.path)
    }

    /// Its path, for people.
    pub(crate) fn shown(&self) -> String {
        format!("/{}", String::from_utf8_lossy(&self.path))
    }

    /// Where a link points to.
    pub(crate) fn target(&self) -> crate::Result<Vec<u8>> {
        Ok(match &self.source {
            Source::Image(fs) => fs.read_link(&self.node)?,
            Source::Host(path) => std::fs::read_link(path)
                .with_context(|| format!("reading the link {}", path.display()))?
                .into_os_string()
                .into_vec(),
            Source::Made(target) => target.clone(),
            Source::Archive(stored, _) => stored.target(),
        })
    }

    /// Its extended attributes.
    pub(crate) fn attributes(&self) -> crate::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        match &self.source {
            Source::Image(fs) => {
                let all = fs.attributes(&self.node).with_context(|| self.shown())?;
                Ok(all.into_iter().map(|own| (own.name, own.value)).collect())
            }
            Source::Host(path) => {
                host_attributes(path).with_context(|| format!("reading the attributes of {}", path.display()))
            }
            Source::Made(_) => Ok(BTreeMap::new()),
            Source::Archive(stored, _) => Ok(stored.attributes()),
        }
    }

    /// What is in it.
    pub(crate) fn content(&self) -> crate::Result<Box<dyn BlockRead>> {
        match &self.source {
            Source::Image(fs) => fs.content(&self.node).with_context(|| self.shown()),
            // What has no bytes is no disk.
            Source::Host(_) if self.node.size == 0 => Ok(Box::new(MemoryDisk::new(0))),
            Source::Host(path) => Ok(Box::new(FileDisk::open(path)?)),
            Source::Made(content) => Ok(Box::new(MemoryDisk::from_bytes(content.clone()))),
            Source::Archive(stored, archive) => Ok(Box::new(stored.content(archive))),
        }
    }
}

fn host_attributes(path: &Path) -> rustix::io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = vec![0; VALUE_MAX];
    let len = match rustix::fs::llistxattr(path, &mut names) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        len => len?,
    };
    let mut found = BTreeMap::new();
    let names = names.get(..len).unwrap_or_default();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; VALUE_MAX];
        let len = rustix::fs::lgetxattr(path, name, &mut value)?;
        value.truncate(len);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}

/// A walk through a folder of this machine. Links are not followed.
pub(crate) struct Folder {
    root: PathBuf,
    /// Paths that are to come, the next one last.
    todo: Vec<Vec<u8>>,
}

impl Folder {
    /// Through all of `root`.
    ///
    /// # Errors
    /// If it is no folder.
    pub(crate) fn new(root: &Path) -> crate::Result<Self> {
        let metadata = std::fs::metadata(root).with_context(|| format!("looking at {}", root.display()))?;
        match metadata.is_dir() {
            true => Ok(Self { root: root.to_owned(), todo: vec![Vec::new()] }),
            false => Err(err!("{} is neither an image nor a folder", root.display())),
        }
    }

    fn item(&mut self, path: Vec<u8>) -> crate::Result<Item<'static>> {
        let host = match path.is_empty() {
            true => self.root.clone(),
            false => self.root.join(OsStr::from_bytes(&path)),
        };
        let looking = || format!("looking at {}", host.display());
        let metadata = match path.is_empty() {
            true => std::fs::metadata(&host),
            false => std::fs::symlink_metadata(&host),
        };
        let metadata = metadata.with_context(looking)?;
        if metadata.is_dir() {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(&host).with_context(looking)? {
                names.push(entry.with_context(looking)?.file_name().into_vec());
            }
            names.sort_unstable_by(|one, other| other.cmp(one));
            let joined = |name: Vec<u8>| match path.is_empty() {
                true => name,
                false => [&path, b"/".as_slice(), &name].concat(),
            };
            self.todo.extend(names.into_iter().map(joined));
        }
        Ok(Item { node: node_of(&metadata), path, source: Source::Host(host) })
    }
}

impl Iterator for Folder {
    type Item = crate::Result<Item<'static>>;

    fn next(&mut self) -> Option<Self::Item> {
        let path = self.todo.pop()?;
        Some(self.item(path))
    }
}

/// `path`, which has no slash in front, from the root.
pub(crate) fn absolute(path: &[u8]) -> PathBuf {
    Path::new("/").join(OsStr::from_bytes(path))
}

/// Two walks at once, by path: files that both have together. An error comes at once.
pub(crate) struct Both<'a> {
    one: Peekable<Items<'a>>,
    other: Peekable<Items<'a>>,
}

impl<'a> Both<'a> {
    /// Through `one` and `other`.
    pub(crate) fn new(one: Items<'a>, other: Items<'a>) -> Self {
        Self { one: one.peekable(), other: other.peekable() }
    }

    /// Whose next path comes first; `None` when there is none any more.
    fn order(&mut self) -> Option<Ordering> {
        Some(match (self.one.peek(), self.other.peek()) {
            (None, None) => return None,
            (Some(Err(_)) | Some(_), None) | (Some(Err(_)), _) => Ordering::Less,
            (None, Some(_)) | (_, Some(Err(_))) => Ordering::Greater,
            (Some(Ok(one)), Some(Ok(other))) => by_names(&one.path, &other.path),
        })
    }
}

impl<'a> Iterator for Both<'a> {
    type Item = crate::Result<(Option<Item<'a>>, Option<Item<'a>>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let order = self.order()?;
        let one = if order.is_le() { self.one.next().transpose() } else { Ok(None) };
        let other = if order.is_ge() { self.other.next().transpose() } else { Ok(None) };
        Some(one.and_then(|one| Ok((one, other?))))
    }
}

/// What this machine tells of a file, in the words that images have.
fn node_of(metadata: &Metadata) -> Node {
    let time = |seconds, nanoseconds: i64| Time { seconds, nanoseconds: nanoseconds as u32 };
    let kind = metadata.file_type();
    let device = metadata.rdev();
    let is_device = kind.is_char_device() || kind.is_block_device();
    Node {
        id: NodeId::new(metadata.ino()),
        kind: match kind {
            kind if kind.is_dir() => NodeKind::Directory,
            kind if kind.is_symlink() => NodeKind::Link,
            kind if kind.is_char_device() => NodeKind::CharacterDevice,
            kind if kind.is_block_device() => NodeKind::BlockDevice,
            kind if kind.is_fifo() => NodeKind::Pipe,
            kind if kind.is_socket() => NodeKind::Socket,
            _ => NodeKind::File,
        },
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: metadata.size(),
        allocated: metadata.blocks().saturating_mul(512),
        links: u32::try_from(metadata.nlink()).unwrap_or(u32::MAX),
        flags: 0,
        accessed: time(metadata.atime(), metadata.atime_nsec()),
        changed: time(metadata.ctime(), metadata.ctime_nsec()),
        modified: time(metadata.mtime(), metadata.mtime_nsec()),
        created: None,
        device: is_device.then(|| (rustix::fs::major(device), rustix::fs::minor(device))),
    }
}
