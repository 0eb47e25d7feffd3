//! Every rule an image can break, and everything it can ask for that is not done here: one variant and one
//! message each, numbers in hex, with the guest offset wherever there is one.
//!
//! [`Corrupt`] is for images that contradict the specification, [`Unsupported`] for those that may be right but
//! need something else to read them. Names taken from an image are quoted and escaped: they are not trusted.

use std::fmt;

use super::offset::{GuestOffset, HostOffset};
use crate::error::{Error, ErrorKind};

/// A structure that has a place of its own in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Region {
    /// The first cluster.
    Header,
    /// The active L1 table.
    L1Table,
    /// An L2 table.
    L2Table,
    /// The refcount table.
    RefcountTable,
    /// A refcount block.
    RefcountBlock,
    /// The snapshot table.
    SnapshotTable,
    /// The L1 table of a snapshot.
    SnapshotL1Table,
    /// The bitmap directory.
    BitmapDirectory,
    /// The table of a bitmap.
    BitmapTable,
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::L1Table => "L1 table",
            Self::L2Table => "L2 table",
            Self::RefcountTable => "refcount table",
            Self::RefcountBlock => "refcount block",
            Self::SnapshotTable => "snapshot table",
            Self::SnapshotL1Table => "snapshot's L1 table",
            Self::BitmapDirectory => "bitmap directory",
            Self::BitmapTable => "bitmap table",
        })
    }
}

