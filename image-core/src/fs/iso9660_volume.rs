//! ISO 9660, read as Linux reads it, by many threads at once.
//!
//! ```text
//! descriptors ─┬─► root ─► directory ─► record ─┬─► system use ─► Rock Ridge: name, mode, owner, link, times
//!              │                                └─► content
//!              └─► boot catalog
//! ```
//!
//! Names are those of Rock Ridge where the root directory says so and has anything in it; else those of Joliet, which are found
//! whatever their case; else the plain ones in small letters and without `;1`. What has no mode has 0o755. A name of Rock Ridge is told
//! whole, where Linux cuts it at 253 bytes.
//!
//! A file's number is where its first record is, in bytes; a directory's, where its own record is, which is the first in it, so
//! that it has one number wherever it is named. What looks like a record but is in no directory is read too: only whoever asks
//! for a number that was not given to him finds it.
//!
//! ECMA-119 (4th edition), IEEE P1281 and P1282, the Joliet Specification, El Torito 1.0. What is not read: interleaved files, what is
//! in files that are compressed (zisofs), High Sierra, and sessions other than the first.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod boot;
mod content;
mod descriptors;
mod directory;
mod names;
mod record;
mod rock_ridge;
mod rule;
mod system_use;
#[cfg(test)]
mod tests;
mod times;

use std::fmt;
use std::sync::Arc;

pub use boot::BootEntry;
pub use rule::IsoReadRule;

use super::name_cache::NameCache;
use super::page_cache::PageCache;
use super::{Attribute, Entries, Filesystem, FilesystemKind, Node, NodeEntry, NodeId, NodeKind, Usage};
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, Result};
use content::Content;
use descriptors::{Descriptors, Hierarchy};
use directory::Records;
use record::Record;
use rock_ridge::{Posix, RockRidge};

/// Of nodes that have none.
const MODE: u32 = 0o755;

/// A volume of ISO 9660. Copies share what was read.
#[derive(Clone)]
pub struct Iso {
    volume: Arc<Volume>,
}

/// What all copies share.
struct Volume {
    pages: PageCache<Arc<dyn BlockRead>>,
    hierarchy: Hierarchy,
    name_kind: NameKind,
    names: NameCache,
    boot_catalog: Option<u32>,
}

/// Which names are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NameKind {
    Plain,
    Joliet,
    /// With so many bytes of each system use area that are somebody else's.
    RockRidge {
        skip: u8,
    },
}

impl fmt::Debug for Iso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Volume { hierarchy, name_kind, .. } = &*self.volume;
        f.debug_struct("Iso").field("hierarchy", hierarchy).field("names", name_kind).finish_non_exhaustive()
    }
}

impl Iso {
    /// The volume that is all of `disk`.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with an [`IsoReadRule`]; [`Unsupported`](crate::ErrorKind::Unsupported) for High
    /// Sierra; whatever the disk says.
    pub fn open(disk: Arc<dyn BlockRead>) -> Result<Self> {
        let doing = || "opening the ISO 9660 volume";
        let Descriptors { primary, joliet, boot_catalog } = Descriptors::read(&disk).doing(doing)?;
        let (pages, name_kind) = (PageCache::new(disk), NameKind::Plain);
        let names = NameCache::new(true);
        let mut volume = Volume { pages, hierarchy: primary, name_kind, names, boot_catalog };
        let own = volume.own_record(primary.root);
        let skip = own.as_ref().ok().and_then(|own| system_use::rock_ridge_skip(&volume, own));
        if let (Some(skip), Ok(own)) = (skip, &own) {
            volume.name_kind = NameKind::RockRidge { skip };
            let is_empty = matches!(Records::new(&volume, own).step(&volume), Ok(None));
            if !is_empty || joliet.is_none() {
                return Ok(Self { volume: Arc::new(volume) });
            }
        }
        if let Some(hierarchy) = joliet {
            (volume.hierarchy, volume.name_kind) = (hierarchy, NameKind::Joliet);
            volume.names = NameCache::new(false);
        }
        Ok(Self { volume: Arc::new(volume) })
    }

    /// What a machine may boot from it, by its El Torito boot catalog, the default entry first; nothing if it has none.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with an [`IsoReadRule`]; whatever the disk says.
    pub fn boot_catalog(&self) -> Result<Vec<BootEntry>> {
        let Some(sector) = self.volume.boot_catalog else { return Ok(Vec::new()) };
        boot::catalog(&self.volume, sector).doing(|| "reading the boot catalog")
    }

    fn records(&self, directory: &Node) -> Result<Records> {
        let own = self.volume.own_record(directory.id.number)?;
        Ok(Records::new(&self.volume, &own))
    }

