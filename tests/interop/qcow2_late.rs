//! Late refcounts after a kill: QEMU goes on with what we left, and we with what QEMU left.

use std::path::Path;

use image_core::block::{BlockRead, BlockWrite, ByteRange, FileDisk, ZeroMode};
use image_core::format::{ImageWriter, WriteOptions};
use image_core::qcow2::Header;

use super::qcow2_check::Bench;
use crate::support::program::goldimg;

/// The size of the disk, in bytes.
const SIZE: u64 = 20 << 20;

/// Kinds of images that have late refcounts.
const KINDS: [&str; 5] = [
    "cluster_size=512",
    "cluster_size=64k",
    "cluster_size=2M",
    "extended_l2=on",
    "cluster_size=4k,refcount_bits=64",
];

fn is_dirty(image: &Path) -> bool {
    Header::read(&FileDisk::open(image).unwrap()).unwrap().is_dirty()
}

/// An image with late refcounts, something in it, and a snapshot of that.
fn new_image(bench: &Bench, kind: &str) -> (std::path::PathBuf, Vec<u8>) {
    let image = bench.path("late.qcow2");
    let path = image.to_str().unwrap();
    let option = format!("lazy_refcounts=on,{kind}");
    bench.img.must(["create", "-f", "qcow2", "-o", &option, path, &SIZE.to_string()]);
    bench.io.must(["-f", "qcow2", "-c", "write -P 1 0 3M", path]);
    bench.img.must(["snapshot", "-c", "one", path]);
    let mut model = vec![0; SIZE as usize];
    model[..3 << 20].fill(1);
    (image, model)
}

fn check(bench: &Bench, image: &Path, model: &[u8], what: &str) {
    assert!(!is_dirty(image), "{what}");
    let (code, result) = bench.qemu(image);
    assert!(code == 0 && result.is_clean(), "{what}: {result:?}");
    let raw = bench.path("model.raw");
    std::fs::write(&raw, model).unwrap();
    bench.img.must(["compare", "-f", "raw", "-F", "qcow2", raw.to_str().unwrap(), image.to_str().unwrap()]);
}

/// Writes, flushes, and leaves the image as a kill would.
fn leave_ours(image: &Path, model: &mut [u8]) {
    let writer = ImageWriter::open(image, WriteOptions::default()).unwrap();
    writer.write_at(&[7; 700_000], 1 << 20).unwrap();
    model[1 << 20..(1 << 20) + 700_000].fill(7);
    let zeroes = ByteRange::new(2 << 20, 1 << 20).unwrap();
    writer.write_zeroes(zeroes, ZeroMode::Punch).unwrap();
    model[2 << 20..3 << 20].fill(0);
    writer.write_at(&[8; 100_000], SIZE - 100_000).unwrap();
    model[SIZE as usize - 100_000..].fill(8);
    writer.flush().unwrap();
    drop(writer);
    assert!(is_dirty(image));
}

/// Lets QEMU write, flush, and be killed.
fn leave_theirs(bench: &Bench, image: &Path, model: &mut [u8]) {
    let commands = ["write -P 3 1M 2M", "write -z -u 2M 512k", "write -P 4 19M 1M", "flush", "sigraise 9"];
    let commands = commands.iter().flat_map(|command| ["-c", command]);
    let path = image.to_str().unwrap();
    let outcome = bench.io.run(["-f", "qcow2"].into_iter().chain(commands).chain([path]));
    assert_eq!(outcome.code, 128 + 9, "{}", outcome.snapshot());
    model[1 << 20..3 << 20].fill(3);
    model[2 << 20..(2 << 20) + (512 << 10)].fill(0);
    model[19 << 20..].fill(4);
    assert!(is_dirty(image));
}

#[test]
fn qemu_repairs_what_we_left() {
    let Some(bench) = Bench::new() else { return };
    for kind in KINDS {
        let (image, mut model) = new_image(&bench, kind);
        leave_ours(&image, &mut model);
        bench.io.must(["-f", "qcow2", "-c", "write -P 9 5M 64k", image.to_str().unwrap()]);
        model[5 << 20..(5 << 20) + 65_536].fill(9);
        check(&bench, &image, &model, kind);
    }
}

#[test]
fn we_repair_what_qemu_left() {
    let Some(bench) = Bench::new() else { return };
    for kind in KINDS {
        let (image, mut model) = new_image(&bench, kind);
        leave_theirs(&bench, &image, &mut model);
        // Reading does not mind, and changes nothing.
        let before = std::fs::read(&image).unwrap();
        let read = image_core::format::Image::open(&image, Default::default()).unwrap();
        let mut bytes = vec![0; SIZE as usize];
        read.read_at(&mut bytes, 0).unwrap();
        assert!(bytes == model, "{kind}");
        drop(read);
        assert!(std::fs::read(&image).unwrap() == before, "{kind}");
        let writer = ImageWriter::open(&image, WriteOptions::default()).unwrap();
        assert!(!is_dirty(&image), "{kind}");
        writer.write_at(&[9; 65_536], 5 << 20).unwrap();
        model[5 << 20..(5 << 20) + 65_536].fill(9);
        writer.close().unwrap();
        check(&bench, &image, &model, kind);
        bench.img.must(["snapshot", "-a", "one", image.to_str().unwrap()]);
        let mut then = vec![0; SIZE as usize];
        then[..3 << 20].fill(1);
        check(&bench, &image, &then, kind);
    }
}

#[test]
fn commands_repair_what_either_left() {
    let Some(bench) = Bench::new() else { return };
    let commands: [&[&str]; 5] = [
        &["resize", "late.qcow2", "24M"],
        &["snapshot", "late.qcow2", "--create", "two"],
        &["amend", "late.qcow2", "-o", "refcount_bits=32"],
        &["qemu-img", "snapshot", "-c", "two", "late.qcow2"],
        &["qemu-img", "bitmap", "--add", "late.qcow2", "b"],
    ];
    for command in commands {
        for ours in [true, false] {
            let (image, mut model) = new_image(&bench, "cluster_size=64k");
            match ours {
                true => leave_ours(&image, &mut model),
                false => leave_theirs(&bench, &image, &mut model),
            }
            let outcome = goldimg(command).folder(image.parent().unwrap()).run();
            assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
            check(&bench, &image, &model, &outcome.snapshot());
        }
    }
}
