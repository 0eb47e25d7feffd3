//! A new image of one of these formats: what it is to be, before anything of it is written.

use std::fmt;

use super::Kind;
use super::sink::BlockSink;
use super::vdi::sink::VdiLayout;
use super::vhd::sink::{DynamicLayout, FixedLayout};
use super::vhdx::sink::VhdxLayout;
use super::vmdk::sink::{SparseLayout, StreamSink};
use crate::block::BlockWrite;
use crate::convert::Sink;
use crate::error::{Error, Result};

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;

/// A kind of image that is made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    VmdkSparse,
    VmdkStream,
    VhdFixed,
    VhdDynamic,
    Vhdx,
    Vdi,
}

/// A new image: what can be said of it in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    variant: Variant,
    size: u64,
    block_size: Option<u64>,
    name: String,
    created: u64,
    level: Option<u8>,
}

/// What an image cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what it is; the fields are those of the message")]
pub enum NewImageRule {
    #[error("images of the format {0} are not made here")]
    NotMade(Kind),
    #[error("there are no {kind} images of the kind {subformat:?}: there are {known}")]
    Subformat { kind: Kind, subformat: String, known: &'static str },
    #[error("a {kind} image has no more than {most} bytes, and the disk has {size}")]
    TooLarge { kind: Kind, size: u64, most: u64 },
    #[error("blocks of {size} bytes: {kind} has {rule}")]
    BlockSize { kind: Kind, size: u64, rule: &'static str },
    #[error("{subformat} images of the format {kind} are never compressed")]
    Compression { kind: Kind, subformat: &'static str },
}

impl From<NewImageRule> for Error {
    fn from(rule: NewImageRule) -> Self {
        Self::invalid(rule)
    }
}

impl fmt::Display for NewImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind(), self.subformat())
    }
}

impl NewImage {
    /// An image of `kind` for a disk of `size` bytes, which is rounded up to sectors.
    ///
    /// # Errors
    /// [`NewImageRule`].
    pub fn new(kind: Kind, size: u64) -> Result<Self> {
        let variant = match kind {
            Kind::Vmdk => Variant::VmdkSparse,
            Kind::Vpc => Variant::VhdDynamic,
            Kind::Vhdx => Variant::Vhdx,
            Kind::Vdi => Variant::Vdi,
            Kind::Parallels | Kind::Qcow | Kind::Qed => return Err(NewImageRule::NotMade(kind).into()),
        };
        let size = size.checked_next_multiple_of(SECTOR).unwrap_or(u64::MAX);
        let new = Self { variant, size, block_size: None, name: String::new(), created: 0, level: None };
        new.check()
    }

    /// Of the kind that `subformat` says, by QEMU's names: monolithicSparse, streamOptimized; dynamic, fixed.
    ///
    /// # Errors
    /// [`NewImageRule`].
    pub fn with_subformat(self, subformat: &str) -> Result<Self> {
        let kind = self.kind();
        let (variant, known) = match (kind, subformat) {
            (Kind::Vmdk, "monolithicSparse") => (Some(Variant::VmdkSparse), ""),
            (Kind::Vmdk, "streamOptimized") => (Some(Variant::VmdkStream), ""),
            (Kind::Vmdk, _) => (None, "monolithicSparse and streamOptimized"),
            (Kind::Vpc, "dynamic") => (Some(Variant::VhdDynamic), ""),
            (Kind::Vpc, "fixed") => (Some(Variant::VhdFixed), ""),
            (Kind::Vpc, _) => (None, "dynamic and fixed"),
            (_, "dynamic") => (Some(self.variant), ""),
            _ => (None, "dynamic ones only"),
        };
        let subformat = subformat.to_owned();
        let variant = variant.ok_or(NewImageRule::Subformat { kind, subformat, known })?;
        Self { variant, ..self }.check()
    }

    /// With blocks of `size` bytes.
    ///
    /// # Errors
    /// [`NewImageRule`].
    pub fn with_block_size(self, size: u64) -> Result<Self> {
        let kind = self.kind();
        let (range, rule) = match self.variant {
            Variant::Vhdx => (MIB..=256 * MIB, "a power of two from 1 MiB to 256 MiB"),
            Variant::VhdDynamic => (512 * 1024..=2 * MIB, "512 KiB or 2 MiB, or what is between"),
            _ => (0..=0, "one size of blocks only"),
        };
        if !size.is_power_of_two() || !range.contains(&size) {
            return Err(NewImageRule::BlockSize { kind, size, rule }.into());
        }
        Self { block_size: Some(size), ..self }.check()
    }

