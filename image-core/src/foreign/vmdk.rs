//! VMDK, VMware's format: a descriptor in text, and extents.
//!
//! ```text
//! monolithicSparse, streamOptimized   │ header │ descriptor │ directories, tables, grains │           one file
//! monolithicFlat, twoGbMaxExtent…,    descriptor ─┬─► extent: raw bytes from an offset on            files that it
//! vmfs, vmfsSparse, seSparse                      └─► extent: header, directory, tables, grains      names
//! ```
//!
//! All numbers are little endian; places are in sectors of 512 bytes. Source: VMware, "Virtual Disk Format 1.1" (2007) and
//! "5.0"; seSparse, of which there is no specification, as QEMU's `block/vmdk.c` reads it.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod descriptor;
mod se_sparse;
pub(super) mod sink;
mod sparse;

use std::sync::Arc;

use descriptor::{Descriptor, ExtentKind, ExtentLine};

use super::OpenNamed;
use super::field::structure;
use super::mapped::Mapped;
use super::rule::{Corrupt, Unsupported};
use crate::block::{BlockRead, ByteRange, Concatenated, NullDisk, Window};
use crate::error::Result;
use sparse::SparseHeader;

const SECTOR: u64 = 512;
/// The longest descriptor: a disk of 64 TiB in extents of 2 GiB has 32,768 lines.
const MAX_DESCRIPTOR: u64 = 4 << 20;

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The virtual size in bytes.
    pub(crate) size: u64,
    /// The bytes of a grain, where there are some.
    pub(crate) grain_size: Option<u64>,
    /// The descriptor.
    pub(crate) descriptor: Descriptor,
    /// The header of the only file, which has all.
    sparse: Option<SparseHeader>,
}

impl Header {
    /// Reads what `file` is: a descriptor, or a sparse file that has one in it.
    ///
    /// # Errors
    /// [`Corrupt`], [`Unsupported`]; whatever reading says.
    pub(crate) fn read(file: &dyn BlockRead) -> Result<Self> {
        let start = structure(file, "magic number", 0, 4)?;
        if start != sparse::MAGIC {
            if start == sparse::COWD_MAGIC || start == se_sparse::MAGIC {
                return Err(Unsupported::OneExtent.into());
            }
            let descriptor = Descriptor::parse(&text(file, 0, file.size())?)?;
            let size = descriptor.size()?;
            return Ok(Self { size, grain_size: None, descriptor, sparse: None });
        }
        let sparse = SparseHeader::read(file)?;
        let (offset, len) = sparse.descriptor;
        let text = if offset == 0 { Vec::new() } else { text(file, offset, len)? };
        // There may be room for one, with nothing in it.
        if text.is_empty() {
            return Err(Unsupported::OneExtent.into());
        }
        let descriptor = Descriptor::parse(&text)?;
        let lines = &descriptor.extents;
        if lines.len() != 1 || lines.iter().any(|line| line.kind != ExtentKind::Sparse) {
            let rule = "a sparse file that has a descriptor is one extent";
            let line = format!("{} extents", lines.len());
            return Err(Corrupt::Descriptor { line, rule }.into());
        }
        let size = sparse.size;
        Ok(Self { size, grain_size: Some(sparse.grain_size), descriptor, sparse: Some(sparse) })
    }

