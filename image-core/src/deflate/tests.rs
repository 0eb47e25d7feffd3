//! The encoder against decoders that others wrote, and against a strict one that knows the rule about distances.

mod small_window;
mod strict;

use std::io::Read;

use proptest::prelude::*;

use super::bits::BitWriter;
use super::block::write_stored;
use super::{Encoder, Level};

fn levels() -> impl Iterator<Item = Level> {
    (1..=9).map(|level| Level::new(level).expect("1 to 9 are levels"))
}

fn encode(encoder: &mut Encoder, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(encoder.encode(input, &mut out, usize::MAX), "no limit, yet it does not fit");
    out
}

/// Decodes with every decoder; all must agree, and none may read less than the whole stream.
fn judge(stream: &[u8], input: &[u8]) {
    let strict = strict::inflate(stream).expect("a valid stream");
    assert!(strict.bytes == input, "the strict decoder gets other bytes");
    assert!(strict.max_distance <= 4096, "a distance of {}", strict.max_distance);

    let mut out = vec![0; input.len()];
    let length =
        libdeflater::Decompressor::new().deflate_decompress(stream, &mut out).expect("libdeflate decodes");
    assert!(length == input.len() && out == input, "libdeflate gets other bytes");

    let mut out = Vec::new();
    flate2::read::DeflateDecoder::new(stream).read_to_end(&mut out).expect("zlib-rs decodes");
    assert!(out == input, "zlib-rs gets other bytes");

    let out = miniz_oxide::inflate::decompress_to_vec(stream).expect("miniz_oxide decodes");
    assert!(out == input, "miniz_oxide gets other bytes");

    let out = small_window::inflate(stream).expect("a window of 4 KiB is enough");
    assert!(out == input, "a window of 4 KiB gives other bytes");
}

/// Bytes that are neither random nor all alike, made from a seed: words of a small vocabulary with numbers between.
fn wordy(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let words: Vec<Vec<u8>> =
        (0..200).map(|_| (0..2 + next() % 9).map(|_| b'a' + (next() % 26) as u8).collect()).collect();
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        let pick = next();
        out.extend_from_slice(&words[(pick % 200).min(pick / 7 % 200) as usize]);
        out.push(b' ');
        if pick.is_multiple_of(5) {
            out.extend_from_slice((pick >> 12).to_string().as_bytes());
        }
    }
    out.truncate(len);
    out
}

/// Bytes without any pattern.
fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn the_strict_judge_reads_the_examples_it_should_and_no_others() {
    // Written by hand: an empty fixed block; "a" stored; a fixed block of "a" and a match of 3 at distance 1.
    assert_eq!(strict::inflate(&[0x03, 0x00]).map(|out| out.bytes), Ok(vec![]));
    assert_eq!(strict::inflate(&[0x01, 1, 0, 0xfe, 0xff, b'a']).map(|out| out.bytes), Ok(vec![b'a']));
    assert_eq!(strict::inflate(&[0x4b, 0x04, 0x02, 0x00]).map(|out| out.bytes), Ok(b"aaaa".to_vec()));
    assert!(strict::inflate(&[0x03, 0x00, 0x00]).is_err(), "a byte too many");
    assert!(strict::inflate(&[0x03]).is_err(), "a byte too few");
    assert!(strict::inflate(&[0x01, 1, 0, 0xfe, 0xfe, b'a']).is_err(), "a wrong complement");
    assert!(strict::inflate(&[0x03, 0x02]).is_err(), "a match with nothing before it");
}

#[test]
fn the_judges_see_a_distance_beyond_the_window() {
    for distance in [4096, 4097] {
        let history = random(1, distance);
        let mut stream = Vec::new();
        let mut bits = BitWriter::new(&mut stream);
        assert!(write_stored(&mut bits, &history, false, u64::MAX));
        bits.reserve(64);
        bits.put(0b011, 3); // The last block, fixed.
        bits.put(0b100_0000, 7); // Length 3.
        if distance == 4096 {
            bits.put(0b11101, 5); // Symbol 23: 3073 and 10 extra bits.
            bits.put(1023, 10);
        } else {
            bits.put(0b00011, 5); // Symbol 24: 4097 and 11 extra bits.
            bits.put(0, 11);
        }
        bits.put(0, 7); // The end of the block.
        bits.finish();
        assert_eq!(strict::inflate(&stream).map(|out| out.max_distance), Ok(distance));
        assert_eq!(small_window::inflate(&stream).is_ok(), distance == 4096);
    }
}

