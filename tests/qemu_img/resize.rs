//! `qemu-img resize`.

use super::{Row, bitmap, mapped_otherwise, same, table_with};

const ROWS: &[Row] = &[
    same("resize disk.qcow2 200M"),
    same("resize -f qcow2 disk.qcow2 +1M && info disk.qcow2"),
    same("resize --shrink disk.qcow2 1M"),
    same("resize --shrink disk.qcow2 -512k"),
    same("resize disk.qcow2 1M"),
    same("resize --shrink disk.qcow2 -500G"),
    same("resize disk.qcow2 0"),
    same("resize disk.qcow2 +0"),
    same("resize disk.qcow2 foo"),
    same("resize disk.qcow2 +foo"),
    same("resize disk.qcow2 99E"),
    same("resize -q disk.qcow2 300M"),
    same("resize v2.qcow2 300M"),
    same("resize overlay.qcow2 300M"),
    same("resize subclusters.qcow2 300M"),
    same("resize packed.qcow2 300M"),
    same("resize disk.raw 300M"),
    same("resize -f raw disk.raw 300M"),
    same("resize -f raw disk.raw 1000"),
    same("resize -f raw --shrink disk.raw 1000"),
    same("resize --preallocation=foo disk.qcow2 300M"),
    same("resize --preallocation=full -f raw disk.raw +1M"),
    same("resize --preallocation=metadata -f raw disk.raw +1M"),
    mapped_otherwise("resize --preallocation=metadata empty.qcow2 +1M"),
    same("resize --shrink --preallocation=full disk.qcow2 1M"),
    same("resize nofile 1M"),
    same("resize disk.qcow2"),
    same("resize"),
    same("resize a b c"),
    same("resize -x"),
    same("resize --image-opts driver=qcow2,file.filename=disk.qcow2 300M"),
    same("resize --image-opts -f raw disk.qcow2 300M"),
    same("resize states.qcow2 8M"),
    same("resize --shrink states.qcow2 1M"),
    same("resize marked.qcow2 8M"),
    same("resize marked.qcow2 +512"),
    same("resize marked.qcow2 8M && bitmap --add --merge m marked.qcow2 n"),
    same("resize --shrink marked.qcow2 1M"),
    same("resize --shrink marked.qcow2 1088k && resize marked.qcow2 4M"),
    same("resize torn.qcow2 8M"),
    same("resize --shrink torn.qcow2 1M"),
];

#[test]
fn sizes_change_as_with_theirs() {
    table_with(ROWS, bitmap::prepare);
}
