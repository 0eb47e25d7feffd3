//! Random sequences of writes, zeroes, snapshots and sizes, by us and by qemu-io in turns, on images of every cluster
//! size and refcount width, compressed and not, with data files, subclusters and late refcounts; where these are, either is killed now and
//! then. QEMU judges each at its end, and the disk is compared with a plain file.

use std::path::Path;

use image_core::block::{BlockRead, BlockWrite, ByteRange, FileDisk, ZeroMode};
use image_core::convert::{Piece, Sink, Zeroes};
use image_core::format::{FormatNode, ImageWriter, References, WriteOptions};
use image_core::qcow2::Version;
use image_core::qcow2::write::{
    CompressedSink, NewSnapshot, apply_snapshot, create_snapshot, delete_snapshot,
};

use super::qcow2_check::Bench;

/// Opens what an image names beside it.
const OPTIONS: WriteOptions = WriteOptions {
    format: None,
    references: References::AllowBeneath,
    share: image_core::format::Share::Readers,
    parse_filename: None,
};

/// The size of a new disk, in bytes.
const SIZE: u64 = 6 << 20;
/// Steps of each sequence.
const STEPS: usize = 40;

/// Numbers that look random, the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

/// What a disk holds, now and in its snapshots.
struct Model {
    now: Vec<u8>,
    saved: Vec<Vec<u8>>,
}

impl Model {
    fn fill(&mut self, range: ByteRange, byte: u8) {
        self.now[range.offset() as usize..range.end() as usize].fill(byte);
    }
}

/// What an image can do.
#[derive(Debug, Clone, Copy)]
struct Kind {
    version: Version,
    has_snapshots: bool,
    /// Whether refcounts are right again when it is opened after a kill.
    is_lazy: bool,
}

/// One step; `image` is closed, or left behind by a kill, before and after.
fn step(bench: &Bench, image: &Path, model: &mut Model, random: &mut Random, kind: Kind) {
    let size = model.now.len() as u64;
    let start = random.below(size);
    let len = (1 + random.below(300_000)).min(size - start);
    // On sectors, as qemu-io has it.
    let (start, end) =
        (start / 512 * 512, ((start + len) / 512 * 512).max(start / 512 * 512 + 512).min(size));
    let range = ByteRange::between(start, end);
    let byte = 1 + random.below(254) as u8;
    let qemu = |command: String| {
        bench.io.must(["-f", "qcow2", "-c", &command, image.to_str().unwrap()]);
    };
    match random.below(14) {
        12 | 13 if kind.has_snapshots => {
            // Compressed clusters are whole ones. QEMU stores them only where nothing has a place.
            let cluster =
                FormatNode::open_writable(image, None).unwrap().header.unwrap().geometry.cluster_size();
            let (start, end) = (start / cluster * cluster, end.next_multiple_of(cluster).min(size));
            let whole = ByteRange::between(start, end / cluster * cluster);
            if kind.version == Version::V3 && !whole.is_empty() && random.below(2) == 0 {
                let zeroes = format!("write -z -u {start} {}", whole.len());
                let write = format!("write -c -P {byte} {start} {}", whole.len());
                let commands = ["-d", "unmap", "-f", "qcow2", "-c", &zeroes, "-c", &write];
                bench.io.must(commands.into_iter().chain([image.to_str().unwrap()]));
                return model.fill(whole, byte);
            }
            let writer = ImageWriter::open(image, OPTIONS).unwrap();
            pack(&writer, ByteRange::between(start, end), byte);
            writer.close().unwrap();
            model.fill(ByteRange::between(start, end), byte);
        }
        0 if kind.is_lazy && random.below(2) == 0 => {
            // What was flushed is there after a kill.
            let write = format!("write -P {byte} {start} {}", range.len());
            let commands = ["-f", "qcow2", "-c", &write, "-c", "flush", "-c", "sigraise 9"];
            let outcome = bench.io.run(commands.into_iter().chain([image.to_str().unwrap()]));
            assert_eq!(outcome.code, 128 + 9, "{}", outcome.snapshot());
            model.fill(range, byte);
        }
        0 => {
            qemu(format!("write -P {byte} {start} {}", range.len()));
            model.fill(range, byte);
        }
        1 => {
            qemu(format!("write -z -u {start} {}", range.len()));
            model.fill(range, 0);
        }
        2 if kind.has_snapshots => snapshots(image, model, random),
        3 if kind.version == Version::V3 || model.saved.is_empty() => {
            let size = (1 + random.below(2 * SIZE / 512)) * 512;
            let writer = ImageWriter::open(image, OPTIONS).unwrap();
            writer.resize(size).unwrap();
            writer.close().unwrap();
            model.now.resize(size as usize, 0);
        }
        _ => {
            let writer = ImageWriter::open(image, OPTIONS).unwrap();
            writer.write_at(&vec![byte; range.len() as usize], start).unwrap();
            model.fill(range, byte);
            let zeroes = ByteRange::between(start, start + (end - start) / 2);
            let mode = if random.below(2) == 0 { ZeroMode::Punch } else { ZeroMode::Keep };
            writer.write_zeroes(zeroes, mode).unwrap();
            model.fill(zeroes, 0);
            if random.below(2) == 0 {
                writer.flush().unwrap();
                if kind.is_lazy && random.below(2) == 0 {
                    // As after a kill: it is never closed.
                    return;
                }
            }
            writer.close().unwrap();
        }
    }
}