#[test]
fn every_level_survives_every_judge() {
    let mixed = [wordy(1, 30_000), random(2, 20_000), vec![0; 9_000], wordy(3, 6_536)].concat();
    for level in levels() {
        let mut encoder = Encoder::new(level);
        for input in [
            vec![],
            vec![7],
            b"ab".to_vec(),
            b"aaa".to_vec(),
            b"abcabcabcabcabcabcabc".to_vec(),
            wordy(4, 512),
            wordy(5, 65_536),
            random(6, 65_536),
            vec![0; 65_536],
            mixed.clone(),
            wordy(7, 300_000),
            random(8, 200_000),
            vec![0xff; 2 << 20],
        ] {
            judge(&encode(&mut encoder, &input), &input);
        }
    }
}

#[test]
fn the_window_is_used_to_its_end_and_not_beyond() {
    // The only repetitions are exactly `distance` back.
    for distance in [4095, 4096, 4097] {
        let block = random(distance as u64, distance);
        let input: Vec<u8> = block.iter().cycle().take(5 * distance).copied().collect();
        for level in levels() {
            let stream = encode(&mut Encoder::new(level), &input);
            judge(&stream, &input);
            if distance <= 4096 {
                assert!(
                    stream.len() < input.len() / 3,
                    "distance {distance} unused at {level:?}: {}",
                    stream.len()
                );
            } else {
                assert!(
                    stream.len() >= input.len(),
                    "distance {distance} used at {level:?}: {}",
                    stream.len()
                );
            }
        }
    }
}

#[test]
fn random_bytes_are_stored_and_grow_by_no_more_than_their_frame() {
    for level in levels() {
        let input = random(9, 65_536);
        let stream = encode(&mut Encoder::new(level), &input);
        assert_eq!(strict::inflate(&stream).map(|out| out.blocks), Ok([2, 0, 0]));
        assert_eq!(stream.len(), input.len() + 10);
    }
}

#[test]
fn a_little_text_among_random_bytes_is_found() {
    for offset in [0, 4096, 33_000, 63_488] {
        let mut input = random(10, 65_536);
        input[offset..offset + 2048].copy_from_slice(&wordy(11, 2048));
        for level in levels() {
            let stream = encode(&mut Encoder::new(level), &input);
            judge(&stream, &input);
            assert!(stream.len() < 65_200, "{} at {level:?}, text at {offset}", stream.len());
        }
    }
}

#[test]
fn the_limit_is_exact() {
    for level in levels() {
        let mut encoder = Encoder::new(level);
        for input in
            [vec![], vec![1], wordy(12, 700), wordy(13, 65_536), random(14, 70_000), wordy(15, 200_000)]
        {
            let before = b"what was there".to_vec();
            let size = encode(&mut encoder, &input).len();
            let mut out = before.clone();
            assert!(encoder.encode(&input, &mut out, size), "{size} bytes do not fit {size}");
            assert_eq!(out.len(), before.len() + size);
            assert_eq!(out[..before.len()], before);
            let mut out = before.clone();
            assert!(!encoder.encode(&input, &mut out, size - 1), "{size} bytes fit {}", size - 1);
            assert_eq!(out, before, "a failure leaves something behind");
        }
    }
}

#[test]
fn an_encoder_remembers_nothing() {
    let inputs =
        [wordy(16, 65_536), wordy(17, 1_000), vec![b'x'; 65_536], wordy(18, 150_000), random(19, 5_000)];
    for level in levels() {
        let mut used = Encoder::new(level);
        for input in inputs.iter().chain(inputs.iter().rev()) {
            let fresh = encode(&mut Encoder::new(level), input);
            assert_eq!(encode(&mut used, input), fresh, "{level:?}");
        }
    }
}