/// A rule of the format that an image breaks. Offsets and lengths are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what it is; the fields are those of the message")]
pub enum Corrupt {
    // The header.
    #[error("not a qcow2 image: it starts with {magic:02x?}")]
    Magic { magic: [u8; 4] },
    #[error("the file ends within the header, after {file_size:#x} bytes")]
    HeaderCut { file_size: u64 },
    #[error("clusters of 2^{bits} bytes: at least 2^9 are required")]
    ClusterBits { bits: u32 },
    #[error("clusters of 2^{bits} bytes with extended L2 entries: at least 2^14 are required")]
    ExtendedClusterBits { bits: u32 },
    #[error("refcounts of 2^{order} bits: at most 2^6 are allowed")]
    RefcountOrder { order: u32 },
    #[error(
        "a header of {len:#x} bytes: it must be at least 0x68, a multiple of 8 and within the first cluster"
    )]
    HeaderLen { len: u32 },
    #[error("the compression type is {kind} and the feature bit for it is {}", if *.bit { "set" } else { "clear" })]
    CompressionBit { kind: u8, bit: bool },
    #[error("the data file is marked raw but there is no data file")]
    RawWithoutDataFile,
    #[error("guest clusters are in a data file and its name is missing")]
    NoDataFileName,
    #[error(
        "the backing file's name, {len:#x} bytes at {offset:#x}, is too long or not in the first cluster"
    )]
    BackingName { offset: u64, len: u32 },
    #[error("header extension {kind:#010x} of {len:#x} bytes at {offset:#x} ends past the header's cluster")]
    ExtensionCut { kind: u32, offset: u64, len: u32 },
    #[error("header extension {kind:#010x} has {len:#x} bytes of data where {expected:#x} are required")]
    ExtensionLen { kind: u32, len: u32, expected: u32 },
    #[error("a virtual size of {size:#x} needs {needed:#x} L1 entries, there are {count:#x}")]
    L1TooShort { size: u64, needed: u64, count: u64 },
    #[error("there is no refcount table")]
    NoRefcountTable,

    // Tables named by the header.
    #[error("the {region} at {offset:#x} is not at a cluster boundary")]
    RegionUnaligned { region: Region, offset: u64 },
    #[error("the {region} has {len:#x} bytes: at most {limit:#x} are allowed")]
    RegionTooLong { region: Region, len: u64, limit: u64 },
    #[error("the {region}, {len:#x} bytes at {offset:#x}, ends past the end of the file ({file_size:#x})")]
    RegionPastEnd { region: Region, offset: u64, len: u64, file_size: u64 },
    #[error("the {one} at {one_offset:#x} overlaps the {other} at {other_offset:#x}")]
    RegionsOverlap { one: Region, one_offset: u64, other: Region, other_offset: u64 },

    // From L1 and L2 entries to clusters.
    #[error("guest offset {guest}: L1 entry {entry:#018x} has reserved bits set")]
    L1Reserved { guest: GuestOffset, entry: u64 },
    #[error("guest offset {guest}: the L2 table at {host} is not at a cluster boundary")]
    L2TableUnaligned { guest: GuestOffset, host: HostOffset },
    #[error("guest offset {guest}: the L2 table at {host} ends past the end of the file ({file_size:#x})")]
    L2TablePastEnd { guest: GuestOffset, host: HostOffset, file_size: u64 },
    #[error("guest offset {guest}: the L2 table at {host} overlaps the {region}")]
    L2TableInRegion { guest: GuestOffset, host: HostOffset, region: Region },
    #[error("guest offset {guest}: the L2 table at {host} also maps guest offset {other}")]
    L2TableShared { guest: GuestOffset, host: HostOffset, other: GuestOffset },
    #[error("guest offset {guest}: L2 entry {entry:#018x} has reserved bits set")]
    L2Reserved { guest: GuestOffset, entry: u64 },
    #[error(
        "guest offset {guest}: the zero flag is set, which this image's version or kind of entry does not have"
    )]
    ZeroFlag { guest: GuestOffset },
    #[error("guest offset {guest}: the copied flag is set where nothing is allocated")]
    CopiedNothing { guest: GuestOffset },
    #[error("guest offset {guest}: the cluster at {host} is not at a cluster boundary")]
    ClusterUnaligned { guest: GuestOffset, host: HostOffset },
    #[error("guest offset {guest}: the cluster at {host} ends past the end of the file ({file_size:#x})")]
    ClusterPastEnd { guest: GuestOffset, host: HostOffset, file_size: u64 },
    #[error("guest offset {guest}: the cluster at {host} overlaps the {region}")]
    ClusterInRegion { guest: GuestOffset, host: HostOffset, region: Region },
    #[error("guest offset {guest}: in the data file the cluster is at {host}, not at its guest offset")]
    DataFileOffset { guest: GuestOffset, host: HostOffset },
    #[error("guest offset {guest}: subcluster bits {bits:#018x} contradict each other or name no cluster")]
    Subclusters { guest: GuestOffset, bits: u64 },
    #[error("guest offset {guest}: a compressed cluster with the copied flag")]
    CompressedCopied { guest: GuestOffset },
    #[error("guest offset {guest}: a compressed cluster in an image with a data file")]
    CompressedInDataFile { guest: GuestOffset },
    #[error("guest offset {guest}: the compressed cluster's host offset {host} is past 2^56")]
    CompressedOffset { guest: GuestOffset, host: HostOffset },
    #[error("guest offset {guest}: the compressed cluster at {host} ({len:#x} bytes) does not decode: {why}")]
    CompressedData { guest: GuestOffset, host: HostOffset, len: u64, why: String },

    // Refcounts.
    #[error("refcount table entry {index:#x} ({entry:#018x}) has reserved bits set")]
    RefcountReserved { index: u64, entry: u64 },
    #[error("refcount block {index:#x} at {host} is not at a cluster boundary")]
    RefcountBlockUnaligned { index: u64, host: HostOffset },
    #[error("refcount block {index:#x} at {host} ends past the end of the file ({file_size:#x})")]
    RefcountBlockPastEnd { index: u64, host: HostOffset, file_size: u64 },
    #[error("refcount block {index:#x} at {host} also counts other clusters")]
    RefcountBlockShared { index: u64, host: HostOffset },

    // Snapshots and bitmaps.
    #[error("entry {index} of the {region} ends past the end of the file or of its limit")]
    EntryCut { region: Region, index: u32 },
    #[error("snapshot {index}: less than the 16 bytes of extra data that version 3 requires")]
    SnapshotShort { index: u32 },
    #[error("snapshot {index}: {len:#x} bytes of extra data: at most {limit:#x} are allowed")]
    SnapshotExtra { index: u32, len: u32, limit: u32 },
    #[error("bitmap {index}: {rule}")]
    Bitmap { index: u32, rule: &'static str },
}

