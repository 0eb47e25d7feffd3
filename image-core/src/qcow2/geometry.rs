//! What follows from the cluster size, the width of refcounts and the kind of L2 entries.
//!
//! ```text
//!  guest offset   63 ──────────────┬──────────────┬──────────── 0
//!                      L1 index    │   L2 index   │ in cluster
//!                                  └─ cluster_bits − 3 (− 4 if extended)
//!
//!  compressed     61 ──────────┬─────────────────────────────── 0    x = 62 − (cluster_bits − 8)
//!  descriptor       sectors − 1│          host offset (x bits)
//! ```
//!
//! Section: "Cluster mapping" and "Host cluster management".

use super::corrupt::{Corrupt, Unsupported};
use super::layout::{COMPRESSED_SECTOR, MAX_HOST_OFFSET, SUBCLUSTER_COUNT};
use super::offset::GuestOffset;

/// The smallest cluster: 512 bytes.
pub const MIN_CLUSTER_BITS: u32 = 9;
/// The largest cluster that QEMU and this library read: 2 MiB.
pub const MAX_CLUSTER_BITS: u32 = 21;
/// The smallest cluster of an image with extended L2 entries: 16 KiB.
pub const MIN_EXTENDED_CLUSTER_BITS: u32 = 14;
/// Refcounts have at most 2⁶ = 64 bits.
pub const MAX_REFCOUNT_ORDER: u32 = 6;
/// The width of refcounts in version 2, and the default in version 3: 16 bits.
pub const DEFAULT_REFCOUNT_ORDER: u32 = 4;

/// Sizes and index arithmetic. By construction `cluster_bits` is 9 to 21 (at least 14 with extended L2 entries)
/// and `refcount_order` 0 to 6, so that no shift and no product below can overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    cluster_bits: u32,
    refcount_order: u32,
    extended_l2: bool,
}

impl Geometry {
    /// Clusters of 2^`cluster_bits` bytes, refcounts of 2^`refcount_order` bits.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) outside what the format allows,
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for clusters over 2 MiB.
    pub fn new(cluster_bits: u32, refcount_order: u32, extended_l2: bool) -> crate::Result<Self> {
        if cluster_bits < MIN_CLUSTER_BITS {
            return Err(Corrupt::ClusterBits { bits: cluster_bits }.into());
        }
        if cluster_bits > MAX_CLUSTER_BITS {
            return Err(Unsupported::ClusterBits { bits: cluster_bits }.into());
        }
        if extended_l2 && cluster_bits < MIN_EXTENDED_CLUSTER_BITS {
            return Err(Corrupt::ExtendedClusterBits { bits: cluster_bits }.into());
        }
        if refcount_order > MAX_REFCOUNT_ORDER {
            return Err(Corrupt::RefcountOrder { order: refcount_order }.into());
        }
        Ok(Self { cluster_bits, refcount_order, extended_l2 })
    }

    /// log2 of the cluster size.
    pub fn cluster_bits(self) -> u32 {
        self.cluster_bits
    }

    /// Bytes in a cluster.
    pub fn cluster_size(self) -> u64 {
        1 << self.cluster_bits
    }

    /// log2 of the bits in a refcount.
    pub fn refcount_order(self) -> u32 {
        self.refcount_order
    }

    /// Bits in a refcount: 1 to 64.
    pub fn refcount_bits(self) -> u32 {
        1 << self.refcount_order
    }

    /// The largest refcount that can be written down.
    pub fn max_refcount(self) -> u64 {
        u64::MAX >> (64 - self.refcount_bits())
    }

    /// Refcounts in a refcount block of one cluster.
    pub fn refcounts_per_block(self) -> u64 {
        1 << (self.cluster_bits + 3 - self.refcount_order)
    }

    /// Whether L2 entries are of 16 bytes and have subclusters.
    pub fn extended_l2(self) -> bool {
        self.extended_l2
    }

    /// Bytes in an L2 entry: 8 or 16.
    pub fn l2_entry_len(self) -> u64 {
        if self.extended_l2 { 16 } else { 8 }
    }

    /// Entries in an L2 table, which is one cluster.
    pub fn l2_count(self) -> u64 {
        1 << self.l2_bits()
    }

    fn l2_bits(self) -> u32 {
        self.cluster_bits - if self.extended_l2 { 4 } else { 3 }
    }

    /// Guest bytes that one L2 table, that is one L1 entry, maps.
    pub fn l2_coverage(self) -> u64 {
        1 << (self.cluster_bits + self.l2_bits())
    }

    /// The L1 entry in charge of a guest offset.
    pub fn l1_index(self, guest: GuestOffset) -> u64 {
        guest.0 >> (self.cluster_bits + self.l2_bits())
    }

    /// The entry in its L2 table in charge of a guest offset; below [`l2_count`](Self::l2_count).
    pub fn l2_index(self, guest: GuestOffset) -> u64 {
        (guest.0 >> self.cluster_bits) & (self.l2_count() - 1)
    }

