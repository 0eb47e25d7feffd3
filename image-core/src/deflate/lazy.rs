//! The parser for most levels: takes the longest match, unless the next position has a better one.

use std::ops::Range;

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
        while at < section_end {
            let most = (end - at).min(MAX_MATCH);
            if most < 4 {
                section.literal(view.byte(at));
                at += 1;
                continue;
            }
            let mut best = view.longest(at, 3, most, effort.depth, effort.nice);
            if best.length == 0 {
                if let Some(distance) = view.three(at).filter(|_| most >= 3) {
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

fn gain(m: Match) -> i32 {
    4 * m.length as i32 - m.distance.ilog2() as i32
}
