//! `qemu-img compare`.

use super::{Row, differs, same, table, table_with};

const ROWS: &[Row] = &[
    same("compare disk.raw disk.raw"),
    same("compare disk.raw disk.qcow2"),
    same("compare disk.qcow2 packed.qcow2"),
    same("compare v2.qcow2 subclusters.qcow2"),
    same("compare disk.raw empty.qcow2"),
    same("compare empty.qcow2 disk.raw"),
    same("compare disk.qcow2 overlay.qcow2"),
    same("compare overlay.qcow2 disk.raw"),
    same("compare overlay.qcow2 top.qcow2"),
    same("compare top.qcow2 overlay.qcow2"),
    same("compare empty.qcow2 sub/base.qcow2"),
    same("compare sub/base.qcow2 sub/in.qcow2"),
    same("compare -s sub/base.qcow2 empty.qcow2"),
    same("compare -s disk.raw disk.raw"),
    same("compare -s disk.qcow2 v2.qcow2"),
    same("compare -s disk.raw disk.qcow2"),
    same("compare -s disk.raw packed.qcow2"),
    same("compare --strict disk.raw empty.qcow2"),
    same("compare -p disk.raw disk.qcow2"),
    same("compare -p disk.raw empty.qcow2"),
    same("compare -q disk.raw disk.qcow2"),
    same("compare -q disk.raw empty.qcow2"),
    same("compare -pq disk.raw empty.qcow2"),
    same("compare --quiet --progress disk.raw disk.raw"),
    same("compare -U disk.raw disk.qcow2"),
    same("compare -f raw -F qcow2 disk.raw disk.qcow2"),
    same("compare -f raw -F raw disk.raw disk.qcow2"),
    same("compare --a-format=raw --b-format raw disk.raw disk.raw"),
    same("compare -f qcow2 disk.raw disk.qcow2"),
    same("compare -F foo disk.raw disk.qcow2"),
    same("compare -f foo disk.raw disk.qcow2"),
    same("compare -T none disk.raw disk.qcow2"),
    same("compare --cache=writeback disk.raw disk.qcow2"),
    same("compare -T foo disk.raw disk.qcow2"),
    same("compare disk.raw nofile"),
    same("compare nofile disk.raw"),
    same("compare disk.raw sub"),
    same("compare text disk.raw"),
    same("compare text text"),
    same("compare"),
    same("compare disk.raw"),
    same("compare disk.raw disk.raw disk.raw"),
    same("compare -x disk.raw disk.raw"),
    same("compare --image-opts driver=raw,file.filename=disk.raw driver=qcow2,file.filename=disk.qcow2"),
    same(
        "compare --image-opts -f raw driver=raw,file.filename=disk.raw driver=qcow2,file.filename=disk.qcow2",
    ),
    same("compare --image-opts driver=raw,offset=1M,file.filename=disk.raw disk.raw"),
    same("compare --object foo,id=x disk.raw disk.raw"),
    same("compare --object secret,id=x,data=y disk.raw disk.raw"),
];

#[test]
fn comparisons_are_theirs() {
    table(ROWS);
}

#[test]
fn what_is_missing_is_damage_and_not_zeroes() {
    let torn = differs(
        "compare disk.raw torn.qcow2",
        "qemu-img: Error while reading offset 0 of torn.qcow2: reading at guest offset 0x0: reading 307200 bytes at \
         guest offset 0x0 of torn.qcow2: guest offset 0x20000: the cluster at 0x70000 ends past the end of the file \
         (0x70000)\n",
        4,
    );
    table_with(&[torn], |prepared| {
        prepared.img("convert -O qcow2 disk.raw torn.qcow2");
        let torn = std::fs::File::options().write(true).open(prepared.path().join("torn.qcow2"));
        torn.and_then(|file| file.set_len(0x70000)).expect("a file");
    });
}