/// Stores `range`, whole clusters of `byte`, compressed.
fn pack(writer: &ImageWriter, range: ByteRange, byte: u8) {
    let mut sink = CompressedSink::new(writer.as_qcow2().unwrap(), None, Zeroes::Write).unwrap();
    let mut packed = Vec::new();
    let unit = vec![byte; sink.unit_size() as usize];
    assert!(sink.encoder().unwrap().unwrap().encode(&unit, &mut packed).unwrap());
    for start in (range.offset()..range.end()).step_by(unit.len()) {
        let part = ByteRange::between(start, (start + unit.len() as u64).min(range.end()));
        sink.put(part, Piece::Compressed(&packed)).unwrap();
    }
}

/// Takes, applies or deletes a snapshot, if refcounts are wide enough.
fn snapshots(image: &Path, model: &mut Model, random: &mut Random) {
    let member = FormatNode::open_writable(image, None).unwrap();
    let header = member.header.as_ref().unwrap();
    let index = random.below(model.saved.len() as u64) as usize;
    match (random.below(4), model.saved.get(index).cloned()) {
        (0 | 1, _) | (_, None) => {
            let new = NewSnapshot { name: b"one".to_vec(), date: (0, 0) };
            match create_snapshot(&member.file, header, new) {
                Ok(_) => model.saved.push(model.now.clone()),
                Err(error) => assert!(format!("{error:?}").contains("wider ones"), "{error:?}"),
            }
        }
        (2, Some(then)) => {
            // Applying needs a use more of everything.
            match apply_snapshot(&member.file, header, index) {
                Ok(_) => model.now = then,
                Err(error) => assert!(format!("{error:?}").contains("wider ones"), "{error:?}"),
            }
        }
        (_, Some(_)) => {
            delete_snapshot(&member.file, header, index).unwrap();
            model.saved.remove(index);
        }
    }
}

/// Plays a sequence on a new image, and lets QEMU judge what comes of it.
fn play(bench: &Bench, option: &str, kind: Kind, number: u64) {
    let (image, raw) = (bench.path("sequence.qcow2"), bench.path("model.raw"));
    let (path, raw_path) = (image.to_str().unwrap(), raw.to_str().unwrap());
    bench.img.must(["create", "-f", "qcow2", "-o", option, path, &SIZE.to_string()]);
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ number);
    let mut model = Model { now: vec![0; SIZE as usize], saved: Vec::new() };
    for _ in 0..STEPS {
        step(bench, &image, &mut model, &mut random, kind);
    }
    if kind.is_lazy {
        // The last step may have been a kill.
        ImageWriter::open(&image, OPTIONS).unwrap().close().unwrap();
    }
    let (code, result) = bench.qemu(&image);
    assert!(code == 0 && result.is_clean(), "{option}: {result:?}");
    std::fs::write(&raw, &model.now).unwrap();
    bench.img.must(["compare", "-f", "raw", "-F", "qcow2", raw_path, path]);
    assert_eq!(FileDisk::open(&raw).unwrap().size(), model.now.len() as u64);
    if option.contains("data_file_raw=on") {
        // The data file alone is the disk.
        let data = std::fs::read(bench.path("data.raw")).unwrap();
        assert!(data.starts_with(&model.now), "{option}: {} bytes", data.len());
    }
}

#[test]
fn sequences_of_everything_are_sound_for_qemu() {
    let Some(bench) = Bench::new() else { return };
    let plain = |version| Kind { version, has_snapshots: true, is_lazy: false };
    let options = |bits: u32| {
        let size = format!("cluster_size={}", 1_u64 << bits);
        let width = format!("{size},refcount_bits={}", 1 << (bits % 7));
        let mut options =
            vec![(format!("{size},compat=0.10"), plain(Version::V2)), (width, plain(Version::V3))];
        if bits >= 14 {
            options.push((format!("{size},extended_l2=on"), plain(Version::V3)));
        }
        options
    };
    for (number, (option, kind)) in (1_u64..).zip((9..=21).flat_map(options)) {
        play(&bench, &option, kind, number);
    }
}

#[test]
fn sequences_with_late_refcounts_and_kills_are_sound_for_qemu() {
    let Some(bench) = Bench::new() else { return };
    let kind = Kind { version: Version::V3, has_snapshots: true, is_lazy: true };
    for (number, bits) in (100_u64..).zip([9, 12, 14, 16, 18, 21]) {
        let option = format!("lazy_refcounts=on,cluster_size={}", 1_u64 << bits);
        play(&bench, &format!("{option},refcount_bits={}", 1 << (3 + number % 4)), kind, number);
        if bits >= 14 {
            play(&bench, &format!("{option},extended_l2=on"), kind, number);
        }
    }
}

#[test]
fn sequences_with_a_data_file_are_sound_for_qemu() {
    let Some(bench) = Bench::new() else { return };
    let data = bench.path("data.raw");
    for (number, bits) in (200_u64..).zip([9, 12, 14, 16, 21]) {
        for raw in ["off", "on"] {
            for more in ["", ",extended_l2=on", ",lazy_refcounts=on"] {
                if bits < 14 && more.contains("extended") {
                    continue;
                }
                let option = format!("data_file={},data_file_raw={raw}", data.display());
                let option = format!("{option},cluster_size={}{more}", 1_u64 << bits);
                let is_lazy = more.contains("lazy");
                let kind = Kind { version: Version::V3, has_snapshots: false, is_lazy };
                play(&bench, &option, kind, number);
            }
        }
    }
}
