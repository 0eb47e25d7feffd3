//! Filesystems that are changed: judged by e2fsck after every round, by our own check, and by the kernel's mount at the end; and
//! what was not changed is as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite, FileDisk};
use image_core::fs::{Ext4, Ext4Writer, NewInode, NodeKind, Time, WalkEntry, scrub_ext4};

use super::witness::{Judge, ours, say, text};
use crate::support::folder;
use crate::support::peer::peer;
use crate::support::random::Random;

const TIME: Time = Time { seconds: 1_700_000_000, nanoseconds: 5 };
/// Rounds, each on what the one before it left.
const ROUNDS: u64 = 3;
/// All sets of files but the encrypted ones and those with 20,000 names.
const SOME: [&str; 4] = ["kinds", "times", "attributes", "stored"];

fn disk(image: &Path) -> Arc<dyn BlockWrite> {
    Arc::new(FileDisk::open_writable(image).expect("the image"))
}

/// What e2fsck finds in `image`, which must be nothing.
pub(super) fn assert_clean(image: &Path, when: &str) {
    let image = image.to_str().expect("UTF-8");
    let judged = peer("e2fsck").expect("e2fsck").run(["-fn", image]);
    assert_eq!(judged.code, 0, "{when}: {}", judged.snapshot());
}

