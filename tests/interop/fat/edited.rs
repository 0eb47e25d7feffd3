//! Files of FATs changed by commands, on a volume alone and in the EFI system partition of a whole disk: mtools sees what was asked
//! for, fsck.fat finds nothing, and what fails changes nothing.

use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Judge, Tree, disk, ours};
use crate::support::peer::peer;
use crate::support::program::Outcome;
use crate::support::{folder, goldimg};

const MIB: u64 = 1 << 20;

fn run(words: &[&str]) -> Outcome {
    goldimg(words).env("SOURCE_DATE_EPOCH", "1700000000").run()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn file<'a>(tree: &'a Tree, path: &str) -> &'a [u8] {
    tree.get(path).unwrap_or_else(|| panic!("{path} is not there")).as_deref().unwrap()
}

#[test]
fn fat_files_are_changed_by_commands() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let image = dir.path().join("esp.raw");
    judge.make(&image, 40 << 20, &["-F", "32", "-s", "1"]);
    let (site, archive) = (dir.path().join("site"), dir.path().join("site.tar"));
    std::fs::create_dir_all(site.join("inner folder")).unwrap();
    std::fs::write(site.join("inner folder/page.html"), "hello").unwrap();
    std::os::unix::fs::chown(site.join("inner folder/page.html"), Some(1000), Some(1000)).unwrap_or_default();
    let (site, tar, image_path) = (text(&site), text(&archive), text(&image));
    peer("tar").unwrap().must(["-C", site, "--mode=0555", "--mtime=@1600000001", "-cf", tar, "inner folder"]);
    let steps: [&[&str]; 15] = [
        &["copy-in", image_path, site, "/"],
        &["tar-in", image_path, tar, "/loader"],
        &["write", "--content", "one", image_path, "/loader/new.conf"],
        &["write", "--append", "--content", "two", image_path, "/LOADER/NEW.CONF"],
        &["edit", image_path, "/loader/new.conf", "-e", "s/one/three/"],
        &["mkdir", "-p", image_path, "/a/b/c"],
        &["mv", image_path, "/loader/new.conf", "/a/b"],
        &["mv", image_path, "/EFI/BOOT/grubx64.efi", "/EFI/BOOT/BOOTX64.EFI"],
        &["mv", image_path, "/EFI/debian", "/a"],
        &["chmod", image_path, "a-w", "/a/b/new.conf"],
        &["chown", image_path, "0:0", "/a/b/new.conf"],
        &["touch", "--date", "2020-02-02T02:02:03Z", image_path, "/a/b/new.conf"],
        &["truncate", "-s", "100000", image_path, "/a/big"],
        &["rm", "-r", image_path, "/EFI/many"],
        &["mv", image_path, "/EMPTY.TXT", "/empty.txt"],
    ];
    for words in steps {
        let told = run(words);
        assert_eq!(told.code, 0, "{}", told.snapshot());
        judge.assert_clean(&image, &words.join(" "));
    }
    let tree = judge.theirs(&image);
    assert_eq!(file(&tree, "a/b/new.conf"), b"three\ntwo\n");
    assert_eq!(file(&tree, "site/inner folder/page.html"), b"hello");
    assert_eq!(file(&tree, "loader/inner folder/page.html"), b"hello");
    assert_eq!((file(&tree, "EFI/BOOT/BOOTX64.EFI").len(), file(&tree, "a/big").len()), (20_000, 100_000));
    assert!(tree.contains_key("a/debian/fonts/more/deep.txt") && tree.contains_key("empty.txt"));
    assert!(!tree.keys().any(|path| path.starts_with("EFI/many") || path.starts_with("EFI/debian")));
    let told = run(&["stat", image_path, "/a/b/new.conf", "/loader/inner folder/page.html"]);
    assert!(told.stdout.contains("0555") && told.stdout.contains("2020-02-02"), "{}", told.snapshot());
    assert!(told.stdout.contains("2020-09-13"), "{}", told.snapshot());
}

#[test]
fn what_a_fat_cannot_have_is_refused_and_changes_nothing() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let image = dir.path().join("esp.raw");
    judge.make(&image, 5 << 20, &["-F", "16", "-s", "1"]);
    let (image_path, big) = (text(&image), dir.path().join("big"));
    std::fs::File::create(&big).unwrap().set_len(6 << 20).unwrap();
    let before = ours(disk(&image)).unwrap();
    for (words, told) in [
        (&["ln", "-s", image_path, "x", "/link"][..], "no links"),
        (&["ln", image_path, "/EFI/BOOT/BOOTX64.EFI", "/link"], "no links"),
        (&["chown", image_path, "1000", "/EFI"], "no owners"),
        (&["chmod", image_path, "600", "/EFI/BOOT/BOOTX64.EFI"], "no permissions but to write"),
        (&["chmod", image_path, "555", "/EFI"], "no permissions but to write"),
        (&["write", "--content", "x", image_path, "/a:b"], "can have this name"),
        (&["mkdir", image_path, "/dot."], "can have this name"),
        (&["mkdir", image_path, "/efi"], "is there already"),
        (&["mv", image_path, "/EFI", "/EFI/BOOT/EFI"], "into itself"),
        (&["rm", image_path, "/EFI"], "-r removes it"),
        (&["copy-in", image_path, text(&big), "/"], "no room left"),
        (&["truncate", "-s", "4G", image_path, "/EMPTY.TXT"], "larger than a file of a FAT"),
    ] {
        let outcome = run(words);
        assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
        assert!(outcome.stderr.contains(told), "{told}: {}", outcome.snapshot());
        assert!(ours(disk(&image)).unwrap() == before, "{told}");
        judge.assert_clean(&image, told);
    }
}

