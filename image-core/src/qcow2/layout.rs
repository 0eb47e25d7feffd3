//! The bytes of a qcow2 image, exactly: every structure field by field, every bit by name.
//!
//! All numbers are big-endian. What the bytes mean is said one room further, in `header.rs`, `extension.rs`
//! and `entry.rs`; nothing here decides anything. Source: QEMU, `docs/interop/qcow2.rst`.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first four bytes of every image: "QFI" and 0xfb.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";
/// The length of a version 2 header, in bytes.
pub const HEADER_V2_LEN: u32 = 72;
/// The least length of a version 3 header, in bytes.
pub const HEADER_V3_MIN_LEN: u32 = 104;
/// The length of the header written here: version 3 with the compression type.
pub const HEADER_V3_LEN: u32 = 112;
/// Where the incompatible features stand, for setting and clearing the dirty and corrupt bits in place.
pub const INCOMPATIBLE_FEATURES_OFFSET: u64 = 72;
/// Where the autoclear features stand.
pub const AUTOCLEAR_FEATURES_OFFSET: u64 = 88;
/// Where the two fields stand that say where the refcount table is.
pub const REFCOUNT_TABLE_FIELD_OFFSET: u64 = 48;
/// Where the fields stand that say where the tables are, and what the L1 table is for.
pub const TABLES_FIELD_OFFSET: u64 = 24;
/// Headers and extensions are padded to this many bytes.
pub const HEADER_ALIGNMENT: usize = 8;
/// The longest name of a backing file, in bytes.
pub const MAX_BACKING_NAME_LEN: u32 = 1023;

/// The fields of both versions: bytes 0 to 71.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct HeaderV2 {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// 2 or 3.
    pub version: U32,
    /// Where the name of the backing file stands; 0 if there is none.
    pub backing_name_offset: U64,
    /// How many bytes of it.
    pub backing_name_len: U32,
    /// log2 of the cluster size.
    pub cluster_bits: U32,
    /// The size of the disk, and where all tables are.
    pub tables: TablesField,
}

/// The part of [`HeaderV2`] that says where the refcount table is, for changing it in place: bytes 48 to 59.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RefcountTableField {
    /// Where it starts.
    pub offset: U64,
    /// How many clusters it takes.
    pub clusters: U32,
}

/// The part of [`HeaderV2`] that says where all tables are, for changing it in place: bytes 24 to 71, in one sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TablesField {
    /// The virtual size in bytes.
    pub size: U64,
    /// 0 none, 1 AES, 2 LUKS.
    pub crypt_method: U32,
    /// Entries of the active L1 table.
    pub l1_count: U32,
    /// Where the active L1 table starts.
    pub l1_offset: U64,
    /// Where the refcount table starts.
    pub refcount_table_offset: U64,
    /// How many clusters it takes.
    pub refcount_table_clusters: U32,
    /// How many internal snapshots there are.
    pub snapshot_count: U32,
    /// Where the snapshot table starts.
    pub snapshots_offset: U64,
}

/// What version 3 adds: bytes 72 to 103.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct HeaderV3 {
    /// Who does not know one of these bits must not open the image.
    pub incompatible_features: U64,
    /// Who does not know one of these may ignore it.
    pub compatible_features: U64,
    /// Who does not know one of these clears it before writing.
    pub autoclear_features: U64,
    /// log2 of the bits of a refcount.
    pub refcount_order: U32,
    /// The length of the header in bytes: here the extensions start.
    pub header_len: U32,
}

/// Additional fields of version 3, as far as they are defined: bytes 104 to 111.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct HeaderV3More {
    /// 0 deflate, 1 zstd.
    pub compression_type: u8,
    /// Zero.
    pub padding: [u8; 7],
}

/// `HeaderV2::crypt_method`: not encrypted.
pub const CRYPT_NONE: u32 = 0;
/// `HeaderV2::crypt_method`: AES.
pub const CRYPT_AES: u32 = 1;
/// `HeaderV2::crypt_method`: LUKS.
pub const CRYPT_LUKS: u32 = 2;

