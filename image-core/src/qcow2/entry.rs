//! L1 and L2 entries ⇄ what they mean: where a guest cluster is.
//!
//! ```text
//! L1 entry   63 copied │ 62–56 zero │ 55–9 offset of the L2 table │ 8–0 zero
//! L2 entry   63 copied │ 62 compressed = 0 │ 61–56 zero │ 55–9 offset of the cluster │ 8–1 zero │ 0 reads as zeroes
//!            63 = 0    │ 62 compressed = 1 │ 61–x sectors − 1 │ x−1–0 offset of the first byte
//! extended   … followed by 63–32 subcluster reads as zeroes │ 31–0 subcluster is allocated
//! ```
//!
//! [`L2Entry::decode`] refuses whatever the specification forbids, for reading must never make zeroes of damage;
//! [`check`](super::check) looks at the raw fields instead and goes on. `decode` and `encode` are inverse to each
//! other for every entry that `decode` accepts. Sections: "Cluster mapping", "Extended L2 Entries".

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::corrupt::{Corrupt, Unsupported};
use super::geometry::Geometry;
use super::layout::{
    COMPRESSED_SECTOR, COPIED, L1_OFFSET, L1_RESERVED, L2_COMPRESSED, L2_DESCRIPTOR, L2_OFFSET, L2_RESERVED,
    L2_ZERO, MAX_HOST_OFFSET,
};
use super::offset::{GuestOffset, HostOffset};

/// A cluster (or L2 table) in the image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostCluster {
    /// Where it starts.
    pub offset: HostOffset,
    /// Whether its refcount is exactly one, so that it may be written in place.
    pub copied: bool,
}

/// Which kinds of entries an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryFormat {
    /// Sizes.
    pub geometry: Geometry,
    /// Whether bit 0 says "reads as zeroes": version 3.
    pub zero_flag: bool,
    /// Whether guest clusters are in a data file, each at its guest offset.
    pub data_file: bool,
}

/// Where a guest cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Nowhere: the backing file, or zeroes, show through.
    Unallocated,
    /// Reads as zeroes; a cluster may be set aside for it.
    Zero(Option<HostCluster>),
    /// In a cluster of its own.
    Allocated(HostCluster),
    /// Compressed.
    Compressed(CompressedPlace),
    /// Its subclusters differ (extended L2 entries only).
    Subclusters {
        /// Where the allocated subclusters are; `Some` whenever there are any.
        cluster: Option<HostCluster>,
        /// Which are what.
        subclusters: Subclusters,
    },
}

/// Where a compressed cluster is: at most so many bytes from so far on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressedPlace {
    /// The first byte; need not be aligned to anything.
    pub offset: HostOffset,
    /// Bytes up to the end of the last 512-byte sector; the data may end earlier.
    pub len: u64,
}

/// One bit for each of the 32 subclusters, the first the least significant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Subclusters {
    /// Allocated.
    pub allocated: u32,
    /// Reads as zeroes; never set together with `allocated`.
    pub zero: u32,
}

/// An entry of an L1 table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct L1Entry(pub u64);

impl L1Entry {
    /// The entry that points to an L2 table.
    pub fn new(table: HostCluster) -> Self {
        Self((table.offset.0 & L1_OFFSET) | if table.copied { COPIED } else { 0 })
    }

    /// The L2 table, whatever else is wrong with the entry; `None` for an entry that points nowhere.
    pub fn table(self) -> Option<HostCluster> {
        let offset = HostOffset(self.0 & L1_OFFSET);
        (offset.0 != 0).then_some(HostCluster { offset, copied: self.0 & COPIED != 0 })
    }

    /// The bits that must be zero.
    pub fn reserved_bits(self) -> u64 {
        self.0 & L1_RESERVED
    }

