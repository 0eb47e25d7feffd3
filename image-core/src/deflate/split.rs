//! Where one block ends and the next begins: neighbouring sections share a code while that is cheaper.
//!
//! ```text
//! sections   │ a │ b │ c │ d │ e │ f │      a few KiB each
//! blocks     │ a   b │ c   d   e │ f │      merged pair by pair, the largest gain first
//! ```
//!
//! A cluster of a disk holds pieces of unrelated files, so it pays to look; the price of a block is its header.
//! Costs are estimated by entropy: no code is built until the blocks are settled.

use super::entropy::entropy_bits;
use super::tokens::{Histogram, Section};

/// Merges neighbours while the estimate says that the stream becomes smaller.
pub(super) fn merge_sections(sections: &mut Vec<Section>) {
    let mut costs: Vec<f32> = sections.iter().map(|section| cost(&section.histogram)).collect();
    let mut gains: Vec<Gain> = (1..sections.len()).map(|right| gain(sections, &costs, right)).collect();
    while let Some(best) = (0..gains.len()).max_by(|&a, &b| gains[a].bits.total_cmp(&gains[b].bits)) {
        if gains[best].bits <= 0.0 {
            return;
        }
        let right = sections.remove(best + 1);
        let left = &mut sections[best];
        left.histogram.add(&right.histogram);
        left.bytes.end = right.bytes.end;
        left.tokens.end = right.tokens.end;
        costs[best] = gains[best].cost;
        costs.remove(best + 1);
        gains.remove(best);
        if best > 0 {
            gains[best - 1] = gain(sections, &costs, best);
        }
        if best < gains.len() {
            gains[best] = gain(sections, &costs, best + 1);
        }
    }
}

/// What becomes of the cost when two neighbours share a code.
struct Gain {
    /// Estimated cost of both together.
    cost: f32,
    /// How many bits that saves.
    bits: f32,
}

fn gain(sections: &[Section], costs: &[f32], right: usize) -> Gain {
    let mut both = sections[right - 1].histogram.clone();
    both.add(&sections[right].histogram);
    let cost = cost(&both);
    Gain { cost, bits: costs[right - 1] + costs[right] - cost }
}

/// Estimated bits of a block with these symbols, header included, extra bits not (they do not depend on the code).
fn cost(histogram: &Histogram) -> f32 {
    const HEADER_BITS: f32 = 90.0;
    const SYMBOL_BITS: f32 = 3.5;
    let (litlen, litlen_used) = entropy_bits(&histogram.litlen);
    let (distance, distance_used) = entropy_bits(&histogram.distance);
    HEADER_BITS + SYMBOL_BITS * (litlen_used + distance_used) as f32 + litlen + distance
}
