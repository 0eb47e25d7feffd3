//! Fast commits: changes of files in short, behind the ring. They are counted, not played.
//!
//! ```text
//! head │ change │ change │ … │ tail       tag │ length │ value; little endian, as ext4 and unlike the journal
//! ```
//! Linux kernel documentation, filesystems/ext4/journal ("Fast commits"): a commit counts if it has its tail, and its head says that
//! it follows the last whole transaction.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Journal;
use crate::error::Result;
use crate::fs::ext4::field::{u16_at, u32_at};

const PAD: u16 = 0x7;
const TAIL: u16 = 0x8;
const HEAD: u16 = 0x9;
/// Of a tag and its length.
const TAG_LEN: usize = 4;

/// How many fast commits there are in the journal's blocks from `first` to `end` that follow transaction `next` − 1.
pub(super) fn count(journal: &Journal<'_>, first: u32, end: u32, next: u32) -> Result<usize> {
    let mut count = 0_usize;
    for index in first..end {
        let block = journal.read(index)?;
        match tails(&block, next) {
            Some(found) => count = count.saturating_add(found),
            None => break,
        }
    }
    Ok(count)
}

/// How many tails of commits that follow `next` − 1 are in `block`; `None` if it does not go on.
fn tails(block: &[u8], next: u32) -> Option<usize> {
    let mut found = 0_usize;
    let mut rest = block;
    let mut has_begun = false;
    while rest.len() >= TAG_LEN {
        let (tag, len) = (u16_at(rest, 0), usize::from(u16_at(rest, 2)));
        let value = rest.get(TAG_LEN..TAG_LEN.saturating_add(len))?;
        match tag {
            HEAD if u32_at(value, 4) != next => return None,
            TAIL if u32_at(value, 0) == next => found = found.saturating_add(1),
            TAIL => return None,
            1..=PAD | HEAD => {}
            _ if has_begun => break,
            _ => return None,
        }
        has_begun = true;
        rest = rest.get(TAG_LEN.saturating_add(len)..).unwrap_or_default();
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_counted_by_their_tails() {
        let tag = |tag: u16, value: &[u32]| {
            let mut bytes = [tag.to_le_bytes(), (value.len() as u16 * 4).to_le_bytes()].concat();
            bytes.extend(value.iter().flat_map(|word| word.to_le_bytes()));
            bytes
        };
        let (head, change, tail) = (tag(HEAD, &[0, 9]), tag(4, &[1, 2]), tag(TAIL, &[9, 0xcccc]));
        let zeroes = vec![0; 8];
        let one = [&head[..], &change, &tail, &zeroes].concat();
        assert_eq!(tails(&one, 9), Some(1));
        assert_eq!(tails(&one, 10), None, "of another transaction");
        assert_eq!(tails(&[&head[..], &change, &zeroes].concat(), 9), Some(0), "cut off");
        assert_eq!(tails(&[0; 64], 9), None);
        assert_eq!(tails(&tag(PAD, &[0; 3])[..8], 9), None, "longer than its block");
    }
}
