//! What random command lines found: each was different once.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::{Row, bitmap, differs, mapped_otherwise, same, table, table_with};
use crate::support::peer::qemu_10;
use crate::support::{folder, goldimg, until};

const OPTIONS: &[Row] = &[
    same("amend --="),
    same("bitmap --="),
    same("check --="),
    same("commit --="),
    same("compare --="),
    same("convert --="),
    same("create --="),
    same("dd --="),
    same("info --="),
    same("map --="),
    same("measure --="),
    same("rebase --="),
    same("resize --="),
    same("snapshot --="),
    same("bench --="),
    same("convert --co x y"),
    same("compare --left-format raw --right-format qcow2 disk.raw disk.qcow2"),
    same("info -é disk.raw"),
    // Their help has these, their reader of options has not.
    differs("convert --progress --target-format raw --target-cache unsafe disk.raw out", "", 0),
    differs("convert --compress --target-options cluster_size=4k --target-format=qcow2 disk.raw out", "", 0),
    differs("convert --source-snapshot first --no-create states.qcow2 disk.raw", "", 0),
    differs("bitmap --format qcow2 --add disk.qcow2 b", "", 0),
    same("info --object secret,id=s disk.raw"),
    same("info --object secret,id=s,data=x,file=text disk.raw"),
    same("info --object secret,id=s,data=x,foo=1 disk.raw"),
    same("info --object secret,id=1s,data=x disk.raw"),
    same("info --object secret,id=s,file=text disk.raw"),
    same("info --object secret,id=s,file=nofile disk.raw"),
    same("info --object secret,help disk.raw"),
    same("info --object secret,? disk.raw"),
    same("info --object memory-backend-ram,id=m,size=1M disk.raw"),
    same("info --object {} disk.raw"),
    same("info --object { disk.raw"),
    same("info --object '{\"qom-type\":\"secret\",\"id\":\"s\",\"data\":\"x\"}' disk.raw"),
    same("convert -T '' disk.raw out"),
    same("convert -n -t '' disk.qcow2 disk.raw"),
    same("convert -r -1 disk.raw out"),
    same("convert -m -1 disk.raw out"),
    same("convert -m 0x8 disk.raw out"),
    same("convert -S -1 disk.raw out"),
    same("convert -S 8E disk.raw out"),
    same("bitmap --add -g -1 disk.qcow2 b"),
    same("bitmap --disable -g 0 states.qcow2 b0"),
    same("convert -l snapshot.foo=1 states.qcow2 out"),
    same("convert -l snapshot. states.qcow2 out"),
    same("convert -l snapshot.id=1,snapshot.name=second states.qcow2 out"),
    same("measure -l snapshot.foo=1 --size 1M"),
];

#[test]
fn options_are_read_as_theirs() {
    table(OPTIONS);
}

const RESIZE: &[Row] = &[
    same("resize disk.raw"),
    same("resize -512"),
    same("resize -f raw --shrink disk.raw -512"),
    same("resize -f raw disk.raw -512 --shrink"),
    same("resize -f raw disk.raw -1k -q --shrink"),
    same("resize -f raw --shrink disk.raw -q -1k"),
    same("resize -f raw --shrink disk.raw -5x"),
    same("resize -f raw -1 --shrink disk.raw"),
    same("resize -f raw --shrink -- disk.raw -1k"),
    same("resize -f raw --shrink -- disk.raw -1k more"),
    same("resize -f raw disk.raw -1M more"),
    same("resize -f raw --shrink disk.raw -1k -2k"),
    same("resize -f -1k disk.raw 5k"),
    same("resize disk.raw -x"),
    same("resize -f raw disk.raw +"),
    same("resize --image-opts -f raw disk.raw x"),
    same("resize disk.qcow2 +9223372036854775807"),
    same("resize old.qcow2 8M"),
    same("resize sub 1M"),
    same("resize --image-opts driver=raw,file.filename=disk.raw,force-share=on 8M"),
    differs(
        "resize --image-opts driver=raw,offset=1M,file.filename=disk.raw 8M",
        "qemu-img: Could not open 'driver=raw,offset=1M,file.filename=disk.raw': a part of a file is written by goldimg \
         as the target of 'convert -n' alone\n",
        1,
    ),
];

#[test]
fn sizes_below_zero_are_sizes_where_theirs_are() {
    table_with(RESIZE, |prepared| {
        prepared.img("convert -f raw -O qcow2 -o compat=0.10 disk.raw old.qcow2");
        prepared.img("snapshot -c first old.qcow2");
    });
}

