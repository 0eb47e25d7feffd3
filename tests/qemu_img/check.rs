//! `qemu-img check`.

use super::prepared::Prepared;
use super::{Row, differs, mapped_otherwise, same, table, table_with};

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
    same("check -r all corrupt.qcow2"),
    same("check -r all --output=json corrupt.qcow2"),
    same("check lost.qcow2"),
    same("check --output=json lost.qcow2"),
    same("check -r leaks lost.qcow2"),
    same("check tableless.qcow2"),
    same("check --output=json tableless.qcow2"),
    same("check -r leaks tableless.qcow2"),
    same("check -r all tableless.qcow2"),
    same("check headless.qcow2"),
    same("check --output=json headless.qcow2"),
    same("check headfar.qcow2"),
    same("check headmoved.qcow2"),
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

/// What opens an image for writing that was not closed, and what only reads it.
const UNCLOSED: &[Row] = &[
    same("resize lost.qcow2 8M"),
    same("resize -q leaky.qcow2 8M"),
    same("resize flags.qcow2 8M"),
    same("resize sound.qcow2 8M"),
    same("resize all.qcow2 8M"),
    same("snapshot -c s all.qcow2"),
    same("snapshot -l all.qcow2"),
    same("amend -o compat=1.1 all.qcow2"),
    same("bitmap --add all.qcow2 b"),
    same("rebase -u -b '' all.qcow2"),
    same("rebase -u -b disk.raw -F raw all.qcow2"),
    same("rebase -b disk.raw -F raw all.qcow2"),
    same("convert -n -O qcow2 -S 4k empty.qcow2 all.qcow2"),
    same("convert all.qcow2 out"),
    same("commit all.qcow2"),
    // Clusters of the backing file lie elsewhere, as after every commit.
    mapped_otherwise("commit over.qcow2"),
    same("map all.qcow2"),
    same("check all.qcow2"),
    same("check -r all all.qcow2"),
    same("resize marked.qcow2 8M"),
    // Theirs leaves what it cannot mend and goes on.
    differs(
        "resize damaged.qcow2 8M",
        "ERROR guest offset 0x10000: the cluster at 0x100000000 ends past the end of the file (0x90000)\n\
         Leaked cluster 6 refcount=1 reference=0\nRepairing cluster 6 refcount=1 reference=0\n\
         Repairing OFLAG_COPIED data cluster: l2_entry=8000000100000000 refcount=0\n\
         qemu-img: Could not open 'damaged.qcow2': opening damaged.qcow2 for writing: repairing the image, which was not \
         closed: 1 errors are left that a repair does not fix: check the image\n",
        1,
    ),
];

#[test]
fn images_that_were_not_closed_are_repaired_in_the_same_words() {
    table_with(UNCLOSED, |prepared| {
        for (name, lost, leaked, unflagged) in [
            ("sound", false, false, false),
            ("lost", true, false, false),
            ("leaky", false, true, false),
            ("flags", false, false, true),
            ("all", true, true, true),
        ] {
            let image = format!("{name}.qcow2");
            prepared.img(&format!("create -q -f qcow2 -o lazy_refcounts=on {image} 4M"));
            unclose(prepared, &image, (lost, leaked, unflagged));
        }
        prepared.img("create -q -f qcow2 -o lazy_refcounts=on -b empty.qcow2 -F qcow2 over.qcow2");
        unclose(prepared, "over.qcow2", (true, true, false));
        prepared.img("create -q -f qcow2 -o lazy_refcounts=on marked.qcow2 4M");
        unclose(prepared, "marked.qcow2", (true, false, false));
        prepared.patch("marked.qcow2", 72, &3_u64.to_be_bytes());
        prepared.img("create -q -f qcow2 -o lazy_refcounts=on damaged.qcow2 4M");
        let l2 = unclose(prepared, "damaged.qcow2", (false, false, false));
        prepared.patch("damaged.qcow2", l2 + 8, &(1_u64 << 63 | 1 << 32).to_be_bytes());
    });
}

/// Writes to an image and leaves it as a crash would: marked dirty, with a refcount that is lost, a cluster that is leaked,
/// a flag that is missing. Returns where its first L2 table is.
fn unclose(prepared: &Prepared, image: &str, (lost, leaked, unflagged): (bool, bool, bool)) -> u64 {
    prepared.io(image, "write -P 3 0 200k");
    let block = prepared.number(image, prepared.number(image, 48));
    let l2 = prepared.number(image, prepared.number(image, 40)) & 0x00ff_ffff_ffff_fe00;
    let first = prepared.number(image, l2) & 0x00ff_ffff_ffff_fe00;
    if lost {
        prepared.patch(image, block + (first >> 16) * 2, &0_u16.to_be_bytes());
    }
    if leaked {
        let len = std::fs::metadata(prepared.path().join(image)).expect("an image").len();
        let end = len.next_multiple_of(65536);
        prepared.patch(image, end, &[0; 65536]);
        prepared.patch(image, block + (end >> 16) * 2, &1_u16.to_be_bytes());
    }
    if unflagged {
        prepared.patch(image, l2, &first.to_be_bytes());
    }
    prepared.patch(image, 72, &1_u64.to_be_bytes());
    l2
}

/// Refcounts that are too high, too low, and none of that but a flag that is missing.
fn damage(prepared: &Prepared) {
    let whole = std::fs::read(prepared.path().join("disk.qcow2")).expect("an image");
    let number = |at: usize| u64::from_be_bytes(whole[at..at + 8].try_into().expect("eight bytes"));
    let block = number(number(48) as usize);
    let l2 = number(number(40) as usize) & 0x00ff_ffff_ffff_fe00;
    let first_cluster = number(l2 as usize) & 0x00ff_ffff_ffff_fe00;
    let refcount = |cluster: u64| block + cluster * 2;
    for name in
        ["leaky", "uncopied", "corrupt", "dirty", "lost", "tableless", "headless", "headfar", "headmoved"]
    {
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
    // An L1 table behind the end of the file, right behind it, and farther away than any file is long.
    prepared.patch("headless.qcow2", 40, &(1_u64 << 30).to_be_bytes());
    let end = (whole.len() as u64).next_multiple_of(65536);
    prepared.patch("headmoved.qcow2", 40, &end.to_be_bytes());
    prepared.patch("headfar.qcow2", 40, &(1_u64 << 62).to_be_bytes());
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
