//! ext2, ext3 and ext4 as other programs make them: every file as the kernel's own mount tells it.
//!
//! ```text
//! mke2fs ─► image ─► mounted, filled by the kernel ─► a copy, mounted: walk.py ─┐
//!                                         └─────────► our reader ───────────────┴─► line by line
//! ```
//!
//! A line is a path, kind, mode, owner, size, links, inode, sectors, times to the nanosecond, device, target, attributes, flags,
//! generation, which bytes are stored, and the SHA-256 of its content. What the machine's kernel cannot mount is filled by mke2fs
//! and held against the folder that it was filled from.

mod changed;
mod copied;
pub(crate) mod customized;
mod damaged;
mod edited;
mod journal;
mod killed;
mod operations;
mod poured;
mod sealed;
mod unmounted;
mod wiped;
mod witness;

use witness::Judge;
pub(super) use witness::{assert_same, fill, say, script, text};

use crate::support::folder;

/// All sets of files (fill.py) but the encrypted ones.
const ALL: [&str; 5] = ["kinds", "times", "attributes", "stored", "many"];
const SOME: [&str; 4] = ["kinds", "times", "attributes", "stored"];

/// Makes a filesystem with each of these words, fills it and compares.
fn compare(combinations: &[(&str, &[&str])], files: &[&str]) {
    let Some(judge) = Judge::find() else { return };
    for (size, words) in combinations {
        let dir = folder();
        let image = dir.path().join("image");
        judge.make(&image, size, words);
        judge.fill_image(&image, "rw", files);
        let count = judge.compare(&image);
        say(count, &words.join(" "));
        assert!(count > 300, "{count}");
    }
}

#[test]
fn ext4_as_distributions_make_it_reads_as_the_kernel_tells() {
    compare(&[("400M", &["-t", "ext4", "-b", "4096"])], &ALL);
}

#[test]
fn ext4_with_small_blocks_reads_as_the_kernel_tells() {
    compare(&[("200M", &["-t", "ext4", "-b", "1024"])], &ALL);
    compare(&[("100M", &["-t", "ext4", "-b", "2048", "-I", "128"])], &SOME);
}

#[test]
fn ext4_without_extents_or_checksums_reads_as_the_kernel_tells() {
    let no_sums = "^metadata_csum,^64bit,uninit_bg";
    let bare = "^has_journal,^flex_bg,^dir_nlink,^extra_isize,^huge_file,^filetype,^dir_index,^metadata_csum";
    compare(
        &[
            ("200M", &["-t", "ext4", "-O", "^extent,^64bit", "-b", "4096"]),
            ("200M", &["-t", "ext4", "-O", no_sums, "-b", "4096"]),
            ("200M", &["-t", "ext4", "-O", bare]),
        ],
        &SOME,
    );
}

#[test]
fn ext4_before_it_was_ext4_reads_as_the_kernel_tells() {
    compare(&[("200M", &["-t", "ext2", "-b", "1024", "-I", "128"])], &ALL);
    compare(
        &[
            ("200M", &["-t", "ext3", "-b", "4096"]),
            ("200M", &["-t", "ext3", "-b", "1024", "-I", "256"]),
            ("100M", &["-t", "ext2", "-b", "2048", "-O", "none,sparse_super"]),
            ("100M", &["-t", "ext2", "-r", "0", "-O", "none", "-b", "1024"]),
        ],
        &SOME,
    );
}

#[test]
#[ignore = "make test-filesystems runs it: it takes minutes"]
fn ext4_with_content_in_inodes_reads_as_the_kernel_tells() {
    let features = "inline_data,ea_inode";
    compare(&[("300M", &["-t", "ext4", "-O", features, "-b", "4096"])], &ALL);
    compare(
        &[
            ("200M", &["-t", "ext4", "-O", features, "-b", "4096", "-I", "1024"]),
            ("200M", &["-t", "ext4", "-O", features, "-b", "1024", "-I", "512"]),
            ("300M", &["-t", "ext4", "-O", features, "-b", "4096", "-I", "4096", "-N", "6000"]),
            ("200M", &["-t", "ext4", "-O", "inline_data,^metadata_csum,^64bit"]),
            ("200M", &["-t", "ext4", "-O", "ea_inode,^metadata_csum", "-b", "4096"]),
        ],
        &SOME,
    );
}

