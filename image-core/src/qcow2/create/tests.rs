//! Empty images of every kind: what is in them, how long they are, and what is refused.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

use super::*;
use crate::ErrorKind;
use crate::block::{BlockRead, ExtentKind, MemoryDisk};
use crate::qcow2::check::check;
use crate::qcow2::{Codec, Corrupt, Geometry, Qcow2, Version};

const SIZE: u64 = 5 << 20;

fn created(image: &NewImage, preallocation: Preallocation) -> (Arc<MemoryDisk>, Arc<MemoryDisk>, Header) {
    let (file, data) = (Arc::new(MemoryDisk::new(0)), Arc::new(MemoryDisk::new(0)));
    let data_file = image.has_data_file().then(|| data.clone() as Arc<dyn BlockWrite>);
    image.create(file.clone(), data_file, preallocation).unwrap();
    let header = Header::read(&*file).unwrap();
    let mut told = Vec::new();
    let result = check(&*file, &header, &mut |finding| told.push(finding.to_string())).unwrap();
    assert!(result.is_clean(), "{told:?}");
    (file, data, header)
}

#[test]
fn the_header_says_what_was_asked_for() {
    let image = NewImage::new(SIZE).unwrap().with_lazy_refcounts(true).unwrap();
    let image = image.with_backing(b"base.raw", Some("raw")).unwrap();
    let (file, _, header) = created(&image, Preallocation::Off);
    assert!(header.has_lazy_refcounts() && !header.is_dirty());
    assert_eq!(header.backing_name.as_deref(), Some(&b"base.raw"[..]));
    assert_eq!(header.backing_format(), Some(&b"raw"[..]));
    assert_eq!(file.size(), 3 * 65536 + 8, "as QEMU's");
    let (_, data, header) =
        created(&NewImage::new(SIZE).unwrap().with_data_file(b"d", true).unwrap(), Preallocation::Off);
    assert!(header.has_data_file() && header.is_data_file_raw());
    assert_eq!((header.data_file_name(), data.size()), (Some(&b"d"[..]), SIZE));
    // Names of features stand where there is room for them.
    let small = Geometry::new(9, 4, false).unwrap();
    let small = NewImage::in_clusters(SIZE, small).unwrap();
    let extensions = |image: &NewImage| created(image, Preallocation::Off).2.extensions.len();
    assert_eq!((extensions(&small), extensions(&small.with_backing(b"b", Some("raw")).unwrap())), (1, 1));
}

#[test]
fn clusters_that_are_set_aside_read_as_zeroes() {
    for (bits, order, extended) in
        [(9, 6, false), (12, 0, false), (16, 4, false), (16, 4, true), (21, 3, false)]
    {
        let geometry = Geometry::new(bits, order, extended).unwrap();
        let image = NewImage::in_clusters(SIZE, geometry).unwrap();
        for how in [Preallocation::Metadata, Preallocation::Falloc, Preallocation::Full] {
            let (file, _, header) = created(&image, how);
            let count = check(&*file, &header, &mut |_| {}).unwrap().allocated_clusters;
            assert_eq!(count, geometry.clusters_for(SIZE), "{geometry:?}");
            let disk = Qcow2::new(file, header, None, None).unwrap();
            let mut bytes = vec![1; SIZE as usize];
            disk.read_at(&mut bytes, 0).unwrap();
            assert!(crate::block::is_zero(&bytes));
            let extents = disk.extents(ByteRange::whole(SIZE)).unwrap();
            assert_eq!(extents.total(ExtentKind::Data), 0);
        }
    }
}

#[test]
fn a_backing_file_shows_through_clusters_that_are_set_aside_or_they_are_refused() {
    let image = NewImage::new(SIZE).unwrap().with_backing(b"b", Some("raw")).unwrap();
    let file = Arc::new(MemoryDisk::new(0));
    let error = image.create(file.clone(), None, Preallocation::Metadata).unwrap_err();
    assert_eq!((error.kind(), file.size()), (ErrorKind::Invalid, 0));
    let extended = NewImage::in_clusters(SIZE, Geometry::new(16, 4, true).unwrap()).unwrap();
    let extended = extended.with_backing(b"b", Some("raw")).unwrap();
    let (file, _, header) = created(&extended, Preallocation::Metadata);
    let backing = Arc::new(MemoryDisk::from_bytes(vec![7; SIZE as usize]));
    let disk = Qcow2::new(file, header, Some(backing), None).unwrap();
    let mut bytes = vec![1; SIZE as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    assert!(bytes.iter().all(|&byte| byte == 7));
}

#[test]
fn a_raw_data_file_is_mapped_from_the_start() {
    let image = NewImage::new(SIZE + 512).unwrap().with_data_file(b"d", true).unwrap();
    let (file, data, header) = created(&image, Preallocation::Full);
    let disk = Qcow2::new(file, header, None, Some(data.clone())).unwrap();
    data.write_at(&[9; 512], SIZE).unwrap();
    let mut bytes = [0; 512];
    disk.read_at(&mut bytes, SIZE).unwrap();
    assert_eq!(bytes, [9; 512]);
}

#[test]
fn what_the_format_does_not_have_is_refused() {
    let new = || NewImage::new(SIZE).unwrap();
    let old = || new().with_version(Version::V2).unwrap();
    assert!(old().with_lazy_refcounts(true).is_err() && old().with_data_file(b"d", false).is_err());
    assert!(new().with_backing(b"", None).is_err() && new().with_backing(&[b'a'; 1024], None).is_err());
    let raw = new().with_data_file(b"d", true).unwrap();
    assert!(raw.with_backing(b"b", None).is_err());
    assert!(new().with_data_file(b"d", false).unwrap().with_codec(Codec::default(), true).is_err());
    assert_eq!(NewImage::new(u64::MAX).unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(NewImage::new(1 << 62).unwrap_err().cause::<Corrupt>().is_none());
}

#[test]
fn larger_clusters_map_larger_disks() {
    let size = 32 << 50;
    assert!(NewImage::new(size).is_err());
    let image = NewImage::in_clusters(size, Geometry::new(18, 4, false).unwrap()).unwrap();
    assert_eq!(created(&image, Preallocation::Off).2.size, size);
    assert!(NewImage::in_clusters(size + 512, image.geometry()).is_err());
}
