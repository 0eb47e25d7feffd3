//! Headers as QEMU writes them, every field bent until a rule breaks, and the way back to bytes.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

use proptest::prelude::*;

use super::super::layout::{EXTENSION_BACKING_FORMAT, EXTENSION_FEATURE_NAMES};
use super::*;
use crate::block::MemoryDisk;
use crate::error::ErrorKind;

const FILE_SIZE: u64 = 0x50000;

/// What `qemu-img create -f qcow2 x 1G` writes: header at 0, refcounts at 0x10000, L1 at 0x30000.
fn as_qemu_writes() -> Vec<u8> {
    let mut bytes = b"QFI\xfb\0\0\0\x03".to_vec();
    bytes.extend([0; 8 + 4]);
    bytes.extend(16_u32.to_be_bytes());
    bytes.extend((1_u64 << 30).to_be_bytes());
    bytes.extend(0_u32.to_be_bytes());
    bytes.extend(2_u32.to_be_bytes());
    bytes.extend(0x30000_u64.to_be_bytes());
    bytes.extend(0x10000_u64.to_be_bytes());
    bytes.extend(1_u32.to_be_bytes());
    bytes.extend([0; 4 + 8 + 8 + 8 + 8]);
    bytes.extend(4_u32.to_be_bytes());
    bytes.extend(112_u32.to_be_bytes());
    bytes.extend([0; 8]);
    bytes.extend(extension::to_bytes(&[Extension::known_feature_names()]));
    bytes.resize(0x10000, 0);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Header> {
    Header::from_bytes(bytes, FILE_SIZE)
}

/// The rule that is broken once `change` was made.
fn broken(change: impl FnOnce(&mut [u8])) -> Corrupt {
    let mut bytes = as_qemu_writes();
    change(&mut bytes);
    let error = parse(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    error.cause::<Corrupt>().unwrap().clone()
}

fn unsupported(change: impl FnOnce(&mut [u8])) -> Unsupported {
    let mut bytes = as_qemu_writes();
    change(&mut bytes);
    let error = parse(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    error.cause::<Unsupported>().unwrap().clone()
}

fn put32(at: usize, value: u32) -> impl Fn(&mut [u8]) {
    move |bytes| bytes[at..at + 4].copy_from_slice(&value.to_be_bytes())
}

fn put64(at: usize, value: u64) -> impl Fn(&mut [u8]) {
    move |bytes| bytes[at..at + 8].copy_from_slice(&value.to_be_bytes())
}

#[test]
fn a_header_of_qemu_is_read_and_written_back_bit_for_bit() {
    let bytes = as_qemu_writes();
    let header = parse(&bytes).unwrap();
    assert_eq!(header.size, 1 << 30);
    assert_eq!(header.l1, TablePlace { offset: HostOffset(0x30000), count: 2 });
    assert_eq!(header.refcount_table, TablePlace { offset: HostOffset(0x10000), count: 1 });
    assert_eq!(header.geometry.refcount_bits(), 16);
    let written = header.to_bytes().unwrap();
    assert_eq!(written, bytes[..written.len()]);
    assert!(bytes[written.len()..].iter().all(|&byte| byte == 0));
    let mut file = bytes;
    file.resize(FILE_SIZE as usize, 0);
    assert_eq!(Header::read(&MemoryDisk::from_bytes(file)).unwrap(), header);
}

#[test]
fn version_2_has_72_bytes_and_what_follows_from_that() {
    let mut bytes = as_qemu_writes();
    put32(4, 2)(&mut bytes);
    bytes[72..].fill(0);
    let header = parse(&bytes).unwrap();
    assert_eq!((header.version, header.geometry.refcount_order()), (Version::V2, 4));
    let written = header.to_bytes().unwrap();
    assert_eq!(written.len(), 80);
    assert_eq!(written, bytes[..80]);
}

#[test]
fn lies_about_sizes_and_places_are_found() {
    use Region::{Header, L1Table, RefcountTable, SnapshotTable};
    assert_eq!(broken(|bytes| bytes[3] = 0), Corrupt::Magic { magic: *b"QFI\0" });
    assert_eq!(broken(put32(20, 8)), Corrupt::ClusterBits { bits: 8 });
    assert_eq!(broken(put32(96, 7)), Corrupt::RefcountOrder { order: 7 });
    assert_eq!(broken(put32(100, 96)), Corrupt::HeaderLen { len: 96 });
    assert_eq!(broken(put32(100, 108)), Corrupt::HeaderLen { len: 108 });
    assert_eq!(
        broken(put64(24, (1 << 30) + 1)),
        Corrupt::L1TooShort { size: (1 << 30) + 1, needed: 3, count: 2 }
    );
    let far = 1 << 40;
    let past_end = |region, len| Corrupt::RegionPastEnd { region, offset: far, len, file_size: FILE_SIZE };
    assert_eq!(broken(put64(40, far)), past_end(L1Table, 16));
    assert_eq!(broken(put64(48, far)), past_end(RefcountTable, 0x10000));
    assert_eq!(
        broken(put32(36, u32::MAX)),
        Corrupt::RegionTooLong { region: L1Table, len: u64::from(u32::MAX) * 8, limit: MAX_L1_LEN }
    );
    assert!(matches!(broken(put32(56, u32::MAX)), Corrupt::RegionTooLong { region: RefcountTable, .. }));
    assert!(matches!(broken(put32(60, 65_537)), Corrupt::RegionTooLong { region: SnapshotTable, .. }));
    // An end past 2^64 is past every end.
    let last = u64::MAX - 0xffff;
    assert!(matches!(broken(put64(48, last)), Corrupt::RegionPastEnd { region: RefcountTable, .. }));
    let both = |bytes: &mut [u8]| {
        put64(40, u64::MAX)(bytes);
        put32(36, u32::MAX)(bytes);
    };
    assert!(matches!(broken(both), Corrupt::RegionTooLong { region: L1Table, .. }));
    assert_eq!(broken(put32(56, 0)), Corrupt::NoRefcountTable);
    assert_eq!(broken(put64(40, 0x30008)), Corrupt::RegionUnaligned { region: L1Table, offset: 0x30008 });
    assert_eq!(
        broken(put64(40, 0)),
        Corrupt::RegionsOverlap { one: L1Table, one_offset: 0, other: Header, other_offset: 0 }
    );
    assert!(matches!(broken(put64(48, 0x30000)), Corrupt::RegionsOverlap { one: RefcountTable, .. }));
    assert!(matches!(broken(put32(60, 1)), Corrupt::RegionsOverlap { one: SnapshotTable, .. }));
}

#[test]
fn a_backing_name_must_be_short_and_behind_the_header() {
    let name = |offset: u64, len: u32| {
        move |bytes: &mut [u8]| {
            put64(8, offset)(bytes);
            put32(16, len)(bytes);
        }
    };
    assert_eq!(broken(name(0x800, 1024)), Corrupt::BackingName { offset: 0x800, len: 1024 });
    assert_eq!(broken(name(0xfff8, 9)), Corrupt::BackingName { offset: 0xfff8, len: 9 });
    assert_eq!(broken(name(8, 9)), Corrupt::BackingName { offset: 8, len: 9 });
    assert_eq!(broken(name(u64::MAX, 9)), Corrupt::BackingName { offset: u64::MAX, len: 9 });
    // The extensions end where the name starts.
    assert!(matches!(broken(name(200, 9)), Corrupt::ExtensionCut { kind: EXTENSION_FEATURE_NAMES, .. }));
    let mut bytes = as_qemu_writes();
    name(0x800, 4)(&mut bytes);
    bytes[0x800..0x804].copy_from_slice(b"base");
    assert_eq!(parse(&bytes).unwrap().backing_name.as_deref(), Some(&b"base"[..]));
}

#[test]
fn what_is_unknown_is_refused_by_name() {
    assert_eq!(unsupported(put32(4, 4)), Unsupported::Version { version: 4 });
    assert_eq!(unsupported(put32(20, 22)), Unsupported::ClusterBits { bits: 22 });
    assert_eq!(unsupported(put32(32, 2)), Unsupported::Encrypted { method: CryptMethod::Luks });
    assert_eq!(unsupported(put32(32, 1)), Unsupported::Encrypted { method: CryptMethod::Aes });
    assert_eq!(unsupported(put64(24, u64::MAX)), Unsupported::VirtualSize { size: u64::MAX });
    let features = unsupported(|bytes| {
        put64(72, 1 << 63 | 1 << 5)(bytes);
        // The table's third entry becomes the name of bit 63.
        bytes[120 + 2 * 48 + 1] = 63;
    });
    let names = vec![(63, b"external data file".to_vec())];
    let unknown = UnknownFeatures { bits: 1 << 63 | 1 << 5, names };
    assert_eq!(
        (unknown.nameless(), unknown.to_string().as_str()),
        (1 << 5, "bit 5, \"external data file\" (bit 63)")
    );
    assert_eq!(features, Unsupported::Features(unknown));
    assert_eq!(
        unsupported(|bytes| {
            put64(72, layout::INCOMPATIBLE_COMPRESSION)(bytes);
            bytes[104] = 2;
        }),
        Unsupported::Compression { kind: 2 }
    );
    assert_eq!(broken(|bytes| bytes[104] = 1), Corrupt::CompressionBit { kind: 1, bit: false });
    assert_eq!(broken(put64(88, 2)), Corrupt::RawWithoutDataFile);
}

#[test]
fn fields_of_the_future_and_unknown_extensions_survive_a_rewrite() {
    let mut bytes = as_qemu_writes();
    let tail = extension::to_bytes(&[Extension::Unknown { kind: 0x1234, data: vec![9; 5] }]);
    put32(100, 128)(&mut bytes);
    bytes[112..128].copy_from_slice(&[0xab; 16]);
    bytes[128..128 + tail.len()].copy_from_slice(&tail);
    bytes[128 + tail.len()..].fill(0);
    put64(80, 1 << 40)(&mut bytes);
    let header = parse(&bytes).unwrap();
    assert_eq!(header.unknown_fields, [0xab; 16]);
    let written = header.to_bytes().unwrap();
    assert_eq!(written, bytes[..written.len()]);
}

#[test]
fn a_file_cut_anywhere_in_its_header_is_an_error_and_no_panic() {
    let bytes = as_qemu_writes();
    for len in 0..112 {
        assert!(Header::read(&MemoryDisk::from_bytes(bytes[..len].to_vec())).is_err(), "{len}");
    }
}

proptest! {
    #[test]
    fn a_header_that_is_written_is_read_again(
        v2: bool, cluster_bits in 12..=21_u32, order in 0..=6_u32, size in 0..1_u64 << 31, zstd: bool,
        lazy: bool, name in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..1023)),
        unknown in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let v2 = v2 && !zstd;
        let order = if v2 { 4 } else { order };
        let geometry = Geometry::new(cluster_bits, order, false).unwrap();
        let cluster = geometry.cluster_size();
        let header = Header {
            version: if v2 { Version::V2 } else { Version::V3 },
            geometry,
            size,
            l1: TablePlace { offset: HostOffset(2 * cluster), count: geometry.l1_count_for(size) as u32 },
            refcount_table: TablePlace { offset: HostOffset(cluster), count: 1 },
            snapshots: TablePlace::default(),
            features: Features {
                incompatible: if zstd { layout::INCOMPATIBLE_COMPRESSION } else { 0 },
                compatible: if lazy && !v2 { layout::COMPATIBLE_LAZY_REFCOUNTS } else { 0 },
                autoclear: 0,
            },
            compression: if zstd { Compression::Zstd } else { Compression::Deflate },
            unknown_fields: Vec::new(),
            extensions: vec![
                Extension::BackingFormat(b"raw".to_vec()),
                Extension::Unknown { kind: EXTENSION_BACKING_FORMAT ^ 1, data: unknown },
                Extension::known_feature_names(),
            ],
            backing_name: name,
        };
        let bytes = header.to_bytes().unwrap();
        let file_size = 3 * cluster + 8 * u64::from(header.l1.count);
        prop_assert_eq!(Header::from_bytes(&bytes, file_size).unwrap(), header);
    }

    #[test]
    fn no_header_panics(changes in proptest::collection::vec((0..700_usize, any::<u8>()), 1..20), v2: bool) {
        let mut bytes = as_qemu_writes();
        for (at, value) in changes {
            bytes[at] = value;
        }
        if v2 {
            put32(4, 2)(&mut bytes);
        }
        let _ = parse(&bytes);
    }
}

/// What is missing of the L1 table is for a check to count, and for nobody else to read.
#[test]
fn only_a_check_reads_a_header_whose_l1_table_is_past_the_end() {
    let file = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = as_qemu_writes();
        change(&mut bytes);
        bytes.resize(FILE_SIZE as usize, 0);
        MemoryDisk::from_bytes(bytes)
    };
    for offset in [FILE_SIZE, 1 << 30, 1 << 62] {
        let file = file(&put64(40, offset));
        assert_eq!(Header::read_to_check(&file).unwrap().0.l1.offset.0, offset);
        let repaired = Header::read_to_repair(&file).map(|(header, _)| header);
        for error in [Header::read(&file), repaired].map(Result::unwrap_err) {
            assert!(matches!(error.cause(), Some(Corrupt::RegionPastEnd { region: Region::L1Table, .. })));
        }
    }
    // A length that nothing bounds is no less a lie.
    let long = Header::read_to_check(&file(&put32(36, u32::MAX))).unwrap_err();
    assert!(matches!(long.cause(), Some(Corrupt::RegionTooLong { region: Region::L1Table, .. })));
    let unaligned = Header::read_to_check(&file(&put64(40, 0x4000_0200))).unwrap_err();
    assert!(matches!(unaligned.cause(), Some(Corrupt::RegionUnaligned { region: Region::L1Table, .. })));
}
