//! `qemu-img rebase` and `qemu-img commit`.

use super::{Row, bitmap, mapped_otherwise, same, table, table_with};
use crate::support::goldimg;

// Where QEMU writes zeroes out, they are only marked here.
const REBASE: &[Row] = &[
    mapped_otherwise("rebase -b '' overlay.qcow2"),
    mapped_otherwise("rebase -b '' top.qcow2 && info top.qcow2"),
    mapped_otherwise("rebase -b empty.qcow2 -F qcow2 overlay.qcow2"),
    same("rebase -u -b nofile -F raw overlay.qcow2"),
    same("rebase -u -b nofile overlay.qcow2"),
    same("rebase -u -b '' disk.qcow2 && info disk.qcow2"),
    same("rebase -b nofile -F raw overlay.qcow2"),
    // Theirs finds out that the format is missing when the work is done.
    mapped_otherwise("rebase -b empty.qcow2 overlay.qcow2"),
    same("rebase -u -b empty.qcow2 -F foo overlay.qcow2"),
    same("rebase -b empty.qcow2 -F qcow2 disk.raw"),
    same("rebase -b empty.qcow2 -F qcow2 nofile"),
    same("rebase overlay.qcow2"),
    same("rebase"),
    same("rebase a b"),
    same("rebase -c -b '' overlay.qcow2"),
    same("rebase -c -b empty.qcow2 -F qcow2 overlay.qcow2"),
    same("rebase -c -p -b '' odd.qcow2 && info odd.qcow2"),
    same("rebase -c -u -b '' overlay.qcow2"),
    same("rebase -c -b '' disk.qcow2"),
    same("rebase -c -b '' disk.raw"),
    same("rebase -c -u -b '' -f raw disk.raw"),
    same("rebase -c -b '' on-data.qcow2"),
    same("rebase -t foo -b '' overlay.qcow2"),
    same("rebase -T foo -b '' overlay.qcow2"),
];

const COMMIT: &[Row] = &[
    mapped_otherwise("commit overlay.qcow2"),
    mapped_otherwise("commit -q overlay.qcow2"),
    mapped_otherwise("commit -d overlay.qcow2"),
    mapped_otherwise("commit top.qcow2"),
    // Bitmaps of the backing file follow what is committed.
    mapped_otherwise("commit on-marked.qcow2"),
    mapped_otherwise("commit on-marked.qcow2 && bitmap --add --merge m marked.qcow2 n"),
    mapped_otherwise("commit on-torn.qcow2"),
    same("commit -b nofile top.qcow2"),
    same("commit -b ./nofile ./top.qcow2"),
    mapped_otherwise("commit -b ./disk.qcow2 top.qcow2"),
    mapped_otherwise("commit -b ./sub/../overlay.qcow2 top.qcow2"),
    mapped_otherwise("commit -b ./base.qcow2 sub/in.qcow2"),
    same("commit -b sub/base.qcow2 sub/in.qcow2"),
    same("commit -b file:disk.qcow2 top.qcow2"),
    same("commit -b '' top.qcow2"),
    same("commit -b x --image-opts driver=qcow2,file.filename=top.qcow2"),
    same("commit -b x 'json:{\"driver\":\"qcow2\",\"file.filename\":\"top.qcow2\"}'"),
    same("commit disk.qcow2"),
    same("commit disk.raw"),
    same("commit -f raw disk.raw"),
    same("commit nofile"),
    same("commit"),
    same("commit a b"),
    same("commit -t foo overlay.qcow2"),
    same("commit -r x overlay.qcow2"),
    mapped_otherwise("commit -r 1M overlay.qcow2"),
];

#[test]
fn images_get_other_backing_files_as_with_theirs() {
    table_with(REBASE, |prepared| {
        // The disk ends within a cluster, and part of what it shows would not become shorter.
        let noise: Vec<u8> = (0..200_704_u64).map(|at| (at.wrapping_mul(at) >> 7) as u8 ^ at as u8).collect();
        prepared.file("noise", &noise);
        let odd =
            "create -q -f qcow2 -o compression_type=zstd,cluster_size=32k -b noise -F raw odd.qcow2 200k";
        prepared.img(odd);
        prepared.img("create -q -f qcow2 -o data_file=on.data -b disk.qcow2 -F qcow2 on-data.qcow2");
    });
}