/// The folder of a path and the name in it.
fn parts(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// What a round did: how much of what, and the inodes that are other than they were.
#[derive(Default)]
struct Done {
    counts: BTreeMap<&'static str, usize>,
    touched: BTreeSet<u32>,
    gone: BTreeSet<String>,
    written: BTreeMap<String, Vec<u8>>,
}

/// Removes, empties, writes and makes about one in `share` names each.
fn change(image: &Path, round: u64, share: u64) -> Done {
    let mut random = Random((round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut changes = Ext4Writer::open(disk(image), TIME).expect("it is opened for changes");
    assert_eq!(changes.files().check().unwrap(), []);
    let root = changes.files().root().unwrap();
    let steps: Vec<WalkEntry> = changes.files().walk(root).collect::<Result<_, _>>().unwrap();
    let mut done = Done::default();
    let mut trees: Vec<Vec<u8>> = Vec::new();
    for step in &steps {
        if trees.iter().any(|tree| step.path.starts_with(tree)) {
            done.gone.insert(text(&step.path));
            done.touched.insert(step.inode);
            continue;
        }
        let (folder, name) = parts(&step.path);
        let folder = changes.files().resolve(folder, false).unwrap().expect("its folder").number;
        let is_file = step.kind == NodeKind::File;
        let what = match random.next() % share {
            0 if step.path == b"lost+found" => continue,
            0 if step.kind == NodeKind::Directory && step.path.contains(&b'/') => {
                changes.remove_tree(folder, name).unwrap();
                trees.push([&step.path[..], b"/"].concat());
                done.gone.insert(text(&step.path));
                "trees"
            }
            0 | 1 if step.kind != NodeKind::Directory => {
                changes.remove(folder, name).unwrap();
                done.gone.insert(text(&step.path));
                "removed"
            }
            2 if is_file => {
                changes.truncate(step.inode).unwrap();
                done.written.insert(text(&step.path), Vec::new());
                "emptied"
            }
            3 | 4 if is_file => {
                let content = vec![round as u8 + b'a'; random.below(30_000)];
                changes.write(step.inode, &content).unwrap();
                done.written.insert(text(&step.path), content);
                "written"
            }
            5 => {
                let name = format!("new-{round}-{}-{}", random.next(), "n".repeat(random.below(80)));
                let target = vec![b't'; 1 + random.below(200)];
                let new = if random.below(2) == 0 { NewInode::File(0o444) } else { NewInode::Link(&target) };
                changes.create(folder, name.as_bytes(), &new).unwrap();
                done.touched.insert(folder);
                *done.counts.entry("made").or_default() += 1;
                continue;
            }
            _ => continue,
        };
        *done.counts.entry(what).or_default() += 1;
        done.touched.extend([step.inode, folder]);
    }
    changes.commit().unwrap();
    assert_eq!(changes.files().check().unwrap(), []);
    done
}

/// Changes `image` in rounds, wipes it, and has all of it judged. Answers with how many changes there were.
fn rounds(judge: &Judge, image: &Path, share: u64, is_mounted: bool) -> usize {
    let mut count = 0;
    for round in 0..ROUNDS {
        let before = ours(image);
        let done = change(image, round, share);
        count += done.counts.values().sum::<usize>();
        assert_clean(image, &format!("round {round}: {:?}", done.counts));
        let fs = Ext4::open(disk(image) as Arc<dyn BlockRead>).unwrap();
        let after = ours(image);
        let number = |facts: &str| -> u32 {
            let word = facts.split(' ').find_map(|word| word.strip_prefix("inode=")).expect("an inode");
            word.parse().expect("a number")
        };
        for (path, facts) in &before {
            if done.gone.contains(path) {
                assert!(!after.contains_key(path), "{path} is still there");
            } else if !done.touched.contains(&number(facts)) {
                assert_eq!(after.get(path), Some(facts), "{path}");
            }
        }
        for (path, content) in done.written.iter().filter(|(path, _)| after.contains_key(*path)) {
            let inode = fs.inode(number(&after[path])).unwrap();
            // Written again under another name, perhaps.
            if inode.links == 1 {
                assert!(fs.read(&inode, u64::MAX).unwrap() == *content, "{path}");
                assert_eq!((inode.modified.seconds, inode.changed.seconds), (TIME.seconds, TIME.seconds));
            }
        }
    }
    let before = ours(image);
    scrub_ext4(&disk(image)).unwrap();
    assert_clean(image, "wiped");
    assert_eq!(before, ours(image), "wiping changed a file");
    let bytes = std::fs::read(image).unwrap();
    assert_eq!(scrub_ext4(&disk(image)).unwrap(), 0, "something was left");
    assert!(bytes == std::fs::read(image).unwrap(), "nothing was left, and something was written");
    if is_mounted {
        judge.compare(image);
    }
    count
}

fn filled_by_kernel(combinations: &[(&str, &[&str])], files: &[&str], share: u64) {
    let Some(judge) = Judge::find() else { return };
    for (size, words) in combinations {
        let dir = folder();
        let image = dir.path().join("image");
        judge.make(&image, size, words);
        judge.fill_image(&image, "rw", files);
        let count = rounds(&judge, &image, share, true);
        say(count, &format!("changes: {}", words.join(" ")));
        assert!(count > 100, "{count}: {words:?}");
    }
}

#[test]
fn ext4_as_distributions_make_it_is_changed() {
    filled_by_kernel(
        &[
            ("200M", &["-t", "ext4", "-b", "4096"]),
            ("200M", &["-t", "ext4", "-b", "1024", "-O", "orphan_file,mmp,large_dir"]),
            ("100M", &["-t", "ext4", "-b", "2048", "-I", "128"]),
        ],
        &SOME,
        9,
    );
}

#[test]
fn ext4_with_an_index_of_20000_names_is_changed() {
    filled_by_kernel(&[("300M", &["-t", "ext4", "-b", "1024"])], &["many"], 40);
}

/// Names of 200 bytes are put into a directory until there is no room in its index, or there are `most`. Answers with how many
/// there are, and what the last one said.
fn fill_index(judge: &Judge, image: &Path, most: usize) -> (usize, Option<String>) {
    judge.fill_image(image, "rw", &["many"]);
    let open = || Ext4Writer::open(disk(image), TIME).expect("it is opened for changes");
    let mut changes = open();
    let folder = changes.files().resolve(b"hundreds", false).unwrap().expect("the folder").number;
    let name = |count: usize| format!("{count:0>200}");
    let mut count = 0;
    let mut refused = None;
    while count < most && refused.is_none() {
        match changes.create(folder, name(count).as_bytes(), &NewInode::File(0o644)) {
            Ok(_) => count += 1,
            Err(error) => refused = Some(format!("{error:?}")),
        }
        if refused.is_none() && count % 10_000 == 0 {
            changes.commit().unwrap();
        }
    }
    // What failed half-way is not written.
    assert_eq!(changes.commit().is_err(), refused.is_some());
    changes = open();
    let count = count - if refused.is_some() { count % 10_000 } else { 0 };
    for at in (0..count).step_by(97) {
        let path = format!("hundreds/{}", name(at));
        assert!(changes.files().resolve(path.as_bytes(), false).unwrap().is_some(), "{path}");
    }
    assert_eq!(changes.files().check().unwrap(), []);
    assert_clean(image, &format!("{count} names, {refused:?}"));
    judge.compare(image);
    say(count, "names in an index");
    (count, refused)
}

#[test]
fn ext4_an_index_grows_until_it_is_full() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let image = dir.path().join("image");
    let small = ["-t", "ext4", "-b", "1024", "-N", "120000"];
    judge.make(&image, "300M", &small);
    let (count, refused) = fill_index(&judge, &image, 90_000);
    let refused = refused.expect("it was full");
    assert!(count >= 20_000 && refused.contains("the index of the directory is full"), "{count}: {refused}");
    judge.make(&image, "300M", &[&small[..], &["-O", "large_dir"]].concat());
    assert_eq!(fill_index(&judge, &image, count + 20_000), (count + 20_000, None));
}

#[test]
fn ext4_without_extents_or_checksums_and_what_was_before_it_is_changed() {
    let bare = "^has_journal,^flex_bg,^dir_nlink,^extra_isize,^huge_file,^filetype,^dir_index,^metadata_csum";
    filled_by_kernel(
        &[
            ("200M", &["-t", "ext4", "-O", "^extent,^64bit", "-b", "4096"]),
            ("200M", &["-t", "ext4", "-O", "^metadata_csum,^64bit,uninit_bg", "-b", "4096"]),
            ("200M", &["-t", "ext4", "-O", bare]),
            ("200M", &["-t", "ext3", "-b", "1024"]),
            ("200M", &["-t", "ext2", "-b", "1024", "-I", "128"]),
            ("100M", &["-t", "ext2", "-r", "0", "-O", "none", "-b", "1024"]),
        ],
        &SOME,
        9,
    );
}

#[test]
fn ext4_with_content_in_inodes_is_changed() {
    let features = "inline_data,ea_inode";
    filled_by_kernel(
        &[
            ("300M", &["-t", "ext4", "-O", features, "-b", "4096"]),
            ("200M", &["-t", "ext4", "-O", features, "-b", "1024", "-I", "512"]),
            ("200M", &["-t", "ext4", "-O", "inline_data,^metadata_csum,^64bit"]),
        ],
        &SOME,
        9,
    );
}

#[test]
fn ext4_with_groups_laid_out_otherwise_is_changed() {
    let meta = ["-O", "meta_bg,^resize_inode", "-b", "1024", "-g", "512"];
    let clusters = ["-O", "bigalloc,meta_bg,^resize_inode", "-b", "1024", "-C", "8192", "-g", "4096"];
    filled_by_kernel(
        &[
            ("300M", &["-t", "ext4", "-O", "bigalloc", "-C", "65536", "-b", "4096"]),
            ("200M", &[&["-t", "ext4"], &meta[..]].concat()),
            ("200M", &[&["-t", "ext4"], &clusters[..]].concat()),
            ("200M", &["-t", "ext4", "-O", "sparse_super2,^resize_inode", "-b", "4096", "-g", "2048"]),
            ("200M", &["-t", "ext4", "-O", "^flex_bg,^resize_inode", "-g", "1024", "-N", "20000"]),
        ],
        &SOME,
        9,
    );
}

#[test]
fn ext4_that_mke2fs_filled_is_changed() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let (image, source) = (dir.path().join("image"), dir.path().join("source"));
    std::fs::create_dir(&source).unwrap();
    judge.fill(&source, &["kinds"]);
    for name in ["kinds/socket", "kinds/link-4000", "kinds/link-1023"] {
        std::fs::remove_file(source.join(name)).unwrap();
    }
    for words in [
        &["-t", "ext4", "-b", "16384", "-O", "inline_data"][..],
        &["-t", "ext4", "-b", "65536"],
        &["-t", "ext4", "-b", "65536", "-O", "^metadata_csum"],
        &["-t", "ext4", "-O", "quota,project", "-E", "quotatype=usrquota:grpquota:prjquota"],
        &["-t", "ext4", "-b", "1024", "-O", "casefold", "-E", "encoding=utf8"],
    ] {
        let from = ["-d", source.to_str().expect("UTF-8")];
        judge.make(&image, "400M", &[words, &from].concat());
        // mke2fs does not count for quotas what it puts in.
        let image_name = image.to_str().expect("UTF-8");
        assert!(peer("e2fsck").expect("e2fsck").run(["-fy", image_name]).code <= 1);
        let count = rounds(&judge, &image, 9, false);
        say(count, &format!("changes: {}", words.join(" ")));
        assert!(count > 100, "{count}: {words:?}");
    }
}

#[test]
fn ext4_changed_twice_the_same_way_has_the_same_bytes() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
    judge.make(&one, "64M", &["-t", "ext4", "-b", "4096"]);
    judge.fill_image(&one, "rw", &["kinds", "attributes"]);
    std::fs::copy(&one, &other).unwrap();
    for image in [&one, &other] {
        change(image, 7, 9);
        scrub_ext4(&disk(image)).unwrap();
    }
    assert!(std::fs::read(&one).unwrap() == std::fs::read(&other).unwrap());
    // And one in which nothing is changed stays as it is.
    Ext4Writer::open(disk(&other), TIME).unwrap().commit().unwrap();
    assert!(std::fs::read(&one).unwrap() == std::fs::read(&other).unwrap());
}

