//! Damaged filesystems: whatever is done to one, reading all of it ends, in an error or not, and never in a panic; so does
//! changing it.
//!
//! Most are without checksums, which would keep the damage from being looked at.

use super::witness::{Judge, fill};
use crate::interop::fuzzed::{change_ext4, open_ext4};
use crate::support::folder;
use crate::support::random::Random;

/// Damaged copies of each filesystem.
const ROUNDS: u64 = 1_500;
/// One in so many of them is changed too.
const CHANGED: u64 = 5;
/// What is often special: limits, signs, powers of two.
const NUMBERS: [u32; 12] =
    [0, 1, 2, 11, 12, 0x7fff, 0x8000, 0xffff, 0xf30a, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/// Damages one place of `places`, numbers of four bytes that are not zero.
fn damage(bytes: &mut [u8], places: &[usize], random: &mut Random) {
    let at = places[random.below(places.len())] * 4 + random.below(4);
    match random.below(5) {
        0 => bytes[at] = random.next() as u8,
        1 => bytes[at] ^= 1 << random.below(8),
        2 => {
            let other = places[random.below(places.len())] * 4;
            bytes.copy_within(other..other + 4, at / 4 * 4);
        }
        3 => {
            // Half a block from elsewhere.
            let (from, to) = (places[random.below(places.len())] * 4 / 512 * 512, at / 512 * 512);
            bytes.copy_within(from..from + 512, to);
        }
        _ => {
            let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
            bytes[at / 4 * 4..at / 4 * 4 + 4].copy_from_slice(&number);
        }
    }
}

#[test]
fn ext4_that_is_damaged_is_read_to_an_end() {
    let Some(judge) = Judge::find() else { return };
    for (seed, words) in [
        (1_u64, &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,inline_data,ea_inode"][..]),
        (2, &["-t", "ext2", "-b", "1024", "-I", "128"]),
        (3, &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^64bit,meta_bg,^resize_inode", "-g", "256"]),
        (4, &["-t", "ext4", "-b", "2048"]),
    ] {
        let dir = folder();
        let image = dir.path().join("image");
        judge.make(&image, "3M", &[words, &["-N", "600"]].concat());
        let copy = dir.path().join("dirty");
        let small = fill("$M", &["small"]);
        judge.with_mount(
            &image,
            "rw",
            &format!("{small}; sync $M; cp {} {}", image.display(), copy.display()),
        );
        for (seed, path) in [(seed, &image), (seed + 100_u64, &copy)] {
            let good = std::fs::read(path).unwrap();
            assert!(open_ext4(&good), "{words:?}");
            let places: Vec<usize> =
                (0..good.len() / 4).filter(|at| good[at * 4..at * 4 + 4] != [0; 4]).collect();
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let (mut accepted, mut changed) = (0, 0);
            for round in 0..ROUNDS {
                let mut bytes = good.clone();
                for _ in 0..=random.below(6) {
                    damage(&mut bytes, &places, &mut random);
                }
                accepted += usize::from(open_ext4(&bytes));
                if round % CHANGED == 0 {
                    changed += usize::from(change_ext4(&bytes));
                }
            }
            assert!(changed > 20, "{changed} were changed: {words:?}");
            assert!(accepted > 100, "{accepted} of {ROUNDS} were opened: {words:?}");
        }
    }
}
