//! What hours of fuzzing found to be different from each other, done again: the smallest set of inputs that reaches all
//! that any of them reached. To renew an archive, run the target of its name with `-set_cover_merge=1`, and pack the folder:
//!
//! ```text
//! tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - . | zstd -19 --long=27 > NAME.tar.zst
//! ```

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use image_core::block::MemoryDisk;
use image_core::convert::{Options, convert};
use image_core::foreign::{Kind, NewImage};
use image_core::fs::{NewFat, NewFile, iso9660, make_fat};

use crate::support::random::Random;
use crate::support::{folder, project};

#[path = "../../fuzz/bodies/change_ext4.rs"]
mod change_body;
#[path = "../../fuzz/bodies/change_fat.rs"]
mod change_fat_body;
#[path = "../../fuzz/bodies/deflate.rs"]
mod deflate_body;
#[path = "../../fuzz/bodies/open_ext4.rs"]
mod ext4_body;
#[path = "../../fuzz/bodies/open_filesystem.rs"]
mod filesystem_body;
#[path = "../../fuzz/bodies/open_foreign.rs"]
mod foreign_body;
#[path = "../../fuzz/bodies/open_qcow2.rs"]
mod open_body;
#[path = "../../fuzz/bodies/qcow2_write.rs"]
mod write_body;

pub(super) use change_body::change_ext4;
use change_fat_body::change_fat;
use deflate_body::deflate;
pub(super) use ext4_body::open_ext4;
use filesystem_body::open_filesystem;
use foreign_body::open_foreign;
pub(super) use open_body::open_qcow2;
pub(super) use write_body::qcow2_write;

/// Does `body` with every input of the archive called `name`; how many of them it has accepted, and how many there are.
fn each(name: &str, body: impl Fn(&[u8]) -> bool) -> (usize, usize) {
    let archive = project().join("tests/fixtures/fuzz").join(name).with_extension("tar.zst");
    let unpacked = folder();
    let status =
        Command::new("tar").args(["-I", "zstd", "-xf"]).arg(archive).arg("-C").arg(unpacked.path()).status();
    assert!(status.expect("tar runs").success());
    let entries = fs::read_dir(unpacked.path()).expect("a folder");
    let inputs: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    let accepted = inputs.iter().filter(|path| body(&fs::read(path).expect("an input"))).count();
    (accepted, inputs.len())
}

/// Where no fuzzing was done yet: sound images with some bytes changed, most of them in headers and tables.
#[test]
fn images_of_other_programs_are_read_or_refused_whatever_was_done_to_them() {
    let mut random = Random(7);
    let disk = MemoryDisk::from_bytes((0..400_000_u32).map(|at| (at >> 9) as u8).collect());
    for (format, kind) in Kind::ALL.into_iter().enumerate() {
        let Ok(new) = NewImage::new(kind, 400_384) else { continue };
        for subformat in ["monolithicSparse", "streamOptimized", "dynamic", "fixed"] {
            let Ok(new) = new.clone().with_subformat(subformat) else { continue };
            let file = MemoryDisk::new(0);
            convert(&disk, &mut *new.sink(&file).expect("a sink"), &Options::default()).expect("an image");
            let mut image = file.to_bytes();
            image.insert(0, format as u8);
            assert!(open_foreign(&image), "{new}");
            for _ in 0..60 {
                let mut damaged = image.clone();
                for _ in 0..=random.below(4) {
                    let place = [image.len(), 600, 2200][random.below(3)].min(image.len());
                    let at = 1 + random.below(place - 1);
                    damaged[at] = random.next() as u8;
                }
                open_foreign(&damaged);
            }
        }
    }
}

#[test]
fn images_that_fuzzing_made_are_read() {
    let (accepted, all) = each("open_qcow2", open_qcow2);
    assert!(all > 100 && accepted > all / 2, "{accepted} of {all}");
}

#[test]
fn images_that_fuzzing_made_are_written() {
    let (accepted, all) = each("qcow2_write", qcow2_write);
    assert!(all > 100 && accepted > all / 2, "{accepted} of {all}");
}

#[test]
fn what_fuzzing_made_is_compressed() {
    let (_, all) = each("deflate", |bytes| {
        deflate(bytes);
        true
    });
    assert!(all > 100, "{all}");
}

/// A FAT16 and a FAT32, with folders and long names.
fn fats() -> Vec<Vec<u8>> {
    let file = |path: &str, len: usize| NewFile { path: path.to_owned(), content: vec![7; len] };
    let files: Vec<NewFile> =
        (0..40).map(|number| file(&format!("EFI/BOOT/a long name {number}.txt"), number * 700)).collect();
    let make = |size: usize| {
        let disk = MemoryDisk::new(size);
        let options = NewFat { label: "FAT".into(), serial: 1, seconds: 1_700_000_000, hidden_sectors: 0 };
        make_fat(&disk, &options, &files).expect("a FAT");
        disk.to_bytes()
    };
    [4 << 20, 34 << 20].map(make).into()
}

#[test]
fn fats_that_are_damaged_are_refused_or_left_whole() {
    let mut random = Random(5);
    for image in fats() {
        assert!(change_fat(&image));
        let mut opened = 0;
        for _ in 0..60 {
            let mut bytes = image.clone();
            for _ in 0..=random.below(3) {
                let front = [64, 4096, image.len().min(1 << 20)][random.below(3)];
                let at = random.below(front);
                bytes[at] ^= 1 << random.below(8);
            }
            opened += usize::from(change_fat(&bytes));
        }
        assert!((10..60).contains(&opened), "{opened} were opened");
    }
}

#[test]
fn filesystems_that_are_damaged_are_read_to_an_end() {
    let mut images = fats();
    let content: Vec<(String, Vec<u8>)> =
        (0..40).map(|number| (format!("a/b/file {number}"), vec![1; number * 99])).collect();
    let borrowed: Vec<(&str, &[u8])> =
        content.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    images.push(iso9660::image("CIDATA", &borrowed).expect("an ISO"));
    let mut random = Random(7);
    for image in images {
        assert!(open_filesystem(&image));
        // Names and tables lie in front.
        let front = image.len().min(256 << 10);
        let mut opened = 0;
        for _ in 0..60 {
            let mut bytes = image.clone();
            for _ in 0..=random.below(8) {
                let at = random.below(front);
                bytes[at] ^= 1 << random.below(8);
            }
            opened += usize::from(open_filesystem(&bytes));
        }
        assert!(opened > 20, "{opened} were opened");
    }
}
