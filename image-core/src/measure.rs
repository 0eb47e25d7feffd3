//! How large the file of a new image will be, before it is written.
//!
//! ```text
//! required          all metadata of a full image + the clusters that hold data        an upper bound
//! fully allocated   all metadata + all clusters                                       when a guest has filled it
//! bitmaps           the persistent bitmaps, if they are taken along
//! exact             what a conversion writes, found by writing it to nowhere          for compressed images too
//! ```
//!
//! The first three are as `qemu-img measure` counts them, cluster for cluster.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::block::{BlockRead, BlockWrite, ByteRange, ZeroMode};
use crate::convert::{Options, Piece, convert};
use crate::error::{Error, Result};
use crate::foreign;
use crate::map::Map;
use crate::qcow2::bitmap::Bitmap;
use crate::qcow2::header::MAX_L1_LEN;
use crate::qcow2::{Geometry, NewImage, Qcow2Sink};

/// Raw images are rounded up to so many bytes.
const SECTOR: u64 = 512;
/// The bytes of an entry of the L1 table, the refcount table and a bitmap's table.
const TABLE_ENTRY: u64 = 8;
/// The bytes of an entry of the bitmap directory before its name.
const BITMAP_ENTRY: u64 = 24;

/// How large an image will be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// What is surely enough for the content.
    pub required: u64,
    /// What is needed when every cluster is written.
    pub fully_allocated: u64,
}

/// What is going to be in an image.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// So many zeroes.
    Empty(u64),
    /// All of a disk.
    Of(&'a dyn BlockRead),
}

impl Content<'_> {
    fn size(self) -> u64 {
        match self {
            Self::Empty(size) => size,
            Self::Of(disk) => disk.size(),
        }
    }
}

/// Measures a new image of another program's format, by writing it to nowhere: the length of the file, of `content` and of a
/// disk that is full.
///
/// # Errors
/// As [`convert`].
pub fn foreign(image: &foreign::NewImage, content: Content<'_>, options: &Options) -> Result<Measured> {
    let image = image.clone().with_size(content.size())?;
    let required = match content {
        Content::Of(disk) => {
            let file = Nowhere::default();
            convert(disk, &mut *image.sink(&file)?, options)?;
            file.size()
        }
        Content::Empty(_) => written(&image, &[])?,
    };
    let fully_allocated = match image.is_compressed() {
        false => written(&image, &[1; 512])?,
        // What cannot be compressed gets longer by the frame that says so. Tables are written only where they are used.
        true => {
            let grains = image.size().div_ceil(64 * 1024);
            let tables = grains.div_ceil(512);
            written(&image, &[])? + grains * (64 * 1024 + 512) + tables * (2048 + 512)
        }
    };
    Ok(Measured { required, fully_allocated })
}

/// The length of the file of `image`, each block of which begins so.
fn written(image: &foreign::NewImage, start: &[u8]) -> Result<u64> {
    let file = Nowhere::default();
    let mut sink = image.sink(&file)?;
    let step = if start.is_empty() { u64::MAX } else { image.smallest_block() };
    let mut at = 0;
    while at < image.size() && !start.is_empty() {
        let len = (image.size() - at).min(start.len() as u64);
        sink.put(ByteRange::between(at, at + len), Piece::Plain(&start[..len as usize]))?;
        at += step;
    }
    sink.finish()?;
    drop(sink);
    Ok(file.size())
}

/// What a new qcow2 image is to be like, as far as its size depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Sizes.
    pub geometry: Geometry,
    /// Whether all clusters get storage at once.
    pub preallocated: bool,
    /// Whether it has a backing file. What that has in common with the content is not known: nothing is counted on.
    pub backed: bool,
}

/// Measures a raw image.
pub fn raw(content: Content<'_>) -> Measured {
    let size = content.size().div_ceil(SECTOR).saturating_mul(SECTOR);
    Measured { required: size, fully_allocated: size }
}

/// Measures a qcow2 image that is not compressed.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for more than an L1 table of 32 MiB can map; what the disk says.
pub fn qcow2(target: Target, content: Content<'_>) -> Result<Measured> {
    let Target { geometry, .. } = target;
    let size = geometry.round_up(content.size());
    if geometry.l1_count_for(size).saturating_mul(TABLE_ENTRY) > MAX_L1_LEN {
        return Err(Error::unsupported("the virtual size is too large for these clusters: take larger ones"));
    }
    let data = match content {
        _ if target.preallocated => size,
        Content::Empty(_) => 0,
        Content::Of(_) if target.backed => size,
        Content::Of(disk) => data_clusters(disk, geometry)?.saturating_mul(geometry.cluster_size()),
    };
    let fully_allocated = fully_allocated(geometry, size);
    Ok(Measured { required: fully_allocated - size + data, fully_allocated })
}

