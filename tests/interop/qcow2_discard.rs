//! Zeroes and discards beside QEMU's: the same requests to qemu-io and to us leave the same disk and the same map.
//!
//! But for what reads as zeroes by itself: nothing is allocated there and no backing file reaches it. QEMU marks zeroes
//! even there, and makes tables for the marks (in version 2, over a backing file that ends before, clusters of zeroes); we
//! leave it as it is.

use std::path::{Path, PathBuf};

use image_core::block::{BlockWrite, ByteRange, ZeroMode};
use image_core::format::{ImageWriter, References, WriteOptions};

use super::qcow2_check::Bench;

/// The size of the disk: its last cluster is not whole.
const SIZE: u64 = (5 << 20) + 1536;
/// The size of the backing file.
const BASE_SIZE: u64 = 3 << 20;
/// Requests in a sequence.
const REQUESTS: usize = 60;

/// Something that is asked of a disk. Offsets and lengths are in sectors of 512 bytes.
#[derive(Debug, Clone, Copy)]
enum Request {
    Write(ByteRange, u8),
    Zero(ByteRange, ZeroMode),
    Discard(ByteRange),
}

impl Request {
    /// As qemu-io takes it.
    fn command(self) -> String {
        let (what, range) = match self {
            Self::Write(range, byte) => (format!("write -P {byte}"), range),
            Self::Zero(range, ZeroMode::Keep) => ("write -z".to_owned(), range),
            Self::Zero(range, ZeroMode::Punch) => ("write -z -u".to_owned(), range),
            Self::Discard(range) => ("discard".to_owned(), range),
        };
        format!("{what} {} {}", range.offset(), range.len())
    }

    fn ask(self, disk: &dyn BlockWrite, cluster_size: u64) {
        match self {
            Self::Write(range, byte) => {
                disk.write_at(&vec![byte; range.len() as usize], range.offset()).unwrap();
            }
            Self::Zero(range, mode) => disk.write_zeroes(range, mode).unwrap(),
            Self::Discard(range) => {
                // Of clusters in part nothing is discarded; the last one of a disk is whole where the disk ends.
                let start = range.offset().next_multiple_of(cluster_size);
                let end =
                    if range.end() == disk.size() { range.end() } else { range.end() & !(cluster_size - 1) };
                if start < end {
                    disk.write_zeroes(ByteRange::between(start, end), ZeroMode::Punch).unwrap();
                }
            }
        }
    }
}

/// Requests that look random, the same each time: many at borders of clusters, or all of them.
fn requests(seed: u64, cluster_size: u64, all_whole: bool) -> Vec<Request> {
    let mut state = seed | 1;
    let mut below = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    (0..REQUESTS)
        .map(|_| {
            let unit = if below(2) == 0 && !all_whole { 512 } else { cluster_size.min(256 << 10) };
            let start = below(SIZE / unit) * unit;
            let len = (1 + below(400_000_u64.max(3 * unit) / unit)) * unit;
            let range = ByteRange::between(start, (start + len).min(SIZE));
            match below(8) {
                0..=2 => Request::Write(range, 1 + below(254) as u8),
                3 => Request::Zero(range, ZeroMode::Keep),
                4 | 5 => Request::Zero(range, ZeroMode::Punch),
                _ => Request::Discard(range),
            }
        })
        .collect()
}

