//! `qemu-img convert`.

use super::{Row, bitmap, differs, mapped_otherwise, same, table, table_with};

const ARGUMENTS: &[Row] = &[
    same("convert"),
    same("convert disk.raw"),
    same("convert -x"),
    same("convert --foo"),
    same("convert --b x"),
    same("convert --o x"),
    same("convert --t"),
    same("convert --s"),
    same("convert nofile out"),
    same("convert -f foo disk.raw out"),
    same("convert -O foo disk.raw out"),
    same("convert -f qcow2 disk.raw out"),
    same("convert -c disk.raw out"),
    same("convert -o foo disk.raw out"),
    same("convert -O qcow2 -o foo=1 disk.raw out"),
    same("convert -O qcow2 -o cluster_size=7 disk.raw out"),
    same("convert -O qcow2 -o '' disk.raw out"),
    same("convert -O qcow2 -o help"),
    same("convert -O qcow2 -o help disk.raw out"),
    same("convert -S x disk.raw out"),
    same("convert -S 100 disk.raw out"),
    same("convert -S 10G disk.raw out"),
    same("convert -t foo disk.raw out"),
    same("convert -T foo disk.raw out"),
    same("convert -m 0 disk.raw out"),
    same("convert -m 17 disk.raw out"),
    same("convert -m x disk.raw out"),
    same("convert -r x disk.raw out"),
    same("convert -C -S 4k disk.raw out"),
    same("convert -C -c -O qcow2 disk.raw out"),
    same("convert -l x disk.raw out"),
    same("convert -l x states.qcow2 out"),
    same("convert -l snapshot.id=9 states.qcow2 out"),
    same("convert -B disk.qcow2 disk.raw out"),
    same("convert -B disk.qcow2 -O qcow2 disk.raw out"),
    same("convert -F raw -O qcow2 disk.raw out"),
    same("convert -O qcow2 -B disk.qcow2 -F qcow2 disk.raw disk.raw out"),
    same("convert -O qcow2 -B disk.qcow2 disk.raw disk.raw out"),
    same("convert -O qcow2 -o backing_file=disk.qcow2 disk.raw disk.raw out"),
    same("convert -O qcow2 -B nofile -F foo disk.raw disk.raw out"),
    same("convert -O raw -B disk.qcow2 disk.raw disk.raw out"),
    same("convert -O raw -c -B x disk.raw disk.raw out"),
    same("convert -O foo -B disk.qcow2 -F qcow2 disk.raw disk.raw out"),
    same("convert -O qcow2 -o foo=1 -B disk.qcow2 -F qcow2 disk.raw disk.raw out"),
    same("convert -O qcow2 -B disk.qcow2 -F qcow2 -t foo disk.raw disk.raw out"),
    same("convert -O qcow2 -B disk.qcow2 -F qcow2 -l x disk.raw disk.raw out"),
    same("convert -O qcow2 -B disk.qcow2 -F qcow2 disk.raw nofile out"),
    same("convert -n -O qcow2 -B disk.qcow2 disk.raw disk.raw empty.qcow2"),
    // Ours marks nothing as zeroes that is so already.
    mapped_otherwise("convert -n -O qcow2 -B nofile -F foo overlay.qcow2 empty.qcow2"),
    mapped_otherwise("convert -n -O qcow2 -B x top.qcow2 empty.qcow2"),
    // Theirs says so, and that all went well.
    differs(
        "convert -n -B disk.raw --target-is-zero disk.raw text",
        "qemu-img: Cannot use --target-is-zero when the destination image has a backing file\n",
        1,
    ),
    same("convert -O qcow2 --bitmaps -B disk.qcow2 disk.raw disk.raw out"),
    same("convert -n -O qcow2 --bitmaps -B x disk.raw disk.raw out"),
    same("convert -O foo --bitmaps disk.raw disk.raw out"),
    same("convert -O qcow2 -o foo=1 --bitmaps disk.raw disk.raw out"),
    same("convert -c --bitmaps disk.raw disk.raw out"),
    same("convert --target-is-zero disk.raw out"),
    same("convert --target-image-opts disk.raw driver=raw,file.filename=out"),
    same("convert -n --target-image-opts -O raw disk.raw driver=raw,file.filename=disk.qcow2"),
    same("convert --image-opts -f raw disk.raw out"),
    same("convert -n -o cluster_size=4k disk.raw out"),
    same("convert -n disk.raw out"),
    same("convert -n disk.raw text"),
    same("convert disk.raw nodir/out"),
    same("convert disk.raw sub"),
    same("convert disk.raw ''"),
    same("convert sub out"),
    same("convert --bitmaps disk.raw out"),
    same("convert --skip-broken-bitmaps -O qcow2 states.qcow2 out"),
    same("convert --bitmaps -O qcow2 disk.qcow2 out"),
    same("convert --salvage disk.raw out"),
];

