//! `qemu-img dd`.

use super::{Row, mapped_otherwise, same, table};

const ARGUMENTS: &[Row] = &[
    same("dd"),
    same("dd if=disk.raw"),
    same("dd of=out"),
    same("dd disk.raw out"),
    same("dd foo"),
    same("dd bs=0 foo"),
    same("dd bs=1M if=disk.raw seek=1 of=out"),
    same("dd if=disk.raw of=out conv=sync"),
    same("dd if=disk.raw of=out isize=1"),
    same("dd if=disk.raw of=out osize=1"),
    same("dd if=disk.raw of=out foo=1"),
    same("dd if=disk.raw of=out =1"),
    same("dd if= of=out"),
    same("dd if=disk.raw of="),
    same("dd -O qcow2 if=disk.raw of="),
    same("dd if=disk.raw of=out bs="),
    same("dd if=disk.raw of=out bs=x"),
    same("dd if=disk.raw of=out bs=0"),
    same("dd if=disk.raw of=out bs=-1"),
    same("dd if=disk.raw of=out bs=-1k"),
    same("dd if=disk.raw of=out bs=2G"),
    same("dd if=disk.raw of=out bs=20E"),
    same("dd if=disk.raw of=out count="),
    same("dd if=disk.raw of=out count=x"),
    same("dd if=disk.raw of=out count=1k"),
    same("dd if=disk.raw of=out count=-1"),
    same("dd if=disk.raw of=out count=08"),
    same("dd if=disk.raw of=out count=99999999999999999999"),
    same("dd if=disk.raw of=out skip=1.0"),
    same("dd if=disk.raw of=out skip=-1"),
    same("dd if=nofile of=out"),
    same("dd if=sub of=out"),
    same("dd if=disk.raw of=sub"),
    same("dd if=disk.raw of=nodir/out"),
    same("dd -O qcow2 if=disk.raw of=nodir/out"),
    same("dd if=foo:disk.raw of=out"),
    same("dd if=disk.raw of=foo:out"),
    same("dd if=disk.raw of=json:{}"),
    same("dd -f qcow2 if=disk.raw of=out"),
    same("dd -f foo -O foo if=disk.raw of=out"),
    same("dd -O foo if=disk.raw of=out"),
    same("dd -O '' if=disk.raw of=out"),
    same("dd if=disk.qcow2 of=disk.qcow2"),
    same("dd if=overlay.qcow2 of=disk.qcow2"),
    same("dd -f raw --image-opts foo"),
    same("dd -f raw --image-opts if=driver=raw,file.filename=disk.raw of=out"),
    same("dd --image-opts if=disk.raw of=out"),
    same("dd --object foo,id=s if=disk.raw of=out"),
    same("dd -x if=disk.raw of=out"),
    same("dd -n if=disk.raw of=out"),
    same("dd --o qcow2 if=disk.raw of=out"),
    same("dd -f"),
];

#[test]
fn wrong_command_lines_are_theirs() {
    table(ARGUMENTS);
}

const RAW: &[Row] = &[
    same("dd if=disk.raw of=out"),
    same("dd -- if=disk.raw of=out"),
    same("dd if=nofile if=disk.raw of=nodir/out of=out"),
    same("dd -f raw -O raw -U if=disk.raw of=out"),
    same("dd -O file if=disk.raw of=out"),
    same("dd if=disk.raw of=file:out"),
    same("dd of=out if=disk.qcow2"),
    same("dd if=packed.qcow2 of=out bs=64k"),
    same("dd if=top.qcow2 of=out bs=1M skip=4"),
    same("dd if=v2.qcow2 of=disk.raw count=3"),
    same("dd -f raw if=disk.qcow2 of=out count=1"),
    same("dd if=disk.raw of=out bs=2147483647"),
    same("dd if=disk.raw of=out bs=1.5k"),
    same("dd if=disk.raw of=out bs=1k bs=2k count=3"),
    same("dd if=disk.raw of=out count=0"),
    same("dd if=disk.raw of=out count=010"),
    same("dd if=disk.raw of=out count=+0x20 bs=16k"),
    same("dd if=disk.raw of=out count=-18446744073709551615"),
    same("dd if=text of=out count=9223372036854775807 bs=3"),
    same("dd if=disk.raw of=out skip=8191"),
    same("dd if=disk.raw of=out skip=8192"),
    same("dd if=disk.raw of=out skip=8193"),
    same("dd if=disk.raw of=out skip=9223372036854775807 bs=2"),
    same("dd if=disk.raw of=out bs=1M skip=1 count=1"),
    same("dd if=disk.raw of=out bs=1M skip=1 count=2"),
    same("dd if=disk.raw of=out bs=1M skip=2 count=1"),
    same("dd if=disk.raw of=out bs=3 count=7"),
    same("dd if=disk.raw of=out bs=1000 skip=306 count=400"),
    same("dd if=text of=out"),
    same("dd if=text of=out bs=1 skip=3 count=5"),
    same("dd if=text of=out bs=1 skip=20"),
    same("dd if=text of=out skip=1"),
    same("dd if=text of=out bs=1 skip=513"),
    same("dd --image-opts if=driver=raw,offset=1M,size=64k,file.filename=disk.raw of=out"),
    same("dd 'if=json:{\"driver\":\"qcow2\",\"file.filename\":\"disk.qcow2\"}' of=out"),
    same("dd --object secret,id=s,data=x if=disk.raw of=out"),
];

#[test]
fn raw_outputs_are_theirs() {
    table(RAW);
}

/// Ours has no clusters for what is zeroes.
const QCOW2: &[Row] = &[
    mapped_otherwise("dd -O qcow2 if=disk.raw of=out"),
    mapped_otherwise("dd if=disk.raw of=out -O qcow2"),
    mapped_otherwise("dd -O qcow2 if=overlay.qcow2 of=out bs=64k count=20"),
    mapped_otherwise("dd -O qcow2 if=disk.qcow2 of=out bs=1000000 count=1"),
    mapped_otherwise("dd -O qcow2 if=disk.qcow2 of=out bs=1000 skip=1000 count=2000"),
    mapped_otherwise("dd -O qcow2 if=text of=out"),
    same("dd -O qcow2 if=disk.raw of=out bs=1M skip=9"),
    same("dd -O qcow2 if=disk.raw of=out count=0"),
    mapped_otherwise("dd -O qcow2 if=disk.raw of=packed.qcow2 bs=1M count=2"),
];

#[test]
fn qcow2_outputs_are_theirs() {
    table(QCOW2);
}
