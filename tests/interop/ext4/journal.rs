//! Filesystems of machines that were not shut down: what waits in the journal is read as a kernel would play it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use image_core::ErrorKind;
use image_core::block::FileDisk;
use image_core::fs::Ext4;

use super::witness::{Judge, fill, say};
use crate::support::folder;

/// Fills `image`, changes it, and copies it to `dirty` before it is taken away.
fn dirty(judge: &Judge, image: &Path, dirty: &Path, options: &str) {
    judge.fill_image(image, options, &["kinds", "attributes"]);
    let changes = fill("$M", &["changes"]);
    // A commit, and nothing in its place yet.
    let script = format!("{changes}; sync $M/changes; cp {} {}", image.display(), dirty.display());
    judge.with_mount(image, options, &script);
}

fn open(image: &Path) -> image_core::Result<Ext4> {
    Ext4::open(Arc::new(FileDisk::open(image).unwrap()))
}

#[test]
fn ext4_that_was_not_unmounted_reads_as_the_kernel_plays_its_journal() {
    let Some(judge) = Judge::find() else { return };
    for (words, options) in [
        (&["-t", "ext4"][..], "rw"),
        (&["-t", "ext4", "-b", "1024"], "rw,data=journal"),
        (&["-t", "ext4", "-O", "^64bit,^metadata_csum"], "rw"),
        (&["-t", "ext4", "-O", "^metadata_csum"], "rw,journal_checksum"),
        (
            &["-t", "ext4", "-O", "^metadata_csum,^64bit", "-b", "1024"],
            "rw,data=writeback,journal_checksum,journal_async_commit",
        ),
        (&["-t", "ext3", "-b", "1024"], "rw,data=journal"),
        (&["-t", "ext4", "-O", "inline_data,ea_inode,metadata_csum_seed"], "rw,data=journal"),
    ] {
        let dir = folder();
        let (image, copy) = (dir.path().join("image"), dir.path().join("dirty"));
        judge.make(&image, "64M", words);
        dirty(&judge, &image, &copy, options);
        let fs = open(&copy).unwrap();
        assert!(!fs.superblock().is_clean || fs.replayed().is_some());
        let replayed = fs.replayed().expect("something waits in the journal");
        assert!(replayed.transactions > 0 && replayed.blocks > 10, "{replayed:?}");
        let count = judge.compare_played(&copy);
        say(count, &format!("{} {options}, {replayed:?}", words.join(" ")));
        // What was taken away has nothing that waits.
        assert_eq!(open(&image).unwrap().replayed(), None);
    }
}

#[test]
fn ext4_journals_of_every_form_are_played_as_by_debugfs() {
    let Some(judge) = Judge::find() else { return };
    for (words, form) in [
        ("64bit,^metadata_csum", "jo"),
        ("^64bit,^metadata_csum", "jo"),
        ("64bit,metadata_csum", "jo -c -v 2"),
        ("^64bit,metadata_csum", "jo -c -v 2"),
        ("64bit,metadata_csum", "jo -c -v 3"),
        ("^64bit,metadata_csum", "jo -c -v 3"),
        // Of whole transactions: debugfs makes another one than a kernel expects.
        ("64bit,^metadata_csum", "jo -c"),
    ] {
        let dir = folder();
        let image = dir.path().join("image");
        let path = image.to_str().unwrap();
        judge.make(&image, "16M", &["-t", "ext4", "-b", "1024", "-O", words]);
        judge.fill_image(&image, "rw", &["times"]);
        // The first blocks of two files, of which the second is revoked.
        let blocks = dir.path().join("blocks");
        fs::write(&blocks, [&0xc03b_3998_u32.to_be_bytes()[..], &[b'J'; 1020], &[b'K'; 1024]].concat())
            .unwrap();
        let script = dir.path().join("script");
        let source = dir.path().join("source");
        fs::write(&source, [b'o'; 1024]).unwrap();
        let make = format!("write {0} one\nwrite {0} two\nwrite {0} three\n", source.display());
        fs::write(&script, make).unwrap();
        judge.debugfs.must(["-w", "-f", script.to_str().unwrap(), path]);
        let place =
            |name: &str| judge.debugfs.must(["-R", &format!("bmap {name} 0"), path]).trim().to_owned();
        let (one, two) = (place("one"), place("two"));
        let steps = format!("{form}\njw -b {one},{two} {}\njw -r {two}\njc\n", blocks.display());
        fs::write(&script, steps).unwrap();
        judge.debugfs.must(["-w", "-f", script.to_str().unwrap(), path]);
        if words == "64bit,^metadata_csum" && form == "jo -c" {
            assert_eq!(open(&image).unwrap_err().kind(), ErrorKind::Corrupt);
            assert!(!judge.mounts(&image));
            continue;
        }
        let ext4 = open(&image).unwrap();
        assert_eq!(ext4.replayed().map(|replayed| replayed.blocks), Some(1), "{words} {form}");
        assert!(judge.compare_played(&image) > 30);
        let read =
            |name: &str| ext4.read(&ext4.resolve(name.as_bytes(), true).unwrap().unwrap(), 2000).unwrap();
        assert!(read("/one").starts_with(&[0xc0, 0x3b, 0x39, 0x98, b'J']), "{words} {form}");
        assert_eq!(read("/two"), [b'o'; 1024]);
    }
}

