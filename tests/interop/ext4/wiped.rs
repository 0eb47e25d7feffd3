//! Secrets planted where no file is: in every kind of place that a filesystem has for bytes that nobody reads. None is left.
//!
//! They are written past all programs, into filesystems without checksums of metadata: so each lies just where its row says.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use image_core::block::{BlockWrite, FileDisk};
use image_core::fs::scrub_ext4;

use super::changed::assert_clean;
use super::witness::{Judge, ours, say};
use crate::support::folder;

/// What a secret looks like; the number is its row's.
fn secret(row: usize) -> String {
    format!("SECRET-{row:03}-KEY")
}

/// The living files.
const FILL: &str = r#"
import os, socket, sys, subprocess
top = sys.argv[1]
os.chdir(top)
B = os.statvfs(top).f_bsize
open('tail','wb').write(b'x' * 100)
open('plain','wb').write(b'x' * B * 3)
os.symlink('short', 'fast'); os.symlink('l' * 100, 'slow')
os.mknod('device', 0o020644, os.makedev(1, 3)); os.mkfifo('pipe')
s = socket.socket(socket.AF_UNIX); s.bind('socket')
open('inside','wb').write(b'x'); os.setxattr('inside', 'user.a', b'v')
open('attributes','wb').write(b'x'); os.setxattr('attributes', 'user.a', b'v' * 700)
os.mkdir('folder'); open('folder/name','wb').write(b'')
os.mkdir('many')
for i in range(1500): open('many/%d-%s' % (i, 'n' * 40),'wb').write(b'')
f = open('pieces','wb')
for i in range(0, 40, 2): os.pwrite(f.fileno(), b'x', i * B)
f.close()
subprocess.run(['fallocate', '-l', str(B * 9), 'unwritten'])
open('beyond','wb').write(b'short')
subprocess.run(['fallocate', '--keep-size', '-l', str(B * 9), 'beyond'])
"#;

/// An image, and where things are in it, as debugfs tells.
struct Places<'a> {
    judge: &'a Judge,
    image: &'a Path,
    block_size: u64,
}

impl Places<'_> {
    fn ask(&self, request: &str) -> String {
        self.judge.debugfs.must(["-R", request, self.image.to_str().expect("UTF-8")])
    }

    /// Block `index` of a file, in bytes.
    fn block(&self, file: &str, index: usize) -> u64 {
        let said = self.ask(&format!("blocks {file}"));
        let number: u64 = said.split_whitespace().nth(index).expect("a block").parse().expect("a number");
        number * self.block_size
    }

    fn inode(&self, file: &str) -> u64 {
        let said = self.ask(&format!("imap {file}"));
        let number = |after: &str| {
            let rest = said.split(after).nth(1).expect("it is told").trim_start();
            let digits: &str =
                rest.split(|letter: char| !letter.is_ascii_hexdigit() && letter != 'x').next().unwrap();
            match digits.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16),
                None => digits.parse(),
            }
            .expect("a number")
        };
        number("located at block") * self.block_size + number("offset")
    }

    /// A free inode, counted from the last one.
    fn free_inode(&self, index: usize) -> u64 {
        let is_free = |number: &u32| self.ask(&format!("testi <{number}>")).contains("not in use");
        let number = (1..4097).rev().step_by(5).filter(is_free).nth(index).expect("a free inode");
        self.inode(&format!("<{number}>"))
    }

    /// The number behind `word` in what is told of a file, as a block.
    fn told(&self, file: &str, word: &str) -> u64 {
        let said = self.ask(&format!("stat {file}"));
        let rest = said.split(word).nth(1).unwrap_or_else(|| panic!("{word} is not in {said}"));
        let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().expect("a number") * self.block_size
    }

    /// A free block behind block `from`.
    fn free(&self, from: u64) -> u64 {
        let said = self.ask(&format!("ffb 1 {from}"));
        let number = said.split(':').nth(1).expect("a block").trim();
        number.parse::<u64>().expect("a number") * self.block_size
    }
}

/// What a filesystem must have for a place to be in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Journal,
    Extents,
    LargeInodes,
    LargeBlocks,
    LargeBlocksAndJournal,
}

type Place = (&'static str, Needs, fn(&Places<'_>) -> u64);