    /// The first guest offset that the L2 table in charge of guest offset `offset` maps.
    pub fn l2_start(self, offset: u64) -> u64 {
        offset & !(self.l2_coverage() - 1)
    }

    /// L1 entries needed for a disk of `size` bytes.
    pub fn l1_count_for(self, size: u64) -> u64 {
        size.div_ceil(self.l2_coverage())
    }

    /// The number of the cluster that holds byte `offset`.
    pub fn cluster_index(self, offset: u64) -> u64 {
        offset >> self.cluster_bits
    }

    /// How far `offset` lies into its cluster.
    pub fn in_cluster(self, offset: u64) -> u64 {
        offset & (self.cluster_size() - 1)
    }

    /// The first byte of the cluster that holds byte `offset`.
    pub fn cluster_start(self, offset: u64) -> u64 {
        offset & !(self.cluster_size() - 1)
    }

    /// Whether a cluster starts at `offset`.
    pub fn is_aligned(self, offset: u64) -> bool {
        self.in_cluster(offset) == 0
    }

    /// Clusters needed for `len` bytes.
    pub fn clusters_for(self, len: u64) -> u64 {
        len.div_ceil(self.cluster_size())
    }

    /// `len` rounded up to whole clusters; the last multiple of a cluster if that is past 2⁶⁴.
    pub fn round_up(self, len: u64) -> u64 {
        len.checked_next_multiple_of(self.cluster_size()).unwrap_or_else(|| self.cluster_start(u64::MAX))
    }

    /// Bytes in a subcluster; a whole cluster without extended L2 entries.
    pub fn subcluster_size(self) -> u64 {
        if self.extended_l2 { self.cluster_size() / SUBCLUSTER_COUNT } else { self.cluster_size() }
    }

    /// The bits that a compressed descriptor has for the host offset.
    pub fn compressed_offset_bits(self) -> u32 {
        62 - (self.cluster_bits - 8)
    }

    /// The first host offset at which no compressed cluster can start.
    pub fn compressed_offset_limit(self) -> u64 {
        (1 << self.compressed_offset_bits()).min(MAX_HOST_OFFSET)
    }

    /// The most 512-byte sectors that a compressed descriptor can name.
    pub fn max_compressed_sectors(self) -> u64 {
        1 << (self.cluster_bits - 8)
    }

    /// The most bytes that a compressed descriptor can name: two clusters.
    pub fn max_compressed_len(self) -> u64 {
        self.max_compressed_sectors() * COMPRESSED_SECTOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_geometry_has_the_well_known_numbers() {
        let geometry = Geometry::new(16, 4, false).unwrap();
        assert_eq!(geometry.cluster_size(), 65536);
        assert_eq!(geometry.l2_count(), 8192);
        assert_eq!(geometry.l2_coverage(), 512 << 20);
        assert_eq!(geometry.refcounts_per_block(), 32768);
        assert_eq!(geometry.max_refcount(), 65535);
        assert_eq!(geometry.compressed_offset_bits(), 54);
        assert_eq!(geometry.max_compressed_len(), 131_072);
        assert_eq!(geometry.l1_count_for(1), 1);
        assert_eq!(geometry.l1_count_for((512 << 20) + 1), 2);
        assert_eq!(geometry.l1_index(GuestOffset(u64::MAX)), u64::MAX >> 29);
        assert_eq!(geometry.l2_index(GuestOffset((513 << 20) + 65536)), 17);
    }

    #[test]
    fn extended_entries_halve_the_coverage() {
        let geometry = Geometry::new(16, 4, true).unwrap();
        assert_eq!(geometry.l2_count(), 4096);
        assert_eq!(geometry.l2_coverage(), 256 << 20);
        assert_eq!(geometry.subcluster_size(), 2048);
    }

    #[test]
    fn the_extremes_do_not_overflow() {
        let small = Geometry::new(9, 6, false).unwrap();
        assert_eq!(small.refcounts_per_block(), 64);
        assert_eq!(small.max_refcount(), u64::MAX);
        assert_eq!(small.compressed_offset_limit(), MAX_HOST_OFFSET);
        assert_eq!(small.round_up(u64::MAX), u64::MAX - 511);
        let large = Geometry::new(21, 0, false).unwrap();
        assert_eq!(large.refcounts_per_block(), 1 << 24);
        assert_eq!(large.max_refcount(), 1);
        assert_eq!(large.compressed_offset_bits(), 49);
        assert_eq!(large.l2_coverage(), 1 << 39);
    }

    #[test]
    fn what_the_format_does_not_allow_is_refused() {
        assert!(Geometry::new(8, 4, false).is_err());
        assert_eq!(Geometry::new(22, 4, false).unwrap_err().kind(), crate::ErrorKind::Unsupported);
        assert!(Geometry::new(13, 4, true).is_err());
        assert!(Geometry::new(16, 7, false).is_err());
    }
}
