//! The parser for most levels: takes the longest match, unless the next position has a better one.

use std::ops::Range;

use super::entropy::entropy_bits;
use super::symbols::MAX_MATCH;
use super::tokens::Tokens;
use super::window::{Match, Window};

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
}

/// Parses the bytes in `range` of the window.
pub(super) fn parse(window: &mut Window, range: Range<usize>, tokens: &mut Tokens, effort: &Effort) {
    let end = range.end;
    let mut at = range.start;
    loop {
        let section_end = if end - at < effort.section * 3 / 2 { end } else { at + effort.section };
        let mut section = tokens.section(at);
        window.link_up_to(section_end + 4);
        let view = window.view();
        let reach = reach_of_three(window.bytes(at..section_end));
        while at < section_end {
            let most = (end - at).min(MAX_MATCH);
            if most < 4 {
                section.literal(view.byte(at));
                at += 1;
                continue;
            }
            let mut best = view.longest(at, 3, most, effort.depth, effort.nice);
            if best.length == 0 {
                if let Some(distance) = view.three(at).filter(|&distance| distance <= reach) {
                    best = Match { length: 3, distance };
                } else {
                    section.literal(view.byte(at));
                    at += 1;
                    continue;
                }
            }
            while best.length < effort.nice && at < section_end && end - at > 5 {
                let next = view.longest(
                    at + 1,
                    best.length - 1,
                    (end - at - 1).min(MAX_MATCH),
                    effort.depth / 2,
                    effort.nice,
                );
                if next.length >= best.length && gain(next) > gain(best) {
                    section.literal(view.byte(at));
                    at += 1;
                    best = next;
                    continue;
                }
                if effort.lookahead < 2 || end - at <= 5 {
                    break;
                }
                let next = view.longest(
                    at + 2,
                    best.length,
                    (end - at - 2).min(MAX_MATCH),
                    effort.depth / 4,
                    effort.nice,
                );
                if next.length > best.length && gain(next) > gain(best) + 4 {
                    section.literal(view.byte(at));
                    section.literal(view.byte(at + 1));
                    at += 2;
                    best = next;
                    continue;
                }
                break;
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

/// Worth of a match: bytes covered less what the distance costs.
fn gain(found: Match) -> i32 {
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
