//! Damaged images: whatever is done to a fixture, reading it ends, in an error or not, and never in a panic.

use std::path::Path;

use super::fuzzed::{open_qcow2, qcow2_write};
use crate::support::project;
use crate::support::random::Random;

const FIXTURES: [&str; 5] = ["v3", "v2", "zstd", "extended", "backed"];
/// Damaged copies of each fixture.
const ROUNDS: u64 = 2_000;
/// What is often special: limits, signs, powers of two.
const NUMBERS: [u64; 12] =
    [0, 1, 2, 8, 511, 512, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 40, 1 << 62, u64::MAX];

fn fixture(name: &str) -> Vec<u8> {
    let path = project().join(Path::new("tests/fixtures/qcow2").join(name).with_extension("qcow2"));
    std::fs::read(path).expect("a fixture")
}

/// Where the metadata of an image are: hits there matter more than in its data.
fn a_place(bytes: &[u8], random: &mut Random) -> usize {
    match random.below(4) {
        0 => random.below(bytes.len()),
        1 => random.below(112.min(bytes.len())),
        // An aligned number that is not zero is probably an entry of a table.
        _ => {
            let numbers: Vec<usize> =
                (0..bytes.len() / 8).filter(|index| bytes[index * 8..index * 8 + 8] != [0; 8]).collect();
            if numbers.is_empty() { 0 } else { numbers[random.below(numbers.len())] * 8 }
        }
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = a_place(bytes, random);
    match random.below(6) {
        0 => bytes[at] = random.next() as u8,
        1 => bytes[at] ^= 1 << random.below(8),
        2 | 3 => {
            let number = NUMBERS[random.below(NUMBERS.len())].to_be_bytes();
            let at = at / 8 * 8;
            let len = number.len().min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&number[..len]);
        }
        4 => {
            // One entry in the place of another: shared and looping tables.
            let from = a_place(bytes, random) / 8 * 8;
            let to = at / 8 * 8;
            if from.max(to) + 8 <= bytes.len() {
                bytes.copy_within(from..from + 8, to);
            }
        }
        _ => {
            if random.below(8) == 0 {
                bytes.truncate(at.max(16));
            }
        }
    }
}

#[test]
fn fixtures_are_accepted_as_they_are() {
    for name in FIXTURES {
        assert!(open_qcow2(&fixture(name)), "{name}");
    }
}

#[test]
fn no_damage_makes_reading_panic_or_hang() {
    for (seed, name) in (1_u64..).zip(FIXTURES) {
        let sound = fixture(name);
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed);
        let mut accepted = 0;
        for round in 0..ROUNDS {
            let mut bytes = sound.clone();
            for _ in 0..=round % 5 {
                damage(&mut bytes, &mut random);
            }
            accepted += u64::from(open_qcow2(&bytes));
        }
        // Most damage must get past the header, or little is tested.
        assert!(accepted > ROUNDS / 4, "{name}: {accepted} of {ROUNDS}");
    }
}

#[test]
fn random_steps_leave_images_of_our_own_clean() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for kind in 0..120_u8 {
        let mut bytes = vec![0, kind, kind / 13, kind / 3, kind % 2];
        bytes.extend((0..8 * 20).map(|_| random.next() as u8));
        qcow2_write(&bytes);
    }
}

#[test]
fn no_damage_makes_writing_panic_or_hang() {
    for (seed, name) in (1_u64..).zip(FIXTURES) {
        let sound = fixture(name);
        let mut random = Random(0x94d0_49bb_1331_11eb ^ seed);
        let mut accepted = 0;
        for round in 0..ROUNDS / 20 {
            let mut image = sound.clone();
            for _ in 0..=round % 4 {
                damage(&mut image, &mut random);
            }
            let mut bytes = vec![1, 8, 0, 0, 0];
            bytes.extend((0..8 * 8).map(|_| random.next() as u8));
            bytes.extend(image);
            accepted += u64::from(qcow2_write(&bytes));
        }
        assert!(accepted > ROUNDS / 80, "{name}: {accepted}");
    }
}