/// A disk with an EFI system partition, of which fstab says where it is mounted, and a root filesystem.
fn whole_disk(judge: &Judge, dir: &Path) -> std::path::PathBuf {
    let (image, esp, root) = (dir.join("disk.raw"), dir.join("esp"), dir.join("root"));
    judge.make(&esp, 40 * MIB, &["-F", "32", "-s", "1"]);
    let tree = dir.join("tree");
    std::fs::create_dir_all(tree.join("boot/efi")).unwrap();
    std::fs::create_dir_all(tree.join("etc")).unwrap();
    std::fs::write(
        tree.join("etc/fstab"),
        "LABEL=root / ext4 defaults 0 1\nUUID=1234-5678 /boot/efi vfat umask=0077 0 1\n",
    )
    .unwrap();
    std::fs::write(tree.join("etc/os-release"), "ID=debian\n").unwrap();
    std::fs::File::create(&root).unwrap().set_len(20 * MIB).unwrap();
    peer("mke2fs").unwrap().must(["-q", "-t", "ext4", "-L", "root", "-d", text(&tree), text(&root)]);
    std::fs::File::create(&image).unwrap().set_len(64 * MIB).unwrap();
    let words = ["-n", "1:2048:+40M", "-t", "1:ef00", "-n", "2:0:+20M", "-t", "2:8300", text(&image)];
    peer("sgdisk").unwrap().must(words);
    let file = std::fs::File::options().write(true).open(&image).unwrap();
    file.write_all_at(&std::fs::read(&esp).unwrap(), MIB).unwrap();
    file.write_all_at(&std::fs::read(&root).unwrap(), 41 * MIB).unwrap();
    image
}

#[test]
fn the_esp_of_a_whole_disk_is_changed_where_it_is_mounted_and_alone() {
    let Some(judge) = Judge::find() else { return };
    for name in ["sgdisk", "mke2fs", "e2fsck"] {
        let Some(_) = peer(name) else { return };
    }
    let dir = folder();
    let image = whole_disk(&judge, dir.path());
    let qcow2 = dir.path().join("disk.qcow2");
    let converted = run(&["convert", "-O", "qcow2", text(&image), text(&qcow2)]);
    assert_eq!(converted.code, 0, "{}", converted.snapshot());
    let script = dir.path().join("script");
    std::fs::write(
        &script,
        "mkdir -p /boot/efi/EFI/new\nwrite --content esp /boot/efi/EFI/new/file\nwrite --content root /etc/file\nmv /boot/efi/EFI/debian /boot/efi/EFI/new\n",
    )
    .unwrap();
    for image in [&image, &qcow2] {
        let path = text(image);
        for words in [
            &["script", path, text(&script)][..],
            &["write", "--content", "alone", "--volume", "1", path, "/loader/alone"],
            &["rm", "-r", path, "/boot/efi/EFI/many"],
        ] {
            let told = run(words);
            assert_eq!(told.code, 0, "{}", told.snapshot());
        }
        let copy = dir.path().join("copy.raw");
        let told = run(&["mkdir", "-o", text(&copy), path, "/boot/efi/copied"]);
        assert_eq!(told.code, 0, "{}", told.snapshot());
        let told = run(&["mv", path, "/boot/efi/loader", "/loader"]);
        assert!(told.code == 1 && told.stderr.contains("different filesystems"), "{}", told.snapshot());
        for (image, is_copied) in [(image, false), (&copy, true)] {
            let raw = dir.path().join("judged.raw");
            let told = run(&["convert", "-O", "raw", text(image), text(&raw)]);
            assert_eq!(told.code, 0, "{}", told.snapshot());
            let bytes = std::fs::read(&raw).unwrap();
            let (esp, root) = (dir.path().join("judged.esp"), dir.path().join("judged.root"));
            std::fs::write(&esp, &bytes[MIB as usize..41 * MIB as usize]).unwrap();
            std::fs::write(&root, &bytes[41 * MIB as usize..61 * MIB as usize]).unwrap();
            judge.assert_clean(&esp, path);
            peer("e2fsck").unwrap().must(["-fn", text(&root)]);
            let tree = judge.theirs(&esp);
            assert_eq!(
                (file(&tree, "EFI/new/file"), file(&tree, "loader/alone")),
                (&b"esp\n"[..], &b"alone\n"[..])
            );
            assert!(tree.contains_key("EFI/new/debian/grub.cfg") && !tree.contains_key("EFI/debian"));
            assert!(!tree.contains_key("EFI/many") && tree.contains_key("copied") == is_copied);
            std::fs::remove_file(&raw).unwrap();
        }
        std::fs::remove_file(&copy).unwrap();
    }
}

#[test]
fn a_broken_fat_is_refused_with_the_remedy() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let image = dir.path().join("esp.raw");
    judge.make(&image, 5 << 20, &["-F", "16", "-s", "1"]);
    let mut bytes = std::fs::read(&image).unwrap();
    let entry = bytes.windows(11).position(|window| window == b"BOOTX64 EFI").unwrap();
    let other = bytes.windows(11).position(|window| window == b"GRUBX64 EFI").unwrap();
    bytes.copy_within(other + 26..other + 28, entry + 26);
    std::fs::write(&image, &bytes).unwrap();
    let told = run(&["write", "--content", "x", text(&image), "/new"]);
    assert_eq!(told.code, 1, "{}", told.snapshot());
    assert!(
        told.stderr.contains("is in two files") && told.stderr.contains("fsck.fat"),
        "{}",
        told.snapshot()
    );
    assert!(std::fs::read(&image).unwrap() == bytes);
}