#[test]
fn ext4_journals_that_are_broken_are_refused_as_by_the_kernel() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let (image, copy) = (dir.path().join("image"), dir.path().join("dirty"));
    judge.make(&image, "32M", &["-t", "ext4", "-b", "1024"]);
    dirty(&judge, &image, &copy, "rw");
    let good = fs::read(&copy).unwrap();
    let blocks = || good.chunks(1024).zip((0..).step_by(1024));
    let number = |block: &[u8], at: usize| u32::from_be_bytes(block[at..at + 4].try_into().unwrap());
    let is = |block: &[u8], kind| number(block, 0) == 0xc03b_3998 && number(block, 4) == kind;
    let (journal, _) = blocks().find(|(block, _)| is(block, 4)).expect("the journal's superblock");
    // The first descriptor that counts, and the commit of its transaction.
    let sequence = number(journal, 0x18);
    let find = |kind| {
        blocks().find(|(block, _)| is(block, kind) && number(block, 8) == sequence).expect("a block").1
    };
    let (descriptor, commit) = (find(1), find(2));
    for (at, what) in [
        (descriptor + 20, "of the journal has another checksum"),
        (commit + 17, "of the journal has another checksum"),
        // The copies follow: one that counts no more than the last copy of its block does not matter, so all of them.
        (descriptor + 1024, "of the journal has another checksum"),
    ] {
        let mut bad = good.clone();
        let end = if at == descriptor + 1024 { commit } else { at + 1 };
        for place in (at..end).step_by(1024) {
            // Without its mark a block would be the journal's end.
            if at != descriptor + 1024 || number(&good[place..], 0) != 0xc03b_3998 {
                bad[place] ^= 1;
            }
        }
        fs::write(&copy, &bad).unwrap();
        let error = open(&copy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(format!("{error:?}").contains(what), "{error:?}");
        assert!(!judge.mounts(&copy), "the kernel mounts it: {at:#x}");
    }
}

#[test]
fn ext4_fast_commits_are_told_and_not_passed_over() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let (image, copy) = (dir.path().join("image"), dir.path().join("dirty"));
    judge.make(&image, "64M", &["-t", "ext4", "-O", "fast_commit"]);
    judge.fill_image(&image, "rw", &["kinds"]);
    // A whole commit comes before fast ones.
    let times = fill("$M", &["times"]);
    let script = format!(
        "{times}; sync -f $M; echo fast > $M/kinds/fast; sync $M/kinds/fast; cp {} {}",
        image.display(),
        copy.display()
    );
    judge.with_mount(&image, "rw", &script);
    let error = open(&copy).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    assert!(format!("{error:?}").contains("fast commits"), "{error:?}");
    assert!(open(&image).is_ok());
}