#[test]
fn wrong_command_lines_are_theirs() {
    table(ARGUMENTS);
}

const ROWS: &[Row] = &[
    same("convert disk.raw out"),
    same("convert -f raw -O raw disk.raw out"),
    same("convert -p disk.raw out"),
    same("convert -q -p disk.raw out"),
    same("convert -O raw disk.qcow2 out"),
    same("convert packed.qcow2 out"),
    same("convert v2.qcow2 out"),
    same("convert subclusters.qcow2 out"),
    same("convert top.qcow2 out"),
    same("convert states.qcow2 out"),
    same("convert outside.qcow2 out"),
    same("convert text out"),
    same("convert -f raw disk.qcow2 out"),
    same("convert disk.qcow2 disk.raw"),
    same("convert -S 0 disk.raw out"),
    same("convert -S 4k disk.raw out"),
    same("convert -S 64k disk.raw out"),
    same("convert -t none -T none disk.raw out"),
    same("convert -m 16 -W disk.raw out"),
    same("convert -r 1G disk.raw out"),
    same("convert -C disk.raw out"),
    same("convert -U disk.raw out"),
    same("convert -l first states.qcow2 out"),
    same("convert -l 2 states.qcow2 out"),
    same("convert -l snapshot.name=first states.qcow2 out"),
    same("convert --image-opts driver=raw,file.filename=disk.raw out"),
    same("convert --image-opts driver=raw,offset=1M,size=64k,file.filename=disk.raw out"),
    same("convert 'json:{\"driver\":\"qcow2\",\"file.filename\":\"disk.qcow2\"}' out"),
    same("convert -n disk.qcow2 disk.raw"),
    // Ours gives storage back where theirs marks a cluster as zeroes.
    mapped_otherwise("convert -n -O qcow2 disk.raw disk.qcow2"),
    mapped_otherwise("convert -n -O qcow2 disk.raw empty.qcow2"),
    same("convert -n --target-is-zero -O qcow2 disk.raw empty.qcow2"),
    same("convert -n -O qcow2 empty.qcow2 disk.qcow2"),
    same("convert -n --target-image-opts disk.qcow2 driver=raw,file.filename=disk.raw"),
    // Ours marks nothing as zeroes that is so already.
    mapped_otherwise("convert -n -c -O qcow2 disk.raw empty.qcow2"),
    same("convert -n -c --target-is-zero -O qcow2 disk.raw empty.qcow2"),
    same("convert -n -c --target-is-zero -O qcow2 overlay.qcow2 empty.qcow2 && check empty.qcow2"),
    same(
        "convert -n -c --target-image-opts --target-is-zero disk.raw driver=qcow2,file.filename=empty.qcow2",
    ),
    same("convert -n -c -O qcow2 empty.qcow2 disk.qcow2"),
    same("convert -n -c -O qcow2 disk.raw outside.qcow2"),
    same("convert -n -c disk.qcow2 disk.raw"),
    same("convert -n -c -O raw text disk.raw"),
    same("convert -n -c --target-image-opts disk.qcow2 driver=raw,file.filename=disk.raw"),
    // Theirs cannot compress what has a cluster already.
    differs("convert -n -c -O qcow2 disk.raw disk.qcow2", "", 0),
    differs("convert -n -c -O qcow2 disk.raw packed.qcow2", "", 0),
    same("convert -o preallocation=falloc disk.raw out"),
    same("convert disk.raw disk.qcow2 out"),
    same("convert text disk.raw out"),
    same("convert -O qcow2 disk.raw packed.qcow2 empty.qcow2 out"),
    same("convert disk.raw nofile out"),
    same("convert -l x states.qcow2 states.qcow2 out"),
    same("convert --bitmaps disk.raw disk.raw out"),
];

#[test]
fn raw_targets_are_theirs() {
    table(ROWS);
}

