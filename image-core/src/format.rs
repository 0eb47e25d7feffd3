//! Images by name: which format a file has, and opening it with all that belongs to it.
//!
//! ```text
//! name ─► protocol ─► chosen or probed ─┬─ raw ────────────────────────────────► Image
//!         file, or                      └─ qcow2: header ─┬─ backing file? ─┐      ▲
//!         an export                                       └─ data file? ────┤      │
//!                                                             the gate (reference) │
//!                                             refused · ignored · opened beneath ──┘
//! ```
//!
//! What an image names is opened only if the caller allows it, and then only beneath the folder of the image that the
//! caller named: whoever made the image must not choose which of the host's files are read.

mod ambiguity;
mod commit;
mod image;
mod node;
mod probe;
mod protocol;
mod rebase;
mod reference;
mod writer;

use std::fmt;
use std::str::FromStr;

pub use ambiguity::ProbeRule;
pub use commit::{Commit, commit};
pub use image::{Disk, Image};
pub use node::FormatNode;
pub use probe::{Probing, UnsupportedFormat, UnsupportedKind, probe};
pub use protocol::{NullDriver, ProtocolNode};
pub use rebase::{Differences, NewBacking, rebase};
pub use reference::{
    MAX_CHAIN_DEPTH, MAX_EXTENT_FILES, ParseFilename, ParsedFilename, Reference, ReferenceRule,
};
pub use writer::{ImageWriter, WriteOptions};

use crate::block::Access;
use crate::error::{Error, Result};
use crate::foreign::{Kind, SizeFrom};

/// A format that is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The bytes as they are.
    Raw,
    /// qcow2, versions 2 and 3.
    Qcow2,
    /// A format of another program, which is only read.
    Foreign(Kind),
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Format {
    /// QEMU's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Foreign(kind) => kind.name(),
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "raw" => Ok(Self::Raw),
            "qcow2" => Ok(Self::Qcow2),
            // What the files are called.
            "vhd" => Ok(Self::Foreign(Kind::Vpc)),
            _ => match Kind::ALL.into_iter().find(|kind| kind.name() == name) {
                Some(kind) => Ok(Self::Foreign(kind)),
                None => {
                    let all: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
                    let why =
                        format!("image format {name:?} is not supported: raw, qcow2, {} are", all.join(", "));
                    Err(Error::unsupported(why))
                }
            },
        }
    }
}

/// What is done about other files that an image names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum References {
    /// The image is refused.
    #[default]
    Refuse,
    /// They are opened if they are beneath the image's own folder; else the image is refused.
    AllowBeneath,
    /// They are opened wherever they are, if they are regular files or exports of a server. For images whose maker may
    /// choose which of the host's files are read, and whom the host connects to.
    AllowAnywhere,
}

impl References {
    /// What a caller allows who allows the image's own folder in any case.
    fn at_least_beneath(self) -> Self {
        match self {
            Self::Refuse => Self::AllowBeneath,
            allowed => allowed,
        }
    }
}

/// What other programs may do with an image while it is open here. QEMU's programs and these keep to it both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Share {
    /// Read it. An image that is open for writing elsewhere is refused.
    #[default]
    Readers,
    /// Read it, and write it if it is raw: for a look at what cannot be torn.
    RawWriters,
    /// Write it. What is read may be neither the old nor the new: QEMU's `--force-share`.
    Writers,
}

impl Share {
    /// What is done with a file of `format`.
    fn access(self, format: Format) -> Access {
        match (self, format) {
            (Self::Writers, _) | (Self::RawWriters, Format::Raw) => Access::READ_SHARED,
            _ => Access::READ,
        }
    }
}

/// How to open an image.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenOptions {
    /// The format; probed if `None`.
    pub format: Option<Format>,
    /// What is done about other files that the image names.
    pub references: References,
    /// What others may do meanwhile, with the image and with what it names.
    pub share: Share,
    /// What names mean that are no paths; `None`: nothing.
    pub parse_filename: Option<ParseFilename>,
    /// What the virtual size of a VHD is from; `None`: as whoever made it has it.
    pub size_from: Option<SizeFrom>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_names() {
        assert!("lha".parse::<Format>().is_err());
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Format>().unwrap(), Format::Foreign(kind));
        }
        assert_eq!("vhd".parse::<Format>().unwrap().name(), "vpc");
        assert_eq!("qcow2".parse::<Format>().unwrap().to_string(), "qcow2");
    }
}
