//! What is found in the files of an image.

use super::search::Secret;

/// Places with a secret that are kept; more are counted.
const FOUND_LIMIT: usize = 10_000;
/// Files that cannot be read are told up to this number.
const UNREAD_LIMIT: usize = 20;

/// What was found in an image.
#[derive(Debug, Default)]
pub(in crate::audit) struct Contents {
    /// Each place with a secret, in the order of paths.
    pub(super) found: Vec<Found>,
    /// What could not be read, and why.
    pub(super) unread: Vec<String>,
    pub(super) unread_count: u64,
    /// Files that were looked into.
    pub(super) searched: u64,
    /// Archives and disks that were not opened.
    pub(super) closed: u64,
}

/// A secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    /// The path that a booted system knows it by; for a filesystem that nothing mounts, the partition too.
    pub(in crate::audit) path: String,
    /// Where in it, if it is an archive.
    pub(in crate::audit) inside: Option<String>,
    pub(in crate::audit) secret: Secret,
}

impl Contents {
    pub(super) fn add(&mut self, found: Found) {
        if self.found.len() < FOUND_LIMIT {
            self.found.push(found);
        }
    }

    pub(super) fn unread(&mut self, path: &str, why: &crate::Error) {
        self.unread_count = self.unread_count.saturating_add(1);
        if self.unread.len() < UNREAD_LIMIT {
            self.unread.push(format!("{path}: {why:#}"));
        }
    }

    pub(super) fn join(&mut self, other: Self) {
        let left = FOUND_LIMIT.saturating_sub(self.found.len());
        self.found.extend(other.found.into_iter().take(left));
        let left = UNREAD_LIMIT.saturating_sub(self.unread.len());
        self.unread.extend(other.unread.into_iter().take(left));
        self.unread_count = self.unread_count.saturating_add(other.unread_count);
        self.searched = self.searched.saturating_add(other.searched);
        self.closed = self.closed.saturating_add(other.closed);
    }
}
