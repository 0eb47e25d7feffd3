//! `qemu-img` and `qemu-io` write, we read: the same bytes, and the same map, for every kind of image.

use std::path::{Path, PathBuf};

use image_core::block::{BlockRead, ByteRange, ExtentKind, MapEntry};
use image_core::format::{Format, Image, OpenOptions, References};
use image_core::map::Map;

use crate::support::folder;
use crate::support::peer::{Peer, peer, qemu_10};

const MIB: usize = 1 << 20;

/// QEMU's tools, and a folder for what they make.
struct Bench {
    img: Peer,
    io: Peer,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Option<Self> {
        Some(Self { img: peer("qemu-img")?, io: peer("qemu-io")?, folder: folder() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn img(&self, arguments: &[&str]) -> String {
        self.img.must(arguments)
    }

    fn io(&self, path: &Path, commands: &[&str]) {
        let mut arguments = vec!["-f", "qcow2", "-d", "unmap"];
        arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
        arguments.push(text(path));
        self.io.must(arguments);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder has a plain name")
}

/// Bytes that compress in part: text-like, then noise, then a run of one byte.
fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = (state >> 33).to_le_bytes();
        match (bytes.len() / 3000) % 4 {
            0 => bytes.extend_from_slice(&word),
            1 => bytes.extend_from_slice(format!("line {} of the log\n", state >> 50).as_bytes()),
            2 => bytes.extend([0; 700]),
            _ => bytes.extend([b'x'; 300]),
        }
    }
    bytes.truncate(len);
    bytes
}

fn open(path: &Path) -> Image {
    Image::open(path, OpenOptions { references: References::AllowBeneath, ..OpenOptions::default() }).unwrap()
}

fn read(image: &Image, offset: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0xee; len as usize];
    image.read_at(&mut bytes, offset).unwrap();
    bytes
}

/// Compares content and map of the image at `path` with what qemu-img says, reading in pieces of several sizes.
fn agrees_with_qemu(bench: &Bench, path: &Path) {
    let name = path.display();
    let image = open(path);
    let raw = bench.path("expected.raw");
    bench.img(&["convert", "-U", "-O", "raw", text(path), text(&raw)]);
    let expected = std::fs::read(&raw).unwrap();
    // QEMU rounds a size that is no multiple of 512 down here, up there.
    let size = image.size().min(expected.len() as u64);
    assert!(image.size().abs_diff(expected.len() as u64) < 512, "{name}: size");
    let whole = read(&image, 0, size);
    assert!(whole == expected[..size as usize], "{name}: the content differs");
    let mut at = 0;
    for step in [1, 511, 513, 4096, 65535, 65536, 65537, 300_000].into_iter().cycle() {
        let len = step.min(size - at);
        assert!(read(&image, at, len) == expected[at as usize..(at + len) as usize], "{name}: {len} at {at}");
        at += len + step / 3;
        if at >= size {
            break;
        }
    }
    same_map(bench, &image, path, size);
}

/// As `qemu-img map --output=json` shows it.
fn as_json(stretch: &MapEntry) -> serde_json::Value {
    let MapEntry { range, depth, present, zero, data, compressed, host } = stretch;
    let mut shown = serde_json::json!({
        "start": range.offset(), "length": range.len(), "depth": depth,
        "present": present, "zero": zero, "data": data, "compressed": compressed,
    });
    if let Some(host) = host {
        shown["offset"] = host.offset.into();
    }
    shown
}

fn same_map(bench: &Bench, image: &Image, path: &Path, size: u64) {
    let name = path.display();
    let json = bench.img(&["map", "-U", "--output=json", text(path)]);
    let map: serde_json::Value = serde_json::from_str(&json).unwrap();
    let ours: Vec<_> = Map::new(image).map(|stretch| as_json(&stretch.unwrap())).collect();
    // Where QEMU has rounded the size, the end is another; of nothing it prints one stretch without bytes.
    let comparable = image.size() == size && size.is_multiple_of(512) && size > 0;
    if comparable && qemu_10("qemu-img").is_some() {
        assert_eq!(&ours, map.as_array().unwrap(), "{name}: the map differs");
    }
    let extents = image.extents(ByteRange::whole(size)).unwrap();
    assert_eq!(extents.range(), ByteRange::whole(size));
    // Point by point: qemu-img joins and splits differently.
    for entry in map.as_array().unwrap() {
        let start = entry["start"].as_u64().unwrap();
        let range = ByteRange::between(start, (start + entry["length"].as_u64().unwrap()).min(size));
        for extent in extents.iter() {
            let Some(both) = extent.range.intersection(range) else { continue };
            let zero = entry["zero"].as_bool().unwrap();
            // QEMU does not ask a data file for its holes, and the image's own file only where its length and storage
            // make it look preallocated, which depends on the filesystem.
            if extent.kind.reads_as_zero() && !zero {
                let bytes = read(image, both.offset(), both.len());
                assert!(bytes.iter().all(|&byte| byte == 0), "{name}: {both:?}");
                continue;
            }
            assert_eq!(extent.kind.reads_as_zero(), zero, "{name}: {both:?} is {extent:?}, qemu: {entry}");
            // A hole is what no image of the chain allocates; QEMU calls what lies past a backing file's end present.
            if extent.kind == ExtentKind::Hole && entry["depth"] == 0 {
                assert_eq!(entry["data"], false, "{name}: {both:?}, qemu: {entry}");
            }
        }
    }
}

#[test]
fn every_cluster_size_version_and_refcount_width() {
    let Some(bench) = Bench::new() else { return };
    let source = bench.path("source.raw");
    std::fs::write(&source, content(MIB + 512, 7)).unwrap();
    let mut options: Vec<String> = [512, 1024, 4096, 65536, 131_072, 2 * MIB]
        .iter()
        .map(|size| format!("cluster_size={size}"))
        .collect();
    options.extend([1, 2, 4, 8, 16, 32, 64].map(|bits| format!("refcount_bits={bits}")));
    options.extend(
        ["compat=0.10", "extended_l2=on", "extended_l2=on,cluster_size=16k", "lazy_refcounts=on"]
            .map(str::to_owned),
    );
    for option in options {
        let image = bench.path("image.qcow2");
        let (source, target) = (text(&source), text(&image));
        bench.img(&["convert", "-O", "qcow2", "-o", &option, source, target]);
        agrees_with_qemu(&bench, &image);
        for compression in ["zlib", "zstd"] {
            if option == "compat=0.10" && compression == "zstd" {
                continue;
            }
            let option = format!("{option},compression_type={compression}");
            let option = option.replace("compat=0.10,compression_type=zlib", "compat=0.10");
            bench.img(&["convert", "-c", "-O", "qcow2", "-o", &option, source, target]);
            agrees_with_qemu(&bench, &image);
        }
    }
}

#[test]
fn scattered_writes_zeroes_discards_and_snapshots() {
    let Some(bench) = Bench::new() else { return };
    for option in ["compat=1.1", "compat=0.10", "cluster_size=512", "extended_l2=on", "cluster_size=2M"] {
        let image = bench.path("image.qcow2");
        let path = text(&image);
        bench.img(&["create", "-f", "qcow2", "-o", option, path, "40M"]);
        let write = |commands: &[&str]| bench.io(&image, commands);
        write(&[
            "write -P 1 0 100k",
            "write -P 2 3M 1536",
            "write -P 3 20M 5M",
            "write -z 21M 1M",
            "write -z -u 23M 700k",
            "discard 24M 512k",
            "write -c -P 9 30M 2M",
            "write -P 5 30800k 3k",
            "write -P 7 41942016 1024",
        ]);
        agrees_with_qemu(&bench, &image);
        bench.img(&["snapshot", "-c", "before", path]);
        write(&["write -P 11 2k 5k", "write -P 12 22M 3M", "write -z 0 4k", "write -P 13 39M 64k"]);
        agrees_with_qemu(&bench, &image);
    }
}

#[test]
fn preallocated_unaligned_and_empty_images() {
    let Some(bench) = Bench::new() else { return };
    for (option, size) in [
        ("preallocation=metadata", "10M"),
        ("preallocation=falloc", "3M"),
        ("preallocation=full", "1M"),
        ("preallocation=off", "0"),
        ("preallocation=off", "1000448"),
        ("preallocation=metadata,extended_l2=on", "10M"),
        ("cluster_size=512", "100M"),
    ] {
        let image = bench.path("image.qcow2");
        bench.img(&["create", "-f", "qcow2", "-o", option, text(&image), size]);
        agrees_with_qemu(&bench, &image);
    }
}

#[test]
fn backing_chains_of_different_sizes_and_formats() {
    let Some(bench) = Bench::new() else { return };
    std::fs::create_dir(bench.path("base")).unwrap();
    std::fs::write(bench.path("base/bottom.raw"), content(3 * MIB, 3)).unwrap();
    let create = |backing: &str, format: &str, option: &str, name: &str, size: &str| {
        let path = bench.path(name);
        let arguments =
            ["create", "-f", "qcow2", "-b", backing, "-F", format, "-o", option, text(&path), size];
        bench.img(&arguments);
        path
    };
    let middle = create("bottom.raw", "raw", "cluster_size=4k", "base/middle.qcow2", "5M");
    bench.io(&middle, &["write -P 1 1M 64k", "write -z 2M 4k"]);
    let top = create("base/middle.qcow2", "qcow2", "extended_l2=on", "top.qcow2", "8M");
    bench.io(&top, &["write -P 2 100k 3k", "write -P 3 6M 3k"]);
    agrees_with_qemu(&bench, &top);
    let refused = Image::open(&top, OpenOptions::default()).unwrap_err();
    assert_eq!(refused.kind(), image_core::ErrorKind::Refused);
}

#[test]
fn data_files() {
    let Some(bench) = Bench::new() else { return };
    for option in ["data_file_raw=off", "data_file_raw=on"] {
        let image = bench.path("image.qcow2");
        let path = text(&image);
        let data = bench.path("data.raw");
        let _ = std::fs::remove_file(&data);
        // The name is taken as it is: relative to the current folder, were it not absolute.
        let option = format!("data_file={},{option}", data.display());
        bench.img(&["create", "-f", "qcow2", "-o", &option, path, "4M"]);
        bench.io(&image, &["write -P 1 0 64k", "write -P 2 1M 1M", "write -z 1M 64k"]);
        agrees_with_qemu(&bench, &image);
    }
}

#[test]
fn a_format_that_is_chosen_is_not_probed() {
    let Some(bench) = Bench::new() else { return };
    let image = bench.path("image.qcow2");
    bench.img(&["create", "-f", "qcow2", text(&image), "1M"]);
    let options = OpenOptions { format: Some(Format::Raw), ..OpenOptions::default() };
    let raw = Image::open(&image, options).unwrap();
    assert_eq!(raw.format(), Format::Raw);
    assert_eq!(raw.size(), std::fs::metadata(&image).unwrap().len());
    assert_eq!(read(&raw, 0, 4), b"QFI\xfb");
}

#[test]
fn encryption_is_refused_by_name() {
    let Some(bench) = Bench::new() else { return };
    let image = bench.path("image.qcow2");
    let option = "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=1";
    let path = text(&image);
    let secret = "secret,id=key,data=word";
    // QEMU measures how fast it derives keys, and gives up where a busy machine disturbs that.
    let create = ["create", "--object", secret, "-f", "qcow2", "-o", option, path, "1M"];
    assert!((0..5).any(|_| bench.img.run(create).code == 0), "qemu-img makes no encrypted image");
    let error = Image::open(&image, OpenOptions::default()).unwrap_err();
    assert_eq!(error.kind(), image_core::ErrorKind::Unsupported);
    assert!(format!("{error:?}").contains("it is encrypted with LUKS"), "{error:?}");
}

#[test]
fn many_threads_read_what_one_reads() {
    let Some(bench) = Bench::new() else { return };
    let (source, image) = (bench.path("source.raw"), bench.path("image.qcow2"));
    let expected = content(8 * MIB, 5);
    std::fs::write(&source, &expected).unwrap();
    let (from, to) = (text(&source), text(&image));
    bench.img(&["convert", "-c", "-O", "qcow2", "-o", "cluster_size=4k", from, to]);
    let image = open(&image);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (image, expected) = (&image, &expected);
            scope.spawn(move || {
                for step in 0..300_u64 {
                    let at = (thread * 7_919 + step * 27_011) % (7 << 20);
                    let len = 1 + (step * 613) % 20_000;
                    assert!(read(image, at, len) == expected[at as usize..(at + len) as usize]);
                }
            });
        }
    });
}