    fn read_node(&self, id: NodeId) -> Result<Node> {
        let record = self.volume.record(id)?;
        let ridge = self.volume.ridge(&record)?;
        let kind = self.volume.kind(&record, &ridge)?;
        let size = match (kind, &ridge.link) {
            (NodeKind::Link, Some(link)) => link.len() as u64,
            (NodeKind::File, _) => match ridge.compressed {
                Some(size) => size,
                None => {
                    let records = content::records(&self.volume, &record)?;
                    records.iter().fold(0, |size: u64, record| size.saturating_add(record.len()))
                }
            },
            (NodeKind::Directory, _) => record.len(),
            _ => 0,
        };
        let allocated = record.len().checked_next_multiple_of(self.volume.hierarchy.block_size);
        let posix = Posix { mode: MODE, links: 1, uid: 0, gid: 0 };
        let Posix { mode, links, uid, gid } = ridge.posix.unwrap_or(posix);
        let recorded = record.time();
        let is_device = matches!(kind, NodeKind::CharacterDevice | NodeKind::BlockDevice);
        Ok(Node {
            id,
            kind,
            mode: mode & 0o7777,
            uid,
            gid,
            size,
            allocated: allocated.unwrap_or(size).max(if kind == NodeKind::File { size } else { 0 }),
            links,
            flags: 0,
            accessed: ridge.accessed.unwrap_or(recorded),
            changed: ridge.changed.or(ridge.created).unwrap_or(recorded),
            modified: ridge.modified.unwrap_or(recorded),
            created: ridge.created,
            device: ridge.device.filter(|_| is_device),
        })
    }
}

impl Volume {
    /// The record `id`.
    fn record(&self, id: NodeId) -> Result<Record> {
        let found = if id.subvolume == 0 { Record::read(self, id.number)? } else { None };
        let none = || Error::corrupt(IsoReadRule::Record { offset: id.number, field: "length" });
        found.ok_or_else(none)
    }

    /// The own record of the directory at `offset`.
    fn own_record(&self, offset: u64) -> Result<Record> {
        let record = self.record(NodeId::new(offset))?;
        match record.is_directory() {
            true => Ok(record),
            false => Err(record.wrong("kind: it is no directory")),
        }
    }

    /// What Rock Ridge says of `record`; nothing where it is not used.
    fn ridge(&self, record: &Record) -> Result<RockRidge> {
        match self.name_kind {
            // In the first record of all there is nothing of anybody else.
            NameKind::RockRidge { .. } if record.offset == self.hierarchy.root => {
                RockRidge::read(self, record, 0)
            }
            NameKind::RockRidge { skip } => RockRidge::read(self, record, skip),
            _ => Ok(RockRidge::default()),
        }
    }
}

/// The names in a directory, as they are read.
struct Listing<'a> {
    iso: &'a Iso,
    number: u64,
    /// `None` behind an error, and behind the last.
    records: Option<Result<Records>>,
}

impl Listing<'_> {
    fn step(&mut self) -> Result<Option<NodeEntry>> {
        let mut records = match self.records.take() {
            None => return Ok(None),
            Some(records) => records?,
        };
        let Some(found) = records.step(&self.iso.volume)? else { return Ok(None) };
        self.records = Some(Ok(records));
        Ok(Some(NodeEntry { name: found.name, id: found.id, kind: Some(found.kind) }))
    }
}

impl Iterator for Listing<'_> {
    type Item = Result<NodeEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().doing(|| format!("reading the directory at {:#x}", self.number)).transpose()
    }
}

impl Filesystem for Iso {
    fn kind(&self) -> FilesystemKind {
        FilesystemKind::Iso9660
    }

    fn root(&self) -> Result<Node> {
        self.node(NodeId::new(self.volume.hierarchy.root))
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        self.read_node(id).doing(|| format!("reading the directory record at {:#x}", id.number))
    }

    fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Option<NodeId>> {
        if directory.kind != NodeKind::Directory {
            return Ok(None);
        }
        let volume = &self.volume;
        let found = volume.names.find(directory.id, directory.size, name, |names| {
            let mut records = self.records(directory)?;
            while let Some(found) = records.step(volume)? {
                names.add(found.name, found.id);
            }
            Ok(())
        });
        found.doing(|| format!("looking for a name in the directory at {:#x}", directory.id.number))
    }

    fn entries<'a>(&'a self, directory: &Node) -> Entries<'a> {
        let records = (directory.kind == NodeKind::Directory).then(|| self.records(directory));
        Box::new(Listing { iso: self, number: directory.id.number, records })
    }

    fn read_link(&self, link: &Node) -> Result<Vec<u8>> {
        let doing = || format!("reading the link of the directory record at {:#x}", link.id.number);
        if link.kind != NodeKind::Link {
            return Err(Error::invalid("it is no link")).doing(doing);
        }
        let record = self.volume.record(link.id).doing(doing)?;
        let target = self.volume.ridge(&record).doing(doing)?.link;
        target.ok_or_else(|| record.wrong("link: it leads nowhere")).doing(doing)
    }

    fn attributes(&self, _: &Node) -> Result<Vec<Attribute>> {
        Ok(Vec::new())
    }

    fn content(&self, file: &Node) -> Result<Box<dyn BlockRead>> {
        let doing = || format!("opening the file of the directory record at {:#x}", file.id.number);
        if file.kind != NodeKind::File {
            return Err(Error::invalid("it is no regular file")).doing(doing);
        }
        let record = self.volume.record(file.id).doing(doing)?;
        if self.volume.ridge(&record).doing(doing)?.compressed.is_some() {
            return Err(Error::unsupported("the file is compressed (zisofs)")).doing(doing);
        }
        Ok(Box::new(Content::new(Arc::clone(&self.volume), &record).doing(doing)?))
    }

    /// None: nothing is ever written to it.
    fn free_ranges(&self) -> Result<Vec<ByteRange>> {
        Ok(Vec::new())
    }

    fn usage(&self) -> Result<Usage> {
        let Hierarchy { block_size, blocks, .. } = self.volume.hierarchy;
        Ok(Usage { size: blocks.saturating_mul(block_size), free: 0 })
    }
}
