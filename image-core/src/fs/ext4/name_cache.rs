//! The names of one large directory without an index, remembered: whoever asks for many of them, one by one, does not have it read
//! from front to back each time.
//!
//! ```text
//! lookup ─► index? ─► names remembered of this directory? ─► its blocks, from front to back
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Ext4;
use super::inode::{FLAG_CASEFOLD, Inode};
use crate::error::Result;

/// Directories with so many blocks or fewer are read each time.
const FEW_BLOCKS: u64 = 4;
/// More names than are remembered: some 10 MB of them.
const NAMES_MAX: usize = 100_000;

/// The names of a directory, by its inode.
#[derive(Debug, Default)]
pub(super) struct NameCache {
    last: Mutex<Option<Arc<Names>>>,
}

#[derive(Debug)]
struct Names {
    directory: u32,
    /// `None` for too many.
    inodes: Option<HashMap<Vec<u8>, u32>>,
}

impl NameCache {
    /// Forgets all: a directory was changed.
    pub(super) fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What the directory `inode`, which has no index, has under `name`; the outer `None` is for one that is not remembered.
pub(super) fn find(fs: &Ext4, inode: &Inode, name: &[u8]) -> Result<Option<Option<u32>>> {
    let is_large = inode.size > FEW_BLOCKS.saturating_mul(fs.superblock().block_size);
    if !is_large || inode.is_encrypted() || inode.has(FLAG_CASEFOLD) {
        return Ok(None);
    }
    // Nothing in there is ever half done.
    let last = || fs.name_cache().last.lock().unwrap_or_else(PoisonError::into_inner);
    let known = last().clone().filter(|names| names.directory == inode.number);
    let names = match known {
        Some(names) => names,
        None => {
            let names = Arc::new(Names { directory: inode.number, inodes: names_of(fs, inode)? });
            *last() = Some(Arc::clone(&names));
            names
        }
    };
    Ok(names.inodes.as_ref().map(|inodes| inodes.get(name).copied()))
}

fn names_of(fs: &Ext4, inode: &Inode) -> Result<Option<HashMap<Vec<u8>, u32>>> {
    let mut inodes = HashMap::new();
    for entry in fs.read_directory(inode) {
        let entry = entry?;
        // Of two that are the same, a search from the front finds the first.
        inodes.entry(entry.name).or_insert(entry.inode);
        if inodes.len() > NAMES_MAX {
            return Ok(None);
        }
    }
    Ok(Some(inodes))
}