#[test]
fn ext4_with_a_waiting_journal_and_orphans_is_changed_as_after_a_mount() {
    let Some(judge) = Judge::find() else { return };
    for features in ["^orphan_file", "orphan_file"] {
        let dir = folder();
        let (image, copy) = (dir.path().join("image"), dir.path().join("copy"));
        judge.make(&image, "64M", &["-t", "ext4", "-b", "1024", "-O", features]);
        // Removed while it is open, and still in the journal alone.
        let script = "import os,sys,subprocess\nos.chdir(sys.argv[1])\n\
                      f=open('open','wb'); f.write(b'x'*700000); f.flush(); os.fsync(f.fileno()); os.unlink('open')\n\
                      for i in range(300): open(f'n{i}','w').write('kept')\n\
                      os.sync(); subprocess.run(['cp', sys.argv[2], sys.argv[3]], check=True)\n";
        let script_path = dir.path().join("script.py");
        std::fs::write(&script_path, script).unwrap();
        let run = format!("python3 {} $M {} {}", script_path.display(), image.display(), copy.display());
        judge.with_mount(&image, "rw,data=journal", &run);
        let dirty = Ext4::open(disk(&copy) as Arc<dyn BlockRead>).unwrap();
        assert!(dirty.replayed().is_some_and(|replayed| replayed.blocks > 10), "{:?}", dirty.replayed());
        let mut changes = Ext4Writer::open(disk(&copy), TIME).unwrap();
        assert_eq!(changes.files().check().unwrap(), []);
        let root = changes.files().root().unwrap().number;
        changes.remove(root, b"n7").unwrap();
        // Nothing is written before.
        let untouched = Ext4::open(disk(&copy) as Arc<dyn BlockRead>).unwrap();
        assert!(untouched.resolve(b"n7", false).unwrap().is_some());
        changes.commit().unwrap();
        assert_clean(&copy, features);
        scrub_ext4(&disk(&copy)).unwrap();
        assert_clean(&copy, features);
        assert_eq!(ours(&copy).len(), 301, "the root, lost+found and 299 files");
        judge.compare(&copy);
    }
}

