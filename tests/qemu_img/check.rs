//! `qemu-img check`.

use super::prepared::Prepared;
use super::{Row, same, says, table, table_with};

const ROWS: &[Row] = &[
    same("check disk.qcow2"),
    same("check -f qcow2 disk.qcow2"),
    same("check --output=json disk.qcow2"),
    same("check --output=human empty.qcow2"),
    same("check --output=json empty.qcow2"),
    same("check packed.qcow2"),
    same("check --output=json packed.qcow2"),
    same("check v2.qcow2"),
    same("check subclusters.qcow2"),
    same("check overlay.qcow2"),
    same("check top.qcow2"),
    same("check states.qcow2"),
    same("check outside.qcow2"),
    same("check sub/out.qcow2"),
    same("check -q disk.qcow2"),
    same("check -q --output=json disk.qcow2"),
    same("check disk.raw"),
    same("check -q disk.raw"),
    same("check --output=json disk.raw"),
    same("check -f raw disk.qcow2"),
    same("check -f qcow2 disk.raw"),
    same("check nofile"),
    same("check sub"),
    same("check -T none disk.qcow2"),
    same("check -T foo disk.qcow2"),
    same("check --cache=writeback disk.qcow2"),
    same("check -U disk.qcow2"),
    same("check -r all -U disk.qcow2"),
    same("check -r leaks disk.qcow2"),
    same("check -r all disk.qcow2"),
    same("check -r foo disk.qcow2"),
    same("check -r all disk.raw"),
    same("check --image-opts driver=qcow2,file.filename=disk.qcow2"),
    same("check --image-opts driver=raw,file.filename=disk.qcow2"),
    same("check --image-opts -f raw disk.qcow2"),
    same("check"),
    same("check a b"),
    same("check -x"),
    same("check --re"),
    same("check --output=x a"),
];

#[test]
fn sound_images_are_checked_as_theirs() {
    table(ROWS);
}

/// Theirs also names the clusters of the old refcounts, which ours gives back without a word.
const REBUILT: &str = "\
ERROR cluster 5 refcount=0 reference=1
Leaked cluster 6 refcount=4 reference=1
Rebuilding refcount structure
";

const DAMAGED: &[Row] = &[
    same("check leaky.qcow2"),
    same("check --output=json leaky.qcow2"),
    same("check -q leaky.qcow2"),
    same("check -r leaks leaky.qcow2"),
    same("check -r all --output=json leaky.qcow2"),
    same("check -q -r leaks leaky.qcow2"),
    same("check uncopied.qcow2"),
    same("check -r leaks uncopied.qcow2"),
    same("check -r all uncopied.qcow2"),
    same("check corrupt.qcow2"),
    same("check --output=json corrupt.qcow2"),
    same("check -r leaks corrupt.qcow2"),
    says("check -r all corrupt.qcow2", REBUILT),
    says("check -r all --output=json corrupt.qcow2", REBUILT),
    same("check lost.qcow2"),
    same("check --output=json lost.qcow2"),
    same("check -r leaks lost.qcow2"),
    same("check tableless.qcow2"),
    same("check --output=json tableless.qcow2"),
    same("check -r leaks tableless.qcow2"),
    same("check -r all tableless.qcow2"),
    same("check wordy.qcow2"),
    same("check -r leaks wordy.qcow2"),
    // Where the new table goes, and so where the image ends, differs.
    same("check -q -r all wordy.qcow2 && check -q wordy.qcow2 && snapshot -l wordy.qcow2"),
    same("check dirty.qcow2"),
    same("check -r all dirty.qcow2"),
];

#[test]
fn damaged_images_are_checked_and_repaired_as_theirs() {
    table_with(DAMAGED, damage);
}

/// Refcounts that are too high, too low, and none of that but a flag that is missing.
fn damage(prepared: &Prepared) {
    let whole = std::fs::read(prepared.path().join("disk.qcow2")).expect("an image");
    let number = |at: usize| u64::from_be_bytes(whole[at..at + 8].try_into().expect("eight bytes"));
    let block = number(number(48) as usize);
    let l2 = number(number(40) as usize) & 0x00ff_ffff_ffff_fe00;
    let first_cluster = number(l2 as usize) & 0x00ff_ffff_ffff_fe00;
    let refcount = |cluster: u64| block + cluster * 2;
    for name in ["leaky", "uncopied", "corrupt", "dirty", "lost", "tableless"] {
        prepared.file(&format!("{name}.qcow2"), &whole);
    }
    wordy(prepared);
    prepared.patch("leaky.qcow2", l2, &0_u64.to_be_bytes());
    prepared.patch("leaky.qcow2", l2 + 16, &0_u64.to_be_bytes());
    prepared.patch("uncopied.qcow2", l2, &first_cluster.to_be_bytes());
    prepared.patch("corrupt.qcow2", refcount(first_cluster / 65536), &0_u16.to_be_bytes());
    prepared.patch("corrupt.qcow2", refcount(first_cluster / 65536 + 1), &4_u16.to_be_bytes());
    // A refcount table behind the end of the file, and none.
    prepared.patch("lost.qcow2", 48, &(1_u64 << 40).to_be_bytes());
    prepared.patch("tableless.qcow2", 56, &[0; 4]);
    prepared.patch("dirty.qcow2", 72, &3_u64.to_be_bytes());
}

/// An image whose only snapshot has 2000 bytes of extra data.
fn wordy(prepared: &Prepared) {
    prepared.img("convert -f raw -O qcow2 disk.raw wordy.qcow2");
    prepared.img("snapshot -c one wordy.qcow2");
    let table = prepared.number("wordy.qcow2", 64);
    let file = std::fs::read(prepared.path().join("wordy.qcow2")).expect("an image");
    // The head, 24 bytes of extra data, the id and the name.
    let entry = &file[table as usize..][..40 + 24 + 4];
    let extra: Vec<u8> = (0..1976_u32).map(|at| at as u8 | 1).collect();
    let longer = [&entry[..36], &2000_u32.to_be_bytes(), &entry[40..64], &extra, &entry[64..]].concat();
    prepared.patch("wordy.qcow2", table, &longer);
}