    /// The L2 table for the guest clusters from `guest` on.
    ///
    /// # Errors
    /// Reserved bits set, or a table that is not at a cluster boundary.
    pub fn decode(self, geometry: Geometry, guest: GuestOffset) -> Result<Option<HostCluster>, Corrupt> {
        if self.reserved_bits() != 0 {
            return Err(Corrupt::L1Reserved { guest, entry: self.0 });
        }
        match self.table() {
            Some(table) if !geometry.is_aligned(table.offset.0) => {
                Err(Corrupt::L2TableUnaligned { guest, host: table.offset })
            }
            table => Ok(table),
        }
    }
}

/// An entry of an L2 table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct L2Entry {
    /// The first, or only, 8 bytes.
    pub descriptor: u64,
    /// The other 8 bytes of an extended entry; 0 in others.
    pub subclusters: u64,
}

impl L2Entry {
    /// Whether it is of a compressed cluster.
    pub fn is_compressed(self) -> bool {
        self.descriptor & L2_COMPRESSED != 0
    }

    /// Whether the copied flag is set.
    pub fn is_copied(self) -> bool {
        self.descriptor & COPIED != 0
    }

    /// Whether bit 0 is set in an entry that is not compressed.
    pub fn has_zero_flag(self) -> bool {
        !self.is_compressed() && self.descriptor & L2_ZERO != 0
    }

    /// The bits that must be zero in an entry that is not compressed.
    pub fn reserved_bits(self) -> u64 {
        if self.is_compressed() { 0 } else { self.descriptor & L2_RESERVED }
    }

    /// The host offset in an entry that is not compressed; 0 where there is none.
    pub fn host(self) -> HostOffset {
        HostOffset(self.descriptor & L2_OFFSET)
    }

    /// The subclusters of an extended entry that is not compressed.
    pub fn subclusters(self) -> Subclusters {
        Subclusters { allocated: self.subclusters as u32, zero: (self.subclusters >> 32) as u32 }
    }

    /// The place that a compressed entry names.
    pub fn compressed_place(self, geometry: Geometry) -> CompressedPlace {
        let (offset_mask, offset_bits) = compressed_split(geometry);
        let descriptor = self.descriptor & L2_DESCRIPTOR;
        let offset = descriptor & offset_mask;
        let more_sectors = descriptor >> offset_bits;
        // At most 2^13 sectors: no overflow, and the offset within a sector is less than one sector.
        let len = more_sectors
            .saturating_add(1)
            .saturating_mul(COMPRESSED_SECTOR)
            .saturating_sub(offset & COMPRESSED_SECTOR.saturating_sub(1));
        CompressedPlace { offset: HostOffset(offset), len }
    }

    /// What it says of the guest cluster that starts at `guest`.
    ///
    /// # Errors
    /// Whatever the specification forbids. Whether the place exists in the file is for the caller to see.
    pub fn decode(self, format: EntryFormat, guest: GuestOffset) -> Result<Mapping, Corrupt> {
        if self.is_compressed() {
            return self.decode_compressed(format, guest);
        }
        if self.reserved_bits() != 0 {
            return Err(Corrupt::L2Reserved { guest, entry: self.descriptor });
        }
        let extended = format.geometry.extended_l2();
        if self.has_zero_flag() && (extended || !format.zero_flag) {
            return Err(Corrupt::ZeroFlag { guest });
        }
        let cluster = self.decode_cluster(format, guest)?;
        if extended {
            return self.decode_extended(cluster, guest);
        }
        Ok(match cluster {
            cluster if self.has_zero_flag() => Mapping::Zero(cluster),
            Some(cluster) => Mapping::Allocated(cluster),
            None => Mapping::Unallocated,
        })
    }

    fn decode_cluster(self, format: EntryFormat, guest: GuestOffset) -> Result<Option<HostCluster>, Corrupt> {
        let host = self.host();
        if host.0 == 0 && !(format.data_file && self.is_copied()) {
            return if self.is_copied() { Err(Corrupt::CopiedNothing { guest }) } else { Ok(None) };
        }
        if !format.geometry.is_aligned(host.0) {
            return Err(Corrupt::ClusterUnaligned { guest, host });
        }
        if format.data_file && host.0 != guest.0 {
            return Err(Corrupt::DataFileOffset { guest, host });
        }
        Ok(Some(HostCluster { offset: host, copied: self.is_copied() }))
    }