const PROGRESS: &[Row] = &[
    same("convert -p nofile out"),
    same("convert -p -t foo disk.raw out"),
    same("convert -p -O foo disk.raw out"),
    same("convert -p disk.raw nodir/out"),
    same("compare -p nofile disk.raw"),
    same("compare -p disk.raw text"),
    same("compare -p -T foo disk.raw text"),
    same("commit -p disk.raw"),
    same("commit -p nofile"),
    same("commit -p -b nofile overlay.qcow2"),
    same("amend -p -o foo=1 disk.qcow2"),
    same("amend -p -o compat=0.10 disk.raw"),
    same("amend -p -o compat=0.10 disk.qcow2"),
    same("rebase -p -b nofile -F raw overlay.qcow2"),
    same("rebase -p -u -b nofile overlay.qcow2"),
    same("rebase -p -t foo -b '' overlay.qcow2"),
];

#[test]
fn the_line_of_progress_ends_after_a_failure_too() {
    table(PROGRESS);
}

const DESCRIBED: &[Row] = &[
    same("info json:{´driver´:´qcow2´,´file´:{´driver´:´file´,´filename´:´disk.qcow2´}}"),
    same("info json:"),
    same("info json:{\"a\":1}{"),
    same("info json:{\"a\":\"b"),
    same("info json:{\"a\":1,}"),
    same("info json:{\"a\":01}"),
    same("info json:{\"a\":True}"),
    same("info json:{\"a\":1,\"a\":2}"),
    same("info json:{1:2}"),
    same("info json:{\"a\":\"\\x\"}"),
    same("info json:{\"driver\":null,\"file\":{\"driver\":\"file\",\"filename\":\"disk.qcow2\"}}"),
    same("info json:{\"driver\":\"raw\",\"file\":null}"),
    same("info json:{\"driver\":\"file\",\"filename\":\"\"}"),
    same("info --image-opts driver=raw,file.filename=disk.raw,foo"),
    same("info --image-opts driver=raw,file.filename=disk.raw,noread-only"),
    same("info --image-opts a,b"),
    same("compare --image-opts -f raw disk.raw disk.raw"),
    same("info --image-opts driver=raw,file.filename=disk.raw,discard=x"),
    same("info --image-opts driver=raw,file.filename=disk.raw,detect-zeroes=x"),
    same("info --image-opts driver=raw,offset=99E,file.filename=disk.raw"),
    same("map --image-opts driver=raw,offset=8M,file.filename=disk.raw"),
    same("convert --image-opts driver=raw,offset=1M,size=4M,file.filename=disk.raw out"),
    same("compare --image-opts driver=raw,size=100,file.filename=disk.raw disk.raw"),
    same("convert -n --target-image-opts sub/base.qcow2 driver=raw,offset=1M,size=1M,file.filename=disk.raw"),
    same("convert -n --target-image-opts text driver=raw,offset=65536,file.filename=disk.raw"),
    same("convert -n --target-image-opts disk.qcow2 driver=raw,offset=1M,file.filename=disk.raw"),
    same("info -f host_device disk.raw"),
    same("create -f host_device new 1M"),
    same("create -f host_device disk.raw 1M"),
    same("create -f host_device -o foo=1 new 1M"),
    same("convert -O host_device disk.raw disk.raw"),
    same("measure -O host_device --size 1M"),
];

#[test]
fn descriptions_are_read_as_theirs() {
    table(DESCRIBED);
}