/// The bytes that bitmaps of a disk of `size` bytes need in a new image, if all of their bits are set.
pub fn bitmaps(geometry: Geometry, size: u64, bitmaps: &[Bitmap]) -> u64 {
    let mut total = 0_u64;
    let mut directory = 0_u64;
    for bitmap in bitmaps.iter().filter(|bitmap| !bitmap.is_in_use()) {
        let bits = size.div_ceil(1_u64.checked_shl(bitmap.granularity_bits.into()).unwrap_or(u64::MAX));
        let clusters = geometry.clusters_for(bits.div_ceil(8));
        let table = geometry.round_up(clusters.saturating_mul(TABLE_ENTRY));
        total = total.saturating_add(clusters.saturating_mul(geometry.cluster_size())).saturating_add(table);
        directory += (BITMAP_ENTRY + bitmap.name.len() as u64).next_multiple_of(8);
    }
    total.saturating_add(geometry.round_up(directory))
}

/// The length of the file that converting `source` to `image` makes: the conversion is done, and not stored.
///
/// # Errors
/// As [`convert`]; [`Invalid`](crate::ErrorKind::Invalid) where equal clusters are to be stored once, which compares stored ones.
pub fn exact(source: &dyn BlockRead, image: NewImage, options: &Options) -> Result<u64> {
    let nowhere = Nowhere::default();
    convert(source, &mut Qcow2Sink::new(&nowhere, image)?, options)?;
    Ok(nowhere.size())
}

/// The clusters of a new image that would hold something else than zeroes.
fn data_clusters(disk: &dyn BlockRead, geometry: Geometry) -> Result<u64> {
    let (mut count, mut counted_until) = (0, 0);
    for entry in Map::new(disk) {
        let entry = entry?;
        if entry.data && !entry.zero {
            let first = geometry.cluster_index(entry.range.offset()).max(counted_until);
            let end = geometry.clusters_for(entry.range.end());
            count += end.saturating_sub(first);
            counted_until = end;
        }
    }
    Ok(count)
}

/// The length of a file with a cluster for everything: `size` bytes in whole clusters, and all tables.
fn fully_allocated(geometry: Geometry, size: u64) -> u64 {
    let cluster_size = geometry.cluster_size();
    let l2_tables = geometry.clusters_for(size).div_ceil(geometry.l2_count());
    let l1_clusters = geometry.clusters_for(l2_tables * TABLE_ENTRY);
    let clusters = 1 + l2_tables + l1_clusters + geometry.clusters_for(size);
    (clusters + refcount_clusters(geometry, clusters)) * cluster_size
}

/// The clusters of a refcount table and its blocks that count so many clusters, and themselves.
fn refcount_clusters(geometry: Geometry, clusters: u64) -> u64 {
    let (mut blocks, mut table) = (0, 0);
    loop {
        let needed = (clusters + blocks + table).div_ceil(geometry.refcounts_per_block());
        let table_needed = geometry.clusters_for(needed * TABLE_ENTRY);
        if (needed, table_needed) == (blocks, table) {
            return blocks + table;
        }
        (blocks, table) = (needed, table_needed);
    }
}

/// A file that only remembers how long it is.
#[derive(Debug, Default)]
struct Nowhere {
    size: AtomicU64,
}

impl BlockRead for Nowhere {
    fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    fn read_at(&self, _buf: &mut [u8], offset: u64) -> Result<()> {
        Err(Error::invalid(format!("what was written at offset {offset:#x} was not stored")))
    }
}

impl BlockWrite for Nowhere {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        ByteRange::new(offset, buf.len() as u64)?.check_within(self.size())
    }

    fn write_zeroes(&self, range: ByteRange, _mode: ZeroMode) -> Result<()> {
        range.check_within(self.size())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn resize(&self, size: u64) -> Result<()> {
        self.size.store(size, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The expected numbers were printed by `qemu-img measure` of QEMU 10.0.2.
    #[test]
    fn an_empty_image_needs_its_metadata() {
        let measured = |cluster_bits, order, size| {
            let geometry = Geometry::new(cluster_bits, order, false).unwrap();
            let target = Target { geometry, preallocated: false, backed: false };
            let Measured { required, fully_allocated } = qcow2(target, Content::Empty(size)).unwrap();
            (required, fully_allocated)
        };
        assert_eq!(measured(16, 4, 1000), (327_680, 393_216));
        assert_eq!(measured(16, 4, 10 << 30), (1_900_544, 10_739_318_784));
        assert_eq!(raw(Content::Empty(1000)).required, 1024);
    }

    #[test]
    fn the_exact_size_is_that_of_the_written_file() {
        use crate::block::MemoryDisk;
        let source = MemoryDisk::new(1 << 20);
        source.write_at(&[5; 100_000], 300_000).unwrap();
        let image =
            |compress| NewImage::new(1 << 20).unwrap().with_codec(Default::default(), compress).unwrap();
        for compress in [false, true] {
            let file = MemoryDisk::new(0);
            let mut sink = Qcow2Sink::new(&file, image(compress)).unwrap();
            convert(&source, &mut sink, &Options::default()).unwrap();
            let exact = exact(&source, image(compress), &Options::default()).unwrap();
            assert_eq!(exact, file.size(), "compress: {compress}");
        }
    }
}