#[test]
fn ext4_encrypted_files_are_removed_by_the_names_that_are_shown_without_the_key() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let image = dir.path().join("image");
    judge.make(&image, "100M", &["-t", "ext4", "-b", "1024", "-O", "encrypt"]);
    judge.fill_image(&image, "rw,test_dummy_encryption", &["encrypted"]);
    let before = ours(&image);
    let mut changes = Ext4Writer::open(disk(&image), TIME).unwrap();
    let root = changes.files().root().unwrap();
    let steps: Vec<WalkEntry> = changes.files().walk(root).collect::<Result<_, _>>().unwrap();
    let mut gone = BTreeSet::new();
    for (index, step) in steps.iter().enumerate().filter(|(_, step)| step.kind != NodeKind::Directory) {
        let (folder, name) = parts(&step.path);
        let folder = changes.files().resolve(folder, false).unwrap().expect("its folder");
        if !folder.is_encrypted() {
            continue;
        }
        match index % 3 {
            0 => {
                changes.remove(folder.number, name).unwrap();
                gone.insert(text(&step.path));
            }
            // Neither can be encrypted here, and nothing is half done.
            1 => {
                assert!(changes.create(folder.number, b"new", &NewInode::File(0o644)).is_err());
                if step.kind == NodeKind::File {
                    assert!(changes.write(step.inode, b"content").is_err());
                }
            }
            _ => {}
        }
    }
    changes.commit().unwrap();
    assert_eq!(changes.files().check().unwrap(), []);
    assert_clean(&image, "removed");
    scrub_ext4(&disk(&image)).unwrap();
    assert_clean(&image, "wiped");
    let after = ours(&image);
    say(gone.len(), "encrypted files removed");
    assert!(gone.len() > 100, "{}", gone.len());
    for path in before.keys() {
        assert_eq!(after.contains_key(path), !gone.contains(path), "{path}");
    }
    let theirs = judge.tell_image(&image, "ro");
    assert_eq!(theirs.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
}
