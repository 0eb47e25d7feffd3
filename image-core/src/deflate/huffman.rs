//! Prefix codes: from how often each symbol occurs to the bits that stand for it (RFC 1951, 3.2.2).
//!
//! ```text
//! counts ─► lengths   Huffman's tree; if a code is too long, the best tree of limited height (package-merge)
//! lengths ─► codes    shorter codes first, then in the order of the symbols; sent highest bit first
//! ```

/// Symbols of the largest alphabet.
const MAX_SYMBOLS: usize = 288;
/// Longest code that any alphabet allows.
const MAX_BITS: usize = 15;

/// A prefix code as the writer wants it: for each symbol its bits, ready for a writer that puts the lowest bit first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Code {
    /// The code, its first bit lowest.
    pub(super) bits: u16,
    /// How many bits; zero for a symbol that has no code.
    pub(super) length: u8,
}

/// Finds the code lengths that make the sum of `counts[i] * lengths[i]` smallest, none above `limit`.
///
/// Symbols that do not occur get length 0. At least two symbols get a code, occurring or not: a decoder need not
/// accept a code that leaves bit patterns without meaning.
pub(super) fn code_lengths(counts: &[u32], limit: u8, lengths: &mut [u8]) {
    debug_assert!(counts.len() == lengths.len() && counts.len() <= MAX_SYMBOLS);
    lengths.fill(0);
    let mut sorted = [0u64; MAX_SYMBOLS];
    let mut used = 0;
    for (symbol, &count) in counts.iter().enumerate() {
        if count != 0 {
            sorted[used] = u64::from(count) << 16 | symbol as u64;
            used += 1;
        }
    }
    if used < 2 {
        // The symbol that occurs and the first that does not.
        let first = if used == 1 { (sorted[0] & 0xffff) as usize } else { 0 };
        lengths[first] = 1;
        lengths[usize::from(first == 0)] = 1;
        return;
    }
    let sorted = &mut sorted[..used];
    sorted.sort_unstable();
    let mut depths = [0u8; MAX_SYMBOLS];
    let depths = &mut depths[..used];
    if !tree_depths(sorted, limit, depths) {
        limited_depths(sorted, usize::from(limit), depths);
    }
    for (&entry, &depth) in sorted.iter().zip(depths.iter()) {
        lengths[(entry & 0xffff) as usize] = depth;
    }
}

/// Depths of the leaves of Huffman's tree; `sorted` holds `count << 16 | symbol`, rarest first.
/// False if one is deeper than `limit`.
fn tree_depths(sorted: &[u64], limit: u8, depths: &mut [u8]) -> bool {
    let leaves = sorted.len();
    // Inner nodes come into being in the order of their weights, so two queues replace a heap.
    let mut weights = [0u64; MAX_SYMBOLS];
    let mut parents = [0u16; 2 * MAX_SYMBOLS];
    let (mut leaf, mut inner) = (0, 0);
    for node in 0..leaves - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            if leaf < leaves && (inner == node || sorted[leaf] >> 16 <= weights[inner]) {
                weight += sorted[leaf] >> 16;
                parents[leaf] = node as u16;
                leaf += 1;
            } else {
                weight += weights[inner];
                parents[MAX_SYMBOLS + inner] = node as u16;
                inner += 1;
            }
        }
        weights[node] = weight;
    }
    // The last inner node is the root. Parents come after their children, so backwards each finds its parent done.
    let mut inner_depths = [0u16; MAX_SYMBOLS];
    for node in (0..leaves - 2).rev() {
        inner_depths[node] = inner_depths[usize::from(parents[MAX_SYMBOLS + node])] + 1;
    }
    // The rarest symbol is the deepest.
    if inner_depths[usize::from(parents[0])] + 1 > u16::from(limit) {
        return false;
    }
    for (leaf, depth) in depths.iter_mut().enumerate() {
        *depth = inner_depths[usize::from(parents[leaf])] as u8 + 1;
    }
    true
}

/// Depths of the leaves of the best tree that is at most `limit` high, by package-merge (Larmore and Hirschberg, 1990).
///
/// Each round pairs up the cheapest items of the round before and merges the pairs with the leaves. In the end the
/// cheapest `2 * leaves - 2` items are taken; a leaf is as deep as the number of rounds in which it was taken.
fn limited_depths(sorted: &[u64], limit: usize, depths: &mut [u8]) {
    let leaves = sorted.len();
    let mut is_leaf = [[false; 2 * MAX_SYMBOLS]; MAX_BITS];
    let mut items = [0u64; 2 * MAX_SYMBOLS];
    let mut item_count = 0;
    for round in is_leaf.iter_mut().take(limit) {
        let mut merged = [0u64; 2 * MAX_SYMBOLS];
        let (mut leaf, mut pair, mut count) = (0, 0, 0);
        while leaf < leaves || pair < item_count / 2 {
            let pair_weight =
                if pair < item_count / 2 { items[2 * pair] + items[2 * pair + 1] } else { u64::MAX };
            round[count] = leaf < leaves && sorted[leaf] >> 16 <= pair_weight;
            if round[count] {
                merged[count] = sorted[leaf] >> 16;
                leaf += 1;
            } else {
                merged[count] = pair_weight;
                pair += 1;
            }
            count += 1;
        }
        (items, item_count) = (merged, count);
    }
    depths.fill(0);
    let mut taken = 2 * leaves - 2;
    for round in is_leaf[..limit].iter().rev() {
        let leaves_taken = round[..taken].iter().filter(|&&leaf| leaf).count();
        for depth in &mut depths[..leaves_taken] {
            *depth += 1;
        }
        taken = 2 * (taken - leaves_taken);
    }
}

