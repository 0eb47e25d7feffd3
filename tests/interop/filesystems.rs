//! Filesystems besides ext4 as their own programs make them and the kernel fills them: every file as the kernel's own mount tells it.
//!
//! ```text
//! mkfs.btrfs, mkfs.xfs ─► image ─► mounted, filled by the kernel ─► mounted: walk.py ─┐
//!                                           └─────────────────────► our reader ───────┴─► line by line
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange, ExtentKind, FileDisk};
use image_core::digest::{Algorithm, Hasher};
use image_core::fs::{Filesystem, Node, NodeKind, Time, open};

use super::ext4::{assert_same, fill, say, script, text};
use crate::support::folder;
use crate::support::peer::{administrator, peer};

/// What is hashed as a whole; of larger files only what is stored.
const WHOLE: u64 = 64 << 20;

/// Makes a filesystem of `size` bytes with `make`, mounts it with `options`, fills it with `files`, and compares.
fn compare(make: &[&str], size: u64, options: &str, files: &[&str]) {
    let Some(program) = make.first().and_then(|name| peer(name)) else { return };
    let (Some(()), Some(unshare)) = (administrator("the kernel mounts nothing"), peer("unshare")) else {
        return;
    };
    let dir = folder();
    let (image, place) = (dir.path().join("image"), dir.path().join("mounted"));
    std::fs::File::create(&image).and_then(|file| file.set_len(size)).expect("a file");
    std::fs::create_dir(&place).expect("a folder");
    let [image_name, place] = [&image, &place].map(|path| path.to_str().expect("UTF-8"));
    program.must([&make[1..], &[image_name]].concat());
    let mounted = |options: &str, words: &str| {
        let command =
            format!("set -eu; mount -o loop,noatime,{options} {image_name} {place}; {words}; umount {place}");
        unshare.must(["--mount", "--propagation", "private", "sh", "-c", &command])
    };
    mounted(options, &fill(place, files));
    let theirs = mounted("ro", &format!("python3 {} {place}", script("walk.py")));
    let theirs: BTreeMap<String, String> = theirs.lines().map(known).collect();
    let ours = ours(&image);
    assert_same(&theirs, &ours);
    say(ours.len(), &format!("{} {options}", make.join(" ")));
    assert!(ours.len() > 300, "{}", ours.len());
}

/// Path and facts of a line, without those that only ext4 has.
fn known(line: &str) -> (String, String) {
    let (path, facts) = line.split_once(' ').expect("facts");
    let facts: Vec<&str> = facts.split(' ').filter(|fact| !fact.starts_with("generation=")).collect();
    (path.to_owned(), facts.join(" "))
}

fn ours(image: &Path) -> BTreeMap<String, String> {
    let fs = open(Arc::new(FileDisk::open(image).expect("the image"))).expect("a filesystem");
    let root = fs.root().expect("the root");
    let mut lines = BTreeMap::new();
    let mut todo = vec![(Vec::new(), root)];
    while let Some((path, node)) = todo.pop() {
        for entry in fs.entries(&node) {
            let entry = entry.expect("a name");
            let found = fs.node(entry.id).expect("a node");
            assert!(entry.kind.is_none_or(|kind| kind == found.kind), "{}", text(&entry.name));
            let path =
                if path.is_empty() { entry.name } else { [&path, b"/".as_slice(), &entry.name].concat() };
            // The way by the name finds the same.
            if todo.len().is_multiple_of(97) {
                let by_path = image_core::fs::resolve(&*fs, &path, false).expect("a path");
                assert_eq!(by_path.as_ref(), Some(&found), "{}", text(&path));
            }
            todo.push((path, found));
        }
        let shown = if path.is_empty() { ".".to_owned() } else { text(&path) };
        assert!(lines.insert(shown, facts(&*fs, &node)).is_none(), "twice: {}", text(&path));
    }
    lines
}

