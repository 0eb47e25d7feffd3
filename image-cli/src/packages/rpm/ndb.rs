//! The file of rpm's own database (ndb): slots in front, headers behind.
//!
//! ```text
//! 0 RpmP │ 4 version │ 8 generation │ 12 pages of slots │ …   32 slot │ slot │ ……   blocks of 16 bytes
//! slot   Slot │ number of the package │ first block, 0 for none │ blocks
//! blob   BlbS │ number of the package │ generation │ length │ header … 0 │ Adler-32 │ length │ BlbE
//! ```
//!
//! All numbers are little endian. RPM's documentation of the ndb database; Adler-32 is from RFC 1950.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::super::field::Order::Little;
use super::super::rule::DatabaseRule;
use super::super::source::{Content, bytes};
use super::{Budget, Packages};

const PAGE: u64 = 4096;
const BLOCK: u64 = 16;
const SLOT_LEN: usize = 16;
/// What the first slots give their place to.
const START_LEN: u64 = 32;
const HEAD_LEN: usize = 16;
const TAIL_LEN: usize = 12;

const FILE_MARK: u32 = u32::from_le_bytes(*b"RpmP");
const SLOT_MARK: u32 = u32::from_le_bytes(*b"Slot");
const HEAD_MARK: u32 = u32::from_le_bytes(*b"BlbS");
const TAIL_MARK: u32 = u32::from_le_bytes(*b"BlbE");

fn wrong(offset: u64, what: &'static str) -> DatabaseRule {
    DatabaseRule::Ndb { offset, what }
}

/// Gives `packages` every header of the file.
pub(super) fn read(content: &dyn Content, packages: &mut Packages) -> Result<(), DatabaseRule> {
    let size = content.size();
    if size < PAGE {
        return Err(wrong(0, "no page of slots"));
    }
    let start = bytes(content, 0, START_LEN as usize)?;
    if Little.u32(&start, 0) != FILE_MARK {
        return Err(wrong(0, "no mark"));
    }
    if Little.u32(&start, 4) != 0 {
        return Err(DatabaseRule::Unsupported("an unknown version of ndb"));
    }
    let slots_end = u64::from(Little.u32(&start, 12)).saturating_mul(PAGE);
    if slots_end == 0 || slots_end > size {
        return Err(wrong(12, "an impossible number of slots"));
    }
    let mut budget = Budget(size.saturating_sub(slots_end));
    let mut offset = 0_u64;
    while offset < slots_end {
        let page = bytes(content, offset, PAGE as usize)?;
        let skipped = if offset == 0 { START_LEN } else { 0 };
        let slots = page.get(skipped as usize..).unwrap_or_default().chunks_exact(SLOT_LEN);
        for (slot, place) in slots.zip((offset.saturating_add(skipped)..).step_by(SLOT_LEN)) {
            if Little.u32(slot, 0) != SLOT_MARK {
                return Err(wrong(place, "a slot without its mark"));
            }
            if Little.u32(slot, 8) != 0 {
                read_blob(content, slot, slots_end, &mut budget, packages)?;
            }
        }
        offset = offset.saturating_add(PAGE);
    }
    Ok(())
}

/// The header that a slot leads to.
fn read_blob(
    content: &dyn Content,
    slot: &[u8],
    slots_end: u64,
    budget: &mut Budget,
    packages: &mut Packages,
) -> Result<(), DatabaseRule> {
    let number = Little.u32(slot, 4);
    let offset = u64::from(Little.u32(slot, 8)).saturating_mul(BLOCK);
    let len = u64::from(Little.u32(slot, 12)).saturating_mul(BLOCK);
    let end = offset.saturating_add(len);
    if number == 0 || offset < slots_end || end > content.size() || len < (HEAD_LEN + TAIL_LEN) as u64 {
        return Err(wrong(offset, "a slot that leads outside the headers"));
    }
    if !budget.takes(len) {
        return Err(wrong(offset, "headers that are too long, or overlap"));
    }
    let blob = bytes(content, offset, len as usize)?;
    let (body, tail) = blob.split_at_checked(blob.len().saturating_sub(TAIL_LEN)).unwrap_or_default();
    let header_len = Little.u32(body, 12);
    let needed = u64::from(header_len).saturating_add((HEAD_LEN + TAIL_LEN) as u64);
    let is_right = Little.u32(body, 0) == HEAD_MARK
        && Little.u32(body, 4) == number
        && Little.u32(tail, 4) == header_len
        && Little.u32(tail, 8) == TAIL_MARK
        && needed.div_ceil(BLOCK).saturating_mul(BLOCK) == len;
    if !is_right {
        return Err(wrong(offset, "a header without its marks and lengths"));
    }
    if Little.u32(tail, 0) != adler32(body) {
        return Err(DatabaseRule::Checksum(u64::from(number)));
    }
    let header = body.get(HEAD_LEN..).and_then(|rest| rest.get(..header_len as usize)).unwrap_or_default();
    packages.take(u64::from(number), header)
}

/// Adler-32.
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65521;
    // So many bytes do not exceed 32 bits.
    let (low, high) = bytes.chunks(5552).fold((1_u32, 0_u32), |(low, high), chunk| {
        let (low, high) = chunk.iter().fold((low, high), |(low, high), byte| {
            let low = low.wrapping_add(u32::from(*byte));
            (low, high.wrapping_add(low))
        });
        (low % MODULUS, high % MODULUS)
    });
    high << 16 | low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adler32_is_as_others_tell_it() {
        assert_eq!(adler32(b""), 1);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
        assert_eq!(adler32(&[0xff; 1 << 20]), 0x8e88_ef11);
    }
}
