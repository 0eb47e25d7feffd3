//! QCOW, version 1: what came before qcow2.
//!
//! ```text
//! L1 entry ─► L2 table ─► entry ─┬─ 0 ────────────► the backing file, or zeroes
//!                                ├─ upper bit set ► so many bytes there, raw deflate
//!                                └─ a place
//! ```
//!
//! All numbers are big endian. Source: QEMU, `block/qcow.c`. Encrypted images are refused.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::cell::RefCell;
use std::sync::Arc;

use super::field::{be32, be64, blocks_of, require, structure};
use super::mapped::{BlockTable, Compressed, Mapped, Place};
use super::rule::{Corrupt, Unsupported};
use super::table::Table;
use crate::block::BlockRead;
use crate::error::Result;

const HEADER_LEN: u64 = 48;
const MAX_NAME: u64 = 1023;
const COMPRESSED: u64 = 1 << 63;

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The virtual size in bytes.
    pub(crate) size: u64,
    /// The name of the backing file.
    pub(crate) backing_name: Option<Vec<u8>>,
    cluster_bits: u32,
    l2_bits: u32,
    l1_offset: u64,
}

impl Header {
    /// Reads the header in `file`.
    ///
    /// # Errors
    /// [`Corrupt`], [`Unsupported`]; whatever reading says.
    pub(crate) fn read(file: &dyn BlockRead) -> Result<Self> {
        let bytes = structure(file, "header", 0, HEADER_LEN)?;
        if !bytes.starts_with(b"QFI\xfb\0\0\0\x01") {
            let found = bytes.get(..8).unwrap_or_default().to_vec();
            return Err(Corrupt::Signature { what: "header", found }.into());
        }
        let [cluster_bits, l2_bits] = [32, 33].map(|at| u32::from(bytes.get(at).copied().unwrap_or(0)));
        require((9..=16).contains(&cluster_bits), "log2 of the cluster size", cluster_bits, "9 to 16")?;
        require((6..=13).contains(&l2_bits), "log2 of an L2 table's entries", l2_bits, "6 to 13")?;
        match be32(&bytes, 36) {
            0 => {}
            _ => return Err(Unsupported::Encrypted.into()),
        }
        // Whole sectors count.
        let size = be64(&bytes, 24) & !511;
        require(size <= i64::MAX as u64, "virtual size", size, "no disk is that large")?;
        let (l1_offset, file_size) = (be64(&bytes, 40), file.size());
        let covers = 1_u64.wrapping_shl(cluster_bits.saturating_add(l2_bits));
        let len = blocks_of(size, covers).saturating_mul(8);
        if l1_offset.checked_add(len).is_none_or(|end| end > file_size) {
            return Err(Corrupt::Outside { what: "L1 table", offset: l1_offset, len, file_size }.into());
        }
        let (name_offset, name_len) = (be64(&bytes, 8), u64::from(be32(&bytes, 16)));
        require(name_len <= MAX_NAME, "length of the backing file's name", name_len, "1023 at most")?;
        let backing_name = match name_offset {
            0 => None,
            offset => Some(structure(file, "backing file's name", offset, name_len)?),
        };
        Ok(Self { size, backing_name, cluster_bits, l2_bits, l1_offset })
    }

    /// The bytes of a cluster.
    pub(crate) fn cluster_size(&self) -> u64 {
        1_u64.wrapping_shl(self.cluster_bits)
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
            file: file.clone(),
        };
        Arc::new(Mapped::new(file, table, self.size, backing))
    }
}

struct Tables {
    l1: Table,
    l2: Table,
    header: Header,
    file: Arc<dyn BlockRead>,
}

impl BlockTable for Tables {
    fn piece(&self, at: u64) -> Result<(u64, Place)> {
        let Header { cluster_bits, l2_bits, l1_offset, .. } = self.header;
        let l1_bits = cluster_bits.saturating_add(l2_bits);
        let l1_index = at.wrapping_shr(l1_bits);
        let entry = self.l1.entry(l1_offset.saturating_add(l1_index.saturating_mul(8)), at)?;
        let table = u64::from_be_bytes(entry);
        if table == 0 {
            return Ok((l1_index.saturating_add(1).wrapping_shl(l1_bits), Place::Nothing));
        }
        let cluster = at.wrapping_shr(cluster_bits);
        let index = cluster & 1_u64.wrapping_shl(l2_bits).saturating_sub(1);
        let entry = u64::from_be_bytes(self.l2.entry(table.saturating_add(index.saturating_mul(8)), at)?);
        let start = cluster.wrapping_shl(cluster_bits);
        let place = match entry {
            0 => Place::Nothing,
            entry if entry & COMPRESSED != 0 => {
                // Below the upper bit the length, below that the place.
                let place_bits = 63_u32.saturating_sub(cluster_bits);
                let len = entry.wrapping_shr(place_bits) & self.header.cluster_size().saturating_sub(1);
                let host = entry & 1_u64.wrapping_shl(place_bits).saturating_sub(1);
                Place::Compressed(Compressed { block: start, host, len })
            }
            host => Place::Plain(host.saturating_add(at.saturating_sub(start))),
        };
        Ok((start.saturating_add(self.header.cluster_size()), place))
    }

    fn decode(&self, place: Compressed, out: &mut [u8]) -> Result<()> {
        let Compressed { block, host, len } = place;
        let file_size = self.file.size();
        if host.checked_add(len).is_none_or(|end| end > file_size) {
            return Err(Corrupt::BlockOutside { guest: block, host, file_size }.into());
        }
        let mut compressed = vec![0; len as usize];
        self.file.read_at(&mut compressed, host)?;
        let why = |why: String| Corrupt::Compressed { guest: block, why };
        let done = INFLATE.with_borrow_mut(|decoder| decoder.deflate_decompress(&compressed, out));
        match done {
            Ok(written) if written == out.len() => Ok(()),
            Ok(written) => Err(why(format!("it ends after {written:#x} bytes")).into()),
            Err(error) => Err(why(error.to_string()).into()),
        }
    }

    fn block_size(&self) -> u64 {
        self.header.cluster_size()
    }
}

thread_local! {
    static INFLATE: RefCell<libdeflater::Decompressor> = RefCell::new(libdeflater::Decompressor::new());
}
