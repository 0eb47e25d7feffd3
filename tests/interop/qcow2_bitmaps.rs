//! Bitmaps that QEMU keeps, and those that we keep, in turns on one image: each reads what the other marked.

use std::path::Path;

use image_core::block::{BlockWrite, ByteRange, FileDisk, ZeroMode};
use image_core::format::{ImageWriter, WriteOptions};
use image_core::qcow2::Header;
use image_core::qcow2::bitmap::{self, Bits};

use super::qcow2_check::Bench;
use crate::support::peer::{Peer, peer};
use crate::support::server::{Place, Server};
use crate::support::{folder, goldimg};

/// The parts of the disk that a bitmap marks, as we read it.
fn ours(image: &Path, name: &str) -> Vec<ByteRange> {
    let file = FileDisk::open(image).unwrap();
    let header = Header::read(&file).unwrap();
    let bitmaps = bitmap::list(&file, &header).unwrap();
    let found = bitmaps.iter().find(|bitmap| bitmap.name == name.as_bytes()).unwrap();
    Bits::read(&file, &header, found).unwrap().ranges()
}

/// The same as QEMU serves it over NBD.
fn theirs(img: &Peer, nbd: &Peer, image: &Path, name: &str) -> Vec<ByteRange> {
    let dir = folder();
    let place = Place::unix(dir.path().join("socket"));
    let server = Server::qemu(nbd, place, &["-t", "-r", "-f", "qcow2", "-B", name], image);
    let node = format!("{},x-dirty-bitmap=qemu:dirty-bitmap:{name}", server.options());
    let map = img.must(["map", "--output=json", "--image-opts", &node]);
    let map: serde_json::Value = serde_json::from_str(&map).unwrap();
    let mut ranges: Vec<ByteRange> = Vec::new();
    // What is marked is shown as if it had no data.
    for extent in map.as_array().unwrap().iter().filter(|extent| extent["data"] == false) {
        let start = extent["start"].as_u64().unwrap();
        let end = start + extent["length"].as_u64().unwrap();
        match ranges.last_mut() {
            Some(last) if last.end() == start => *last = ByteRange::between(last.offset(), end),
            _ => ranges.push(ByteRange::between(start, end)),
        }
    }
    ranges
}

