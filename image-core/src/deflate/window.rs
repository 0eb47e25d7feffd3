//! Where the same bytes stood before: the window, and for each position links to earlier ones that begin alike.
//!
//! ```text
//! bytes     … t h e   c a t   a n d   t h e   c a r …
//!               ◄──────────── link[p] ──┘                the nearest earlier position with the same hash of 4 bytes
//!           link[link[p]], link[link[link[p]]] …         further back: the chain that a search walks
//! ```
//!
//! Links are made ahead of the parser, a stretch at a time, in a loop that does nothing else: a parser that jumps over
//! a match then has nothing to catch up on. A second set of links, over 3 bytes, is only ever followed once.
//!
//! Positions have 16 bits. A longer input goes through the window in segments: the last 4 KiB stay as history,
//! and all positions are moved down.
//!
//! Position 0 doubles as "nowhere". What a link leads to is always compared, so a wrong link costs time, never truth.

use std::ops::Range;

use super::symbols::{MAX_DISTANCE, MAX_MATCH};

/// Positions that the window has.
pub(super) const SPAN: usize = 1 << 16;
/// Room behind the last position, so that a comparison of the longest match never has to look where it ends.
const SLACK: usize = MAX_MATCH + 16;

const HASH4_BITS: u32 = 16;
const HASH3_BITS: u32 = 13;

/// A match: that many bytes, that far back. A length of zero is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) length: usize,
    pub(super) distance: usize,
}

/// The bytes being coded, their history, and the links.
pub(super) struct Window {
    bytes: Box<[u8; SPAN + SLACK]>,
    /// Positions below have been linked.
    linked: usize,
    /// End of the bytes.
    end: usize,
    link4: Box<[u16; SPAN]>,
    link3: Box<[u16; SPAN]>,
    /// The last position of each hash.
    head4: Box<[u16; 1 << HASH4_BITS]>,
    head3: Box<[u16; 1 << HASH3_BITS]>,
    /// Hashes are shifted by so much more: a small input uses only a part of the heads, so only that has to be cleared.
    narrow: u32,
}

/// A boxed array of zeroes that never was on the stack.
fn zeroes<T: Copy + Default, const N: usize>() -> Box<[T; N]> {
    match vec![T::default(); N].into_boxed_slice().try_into() {
        Ok(array) => array,
        Err(_) => unreachable!("a vector of N elements is an array of N elements"),
    }
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            bytes: zeroes(),
            linked: 0,
            end: 0,
            link4: zeroes(),
            link3: zeroes(),
            head4: zeroes(),
            head3: zeroes(),
            narrow: 0,
        }
    }

    /// Forgets everything, for an input of `len` bytes.
    pub(super) fn clear(&mut self, len: usize) {
        let wanted_bits = len.max(1 << 8).next_power_of_two().ilog2();
        self.narrow = HASH4_BITS.saturating_sub(wanted_bits);
        self.head4[..1 << (HASH4_BITS - self.narrow)].fill(0);
        self.head3[..1 << (HASH3_BITS - self.narrow)].fill(0);
        self.linked = 0;
        self.end = 0;
    }

    /// Takes in as much of `input` as there is room for, keeping the history. Returns where it lies in the window.
    pub(super) fn load(&mut self, input: &[u8]) -> Range<usize> {
        if self.end != 0 {
            self.slide(self.end - MAX_DISTANCE.min(self.end));
        }
        let start = self.end;
        let taken = input.len().min(SPAN - start);
        self.bytes[start..start + taken].copy_from_slice(&input[..taken]);
        self.end = start + taken;
        start..self.end
    }

    /// Moves everything down by `by` positions.
    fn slide(&mut self, by: usize) {
        self.bytes.copy_within(by..self.end, 0);
        self.link4.copy_within(by..self.end, 0);
        let down = |position: &mut u16| *position = position.saturating_sub(by as u16);
        self.link4[..MAX_DISTANCE].iter_mut().for_each(down);
        self.head4.iter_mut().for_each(down);
        self.head3.iter_mut().for_each(down);
        self.end -= by;
        self.linked -= by;
    }

    /// The bytes in the window.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Links the positions below `end`. Must come before any search there.
    #[inline(never)]
    pub(super) fn link_up_to(&mut self, end: usize) {
        let end = end.min(SPAN);
        let narrow = self.narrow;
        let bytes = &*self.bytes;
        let (link4, head4) = (&mut *self.link4, &mut *self.head4);
        for at in self.linked..end {
            // The index is below 2^16 either way: said so that the compiler need not check it.
            let at = at as u16;
            let four = load4(bytes, usize::from(at));
            let hash = four.wrapping_mul(0x9e37_79b1) >> (32 - HASH4_BITS) >> narrow;
            let there = std::mem::replace(&mut head4[hash as usize % (1 << HASH4_BITS)], at);
            let difference = load4(bytes, usize::from(there)) ^ four;
            link4[usize::from(at)] = there & if_same_and_near(difference, at - there);
        }
        let (link3, head3) = (&mut *self.link3, &mut *self.head3);
        for at in self.linked..end {
            let at = at as u16;
            let four = load4(bytes, usize::from(at)) << 8;
            let hash = four.wrapping_mul(0x9e37_79b1) >> (32 - HASH3_BITS) >> narrow;
            let there = std::mem::replace(&mut head3[hash as usize % (1 << HASH3_BITS)], at);
            let difference = load4(bytes, usize::from(there)) << 8 ^ four;
            link3[usize::from(at)] = there & if_same_and_near(difference, at - there);
        }
        self.linked = self.linked.max(end);
    }

    /// How many positions in `range` have an equal 4 bytes within reach before them. They must be linked.
    pub(super) fn repeats(&self, range: Range<usize>) -> usize {
        self.link4[range].iter().filter(|&&link| link != 0).count()
    }

    /// The window as a search sees it.
    pub(super) fn view(&self) -> View<'_> {
        View { bytes: &self.bytes, link4: &self.link4, link3: &self.link3 }
    }
}

