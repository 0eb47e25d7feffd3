//! `goldimg convert` writes, others judge: qemu-img's check, map and comparison, and two independent readers.
//!
//! ```text
//! source.raw ─► goldimg convert ─┬─► qemu-img check     clean, with exact counts of clusters
//!  known clusters                ├─► qemu-img compare   identical
//!                                ├─► qemu-img map       zeroes where zeroes are
//!                                ├─► imago, qcow2-rs    the same bytes
//!                                └─► goldimg convert    back to the same raw file
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use super::readers;
use crate::support::peer::{Peer, peer};
use crate::support::{folder, goldimg};

const CLUSTER: usize = 65536;

/// What a cluster of the source holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Zero,
    Text,
    Noise,
}

/// A source whose every cluster is known, and qemu-img.
struct Bench {
    img: Peer,
    folder: tempfile::TempDir,
    kinds: Vec<Kind>,
}

impl Bench {
    fn new() -> Option<Self> {
        let img = peer("qemu-img")?;
        // Runs of every length, in every order, and an end inside a cluster.
        let kinds: Vec<Kind> = (0..210_usize)
            .map(|index| match (index / 3 + index * index / 7) % 5 {
                0 | 3 => Kind::Text,
                1 => Kind::Noise,
                _ => Kind::Zero,
            })
            .chain([Kind::Text])
            .collect();
        let bench = Self { img, folder: folder(), kinds };
        fs::write(bench.path("source.raw"), bench.content()).unwrap();
        Some(bench)
    }

    fn content(&self) -> Vec<u8> {
        let mut state = 1_u64;
        let mut bytes = Vec::new();
        for kind in &self.kinds {
            let end = bytes.len() + CLUSTER;
            while bytes.len() < end {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                match kind {
                    Kind::Zero => bytes.extend([0; 16]),
                    Kind::Text => bytes.extend(format!("entry {} of a list\n", state >> 54).as_bytes()),
                    Kind::Noise => bytes.extend((state >> 32).to_le_bytes().get(..4).unwrap_or_default()),
                }
            }
            bytes.truncate(end);
        }
        bytes.truncate(self.kinds.len() * CLUSTER - 1000);
        bytes
    }