const QCOW2: &[Row] = &[
    same("convert -O qcow2 disk.raw out"),
    same("convert -O qcow2 empty.qcow2 out"),
    same("convert -O qcow2 top.qcow2 out"),
    same("convert -S 0 -O qcow2 disk.raw out"),
    same("convert -S 0 -O qcow2 empty.qcow2 out"),
    same("convert -S 0 -O qcow2 text out"),
    // Where tables stand between clusters differs.
    mapped_otherwise("convert -S 0 -O qcow2 -o cluster_size=4k top.qcow2 out"),
    same("convert -S 0 -O qcow2 -o extended_l2=on subclusters.qcow2 out"),
    same("convert -S 0 -O qcow2 -o compat=0.10 disk.raw out"),
    same("convert -S 0 -c -O qcow2 disk.raw out"),
    same("convert -S 0 -c -O qcow2 -o compression_type=zstd disk.raw out"),
    same("convert -S 0 -O qcow2 -o preallocation=metadata disk.raw out"),
    same("convert -S 0 -O qcow2 -B disk.qcow2 -F qcow2 overlay.qcow2 out"),
    same("convert -S 0 -O qcow2 -o data_file=out.data disk.raw out"),
    same("convert -S 0 -n -O qcow2 disk.raw empty.qcow2"),
    same("convert -S 0 -n -O qcow2 disk.raw packed.qcow2"),
    same("convert -S 0 -n -c -O qcow2 disk.raw empty.qcow2"),
    same("convert -O qcow2 text out"),
    same("convert -p -O qcow2 disk.raw out"),
    same("convert -c -O qcow2 disk.raw out"),
    same("convert -c -O qcow2 -o compression_type=zstd disk.raw out"),
    same("convert -O qcow2 -o compat=0.10 disk.raw out"),
    same("convert -O qcow2 -o cluster_size=4k,refcount_bits=8 disk.raw out"),
    same("convert -O qcow2 -o cluster_size=2M disk.raw out"),
    same("convert -O qcow2 -o lazy_refcounts=on disk.raw out"),
    same("convert -O qcow2 -o size=8M disk.raw out"),
    same("convert -O qcow2 -o preallocation=metadata disk.raw out"),
    same("convert -c -O qcow2 -o preallocation=metadata disk.raw out"),
    same("convert -c -O qcow2 -o preallocation=off disk.raw out"),
    same("convert -c -O qcow2 -o data_file=out.data disk.raw out"),
    same("convert -c -O qcow2 -B disk.qcow2 -F qcow2 overlay.qcow2 out"),
    same("convert -c -O qcow2 -B disk.qcow2 -F qcow2 small.qcow2 out"),
    same("convert -c -O qcow2 -B overlay.qcow2 -F qcow2 top.qcow2 out"),
    same("convert -O qcow2 -o data_file=out.data disk.raw out"),
    same("convert -O qcow2 -B disk.qcow2 -F qcow2 overlay.qcow2 out"),
    same("convert -O qcow2 -o backing_file=disk.qcow2,backing_fmt=qcow2 overlay.qcow2 out"),
    same("convert -O qcow2 -B nofile -F raw disk.raw out"),
    same("convert -O qcow2 -l first states.qcow2 out"),
    same("convert -O qcow2 disk.raw out && check out"),
];

#[test]
fn qcow2_targets_are_theirs() {
    table_with(QCOW2, |prepared| {
        // Of some of the target's clusters this one has parts.
        prepared.img("create -q -f qcow2 -o cluster_size=4k -b disk.qcow2 -F qcow2 small.qcow2");
        prepared.io("small.qcow2", "write -P 9 100k 12k");
        prepared.io("small.qcow2", "write -P 8 500k 200k");
        prepared.io("small.qcow2", "write -z 1020k 300k");
    });
}

#[test]
fn a_source_stays_in_its_folder() {
    table(&[differs(
        "convert sub/out.qcow2 out",
        "qemu-img: Could not open 'sub/out.qcow2': The backing file \"../disk.raw\" is outside of the image's folder: \
         set GOLDIMG_ALLOW_BACKING=anywhere in the environment to open it\n",
        1,
    )]);
}

