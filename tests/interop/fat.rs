//! Files of FATs changed by our code: made by mkfs.fat, filled by mtools, and held against a model, mtools and fsck.fat.
//!
//! ```text
//! mkfs.fat, mtools ─► volume ─► random rows of operations ─┬─► our reader ──┐
//!                                  └─► the same on a model ├─► mtools ──────┼─► the same names and the same content
//!                                                          └─► fsck.fat: nothing to say
//! ```
//!
//! The kernel has no say: most that tests run on have no `vfat`.

mod edited;
mod killed;
mod model;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite, FileDisk};
use image_core::fs::{Fat, FatWriter, Filesystem, NodeKind};

use super::ext4::say;
use crate::support::folder;
use crate::support::peer::{Peer, peer};
use crate::support::random::Random;
use model::{Act, Model, TIME, act, any};

/// Every file with its content, and every directory, by path.
pub(super) type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// Programs that make FATs and judge them.
pub(super) struct Judge {
    mkfs: Peer,
    fsck: Peer,
    mcopy: Peer,
    mmd: Peer,
}

impl Judge {
    pub(super) fn find() -> Option<Self> {
        Some(Self {
            mkfs: peer("mkfs.fat")?,
            fsck: peer("fsck.fat")?,
            mcopy: peer("mcopy")?,
            mmd: peer("mmd")?,
        })
    }

    /// Makes a FAT of `size` bytes with these words, and fills it with what an ESP has, and with many names.
    pub(super) fn make(&self, image: &Path, size: u64, words: &[&str]) {
        let path = image.to_str().expect("UTF-8");
        let _ = std::fs::remove_file(image);
        std::fs::File::create(image).expect("an image").set_len(size).expect("its size");
        self.mkfs.must(words.iter().copied().chain(["-n", "ESP", "-i", "12345678", path]));
        match is_small(&std::fs::read(image).expect("an image")) {
            true => fill(image),
            false => self.fill(image),
        }
        self.assert_clean(image, "as it was filled");
    }

    fn fill(&self, image: &Path) {
        let path = image.to_str().expect("UTF-8");
        let source = folder();
        for (name, content) in filling() {
            let at = source.path().join(&name);
            std::fs::create_dir_all(at.parent().expect("a folder")).expect("a folder");
            std::fs::write(at, content).expect("a file");
        }
        let mut tops: Vec<_> =
            std::fs::read_dir(source.path()).expect("a folder").flatten().map(|own| own.path()).collect();
        tops.sort();
        for top in tops {
            let words = ["-s", "-m", "-i", path, top.to_str().expect("UTF-8"), "::/"];
            self.mtool(&self.mcopy, &words);
        }
        self.mtool(&self.mmd, &["-i", path, "::/EMPTY"]);
    }

    fn mtool(&self, tool: &Peer, words: &[&str]) {
        let run =
            tool.command(words).env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("MTOOLS_SKIP_CHECK", "1").run();
        assert_eq!(run.code, 0, "{}", run.snapshot());
    }

    /// fsck.fat must find nothing.
    pub(super) fn assert_clean(&self, image: &Path, when: &str) {
        let outcome =
            self.fsck.command(["-n", image.to_str().expect("UTF-8")]).env("LC_ALL", "C.UTF-8").run();
        assert_eq!(outcome.code, 0, "{when}: {}", outcome.snapshot());
        let said = outcome.stdout.lines().count();
        assert!(said == 2, "{when}: {}", outcome.snapshot());
    }

    /// fsck.fat must find nothing but what a commit that was stopped may leave.
    pub(super) fn assert_only_lost(&self, image: &Path, when: &str) {
        let outcome =
            self.fsck.command(["-n", image.to_str().expect("UTF-8")]).env("LC_ALL", "C.UTF-8").run();
        let known = [
            "fsck.fat ",
            "Reclaimed ",
            "FATs differ but appear to be intact.",
            "  Using first FAT.",
            "Free cluster summary uninitialized",
            "  Setting it to ",
            "Leaving filesystem unchanged.",
            "There are differences between boot sector and its backup.",
            "This is mostly harmless. Differences: (offset:original/backup)",
            "  44:",
            "  Not automatically fixing this.",
            "*** Filesystem was changed ***",
            "The changes have not yet been written, you can still choose to leave the",
        ];
        for line in outcome.stdout.lines().filter(|line| !line.is_empty()) {
            let is_summary = line.contains(" files, ") && line.ends_with(" clusters");
            assert!(
                is_summary || known.iter().any(|own| line.starts_with(own)),
                "{when}: {}",
                outcome.snapshot()
            );
        }
    }

    /// What mtools reads of it.
    pub(super) fn theirs(&self, image: &Path) -> Tree {
        let target = folder();
        let words =
            ["-s", "-n", "-i", image.to_str().expect("UTF-8"), "::/", target.path().to_str().expect("UTF-8")];
        self.mtool(&self.mcopy, &words);
        let mut tree = Tree::new();
        walk(target.path(), "", &mut tree);
        tree
    }
}

