//! `qemu-img rebase` and `qemu-img commit`.

use super::{Row, bitmap, mapped_otherwise, same, table_with};

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
