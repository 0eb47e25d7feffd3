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
//! Position 0 doubles as "nowhere". A link leads only to equal bytes: one that would lead elsewhere, because two hashes
//! are the same, is left out, and so is all that lay behind it. A search then hardly ever meets what it has to reject,
//! which is worth more than the few matches lost.

use std::ops::Range;

use super::symbols::{MAX_DISTANCE, MAX_MATCH};

/// Positions that the window has.
pub(super) const SPAN: usize = 1 << 16;
/// Room behind the last position, so that a comparison of the longest match never has to look where it ends.
const SLACK: usize = MAX_MATCH + 256;

/// Inputs up to this size use only a part of the heads, because clearing all of them takes longer than their coding.
const SMALL: usize = 8192;
const HASH4_BITS: u32 = 16;
const HASH3_BITS: u32 = 13;
const SMALL_HASH4_BITS: u32 = 12;
const SMALL_HASH3_BITS: u32 = 11;
const RECENT_BITS: u32 = 14;

/// A match: that many bytes, that far back. A length of zero is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) length: usize,
    pub(super) distance: usize,
}

impl Match {
    /// The match, cut to `most` bytes, if there is one at all.
    #[inline(always)]
    fn or_none(self, most: usize) -> Self {
        if self.distance == 0 { Self::default() } else { Self { length: self.length.min(most), ..self } }
    }
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
    /// Whether only a part of the heads is in use.
    small: bool,
    /// Whether the heads are of these bytes: cleared when the first link is made, for random bytes never.
    cleared: bool,
    /// The last positions of hashes for [`repeats`](Self::repeats): few, to stay in a core's nearest cache.
    recent: Box<[u16; 1 << RECENT_BITS]>,
}

/// A boxed array of zeroes that never was on the stack.
pub(super) fn zeroes<T: Copy + Default, const N: usize>() -> Box<[T; N]> {
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
            small: false,
            cleared: false,
            recent: zeroes(),
        }
    }

    /// Forgets everything, for an input of `len` bytes.
    pub(super) fn clear(&mut self, len: usize) {
        self.small = len <= SMALL;
        self.cleared = false;
        self.linked = 0;
        self.end = 0;
    }

    fn clear_heads(&mut self) {
        let (bits4, bits3) =
            if self.small { (SMALL_HASH4_BITS, SMALL_HASH3_BITS) } else { (HASH4_BITS, HASH3_BITS) };
        self.head4[..1 << bits4].fill(0);
        self.head3[..1 << bits3].fill(0);
        self.cleared = true;
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
        if self.cleared {
            self.head4.iter_mut().for_each(down);
            self.head3.iter_mut().for_each(down);
        }
        self.end -= by;
        self.linked = self.linked.saturating_sub(by);
    }

    /// The bytes in the window.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Links the positions below `end`. Must come before any search there.
    pub(super) fn link_up_to(&mut self, end: usize) {
        if !self.cleared {
            self.clear_heads();
        }
        if self.small {
            self.link::<SMALL_HASH4_BITS, SMALL_HASH3_BITS>(end.min(SPAN));
        } else {
            self.link::<HASH4_BITS, HASH3_BITS>(end.min(SPAN));
        }
    }

    #[inline(never)]
    fn link<const BITS4: u32, const BITS3: u32>(&mut self, end: usize) {
        let bytes = &*self.bytes;
        let (link4, head4) = (&mut *self.link4, &mut *self.head4);
        let (link3, head3) = (&mut *self.link3, &mut *self.head3);
        for at in self.linked..end {
            // The index is below 2^16 either way: said so that the compiler need not check it.
            let at = at as u16;
            let four = load4(bytes, usize::from(at));
            let hash = four.wrapping_mul(0x9e37_79b1) >> (32 - BITS4);
            let there = std::mem::replace(&mut head4[hash as usize % (1 << HASH4_BITS)], at);
            let difference = load4(bytes, usize::from(there)) ^ four;
            link4[usize::from(at)] = there & if_zero(difference);
            let three = four << 8;
            let hash = three.wrapping_mul(0x9e37_79b1) >> (32 - BITS3);
            let there = std::mem::replace(&mut head3[hash as usize % (1 << HASH3_BITS)], at);
            let difference = load4(bytes, usize::from(there)) << 8 ^ three;
            link3[usize::from(at)] = there & if_zero(difference);
        }
        self.linked = self.linked.max(end);
    }

    /// How many positions in `range` have an equal 4 bytes within reach before them. Where hashes collide, which chance
    /// decides, one in eight is missed. Needs no links: bytes that are worth none get none.
    #[inline(never)]
    pub(super) fn repeats(&mut self, range: Range<usize>) -> usize {
        let bytes = &*self.bytes;
        self.recent.fill(0);
        let mut count = 0;
        let mut look = |at: usize| {
            let four = load4(bytes, at);
            let hash = four.wrapping_mul(0x9e37_79b1) >> (32 - RECENT_BITS);
            let there = std::mem::replace(&mut self.recent[hash as usize % (1 << RECENT_BITS)], at as u16);
            let near = at - usize::from(there) <= MAX_DISTANCE && there != 0;
            near & (load4(bytes, usize::from(there)) == four)
        };
        let last = range.end.saturating_sub(3);
        for at in range.start.saturating_sub(MAX_DISTANCE)..range.start.min(last) {
            look(at);
        }
        for at in range.start..last {
            count += usize::from(look(at));
        }
        count
    }

    /// The window as a search sees it.
    pub(super) fn view(&self) -> View<'_> {
        View { bytes: &self.bytes, link4: &self.link4, link3: &self.link3 }
    }
}