/// Incompatible: refcounts may be wrong.
pub const INCOMPATIBLE_DIRTY: u64 = 1 << 0;
/// Incompatible: anything may be wrong, nothing may be written.
pub const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
/// Incompatible: guest clusters are in a file of their own.
pub const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
/// Incompatible: the compression type is not deflate.
pub const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
/// Incompatible: L2 entries are of 16 bytes and have subclusters.
pub const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;
/// Compatible: refcounts may be updated late.
pub const COMPATIBLE_LAZY_REFCOUNTS: u64 = 1 << 0;
/// Autoclear: the bitmaps agree with the disk.
pub const AUTOCLEAR_BITMAPS: u64 = 1 << 0;
/// Autoclear: the data file can be read as a raw image.
pub const AUTOCLEAR_DATA_FILE_RAW: u64 = 1 << 1;

/// `HeaderV3More::compression_type`: deflate, without a zlib header.
pub const COMPRESSION_DEFLATE: u8 = 0;
/// `HeaderV3More::compression_type`: zstd.
pub const COMPRESSION_ZSTD: u8 = 1;

/// The start of a header extension; its data follow, padded to 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExtensionHeader {
    /// One of the `EXTENSION_` numbers, or unknown.
    pub kind: U32,
    /// Bytes of data, without padding.
    pub len: U32,
}

/// The end of the extensions.
pub const EXTENSION_END: u32 = 0;
/// The format of the backing file, a string.
pub const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
/// Names of feature bits.
pub const EXTENSION_FEATURE_NAMES: u32 = 0x6803_f857;
/// Where the bitmap directory is.
pub const EXTENSION_BITMAPS: u32 = 0x2385_2875;
/// Where the encryption header is.
pub const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;
/// The name of the data file, a string.
pub const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

/// One entry of the feature name table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FeatureNameEntry {
    /// 0 incompatible, 1 compatible, 2 autoclear.
    pub kind: u8,
    /// The number of the bit, 0 to 63.
    pub bit: u8,
    /// The name, padded with zeroes.
    pub name: [u8; 46],
}

/// The data of the bitmaps extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BitmapsExtension {
    /// How many bitmaps, at least 1.
    pub count: U32,
    /// Zero.
    pub reserved: U32,
    /// The length of the bitmap directory in bytes.
    pub directory_len: U64,
    /// Where it starts.
    pub directory_offset: U64,
}

/// The start of an entry of the bitmap directory; extra data, name and padding to 8 bytes follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BitmapDirectoryEntry {
    /// Where the bitmap table starts.
    pub table_offset: U64,
    /// How many entries it has.
    pub table_count: U32,
    /// The `BITMAP_` flags.
    pub flags: U32,
    /// 1: dirty tracking.
    pub kind: u8,
    /// log2 of the bytes that a bit stands for.
    pub granularity_bits: u8,
    /// Bytes of the name.
    pub name_len: U16,
    /// Bytes of extra data.
    pub extra_len: U32,
}

/// Bitmap flag: was not saved properly.
pub const BITMAP_IN_USE: u32 = 1 << 0;
/// Bitmap flag: follows every write.
pub const BITMAP_AUTO: u32 = 1 << 1;
/// Bitmap flag: may be used by who does not know the extra data.
pub const BITMAP_EXTRA_DATA_COMPATIBLE: u32 = 1 << 2;
/// `BitmapDirectoryEntry::kind` of dirty tracking bitmaps, the only kind.
pub const BITMAP_DIRTY_TRACKING: u8 = 1;
/// Bits of a bitmap table entry that hold the host offset.
pub const BITMAP_ENTRY_OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Bit of a bitmap table entry without host offset: all ones instead of all zeroes.
pub const BITMAP_ENTRY_ALL_ONES: u64 = 1 << 0;
/// Bits of a bitmap table entry that must be zero.
pub const BITMAP_ENTRY_RESERVED: u64 = 0xff00_0000_0000_01fe;

/// The start of an entry of the snapshot table; extra data, id, name and padding to 8 bytes follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SnapshotHeader {
    /// Where its L1 table starts.
    pub l1_offset: U64,
    /// Entries of its L1 table.
    pub l1_count: U32,
    /// Bytes of the id.
    pub id_len: U16,
    /// Bytes of the name.
    pub name_len: U16,
    /// When it was taken: seconds since 1970.
    pub date_seconds: U32,
    /// And nanoseconds.
    pub date_nanoseconds: U32,
    /// How long the guest had been running, in nanoseconds.
    pub guest_clock_nanoseconds: U64,
    /// Bytes of VM state, if the extra data do not say.
    pub vm_state_len: U32,
    /// Bytes of extra data.
    pub extra_len: U32,
}