    /// Called `name`, for formats that say it (VMDK): the last part of a path. What has no place in such a text is left out.
    #[must_use]
    pub fn with_name(self, name: &str) -> Self {
        let name = name.chars().filter(|sign| !sign.is_control() && *sign != '"').collect();
        Self { name, ..self }
    }

    /// The same for a disk of `size` bytes, which is rounded up to sectors.
    ///
    /// # Errors
    /// [`NewImageRule`].
    pub fn with_size(self, size: u64) -> Result<Self> {
        let size = size.checked_next_multiple_of(SECTOR).unwrap_or(u64::MAX);
        Self { size, ..self }.check()
    }

    /// Compressed: those that can be are then of the kind that is. With an effort of 1 to 9, or 6.
    ///
    /// # Errors
    /// [`NewImageRule`]; [`Invalid`](crate::ErrorKind::Invalid) for other levels.
    pub fn with_compression(self, level: Option<u8>) -> Result<Self> {
        let kind = self.kind();
        match self.variant {
            Variant::VmdkStream => {}
            _ => return Err(NewImageRule::Compression { kind, subformat: self.subformat() }.into()),
        }
        match level {
            None | Some(1..=9) => Ok(Self { level, ..self }),
            Some(level) => Err(Error::invalid(format!("deflate has levels 1 to 9, not {level}"))),
        }
    }

    /// Made at `seconds` after the beginning of 1970, for formats that say it (VHD).
    #[must_use]
    pub fn with_date(self, seconds: u64) -> Self {
        Self { created: seconds, ..self }
    }

    /// The format.
    pub fn kind(&self) -> Kind {
        match self.variant {
            Variant::VmdkSparse | Variant::VmdkStream => Kind::Vmdk,
            Variant::VhdFixed | Variant::VhdDynamic => Kind::Vpc,
            Variant::Vhdx => Kind::Vhdx,
            Variant::Vdi => Kind::Vdi,
        }
    }

    /// Which of several kinds of this format it is, by QEMU's names.
    pub fn subformat(&self) -> &'static str {
        match self.variant {
            Variant::VmdkSparse => "monolithicSparse",
            Variant::VmdkStream => "streamOptimized",
            Variant::VhdFixed => "fixed",
            Variant::VhdDynamic | Variant::Vhdx | Variant::Vdi => "dynamic",
        }
    }

    /// The bytes of a block; of what has none, of a part that is as good as one.
    pub fn smallest_block(&self) -> u64 {
        let usual = match self.variant {
            Variant::VmdkSparse | Variant::VmdkStream => 64 * 1024,
            Variant::VhdFixed => self.size.max(SECTOR),
            Variant::VhdDynamic => 2 * MIB,
            // Microsoft's advice for Linux, whose filesystems write here and there.
            Variant::Vhdx if self.size <= 1 << 40 => MIB,
            Variant::Vhdx => 32 * MIB,
            Variant::Vdi => MIB,
        };
        self.block_size.unwrap_or(usual)
    }

    /// Whether its blocks are compressed.
    pub fn is_compressed(&self) -> bool {
        self.variant == Variant::VmdkStream
    }

    /// The virtual size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn check(self) -> Result<Self> {
        let most = match self.variant {
            // What 32 bits of sectors can find, less tables.
            Variant::VmdkSparse | Variant::VmdkStream => 2 << 40,
            // "2040 GB" is where Hyper-V ends.
            Variant::VhdFixed | Variant::VhdDynamic => 2040 << 30,
            Variant::Vhdx => 64 << 40,
            Variant::Vdi => 1 << 50,
        };
        let (kind, size) = (self.kind(), self.size);
        if size > most { Err(NewImageRule::TooLarge { kind, size, most }.into()) } else { Ok(self) }
    }

    /// What writes it into `file`, which is empty and grows.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub fn sink<'a, D: BlockWrite + 'a>(&self, file: D) -> Result<Box<dyn Sink + 'a>> {
        let size = self.size;
        Ok(match self.variant {
            Variant::VmdkStream => Box::new(StreamSink::new(file, size, &self.name, self.level)?),
            Variant::VmdkSparse => Box::new(BlockSink::new(file, SparseLayout::new(size, &self.name))?),
            Variant::VhdFixed => Box::new(BlockSink::new(file, FixedLayout::new(size, self.created))?),
            Variant::VhdDynamic => {
                let layout = DynamicLayout::new(size, self.smallest_block(), self.created);
                Box::new(BlockSink::new(file, layout)?)
            }
            Variant::Vhdx => {
                let layout = VhdxLayout::new(size, self.smallest_block());
                Box::new(BlockSink::new(file, layout)?)
            }
            Variant::Vdi => Box::new(BlockSink::new(file, VdiLayout::new(size))?),
        })
    }
}
