//! Volume descriptors: what the volume is, with which names, and where one boots from.
//!
//! ```text
//! sector 16 …   0 type: 0 boot, 1 primary, 2 supplementary, 255 the end │ 1 CD001 │ 6 version
//! primary       80 blocks │ 128 size of a block │ 156 record of the root directory
//! Joliet        as primary, and at 88 one of %/@ %/C %/E
//! boot          7 EL TORITO SPECIFICATION │ 71 sector of the catalog
//! ```
//! ECMA-119, 8; Joliet Specification, "SVD Escape Sequences Field"; El Torito 1.0, figure 7.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::rule::IsoReadRule;
use crate::block::BlockRead;
use crate::error::{Error, Result};
use crate::fs::field::{field, part, u8_at, u16_at, u32_at};

/// In bytes, whatever a block is.
pub(super) const SECTOR: u64 = 2048;
/// The first descriptor's.
const FIRST: u64 = 16;
/// More descriptors are not looked at.
const COUNT_MAX: u64 = 100;
/// Where the record of the root directory is.
const ROOT: usize = 156;

/// A hierarchy of directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) block_size: u64,
    pub(super) blocks: u64,
    /// Where its root directory is, in bytes.
    pub(super) root: u64,
}

/// What the descriptors say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptors {
    pub(super) primary: Hierarchy,
    pub(super) joliet: Option<Hierarchy>,
    /// The sector of the boot catalog.
    pub(super) boot_catalog: Option<u32>,
}

impl Descriptors {
    /// All that are on `disk`.
    pub(super) fn read(disk: &(impl BlockRead + ?Sized)) -> Result<Self> {
        let (mut primary, mut joliet, mut boot_catalog) = (None, None, None);
        for sector in FIRST..FIRST.saturating_add(COUNT_MAX) {
            let offset = sector.saturating_mul(SECTOR);
            if offset.saturating_add(SECTOR) > disk.size() {
                break;
            }
            let mut bytes = [0; SECTOR as usize];
            disk.read_at(&mut bytes, offset)?;
            if field(&bytes, 9) == *b"CDROM" {
                return Err(Error::unsupported("it is a High Sierra volume, from before ISO 9660"));
            }
            if field(&bytes, 1) != *b"CD001" {
                break;
            }
            let is_joliet = part(&bytes, 88, 2) == b"%/" && matches!(u8_at(&bytes, 90), b'@' | b'C' | b'E');
            match u8_at(&bytes, 0) {
                0 if part(&bytes, 7, 23) == b"EL TORITO SPECIFICATION" => {
                    boot_catalog.get_or_insert(u32_at(&bytes, 71));
                }
                1 if primary.is_none() => primary = Some(Hierarchy::new(&bytes)?),
                // A broken one is no reason not to read the other.
                2 if is_joliet && joliet.is_none() => joliet = Hierarchy::new(&bytes).ok(),
                0xff => break,
                _ => (),
            }
        }
        match primary {
            Some(primary) => Ok(Self { primary, joliet, boot_catalog }),
            None => Err(Error::corrupt(IsoReadRule::NoDescriptor)),
        }
    }
}

impl Hierarchy {
    fn new(bytes: &[u8]) -> Result<Self> {
        let block_size = u64::from(u16_at(bytes, 128));
        if !matches!(block_size, 512 | 1024 | 2048) {
            let (field, value) = ("size of a block", block_size);
            return Err(Error::corrupt(IsoReadRule::Descriptor { field, value }));
        }
        let root = bytes.get(ROOT..).unwrap_or_default();
        let first = u64::from(u32_at(root, 2)).saturating_add(u64::from(u8_at(root, 1)));
        let blocks = u64::from(u32_at(bytes, 80));
        Ok(Self { block_size, blocks, root: first.saturating_mul(block_size) })
    }
}