/// Where a part of a cluster is zeroes, and where clusters lie, differs without bitmaps too.
const BITMAPS: &[Row] = &[
    same("convert --bitmaps -O qcow2 states.qcow2 out"),
    same("convert --bitmaps -O qcow2 states.qcow2 out && bitmap --merge b0 out b1"),
    same("convert --bitmaps -p -O qcow2 marked.qcow2 out"),
    same("convert --bitmaps -c -O qcow2 marked.qcow2 out"),
    mapped_otherwise("convert --bitmaps -O qcow2 -o cluster_size=512 states.qcow2 out"),
    mapped_otherwise("convert --bitmaps -O qcow2 -o cluster_size=2M marked.qcow2 out"),
    same("convert --bitmaps -O qcow2 -o preallocation=metadata marked.qcow2 out"),
    mapped_otherwise("convert --bitmaps -O qcow2 -o data_file=out.data marked.qcow2 out"),
    same("convert --bitmaps -O qcow2 -B disk.qcow2 -F qcow2 marked.qcow2 out"),
    same("convert --bitmaps -O qcow2 empty.qcow2 out"),
    same("convert --bitmaps -O qcow2 -l first states.qcow2 out"),
    same("convert --bitmaps -O qcow2 -l nope states.qcow2 out"),
    same("convert --bitmaps -O qcow2 nofile out"),
    same("convert --bitmaps -O qcow2 disk.raw out"),
    same("convert --bitmaps -O qcow2 v2.qcow2 out"),
    same("convert --bitmaps -f raw -O qcow2 marked.qcow2 out"),
    same("convert --bitmaps -O qcow2 marked.qcow2 states.qcow2 out"),
    same("convert --bitmaps --image-opts -O qcow2 driver=qcow2,file.filename=marked.qcow2 out"),
    same("convert --bitmaps marked.qcow2 out"),
    same("convert --bitmaps empty.qcow2 out"),
    same("convert --bitmaps -O qcow2 -o compat=0.10 marked.qcow2 out"),
    same("convert --bitmaps -n -O raw marked.qcow2 disk.raw"),
    same("convert --bitmaps -n -O qcow2 marked.qcow2 v2.qcow2"),
    same("convert --bitmaps -n --target-is-zero -O qcow2 marked.qcow2 empty.qcow2"),
    mapped_otherwise("convert --bitmaps -n -O qcow2 marked.qcow2 marked2.qcow2"),
    mapped_otherwise("convert --bitmaps -n -O qcow2 states.qcow2 marked2.qcow2"),
    same("convert --bitmaps -O qcow2 torn.qcow2 out"),
    same("convert --bitmaps --skip-broken-bitmaps -O qcow2 torn.qcow2 out"),
    same("convert --bitmaps --skip-broken-bitmaps -q -O qcow2 torn.qcow2 out"),
    same("convert --bitmaps --skip-broken-bitmaps -O qcow2 marked.qcow2 out"),
    same("convert --bitmaps --skip-broken-bitmaps torn.qcow2 out"),
    same("convert --bitmaps --skip-broken-bitmaps -p -O qcow2 torn.qcow2 out"),
    same("convert -O qcow2 torn.qcow2 out"),
];

#[test]
fn bitmaps_are_taken_along_as_they_do() {
    table_with(BITMAPS, |prepared| {
        bitmap::prepare(prepared);
        prepared.img("convert --bitmaps -f qcow2 -O qcow2 marked.qcow2 marked2.qcow2");
    });
}

const DAMAGED: &[Row] = &[
    same("convert --salvage damaged.qcow2 out"),
    same("convert --salvage -q damaged.qcow2 out"),
    same("convert --salvage -p damaged.qcow2 out"),
    same("convert --salvage -O qcow2 damaged.qcow2 out"),
    same("convert --salvage -c -O qcow2 damaged.qcow2 out"),
    same("convert --salvage -n damaged.qcow2 disk.raw"),
    same("convert --salvage -S 0 damaged.qcow2 out"),
    same("convert --salvage -O qcow2 damaged.qcow2 disk.raw out"),
    same("convert --salvage disk.qcow2 out"),
];

#[test]
fn what_can_be_saved_is_saved_as_they_do() {
    table_with(DAMAGED, |prepared| {
        prepared.img("convert -c -f raw -O qcow2 -o cluster_size=512 disk.raw damaged.qcow2");
        // The first compressed cluster begins with a block type that deflate does not have.
        let l2 = prepared.number("damaged.qcow2", prepared.number("damaged.qcow2", 40)) & ((1 << 56) - 512);
        let first = prepared.number("damaged.qcow2", l2) & ((1 << 61) - 1);
        prepared.patch("damaged.qcow2", first, b"\xff");
    });
}
