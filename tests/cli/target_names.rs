//! The name of a new image and its format agree, or somebody said otherwise.

use std::fs;
use std::path::Path;

use crate::support::program::Outcome;
use crate::support::{folder, goldimg};

fn run(folder: &Path, line: &str) -> Outcome {
    goldimg(line.split(' ')).folder(folder).run()
}

/// What a file begins with.
fn format(path: &Path) -> &'static str {
    let bytes = fs::read(path).expect("an image");
    let starts = [
        (0, &b"QFI\xfb"[..], "qcow2"),
        (0, b"KDMV", "vmdk"),
        (0, b"vhdxfile", "vhdx"),
        (0, b"conectix", "vpc"),
    ];
    let known = starts.iter().find(|(at, start, _)| bytes[*at..].starts_with(start));
    known.map_or("raw", |(.., name)| name)
}

#[test]
fn a_name_of_another_format_is_refused_unless_the_format_is_said() {
    let folder = folder();
    fs::write(folder.path().join("a.raw"), vec![1; 4096]).expect("room");
    for (line, told) in [
        ("convert a.raw b.ova", "b.ova is a name for OVA, which is not written here"),
        ("convert a.raw b.QED", "b.QED is a name for QED, which is not written here"),
        ("convert -c a.raw b.vhdx", "-c makes a qcow2 image, and b.vhdx says vhdx"),
        ("convert a.raw b.qcow2.gz", "b.qcow2.gz is a name for gzip, which is not written here"),
        ("convert a.raw b.iso", "b.iso is a name for ISO 9660, which is not written here"),
        ("convert -c a.raw b.raw", "-c makes a qcow2 image, and b.raw says raw"),
        ("dd if=a.raw of=b.dmg", "b.dmg is a name for DMG, which is not written here"),
        ("create b.hdd 1M", "b.hdd is a name for Parallels, which is not written here"),
        ("create -b a.raw -F raw b.vdi", "-b makes a qcow2 image, and b.vdi says vdi"),
        ("create -b a.raw -F raw b.raw", "-b makes a qcow2 image, and b.raw says raw"),
    ] {
        let outcome = run(folder.path(), line);
        assert_eq!(outcome.code, 64, "{}", outcome.snapshot());
        assert!(
            outcome.stderr.starts_with(&format!("error: {told}\n\nhint: call it b.")),
            "{}",
            outcome.snapshot()
        );
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn what_is_said_is_done_and_a_name_that_says_otherwise_is_told() {
    let folder = folder();
    fs::write(folder.path().join("a.raw"), vec![1; 4096]).expect("room");
    for (line, target, expected, warned) in [
        ("convert -q -O raw a.raw b.vmdk", "b.vmdk", "raw", true),
        ("convert -q -O qcow2 a.raw c.raw", "c.raw", "qcow2", true),
        ("convert -q -O raw a.raw d.qcow2", "d.qcow2", "raw", true),
        ("convert -q -c a.raw e.img", "e.img", "qcow2", false),
        ("convert -q a.raw F.QCOW2", "F.QCOW2", "qcow2", false),
        ("convert -q a.raw g", "g", "raw", false),
        ("create -q -f qcow2 h.raw 1M", "h.raw", "qcow2", true),
        ("dd -q -O raw if=a.raw of=i.bin", "i.bin", "raw", false),
        ("convert -q a.raw j.VMDK", "j.VMDK", "vmdk", false),
        ("convert -q -c a.raw k.vmdk", "k.vmdk", "vmdk", false),
        ("convert -q -O vhd a.raw l.img", "l.img", "vpc", false),
        ("create -q m.vhdx 1M", "m.vhdx", "vhdx", false),
        ("dd -q if=a.raw of=n.vhd", "n.vhd", "vpc", false),
    ] {
        let outcome = run(folder.path(), line);
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        assert_eq!(format(&folder.path().join(target)), expected, "{line}");
        let warning =
            outcome.stderr.contains(&format!("warning: {target} will be {expected}, and its name says"));
        assert_eq!(warning, warned, "{}", outcome.snapshot());
    }
    // What is there already, and standard output, have names that say nothing.
    fs::write(folder.path().join("there.vmdk"), vec![0; 4096]).expect("room");
    let into = run(folder.path(), "convert -q -n -O raw a.raw there.vmdk");
    assert_eq!((into.code, into.stderr.as_str()), (0, ""));
    assert_eq!(run(folder.path(), "convert -q -c a.raw -").code, 0);
}
