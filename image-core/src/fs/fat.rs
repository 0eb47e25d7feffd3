//! FAT12, FAT16 and FAT32, read as they are, by many threads at once.
//!
//! ```text
//! boot sector ─► layout ─┬─► table ─► chain ─► content
//!                        └─► directory ─► slots ─► long name, short entry ─► record ─► names
//! ```
//!
//! A file's number is where its short entry is, in bytes from the beginning of the volume; the root directory, which has no
//! entry, has 0. What looks like an entry but is in no directory is read too: only whoever asks for a number that was
//! not given to him finds it.
//!
//! `change.rs` changes files, `write.rs` makes FATs and takes files out of them, `scrub.rs` wipes what is in no file.
//!
//! Names are found whatever their case, long ones and short ones. They are shown as Linux shows them for `vfat` with `utf8` and
//! `shortname=mixed`: long names as they are, short ones in the code page 437, in small letters where the entry says so. Times are
//! taken for UTC. Everything has the mode 0o755, as with `umask=022`, and files that are read-only 0o555; the attributes (read-only,
//! hidden, system, archive) are told by [`Fat::attribute_bits`].
//!
//! Microsoft, "FAT: General Overview of On-Disk Format", 1.03. Of several tables the one that counts is read (FAT32 says which);
//! FSInfo is not looked at. What is not read: other versions of FAT32 than 0.0, and exFAT.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod chain;
mod change;
mod code_page;
mod content;
mod directory;
mod entry;
mod free_space;
mod layout;
mod long_name;
mod rule;
mod scrub;
mod table;
#[cfg(test)]
mod tests;
mod times;
mod write;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use change::{FatRefusal, FatWriter};
pub use code_page::CodePage;
pub use rule::FatRule;
pub use scrub::scrub_fat;
pub use write::{NewFat, NewFile, make_fat, remove_from_fat};

use super::name_cache::NameCache;
use super::{Attribute, Entries, Filesystem, FilesystemKind, Node, NodeEntry, NodeId, NodeKind, Time, Usage};
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, Result};
use content::Content;
use directory::{Directory, Records};
use entry::{ShortEntry, Slot, SlotKind, slot_kind};
use layout::{Layout, Root};
use table::Table;

/// Of all nodes but files that are read-only.
const MODE: u32 = 0o755;
const READ_ONLY_MODE: u32 = 0o555;
/// The root directory's number.
const ROOT: u64 = 0;

/// A FAT. Copies share what was read.
#[derive(Clone)]
pub struct Fat {
    volume: Arc<Volume>,
}

/// What all copies share.
struct Volume {
    table: Table<Arc<dyn BlockRead>>,
    code_page: CodePage,
    names: NameCache,
    /// How many clusters are free, once they were counted.
    free: Mutex<Option<u32>>,
    /// Where the root directory of FAT32 begins: a change may move it.
    root_cluster: AtomicU32,
}

impl Volume {
    fn layout(&self) -> &Layout {
        self.table.layout()
    }

    /// Where the root directory is.
    fn root(&self) -> Root {
        match self.layout().root {
            Root::Cluster(_) => Root::Cluster(self.root_cluster.load(Ordering::Relaxed)),
            fixed @ Root::Fixed(_) => fixed,
        }
    }

    /// What was read of the `len` bytes at `offset` is another thing now.
    fn forget(&self, offset: u64, len: u64) {
        self.table.pages().forget(offset, len);
        self.names.forget();
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl fmt::Debug for Fat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fat").field("layout", self.volume.layout()).finish_non_exhaustive()
    }
}

impl Fat {
    /// The FAT that is all of `disk`, with short names in the code page 437.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with a [`FatRule`]; [`Unsupported`](crate::ErrorKind::Unsupported) for another version
    /// of FAT32; whatever the disk says.
    pub fn open(disk: Arc<dyn BlockRead>) -> Result<Self> {
        Self::open_with(disk, CodePage::default())
    }