/// The codes that belong to `lengths`, in the order that a decoder rebuilds them in.
pub(super) fn codes(lengths: &[u8], codes: &mut [Code]) {
    let mut length_counts = [0u16; MAX_BITS + 1];
    for &length in lengths {
        length_counts[usize::from(length)] += 1;
    }
    length_counts[0] = 0;
    let mut next = [0u16; MAX_BITS + 1];
    for length in 1..=MAX_BITS {
        next[length] = (next[length - 1] + length_counts[length - 1]) << 1;
    }
    for (code, &length) in codes.iter_mut().zip(lengths) {
        let value = &mut next[usize::from(length)];
        let bits = if length == 0 { 0 } else { value.reverse_bits() >> (16 - u32::from(length)) };
        *code = Code { bits, length };
        *value = value.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lengths_of(counts: &[u32], limit: u8) -> Vec<u8> {
        let mut lengths = vec![0; counts.len()];
        code_lengths(counts, limit, &mut lengths);
        lengths
    }

    fn cost(counts: &[u32], lengths: &[u8]) -> u64 {
        counts.iter().zip(lengths).map(|(&count, &length)| u64::from(count) * u64::from(length)).sum()
    }

    #[test]
    fn the_example_of_the_specification() {
        // RFC 1951, 3.2.2: lengths (3, 3, 3, 3, 3, 2, 4, 4) for A … H.
        let mut out = [Code::default(); 8];
        codes(&[3, 3, 3, 3, 3, 2, 4, 4], &mut out);
        let readable: Vec<String> = out
            .iter()
            .map(|code| {
                let reversed = code.bits.reverse_bits() >> (16 - u32::from(code.length));
                format!("{reversed:0width$b}", width = usize::from(code.length))
            })
            .collect();
        assert_eq!(readable, ["010", "011", "100", "101", "110", "00", "1110", "1111"]);
    }

    #[test]
    fn a_lone_symbol_gets_a_companion() {
        assert_eq!(lengths_of(&[0, 0, 9], 15), [1, 0, 1]);
        assert_eq!(lengths_of(&[9, 0, 0], 15), [1, 1, 0]);
        assert_eq!(lengths_of(&[0, 0, 0], 15), [1, 1, 0]);
    }

    #[test]
    fn counts_that_grow_like_fibonacci_numbers_meet_the_limit() {
        let mut counts = vec![1u32, 1];
        while counts.len() < 19 {
            counts.push(counts[counts.len() - 1] + counts[counts.len() - 2]);
        }
        let free = lengths_of(&counts, 15 + 3);
        assert_eq!(free.iter().max(), Some(&18));
        let limited = lengths_of(&counts, 7);
        assert_eq!(limited.iter().max(), Some(&7));
        // The best cost under this limit, found by exhaustive search over non-increasing length sequences.
        assert_eq!(cost(&counts, &limited), best_cost(&counts, 7));
    }

    /// The smallest cost of any prefix code with lengths up to `limit`, by trying how many symbols have each length.
    fn best_cost(counts: &[u32], limit: u32) -> u64 {
        fn search(counts: &[u32], room: u64, length: u32, limit: u32) -> Option<u64> {
            // `room`: free nodes at depth `length`; the most frequent symbols, at the end of `counts`, go first.
            if counts.is_empty() {
                return Some(0);
            }
            if length > limit {
                return None;
            }
            let mut best = None;
            for here in 0..=room.min(counts.len() as u64) {
                let (rest, taken) = counts.split_at(counts.len() - here as usize);
                let sum: u64 = taken.iter().map(|&count| u64::from(count)).sum();
                if let Some(more) = search(rest, (room - here) * 2, length + 1, limit) {
                    let total = sum * u64::from(length) + more;
                    if best.is_none_or(|best| total < best) {
                        best = Some(total);
                    }
                }
            }
            best
        }
        search(counts, 2, 1, limit).expect("the limit leaves room for all symbols")
    }

    proptest! {
        #[test]
        fn codes_are_complete_limited_and_the_best(
            mut counts in proptest::collection::vec(0u32..400, 2..12), steep in 0u32..3, limit in 4u8..6,
        ) {
            for (index, count) in counts.iter_mut().enumerate() {
                *count <<= steep * index as u32 / 2;
            }
            let lengths = lengths_of(&counts, limit);
            let kraft: u32 = lengths.iter().filter(|&&length| length != 0).map(|&length| 1 << (15 - length)).sum();
            prop_assert_eq!(kraft, 1 << 15, "lengths {:?}", lengths);
            prop_assert!(lengths.iter().all(|&length| length <= limit));
            let mut used: Vec<u32> = counts.iter().copied().filter(|&count| count != 0).collect();
            prop_assume!(used.len() >= 2);
            used.sort_unstable();
            prop_assert_eq!(cost(&counts, &lengths), best_cost(&used, u32::from(limit)));
        }
    }
}