    /// The names of the files that hold the disk beside this one, each once, in the order of their extents.
    pub(crate) fn extent_names(&self) -> Vec<&[u8]> {
        let mut names: Vec<&[u8]> = Vec::new();
        if self.sparse.is_none() {
            for name in self.descriptor.extents.iter().filter_map(|line| line.name.as_deref()) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// The disk in `file`, whose header this is; `open` opens a file that is named, and `parent` is what it was made over.
    pub(super) fn open(
        &self,
        file: Arc<dyn BlockRead>,
        parent: Option<Arc<dyn BlockRead>>,
        open: &mut OpenNamed<'_>,
    ) -> Result<Arc<dyn BlockRead>> {
        if let Some(sparse) = &self.sparse {
            return Ok(Arc::new(Mapped::new(file.clone(), sparse.table(file), sparse.size, parent)));
        }
        let mut files: Vec<(&[u8], Arc<dyn BlockRead>)> = Vec::new();
        let mut disks = Vec::new();
        let mut start = 0_u64;
        for line in &self.descriptor.extents {
            let below = match &parent {
                Some(parent) => below(parent, start, line.size)?,
                None => None,
            };
            start = start.saturating_add(line.size);
            let Some(name) = line.name.as_deref() else {
                let zeroes = NullDisk::new(line.size, std::time::Duration::ZERO, true);
                disks.push(Arc::new(zeroes) as Arc<dyn BlockRead>);
                continue;
            };
            let known = files.iter().find(|(known, _)| *known == name).map(|(_, file)| file.clone());
            let file = match known {
                Some(file) => file,
                None => {
                    let file = open(name)?;
                    files.push((name, file.clone()));
                    file
                }
            };
            disks.push(extent(line, file, below)?);
        }
        Ok(Arc::new(Concatenated::new(disks)?))
    }
}

/// What a parent has where an extent is.
fn below(parent: &Arc<dyn BlockRead>, start: u64, len: u64) -> Result<Option<Arc<dyn BlockRead>>> {
    let covered =
        ByteRange::between(start, start.saturating_add(len)).intersection(ByteRange::whole(parent.size()));
    let Some(covered) = covered else { return Ok(None) };
    Ok(Some(Arc::new(Window::new(parent.clone(), covered)?)))
}

/// The part of the disk that a line of the descriptor is of.
fn extent(
    line: &ExtentLine,
    file: Arc<dyn BlockRead>,
    parent: Option<Arc<dyn BlockRead>>,
) -> Result<Arc<dyn BlockRead>> {
    let exactly = |size: u64| {
        let (what, rule) = ("extent's size", "less than the descriptor says");
        if size < line.size { Err(Corrupt::Field { what, value: size, rule }) } else { Ok(line.size) }
    };
    Ok(match line.kind {
        ExtentKind::Flat => {
            let (offset, len, file_size) = (line.offset, line.size, file.size());
            if offset.checked_add(len).is_none_or(|end| end > file_size) {
                return Err(Corrupt::Outside { what: "extent", offset, len, file_size }.into());
            }
            Arc::new(Window::new(file, ByteRange::new(offset, len)?)?)
        }
        ExtentKind::Sparse => {
            let header = SparseHeader::read(&*file)?;
            let size = exactly(header.size)?;
            Arc::new(Mapped::new(file.clone(), header.table(file), size, parent))
        }
        ExtentKind::VmfsSparse => {
            let header = SparseHeader::read_cowd(&*file)?;
            let size = exactly(header.size)?;
            Arc::new(Mapped::new(file.clone(), header.table(file), size, parent))
        }
        ExtentKind::SeSparse => {
            let header = se_sparse::SeSparseHeader::read(&*file)?;
            let size = exactly(header.size)?;
            Arc::new(Mapped::new(file.clone(), header.table(file), size, parent))
        }
        ExtentKind::Zero => Arc::new(NullDisk::new(line.size, std::time::Duration::ZERO, true)),
    })
}

/// The text of a descriptor; it ends with the first zero byte.
fn text(file: &dyn BlockRead, offset: u64, len: u64) -> Result<Vec<u8>> {
    if len > MAX_DESCRIPTOR {
        let rule = "no descriptor is that long";
        return Err(Corrupt::Field { what: "descriptor's length", value: len, rule }.into());
    }
    let mut text = structure(file, "descriptor", offset, len)?;
    if let Some(end) = text.iter().position(|byte| *byte == 0) {
        text.truncate(end);
    }
    Ok(text)
}