/// All ones for zero, otherwise zero.
///
/// Masks a link that leads to other bytes. Half of them do, without a pattern, so a branch would be guessed wrong
/// again and again; from a `bool` the compiler makes a branch.
#[inline(always)]
fn if_zero(difference: u32) -> u16 {
    (u64::from(difference).wrapping_sub(1) >> 48) as u16
}

/// Which byte is the first that is not zero in a number read lowest byte first.
#[inline(always)]
fn first_difference(difference: u64) -> usize {
    (difference.trailing_zeros() / 8) as usize
}

/// Where the eight bytes begin that hold the last byte of a match of `length` and the byte behind it.
/// The remainder only tells the compiler what holds anyway: `length` is at least 8 and at most 258.
#[inline(always)]
fn tail_of(length: usize) -> usize {
    (length - 7) % 256
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

    /// How many bytes are the same at `here` and at `there`, up to 258, the first eight being known to be.
    #[inline(always)]
    fn extend(self, here: usize, there: u16) -> usize {
        let there = usize::from(there);
        let mut length = 8;
        while length < MAX_MATCH {
            let difference = load8(self.bytes, here + length) ^ load8(self.bytes, there + length);
            if difference != 0 {
                return (length + first_difference(difference)).min(MAX_MATCH);
            }
            length += 8;
        }
        MAX_MATCH
    }

    /// The longest match at `at` that is longer than `shortest`, at least 4 bytes, among the first `depth` of the chain;
    /// no further search once one is as long as `nice`. No match is longer than `most`, which is at least 4.
    #[inline(always)]
    pub(super) fn longest(self, at: usize, shortest: usize, most: usize, depth: u32, nice: usize) -> Match {
        let here = usize::from(at as u16);
        let oldest = here.saturating_sub(MAX_DISTANCE + 1);
        let mut best = Match { length: shortest.max(3), distance: 0 };
        let mut candidate = self.link4[here];
        let eight = load8(self.bytes, here);
        let mut left = depth.max(1);
        // The first eight bytes tell the length of most matches.
        while best.length < 8 {
            if usize::from(candidate) <= oldest || left == 0 {
                return best.or_none(most);
            }
            left -= 1;
            let there = usize::from(candidate);
            let difference = load8(self.bytes, there) ^ eight;
            let length =
                if difference != 0 { first_difference(difference) } else { self.extend(here, candidate) };
            if length > best.length {
                best = Match { length, distance: here - there };
            }
            candidate = self.link4[there];
        }
        // From here on, a longer match shows in the eight bytes that end where it has to differ from a shorter one.
        let mut tail = load8(self.bytes, here + tail_of(best.length));
        while usize::from(candidate) > oldest && left != 0 && best.length < nice {
            left -= 1;
            let there = usize::from(candidate);
            if load8(self.bytes, there + tail_of(best.length)) == tail && load8(self.bytes, there) == eight {
                let length = self.extend(here, candidate);
                if length > best.length {
                    best = Match { length, distance: here - there };
                    tail = load8(self.bytes, here + tail_of(length));
                }
            }
            candidate = self.link4[there];
        }
        best.or_none(most)
    }

    /// Calls `found` with each match at `at` that is longer than all nearer ones, among the first `depth` of the chain.
    /// None is longer than `most`.
    #[inline(always)]
    pub(super) fn each_longer(self, at: usize, most: usize, depth: u32, mut found: impl FnMut(Match)) {
        let here = usize::from(at as u16);
        let oldest = here.saturating_sub(MAX_DISTANCE + 1);
        let eight = load8(self.bytes, here);
        let mut candidate = self.link4[here];
        let (mut longest, mut tail) = (3, 0);
        for _ in 0..depth {
            if usize::from(candidate) <= oldest || longest >= most {
                return;
            }
            let there = usize::from(candidate);
            let difference = load8(self.bytes, there) ^ eight;
            let length = if difference != 0 {
                first_difference(difference)
            } else if longest >= 8 && load8(self.bytes, there + tail_of(longest)) != tail {
                0
            } else {
                self.extend(here, candidate)
            };
            if length > longest {
                longest = length;
                found(Match { length: length.min(most), distance: here - there });
                if longest >= 8 {
                    tail = load8(self.bytes, here + tail_of(longest));
                }
            }
            candidate = self.link4[there];
        }
    }

    /// How far back the nearest match of 3 bytes is, if the link leads to one.
    #[inline(always)]
    pub(super) fn three(self, at: usize) -> Option<usize> {
        let here = usize::from(at as u16);
        let there = usize::from(self.link3[here]);
        (there > here.saturating_sub(MAX_DISTANCE + 1)).then(|| here - there)
    }
}
