//! What is no image is not taken for a raw disk, whichever command looks at it; and what is one is.

use std::fs;
use std::path::Path;

use crate::support::peer::{Peer, peer};
use crate::support::program::Outcome;
use crate::support::{folder, goldimg};

fn run(folder: &Path, words: &[&str]) -> Outcome {
    goldimg(words).folder(folder).run()
}

fn sh(folder: &Path, script: &str) {
    let Some(sh) = peer("sh") else { return };
    let outcome = sh.command(["-c", script]).folder(folder).run();
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
}

/// A folder with a disk, and the disk packed by the programs that do that.
fn packed() -> Option<tempfile::TempDir> {
    let programs = ["gzip", "xz", "zstd", "bzip2", "zip", "tar", "ar", "xorriso", "qemu-img"].map(peer);
    programs.into_iter().collect::<Option<Vec<Peer>>>()?;
    let folder = folder();
    let text: String = (0..40_000).map(|line| format!("{line} and more\n")).collect();
    fs::write(folder.path().join("disk"), &text.as_bytes()[..500 * 1024]).expect("room");
    sh(
        folder.path(),
        "gzip -k disk && xz -k disk && zstd -q disk && bzip2 -k disk && zip -q disk.zip disk && \
         tar --format=ustar -cf posix.tar disk && tar --format=gnu -cf gnu.tar disk && tar --format=pax -cf pax.tar disk && \
         tar --format=v7 -cf v7.tar disk && ar rc disk.ar disk && \
         xorriso -as mkisofs -quiet -r -o disc.iso disk 2>/dev/null && \
         for format in vmdk vdi vhdx qed parallels; do \
             qemu-img convert -f raw -O $format disk disk.$format; done && \
         qemu-img convert -f raw -O vpc -o subformat=fixed disk disk.vhd",
    );
    // Made by programs that no package has: what their readers look at.
    fs::write(folder.path().join("disk.cloop"), cloop()).expect("room");
    fs::write(folder.path().join("disk.dmg"), dmg()).expect("room");
    fs::write(folder.path().join("disk.bochs"), bochs()).expect("room");
    Some(folder)
}

/// A compressed loop image of no blocks (QEMU's block/cloop.c): its preamble, the length of a block, and their number.
fn cloop() -> Vec<u8> {
    let mut image =
        b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n".to_vec();
    image.resize(128, 0);
    image.extend([65536_u32, 0].map(u32::to_be_bytes).concat());
    image.resize(4096, 0);
    image
}

/// An Apple disk image, which is known by its end: 512 bytes that begin with `koly`, version 4.
fn dmg() -> Vec<u8> {
    let mut image = vec![0; 4096];
    image.extend(b"koly");
    image.extend([4_u32, 512, 1].map(u32::to_be_bytes).concat());
    image.resize(4096 + 512, 0);
    image
}

/// A growing image of Bochs (its documentation, "Harddisk Images"): magic, type, subtype, version 2, length of the header.
fn bochs() -> Vec<u8> {
    let mut image = b"Bochs Virtual HD Image".to_vec();
    for word in ["Redolog", "Growing"] {
        image.resize(image.len().next_multiple_of(16), 0);
        image.extend(word.as_bytes());
    }
    image.resize(64, 0);
    image.extend([0x0002_0000_u32, 512].map(u32::to_le_bytes).concat());
    image.resize(4096, 0);
    image
}

const PACKED: [(&str, &str); 14] = [
    ("disk.gz", "a gzip file"),
    ("disk.xz", "an xz file"),
    ("disk.zst", "a zstd file"),
    ("disk.bz2", "a bzip2 file"),
    ("disk.zip", "a zip file"),
    ("posix.tar", "a tar archive"),
    ("gnu.tar", "a tar archive"),
    ("pax.tar", "a tar archive"),
    ("v7.tar", "a tar archive"),
    ("disk.ar", "an ar archive"),
    ("disc.iso", "ISO 9660 (a CD or DVD)"),
    ("disk.cloop", "cloop"),
    ("disk.dmg", "DMG"),
    ("disk.bochs", "Bochs"),
];

#[test]
fn what_is_packed_or_another_programs_is_refused_by_its_name() {
    let Some(folder) = packed() else { return };
    for (name, what) in PACKED {
        let told = format!("it looks like {what}, which is not supported; use -f raw if it is a raw disk");
        for words in [
            &["convert", name, "new.qcow2"][..],
            &["info", name],
            &["measure", name],
            &["map", name],
            &["compare", name, "disk"],
            &["audit", name],
            &["seal", name],
            &["check", name],
            &["resize", name, "+1M"],
            &["create", "-b", name, "new.qcow2"],
        ] {
            let before = fs::read(folder.path().join(name)).expect("a file");
            let outcome = run(folder.path(), words);
            assert_ne!(outcome.code, 0, "{}", outcome.snapshot());
            assert!(outcome.stderr.contains(&told), "{}", outcome.snapshot());
            assert!(outcome.stderr.contains("\nhint: "), "{}", outcome.snapshot());
            assert_eq!(fs::read(folder.path().join(name)).expect("a file"), before);
        }
        // Who says that it is raw is believed.
        let raw =
            run(folder.path(), &["convert", "-q", "--force", "-f", "raw", "-O", "raw", name, "same.raw"]);
        assert_eq!((raw.code, raw.stderr.as_str()), (0, ""), "{name}");
        let same = fs::read(folder.path().join("same.raw")).expect("a copy");
        assert!(same == fs::read(folder.path().join(name)).expect("a file"), "{name}");
    }
    assert!(!folder.path().join("new.qcow2").exists());
}

