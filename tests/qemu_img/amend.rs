//! `qemu-img amend`.

use super::{Row, same, table};

const ROWS: &[Row] = &[
    same("amend -o compat=0.10 disk.qcow2 && info empty.qcow2"),
    same("amend -o compat=1.1 v2.qcow2 && info v2.qcow2"),
    same("amend -o compat=v3,lazy_refcounts=on v2.qcow2 && info v2.qcow2"),
    same("amend -o lazy_refcounts=on empty.qcow2 && info empty.qcow2"),
    same("amend -o refcount_bits=64 empty.qcow2 && check empty.qcow2"),
    same("amend -q -o refcount_bits=8 overlay.qcow2"),
    same("amend -o refcount_bits=3 empty.qcow2"),
    same("amend -o refcount_bits=8 v2.qcow2"),
    same("amend -o refcount_bits=8,compat=0.10 empty.qcow2"),
    same("amend -o compat=0.9 empty.qcow2"),
    same(
        "bitmap --remove states.qcow2 b0 && bitmap --remove states.qcow2 b1 && amend -o compat=0.10 states.qcow2 && snapshot -l states.qcow2",
    ),
    same(
        "resize -q empty.qcow2 20M && snapshot -c x empty.qcow2 && resize -q empty.qcow2 30M && amend -o compat=0.10 empty.qcow2",
    ),
    same("amend -o lazy_refcounts=on empty.qcow2 && amend -o compat=0.10 empty.qcow2 && info empty.qcow2"),
    same("amend -o compat=0.10 subclusters.qcow2"),
    same("amend -o compat=0.10 outside.qcow2"),
    same("amend -o foo=1 empty.qcow2"),
    same("amend -o cluster_size=4k empty.qcow2"),
    same("amend -o backing_file=x empty.qcow2"),
    same("amend -o size=300M empty.qcow2 && info empty.qcow2"),
    same("amend -p -o compat=1.1 empty.qcow2"),
    same("amend -o compat=1.1 disk.raw"),
    same("amend -o compat=1.1 nofile"),
    same("amend -f qcow2 -o help"),
    same("amend -o compat=1.1"),
    same("amend empty.qcow2"),
];

#[test]
fn images_are_amended_as_with_theirs() {
    table(ROWS);
}