fn walk(folder: &Path, path: &str, tree: &mut Tree) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let name = entry.file_name().into_string().expect("UTF-8");
        let inner = if path.is_empty() { name } else { format!("{path}/{name}") };
        match entry.path().is_dir() {
            true => {
                walk(&entry.path(), &inner, tree);
                tree.insert(inner, None);
            }
            false => drop(tree.insert(inner, Some(std::fs::read(entry.path()).expect("a file")))),
        }
    }
}

/// What our reader tells of it.
pub(super) fn ours(image: Arc<dyn BlockRead>) -> image_core::Result<Tree> {
    tree_of(&Fat::open(image)?)
}

/// What is in `fat`.
fn tree_of(fat: &Fat) -> image_core::Result<Tree> {
    let mut tree = Tree::new();
    let mut todo = vec![(String::new(), fat.root()?)];
    while let Some((path, node)) = todo.pop() {
        for entry in fat.entries(&node) {
            let entry = entry?;
            let name = String::from_utf8(entry.name).expect("UTF-8");
            let inner = if path.is_empty() { name } else { format!("{path}/{name}") };
            let own = fat.node(entry.id)?;
            if own.kind == NodeKind::Directory {
                tree.insert(inner.clone(), None);
                todo.push((inner, own));
                continue;
            }
            let content = fat.content(&own)?;
            let mut bytes = vec![0; content.size() as usize];
            content.read_at(&mut bytes, 0)?;
            tree.insert(inner, Some(bytes));
        }
    }
    Ok(tree)
}

pub(super) fn disk(image: &Path) -> Arc<dyn BlockWrite> {
    Arc::new(FileDisk::open_writable(image).expect("the image"))
}

/// Names and contents of the files that a volume has at the beginning.
fn filling() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = [
        ("EFI/BOOT/BOOTX64.EFI", 9000),
        ("EFI/BOOT/grubx64.efi", 20_000),
        ("EFI/debian/grub.cfg", 126),
        ("EFI/debian/fonts/unicode.pf2", 3000),
        ("EFI/debian/fonts/more/deep.txt", 5),
        ("loader/loader.conf", 40),
        ("loader/entries/Debian GNU Linux.conf", 300),
        ("Größe und Länge 日本.txt", 1200),
        ("EMPTY.TXT", 0),
    ]
    .iter()
    .map(|(name, len)| ((*name).to_owned(), model::content(name.len(), *len)))
    .collect();
    files.extend((0..30).map(|index| (format!("EFI/many/some longer name {index}.cfg"), vec![index; 10])));
    files
}

/// Whether it is a FAT32 with fewer clusters than one has by Microsoft's own reckoning, which mtools takes for a FAT16.
pub(super) fn is_small(bytes: &[u8]) -> bool {
    let short = |at: usize| u64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let clusters = bytes.len() as u64 / short(0x0b) / u64::from(bytes[0x0d]);
    short(0x16) == 0 && clusters < 66_000
}

/// Fills an image that mtools cannot fill.
fn fill(image: &Path) {
    let mut files = FatWriter::open(disk(image), TIME).expect("a FAT");
    for (name, bytes) in filling() {
        for (at, _) in name.match_indices('/') {
            let _ = act(&mut files, &Act::Directory(name[..at].to_owned()));
        }
        act(&mut files, &Act::Make(name.clone())).expect("a file");
        act(&mut files, &Act::Replace { path: name, bytes }).expect("its content");
    }
    act(&mut files, &Act::Directory("EMPTY".to_owned())).expect("a folder");
    files.commit().expect("a commit");
}

/// What FSInfo of a FAT32 says must be so.
fn assert_info(image: &Path, when: &str) {
    let bytes = std::fs::read(image).expect("an image");
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let short = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    if short(0x16) != 0 {
        return;
    }
    let (sector, info, backup) = (short(0x0b), short(0x30) * short(0x0b), short(0x32) * short(0x0b));
    let free = Fat::open(disk(image)).expect("a FAT").usage().expect("its usage").free;
    let cluster = (sector * usize::from(bytes[0x0d])) as u64;
    assert_eq!(u64::from(number(info + 488)), free / cluster, "{when}: FSInfo");
    assert!(number(info + 492) >= 2, "{when}");
    assert_eq!(bytes[..90], bytes[backup..backup + 90], "{when}: the copy of the boot sector");
}

