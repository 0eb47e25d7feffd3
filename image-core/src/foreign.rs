//! Formats of other programs: VMDK, VHD, VHDX, VDI, Parallels, QCOW version 1 and QED.
//!
//! ```text
//! file ─► Header::read ─┬─ what it is, how large, what it names      (nothing else is opened)
//!                       └─ open, with what was named and allowed ─► a disk
//!
//! convert ─► a sink of the format ─► file
//! ```
//!
//! Each format has a room. What its table says of a block goes through one door, `mapped.rs`, which reads, maps and
//! prefetches for all of them.
//!
//! Rules that hold in all rooms, as in qcow2's:
//! - an image is hostile until shown otherwise: no size is believed before it was compared with the file;
//! - tables are read a page at a time, whatever they say of their length;
//! - damage is an error with the guest offset, never zeroes;
//! - no other file is opened because an image names it: extents and parents are handed in.

mod field;
mod mapped;
mod new_image;
mod parallels;
mod qcow1;
mod qed;
mod rule;
mod sink;
mod table;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;

use std::fmt;
use std::sync::Arc;

pub use new_image::{NewImage, NewImageRule};
pub use rule::{Corrupt, Unsupported};
pub use vhd::SizeFrom;

use crate::block::{BlockRead, read_as};
use crate::error::Result;