impl From<Corrupt> for Error {
    fn from(source: Corrupt) -> Self {
        Self::corrupt(source)
    }
}

/// Something an image asks for that is not done here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what it is; the fields are those of the message")]
pub enum Unsupported {
    #[error("qcow2 version {version}: versions 2 and 3 are supported")]
    Version { version: u32 },
    #[error("clusters of 2^{bits} bytes: at most 2^21 (2 MiB) are supported")]
    ClusterBits { bits: u32 },
    #[error("it is encrypted with {method}")]
    Encrypted { method: CryptMethod },
    #[error("it needs unsupported features: {0}")]
    Features(UnknownFeatures),
    #[error("compression type {kind}: deflate (0) and zstd (1) are supported")]
    Compression { kind: u8 },
    #[error("a virtual size of {size:#x} bytes is out of reach of an L1 table of 32 MiB")]
    VirtualSize { size: u64 },
    #[error("host offset {host} does not fit into an entry that must stay below {limit:#x}")]
    HostOffset { host: HostOffset, limit: u64 },
    #[error("guest offset {guest}: clusters in a data file cannot be compressed")]
    CompressedInDataFile { guest: GuestOffset },
    #[error("the header needs {len:#x} bytes, more than its cluster of {cluster_size:#x}")]
    HeaderTooLong { len: u64, cluster_size: u64 },
    #[error(
        "so many clusters need a refcount table of {len:#x} bytes, more than {limit:#x}: take larger clusters"
    )]
    RefcountTableTooLong { len: u64, limit: u64 },
}

impl From<Unsupported> for Error {
    fn from(source: Unsupported) -> Self {
        Self::new(ErrorKind::Unsupported, source)
    }
}

/// Incompatible features that are unknown here, and what the image calls them. At least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFeatures {
    /// One bit for each.
    pub bits: u64,
    /// Bits and the names that the image has for them, in its own order, one for a bit at most; not trusted.
    pub names: Vec<(u8, Vec<u8>)>,
}

impl UnknownFeatures {
    /// The bits that have no name.
    pub fn nameless(&self) -> u64 {
        self.names.iter().fold(self.bits, |left, &(bit, _)| left & !1_u64.wrapping_shl(bit.into()))
    }
}

impl fmt::Display for UnknownFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = (0..64_u8).filter(|&bit| self.bits & 1_u64.wrapping_shl(bit.into()) != 0);
        for (index, bit) in set.enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            match self.names.iter().find(|&&(named, _)| named == bit) {
                Some((_, name)) => write!(f, "{comma}{} (bit {bit})", quoted(name))?,
                None => write!(f, "{comma}bit {bit}")?,
            }
        }
        Ok(())
    }
}

/// How the clusters of an image are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CryptMethod {
    /// AES in CBC mode, as old versions of QEMU did.
    Aes,
    /// LUKS.
    Luks,
    /// A number that means nothing here.
    Unknown(u32),
}

impl fmt::Display for CryptMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aes => f.write_str("AES"),
            Self::Luks => f.write_str("LUKS"),
            Self::Unknown(number) => write!(f, "method {number}"),
        }
    }
}

/// A name taken from an image, quoted, with everything escaped that could confuse a terminal.
pub(super) fn quoted(name: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_lower_case_and_carry_their_numbers_in_hex() {
        let rule = Corrupt::ClusterPastEnd {
            guest: GuestOffset(0x10000),
            host: HostOffset(0x70000),
            file_size: 0x60000,
        };
        assert_eq!(
            rule.to_string(),
            "guest offset 0x10000: the cluster at 0x70000 ends past the end of the file (0x60000)"
        );
        assert_eq!(
            Corrupt::CompressionBit { kind: 1, bit: false }.to_string(),
            "the compression type is 1 and the feature bit for it is clear"
        );
        let error = Error::from(rule.clone());
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.cause::<Corrupt>(), Some(&rule));
        assert_eq!(Error::from(Unsupported::Version { version: 4 }).kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn names_from_an_image_cannot_reach_a_terminal_raw() {
        assert_eq!(quoted(b"a\x1b[2J\nb\"\xff"), "\"a\\u{1b}[2J\\nb\\\"\u{fffd}\"");
    }
}
