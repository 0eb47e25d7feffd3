//! What is looked for, in the words of find(1).

use image_core::fs::{Node, NodeKind, Time};

use super::glob;

/// A number of bytes, and on which side of it a size has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeBound {
    /// More.
    Above(u64),
    /// Fewer.
    Below(u64),
    /// Exactly as many.
    Equal(u64),
}

/// What a file has to be; all of it counts, and what is not said does not.
#[derive(Debug, Clone, Default)]
pub struct Criteria {
    /// Its name fits one of these patterns with `*`, `?` and `[…]`.
    pub names: Vec<String>,
    /// As `names`, whatever the case of letters.
    pub names_in_any_case: Vec<String>,
    /// Its path fits one of these patterns, in which `*` and `?` stand for `/` too.
    pub paths: Vec<String>,
    /// It is of one of these kinds.
    pub kinds: Vec<NodeKind>,
    /// Its content was changed after this.
    pub newer: Option<Time>,
    /// Its content was changed before this.
    pub older: Option<Time>,
    /// Its size in bytes.
    pub size: Option<SizeBound>,
    /// Whose it is.
    pub uid: Option<u32>,
    /// Which group's.
    pub gid: Option<u32>,
    /// It has all of these permission bits.
    pub all_bits: u32,
    /// It has one of these permission bits.
    pub any_bits: u32,
}

impl Criteria {
    /// Whether the file at the absolute path `path`, which is `node`, is one of those.
    pub fn fit(&self, path: &[u8], node: &Node) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let one_of = |patterns: &[String], text: &[u8], in_any_case: bool| {
            let fits = |pattern: &String| match in_any_case {
                true => glob::fits(pattern.to_ascii_lowercase().as_bytes(), &text.to_ascii_lowercase()),
                false => glob::fits(pattern.as_bytes(), text),
            };
            patterns.is_empty() || patterns.iter().any(fits)
        };
        let size = match self.size {
            None => true,
            Some(SizeBound::Above(bytes)) => node.size > bytes,
            Some(SizeBound::Below(bytes)) => node.size < bytes,
            Some(SizeBound::Equal(bytes)) => node.size == bytes,
        };
        one_of(&self.names, name, false)
            && one_of(&self.names_in_any_case, name, true)
            && one_of(&self.paths, path, false)
            && (self.kinds.is_empty() || self.kinds.contains(&node.kind))
            && self.newer.is_none_or(|time| node.modified > time)
            && self.older.is_none_or(|time| node.modified < time)
            && size
            && self.uid.is_none_or(|uid| node.uid == uid)
            && self.gid.is_none_or(|gid| node.gid == gid)
            && node.mode & self.all_bits == self.all_bits
            && (self.any_bits == 0 || node.mode & self.any_bits != 0)
    }
}