/// A format of this room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// VMware's.
    Vmdk,
    /// VHD: Virtual PC's and Azure's.
    Vpc,
    /// Hyper-V's.
    Vhdx,
    /// VirtualBox'.
    Vdi,
    /// Parallels'.
    Parallels,
    /// Version 1 of QEMU's.
    Qcow,
    /// Another one of QEMU's.
    Qed,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Vmdk, Self::Vpc, Self::Vhdx, Self::Vdi, Self::Parallels, Self::Qcow, Self::Qed];

    /// QEMU's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vmdk => "vmdk",
            Self::Vpc => "vpc",
            Self::Vhdx => "vhdx",
            Self::Vdi => "vdi",
            Self::Parallels => "parallels",
            Self::Qcow => "qcow",
            Self::Qed => "qed",
        }
    }

    /// Its name as users know it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Vmdk => "VMDK",
            Self::Vpc => "VPC (VHD)",
            Self::Vhdx => "VHDX",
            Self::Vdi => "VDI",
            Self::Parallels => "Parallels",
            Self::Qcow => "qcow version 1",
            Self::Qed => "QED",
        }
    }

    /// The format that a file begins as, if it is one of these.
    pub fn of_start(start: &[u8]) -> Option<Self> {
        const KNOWN: [(usize, &[u8], Kind); 9] = [
            (0, b"QFI\xfb\0\0\0\x01", Kind::Qcow),
            (0, b"KDMV", Kind::Vmdk),
            (0, b"COWD", Kind::Vmdk),
            (0, b"# Disk DescriptorFile", Kind::Vmdk),
            (0, b"vhdxfile", Kind::Vhdx),
            (0, b"conectix", Kind::Vpc),
            (64, b"\x7f\x10\xda\xbe", Kind::Vdi),
            (0, b"QED\0", Kind::Qed),
            (0, b"WithoutFreeSpace", Kind::Parallels),
        ];
        if start.starts_with(b"WithouFreSpacExt") {
            return Some(Self::Parallels);
        }
        let is_there = |at: usize, bytes| start.get(at..).is_some_and(|rest| rest.starts_with(bytes));
        KNOWN.iter().find(|(at, bytes, _)| is_there(*at, bytes)).map(|(_, _, kind)| *kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an image of one of these formats says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    kind: Kind,
    meaning: Meaning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Meaning {
    Vmdk(Box<vmdk::Header>),
    Vpc(vhd::Header),
    Vhdx(vhdx::Header),
    Vdi(vdi::Header),
    Parallels(parallels::Header),
    Qcow(qcow1::Header),
    Qed(qed::Header),
}

/// The name of the file that an image was made over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// The name, as it stands in the image.
    pub name: Vec<u8>,
    /// Whether it is said to be raw.
    pub is_raw: bool,
}

impl Header {
    /// Reads what `file` is, an image of `kind`. The size of a VHD is from `size_from`; where that is not said, from where
    /// whoever made it has it.
    ///
    /// # Errors
    /// [`Corrupt`], [`Unsupported`]; whatever reading says.
    pub fn read(file: &dyn BlockRead, kind: Kind, size_from: Option<SizeFrom>) -> Result<Self> {
        let meaning = match kind {
            Kind::Vmdk => Meaning::Vmdk(Box::new(vmdk::Header::read(file)?)),
            Kind::Vpc => Meaning::Vpc(vhd::Header::read(file, size_from)?),
            Kind::Vhdx => Meaning::Vhdx(vhdx::Header::read(file)?),
            Kind::Vdi => Meaning::Vdi(vdi::Header::read(file)?),
            Kind::Parallels => Meaning::Parallels(parallels::Header::read(file)?),
            Kind::Qcow => Meaning::Qcow(qcow1::Header::read(file)?),
            Kind::Qed => Meaning::Qed(qed::Header::read(file)?),
        };
        Ok(Self { kind, meaning })
    }

    /// The format.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The virtual size in bytes.
    pub fn size(&self) -> u64 {
        match &self.meaning {
            Meaning::Vmdk(header) => header.size,
            Meaning::Vpc(header) => header.size,
            Meaning::Vhdx(header) => header.size,
            Meaning::Vdi(header) => header.size,
            Meaning::Parallels(header) => header.size,
            Meaning::Qcow(header) => header.size,
            Meaning::Qed(header) => header.size,
        }
    }

    /// The bytes of a block, where the disk is divided into some.
    pub fn block_size(&self) -> Option<u64> {
        match &self.meaning {
            Meaning::Vmdk(header) => header.grain_size,
            Meaning::Vpc(header) => header.block_size(),
            Meaning::Vhdx(header) => Some(header.block_size),
            Meaning::Vdi(header) => Some(header.block_size),
            Meaning::Parallels(header) => Some(header.block_size),
            Meaning::Qcow(header) => Some(header.cluster_size()),
            Meaning::Qed(header) => Some(header.cluster_size),
        }
    }

    /// Which of several kinds of this format it is, in the format's own words.
    pub fn variant(&self) -> Option<&str> {
        let fixed = |fixed| Some(if fixed { "fixed" } else { "dynamic" });
        match &self.meaning {
            Meaning::Vmdk(header) => Some(&header.descriptor.create_type),
            Meaning::Vpc(header) => fixed(header.is_fixed()),
            Meaning::Vhdx(header) => fixed(header.fixed),
            Meaning::Vdi(header) => Some(if header.fixed { "static" } else { "dynamic" }),
            Meaning::Parallels(_) | Meaning::Qcow(_) | Meaning::Qed(_) => None,
        }
    }

    /// What whoever looks at it should know, in sentences.
    pub fn notes(&self) -> Vec<String> {
        match &self.meaning {
            Meaning::Vpc(header) => header.notes(),
            Meaning::Vhdx(header) => header.notes(),
            Meaning::Parallels(header) if header.in_use => vec!["it was not closed".to_owned()],
            Meaning::Qed(header) if header.needs_check => vec!["it was not closed".to_owned()],
            _ => Vec::new(),
        }
    }

    /// The file that it was made over, if it was.
    pub fn parent(&self) -> Option<Parent> {
        let parent = |name: &Vec<u8>, is_raw| Parent { name: name.clone(), is_raw };
        match &self.meaning {
            Meaning::Vmdk(header) => header.descriptor.parent_name.as_ref().map(|name| parent(name, false)),
            Meaning::Qcow(header) => header.backing_name.as_ref().map(|name| parent(name, false)),
            Meaning::Qed(header) => header.backing.as_ref().map(|(name, is_raw)| parent(name, *is_raw)),
            _ => None,
        }
    }

    /// The names of the files that hold the disk beside this one, each once.
    pub fn extent_names(&self) -> Vec<&[u8]> {
        match &self.meaning {
            Meaning::Vmdk(header) => header.extent_names(),
            _ => Vec::new(),
        }
    }

    /// Refuses `parent`, the header of the parent's file, if the image was made over another content.
    ///
    /// # Errors
    /// [`Corrupt::OtherParent`].
    pub fn check_parent(&self, parent: Option<&Self>) -> Result<(), Corrupt> {
        let Meaning::Vmdk(own) = &self.meaning else { return Ok(()) };
        let Some(told) = own.descriptor.parent_cid else { return Ok(()) };
        let found = match parent.map(|parent| &parent.meaning) {
            Some(Meaning::Vmdk(parent)) if parent.descriptor.cid == told => return Ok(()),
            Some(Meaning::Vmdk(parent)) => format!("{:08x}", parent.descriptor.cid),
            _ => "no VMDK".to_owned(),
        };
        Err(Corrupt::OtherParent { told: format!("{told:08x}"), found })
    }

    /// The disk in `file`, which this header is of. `parent` is what it was made over, and `open` opens a file by one of
    /// the [names](Self::extent_names).
    ///
    /// # Errors
    /// [`Corrupt`], [`Unsupported`]; what `open` and reading say.
    pub fn open(
        self,
        file: Arc<dyn BlockRead>,
        parent: Option<Arc<dyn BlockRead>>,
        open: &mut OpenNamed<'_>,
    ) -> Result<Foreign> {
        let disk = match &self.meaning {
            Meaning::Vmdk(header) => header.open(file, parent, open)?,
            Meaning::Vpc(header) => header.open(file)?,
            Meaning::Vhdx(header) => header.open(file),
            Meaning::Vdi(header) => header.open(file),
            Meaning::Parallels(header) => header.open(file),
            Meaning::Qcow(header) => header.open(file, parent),
            Meaning::Qed(header) => header.open(file, parent),
        };
        Ok(Foreign { header: self, disk })
    }
}

/// Opens a file by a name that an image has for it.
pub type OpenNamed<'a> = dyn FnMut(&[u8]) -> Result<Arc<dyn BlockRead>> + 'a;

/// An image of another program, open for reading.
#[derive(Clone)]
pub struct Foreign {
    header: Header,
    disk: Arc<dyn BlockRead>,
}

impl Foreign {
    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foreign").field("header", &self.header).finish_non_exhaustive()
    }
}

impl BlockRead for Foreign {
    read_as!(self => self.disk);
}

#[cfg(test)]
mod tests;