/// Images of other programs that are read, and what a fixed VHD is to those of QEMU.
const READ: [(&str, &str); 6] = [
    ("disk.vmdk", "vmdk"),
    ("disk.vdi", "vdi"),
    ("disk.vhdx", "vhdx"),
    ("disk.qed", "qed"),
    ("disk.parallels", "parallels"),
    ("disk.vhd", "vpc"),
];

#[test]
fn what_is_another_programs_and_read_is_read_by_all_and_changed_by_none() {
    let Some(folder) = packed() else { return };
    for (name, format) in READ {
        let before = fs::read(folder.path().join(name)).expect("a file");
        let told = |words: &[&str]| {
            let outcome = run(folder.path(), words);
            assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
            outcome.stdout
        };
        let info: serde_json::Value = serde_json::from_str(&told(&["info", "--json", name])).expect("JSON");
        assert_eq!((info["format"].as_str(), info["format-probed"].as_bool()), (Some(format), Some(true)));
        assert!(info["virtual-size"].as_u64() >= Some(500 * 1024), "{info}");
        told(&["map", name]);
        told(&["measure", "-O", "qcow2", name]);
        told(&["compare", name, "disk"]);
        told(&["convert", "-q", "--force", name, "new.qcow2"]);
        told(&["convert", "-q", "--force", "new.qcow2", "new.raw"]);
        let copy = fs::read(folder.path().join("new.raw")).expect("a copy");
        assert!(copy.starts_with(&fs::read(folder.path().join("disk")).expect("a file")), "{name}");
        assert_eq!(run(folder.path(), &["check", name]).code, 63, "{name}");
        for words in [&["resize", name, "+1M"][..], &["seal", name]] {
            let outcome = run(folder.path(), words);
            assert_ne!(outcome.code, 0, "{}", outcome.snapshot());
        }
        let raw =
            run(folder.path(), &["convert", "-q", "--force", "-f", "raw", "-O", "raw", name, "same.raw"]);
        assert_eq!((raw.code, raw.stderr.as_str()), (0, ""), "{name}");
        assert!(fs::read(folder.path().join("same.raw")).expect("a copy") == before, "{name}");
        assert!(fs::read(folder.path().join(name)).expect("a file") == before, "{name}");
    }
}

/// What its programs know.
const KNOWN: [&str; 3] = ["cloop", "DMG", "Bochs"];

