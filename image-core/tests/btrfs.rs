//! Filesystems that a kernel made: what is in them, and what was synced and is only in the log.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

#[path = "btrfs/damaged.rs"]
mod damaged;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange, ExtentKind, MemoryDisk};
use image_core::fs::{Btrfs, SubvolumeChoice};
use image_core::fs::{Filesystem, Node, NodeId, NodeKind};

fn disk(name: &str) -> Arc<dyn BlockRead> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/btrfs").join(name);
    let mut decoder = zstd::stream::read::Decoder::new(std::fs::File::open(path).unwrap()).unwrap();
    decoder.window_log_max(28).unwrap();
    let mut bytes = Vec::new();
    decoder.read_to_end(&mut bytes).unwrap();
    Arc::new(MemoryDisk::from_bytes(bytes))
}

fn find(fs: &Btrfs, path: &str) -> Option<Node> {
    let mut node = fs.root().unwrap();
    for name in path.split('/') {
        node = fs.node(fs.lookup(&node, name.as_bytes()).unwrap()?).unwrap();
    }
    Some(node)
}

fn read(fs: &Btrfs, path: &str) -> Vec<u8> {
    let content = fs.content(&find(fs, path).unwrap()).unwrap();
    let mut bytes = vec![0; content.size() as usize];
    content.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn names(fs: &Btrfs, path: &str) -> Vec<String> {
    let names = fs.entries(&find(fs, path).unwrap()).map(|entry| entry.unwrap().name);
    names.map(|name| String::from_utf8_lossy(&name).into_owned()).collect()
}

#[test]
fn what_is_compressed_is_the_same_however_it_is() {
    let fs = Btrfs::open(disk("mixed.img.zst")).unwrap();
    assert!(!fs.has_log());
    let lines: String = (0..60).map(|number| format!("line {number} of many\n")).collect();
    for kind in ["zlib", "lzo", "zstd"] {
        assert_eq!(read(&fs, &format!("{kind}/inline")), lines.as_bytes());
        let long = read(&fs, &format!("{kind}/long"));
        assert_eq!((long.len(), &long[150_000..150_007]), (300_000, &b"changed"[..]));
        assert_eq!(long, read(&fs, "zlib/long"));
        let directory = find(&fs, kind).unwrap();
        let attributes = fs.attributes(&directory).unwrap();
        assert_eq!(
            (&attributes[0].name[..], &attributes[0].value[..]),
            (&b"btrfs.compression"[..], kind.as_bytes())
        );
    }
    // Parts are those of the whole.
    let content = fs.content(&find(&fs, "lzo/long").unwrap()).unwrap();
    let whole = read(&fs, "lzo/long");
    for (at, len) in [(0, 1), (4095, 2), (131_071, 2), (149_999, 10), (299_999, 1), (5000, 140_000)] {
        let mut part = vec![0; len];
        content.read_at(&mut part, at as u64).unwrap();
        assert_eq!(part, whole[at..at + len], "{len} at {at}");
    }
    assert!(content.read_at(&mut [0, 0], 299_999).is_err());
}

#[test]
fn kinds_flags_and_extents_are_told() {
    let fs = Btrfs::open(disk("dup.img.zst")).unwrap();
    assert_eq!(find(&fs, "small/tty").unwrap().device, Some((5, 0)));
    assert_eq!(find(&fs, "nocow/x").unwrap().flags, 0x80_0000);
    assert_eq!(fs.read_link(&find(&fs, "small/again").unwrap()).unwrap(), b"../small");
    assert_eq!(find(&fs, "links/0").unwrap().links, 121);
    assert_eq!(names(&fs, "links").len(), 121);
    let kinds = |path: &str| {
        let content = fs.content(&find(&fs, path).unwrap()).unwrap();
        let extents = content.extents(ByteRange::whole(content.size())).unwrap();
        extents.iter().map(|extent| (extent.range.len(), extent.kind)).collect::<Vec<_>>()
    };
    assert_eq!(kinds("prealloc"), [(100_000, ExtentKind::Zero)]);
    assert_eq!(kinds("small/fragments")[..2], [(4096, ExtentKind::Data), (4096, ExtentKind::Hole)]);
    // Two names with one hash.
    for name in names(&fs, "collide") {
        assert_eq!(read(&fs, &format!("collide/{name}")), name.as_bytes());
    }
    assert!(find(&fs, "collide/other").is_none() && find(&fs, "small/tty/x").is_none());
    let usage = fs.usage().unwrap();
    assert_eq!(usage.size, 256 << 20);
    assert!(usage.free < usage.size);
    assert!(fs.content(&fs.root().unwrap()).is_err() && fs.read_link(&fs.root().unwrap()).is_err());
    assert!(fs.node(NodeId { subvolume: 5, number: 1 << 40 }).is_err());
    assert!(fs.node(NodeId { subvolume: 2, number: 256 }).is_err());
}

#[test]
fn subvolumes_are_entered_and_those_of_a_snapshot_are_empty() {
    let fs = Btrfs::open(disk("mixed.img.zst")).unwrap();
    let nested = find(&fs, "sub/nested").unwrap();
    assert_eq!((nested.id.number, nested.kind), (256, NodeKind::Directory));
    let empty = find(&fs, "snapshot/nested").unwrap();
    assert_eq!((empty.id.number, empty.mode, fs.entries(&empty).count()), (2, 0o755, 0));
    let all = fs.subvolumes().unwrap();
    let told: Vec<_> = all
        .iter()
        .map(|found| (found.path.as_deref().unwrap(), found.is_read_only, found.is_default))
        .collect();
    let expected: [(&[u8], bool, bool); 4] = [
        (b"", false, true),
        (b"sub", false, false),
        (b"sub/nested", false, false),
        (b"snapshot", true, false),
    ];
    assert_eq!(told, expected);
    let inner = fs.open_subvolume(SubvolumeChoice::Path(b"/sub/nested/")).unwrap();
    assert_eq!(inner.root().unwrap().id, nested.id);
    let sub = fs.open_subvolume(SubvolumeChoice::Id(all[1].id)).unwrap();
    assert_eq!(read(&sub, "file"), b"in a subvolume");
    assert_eq!(sub.open_subvolume(SubvolumeChoice::Id(0)).unwrap().subvolume(), 5);
    assert!(fs.open_subvolume(SubvolumeChoice::Path(b"small")).is_err());
    assert!(fs.open_subvolume(SubvolumeChoice::Id(1000)).is_err());
}

#[test]
fn what_is_only_in_the_log_counts() {
    let fs = Btrfs::open(disk("log.img.zst")).unwrap();
    let before = Btrfs::open_as_committed(disk("log.img.zst")).unwrap();
    assert!(fs.has_log() && before.has_log());
    // What is in no log stays as it was committed.
    assert_eq!(read(&fs, "small/size-3000"), b"rewritten".repeat(900));
    assert_eq!(read(&before, "small/size-3000"), b"rewritten".repeat(900));
    assert_eq!(read(&fs, "sub/file"), b"in a subvolume, logged");
    assert_eq!(read(&before, "sub/file"), b"in a subvolume");
    // Its directory was synced, it was not.
    assert_eq!(read(&fs, "small/logged-9"), b"");
    assert!(find(&before, "small/logged-9").is_none());
    let gone = format!("small/index/7-{}", "n".repeat(60));
    assert!(find(&fs, &gone).is_none() && find(&before, &gone).is_some());
    assert!(find(&fs, "small/renamed").is_some() && find(&fs, "small/size-200").is_none());
    assert!(find(&before, "small/renamed").is_none() && find(&before, "small/size-200").is_some());
    assert_eq!(names(&fs, "small/index").len(), 59);
}

#[test]
fn many_threads_read_the_same() {
    let fs = Btrfs::open(disk("dup.img.zst")).unwrap();
    let long = read(&fs, "zstd/long");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for path in ["lzo/long", "zlib/long", "zstd/long"] {
                    assert_eq!(read(&fs, path), long);
                    assert_eq!(names(&fs, "links").len(), 121);
                }
            });
        }
    });
}
