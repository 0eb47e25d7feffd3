//! `qemu-img snapshot`.

use super::{Row, differs, same, table_with};

const ROWS: &[Row] = &[
    same("snapshot"),
    same("snapshot -l"),
    same("snapshot -x disk.qcow2"),
    same("snapshot disk.qcow2"),
    same("snapshot -l disk.qcow2"),
    same("snapshot states.qcow2"),
    same("snapshot -l states.qcow2"),
    same("snapshot --list states.qcow2"),
    same("snapshot -q -l states.qcow2"),
    same("snapshot -U -l states.qcow2"),
    same("snapshot -l -f raw states.qcow2"),
    same("snapshot -l -f foo states.qcow2"),
    same("snapshot -l disk.raw"),
    same("snapshot -l text"),
    same("snapshot -l nofile"),
    same("snapshot -l states.qcow2 disk.qcow2"),
    same("snapshot -l --image-opts driver=qcow2,file.filename=states.qcow2"),
    same("snapshot -l --image-opts -f qcow2 states.qcow2"),
    same("snapshot -l -c x states.qcow2"),
    same("snapshot -c x -d y states.qcow2"),
    same("snapshot -a x -a y states.qcow2"),
    same("snapshot -c"),
    same("snapshot -c new"),
    same("snapshot -c new nofile"),
    same("snapshot -c new disk.qcow2"),
    // QEMU's long option takes no value.
    differs("snapshot --create=new disk.qcow2", "", 0),
    same("snapshot -c '' disk.qcow2"),
    same("snapshot -c new v2.qcow2"),
    same("snapshot -c new packed.qcow2"),
    same("snapshot -c new subclusters.qcow2"),
    same("snapshot -c new empty.qcow2 && snapshot -c new empty.qcow2"),
    same("snapshot -c new states.qcow2"),
    same("snapshot -c new -f qcow2 top.qcow2"),
    same("snapshot -q -c new sub/in.qcow2"),
    same("snapshot -U -c new disk.qcow2"),
    same("snapshot -c new disk.raw"),
    same("snapshot -c new -f raw disk.raw"),
    same("snapshot -c new outside.qcow2"),
    same("snapshot --image-opts -c new driver=qcow2,file.filename=disk.qcow2"),
    same("snapshot -a nope plain.qcow2"),
    same("snapshot -a first plain.qcow2"),
    same("snapshot -a second plain.qcow2"),
    same("snapshot -a 1 plain.qcow2"),
    same("snapshot -a small plain.qcow2"),
    same("snapshot -a first states.qcow2"),
    same("snapshot -a nope states.qcow2"),
    same("snapshot -a x -f raw disk.raw"),
    same("snapshot -d nope plain.qcow2"),
    same("snapshot -d 1 plain.qcow2"),
    same("snapshot -d first plain.qcow2 && snapshot -l plain.qcow2"),
    same("snapshot -d second plain.qcow2 && snapshot -d first plain.qcow2"),
    same("snapshot -d twice plain.qcow2 && snapshot -l plain.qcow2"),
    same("snapshot -d first states.qcow2"),
    same("snapshot -d x disk.raw"),
    same(
        "snapshot -d first -f qcow2 plain.qcow2 && snapshot -a second plain.qcow2 && snapshot -d second plain.qcow2",
    ),
];

#[test]
fn snapshots_are_theirs() {
    table_with(ROWS, |prepared| {
        prepared.img("convert -f raw -O qcow2 disk.raw plain.qcow2");
        prepared.img("snapshot -c first plain.qcow2");
        prepared.io("plain.qcow2", "write -P 8 0 128k");
        prepared.img("snapshot -c second plain.qcow2");
        prepared.img("snapshot -c twice plain.qcow2");
        prepared.img("snapshot -c twice plain.qcow2");
        prepared.io("plain.qcow2", "write -z 64k 1M");
        prepared.img("snapshot -c small plain.qcow2");
        prepared.img("resize -q plain.qcow2 9M");
        prepared.io("plain.qcow2", "write -P 4 8M 64k");
    });
}
