//! An image in use by QEMU is refused here, one in use here is refused by QEMU, and `-U` looks at both all the same.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use image_core::ErrorKind;
use image_core::block::InUse;
use image_core::format::{Format, Image, ImageWriter, OpenOptions, Share, WriteOptions};

use crate::support::peer::{peer, qemu_10};
use crate::support::{folder, goldimg, until};

/// A program that has an image open until it is dropped.
pub(super) struct Holder(Child);

impl Holder {
    /// Starts `command` and waits until it holds `locks` (first byte, last byte) on the file at `path`.
    pub(super) fn new(command: &mut Command, path: &Path, locks: &[(u64, u64)]) -> Self {
        use std::os::unix::fs::MetadataExt;
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut holder = Self(child.unwrap());
        let inode = std::fs::metadata(path).unwrap().ino();
        let holds = |(first, last): &(u64, u64)| {
            let held = std::fs::read_to_string("/proc/locks").unwrap();
            held.lines().any(|line| line.ends_with(&format!(":{inode} {first} {last}")))
        };
        until("it holds its locks", || {
            assert!(holder.0.try_wait().unwrap().is_none(), "{command:?} ended too early");
            locks.iter().all(holds)
        });
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn in_use(opened: image_core::Result<Image>) -> Option<InUse> {
    let error = opened.err()?;
    assert_eq!(error.kind(), ErrorKind::InUse, "{error:?}");
    error.cause::<InUse>().copied()
}

#[test]
fn what_a_virtual_machine_or_qemu_io_writes_to_is_refused() {
    let (Some(img), Some(io), Some(_)) = (peer("qemu-img"), peer("qemu-io"), peer("qemu-system-x86_64"))
    else {
        return;
    };
    let folder = folder();
    let read =
        |path: &Path, share| in_use(Image::open(path, OpenOptions { share, ..OpenOptions::default() }));
    let write = |path: &Path| {
        ImageWriter::open(path, WriteOptions::default()).map(drop).map_err(|error| error.kind())
    };
    for format in ["qcow2", "raw"] {
        let path = folder.path().join(format);
        img.must(["create", "-f", format, path.to_str().unwrap(), "8M"]);
        let raw = format == "raw";
        let drive = format!("file={},format={format},if=virtio", path.display());
        let mut machine = Command::new("qemu-system-x86_64");
        machine.args([
            "-M",
            "pc",
            "-accel",
            "tcg",
            "-display",
            "none",
            "-nodefaults",
            "-S",
            "-drive",
            &drive,
        ]);
        let holder = Holder::new(&mut machine, &path, &[(100, 101), (201, 201)]);
        assert!(read(&path, Share::Readers).is_some(), "{format}");
        assert_eq!(read(&path, Share::RawWriters).is_none(), raw, "{format}");
        assert_eq!(read(&path, Share::Writers), None, "{format}");
        assert_eq!(write(&path), Err(ErrorKind::InUse), "{format}");
        let check = goldimg(["info".as_ref(), path.as_os_str()]).run();
        assert_eq!(check.code, i32::from(!raw), "{}", check.snapshot());
        assert_eq!(check.stderr.contains("hint: -U looks at it all the same"), !raw, "{}", check.snapshot());
        assert_eq!(goldimg(["info".as_ref(), "-U".as_ref(), path.as_os_str()]).run().code, 0);
        let convert =
            goldimg(["convert".as_ref(), path.as_os_str(), folder.path().join("x").as_os_str()]).run();
        assert!(convert.code == 1 && convert.stderr.contains("it is in use"), "{}", convert.snapshot());
        drop(holder);
        // Who only reads is in nobody's way but a writer's.
        let mut reader = Command::new(io.command([""]).path());
        let holder = Holder::new(reader.args(["-r", "-f", format]).arg(&path), &path, &[(100, 100)]);
        assert_eq!(read(&path, Share::Readers), None, "{format}");
        assert_eq!(write(&path).is_ok(), raw, "QEMU lets others write what it only looks at");
        drop(holder);
        assert_eq!(write(&path), Ok(()), "{format}");
    }
}

#[test]
fn what_is_in_use_is_not_replaced() {
    let (Some(img), Some(io)) = (peer("qemu-img"), peer("qemu-io")) else { return };
    let folder = folder();
    std::fs::write(folder.path().join("source"), [7; 4096]).unwrap();
    let path = folder.path().join("target");
    img.must(["create", "-f", "qcow2", path.to_str().unwrap(), "1M"]);
    let run = |words: &[&str]| goldimg(words).folder(folder.path()).run();
    let commands: [&[&str]; 3] = [
        &["convert", "--force", "source", "target"],
        &["dd", "--force", "if=source", "of=target"],
        &["create", "--force", "-f", "raw", "target", "1M"],
    ];
    let mut writer = Command::new(io.command([""]).path());
    let holder = Holder::new(writer.args(["-f", "qcow2"]).arg(&path), &path, &[(100, 101)]);
    for words in commands {
        let outcome = run(words);
        assert!(outcome.code == 1 && outcome.stderr.contains("it is in use"), "{}", outcome.snapshot());
        assert_eq!(std::fs::read(&path).unwrap()[..4], *b"QFI\xfb", "{words:?}");
    }
    drop(holder);
    for words in commands {
        assert_eq!(run(words).code, 0, "{words:?}");
    }
}

#[test]
fn what_is_open_here_is_refused_by_qemu() {
    let (Some(img), Some(io)) = (peer("qemu-img"), peer("qemu-io")) else { return };
    let folder = folder();
    for format in ["qcow2", "raw"] {
        let path = folder.path().join(format);
        let name = path.to_str().unwrap();
        img.must(["create", "-f", format, name, "8M"]);
        let io = |mode: &[&str]| io.run(mode.iter().chain(&["-f", format, "-c", "read 0 512", name])).code;
        let reader = Image::open(&path, OpenOptions::default()).unwrap();
        assert_eq!((io(&[]), io(&["-r"]), io(&["-r", "-U"])), (1, 0, 0), "{format}");
        drop(reader);
        let options = WriteOptions {
            format: Some(if format == "raw" { Format::Raw } else { Format::Qcow2 }),
            ..WriteOptions::default()
        };
        let writer = ImageWriter::open(&path, options).unwrap();
        let raw = format == "raw";
        assert_eq!((io(&[]), io(&["-r"]), io(&["-r", "-U"])), (1, i32::from(!raw), 0), "{format}");
        for (arguments, code) in
            [(&["info"][..], i32::from(!raw)), (&["info", "-U"], 0), (&["resize", "-f", format], 1)]
        {
            let size = if arguments[0] == "resize" { Some("16M") } else { None };
            let outcome = img.run(arguments.iter().copied().chain([name]).chain(size));
            assert_eq!(outcome.code, code, "{}", outcome.snapshot());
        }
        writer.close().unwrap();
        assert_eq!(io(&[]), 0, "{format}");
    }
}

/// Command lines over images that a machine writes to, `r` raw and `q` qcow2, and over some whose backing files those are.
const OVER_IMAGES_IN_USE: &[&str] = &[
    "info r",
    "info q",
    "info --backing-chain on-r",
    "info --backing-chain on-q",
    "info -U q",
    "map r",
    "map q",
    "map on-r",
    "map on-q",
    "map -U q",
    "measure -O qcow2 r",
    "measure -O qcow2 q",
    "check r",
    "check q",
    "check -U q",
    "check -r all q",
    "compare r other",
    "compare q other",
    "convert -O raw r out",
    "convert -O raw q out",
    "convert -O raw on-q out",
    "convert -U -O raw q out",
    "convert -O raw other r",
    "convert -O qcow2 other q",
    "convert -n -O raw other r",
    "convert -n -O qcow2 other q",
    "dd if=r of=out",
    "dd if=q of=out",
    "bench -c 1 -w -f raw r",
    "bench -c 1 q",
    "snapshot -l q",
    "snapshot -c s q",
    "resize -f raw r 2M",
    "resize q 2M",
    "amend -o compat=1.1 q",
    "bitmap --add q b",
    "commit on-r",
    "commit on-q",
    "rebase -b other -F raw on-q",
    "create -f raw r 1M",
    "create -f qcow2 q 1M",
    "create -f qcow2 -b r -F raw out",
    "create -f qcow2 -b q -F qcow2 out",
];

#[test]
fn standing_in_for_qemu_img_the_same_is_refused() {
    let (Some(img), Some(_)) = (qemu_10("qemu-img"), peer("qemu-system-x86_64")) else { return };
    let folder = folder();
    let make = |words: &str| {
        let outcome = img.command(words.split(' ')).folder(folder.path()).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    };
    for words in [
        "-f raw r 1M",
        "-f raw other 1M",
        "-f qcow2 q 1M",
        "-f qcow2 -b r -F raw on-r",
        "-f qcow2 -b q -F qcow2 on-q",
    ] {
        make(&format!("create -q {words}"));
    }
    let mut machine = Command::new("qemu-system-x86_64");
    machine
        .args(["-M", "pc", "-accel", "tcg", "-display", "none", "-nodefaults", "-S"])
        .current_dir(folder.path());
    machine.args(["-drive", "file=r,format=raw,if=virtio", "-drive", "file=q,format=qcow2,if=virtio"]);
    let held = [(100, 101), (201, 201)];
    let _holder = Holder::new(&mut machine, &folder.path().join("q"), &held);
    for words in OVER_IMAGES_IN_USE {
        let theirs = img.command(words.split(' ')).folder(folder.path()).run();
        let ours = goldimg(["qemu-img"].into_iter().chain(words.split(' '))).folder(folder.path()).run();
        let said = |outcome: &crate::support::program::Outcome| {
            let timeless = |text: &str| text.split("Run completed in").next().map(str::to_owned);
            (outcome.code, timeless(&outcome.stdout), outcome.stderr.clone())
        };
        assert_eq!(said(&ours), said(&theirs), "{words}");
    }
}