/// All ones for no difference and a distance that a match may have, otherwise zero.
///
/// Half of all links fail this, without a pattern, so a branch would be guessed wrong again and again; written with
/// `bool`s the compiler makes branches of it.
#[inline(always)]
fn if_same_and_near(difference: u32, distance: u16) -> u16 {
    let same = u64::from(difference).wrapping_sub(1) >> 48;
    let near = u64::from(distance).wrapping_sub(MAX_DISTANCE as u64 + 1) >> 48;
    (same & near) as u16
}

#[inline(always)]
fn load8(bytes: &[u8; SPAN + SLACK], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

#[inline(always)]
fn load4(bytes: &[u8; SPAN + SLACK], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// The window for searching: nothing in it changes.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    bytes: &'a [u8; SPAN + SLACK],
    link4: &'a [u16; SPAN],
    link3: &'a [u16; SPAN],
}

impl View<'_> {
    /// The byte at `at`.
    #[inline(always)]
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.bytes[usize::from(at as u16)]
    }

    /// How many bytes are the same at `at` and at `earlier`, up to `most`, the first eight bytes being known to be.
    #[inline(always)]
    fn extend(self, at: u16, earlier: u16, most: usize) -> usize {
        let mut length = 8;
        while length < MAX_MATCH {
            let difference = load8(self.bytes, usize::from(at) + length)
                ^ load8(self.bytes, usize::from(earlier) + length);
            if difference != 0 {
                length += (difference.trailing_zeros() / 8) as usize;
                break;
            }
            length += 8;
        }
        length.min(most)
    }

    /// The longest match at `at` that is longer than `shortest`, at least 4 bytes, among the first `depth` of the chain;
    /// no further search once one is as long as `nice`. No match is longer than `most`, which is at least 4.
    #[inline(always)]
    pub(super) fn longest(self, at: usize, shortest: usize, most: usize, depth: u32, nice: usize) -> Match {
        let at = at as u16;
        let here = usize::from(at);
        let oldest = here.saturating_sub(MAX_DISTANCE + 1);
        let mut best = Match { length: shortest.max(3), distance: 0 };
        let mut candidate = self.link4[here];
        let eight = load8(self.bytes, here);
        let mut left = depth.max(1);
        while usize::from(candidate) > oldest {
            let there = usize::from(candidate);
            let difference = load8(self.bytes, there) ^ eight;
            let length = if difference != 0 {
                (difference.trailing_zeros() / 8) as usize
            } else {
                self.extend(at, candidate, MAX_MATCH)
            };
            if length > best.length {
                best = Match { length, distance: here - there };
                if length >= nice {
                    break;
                }
            }
            left -= 1;
            if left == 0 {
                break;
            }
            candidate = self.link4[there];
        }
        if best.distance == 0 {
            return Match::default();
        }
        best.length = best.length.min(most);
        best
    }

    /// How far back the nearest match of 3 bytes is, if the link leads to one.
    #[inline(always)]
    pub(super) fn three(self, at: usize) -> Option<usize> {
        let here = usize::from(at as u16);
        let there = usize::from(self.link3[here]);
        (there != 0).then(|| here - there)
    }
}
