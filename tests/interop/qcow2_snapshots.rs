//! Snapshots that QEMU takes, applies and deletes, and those that we do, in turns on one image.

use std::path::Path;
use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite, FileDisk};
use image_core::qcow2::write::{
    Amendment, NewSnapshot, amend, apply_snapshot, create_snapshot, delete_snapshot,
};
use image_core::qcow2::{Header, Qcow2, Version, snapshot};

use super::qcow2_check::Bench;

/// What is done to the snapshot at an index of the table.
type Change = fn(&dyn BlockWrite, &Header, usize) -> image_core::Result<Header>;

fn ours(image: &Path, name: &str, change: Change) {
    let file = FileDisk::open_writable(image).unwrap();
    let header = Header::read(&file).unwrap();
    let (snapshots, _) = snapshot::list(&file, &header).unwrap();
    let index = snapshots.iter().position(|snapshot| snapshot.name == name.as_bytes()).unwrap();
    change(&file, &header, index).unwrap();
}

fn take(image: &Path, name: &str) {
    let file = FileDisk::open_writable(image).unwrap();
    let header = Header::read(&file).unwrap();
    let new = NewSnapshot { name: name.into(), date: (1_700_000_000, 0) };
    create_snapshot(&file, &header, new).unwrap();
}

/// The disk of a snapshot as QEMU reads it, and as we do: the same.
fn disk_of(bench: &Bench, image: &Path, name: &str) -> Vec<u8> {
    let raw = bench.path("snapshot.raw");
    let (path, out) = (image.to_str().unwrap(), raw.to_str().unwrap());
    bench.img.must([
        "convert",
        "-f",
        "qcow2",
        "-O",
        "raw",
        "-l",
        &format!("snapshot.name={name}"),
        path,
        out,
    ]);
    let theirs = std::fs::read(&raw).unwrap();
    let file = Arc::new(FileDisk::open(image).unwrap());
    let header = Header::read(&*file).unwrap();
    let (snapshots, _) = snapshot::list(&*file, &header).unwrap();
    let header = snapshot::find(&snapshots, name.as_bytes()).unwrap().header(&header).unwrap();
    let disk = Qcow2::new(file, header, None, None).unwrap();
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    assert!(bytes == theirs, "{name}");
    bytes
}

fn disk(bench: &Bench, image: &Path) -> Vec<u8> {
    let raw = bench.path("disk.raw");
    bench.img.must(["convert", "-f", "qcow2", "-O", "raw", image.to_str().unwrap(), raw.to_str().unwrap()]);
    std::fs::read(&raw).unwrap()
}

#[test]
fn qemu_and_we_take_turns() {
    let Some(bench) = Bench::new() else { return };
    for option in [
        "compat=1.1",
        "compat=0.10",
        "cluster_size=512",
        "cluster_size=2M",
        "extended_l2=on",
        "refcount_bits=64",
        "cluster_size=64k,refcount_bits=8",
    ] {
        let image = bench.image(option);
        let path = image.to_str().unwrap();
        if !option.contains("0.10") {
            bench.img.must(["bitmap", "--remove", path, "b0"]);
        }
        let clean = |what: &str| {
            let (code, result) = bench.qemu(&image);
            assert!(code == 0 && result.is_clean(), "{option}, {what}: {result:?}");
        };
        let first = disk_of(&bench, &image, "one");
        take(&image, "two");
        clean("two is taken");
        let second = disk(&bench, &image);
        bench.io.must(["-f", "qcow2", "-c", "write -P 9 0 1M", "-c", "write -z 12M 1M", path]);
        clean("written after two");
        assert!(disk_of(&bench, &image, "two") == second, "{option}");
        bench.img.must(["snapshot", "-c", "three", path]);
        let third = disk(&bench, &image);
        if !option.contains("0.10") {
            bench.img.must(["resize", "-f", "qcow2", path, "30M"]);
        }
        bench.io.must(["-f", "qcow2", "-c", "write -P 11 5M 14M", path]);
        ours(&image, "one", apply_snapshot);
        clean("one is applied");
        assert!(disk(&bench, &image) == first, "{option}: its size too");
        bench.io.must(["-f", "qcow2", "-c", "write -P 13 1M 4M", path]);
        assert!(disk_of(&bench, &image, "one") == first, "{option}");
        ours(&image, "two", delete_snapshot);
        clean("two is deleted");
        assert!(disk_of(&bench, &image, "three") == third, "{option}");
        bench.img.must(["snapshot", "-a", "three", path]);
        clean("three is applied by QEMU");
        ours(&image, "three", delete_snapshot);
        clean("three is deleted");
        assert!(disk(&bench, &image) == third, "{option}");
        bench.img.must(["snapshot", "-d", "one", path]);
        clean("one is deleted by QEMU");
        let list = bench.img.must(["snapshot", "-l", path]);
        assert!(list.trim().is_empty(), "{option}: {list}");
        assert!(disk(&bench, &image) == third, "{option}");
    }
}

#[test]
fn what_snapshots_hold_stays_in_version_2() {
    let Some(bench) = Bench::new() else { return };
    let image = bench.image("compat=1.1");
    let path = image.to_str().unwrap();
    bench.io.must(["-f", "qcow2", "-c", "write -z 1M 1M", "-c", "write -z -u 12M 1M", path]);
    bench.img.must(["snapshot", "-c", "two", path]);
    bench.io.must(["-f", "qcow2", "-c", "write -P 9 1536k 64k", path]);
    let before = [disk(&bench, &image), disk_of(&bench, &image, "one"), disk_of(&bench, &image, "two")];
    let file: Arc<dyn BlockWrite> = Arc::new(FileDisk::open_writable(&image).unwrap());
    let to_2 = Amendment { version: Some(Version::V2), ..Amendment::default() };
    amend(&file, &Header::read(&*file).unwrap(), to_2).unwrap();
    drop(file);
    let (code, result) = bench.qemu(&image);
    assert!(code == 0 && result.is_clean(), "{result:?}");
    let after = [disk(&bench, &image), disk_of(&bench, &image, "one"), disk_of(&bench, &image, "two")];
    assert!(before == after);
    // QEMU drops and applies what is left.
    bench.img.must(["snapshot", "-a", "two", path]);
    bench.img.must(["snapshot", "-d", "one", path]);
    assert!(disk(&bench, &image) == before[2]);
    let (code, result) = bench.qemu(&image);
    assert!(code == 0 && result.is_clean(), "{result:?}");
}
