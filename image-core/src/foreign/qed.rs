//! QED, QEMU's short-lived "enhanced disk".
//!
//! ```text
//! L1 entry ─► L2 table ─► entry: 0 nothing there · 1 zeroes · a place
//! ```
//!
//! All numbers are little endian. Source: QEMU, `docs/interop/qed_spec.rst`.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::sync::Arc;

use super::field::{le32, le64, require, structure};
use super::mapped::{BlockTable, Mapped, Place};
use super::rule::{Corrupt, Unsupported};
use super::table::Table;
use crate::block::BlockRead;
use crate::error::Result;

const HEADER_LEN: u64 = 64;
const MAX_NAME: u64 = 1023;
/// Bits of `features`.
const BACKED: u64 = 1;
const NEEDS_CHECK: u64 = 2;
const BACKING_IS_RAW: u64 = 4;

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The virtual size in bytes.
    pub(crate) size: u64,
    /// The bytes of a cluster.
    pub(crate) cluster_size: u64,
    /// Whether it was not closed.
    pub(crate) needs_check: bool,
    /// The name of the backing file, and whether that is raw.
    pub(crate) backing: Option<(Vec<u8>, bool)>,
    table_count: u64,
    l1_offset: u64,
}

impl Header {
    /// Reads the header in `file`.
    ///
    /// # Errors
    /// [`Corrupt`], [`Unsupported`]; whatever reading says.
    pub(crate) fn read(file: &dyn BlockRead) -> Result<Self> {
        let bytes = structure(file, "header", 0, HEADER_LEN)?;
        if !bytes.starts_with(b"QED\0") {
            let found = bytes.get(..4).unwrap_or_default().to_vec();
            return Err(Corrupt::Signature { what: "header", found }.into());
        }
        let (cluster_size, table_size) = (u64::from(le32(&bytes, 4)), u64::from(le32(&bytes, 8)));
        require(
            cluster_size.is_power_of_two() && (1 << 12..=1 << 26).contains(&cluster_size),
            "cluster size",
            cluster_size,
            "a power of two from 4 KiB to 64 MiB",
        )?;
        require(matches!(table_size, 1 | 2 | 4 | 8 | 16), "table size", table_size, "1, 2, 4, 8 or 16")?;
        let features = le64(&bytes, 16);
        let unknown = features & !(BACKED | NEEDS_CHECK | BACKING_IS_RAW);
        if unknown != 0 {
            return Err(Unsupported::Value { what: "set of features", value: unknown }.into());
        }
        let table_count = table_size.saturating_mul(cluster_size) >> 3;
        let (size, l1_offset) = (le64(&bytes, 48), le64(&bytes, 40));
        let most = table_count.saturating_mul(table_count).saturating_mul(cluster_size);
        require(
            size <= most.min(i64::MAX as u64) && size.is_multiple_of(512),
            "virtual size",
            size,
            "sectors, as many as tables can find",
        )?;
        let (len, file_size) = (table_count.saturating_mul(8), file.size());
        if l1_offset.checked_add(len).is_none_or(|end| end > file_size) {
            return Err(Corrupt::Outside { what: "L1 table", offset: l1_offset, len, file_size }.into());
        }
        let backing = match features & BACKED {
            0 => None,
            _ => {
                let (offset, len) = (u64::from(le32(&bytes, 56)), u64::from(le32(&bytes, 60)));
                require(len <= MAX_NAME, "length of the backing file's name", len, "1023 at most")?;
                let name = structure(file, "backing file's name", offset, len)?;
                Some((name, features & BACKING_IS_RAW != 0))
            }
        };
        let needs_check = features & NEEDS_CHECK != 0;
        Ok(Self { size, cluster_size, needs_check, backing, table_count, l1_offset })
    }

    /// The disk in `file`, which begins with this header.
    pub(super) fn open(
        &self,
        file: Arc<dyn BlockRead>,
        backing: Option<Arc<dyn BlockRead>>,
    ) -> Arc<dyn BlockRead> {
        let table = Tables {
            l1: Table::new(file.clone(), "L1 table"),
            l2: Table::new(file.clone(), "L2 table"),
            header: self.clone(),
        };
        Arc::new(Mapped::new(file, table, self.size, backing))
    }
}

struct Tables {
    l1: Table,
    l2: Table,
    header: Header,
}

impl BlockTable for Tables {
    fn piece(&self, at: u64) -> Result<(u64, Place)> {
        let Header { cluster_size, table_count, l1_offset, .. } = self.header;
        let cluster = at.checked_div(cluster_size).unwrap_or_default();
        let l1_index = cluster.checked_div(table_count).unwrap_or_default();
        let index = cluster.checked_rem(table_count).unwrap_or_default();
        let entry = self.l1.entry(l1_offset.saturating_add(l1_index.saturating_mul(8)), at)?;
        let table = u64::from_le_bytes(entry);
        if table == 0 {
            let next = l1_index.saturating_add(1).saturating_mul(table_count);
            return Ok((next.saturating_mul(cluster_size), Place::Nothing));
        }
        let entry = self.l2.entry(table.saturating_add(index.saturating_mul(8)), at)?;
        let start = cluster.saturating_mul(cluster_size);
        let place = match u64::from_le_bytes(entry) {
            0 => Place::Nothing,
            1 => Place::Zero,
            host if host.checked_rem(cluster_size) == Some(0) => {
                Place::Plain(host.saturating_add(at.saturating_sub(start)))
            }
            entry => return Err(Corrupt::Entry { guest: at, what: "L2 table", entry }.into()),
        };
        Ok((start.saturating_add(cluster_size), place))
    }

    fn block_size(&self) -> u64 {
        self.header.cluster_size
    }
}