/// The extra data of a snapshot table entry, as far as they are defined; version 3 has at least the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SnapshotExtra {
    /// Bytes of VM state.
    pub vm_state_len: U64,
    /// The virtual size in bytes when it was taken.
    pub disk_size: U64,
    /// Instruction count of record/replay, or all ones.
    pub icount: U64,
}

/// Bits of an L1 entry that hold the host offset of the L2 table.
pub const L1_OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Bits of an L1 entry that must be zero.
pub const L1_RESERVED: u64 = 0x7f00_0000_0000_01ff;
/// Bit of an L1 or L2 entry: what it points to has a refcount of exactly one.
pub const COPIED: u64 = 1 << 63;
/// Bit of an L2 entry: compressed.
pub const L2_COMPRESSED: u64 = 1 << 62;
/// Bit of an L2 entry that is not compressed: reads as zeroes (version 3, not with extended L2 entries).
pub const L2_ZERO: u64 = 1 << 0;
/// Bits of an L2 entry that is not compressed that hold the host offset.
pub const L2_OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Bits of an L2 entry that is not compressed that must be zero.
pub const L2_RESERVED: u64 = 0x3f00_0000_0000_01fe;
/// The descriptor of a compressed cluster: all bits below the two flags.
pub const L2_DESCRIPTOR: u64 = 0x3fff_ffff_ffff_ffff;
/// The first host offset that no descriptor may name: 2⁵⁶.
pub const MAX_HOST_OFFSET: u64 = 1 << 56;
/// The unit of a compressed cluster's length, in bytes.
pub const COMPRESSED_SECTOR: u64 = 512;
/// How many subclusters a cluster has with extended L2 entries.
pub const SUBCLUSTER_COUNT: u64 = 32;

/// Bits of a refcount table entry that hold the host offset of the refcount block.
pub const REFCOUNT_TABLE_OFFSET: u64 = 0xffff_ffff_ffff_fe00;
/// Bits of a refcount table entry that must be zero.
pub const REFCOUNT_TABLE_RESERVED: u64 = 0x0000_0000_0000_01ff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_long_as_the_specification_says() {
        assert_eq!(size_of::<HeaderV2>(), 72);
        assert_eq!(size_of::<HeaderV2>() + size_of::<HeaderV3>(), 104);
        assert_eq!(size_of::<HeaderV3More>(), 8);
        assert_eq!(
            std::mem::offset_of!(HeaderV2, tables.refcount_table_offset) as u64,
            REFCOUNT_TABLE_FIELD_OFFSET
        );
        assert_eq!(
            72 + std::mem::offset_of!(HeaderV3, incompatible_features) as u64,
            INCOMPATIBLE_FEATURES_OFFSET
        );
        assert_eq!(72 + std::mem::offset_of!(HeaderV3, autoclear_features) as u64, AUTOCLEAR_FEATURES_OFFSET);
        assert_eq!(size_of::<RefcountTableField>(), 12);
        assert_eq!(size_of::<HeaderV2>() as u64, TABLES_FIELD_OFFSET + size_of::<TablesField>() as u64);
        assert_eq!(size_of::<ExtensionHeader>(), 8);
        assert_eq!(size_of::<FeatureNameEntry>(), 48);
        assert_eq!(size_of::<BitmapsExtension>(), 24);
        assert_eq!(size_of::<BitmapDirectoryEntry>(), 24);
        assert_eq!(size_of::<SnapshotHeader>(), 40);
        assert_eq!(size_of::<SnapshotExtra>(), 24);
    }

    #[test]
    fn the_bits_of_an_entry_are_all_accounted_for() {
        assert_eq!(L1_OFFSET | L1_RESERVED | COPIED, u64::MAX);
        assert_eq!(L2_OFFSET | L2_RESERVED | COPIED | L2_COMPRESSED | L2_ZERO, u64::MAX);
        assert_eq!(BITMAP_ENTRY_OFFSET | BITMAP_ENTRY_RESERVED | BITMAP_ENTRY_ALL_ONES, u64::MAX);
        assert_eq!(REFCOUNT_TABLE_OFFSET | REFCOUNT_TABLE_RESERVED, u64::MAX);
        assert_eq!(L2_DESCRIPTOR | COPIED | L2_COMPRESSED, u64::MAX);
    }
}