/// What `qemu-img map` says of the first `size` bytes, without the host offsets, which are for each to choose, and
/// without telling zeroes that are marked from what nothing is said of.
fn map(bench: &Bench, image: &Path, size: u64) -> Vec<(u64, u64, String)> {
    let told = bench.img.must(["map", "--output=json", image.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_str(&told).unwrap();
    let mut parts: Vec<(u64, u64, String)> = Vec::new();
    for part in json.as_array().unwrap() {
        let present = part["present"] == true || part["zero"] == true;
        let kind = format!(
            "depth {} present {present} zero {} data {} offset {}",
            part["depth"],
            part["zero"],
            part["data"],
            part.get("offset").is_some()
        );
        let (start, len) = (part["start"].as_u64().unwrap(), part["length"].as_u64().unwrap());
        if start >= size {
            break;
        }
        let len = len.min(size - start);
        match parts.last_mut() {
            // Neighbours that differ in their places only.
            Some((_, last, same)) if *same == kind => *last += len,
            _ => parts.push((start, len, kind)),
        }
    }
    parts
}

#[test]
fn the_same_requests_leave_the_same_map() {
    let Some(bench) = Bench::new() else { return };
    let base = bench.path("base.raw");
    std::fs::write(&base, vec![0xb5; BASE_SIZE as usize]).unwrap();
    let kinds = [
        "cluster_size=64k",
        "cluster_size=512",
        "cluster_size=2M",
        "compat=0.10",
        "extended_l2=on",
        "extended_l2=on,cluster_size=16k",
        "lazy_refcounts=on",
        "data_file=DATA",
        "data_file=DATA,extended_l2=on",
        "data_file=DATA,data_file_raw=on",
        "backing_file=base.raw,backing_fmt=raw",
        "backing_file=base.raw,backing_fmt=raw,extended_l2=on",
        "backing_file=base.raw,backing_fmt=raw,compat=0.10",
        "backing_file=base.raw,backing_fmt=raw,data_file=DATA",
    ];
    let mut differing = Vec::new();
    for (kind, seed) in kinds.iter().flat_map(|kind| (0..4_u64).map(move |seed| (*kind, seed))) {
        let [ours, theirs] = ["ours", "theirs"].map(|name| new_image(&bench, kind, name));
        let cluster_size = cluster_size(kind);
        // All clusters of a raw data file are allocated. Where one is a hole, QEMU marks all of it if a part is zeroed.
        let all_whole = kind.contains("data_file_raw=on");
        let requests = requests(seed * 0x9e37_79b9 + 77, cluster_size, all_whole);
        let commands: Vec<String> = requests.iter().map(|request| request.command()).collect();
        let commands = commands.iter().flat_map(|command| ["-c", command]);
        bench.io.must(["-f", "qcow2"].into_iter().chain(commands).chain([theirs.to_str().unwrap()]));
        let options = WriteOptions { references: References::AllowBeneath, ..WriteOptions::default() };
        let writer = ImageWriter::open(&ours, options).unwrap();
        // Version 2 cannot say that a cluster hides the backing file: QEMU does not discard there.
        let no_marks = kind.contains("backing") && kind.contains("0.10");
        for request in &requests {
            if no_marks && matches!(request, Request::Discard(_)) {
                continue;
            }
            request.ask(&writer, cluster_size);
        }
        writer.close().unwrap();
        bench.img.must(["compare", ours.to_str().unwrap(), theirs.to_str().unwrap()]);
        for image in [&ours, &theirs] {
            let (code, result) = bench.qemu(image);
            assert!(code == 0 && result.is_clean(), "{kind}: {result:?}");
        }
        let size = if no_marks { BASE_SIZE } else { SIZE };
        let (our, their) = (map(&bench, &ours, size), map(&bench, &theirs, size));
        if our != their {
            let first = our.iter().zip(&their).find(|(one, other)| one != other);
            differing.push(format!("{kind} {seed}: {first:?}"));
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
}

fn cluster_size(kind: &str) -> u64 {
    [("=512", 512), ("=2M", 2 << 20), ("=16k", 16 << 10)]
        .into_iter()
        .find(|(name, _)| kind.contains(&format!("cluster_size{name}")))
        .map_or(65_536, |(_, size)| size)
}

fn new_image(bench: &Bench, kind: &str, name: &str) -> PathBuf {
    let image = bench.path(&format!("{name}.qcow2"));
    let option = kind.replace("DATA", bench.path(&format!("{name}.data")).to_str().unwrap());
    bench.img.must(["create", "-f", "qcow2", "-o", &option, image.to_str().unwrap(), &SIZE.to_string()]);
    image
}