fn facts(fs: &dyn Filesystem, node: &Node) -> String {
    let nanoseconds = |time: Time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let mut out = vec![
        format!("{:?} mode={:o} owner={}:{} size={}", node.kind, node.mode, node.uid, node.gid, node.size),
        format!("links={} inode={} sectors={}", node.links, node.id.number, node.allocated / 512),
        format!("accessed={} modified={}", nanoseconds(node.accessed), nanoseconds(node.modified)),
        format!("changed={}", nanoseconds(node.changed)),
    ];
    if let Some((major, minor)) = node.device {
        out.push(format!("device={major}:{minor}"));
    }
    if node.kind == NodeKind::Link {
        out.push(format!("target={}", text(&fs.read_link(node).expect("a target"))));
    }
    let mut attributes = fs.attributes(node).expect("attributes");
    attributes.sort_by(|one, other| one.name.cmp(&other.name));
    for attribute in attributes {
        let (name, len) = (text(&attribute.name), attribute.value.len());
        out.push(format!("attribute={name}:{len}:{}", &sha256([attribute.value])[..16]));
    }
    if matches!(node.kind, NodeKind::File | NodeKind::Directory) {
        out.push(format!("flags={:x}", node.flags));
    }
    if node.kind == NodeKind::File {
        out.push(content(&*fs.content(node).expect("content")));
    }
    out.join(" ")
}

fn content(content: &dyn BlockRead) -> String {
    let mut stored: Vec<ByteRange> = Vec::new();
    for at in (0..content.size()).step_by(1 << 30) {
        let range = ByteRange::between(at, (at + (1 << 30)).min(content.size()));
        for extent in
            content.extents(range).expect("extents").iter().filter(|own| own.kind == ExtentKind::Data)
        {
            match stored.last_mut() {
                Some(last) if last.end() == extent.range.offset() => {
                    *last = ByteRange::between(last.offset(), extent.range.end());
                }
                _ => stored.push(extent.range),
            }
        }
    }
    let listed: Vec<String> =
        stored.iter().map(|range| format!("{}+{}", range.offset(), range.len())).collect();
    let whole = [ByteRange::whole(content.size())];
    let read = if content.size() <= WHOLE { &whole[..] } else { &stored[..] };
    let pieces = read.iter().flat_map(|range| {
        (range.offset()..range.end()).step_by(1 << 20).map(|at| {
            let mut piece = vec![0; (range.end() - at).min(1 << 20) as usize];
            content.read_at(&mut piece, at).expect("bytes");
            piece
        })
    });
    let listed = &sha256([listed.join(",").into_bytes()])[..16];
    format!("stored={listed}:{} content={}", stored.len(), sha256(pieces))
}

fn sha256(pieces: impl IntoIterator<Item = Vec<u8>>) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for piece in pieces {
        hasher.update(&piece);
    }
    hasher.finish().hex
}

const SOME: [&str; 4] = ["kinds", "times", "attributes", "stored"];

#[test]
fn btrfs_reads_as_the_kernel_tells() {
    let make = ["mkfs.btrfs", "-q"];
    compare(&make, 512 << 20, "compress-force=zstd", &["kinds", "times", "attributes", "stored", "many"]);
    compare(
        &[&make[..], &["-n", "65536", "--csum", "sha256"]].concat(),
        512 << 20,
        "compress-force=zlib",
        &SOME,
    );
    compare(&[&make[..], &["--mixed", "--csum", "xxhash"]].concat(), 512 << 20, "compress-force=lzo", &SOME);
    compare(&[&make[..], &["-m", "dup", "-O", "^no-holes"]].concat(), 512 << 20, "nodatacow", &SOME);
}

#[test]
fn xfs_reads_as_the_kernel_tells() {
    let make = ["mkfs.xfs", "-q", "-f"];
    compare(&make, 512 << 20, "rw", &["kinds", "times", "attributes", "stored", "many"]);
    compare(&[&make[..], &["-b", "size=1024", "-n", "size=8192"]].concat(), 512 << 20, "rw", &SOME);
    compare(
        &[&make[..], &["-m", "reflink=0,rmapbt=0,bigtime=0", "-i", "size=2048"]].concat(),
        512 << 20,
        "rw",
        &SOME,
    );
    compare(&[&make[..], &["-s", "size=4096"]].concat(), 512 << 20, "rw", &SOME);
}