/// Names, granularities and numbers of flags, as QEMU shows them.
fn shown(img: &Peer, image: &Path) -> Vec<(String, u64, usize)> {
    let info = img.must(["info", "--output=json", image.to_str().unwrap()]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let bitmap = |bitmap: &serde_json::Value| {
        let flags = bitmap["flags"].as_array().unwrap().len();
        (bitmap["name"].as_str().unwrap().to_owned(), bitmap["granularity"].as_u64().unwrap(), flags)
    };
    info["format-specific"]["data"]["bitmaps"].as_array().unwrap().iter().map(bitmap).collect()
}

/// Runs goldimg, which must end well and have nothing to say; returns what it printed.
fn must(words: &[&str]) -> String {
    let outcome = goldimg(words).run();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{}", outcome.snapshot());
    outcome.stdout
}

#[test]
fn qemu_and_we_mark_in_turns() {
    let Some(bench) = Bench::new() else { return };
    let Some(nbd) = peer("qemu-nbd") else { return };
    for option in
        ["cluster_size=64k", "cluster_size=512", "cluster_size=2M", "extended_l2=on,cluster_size=32k"]
    {
        let image = bench.path("bitmaps.qcow2");
        let path = image.to_str().unwrap();
        bench.img.must(["create", "-f", "qcow2", "-o", option, path, "200M"]);
        let clean = || {
            bench.img.must(["check", path]);
        };
        must(&["bitmap", "--add", "-g", "4k", path, "fine"]);
        must(&["bitmap", "--add", "-g", "1M", path, "coarse"]);
        bench.img.must(["bitmap", "--add", "-g", "64k", path, "theirs"]);
        must(&["bitmap", "--add", "--disable", path, "off"]);
        clean();
        bench.io.must(["-f", "qcow2", "-c", "write 5M 100k", "-c", "write -z 199M 1M", path]);
        let writer = ImageWriter::open(&image, WriteOptions::default()).unwrap();
        writer.write_at(&[1; 10_000], 50 << 20).unwrap();
        writer.write_zeroes(ByteRange::new(51 << 20, 1 << 20).unwrap(), ZeroMode::Punch).unwrap();
        writer.close().unwrap();
        clean();
        for name in ["fine", "coarse", "theirs", "off"] {
            assert_eq!(ours(&image, name), theirs(&bench.img, &nbd, &image, name), "{option}: {name}");
        }
        assert_eq!(ours(&image, "off"), []);
        let written: u64 = ours(&image, "fine").iter().map(|range| range.len()).sum();
        assert_eq!(written, (100 << 10) + (1 << 20) + 12_288 + (1 << 20), "{option}");
        // Merged by us, and by QEMU: the same.
        must(&["bitmap", "--add", "-g", "32k", path, "a"]);
        must(&["bitmap", "--merge", "fine", "--merge", "theirs", path, "a"]);
        bench.img.must(["bitmap", "--add", "-g", "32k", "--merge", "fine", "--merge", "theirs", path, "b"]);
        assert_eq!(ours(&image, "a"), theirs(&bench.img, &nbd, &image, "b"), "{option}");
        must(&["bitmap", "--clear", path, "fine"]);
        must(&["bitmap", "--remove", path, "coarse"]);
        must(&["bitmap", "--disable", path, "a"]);
        let shown = shown(&bench.img, &image);
        let default = [("cluster_size=512", 4096), ("extended_l2=on,cluster_size=32k", 32_768)];
        let default = default.iter().find(|(known, _)| *known == option).map_or(65_536, |&(_, size)| size);
        let expected = [
            ("fine", 4096, 1),
            ("theirs", 65_536, 1),
            ("off", default, 0),
            ("a", 32_768, 0),
            ("b", 32_768, 1),
        ];
        assert_eq!(
            shown,
            expected.map(|(name, granularity, flags)| (name.to_owned(), granularity, flags)),
            "{option}"
        );
        clean();
        bench.img.must(["bitmap", "--merge", "a", path, "fine"]);
        assert_eq!(ours(&image, "fine"), ours(&image, "a"), "{option}: merged back by QEMU");
        // Snapshots do not disturb them.
        must(&["snapshot", "-c", "one", path]);
        clean();
        assert_eq!(ours(&image, "fine"), theirs(&bench.img, &nbd, &image, "fine"), "{option}");
        let outcome = goldimg(["snapshot", "-a", "one", path]).run();
        assert_eq!(outcome.code, 1);
        assert!(outcome.stderr.contains("has bitmaps"), "{}", outcome.stderr);
        for name in ["fine", "theirs", "off", "a", "b"] {
            must(&["bitmap", "--remove", path, name]);
        }
        must(&["snapshot", "-a", "one", path]);
        assert_eq!(must(&["bitmap", path]), "");
        clean();
    }
}

#[test]
fn a_conversion_takes_bitmaps_along_bit_for_bit() {
    let (Some(bench), Some(nbd)) = (Bench::new(), peer("qemu-nbd")) else { return };
    let source = bench.path("source.qcow2");
    let path = source.to_str().unwrap();
    bench.img.must(["create", "-f", "qcow2", path, "200M"]);
    for (name, granularity) in [("fine", "512"), ("coarse", "1M"), ("all", "64k"), ("off", "4k")] {
        bench.img.must(["bitmap", "--add", "-g", granularity, path, name]);
    }
    bench.io.must(["-f", "qcow2", "-c", "write 5M 100k", "-c", "write -z 199M 1M", path]);
    bench.img.must(["bitmap", "--disable", path, "off"]);
    bench.img.must(["bitmap", "--disable", path, "fine"]);
    // Every bit of this one: tables say so without any clusters of bits.
    bench.io.must(["-f", "qcow2", "-c", "write -z 0 200M", path]);
    bench.img.must(["bitmap", "--enable", path, "fine"]);
    let target = bench.path("target.qcow2");
    let to = target.to_str().unwrap();
    let existing = bench.path("existing.qcow2");
    bench.img.must(["create", "-f", "qcow2", existing.to_str().unwrap(), "200M"]);
    let conversions: [(&Path, &[&str]); 5] = [
        (&target, &["convert", "-q", "--bitmaps", "--force", "-O", "qcow2", path, to]),
        (&target, &["convert", "-q", "--bitmaps", "--force", "-c", "-o", "cluster_size=4k", path, to]),
        (&existing, &["convert", "-q", "--bitmaps", "-n", path, existing.to_str().unwrap()]),
        (&target, &["qemu-img", "convert", "--bitmaps", "-O", "qcow2", path, to]),
        (&target, &["qemu-img", "convert", "--bitmaps", "-O", "qcow2", "-o", "cluster_size=2M", path, to]),
    ];
    for (target, words) in conversions {
        must(words);
        bench.img.must(["check", target.to_str().unwrap()]);
        assert_eq!(shown(&bench.img, target), shown(&bench.img, &source), "{words:?}");
        for name in ["fine", "coarse", "all", "off"] {
            let expected = theirs(&bench.img, &nbd, &source, name);
            assert!(!expected.is_empty(), "{name}");
            assert_eq!(theirs(&bench.img, &nbd, target, name), expected, "{words:?}: {name}");
        }
    }
    assert_eq!(ours(&source, "all"), [ByteRange::between(0, 200 << 20)]);
    assert_eq!(ours(&source, "off").len(), 2);
}

#[test]
fn bitmaps_that_cannot_be_taken_along_are_told_before_anything_is_written() {
    let Some(bench) = Bench::new() else { return };
    let source = bench.path("source.qcow2");
    let path = source.to_str().unwrap();
    bench.img.must(["create", "-f", "qcow2", path, "20M"]);
    bench.img.must(["bitmap", "--add", path, "b"]);
    bench.img.must(["bitmap", "--add", path, "c"]);
    let target = bench.path("target");
    let to = target.to_str().unwrap();
    let refused = |words: &[&str], code: i32, told: &str| {
        let outcome = goldimg(["convert", "--bitmaps"].iter().chain(words)).run();
        assert!(outcome.code == code && outcome.stderr.contains(told), "{}", outcome.snapshot());
        assert!(!target.exists());
    };
    refused(&["-O", "raw", path, to], 64, "the target has no place for bitmaps");
    refused(&["-O", "qcow2", "-o", "compat=0.10", path, to], 64, "the target has no place for bitmaps");
    refused(&["-O", "qcow2", path, path, to], 64, "bitmaps of several images at once");
    refused(&["-f", "raw", "-O", "qcow2", path, to], 1, "has no place for bitmaps");
    bench.img.must(["bitmap", "--disable", path, "c"]);
    let writer = ImageWriter::open(&source, WriteOptions::default()).unwrap();
    writer.write_at(&[1; 10_000], 1 << 20).unwrap();
    drop(writer);
    refused(&["-O", "qcow2", path, to], 1, "\"b\" was not saved properly");
    let outcome = goldimg(["convert", "--bitmaps", "--skip-broken-bitmaps", "-O", "qcow2", path, to]).run();
    assert!(outcome.code == 0 && outcome.stderr.contains("it is left out"), "{}", outcome.snapshot());
    assert_eq!(shown(&bench.img, &target), [("c".to_owned(), 65_536, 0)]);
}

#[test]
fn a_bitmap_of_a_writer_that_was_killed_is_inconsistent_for_qemu_too() {
    let Some(bench) = Bench::new() else { return };
    let image = bench.path("killed.qcow2");
    let path = image.to_str().unwrap();
    bench.img.must(["create", "-f", "qcow2", path, "20M"]);
    bench.img.must(["bitmap", "--add", path, "b"]);
    let writer = ImageWriter::open(&image, WriteOptions::default()).unwrap();
    writer.write_at(&[1; 10_000], 1 << 20).unwrap();
    drop(writer);
    let outcome = bench.img.run(["bitmap", "--clear", path, "b"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("inconsistent"), "{}", outcome.snapshot());
    let outcome = goldimg(["bitmap", path]).run();
    assert!(outcome.stdout.contains("not saved properly"), "{}", outcome.snapshot());
    bench.img.must(["bitmap", "--remove", path, "b"]);
    bench.img.must(["check", "-r", "leaks", path]);
}