/// Makes random changes to an image, in several rounds, and judges each.
fn rounds(words: &[&str], size: u64, seed: u64) {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let image = dir.path().join("image");
    judge.make(&image, size, words);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut model = Model::of(ours(disk(&image)).expect("a tree"));
    let mut count = 0;
    for round in 0..8 {
        let when = format!("{} round {round}", words.join(" "));
        let mut files = FatWriter::open(disk(&image), TIME).expect("a FAT");
        for _ in 0..[60, 3, 25, 1][round % 4] {
            let what = any(&mut random, &model, "");
            let done = act(&mut files, &what);
            model.hold(&what, &done);
            count += usize::from(done.is_ok());
            assert!(
                !matches!(&done, Err(error) if error.kind() == image_core::ErrorKind::Corrupt),
                "{when}: {done:?}"
            );
        }
        // They are seen before they are written.
        let seen = tree_of(files.files()).expect("a tree");
        assert_same(&seen, &model.tree, &format!("{when}, in memory"));
        files.commit().expect("a commit");
        let seen = tree_of(files.files()).expect("a tree");
        assert_same(&seen, &model.tree, &format!("{when}, after the commit"));
        drop(files);
        assert_same(&ours(disk(&image)).expect("a tree"), &model.tree, &when);
        judge.assert_clean(&image, &when);
        if !is_small(&std::fs::read(&image).expect("an image")) {
            assert_same(&judge.theirs(&image), &model.tree, &format!("{when}, mtools"));
        }
        assert_info(&image, &when);
    }
    say(count, &format!("changes of a FAT: {}", words.join(" ")));
    assert!(count > 80, "{count}");
}

pub(super) fn assert_same(found: &Tree, expected: &Tree, when: &str) {
    let differs = |path: &&String| found.get(*path) != expected.get(*path);
    let paths: Vec<&String> = found.keys().chain(expected.keys()).filter(differs).collect();
    assert!(paths.is_empty(), "{when}: {paths:?}");
}

#[test]
fn fat12_is_changed_as_a_model_tells() {
    rounds(&["-F", "12", "-s", "1"], 1_474_560, 1);
    rounds(&["-F", "12", "-s", "4", "-r", "224"], 4 << 20, 2);
}

#[test]
fn fat16_is_changed_as_a_model_tells() {
    rounds(&["-F", "16", "-s", "1"], 6 << 20, 3);
    rounds(&["-F", "16", "-s", "8"], 40 << 20, 4);
    rounds(&["-F", "16", "-S", "4096", "-s", "1"], 32 << 20, 5);
}

#[test]
fn fat32_is_changed_as_a_model_tells() {
    rounds(&["-F", "32", "-s", "1"], 40 << 20, 6);
    rounds(&["-F", "32", "-s", "8"], 20 << 20, 7);
    rounds(&["-F", "32", "-S", "4096", "-s", "1"], 33 << 20, 8);
    rounds(&["-F", "32", "-s", "1", "-f", "1"], 4 << 20, 9);
}

#[test]
#[ignore = "make test-filesystems runs it: it takes minutes"]
fn fats_of_all_kinds_are_changed_as_a_model_tells() {
    let kinds: [(&[&str], u64); 8] = [
        (&["-F", "12", "-s", "1", "-r", "512"], 1_474_560),
        (&["-F", "12", "-s", "2", "-f", "1"], 3 << 20),
        (&["-F", "12", "-S", "2048", "-s", "1", "-r", "512"], 6 << 20),
        (&["-F", "16", "-s", "1", "-r", "1024"], 9 << 20),
        (&["-F", "16", "-s", "64"], 160 << 20),
        (&["-F", "32", "-s", "1"], 3 << 20),
        (&["-F", "32", "-s", "2"], 5 << 20),
        (&["-F", "32", "-S", "1024", "-s", "16"], 70 << 20),
    ];
    for (seed, (words, size)) in (100..).zip(kinds.iter().cycle().take(64)) {
        rounds(words, *size, seed);
    }
}

/// What the last to write left half done is seen before, and a mark that says so stays.
#[test]
fn a_fat_that_is_marked_as_in_use_is_changed_and_stays_marked() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let image = dir.path().join("image");
    judge.make(&image, 4 << 20, &["-F", "32", "-s", "1"]);
    let table = {
        let bytes = std::fs::read(&image).expect("an image");
        usize::from(u16::from_le_bytes([bytes[0x0e], bytes[0x0f]])) * 512
    };
    let marked = |bytes: &[u8]| (bytes[0x41] & 1, bytes[table + 7] & 0x08);
    let mut bytes = std::fs::read(&image).expect("an image");
    assert_eq!(marked(&bytes), (0, 0x08));
    bytes[0x41] |= 1;
    bytes[table + 7] &= !0x08;
    std::fs::write(&image, &bytes).expect("room");
    let mut files = FatWriter::open(disk(&image), TIME).expect("a FAT");
    act(&mut files, &Act::Make("EFI/new".into())).expect("a file");
    for index in 0..40 {
        act(&mut files, &Act::Make(format!("so many that the root directory moves {index}")))
            .expect("a file");
    }
    files.commit().expect("a commit");
    let after = std::fs::read(&image).expect("an image");
    assert_eq!(marked(&after), (1, 0));
    assert_ne!(after[0x2c..0x30], bytes[0x2c..0x30], "the root directory moved");
    assert_eq!(
        ours(disk(&image)).expect("a tree").keys().filter(|path| path.starts_with("so many")).count(),
        40
    );
}