const FAILURES: &[Row] = &[
    same("info -f qcow2 none"),
    same("bitmap --remove .. b"),
    same("commit sub"),
    same("bench -U -w -c 1 disk.qcow2"),
    same("bench -n -i io_uring -c 1 disk.raw"),
    same("bitmap --enable v2.qcow2 b"),
    same("bitmap --merge x v2.qcow2 b"),
    same("bitmap --merge x states.qcow2 y"),
    same("commit -b base disk.raw"),
    same("commit -b base disk.qcow2"),
    same("rebase -u disk.raw"),
    same("rebase -b disk.qcow2 disk.raw"),
    same("rebase -c -b disk.qcow2 -F qcow2 disk.raw"),
    same("rebase -b overlay.qcow2 -F qcow2 overlay.qcow2"),
    same("snapshot -a first disk.raw"),
    same("amend -o cluster_size=x disk.qcow2"),
    same("amend -o preallocation=off,extended_l2=On disk.qcow2"),
    same("amend -o backing_file=x,compat=7 disk.qcow2"),
    same("amend -o lazy_refcounts=yes disk.qcow2"),
    same("amend -o lazy_refcounts=y,lazy_refcounts=n disk.qcow2"),
    same("amend -o data_file=x disk.qcow2"),
    same("amend -o data_file_raw=on disk.qcow2"),
    same("amend -o data_file_raw=off disk.qcow2"),
    differs(
        "amend -o data_file=x outside.qcow2",
        "qemu-img: the name of a data file is not changed by goldimg\n",
        1,
    ),
    same("convert -n text disk.raw"),
    same("convert -n -O qcow2 text disk.qcow2"),
    same("convert disk.raw raw:out"),
    same("convert -F raw disk.raw foo:out"),
    same("convert -l x states.qcow2 nofile out"),
    same("convert --bitmaps -B x disk.raw out"),
    same("resize marked-corrupt.qcow2 20M"),
    same("snapshot -c s marked-corrupt.qcow2"),
    same("bitmap --add marked-corrupt.qcow2 b"),
    same("amend -o compat=0.10 marked-corrupt.qcow2"),
    same("rebase -u -b '' marked-corrupt.qcow2"),
    same("commit marked-corrupt.qcow2"),
    same("info kind.qcow2"),
    same("info small.qcow2"),
    same("check small.qcow2"),
    same("info width.qcow2"),
];

#[test]
fn failures_are_told_as_theirs() {
    table_with(FAILURES, |prepared| {
        prepared.file("none", b"");
        let whole = std::fs::read(prepared.path().join("empty.qcow2")).expect("an image");
        for name in ["marked-corrupt", "kind", "small", "width"] {
            prepared.file(&format!("{name}.qcow2"), &whole);
        }
        prepared.patch("marked-corrupt.qcow2", 72, &2_u64.to_be_bytes());
        prepared.patch("kind.qcow2", 104, &[1]);
        prepared.patch("small.qcow2", 24, &(1_u64 << 40).to_be_bytes());
        prepared.patch("width.qcow2", 96, &7_u32.to_be_bytes());
    });
}

/// The bitmaps before one that cannot be had are had.
#[test]
fn bitmaps_are_copied_up_to_a_name_that_is_taken() {
    let rows = [
        mapped_otherwise("convert --bitmaps -n -O qcow2 three.qcow2 one.qcow2"),
        mapped_otherwise("convert --bitmaps -n -O qcow2 three.qcow2 last.qcow2"),
    ];
    table_with(&rows, |prepared| {
        bitmap::prepare(prepared);
        for name in ["one", "last", "three"] {
            prepared.img(&format!("create -q -f qcow2 {name}.qcow2 4M"));
        }
        for name in ["a", "b", "c"] {
            prepared.img(&format!("bitmap --add three.qcow2 {name}"));
        }
        prepared.img("bitmap --add --disable one.qcow2 b");
        prepared.img("bitmap --add --disable last.qcow2 a");
    });
}

/// It is told once the program listens, and there is a minute of work left by then, which nobody waits for.
#[test]
fn a_signal_asks_how_far_it_is() {
    let Some(theirs) = qemu_10("qemu-img") else { return };
    let folder = folder();
    std::fs::write(folder.path().join("disk.raw"), vec![1; 128 << 20]).expect("room");
    let words = ["convert", "-f", "raw", "-r", "2M", "disk.raw", "out"];
    for mut command in [Command::new(theirs.command([""; 0]).path()), {
        let mut ours = Command::new(goldimg([""; 0]).path());
        ours.arg("qemu-img");
        ours
    }] {
        command.args(words).current_dir(folder.path()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let status = format!("/proc/{}/status", child.id());
        let catches = || {
            let status = std::fs::read_to_string(&status).expect("it runs");
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask");
            u64::from_str_radix(caught.trim(), 16).expect("a mask") & 1 << (10 - 1) != 0
        };
        until("it catches the signal", catches);
        let sent = Command::new("kill").args(["-USR1", &child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        let mut line = String::new();
        BufReader::new(child.stderr.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert!(line.starts_with("    (") && line.ends_with("/100%)\n"), "{line:?}");
        assert!(child.try_wait().expect("a child").is_none(), "it goes on");
        child.kill().and_then(|()| child.wait()).expect("it ends");
    }
}
