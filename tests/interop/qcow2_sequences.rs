//! Random sequences of writes, zeroes, snapshots and sizes, by us and by qemu-io in turns, on images of every cluster
//! size and refcount width; QEMU judges each at its end, and the disk is compared with a plain file.

use std::path::Path;

use image_core::block::{BlockRead, BlockWrite, ByteRange, FileDisk, ZeroMode};
use image_core::format::{ImageWriter, Member, WriteOptions};
use image_core::qcow2::Version;
use image_core::qcow2::write::{NewSnapshot, apply_snapshot, create_snapshot, delete_snapshot};

use super::qcow2_check::Bench;

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

/// One step; `image` is closed before and after.
fn step(bench: &Bench, image: &Path, model: &mut Model, random: &mut Random, version: Version) {
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
    match random.below(12) {
        0 => {
            qemu(format!("write -P {byte} {start} {}", range.len()));
            model.fill(range, byte);
        }
        1 => {
            qemu(format!("write -z -u {start} {}", range.len()));
            model.fill(range, 0);
        }
        2 => snapshots(image, model, random),
        3 if version == Version::V3 || model.saved.is_empty() => {
            let size = (1 + random.below(2 * SIZE / 512)) * 512;
            let writer = ImageWriter::open(image, WriteOptions::default()).unwrap();
            writer.resize(size).unwrap();
            writer.close().unwrap();
            model.now.resize(size as usize, 0);
        }
        _ => {
            let writer = ImageWriter::open(image, WriteOptions::default()).unwrap();
            writer.write_at(&vec![byte; range.len() as usize], start).unwrap();
            model.fill(range, byte);
            let zeroes = ByteRange::between(start, start + (end - start) / 2);
            let mode = if random.below(2) == 0 { ZeroMode::Punch } else { ZeroMode::Keep };
            writer.write_zeroes(zeroes, mode).unwrap();
            model.fill(zeroes, 0);
            if random.below(2) == 0 {
                writer.flush().unwrap();
            }
            writer.close().unwrap();
        }
    }
}

/// Takes, applies or deletes a snapshot, if refcounts are wide enough.
fn snapshots(image: &Path, model: &mut Model, random: &mut Random) {
    let member = Member::open_writable(image, None).unwrap();
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

#[test]
fn sequences_of_everything_are_sound_for_qemu() {
    let Some(bench) = Bench::new() else { return };
    let options = |bits: u32| {
        let size = format!("cluster_size={}", 1_u64 << bits);
        let width = format!("{size},refcount_bits={}", 1 << (bits % 7));
        let mut options = vec![(format!("{size},compat=0.10"), Version::V2), (width, Version::V3)];
        if bits >= 14 {
            options.push((format!("{size},extended_l2=on"), Version::V3));
        }
        options
    };
    for (number, (option, version)) in (1_u64..).zip((9..=21).flat_map(options)) {
        let (image, raw) = (bench.path("sequence.qcow2"), bench.path("model.raw"));
        let (path, raw_path) = (image.to_str().unwrap(), raw.to_str().unwrap());
        bench.img.must(["create", "-f", "qcow2", "-o", &option, path, &SIZE.to_string()]);
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ number);
        let mut model = Model { now: vec![0; SIZE as usize], saved: Vec::new() };
        for _ in 0..STEPS {
            step(&bench, &image, &mut model, &mut random, version);
        }
        let (code, result) = bench.qemu(&image);
        assert!(code == 0 && result.is_clean(), "{option}: {result:?}");
        std::fs::write(&raw, &model.now).unwrap();
        bench.img.must(["compare", "-f", "raw", "-F", "qcow2", raw_path, path]);
        assert_eq!(FileDisk::open(&raw).unwrap().size(), model.now.len() as u64);
    }
}