    fn decode_extended(self, cluster: Option<HostCluster>, guest: GuestOffset) -> Result<Mapping, Corrupt> {
        let subclusters = self.subclusters();
        let Subclusters { allocated, zero } = subclusters;
        if allocated & zero != 0 || (allocated != 0 && cluster.is_none()) {
            return Err(Corrupt::Subclusters { guest, bits: self.subclusters });
        }
        Ok(match (cluster, allocated, zero) {
            (Some(cluster), u32::MAX, _) => Mapping::Allocated(cluster),
            (cluster, _, u32::MAX) => Mapping::Zero(cluster),
            (None, _, 0) => Mapping::Unallocated,
            (cluster, _, _) => Mapping::Subclusters { cluster, subclusters },
        })
    }

    fn decode_compressed(self, format: EntryFormat, guest: GuestOffset) -> Result<Mapping, Corrupt> {
        if self.is_copied() {
            return Err(Corrupt::CompressedCopied { guest });
        }
        if format.data_file {
            return Err(Corrupt::CompressedInDataFile { guest });
        }
        if self.subclusters != 0 {
            return Err(Corrupt::Subclusters { guest, bits: self.subclusters });
        }
        let place = self.compressed_place(format.geometry);
        if place.offset.0 >= MAX_HOST_OFFSET {
            return Err(Corrupt::CompressedOffset { guest, host: place.offset });
        }
        Ok(Mapping::Compressed(place))
    }

    /// The entry that says `mapping`. `Subclusters` and `Zero` without zero flag are for images that have them.
    ///
    /// # Errors
    /// A host offset, or a compressed length, that the entry has no bits for.
    pub fn encode(mapping: Mapping, format: EntryFormat) -> Result<Self, Unsupported> {
        let extended = format.geometry.extended_l2();
        let cluster_bits = |cluster: HostCluster| {
            if cluster.offset.0 & !L2_OFFSET != 0 {
                return Err(Unsupported::HostOffset { host: cluster.offset, limit: MAX_HOST_OFFSET });
            }
            Ok(cluster.offset.0 | if cluster.copied { COPIED } else { 0 })
        };
        let descriptor = match mapping {
            Mapping::Unallocated | Mapping::Zero(None) | Mapping::Subclusters { cluster: None, .. } => 0,
            Mapping::Zero(Some(cluster))
            | Mapping::Allocated(cluster)
            | Mapping::Subclusters { cluster: Some(cluster), .. } => cluster_bits(cluster)?,
            Mapping::Compressed(place) => return Self::encode_compressed(place, format.geometry),
        };
        let Subclusters { allocated, zero } = match mapping {
            _ if !extended => Subclusters::default(),
            Mapping::Allocated(_) => Subclusters { allocated: u32::MAX, zero: 0 },
            Mapping::Zero(_) => Subclusters { allocated: 0, zero: u32::MAX },
            Mapping::Subclusters { subclusters, .. } => subclusters,
            Mapping::Unallocated | Mapping::Compressed(_) => Subclusters::default(),
        };
        let zero_flag = if matches!(mapping, Mapping::Zero(_)) && !extended { L2_ZERO } else { 0 };
        Ok(Self {
            descriptor: descriptor | zero_flag,
            subclusters: (u64::from(zero) << 32) | u64::from(allocated),
        })
    }

    fn encode_compressed(place: CompressedPlace, geometry: Geometry) -> Result<Self, Unsupported> {
        let limit = geometry.compressed_offset_limit();
        let in_sector = place.offset.0 % COMPRESSED_SECTOR;
        let more_sectors = in_sector.saturating_add(place.len).saturating_sub(1) / COMPRESSED_SECTOR;
        if place.offset.0 >= limit || more_sectors >= geometry.max_compressed_sectors() {
            return Err(Unsupported::HostOffset { host: place.offset, limit });
        }
        let (_, offset_bits) = compressed_split(geometry);
        let descriptor = L2_COMPRESSED | more_sectors.wrapping_shl(offset_bits) | place.offset.0;
        Ok(Self { descriptor, subclusters: 0 })
    }
}