#[test]
#[ignore = "make test-filesystems runs it: it takes minutes"]
fn ext4_with_groups_laid_out_otherwise_reads_as_the_kernel_tells() {
    let clusters = ["-t", "ext4", "-O", "bigalloc", "-C"];
    compare(
        &[
            ("300M", &[&clusters[..], &["65536", "-b", "4096"]].concat()),
            ("300M", &[&clusters[..], &["16384", "-b", "1024"]].concat()),
            ("200M", &["-t", "ext4", "-O", "meta_bg,^resize_inode", "-b", "1024", "-g", "512"]),
            (
                "200M",
                &[
                    "-t",
                    "ext4",
                    "-O",
                    "meta_bg,^resize_inode,^64bit,^sparse_super",
                    "-b",
                    "1024",
                    "-g",
                    "512",
                ],
            ),
            ("200M", &["-t", "ext4", "-O", "sparse_super2,^resize_inode", "-b", "4096", "-g", "2048"]),
            (
                "200M",
                &[
                    "-t",
                    "ext4",
                    "-O",
                    "bigalloc,meta_bg,^resize_inode",
                    "-b",
                    "1024",
                    "-C",
                    "8192",
                    "-g",
                    "4096",
                ],
            ),
            ("200M", &["-t", "ext4", "-O", "^flex_bg,^resize_inode", "-g", "1024", "-N", "20000"]),
        ],
        &SOME,
    );
}

#[test]
fn ext4_with_rare_features_reads_as_the_kernel_tells() {
    compare(&[("300M", &["-t", "ext4", "-b", "1024", "-O", "large_dir,mmp,orphan_file"])], &ALL);
    let seeded =
        ["-t", "ext4", "-O", "metadata_csum_seed,verity", "-U", "6b33f586-a183-4383-921d-30da3fef2e5c"];
    compare(&[("200M", &seeded)], &SOME);
}

#[test]
#[ignore = "make test-filesystems runs it: it takes minutes"]
fn ext4_indexes_of_every_hash_lead_to_every_name() {
    let Some(judge) = Judge::find() else { return };
    // The last one has none at all.
    for (number, flags, features) in [
        (0, 1, "dir_index"),
        (1, 2, "dir_index"),
        (2, 1, "dir_index"),
        (2, 2, "dir_index"),
        (0, 2, "dir_index"),
        (1, 1, "^dir_index"),
    ] {
        let dir = folder();
        let image = dir.path().join("image");
        judge.make(&image, "100M", &["-t", "ext4", "-b", "1024", "-O", features]);
        for change in [format!("ssv def_hash_version {number}"), format!("ssv flags {flags}")] {
            judge.debugfs.must(["-w", "-R", &change, image.to_str().expect("UTF-8")]);
        }
        judge.fill_image(&image, "rw", &["many", "kinds"]);
        assert!(judge.compare(&image) > 13_000);
        // Each of its 13,000 names, and some that are not there.
        let disk = std::sync::Arc::new(image_core::block::FileDisk::open(&image).unwrap());
        let ext4 = image_core::fs::Ext4::open(disk).unwrap();
        for path in ["/thousands", "/hundreds", "/kinds/names"] {
            let inode = ext4.resolve(path.as_bytes(), true).unwrap().unwrap();
            for entry in ext4.read_directory(&inode).map(Result::unwrap) {
                assert_eq!(ext4.lookup(&inode, &entry.name).unwrap(), Some(entry.inode));
                let longer = [&entry.name[..], b"x"].concat();
                assert_eq!(
                    ext4.lookup(&inode, &longer[..longer.len().min(255)])
                        .unwrap_or(None)
                        .filter(|_| longer.len() < 256),
                    None
                );
            }
        }
    }
}

#[test]
fn ext4_encrypted_files_have_the_names_that_a_kernel_without_the_key_shows() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let image = dir.path().join("image");
    judge.make(&image, "100M", &["-t", "ext4", "-b", "1024", "-O", "encrypt"]);
    judge.fill_image(&image, "rw,test_dummy_encryption", &["encrypted"]);
    let theirs = judge.tell_image(&image, "ro");
    let mut ours = witness::ours(&image);
    assert!(ours.len() > 400, "{}", ours.len());
    // A kernel shows what the targets of links are encrypted to: here they are not read.
    for (path, facts) in ours.iter_mut().filter(|(_, facts)| facts.starts_with("Link")) {
        assert!(facts.ends_with("target=E126"), "{facts}");
        facts.clone_from(&theirs[path]);
    }
    witness::assert_same(&theirs, &ours);
}
