//! Directories: records one after the other, none across the end of a block.
//!
//! ```text
//! block   own │ parent │ record │ record │ 0 …        block   record │ section, goes on │ section, last │ 0 …
//! ```
//! ECMA-119, 6.8. A file in several sections has as many records, all with its name. A record that makes no sense inside hides
//! nothing: it is told of when all others were read.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::record::Record;
use super::rock_ridge::RockRidge;
use super::{NameKind, Volume, names};
use crate::error::{Error, Result};
use crate::fs::{NodeId, NodeKind};

/// A file or directory in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: Vec<u8>,
    pub(super) id: NodeId,
    pub(super) kind: NodeKind,
}

/// The files and directories in a directory, one after the other.
pub(super) struct Records {
    at: u64,
    end: u64,
    /// Where the first section of a file is whose last one comes later.
    first: Option<u64>,
    /// The first record that makes no sense inside.
    wrong: Option<Error>,
}

impl Records {
    /// Of the directory whose own record is `own`.
    pub(super) fn new(volume: &Volume, own: &Record) -> Self {
        let at = own.content(volume.hierarchy.block_size);
        Self { at, end: at.saturating_add(own.len()), first: None, wrong: None }
    }

    /// The next one. Behind an error there is nothing more.
    pub(super) fn step(&mut self, volume: &Volume) -> Result<Option<Found>> {
        loop {
            let record = match self.record(volume) {
                Ok(Some(record)) => record,
                Ok(None) => return self.wrong.take().map_or(Ok(None), Err),
                Err(error) => {
                    self.at = self.end;
                    return Err(error);
                }
            };
            if record.is_dots() || record.is_associated() {
                continue;
            }
            let first = *self.first.get_or_insert(record.offset);
            if record.is_continued() {
                continue;
            }
            self.first = None;
            match volume.found(&record, first) {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => (),
                Err(error) => {
                    self.wrong.get_or_insert(error);
                }
            }
        }
    }

    fn record(&mut self, volume: &Volume) -> Result<Option<Record>> {
        while self.at < self.end {
            match Record::read(volume, self.at)? {
                None => self.at = volume.next_block(self.at),
                Some(record) if record.end() > self.end => return Err(record.wrong("length")),
                Some(record) => {
                    self.at = record.end();
                    return Ok(Some(record));
                }
            }
        }
        Ok(None)
    }
}

impl Volume {
    /// The beginning of the block behind the one of `offset`.
    pub(super) fn next_block(&self, offset: u64) -> u64 {
        (offset | self.hierarchy.block_size.saturating_sub(1)).saturating_add(1)
    }

    /// What `record` names, the first section of which is at `first`; `None` for what is in another place.
    fn found(&self, record: &Record, first: u64) -> Result<Option<Found>> {
        let block_size = self.hierarchy.block_size;
        let is_directory = record.is_directory();
        let kind = if is_directory { NodeKind::Directory } else { NodeKind::File };
        let id = if is_directory { record.content(block_size) } else { first };
        let found = |name: Vec<u8>, id: u64, kind| match names::may_be(&name) {
            true => Ok(Some(Found { name, id: NodeId::new(id), kind })),
            false => Err(record.wrong("name")),
        };
        match self.name_kind {
            NameKind::Plain => found(names::plain(record.name()), id, kind),
            NameKind::Joliet => found(names::joliet(record.name()), id, kind),
            NameKind::RockRidge { skip } => {
                let ridge = RockRidge::read(self, record, skip)?;
                if ridge.is_relocated {
                    return Ok(None);
                }
                let name = ridge.name.clone().unwrap_or_else(|| names::plain(record.name()));
                match ridge.child {
                    Some(block) => {
                        found(name, u64::from(block).saturating_mul(block_size), NodeKind::Directory)
                    }
                    None => found(name, id, self.kind(record, &ridge)?),
                }
            }
        }
    }

    /// What `record` is.
    pub(super) fn kind(&self, record: &Record, ridge: &RockRidge) -> Result<NodeKind> {
        let told = match ridge.posix {
            Some(posix) => NodeKind::from_mode(posix.mode as u16).ok_or_else(|| record.wrong("mode"))?,
            None if record.is_directory() => NodeKind::Directory,
            None => NodeKind::File,
        };
        match (told == NodeKind::Directory) == record.is_directory() {
            true => Ok(told),
            false => Err(record.wrong("mode")),
        }
    }
}
