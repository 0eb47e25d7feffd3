//! Content that comes from a stream, as much at a time as there is room for.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::io::Read;

use crate::error::{Error, Result};

/// Fills `buf` from `content`, or up to its end; answers with how much that was.
pub(super) fn read_full(content: &mut dyn Read, buf: &mut [u8]) -> Result<usize> {
    let mut filled = 0_usize;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match content.read(rest) {
            Ok(0) => break,
            Ok(len) => filled = filled.saturating_add(len),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::from(error).doing("reading what is to be written")),
        }
    }
    Ok(filled)
}