/// Inputs of many kinds: arbitrary, few different bytes, periodic, long runs, and all of them one after the other.
fn inputs(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    let arbitrary = proptest::collection::vec(any::<u8>(), 0..longest.min(5_000));
    let few = proptest::collection::vec(prop_oneof![Just(0), Just(b'a'), 0u8..5], 0..longest.min(9_000));
    let periodic = (proptest::collection::vec(any::<u8>(), 1..5_000), 0..longest)
        .prop_map(|(period, len)| period.into_iter().cycle().take(len).collect());
    let runs = proptest::collection::vec((any::<u8>(), 1usize..2_000), 0..longest / 1_500 + 1)
        .prop_map(|runs| runs.into_iter().flat_map(|(byte, len)| std::iter::repeat_n(byte, len)).collect());
    let words = (any::<u32>(), 0..longest).prop_map(|(seed, len)| wordy(seed, len));
    let noise = (any::<u64>(), 0..longest).prop_map(|(seed, len)| random(seed, len));
    let one = prop_oneof![arbitrary, few, periodic, runs, words, noise];
    proptest::collection::vec(one, 1..4).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_goes_in_comes_out(input in inputs(60_000), level in 1u8..=9) {
        let mut encoder = Encoder::new(Level::new(level).expect("a level"));
        judge(&encode(&mut encoder, &input), &input);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn what_goes_in_comes_out_of_large_clusters(input in inputs(700_000), level in 1u8..=9) {
        let mut encoder = Encoder::new(Level::new(level).expect("a level"));
        judge(&encode(&mut encoder, &input), &input);
    }
}

/// A file to measure sizes with, and what the levels 1 … 9 make of it.
struct Sample {
    name: &'static str,
    bytes: &'static [u8],
    /// Size by zlib 1.2.13, level 6, a window of 4 KiB, memory level 9: what QEMU writes.
    zlib: usize,
    sizes: [usize; 9],
}

const SAMPLES: [Sample; 4] = [
    Sample {
        name: "source.txt",
        bytes: include_bytes!("tests/corpus/source.txt"),
        zlib: 12597,
        sizes: [13764, 13130, 12979, 12822, 12741, 12672, 12535, 12326, 12288],
    },
    Sample {
        name: "machine-code.bin",
        bytes: include_bytes!("tests/corpus/machine-code.bin"),
        zlib: 22213,
        sizes: [22855, 22463, 22284, 22193, 22182, 22149, 22139, 21826, 21814],
    },
    Sample {
        name: "listing.json",
        bytes: include_bytes!("tests/corpus/listing.json"),
        zlib: 7125,
        sizes: [7905, 7490, 7347, 7163, 7085, 6939, 6723, 6533, 6414],
    },
    Sample {
        name: "prose.txt",
        bytes: include_bytes!("tests/corpus/prose.txt"),
        zlib: 6362,
        sizes: [6596, 6421, 6398, 6374, 6370, 6357, 6316, 6225, 6215],
    },
];

/// A change of the encoder that changes a size changes this table, so nobody makes it worse without seeing it.
#[test]
fn sizes_are_exactly_these() {
    for sample in &SAMPLES {
        let mut sizes = [0; 9];
        for (size, level) in sizes.iter_mut().zip(levels()) {
            let stream = encode(&mut Encoder::new(level), sample.bytes);
            judge(&stream, sample.bytes);
            *size = stream.len();
        }
        assert_eq!(sizes, sample.sizes, "{}", sample.name);
    }
}

#[test]
fn the_default_is_no_larger_than_what_qemu_writes() {
    let mut encoder = Encoder::new(Level::default());
    let ours: usize = SAMPLES.iter().map(|sample| encode(&mut encoder, sample.bytes).len()).sum();
    let zlib: usize = SAMPLES.iter().map(|sample| sample.zlib).sum();
    assert!(ours <= zlib, "{ours} bytes, zlib {zlib}");
}

#[test]
fn a_higher_level_is_never_larger() {
    for sample in &SAMPLES {
        assert!(
            sample.sizes.is_sorted_by(|lower, higher| higher <= lower),
            "{}: {:?}",
            sample.name,
            sample.sizes
        );
    }
}
