//! Where the databases' files come from: what a filesystem must tell, and no more.
//!
//! ```text
//! Source ── open(path) ─► Content: size, bytes at an offset
//!        └─ list(path) ─► names
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::rule::{Cause, DatabaseError, DatabaseRule, OfFile};

/// What a text may have at most, in bytes: some ten times as many as the largest that are known.
pub(super) const TEXT_MAX: u64 = 1 << 26;

/// A tree of files. Paths begin with a slash; links, also of directories on the way, are followed within the tree.
pub trait Source {
    /// The regular file at `path`; `None`, if there is nothing, or a part of the way is no directory.
    ///
    /// # Errors
    /// What is there cannot be read, or is no regular file.
    fn open(&self, path: &str) -> Result<Option<Box<dyn Content + '_>>, Cause>;

    /// The names in the directory at `path`, in any order and without `.` and `..`; none, if there is no directory. Names
    /// that are no UTF-8 can be left out: no database has any.
    ///
    /// # Errors
    /// What is there cannot be read.
    fn list(&self, path: &str) -> Result<Vec<String>, Cause>;
}

/// The bytes of a file.
pub trait Content {
    /// How many there are.
    fn size(&self) -> u64;

    /// Fills `buf` from byte `offset` on; never asked for what lies behind the end.
    ///
    /// # Errors
    /// They cannot be read.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Cause>;
}

/// The file at `path`, if there is one.
pub(super) fn open<'a>(
    source: &'a dyn Source,
    path: &str,
) -> Result<Option<Box<dyn Content + 'a>>, DatabaseError> {
    source.open(path).map_err(DatabaseRule::Source).of(path)
}

/// The names in a directory, sorted.
pub(super) fn list(source: &dyn Source, path: &str) -> Result<Vec<String>, DatabaseError> {
    let mut names = source.list(path).map_err(DatabaseRule::Source).of(path)?;
    names.sort_unstable();
    Ok(names)
}

/// All of the text at `path`, if there is one.
pub(super) fn text(source: &dyn Source, path: &str) -> Result<Option<Vec<u8>>, DatabaseError> {
    let Some(content) = open(source, path)? else { return Ok(None) };
    let len = content.size();
    if len > TEXT_MAX {
        return Err(DatabaseRule::TooLong { len, limit: TEXT_MAX }).of(path);
    }
    bytes(content.as_ref(), 0, len as usize).of(path).map(Some)
}

/// `len` bytes at `offset`, which the caller has compared with the size.
pub(super) fn bytes(content: &dyn Content, offset: u64, len: usize) -> Result<Vec<u8>, DatabaseRule> {
    let mut buf = vec![0; len];
    content.read_at(&mut buf, offset).map_err(DatabaseRule::Source)?;
    Ok(buf)
}