/// Its programs take for raw what begins like nothing they know.
#[test]
fn as_qemu_img_they_are_what_they_are_to_qemu_img() {
    let (Some(folder), Some(qemu_img)) = (packed(), peer("qemu-img")) else { return };
    for (name, _) in PACKED.iter().filter(|(_, what)| !KNOWN.contains(what)) {
        let ours = run(folder.path(), &["qemu-img", "info", "--output=json", name]);
        let theirs = qemu_img.command(["info", "--output=json", name]).folder(folder.path()).run();
        let format = |outcome: &Outcome| {
            let json: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
            json["format"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!((format(&ours), format(&theirs)), ("raw".into(), "raw".into()), "{name}");
    }
}

#[test]
fn a_disk_that_boots_from_a_stick_too_is_a_disc_and_a_stick_that_was_one_is_a_disk() {
    let (Some(_), Some(sfdisk)) = (peer("xorriso"), peer("sfdisk")) else { return };
    let folder = folder();
    fs::write(folder.path().join("code"), vec![0x90; 432]).expect("room");
    fs::write(folder.path().join("boot"), vec![0x90; 2048]).expect("room");
    fs::write(folder.path().join("content"), vec![7; 900_000]).expect("room");
    sh(
        folder.path(),
        "mkdir tree && mv boot content tree && xorriso -as mkisofs -quiet -r -isohybrid-mbr code -b boot -c catalog \
         -no-emul-boot -boot-load-size 4 -o hybrid.iso tree 2>/dev/null",
    );
    let image = fs::read(folder.path().join("hybrid.iso")).expect("a disc");
    assert_eq!(image[510..512], [0x55, 0xaa], "it has a partition table");
    let hybrid = run(folder.path(), &["info", "hybrid.iso"]);
    assert!(hybrid.stderr.contains("it looks like ISO 9660"), "{}", hybrid.snapshot());
    // The same on a stick of 64 MiB, partitioned anew without a thought of what lies between.
    let stick = folder.path().join("stick");
    fs::write(&stick, &image).expect("room");
    fs::OpenOptions::new().write(true).open(&stick).and_then(|file| file.set_len(64 << 20)).expect("room");
    let script = "echo 'label: gpt\nstart=2048' | sfdisk -q --wipe never stick";
    sh(folder.path(), script);
    assert_eq!(
        fs::read(&stick).expect("a stick")[0x8001..0x8006],
        *b"CD001",
        "{sfdisk:?} keeps what lies between"
    );
    let info = run(folder.path(), &["info", "stick"]);
    assert!(info.code == 0 && info.stdout.contains("raw"), "{}", info.snapshot());
}

#[test]
fn a_cd_is_looked_into_and_so_is_one_with_partitions_for_firmware() {
    let (Some(_), Some(_)) = (peer("xorriso"), peer("mkfs.fat")) else { return };
    let folder = folder();
    fs::write(folder.path().join("code"), vec![0x90; 432]).expect("room");
    sh(
        folder.path(),
        "mkdir tree && head -c 2048 /dev/zero > tree/boot && echo words > tree/content && \
         truncate -s 8M esp && mkfs.fat esp > /dev/null && \
         xorriso -as mkisofs -quiet -r -o plain.iso tree 2>/dev/null && \
         xorriso -as mkisofs -quiet -r -isohybrid-mbr code -b boot -c catalog -no-emul-boot -boot-load-size 4 \
           -o hybrid.iso tree 2>/dev/null && \
         xorriso -as mkisofs -quiet -r -b boot -c catalog -no-emul-boot -boot-load-size 4 \
           -append_partition 2 0xef esp -o appended.iso tree 2>/dev/null",
    );
    for image in ["plain.iso", "hybrid.iso", "appended.iso"] {
        let content = run(folder.path(), &["cat", image, "/content"]);
        assert_eq!((content.code, content.stdout.as_str()), (0, "words\n"), "{}", content.snapshot());
    }
    // The partition is there, too.
    let esp = run(folder.path(), &["ls", "--volume", "2", "appended.iso"]);
    assert_eq!(esp.code, 0, "{}", esp.snapshot());
    // What is partitioned over it makes it one that was.
    let appended = folder.path().join("appended.iso");
    fs::OpenOptions::new().write(true).open(&appended).and_then(|file| file.set_len(64 << 20)).expect("room");
    sh(
        folder.path(),
        "printf 'label: gpt\\nfirst-lba: 34\\nstart=64\\n' | sfdisk -q --wipe never appended.iso",
    );
    let stale = run(folder.path(), &["cat", "appended.iso", "/content"]);
    assert_eq!(stale.code, 1, "{}", stale.snapshot());
}

#[test]
fn what_has_no_size_or_is_no_file_is_never_an_empty_image() {
    let (Some(_), folder) = (peer("mkfifo"), folder()) else { return };
    sh(folder.path(), "mkfifo pipe && mkdir dir");
    for (name, why) in [
        ("/proc/self/stat", "it has a size of 0 and yet holds something"),
        ("/proc/kallsyms", "it has a size of 0 and yet holds something"),
        ("/sys/kernel/uevent_seqnum", "it is made by the kernel while it is read"),
        ("pipe", "it is a pipe"),
        ("dir", "it is a folder"),
        ("/dev/zero", "it is a character device"),
    ] {
        for words in [
            &["convert", "-O", "raw", name, "new"][..],
            &["convert", "-c", name, "new.qcow2"],
            &["dd", &format!("if={name}"), "of=new"],
            &["info", name],
            &["measure", name],
            &["audit", name],
        ] {
            let outcome = run(folder.path(), words);
            assert_ne!(outcome.code, 0, "{}", outcome.snapshot());
            assert!(outcome.stderr.contains(why), "{}", outcome.snapshot());
            let is_readable = name.starts_with("/proc") || name.starts_with("/sys") || name == "pipe";
            assert_eq!(outcome.stderr.contains("cat THAT > disk.raw"), is_readable, "{}", outcome.snapshot());
        }
    }
    let names = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(names, 2, "no target was made");
}

/// As with qemu-img, which makes an image of no bytes of it.
#[test]
fn an_empty_file_is_an_empty_disk_and_that_is_said() {
    let folder = folder();
    fs::write(folder.path().join("a.raw"), "").expect("room");
    let outcome = run(folder.path(), &["convert", "a.raw", "b.raw"]);
    assert!(outcome.code == 0 && outcome.stderr.contains("the source is empty"), "{}", outcome.snapshot());
    assert_eq!(fs::metadata(folder.path().join("b.raw")).expect("a target").len(), 0);
    let Some(qemu_img) = peer("qemu-img") else { return };
    let theirs =
        qemu_img.command(["convert", "-f", "raw", "-O", "raw", "a.raw", "c.raw"]).folder(folder.path()).run();
    assert_eq!(theirs.code, 0, "{}", theirs.snapshot());
    assert_eq!(fs::metadata(folder.path().join("c.raw")).expect("a target").len(), 0);
}