    fn count(&self, kind: Kind) -> u64 {
        self.kinds.iter().filter(|other| **other == kind).count() as u64
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Converts in the folder; returns the length of `target`.
    fn convert(&self, arguments: &[&str], source: &str, target: &str) -> u64 {
        let words = ["convert", "-q", "--force"].iter().chain(arguments).chain([&source, &target]);
        let outcome = goldimg(words).folder(self.folder.path()).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        fs::metadata(self.path(target)).unwrap().len()
    }

    fn check(&self, name: &str) -> serde_json::Value {
        let path = self.path(name);
        serde_json::from_str(&self.img.must(["check".as_ref(), "--output=json".as_ref(), path.as_os_str()]))
            .unwrap()
    }

    fn same(&self, one: &str, other: &str) {
        let (one, other) = (self.path(one), self.path(other));
        self.img.must(["compare".as_ref(), one.as_os_str(), other.as_os_str()]);
    }
}

#[test]
fn clusters_are_counted_to_the_last_one() {
    let Some(bench) = Bench::new() else { return };
    let (text, noise) = (bench.count(Kind::Text), bench.count(Kind::Noise));
    for (arguments, compressed) in [
        (vec!["-O", "qcow2"], 0),
        (vec!["-c"], text),
        (vec!["-c", "-o", "compression_type=zstd"], text),
        (vec!["-c", "-o", "compat=0.10"], text),
        (vec!["-c", "--level", "9"], text),
    ] {
        bench.convert(&arguments, "source.raw", "a.qcow2");
        let check = bench.check("a.qcow2");
        assert_eq!(check["check-errors"], 0, "{arguments:?}: {check}");
        assert_eq!(check["leaks"], serde_json::Value::Null, "{arguments:?}: {check}");
        assert_eq!(check["allocated-clusters"], text + noise, "{arguments:?}");
        assert_eq!(check["compressed-clusters"].as_u64().unwrap_or(0), compressed, "{arguments:?}");
        bench.same("source.raw", "a.qcow2");
    }
}

#[test]
fn zeroes_are_where_they_are_on_qemus_map() {
    let Some(bench) = Bench::new() else { return };
    bench.convert(&["-c"], "source.raw", "a.qcow2");
    let path = bench.path("a.qcow2");
    let map = bench.img.must(["map".as_ref(), "--output=json".as_ref(), path.as_os_str()]);
    let map: serde_json::Value = serde_json::from_str(&map).unwrap();
    let mut zero = vec![true; bench.kinds.len()];
    for entry in map.as_array().unwrap().iter().filter(|entry| entry["zero"] == false) {
        let start = entry["start"].as_u64().unwrap() as usize;
        let end = start + entry["length"].as_u64().unwrap() as usize;
        zero[start / CLUSTER..end.div_ceil(CLUSTER)].fill(false);
    }
    let expected: Vec<bool> = bench.kinds.iter().map(|kind| *kind == Kind::Zero).collect();
    assert_eq!(zero, expected);
}

#[test]
fn every_kind_of_image_is_clean_identical_no_larger_than_qemus_and_read_by_others() {
    let Some(bench) = Bench::new() else { return };
    let content = bench.content();
    for options in [
        "compression_type=zlib",
        "compression_type=zstd",
        "cluster_size=512",
        "cluster_size=4k,refcount_bits=2",
        "cluster_size=128k,compression_type=zstd,refcount_bits=32",
        "cluster_size=2M,refcount_bits=1",
        "cluster_size=1k,refcount_bits=64",
        "refcount_bits=8,cluster_size=32k",
        "compat=0.10",
    ] {
        for compress in [false, true] {
            let mut arguments = vec!["-O", "qcow2", "-o", options];
            arguments.extend(compress.then_some("-c"));
            let len = bench.convert(&arguments, "source.raw", "a.qcow2");
            let what = format!("{options}, compressed: {compress}");
            bench.check("a.qcow2");
            bench.same("source.raw", "a.qcow2");
            let (source, reference) = (bench.path("source.raw"), bench.path("q.qcow2"));
            let words = ["convert"].into_iter().chain(arguments).map(AsRef::as_ref);
            bench.img.must(words.chain([source.as_os_str(), reference.as_os_str()]));
            let reference_len = fs::metadata(&reference).unwrap().len();
            assert!(len <= reference_len, "{what}: {len} bytes, qemu-img makes {reference_len}");
            bench.convert(&["-O", "raw"], "a.qcow2", "back.raw");
            let back = fs::read(bench.path("back.raw")).unwrap();
            assert!(
                back.len() == content.len().next_multiple_of(512) && back.starts_with(&content),
                "{what}"
            );
            readers::agree(&bench.path("a.qcow2"), &back, options, compress);
        }
    }
}

#[test]
fn empty_and_tiny_images_are_no_larger_than_qemus() {
    let Some(bench) = Bench::new() else { return };
    for (size, byte) in
        [(0_u64, None), (512, None), (4 << 30, None), (64 << 30, None), (1, Some(0)), (70_000, Some(69_999))]
    {
        let file = fs::File::create(bench.path("small.raw")).unwrap();
        file.set_len(size).unwrap();
        if let Some(at) = byte {
            std::os::unix::fs::FileExt::write_all_at(&file, b"x", at).unwrap();
        }
        for arguments in [vec!["-O", "qcow2"], vec!["-c", "-O", "qcow2"]] {
            let len = bench.convert(&arguments, "small.raw", "a.qcow2");
            let (source, reference) = (bench.path("small.raw"), bench.path("q.qcow2"));
            let words = ["convert"].into_iter().chain(arguments.clone()).map(AsRef::as_ref);
            bench.img.must(words.chain([source.as_os_str(), reference.as_os_str()]));
            let reference_len = fs::metadata(&reference).unwrap().len();
            assert!(
                len <= reference_len,
                "{size} {arguments:?}: {len} bytes, qemu-img makes {reference_len}"
            );
            bench.check("a.qcow2");
            bench.same("small.raw", "a.qcow2");
        }
    }
}

#[test]
fn the_same_bytes_for_any_number_of_threads() {
    let Some(bench) = Bench::new() else { return };
    for compression in ["zlib", "zstd"] {
        let option = format!("compression_type={compression}");
        let mut first: Option<Vec<u8>> = None;
        for threads in ["1", "2", "3", "8"] {
            bench.convert(&["-c", "-m", threads, "-o", &option], "source.raw", "a.qcow2");
            let bytes = fs::read(bench.path("a.qcow2")).unwrap();
            assert!(*first.get_or_insert_with(|| bytes.clone()) == bytes, "{compression}, {threads} threads");
        }
    }
}

#[test]
fn a_raw_file_is_as_sparse_as_qemu_makes_it() {
    let Some(bench) = Bench::new() else { return };
    let allocated = |path: &Path| std::os::unix::fs::MetadataExt::blocks(&fs::metadata(path).unwrap());
    bench.convert(&["-c"], "source.raw", "a.qcow2");
    bench.convert(&["-O", "raw"], "a.qcow2", "a.raw");
    let (image, reference) = (bench.path("a.qcow2"), bench.path("q.raw"));
    bench.img.must([
        "convert".as_ref(),
        "-O".as_ref(),
        "raw".as_ref(),
        image.as_os_str(),
        reference.as_os_str(),
    ]);
    bench.same("a.raw", "q.raw");
    // The last block of either may or may not have been written back yet.
    let (ours, theirs) = (allocated(&bench.path("a.raw")), allocated(&reference));
    assert!(ours <= theirs + 16, "{ours} blocks, qemu-img makes {theirs}");
}

#[test]
fn equal_clusters_stored_once_are_clean_and_part_when_they_are_written() {
    let (Some(bench), Some(io)) = (Bench::new(), peer("qemu-io")) else { return };
    // All of it three times: every compressed cluster has two equal ones.
    let mut content = bench.content();
    content.resize(bench.kinds.len() * CLUSTER, 0);
    let content = [&content[..], &content, &content].concat();
    fs::write(bench.path("thrice.raw"), &content).unwrap();
    let text = 3 * bench.count(Kind::Text);
    for options in ["compression_type=zlib", "compression_type=zstd", "refcount_bits=8", "compat=0.10"] {
        let arguments = ["-c", "-o", options];
        let each = bench.convert(&arguments, "thrice.raw", "each.qcow2");
        let once =
            bench.convert(&[&arguments[..], &["--dedup", "-m", "1"]].concat(), "thrice.raw", "a.qcow2");
        bench.convert(&[&arguments[..], &["--dedup", "-m", "4"]].concat(), "thrice.raw", "b.qcow2");
        assert!(fs::read(bench.path("a.qcow2")).unwrap() == fs::read(bench.path("b.qcow2")).unwrap());
        assert!(once < each, "{options}: {once} bytes, {each} without");
        assert_eq!(bench.check("a.qcow2")["compressed-clusters"], text, "{options}");
        bench.same("thrice.raw", "a.qcow2");
        readers::agree(&bench.path("a.qcow2"), &content, options, true);

        // QEMU writes into the first of three; all of the other image is written here.
        let text_at = bench.kinds.iter().position(|kind| *kind == Kind::Text).unwrap() * CLUSTER;
        let write = format!("write -P 0xa5 {} 512", text_at + 1024);
        for (target, format) in [("a.qcow2", "qcow2"), ("thrice.raw", "raw")] {
            io.must([
                "-f".as_ref(),
                format.as_ref(),
                "-c".as_ref(),
                write.as_ref(),
                bench.path(target).as_os_str(),
            ]);
        }
        bench.check("a.qcow2");
        bench.same("thrice.raw", "a.qcow2");
        let mut changed = content.clone();
        changed.rotate_left(CLUSTER / 2);
        fs::write(bench.path("changed.raw"), &changed).unwrap();
        bench.convert(&["-n"], "changed.raw", "b.qcow2");
        bench.check("b.qcow2");
        bench.same("changed.raw", "b.qcow2");
        fs::write(bench.path("thrice.raw"), &content).unwrap();
    }
}