    /// As [`open`](Self::open), with short names in `code_page`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(disk: Arc<dyn BlockRead>, code_page: CodePage) -> Result<Self> {
        let layout = Layout::read(&disk).doing(|| "opening the FAT")?;
        let root_cluster = match layout.root {
            Root::Cluster(first) => AtomicU32::new(first),
            Root::Fixed(_) => AtomicU32::default(),
        };
        let (table, names) = (Table::new(disk, layout), NameCache::new(false));
        let volume = Volume { table, code_page, names, free: Mutex::default(), root_cluster };
        Ok(Self { volume: Arc::new(volume) })
    }

    /// The attributes of `node` as its entry has them: 1 read-only, 2 hidden, 4 system, 0x10 directory, 0x20 archive. The root
    /// directory has 0x10.
    ///
    /// # Errors
    /// As [`node`](Filesystem::node).
    pub fn attribute_bits(&self, node: &Node) -> Result<u8> {
        match node.id.number {
            ROOT => Ok(0x10),
            number => Ok(self.short_entry(number)?.attributes),
        }
    }

    fn short_entry(&self, number: u64) -> Result<ShortEntry> {
        let mut slot: Slot = [0; 32];
        if !self.volume.layout().may_have_entry(number) {
            return Err(Error::corrupt(FatRule::NoEntry(number)));
        }
        self.volume.read_described(&mut slot, number, "entry")?;
        match slot_kind(&slot) {
            SlotKind::Short => Ok(ShortEntry::new(&slot, self.volume.layout().width)),
            _ => Err(Error::corrupt(FatRule::NoEntry(number))),
        }
    }

    fn directory(&self, number: u64) -> Result<Directory> {
        if number == ROOT {
            return Ok(Directory::root(&self.volume));
        }
        let entry = self.short_entry(number)?;
        match entry.is_directory() {
            true => Ok(Directory::of_chain(&self.volume, entry.cluster, number)),
            false => Err(Error::corrupt(FatRule::NoEntry(number))),
        }
    }

    fn directory_node(&self, id: NodeId, directory: Directory) -> Node {
        let size = directory.len();
        // `.` and `..` are among them but in the root directory.
        let own = if id.number == ROOT { 2 } else { 0 };
        let links = directory.count_directories(&self.volume).saturating_add(own);
        Node { kind: NodeKind::Directory, size, allocated: size, links, ..plain(id) }
    }

    fn read_node(&self, id: NodeId) -> Result<Node> {
        if id.subvolume != 0 {
            return Err(Error::corrupt(FatRule::NoEntry(id.number)));
        }
        if id.number == ROOT {
            return Ok(self.directory_node(id, Directory::root(&self.volume)));
        }
        let entry = self.short_entry(id.number)?;
        let node = match entry.is_directory() {
            true => self.directory_node(id, Directory::of_chain(&self.volume, entry.cluster, id.number)),
            false => {
                let size = entry.size;
                let cluster_size = self.volume.layout().cluster_size;
                let allocated = size.div_ceil(cluster_size.max(1)).saturating_mul(cluster_size);
                let mode = if entry.is_read_only() { READ_ONLY_MODE } else { MODE };
                Node { size, allocated, mode, ..plain(id) }
            }
        };
        let ShortEntry { modified, accessed, created, .. } = entry;
        Ok(Node { modified, changed: modified, accessed, created, ..node })
    }
}

/// An empty file without times.
fn plain(id: NodeId) -> Node {
    let never = Time::default();
    Node {
        id,
        kind: NodeKind::File,
        mode: MODE,
        uid: 0,
        gid: 0,
        size: 0,
        allocated: 0,
        links: 1,
        flags: 0,
        accessed: never,
        changed: never,
        modified: never,
        created: None,
        device: None,
    }
}

/// The names in a directory, as they are read.
struct Listing<'a> {
    fat: &'a Fat,
    number: u64,
    /// `None` before the first, and behind an error.
    records: Option<Records>,
    is_begun: bool,
}

