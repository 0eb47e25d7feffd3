//! A bit for each cluster.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// Bits by number; those behind the end are set and stay so.
#[derive(Debug, Clone, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// `count` of them, none set.
    pub(super) fn new(count: u32) -> Self {
        Self(vec![0; count.div_ceil(64) as usize])
    }

    fn place(number: u32) -> (usize, u64) {
        ((number >> 6) as usize, 1 << (number & 63))
    }

    /// Whether bit `number` is set.
    pub(super) fn get(&self, number: u32) -> bool {
        let (word, bit) = Self::place(number);
        self.0.get(word).is_none_or(|word| word & bit != 0)
    }

    /// Sets bit `number`; whether it was set before.
    pub(super) fn set(&mut self, number: u32) -> bool {
        let (word, bit) = Self::place(number);
        let Some(word) = self.0.get_mut(word) else { return true };
        let was_set = *word & bit != 0;
        *word |= bit;
        was_set
    }

    /// Clears bit `number`.
    pub(super) fn clear(&mut self, number: u32) {
        let (word, bit) = Self::place(number);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }

    /// The first bit from `from` on and before `end` that is not set.
    pub(super) fn next_clear(&self, from: u32, end: u32) -> Option<u32> {
        self.next(from, end, |word| !word)
    }

    /// The first bit from `from` on and before `end` that is set.
    pub(super) fn next_set(&self, from: u32, end: u32) -> Option<u32> {
        self.next(from, end, |word| word)
    }

    fn next(&self, from: u32, end: u32, of: impl Fn(u64) -> u64) -> Option<u32> {
        let mut word = (from >> 6) as usize;
        let mut mask = u64::MAX << (from & 63);
        loop {
            let found = of(*self.0.get(word)?) & mask;
            if found != 0 {
                let number = (word as u32).saturating_mul(64).saturating_add(found.trailing_zeros());
                return Some(number).filter(|number| *number < end);
            }
            (word, mask) = (word.saturating_add(1), u64::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_found() {
        let mut bits = Bits::new(200);
        for number in [2, 63, 64, 199] {
            assert!(!bits.set(number) && bits.set(number) && bits.get(number));
        }
        assert!(bits.get(256) && bits.set(256) && !bits.get(198));
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(next) = bits.next_set(at, 200) {
            found.push(next);
            at = next + 1;
        }
        assert_eq!(found, [2, 63, 64, 199]);
        assert_eq!((bits.next_clear(63, 200), bits.next_clear(199, 200)), (Some(65), None));
        bits.clear(63);
        assert_eq!((bits.next_set(3, 64), bits.next_set(3, 65)), (None, Some(64)));
    }
}
