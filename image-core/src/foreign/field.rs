//! Numbers at places of a structure, and structures of a file.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::rule::Corrupt;
use crate::block::BlockRead;
use crate::error::{Doing, Result};

/// The `N` bytes at `at`; zeroes where there are fewer: whoever reads a structure has read all of it.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Two bytes, little endian.
pub(super) fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(bytes, at))
}

/// Four bytes, little endian.
pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

/// Eight bytes, little endian.
pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

/// Two bytes, big endian.
pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(field(bytes, at))
}

/// Four bytes, big endian.
pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(field(bytes, at))
}

/// Eight bytes, big endian.
pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(field(bytes, at))
}

/// `bytes` in place of what is at `at`; nothing outside.
pub(super) fn put(target: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = target.get_mut(at..at.saturating_add(bytes.len())) {
        place.copy_from_slice(bytes);
    }
}

/// Sixteen bytes as a UUID is shown, in the order they are stored.
pub(super) fn uuid_text(bytes: [u8; 16]) -> String {
    uuid::Uuid::from_bytes(bytes).to_string()
}

/// The `len` bytes of the structure `what` at `offset`, which must be in the file. `len` is small: the caller has
/// compared it with what the format allows.
pub(super) fn structure(file: &dyn BlockRead, what: &'static str, offset: u64, len: u64) -> Result<Vec<u8>> {
    let file_size = file.size();
    if offset.checked_add(len).is_none_or(|end| end > file_size) {
        return Err(Corrupt::Outside { what, offset, len, file_size }.into());
    }
    let mut bytes = vec![0; len as usize];
    file.read_at(&mut bytes, offset).doing(|| format!("reading the {what}"))?;
    Ok(bytes)
}

/// Refuses a field that breaks a rule.
pub(super) fn require(
    holds: bool,
    what: &'static str,
    value: impl Into<u64>,
    rule: &'static str,
) -> Result<(), Corrupt> {
    if holds { Ok(()) } else { Err(Corrupt::Field { what, value: value.into(), rule }) }
}

/// Bytes of sectors.
pub(super) fn in_bytes(sectors: u64, what: &'static str) -> Result<u64, Corrupt> {
    let rule = "no disk is that large";
    let bytes = sectors.checked_mul(512).filter(|bytes| *bytes <= i64::MAX as u64);
    bytes.ok_or(Corrupt::Field { what, value: sectors, rule })
}

/// A quotient of sizes, rounded up; the divisor comes from a header, and was looked at.
pub(super) fn blocks_of(size: u64, block_size: u64) -> u64 {
    size.checked_next_multiple_of(block_size.max(1))
        .unwrap_or(u64::MAX)
        .checked_div(block_size.max(1))
        .unwrap_or_default()
}
