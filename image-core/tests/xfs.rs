//! Images with bytes that were changed, or that end early: whatever is read of them, it is an error or a value, and it ends.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use image_core::block::{BlockRead, ByteRange, MemoryDisk};
use image_core::fs::{Filesystem, Node, NodeKind, Xfs};

/// A generator that says the same each time (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below.max(1)
    }
}

/// Reads what there is of one file.
fn look(fs: &Xfs, node: &Node) {
    let _ = fs.attributes(node);
    let _ = fs.lookup(node, b"no such name");
    if node.kind == NodeKind::Link {
        let _ = fs.read_link(node);
    }
    let Ok(content) = fs.content(node) else { return };
    let _ = content.extents(ByteRange::whole(node.size.min(1 << 40)));
    let mut buf = vec![0; 8192];
    for at in [0, node.size / 3, node.size.saturating_sub(8192)] {
        let len = node.size.saturating_sub(at).min(8192) as usize;
        let _ = content.read_at(&mut buf[..len], at);
    }
}

/// Reads all there is, and answers with how many names were met.
fn walk(disk: Vec<u8>) -> usize {
    let Ok(fs) = Xfs::open(Arc::new(MemoryDisk::from_bytes(disk))) else { return 0 };
    let _ = fs.usage();
    let Ok(root) = fs.root() else { return 0 };
    let mut met = 0;
    let mut todo = vec![(root, 0)];
    while let Some((node, depth)) = todo.pop() {
        look(&fs, &node);
        for entry in fs.entries(&node).flatten() {
            met += 1;
            assert!(met < 200_000, "more names than there can be");
            let _ = fs.lookup(&node, &entry.name);
            if let Ok(found) = fs.node(entry.id)
                && depth < 12
            {
                todo.push((found, depth + 1));
            }
        }
    }
    met
}

/// An image of which only sectors that are not zero are kept: its size, then each with its number before it.
fn unpack(packed: &[u8]) -> Vec<u8> {
    let number = |at: usize| u64::from_be_bytes(packed[at..at + 8].try_into().unwrap()) as usize;
    let mut image = vec![0; number(0)];
    for at in (8..packed.len()).step_by(520) {
        let start = number(at) * 512;
        image[start..start + 512].copy_from_slice(&packed[at + 8..at + 520]);
    }
    image
}

/// Places that are not zero: what is stored.
fn stored(image: &[u8]) -> Vec<usize> {
    image.chunks(512).enumerate().filter(|(_, s)| s.iter().any(|b| *b != 0)).map(|(i, _)| i * 512).collect()
}

/// The checksum of `image` from `start` to `end`, of which those of the four bytes at `sum_at` count as zeroes.
fn fix(image: &mut [u8], start: usize, len: usize, sum_at: usize) {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    let Some(bytes) = image.get_mut(start..start + len) else { return };
    bytes[sum_at..sum_at + 4].fill(0);
    let sum = crc.checksum(bytes);
    bytes[sum_at..sum_at + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Gives what lies around `at` its checksum again, so that what is behind it is reached.
fn seal(image: &mut [u8], at: usize) {
    let (block, sector) = (at / 4096 * 4096, at / 512 * 512);
    let record = (0..=512)
        .map(|back| sector.saturating_sub(back * 512))
        .find(|at| image[*at..].starts_with(&[0xfe, 0xed, 0xba, 0xbe]));
    if image[sector..].starts_with(b"IN") {
        return fix(image, sector, 512, 100);
    }
    match &image[block..block + 10] {
        [b'X', b'D', b'B' | b'D', ..] => return fix(image, block, 4096, 4),
        [b'B', b'M', b'A', ..] => return fix(image, block, 4096, 64),
        [b'X', b'S', b'L', ..] | [b'X', b'A', b'R', ..] => return fix(image, block, 4096, 12),
        [_, _, _, _, _, _, _, _, 0x3b | 0x3d | 0x3e, _] => return fix(image, block, 4096, 12),
        _ => (),
    }
    match &image[sector..sector + 4] {
        b"XFSB" => return fix(image, sector, 512, 224),
        b"XAGF" => return fix(image, sector, 512, 216),
        _ => (),
    }
    let Some(start) = record else { return };
    let field =
        |at: usize| u32::from_be_bytes(image[start + at..start + at + 4].try_into().unwrap()) as usize;
    let (len, headers) = (field(12), field(320).div_ceil(32 << 10).clamp(1, 8));
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    let mut digest = crc.digest();
    digest.update(&image[start..start + 32]);
    digest.update(&[0; 4]);
    digest.update(&image[start + 36..start + 328]);
    for header in 1..len.div_ceil(32 << 10).min(headers) {
        digest.update(image.get(start + header * 512..start + header * 512 + 260).unwrap_or_default());
    }
    let data = start + headers * 512;
    digest.update(image.get(data..data.saturating_add(len)).unwrap_or_default());
    let sum = digest.finalize();
    image[start + 32..start + 36].copy_from_slice(&sum.to_le_bytes());
}

fn rounds() -> u64 {
    std::env::var("XFS_ROUNDS").ok().and_then(|count| count.parse().ok()).unwrap_or(60)
}

fn flip(name: &str, image: &[u8], least: usize) {
    let whole = walk(image.to_vec());
    assert!(whole >= least, "{name} is read: {whole}");
    let places = stored(image);
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds() {
        let mut broken = image.to_vec();
        for _ in 0..=noise.next(60) {
            let at = places[noise.next(places.len() as u64) as usize] + noise.next(512) as usize;
            // What matters most is at the beginning of structures.
            let at = if noise.next(2) == 0 { at / 512 * 512 + at % 200 } else { at };
            broken[at] = noise.next(256) as u8;
            if round % 4 != 0 {
                seal(&mut broken, at);
            }
        }
        if round % 9 == 0 {
            broken.truncate(noise.next(image.len() as u64) as usize);
        }
        let start = Instant::now();
        walk(broken);
        assert!(start.elapsed() < Duration::from_secs(60), "{name}, round {round}");
    }
}

#[test]
fn version_5_that_is_broken_is_an_error_and_nothing_else() {
    flip("version 5", &unpack(include_bytes!("fixtures/xfs/xfs-v5.sectors")), 100);
}

#[test]
fn version_4_that_is_broken_is_an_error_and_nothing_else() {
    flip("version 4", &unpack(include_bytes!("fixtures/xfs/xfs-v4.sectors")), 100);
}

#[test]
fn a_log_that_is_broken_is_an_error_and_nothing_else() {
    flip("open log", &unpack(include_bytes!("fixtures/xfs/xfs-log.sectors")), 100);
}
