//! Damaged filesystems: whatever is done to one, reading all of it ends, in an error or not, and never in a panic.
//!
//! Most damage is followed by new checksums, which would keep it from being looked at.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use image_core::block::{BlockRead, ByteRange, ExtentKind};
use image_core::fs::{Btrfs, SubvolumeChoice};
use image_core::fs::{Filesystem, Node, NodeKind};
use image_core::{Error, Result};

/// Damaged copies of each filesystem.
const ROUNDS: u64 = 1_500;
/// How many nodes are looked at, and how much of each file.
const NODES: usize = 5_000;
const READ: u64 = 1 << 20;
const SUPERBLOCK: usize = 64 << 10;
const NUMBERS: [u32; 12] =
    [0, 1, 2, 5, 255, 256, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit.max(1)
    }
}

/// An image of which some blocks are others.
struct Patched {
    base: Arc<Vec<u8>>,
    patches: Vec<(usize, Vec<u8>)>,
    size: usize,
}

impl BlockRead for Patched {
    fn size(&self) -> u64 {
        self.size as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        ByteRange::new(offset, buf.len() as u64)?.check_within(self.size())?;
        let start = offset as usize;
        let end = start + buf.len();
        buf.copy_from_slice(&self.base[start..end]);
        for (at, bytes) in &self.patches {
            let (from, to) = ((*at).max(start), (at + bytes.len()).min(end));
            if from < to {
                buf[from - start..to - start].copy_from_slice(&bytes[from - at..to - at]);
            }
        }
        Ok(())
    }
}

/// An image of which it is told what is read like tree blocks.
struct Watched {
    patched: Patched,
    node_size: usize,
    seen: Arc<Mutex<HashSet<usize>>>,
}

impl BlockRead for Watched {
    fn size(&self) -> u64 {
        self.patched.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.patched.read_at(buf, offset)?;
        let is_tree_block = buf.len() == self.node_size && buf[48..52] != [0; 4] && buf[100] < 8;
        if is_tree_block && buf[32..48] == self.patched.base[SUPERBLOCK + 0x20..SUPERBLOCK + 0x30] {
            self.seen.lock().unwrap().insert(offset as usize);
        }
        Ok(())
    }
}

/// A filesystem, and where its tree blocks are.
struct Image {
    bytes: Arc<Vec<u8>>,
    node_size: usize,
    /// Old ones, too, and second copies.
    tree_blocks: Vec<usize>,
    in_use: Vec<usize>,
}

fn image(name: &str) -> Image {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/btrfs").join(name);
    let mut decoder = zstd::stream::read::Decoder::new(std::fs::File::open(path).unwrap()).unwrap();
    decoder.window_log_max(28).unwrap();
    let mut bytes = Vec::new();
    decoder.read_to_end(&mut bytes).unwrap();
    let superblock = &bytes[SUPERBLOCK..SUPERBLOCK + 4096];
    let node_size = u32::from_le_bytes(superblock[0x94..0x98].try_into().unwrap()) as usize;
    let uuid = superblock[0x20..0x30].to_vec();
    let is_tree_block = |at: &usize| {
        bytes[at + 32..at + 48] == uuid && bytes[at + 0x40..at + 0x48] != *b"_BHRfS_M" && bytes[at + 100] < 8
    };
    let tree_blocks = (0..bytes.len() - node_size + 1).step_by(4096).filter(is_tree_block).collect();
    let bytes = Arc::new(bytes);
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let (base, size) = (Arc::clone(&bytes), bytes.len());
    let patched = Patched { base, patches: Vec::new(), size };
    let disk: Arc<dyn BlockRead> = Arc::new(Watched { patched, node_size, seen: Arc::clone(&seen) });
    assert_eq!(look(disk), (true, false), "{name} itself");
    let mut in_use: Vec<usize> = seen.lock().unwrap().iter().copied().collect();
    in_use.sort_unstable();
    Image { bytes, node_size, tree_blocks, in_use }
}

fn set_checksum(block: &mut [u8]) {
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&block[32..]);
    block[..4].copy_from_slice(&sum.to_le_bytes());
}

/// Damages one place of a block, most often one that is not zero.
fn damage(block: &mut [u8], random: &mut Random) {
    let mut at = 32 + random.below(block.len() - 40);
    for _ in 0..20 {
        if block[at] != 0 {
            break;
        }
        at = 32 + random.below(block.len() - 40);
    }
    // Headers and first keys are small among the rest.
    if random.below(4) == 0 {
        at = 48 + random.below(200);
    }
    match random.below(5) {
        0 => block[at] = random.next() as u8,
        1 => block[at] ^= 1 << random.below(8),
        2 => {
            let from = 32 + random.below(block.len() - 40);
            block.copy_within(from..from + 8, at.min(block.len() - 8));
        }
        3 => block[at..at + 4].copy_from_slice(&NUMBERS[random.below(NUMBERS.len())].to_le_bytes()),
        _ => block[at] = block[at].wrapping_add(1),
    }
}

