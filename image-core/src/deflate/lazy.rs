//! The parser for most levels: takes the longest match, unless the next position has a better one.

use std::ops::Range;

use super::entropy::entropy_bits;
use super::symbols::MAX_MATCH;
use super::tokens::Tokens;
use super::window::{Match, View, Window};

/// How hard to search.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Candidates looked at for each position.
    pub(super) depth: u32,
    /// A match of this length is taken without looking further.
    pub(super) nice: usize,
    /// How many of the next positions may offer something better: 0, 1 or 2.
    pub(super) lookahead: u32,
    /// Bytes of a section.
    pub(super) section: usize,
    /// How often the parse is improved at the prices that it leads to; none for the lazy parser alone.
    pub(super) passes: u32,
}

/// Parses the bytes in `range` of the window.
pub(super) fn parse(window: &mut Window, range: Range<usize>, tokens: &mut Tokens, effort: &Effort) {
    let end = range.end;
    let mut at = range.start;
    loop {
        let section_end = section_end(at, end, effort.section);
        window.link_up_to(section_end + MAX_LOOKAHEAD);
        let search = Search {
            view: window.view(),
            end,
            effort: *effort,
            reach: reach_of_three(window.bytes(at..section_end)),
        };
        let mut section = tokens.section(at);
        while at < section_end {
            let mut best = search.first(at);
            if best.length == 0 {
                section.literal(search.view.byte(at));
                at += 1;
                continue;
            }
            while best.length < effort.nice && at < section_end {
                let Some((later, better)) = search.better(at, best) else { break };
                for _ in 0..later {
                    section.literal(search.view.byte(at));
                    at += 1;
                }
                best = better;
            }
            section.copy(best.length, best.distance);
            at += best.length;
        }
        section.finish(at);
        if at == end {
            return;
        }
    }
}

/// Most positions that a search looks ahead of a section's last, and one for the range to end behind.
const MAX_LOOKAHEAD: usize = 3;

/// Searches within one section.
struct Search<'a> {
    view: View<'a>,
    /// Where the bytes end.
    end: usize,
    effort: Effort,
    /// How far back a match of 3 bytes may lie.
    reach: usize,
}

impl Search<'_> {
    /// The best match at `at`; none if its length is zero.
    #[inline(always)]
    fn first(&self, at: usize) -> Match {
        let most = (self.end - at).min(MAX_MATCH);
        if most < 4 {
            return Match::default();
        }
        let best = self.view.longest(at, 3, most, self.effort.depth, self.effort.nice);
        if best.length != 0 {
            return best;
        }
        match self.view.three(at) {
            Some(distance) if distance <= self.reach => Match { length: 3, distance },
            _ => best,
        }
    }

    /// A match that is worth one or two literals more than `best`, which is the match at `at`, and how many.
    #[inline(always)]
    fn better(&self, at: usize, best: Match) -> Option<(usize, Match)> {
        if self.effort.lookahead == 0 || self.end - at < 4 + MAX_LOOKAHEAD {
            return None;
        }
        let most = (self.end - at - 1).min(MAX_MATCH);
        let next = self.view.longest(at + 1, best.length - 1, most, self.effort.depth / 2, self.effort.nice);
        if next.length >= best.length && worth(next) > worth(best) {
            return Some((1, next));
        }
        if self.effort.lookahead == 1 {
            return None;
        }
        let most = (self.end - at - 2).min(MAX_MATCH);
        let next = self.view.longest(at + 2, best.length, most, self.effort.depth / 4, self.effort.nice);
        (next.length > best.length && worth(next) > worth(best) + 4).then_some((2, next))
    }
}

/// Where a section that begins at `at` ends: after `len` bytes, or at `end` if little would be left.
pub(super) fn section_end(at: usize, end: usize, len: usize) -> usize {
    if end - at < len * 3 / 2 { end } else { at + len }
}

/// Worth of a match: bytes covered less what the distance costs.
fn worth(found: Match) -> i32 {
    4 * found.length as i32 - found.distance.ilog2() as i32
}

/// How far back a match of 3 bytes may lie to be shorter than three literals.
///
/// In text a literal takes 5 bits and only near matches pay, in machine code 7 and all do. Every eighth byte is
/// enough to tell.
fn reach_of_three(bytes: &[u8]) -> usize {
    let mut counts = [0; 256];
    bytes.iter().step_by(8).for_each(|&byte| counts[usize::from(byte)] += 1);
    let literal_bits = entropy_bits(&counts).0 / bytes.len().div_ceil(8) as f32;
    // Three literals against a length, a distance symbol and its extra bits.
    let extra_bits = (3.0 * literal_bits - 5.5).clamp(7.5, 12.0);
    1 << extra_bits as u32
}
