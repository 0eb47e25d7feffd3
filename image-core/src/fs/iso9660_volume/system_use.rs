//! The system use area of a record: entries of a few bytes, which may go on elsewhere.
//!
//! ```text
//! entry   0 mark, two letters │ 2 length │ 3 version │ data                 ST the end
//! CE      4 block │ 12 offset in it │ 20 length        where the entries go on when those here are over
//! SP      4 0xbe 0xef │ 6 bytes before the entries of every other record        in the first record of the root directory
//! ```
//! IEEE P1281 (System Use Sharing Protocol), draft 1.12.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Volume;
use super::record::Record;
use super::rule::IsoReadRule;
use crate::error::{Error, Result};
use crate::fs::field::{part, u8_at, u32_at};

/// Of an entry without data.
const HEADER_LEN: usize = 4;
/// Entries go on elsewhere no more often than that, as in Linux.
const CONTINUED_MAX: u32 = 32;

/// An entry.
pub(super) struct Entry<'a> {
    pub(super) mark: [u8; 2],
    /// Behind the version.
    pub(super) data: &'a [u8],
}

/// Shows each entry of `record` to `each`; the first `skip` bytes are somebody else's.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) with an [`IsoReadRule`]; that of `each`; whatever the disk says.
pub(super) fn each_entry(
    volume: &Volume,
    record: &Record,
    skip: u8,
    each: &mut dyn FnMut(&Entry<'_>) -> Result<(), &'static str>,
) -> Result<()> {
    let wrong = |field| Error::corrupt(IsoReadRule::RockRidge { offset: record.offset, field });
    let mut area = record.system_use().get(usize::from(skip)..).unwrap_or_default().to_vec();
    for _ in 0..=CONTINUED_MAX {
        let Some(place) = each_in(&area, each).map_err(wrong)? else { return Ok(()) };
        let block_size = volume.hierarchy.block_size;
        if place.offset.saturating_add(place.len) > block_size {
            return Err(wrong("continuation"));
        }
        area = vec![0; place.len as usize];
        volume.read(
            &mut area,
            place.block.saturating_mul(block_size).saturating_add(place.offset),
            "continuation",
        )?;
    }
    Err(wrong("number of continuations"))
}

/// Where entries go on.
struct Place {
    block: u64,
    offset: u64,
    len: u64,
}

fn each_in(
    area: &[u8],
    each: &mut dyn FnMut(&Entry<'_>) -> Result<(), &'static str>,
) -> Result<Option<Place>, &'static str> {
    let mut rest = area;
    let mut place = None;
    // What is too short for an entry fills up.
    while rest.len() >= HEADER_LEN {
        let len = usize::from(u8_at(rest, 2));
        let mark = [u8_at(rest, 0), u8_at(rest, 1)];
        if len < HEADER_LEN || mark == *b"ST" {
            break;
        }
        let data = rest.get(HEADER_LEN..len).ok_or("length of an entry")?;
        match &mark {
            b"CE" => {
                let [block, offset, len] = [0, 8, 16].map(|at| u64::from(u32_at(data, at)));
                place = Some(Place { block, offset, len });
            }
            _ => each(&Entry { mark, data })?,
        }
        rest = rest.get(len..).unwrap_or_default();
    }
    Ok(place)
}

/// How many bytes of each record are not Rock Ridge's; `None` if the root directory's first record `root` does not say that Rock
/// Ridge is used.
pub(super) fn rock_ridge_skip(volume: &Volume, root: &Record) -> Option<u8> {
    let (mut skip, mut is_used) = (None, false);
    let read = each_entry(volume, root, 0, &mut |entry| {
        match &entry.mark {
            b"SP" if part(entry.data, 0, 2) == [0xbe, 0xef] => skip = Some(u8_at(entry.data, 2)),
            b"ER" => {
                let id = part(entry.data, 4, usize::from(u8_at(entry.data, 0)));
                is_used |= [&b"RRIP_1991A"[..], b"IEEE_P1282", b"IEEE_1282"].contains(&id);
            }
            b"RR" | b"PX" => is_used = true,
            _ => (),
        }
        Ok(())
    });
    skip.filter(|_| read.is_ok() && is_used)
}