impl Image {
    fn damaged(&self, random: &mut Random) -> Patched {
        let mut patches: Vec<(usize, Vec<u8>)> = Vec::new();
        for _ in 0..=random.below(4) {
            let (at, len) = match random.below(12) {
                0 => (SUPERBLOCK, 4096),
                1..=9 => (self.in_use[random.below(self.in_use.len())], self.node_size),
                _ => (self.tree_blocks[random.below(self.tree_blocks.len())], self.node_size),
            };
            let known = patches.iter().position(|(known, _)| *known == at);
            let mut block = match known {
                Some(index) => patches.swap_remove(index).1,
                None => self.bytes[at..at + len].to_vec(),
            };
            for _ in 0..=random.below(3) {
                damage(&mut block, random);
            }
            // One in so many stays with the wrong one.
            if random.below(20) != 0 {
                set_checksum(&mut block);
            }
            patches.push((at, block));
        }
        if random.below(4) == 0 {
            let at = random.below(self.bytes.len() - 512);
            patches.push((at, vec![random.next() as u8; 1 + random.below(500)]));
        }
        let is_cut = random.below(20) == 0;
        let size = if is_cut { random.below(self.bytes.len()) } else { self.bytes.len() };
        Patched { base: Arc::clone(&self.bytes), patches, size }
    }
}

fn read(fs: &Btrfs, file: &Node) -> Result<()> {
    let content = fs.content(file)?;
    let extents = content.extents(ByteRange::whole(content.size()))?;
    let mut left = READ;
    for extent in extents.iter().filter(|extent| extent.kind != ExtentKind::Hole) {
        let len = extent.range.len().min(left);
        content.read_at(&mut vec![0; len as usize], extent.range.offset())?;
        left -= len;
    }
    if content.size() > 0 {
        content.read_at(&mut [0], content.size() - 1)?;
    }
    Ok(())
}

/// Looks at all that there is; how many nodes were read without an error, and the first error.
fn walk(fs: &Btrfs) -> (usize, Option<Error>) {
    let mut first = None;
    let mut seen = HashSet::new();
    let mut sound = 0;
    let mut waiting = Vec::new();
    let mut note = |error: Error| {
        assert!(!format!("{error:?}").is_empty());
        first.get_or_insert(error);
    };
    match fs.root() {
        Ok(root) => waiting.push(root.id),
        Err(error) => note(error),
    }
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) || seen.len() > NODES {
            continue;
        }
        let node = match fs.node(id) {
            Ok(node) => node,
            Err(error) => {
                note(error);
                continue;
            }
        };
        let content = match node.kind {
            NodeKind::File => read(fs, &node),
            NodeKind::Link => fs.read_link(&node).map(drop),
            _ => Ok(()),
        };
        let attributes = fs.attributes(&node).map(drop);
        for entry in fs.entries(&node) {
            match entry {
                Ok(entry) => {
                    fs.lookup(&node, &entry.name).map_err(&mut note).ok();
                    waiting.push(entry.id);
                }
                Err(error) => note(error),
            }
        }
        match content.and(attributes) {
            Ok(()) => sound += 1,
            Err(error) => note(error),
        }
    }
    (sound, first)
}

/// Whether it opens, and whether anything was found to be broken.
fn look(disk: Arc<dyn BlockRead>) -> (bool, bool) {
    let started = Instant::now();
    let opened = Btrfs::open(Arc::clone(&disk)).or_else(|_| Btrfs::open_as_committed(disk));
    let found = match opened {
        Ok(fs) => {
            let listed = fs.subvolumes();
            for subvolume in listed.iter().flatten().take(20) {
                if let Ok(other) = fs.open_subvolume(SubvolumeChoice::Id(subvolume.id)) {
                    other.root().ok();
                }
            }
            fs.usage().unwrap();
            (true, walk(&fs).1.is_some() || listed.is_err())
        }
        Err(_) => (false, true),
    };
    assert!(started.elapsed() < Duration::from_secs(20), "it took {:?}", started.elapsed());
    found
}

fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn check(name: &str, seed: u64) {
    let image = image(name);
    let rounds =
        std::env::var("DAMAGED_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let (mut opened, mut broken) = (0, 0);
    for _ in 0..rounds {
        let (is_open, is_broken) = look(Arc::new(image.damaged(&mut random)));
        opened += u64::from(is_open);
        broken += u64::from(is_broken);
    }
    let _ = writeln!(
        std::io::stdout(),
        "{name}: {opened} of {rounds} opened, {broken} found broken, {} MiB",
        peak_memory() >> 20
    );
    assert!(opened > rounds / 4, "{opened} of {rounds} were opened");
    assert!(broken > rounds / 3, "{broken} of {rounds} were found to be broken");
    assert!(peak_memory() < 1 << 30, "{} bytes of memory", peak_memory());
}

#[test]
fn files_of_all_kinds_that_are_damaged_are_read_to_an_end() {
    check("mixed.img.zst", 1);
}

#[test]
fn a_log_that_is_damaged_is_read_to_an_end() {
    check("log.img.zst", 2);
}

/// Its checksums are not set anew: the second copy is read.
#[test]
fn what_is_there_twice_is_read_from_the_other_copy() {
    let image = image("dup.img.zst");
    let mut random = Random(3);
    let places = &image.in_use;
    for _ in 0..100 {
        let at = places[random.below(places.len())];
        let patch = (at + random.below(image.node_size), vec![random.next() as u8 | 1; 1]);
        let size = image.bytes.len();
        let disk = Patched { base: Arc::clone(&image.bytes), patches: vec![patch], size };
        assert_eq!(look(Arc::new(disk)), (true, false), "damage in the tree block at {at:#x}");
    }
}
