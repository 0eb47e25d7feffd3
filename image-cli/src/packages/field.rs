//! Numbers at places of a structure, in either order of bytes: what lies outside of the bytes counts as zero.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// Which byte of a number comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The one that counts least.
    Little,
    /// The one that counts most.
    Big,
}

impl Order {
    /// Two bytes at `at`.
    pub(super) fn u16(self, bytes: &[u8], at: usize) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(field(bytes, at)),
            Self::Big => u16::from_be_bytes(field(bytes, at)),
        }
    }

    /// Four bytes at `at`.
    pub(super) fn u32(self, bytes: &[u8], at: usize) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(field(bytes, at)),
            Self::Big => u32::from_be_bytes(field(bytes, at)),
        }
    }
}

/// The `N` bytes at `at`.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// The byte at `at`.
pub(super) fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// `len` bytes at `at`, if all of them are there.
pub(super) fn part(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_is_zero() {
        let bytes = [1, 2, 3, 4, 5];
        assert_eq!((Order::Little.u16(&bytes, 3), Order::Big.u32(&bytes, 1)), (0x0504, 0x0203_0405));
        assert_eq!((Order::Big.u16(&bytes, 4), Order::Little.u32(&bytes, usize::MAX)), (0, 0));
        assert_eq!((u8_at(&bytes, 4), u8_at(&bytes, 5)), (5, 0));
        assert_eq!(part(&bytes, 3, 2), Some(&[4, 5][..]));
        assert_eq!((part(&bytes, 3, 3), part(&bytes, usize::MAX, 2)), (None, None));
    }
}