#[test]
fn images_go_into_their_backing_files_as_with_theirs() {
    table_with(COMMIT, |prepared| {
        bitmap::prepare(prepared);
        for base in ["marked", "torn"] {
            prepared.img(&format!("create -q -f qcow2 -b {base}.qcow2 -F qcow2 on-{base}.qcow2"));
            prepared.io(&format!("on-{base}.qcow2"), "write -P 9 2M 70k");
        }
    });
}

const FORMATS: &[Row] = &[
    same("rebase -u -b disk.raw -F host_device overlay.qcow2 && info overlay.qcow2"),
    same("rebase -u -b disk.raw -F file overlay.qcow2 && convert overlay.qcow2 out"),
    same("rebase -u -b disk.raw -F vmdk overlay.qcow2 && info overlay.qcow2"),
    same("rebase -u -b disk.raw -F throttle overlay.qcow2"),
    same("rebase -u -b disk.raw -F null-co overlay.qcow2"),
    same("rebase -u -b disk.raw -F nbd overlay.qcow2"),
    same("rebase -u -b disk.raw -F copy-before-write overlay.qcow2"),
    same("rebase -u -b disk.raw -F blkreplay overlay.qcow2"),
    same("rebase -u -b disk.raw -F io_uring overlay.qcow2"),
    same("rebase -u -b disk.raw -F foo overlay.qcow2"),
    same("rebase -u -b disk.raw -F '' overlay.qcow2"),
    same("rebase -b disk.raw -F file overlay.qcow2 && convert overlay.qcow2 out"),
    same("create -u -q -f qcow2 -b disk.raw -F host_device new 1M"),
    same("create -u -q -f qcow2 -b disk.raw -F luks new 1M"),
    // Only the beginning of so long a name is recorded.
    same("create -u -q -f qcow2 -b disk.raw -F copy-before-write new 1M"),
    same("create -u -q -f qcow2 -b disk.raw -F blkreplay new 1M"),
    same("create -u -q -f qcow2 -b disk.raw -F iser new 1M"),
    same("create -q -f qcow2 -b disk.raw -F file new && convert new out"),
    same("create -f null-co new 1M"),
    same("convert -O quorum disk.raw out"),
    same("convert -O blkreplay disk.raw out"),
];

#[test]
fn every_driver_that_theirs_knows_may_be_recorded() {
    table(FORMATS);
}

// It is told by theirs where the chain is listed; what opens it runs until it is out of memory.
const LOOPS: &[Row] = &[
    same("info ring.qcow2"),
    same("info --backing-chain ring.qcow2"),
    same("info --backing-chain to-ring.qcow2"),
    same("info --backing-chain sub/ring.qcow2"),
    same("info --backing-chain itself.qcow2"),
    same("rebase -u -b '' ring.qcow2 && info --backing-chain to-ring.qcow2"),
];

#[test]
fn a_chain_that_comes_back_to_its_beginning_is_told_as_theirs() {
    table_with(LOOPS, |prepared| {
        for (image, backing) in [
            ("ring.qcow2", "back.qcow2"),
            ("back.qcow2", "ring.qcow2"),
            ("to-ring.qcow2", "ring.qcow2"),
            ("sub/ring.qcow2", "back.qcow2"),
            ("sub/back.qcow2", "ring.qcow2"),
            ("itself.qcow2", "ring.qcow2"),
        ] {
            prepared.img(&format!("create -q -u -f qcow2 -b {backing} -F qcow2 {image} 1M"));
        }
        prepared.img("rebase -u -b itself.qcow2 -F qcow2 itself.qcow2");
    });
}

/// Where theirs never ends.
#[test]
fn nothing_follows_a_loop() {
    let folder = crate::support::folder();
    let ours =
        |words: &str| goldimg(["qemu-img"].into_iter().chain(words.split(' '))).folder(folder.path()).run();
    for (image, backing) in [("ring.qcow2", "back.qcow2"), ("back.qcow2", "ring.qcow2")] {
        let made = ours(&format!("create -q -u -f qcow2 -b {backing} -F qcow2 {image} 1M"));
        assert_eq!(made.code, 0, "{}", made.snapshot());
    }
    for words in ["map ring.qcow2", "convert ring.qcow2 out", "resize ring.qcow2 8M", "commit ring.qcow2"] {
        let run = ours(words);
        let told =
            "qemu-img: Could not open 'ring.qcow2': Backing file 'ring.qcow2' creates an infinite loop.\n";
        assert_eq!((run.code, run.stderr.as_str()), (1, told), "{words}");
    }
}