/// Every place, in bytes.
const PLACES: &[Place] = &[
    ("the tail of a file's last block", Needs::Nothing, |of| of.block("/tail", 0) + 100),
    ("the end of that block", Needs::Nothing, |of| of.block("/tail", 0) + of.block_size - 20),
    ("the block of a link's target, behind it", Needs::Nothing, |of| of.block("/slow", 0) + 101),
    ("a fast target, behind it", Needs::Nothing, |of| of.inode("/fast") + 0x28 + 6),
    ("where a device would have blocks", Needs::Nothing, |of| of.inode("/device") + 0x28 + 10),
    ("where a pipe would have blocks", Needs::Nothing, |of| of.inode("/pipe") + 0x28),
    ("where a socket would have blocks", Needs::Nothing, |of| of.inode("/socket") + 0x28 + 20),
    ("a directory, behind its last name", Needs::Nothing, |of| of.block("/folder", 0) + 24 + 12),
    ("the end of a directory's block", Needs::Nothing, |of| of.block("/folder", 0) + of.block_size - 40),
    ("an entry of no inode", Needs::Nothing, |of| of.block("/lost+found", 1) + 8),
    ("the end of an index", Needs::Nothing, |of| of.block("/many", 0) + of.block_size - 40),
    ("attributes, between names and values", Needs::Nothing, |of| {
        of.told("/attributes", "File ACL:") + 32 + 32
    }),
    ("a free block", Needs::Nothing, |of| of.free(1500)),
    ("the end of a free block of the last group", Needs::Nothing, |of| of.free(12_000) + of.block_size - 20),
    ("a free inode's mode and owner", Needs::Nothing, |of| of.free_inode(0)),
    ("a free inode's map", Needs::Nothing, |of| of.free_inode(1) + 0x28),
    ("the end of a free inode", Needs::Nothing, |of| of.free_inode(2) + 100),
    ("the journal's first block", Needs::Journal, |of| of.block("<8>", 1)),
    ("the journal's last block", Needs::Journal, |of| of.block("<8>", 1000) + of.block_size - 20),
    ("a block behind a file's end", Needs::Extents, |of| of.block("/beyond", 3) + 7),
    ("the tail before that", Needs::Extents, |of| of.block("/beyond", 0) + 5),
    ("an inode's extents, behind them", Needs::Extents, |of| of.inode("/tail") + 0x28 + 24),
    ("the same, at their end", Needs::Extents, |of| of.inode("/plain") + 0x28 + 40),
    ("a block of extents, behind them", Needs::Extents, |of| of.told("/pieces", "(ETB0):") + 12 + 12 * 25),
    ("blocks that were never written", Needs::Extents, |of| of.block("/unwritten", 4) + 9),
    ("an inode without attributes, behind its fields", Needs::LargeInodes, |of| of.inode("/tail") + 168),
    ("attributes in an inode, before the values", Needs::LargeInodes, |of| of.inode("/inside") + 160 + 32),
    ("the end of an inode without attributes", Needs::LargeInodes, |of| of.inode("/plain") + 256 - 20),
    ("a free inode's attributes", Needs::LargeInodes, |of| of.free_inode(3) + 160),
    ("the first block, behind the superblock", Needs::LargeBlocks, |_| 2048 + 100),
    ("a copy of the superblock, behind it", Needs::LargeBlocks, |of| 8192 * of.block_size + 1024 + 100),
    ("the journal's superblock, behind it", Needs::LargeBlocksAndJournal, |of| of.block("<8>", 0) + 1500),
];

fn count(bytes: &[u8], row: usize) -> usize {
    let wanted = secret(row);
    bytes.windows(wanted.len()).filter(|window| *window == wanted.as_bytes()).count()
}

#[test]
fn ext4_has_no_place_where_a_secret_stays() {
    let Some(judge) = Judge::find() else { return };
    let mut kinds = 0;
    for (words, block_size, size) in [
        ("-t ext4 -b 4096 -O ^metadata_csum,^64bit,uninit_bg,^has_journal -I 256", 4096, "64M"),
        ("-t ext4 -b 4096 -O ^metadata_csum,^64bit,^resize_inode -I 256", 4096, "64M"),
        ("-t ext4 -b 1024 -O ^metadata_csum,^64bit -I 128", 1024, "32M"),
        ("-t ext3 -b 1024 -I 128", 1024, "32M"),
    ] {
        let dir = folder();
        let image = dir.path().join("image");
        let list: Vec<&str> = words.split(' ').chain(["-N", "4096", "-g", "8192"]).collect();
        judge.make(&image, size, &list);
        let script = dir.path().join("fill.py");
        fs::write(&script, FILL).unwrap();
        judge.with_mount(&image, "rw", &format!("python3 {} $M 2>/dev/null", script.display()));
        let of = Places { judge: &judge, image: &image, block_size };
        let has_journal = !words.contains("^has_journal");
        let is_large = block_size > 1024;
        let rows: Vec<(&str, u64)> = PLACES
            .iter()
            .filter(|(_, needs, _)| match needs {
                Needs::Nothing => true,
                Needs::Journal => has_journal,
                Needs::Extents => words.contains("ext4"),
                Needs::LargeInodes => words.contains("-I 256"),
                Needs::LargeBlocks => is_large,
                Needs::LargeBlocksAndJournal => is_large && has_journal,
            })
            .map(|(name, _, place)| (*name, place(&of)))
            .collect();
        wipe(&image, &rows, words);
        kinds += rows.len();
    }
    say(kinds, "planted secrets are gone");
    assert!(kinds >= 87, "{kinds}");
}

/// Plants a secret in each of these places of `image`, and has them wiped.
fn wipe(image: &Path, rows: &[(&str, u64)], words: &str) {
    let before = ours(image);
    let file = fs::File::options().write(true).open(image).unwrap();
    for (row, (_, at)) in rows.iter().enumerate() {
        file.write_all_at(secret(row).as_bytes(), *at).unwrap();
    }
    let planted = fs::read(image).unwrap();
    for (row, (name, _)) in rows.iter().enumerate() {
        assert_eq!(count(&planted, row), 1, "{name}: {words}");
    }
    assert_eq!(before, ours(image), "a secret was planted where something is: {words}");
    let disk: Arc<dyn BlockWrite> = Arc::new(FileDisk::open_writable(image).unwrap());
    let wiped = scrub_ext4(&disk).unwrap();
    assert!(wiped >= (rows.len() * secret(0).len()) as u64, "{wiped}");
    let bytes = fs::read(image).unwrap();
    let is_left = |row: &usize| count(&bytes, *row) > 0;
    let left: Vec<&str> = (0..rows.len()).filter(is_left).map(|row| rows[row].0).collect();
    assert_eq!(left, Vec::<&str>::new(), "{words}");
    assert_clean(image, "wiped");
    assert_eq!(before, ours(image));
}