/// The mask of the host offset in a compressed descriptor, and how many bits it has.
fn compressed_split(geometry: Geometry) -> (u64, u32) {
    let offset_bits = geometry.compressed_offset_bits();
    (u64::MAX.wrapping_shr(u64::BITS.saturating_sub(offset_bits)), offset_bits)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GUEST: GuestOffset = GuestOffset(0x30000);

    fn format(cluster_bits: u32, extended: bool) -> EntryFormat {
        EntryFormat {
            geometry: Geometry::new(cluster_bits, 4, extended).unwrap(),
            zero_flag: true,
            data_file: false,
        }
    }

    fn plain(descriptor: u64) -> L2Entry {
        L2Entry { descriptor, subclusters: 0 }
    }

    #[test]
    fn entries_as_qemu_writes_them() {
        let format = format(16, false);
        let decode = |descriptor| plain(descriptor).decode(format, GUEST);
        let cluster = HostCluster { offset: HostOffset(0x50000), copied: true };
        assert_eq!(decode(0), Ok(Mapping::Unallocated));
        assert_eq!(decode(0x8000_0000_0005_0000), Ok(Mapping::Allocated(cluster)));
        assert_eq!(decode(1), Ok(Mapping::Zero(None)));
        assert_eq!(decode(0x8000_0000_0005_0001), Ok(Mapping::Zero(Some(cluster))));
        let place = CompressedPlace { offset: HostOffset(0x5_0123), len: 4 * 512 - 0x123 };
        assert_eq!(decode(0x40c0_0000_0005_0123), Ok(Mapping::Compressed(place)));
        let small = self::format(9, false);
        let place = CompressedPlace { offset: HostOffset(0x5_0123), len: 1024 - 0x123 };
        assert_eq!(plain(0x6000_0000_0005_0123).decode(small, GUEST), Ok(Mapping::Compressed(place)));
    }

    #[test]
    fn what_is_forbidden_is_an_error_with_the_guest_offset() {
        let format = format(16, false);
        let decode = |descriptor| plain(descriptor).decode(format, GUEST).unwrap_err();
        assert_eq!(decode(2), Corrupt::L2Reserved { guest: GUEST, entry: 2 });
        assert_eq!(decode(1 << 56), Corrupt::L2Reserved { guest: GUEST, entry: 1 << 56 });
        assert_eq!(decode(COPIED), Corrupt::CopiedNothing { guest: GUEST });
        assert_eq!(decode(0x5200), Corrupt::ClusterUnaligned { guest: GUEST, host: HostOffset(0x5200) });
        assert_eq!(decode(L2_COMPRESSED | COPIED), Corrupt::CompressedCopied { guest: GUEST });
        let old = EntryFormat { zero_flag: false, ..format };
        assert_eq!(plain(1).decode(old, GUEST), Err(Corrupt::ZeroFlag { guest: GUEST }));
        let data = EntryFormat { data_file: true, ..format };
        assert_eq!(
            plain(COPIED | 0x10000).decode(data, GUEST),
            Err(Corrupt::DataFileOffset { guest: GUEST, host: HostOffset(0x10000) })
        );
        assert_eq!(
            plain(L2_COMPRESSED).decode(data, GUEST),
            Err(Corrupt::CompressedInDataFile { guest: GUEST })
        );
        let first = HostCluster { offset: HostOffset(0), copied: true };
        assert_eq!(plain(COPIED).decode(data, GuestOffset(0)), Ok(Mapping::Allocated(first)));
        let small = self::format(9, false);
        assert_eq!(
            plain(L2_COMPRESSED | 1 << 56).decode(small, GUEST),
            Err(Corrupt::CompressedOffset { guest: GUEST, host: HostOffset(1 << 56) })
        );
    }

    #[test]
    fn subclusters_of_extended_entries() {
        let format = format(16, true);
        let decode = |descriptor, subclusters| L2Entry { descriptor, subclusters }.decode(format, GUEST);
        let cluster = HostCluster { offset: HostOffset(0x50000), copied: false };
        assert_eq!(decode(0x50000, 0xffff_ffff), Ok(Mapping::Allocated(cluster)));
        assert_eq!(decode(0, 0xffff_ffff_0000_0000), Ok(Mapping::Zero(None)));
        assert_eq!(
            decode(0x50000, 0x0000_0002_0000_0001),
            Ok(Mapping::Subclusters {
                cluster: Some(cluster),
                subclusters: Subclusters { allocated: 1, zero: 2 }
            })
        );
        for bits in [0x1_0000_0001, 1] {
            let descriptor = if bits == 1 { 0 } else { 0x50000 };
            assert_eq!(decode(descriptor, bits), Err(Corrupt::Subclusters { guest: GUEST, bits }));
        }
        assert_eq!(decode(0x50001, 1), Err(Corrupt::ZeroFlag { guest: GUEST }));
        assert_eq!(decode(L2_COMPRESSED, 1), Err(Corrupt::Subclusters { guest: GUEST, bits: 1 }));
    }

    #[test]
    fn l1_entries() {
        let geometry = Geometry::new(16, 4, false).unwrap();
        let table = HostCluster { offset: HostOffset(0x40000), copied: true };
        assert_eq!(L1Entry(0x8000_0000_0004_0000).decode(geometry, GUEST), Ok(Some(table)));
        assert_eq!(L1Entry::new(table), L1Entry(0x8000_0000_0004_0000));
        assert_eq!(L1Entry(0).decode(geometry, GUEST), Ok(None));
        assert_eq!(L1Entry(1).decode(geometry, GUEST), Err(Corrupt::L1Reserved { guest: GUEST, entry: 1 }));
        assert!(L1Entry(0x200).decode(geometry, GUEST).is_err());
    }

    #[test]
    fn what_does_not_fit_is_not_encoded() {
        let format = format(21, false);
        let compressed =
            |offset, len| L2Entry::encode(Mapping::Compressed(CompressedPlace { offset, len }), format);
        assert!(compressed(HostOffset((1 << 49) - 1), 1).is_ok());
        assert!(compressed(HostOffset(1 << 49), 1).is_err());
        assert!(compressed(HostOffset(512), 4 << 20).is_ok());
        assert!(compressed(HostOffset(513), 4 << 20).is_err());
        let far = HostCluster { offset: HostOffset(1 << 56), copied: true };
        assert!(L2Entry::encode(Mapping::Allocated(far), format).is_err());
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bits(
            descriptor: u64, subclusters: u64, mask in 0..4_usize, cluster_bits in 9..=21_u32, extended: bool,
        ) {
            // Random bits are mostly refused: masks let whole classes of entries through.
            let extended = extended && cluster_bits >= 14;
            let format = format(cluster_bits, extended);
            let aligned = COPIED | (L2_OFFSET & !(format.geometry.cluster_size() - 1));
            let descriptor = [descriptor, descriptor & aligned, descriptor & (aligned | 1),
                (descriptor & L2_DESCRIPTOR & !(0x1f << 56)) | L2_COMPRESSED][mask];
            let zero = (subclusters >> 32) & !subclusters;
            let subclusters = if extended && mask < 3 { (subclusters & 0xffff_ffff) | zero << 32 } else { 0 };
            let entry = L2Entry { descriptor, subclusters };
            if let Ok(mapping) = entry.decode(format, GUEST) {
                prop_assert_eq!(L2Entry::encode(mapping, format), Ok(entry));
            } else {
                prop_assert!(mask != 3, "compressed entries below 2^56 all decode");
            }
        }
    }
}
