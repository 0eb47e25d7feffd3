//! Internal snapshots: taken, gone back to, and deleted, each at one moment (see `transaction.rs`).
//!
//! ```text
//!          active L1 ─► L2 ─► clusters          create: the snapshot's L1 leads to the same L2 tables
//!                       ▲                        apply: the active L1 becomes a copy of the snapshot's
//!  snapshot's L1 ───────┘                       delete: what only the snapshot led to is free
//! ```
//!
//! What several L1 tables lead to has a refcount over 1 and no copied flags, so that a write copies it first. Each L1
//! table that leads to an L2 table counts one use of it, and of everything that it names. Section: "Snapshots".

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod expand_zero_clusters;
pub(super) mod tables;

pub(super) use expand_zero_clusters::expand_zero_clusters;

use super::super::header::Header;
use super::super::snapshot::{self, Snapshot};
use super::lazy_refcounts;
use super::transaction::table_range;
use crate::block::BlockWrite;
use crate::error::{Doing, Error, Result};
use tables::{Change, change_list};

/// The longest name of a snapshot that QEMU reads, in bytes.
const MAX_SNAPSHOT_NAME_LEN: usize = 255;

/// A snapshot that is going to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Its name: at most 255 bytes.
    pub name: Vec<u8>,
    /// The time: seconds since 1970, and nanoseconds.
    pub date: (u32, u32),
}

/// Takes a snapshot of the disk as it is. All that was written is in `file`, which `header` describes; returns the new
/// header.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for a name that is too long; [`Unsupported`](crate::ErrorKind::Unsupported)
/// where refcounts are too narrow, there are too many snapshots or guest clusters are in a data file;
/// [`Corrupt`](crate::ErrorKind::Corrupt) for tables that break a rule. The image is as before then.
pub fn create_snapshot(file: &dyn BlockWrite, header: &Header, new: NewSnapshot) -> Result<Header> {
    if new.name.len() > MAX_SNAPSHOT_NAME_LEN {
        return Err(Error::invalid(format!(
            "a snapshot's name of {} bytes: {MAX_SNAPSHOT_NAME_LEN} at most",
            new.name.len()
        )));
    }
    change(file, header, |change, snapshots| {
        let l1 = change.share_active()?;
        let id = snapshots.iter().filter_map(|snapshot| leading_number(&snapshot.id)).max();
        snapshots.push(Snapshot {
            id: id.unwrap_or(0).saturating_add(1).to_string().into_bytes(),
            name: new.name,
            l1,
            date: new.date,
            guest_clock_nanoseconds: 0,
            vm_state_size: 0,
            disk_size: Some(header.size),
            icount: Some(0),
            extra: Vec::new(),
            extra_len: 0,
        });
        Ok(true)
    })
    .doing(|| "taking a snapshot")
}

/// Makes the disk what it was when the snapshot at `index` of the table was taken, its size too. As
/// [`create_snapshot`].
///
/// # Errors
/// [`Refused`](crate::ErrorKind::Refused) if there are bitmaps, which would not tell what changes by this; as
/// [`create_snapshot`].
pub fn apply_snapshot(file: &dyn BlockWrite, header: &Header, index: usize) -> Result<Header> {
    if header.bitmaps().is_some() {
        return Err(Error::refused(
            "the image has bitmaps, which cannot follow it to a snapshot: remove them first",
        )
        .doing("applying a snapshot"));
    }
    change(file, header, |change, snapshots| {
        let snapshot = at(snapshots, index)?;
        let then = snapshot.header(header)?;
        let old = change.active()?;
        let l1 = change.take_over(snapshot.l1)?;
        change.drop_tree(&old)?;
        change.transaction.remove(table_range(header.l1)?)?;
        change.transaction.header.size = then.size;
        change.transaction.header.l1 = l1;
        Ok(true)
    })
    .doing(|| "applying a snapshot")
}

/// Deletes the snapshot at `index` of the table. As [`create_snapshot`].
///
/// # Errors
/// As [`create_snapshot`].
pub fn delete_snapshot(file: &dyn BlockWrite, header: &Header, index: usize) -> Result<Header> {
    change(file, header, |change, snapshots| {
        let l1 = at(snapshots, index)?.l1;
        snapshots.remove(index);
        let tree = change.read_l1(l1)?;
        change.drop_tree(&tree)?;
        change.transaction.remove(table_range(l1)?)?;
        change.own_what_is_left()?;
        Ok(true)
    })
    .doing(|| "deleting a snapshot")
}

fn at(snapshots: &[Snapshot], index: usize) -> Result<&Snapshot> {
    snapshots
        .get(index)
        .ok_or_else(|| Error::invalid(format!("there is no snapshot at {index} of the table")))
}

/// The number that an id starts with.
fn leading_number(id: &[u8]) -> Option<u64> {
    let digits: Vec<u8> = id.iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// Lets `with` change tables and the list of snapshots, and writes a new snapshot table if it says so.
fn change(
    file: &dyn BlockWrite,
    header: &Header,
    with: impl FnOnce(&mut Change<'_, '_>, &mut Vec<Snapshot>) -> Result<bool>,
) -> Result<Header> {
    if header.has_data_file() {
        return Err(Error::unsupported("guest clusters are in a data file, which has no snapshots"));
    }
    let header = &lazy_refcounts::repair_if_dirty(file, header)?;
    change_list(file, header, snapshot::list(file, header)?, with)
}

#[cfg(test)]
mod tests;