impl Listing<'_> {
    fn step(&mut self) -> Result<Option<NodeEntry>> {
        if !self.is_begun {
            self.is_begun = true;
            self.records = Some(Records::new(self.fat.directory(self.number)?));
        }
        let Some(records) = &mut self.records else { return Ok(None) };
        let Some(record) = records.step(&self.fat.volume)? else { return Ok(None) };
        let kind = if record.is_directory { NodeKind::Directory } else { NodeKind::File };
        let id = NodeId::new(record.offset);
        Ok(Some(NodeEntry { name: record.name.into_bytes(), id, kind: Some(kind) }))
    }
}

impl Iterator for Listing<'_> {
    type Item = Result<NodeEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().doing(|| format!("reading the directory at {:#x}", self.number));
        if !matches!(step, Ok(Some(_))) {
            self.records = None;
        }
        step.transpose()
    }
}

impl Filesystem for Fat {
    fn kind(&self) -> FilesystemKind {
        FilesystemKind::Fat
    }

    fn root(&self) -> Result<Node> {
        self.node(NodeId::new(ROOT))
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        self.read_node(id).doing(|| format!("reading the entry at {:#x}", id.number))
    }

    fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Option<NodeId>> {
        let number = directory.id.number;
        if directory.kind != NodeKind::Directory {
            return Ok(None);
        }
        // Dots at the end of a name do not count, for no name ends with one.
        let len = name.iter().rposition(|byte| *byte != b'.').map_or(0, |last| last.saturating_add(1));
        let name = name.get(..len).unwrap_or_default();
        let volume = &self.volume;
        let found = volume.names.find(directory.id, directory.size, name, |names| {
            let mut records = Records::new(self.directory(number)?);
            while let Some(record) = records.step(volume)? {
                let id = NodeId::new(record.offset);
                names.add(record.name.into_bytes(), id);
                record.alias.iter().for_each(|alias| names.add_second(alias, id));
            }
            Ok(())
        });
        found.doing(|| format!("looking for a name in the directory at {number:#x}"))
    }

    fn entries<'a>(&'a self, directory: &Node) -> Entries<'a> {
        let is_begun = directory.kind != NodeKind::Directory;
        Box::new(Listing { fat: self, number: directory.id.number, records: None, is_begun })
    }

    fn read_link(&self, link: &Node) -> Result<Vec<u8>> {
        Err(Error::invalid(format!("the entry at {:#x} is no link", link.id.number)))
    }

    fn attributes(&self, _: &Node) -> Result<Vec<Attribute>> {
        Ok(Vec::new())
    }

    fn content(&self, file: &Node) -> Result<Box<dyn BlockRead>> {
        let doing = || format!("opening the file of the entry at {:#x}", file.id.number);
        if file.kind != NodeKind::File {
            return Err(Error::invalid("it is no regular file")).doing(doing);
        }
        let entry = self.short_entry(file.id.number).doing(doing)?;
        let content = Content::new(Arc::clone(&self.volume), entry.cluster, entry.size).doing(doing)?;
        Ok(Box::new(content))
    }

    fn free_ranges(&self) -> Result<Vec<ByteRange>> {
        self.unused().doing(|| "looking for the free clusters of the FAT")
    }

    fn usage(&self) -> Result<Usage> {
        let volume = &self.volume;
        let mut free = volume.free.lock().unwrap_or_else(PoisonError::into_inner);
        let free = match *free {
            Some(free) => free,
            None => {
                let counted = volume.table.free_count().doing(|| "counting the free clusters of the FAT")?;
                *free.insert(counted)
            }
        };
        let in_bytes = |clusters: u32| u64::from(clusters).saturating_mul(volume.layout().cluster_size);
        Ok(Usage { size: in_bytes(volume.layout().clusters()), free: in_bytes(free) })
    }
}
