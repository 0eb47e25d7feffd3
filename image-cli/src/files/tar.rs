//! Archives of the files of an image, which keep everything that they have.
//!
//! ```text
//! Step ─┬─ pax header: what a tar header has no room for, times to the nanosecond, attributes, rights      header.rs, acl.rs
//!       ├─ header of 512 bytes
//!       └─ content; of a sparse file a map of its data, and only that                                       sparse.rs
//! ```
//!
//! The pax interchange format (POSIX.1-2024, pax, "pax Interchange Format"), with the records that GNU tar and libarchive have for
//! what POSIX does not know: `SCHILY.xattr.*`, `SCHILY.acl.*`, `SCHILY.fflags`, and sparse files of GNU tar's format 1.0. The same files
//! make the same bytes: nothing is taken from the machine.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod acl;
mod header;
mod sparse;
mod unpack;

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use image_core::block::BlockRead;
use image_core::fs::{NodeId, NodeKind};

use super::item::Item;
use crate::error::Context;
use crate::monitor::CancellationToken;
use crate::printable::printable;
use crate::system::Walk;
pub(crate) use header::Kind;
use header::{BLOCK, Header};
pub(crate) use unpack::{Entry, Unpack, inside};

/// Content is read in such pieces, in bytes.
const PIECE: usize = 1 << 20;
/// Archives are so many bytes long, or a multiple (tar(5), "blocking factor").
const RECORD: u64 = 10_240;
/// Files with several names whose first name is remembered.
const LINKS_MAX: usize = 1 << 20;

/// What was put into an archive, and what could not be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Packed {
    /// How many files, of whatever kind.
    pub files: u64,
    /// Paths of what an archive cannot have: sockets.
    pub left_out: Vec<String>,
}

/// Writes all that `walk` comes to into `out`, with paths that begin with `./`.
///
/// # Errors
/// If a file cannot be read: nothing is left out without a word. Whatever `out` says.
pub fn tar_out(walk: Walk<'_>, out: &mut dyn Write, cancel: &CancellationToken) -> crate::Result<Packed> {
    let mut archive = Archive::new(out);
    // Of files with several names, the one that was packed.
    let mut first_names: HashMap<(usize, NodeId), Vec<u8>> = HashMap::new();
    for step in walk {
        cancel.check()?;
        let (volume, doing) = (step.volume, packing(&step.path));
        let item = Item::of(step).context(doing)?;
        let node = &item.node;
        let first = first_names.get(&(volume, node.id)).filter(|_| node.kind != NodeKind::Socket);
        match first {
            Some(first) => archive.add_link(&item, first)?,
            None => archive.add(&item, None, cancel)?,
        }
        let has_names = node.links > 1 && node.kind != NodeKind::Directory;
        if first.is_none() && has_names && first_names.len() < LINKS_MAX {
            first_names.insert((volume, node.id), item.path);
        }
    }
    archive.end()
}

/// An archive that is being written.
pub(crate) struct Archive<'a> {
    out: &'a mut dyn Write,
    written: u64,
    packed: Packed,
}

impl<'a> Archive<'a> {
    /// Into `out`.
    pub(crate) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, written: 0, packed: Packed::default() }
    }

    /// Adds `item`, with its own attributes or those that are given.
    ///
    /// # Errors
    /// If it cannot be read; whatever the output says.
    pub(crate) fn add(
        &mut self,
        item: &Item<'_>,
        attributes: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
        cancel: &CancellationToken,
    ) -> crate::Result<()> {
        self.add_item(item, attributes, cancel).with_context(|| packing(&item.path))
    }

    /// Adds `item` as another name of what was added, or is there, as `first`.
    ///
    /// # Errors
    /// Whatever the output says.
    pub(crate) fn add_link(&mut self, item: &Item<'_>, first: &[u8]) -> crate::Result<()> {
        let mut header = Header::new(&name_of(item), &item.node);
        header.set_attributes(item.attributes()?);
        header.set_link(Kind::HardLink, &[b"./", first].concat());
        self.write_header(header).with_context(|| packing(&item.path))
    }

    fn add_item(
        &mut self,
        item: &Item<'_>,
        attributes: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
        cancel: &CancellationToken,
    ) -> crate::Result<()> {
        let mut header = Header::new(&name_of(item), &item.node);
        header.set_attributes(attributes.map_or_else(|| item.attributes(), Ok)?);
        match item.node.kind {
            NodeKind::Socket => {
                self.packed.left_out.push(String::from_utf8_lossy(&item.path).into_owned());
                Ok(())
            }
            NodeKind::File => self.add_file(header, item, cancel),
            NodeKind::Link => {
                header.set_link(Kind::Link, &item.target()?);
                self.write_header(header)
            }
            _ => self.write_header(header),
        }
    }

    fn add_file(
        &mut self,
        mut header: Header,
        item: &Item<'_>,
        cancel: &CancellationToken,
    ) -> crate::Result<()> {
        let content = item.content()?;
        let size = content.size();
        let data = sparse::data_of(&*content)?;
        let Some(map) = sparse::Map::of(&data, size) else {
            header.set_size(size);
            self.write_header(header)?;
            self.copy(&*content, 0, size, cancel)?;
            return self.pad();
        };
        header.set_sparse(size, map.stored_len());
        self.write_header(header)?;
        self.write(map.text())?;
        for range in map.ranges() {
            self.copy(&*content, range.offset(), range.len(), cancel)?;
        }
        self.pad()
    }

    fn copy(
        &mut self,
        content: &dyn BlockRead,
        from: u64,
        len: u64,
        cancel: &CancellationToken,
    ) -> crate::Result<()> {
        let mut bytes = vec![0; len.min(PIECE as u64) as usize];
        let mut done = 0_u64;
        while done < len {
            cancel.check()?;
            let count = len.saturating_sub(done).min(PIECE as u64) as usize;
            let piece = bytes.get_mut(..count).unwrap_or_default();
            content.read_at(piece, from.saturating_add(done))?;
            self.write(piece)?;
            done = done.saturating_add(count as u64);
        }
        Ok(())
    }

    fn write_header(&mut self, header: Header) -> crate::Result<()> {
        self.packed.files = self.packed.files.saturating_add(1);
        self.write(&header.into_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> crate::Result<()> {
        self.out.write_all(bytes).context("writing the archive")?;
        self.written = self.written.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Zeroes up to the next block.
    fn pad(&mut self) -> crate::Result<()> {
        self.fill(BLOCK as u64)
    }

    fn fill(&mut self, unit: u64) -> crate::Result<()> {
        let missing = self.written.next_multiple_of(unit).saturating_sub(self.written);
        self.write(&vec![0; missing as usize])
    }

    /// Ends it.
    ///
    /// # Errors
    /// Whatever the output says.
    pub(crate) fn end(mut self) -> crate::Result<Packed> {
        self.write(&[0; BLOCK.saturating_mul(2)])?;
        self.fill(RECORD)?;
        self.out.flush().context("writing the archive")?;
        Ok(self.packed)
    }
}

/// The name of `item` in an archive.
fn name_of(item: &Item<'_>) -> Vec<u8> {
    let mut name = [b"./".as_slice(), &item.path].concat();
    if item.node.kind == NodeKind::Directory && !item.path.is_empty() {
        name.push(b'/');
    }
    name
}

fn packing(path: &[u8]) -> String {
    format!("packing {}", printable(&String::from_utf8_lossy(path)))
}
