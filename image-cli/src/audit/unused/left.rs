//! What is left in unused space.

use image_core::block::{BlockRead, ByteRange, ExtentKind, is_zero};

/// It is read in pieces of this size, in bytes.
const PIECE: u64 = 1 << 20;
/// How the first line of a private key ends (RFC 7468).
const KEY: &[u8] = b"PRIVATE KEY-----";

/// What is left in unused space.
#[derive(Debug, Default)]
pub(in crate::audit) struct Stale {
    /// Where something is left, and how many bytes other than zero.
    pub(super) places: Vec<(String, u64)>,
    /// Where a private key begins.
    pub(super) keys: Vec<String>,
    /// Filesystems whose unused space is not known here.
    pub(super) unknown: Vec<String>,
}

impl Stale {
    /// Notes what was `left` in a place. `at` tells where an offset is.
    pub(super) fn add(&mut self, place: String, left: Left, at: impl Fn(u64) -> String) {
        self.keys.extend(left.keys.into_iter().map(at));
        if left.bytes > 0 {
            self.places.push((place, left.bytes));
        }
    }
}

/// Bytes that nobody reads.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// How many are other than zero.
    pub(super) bytes: u64,
    /// The offsets of private keys.
    pub(super) keys: Vec<u64>,
}

impl Left {
    /// What is stored in `ranges` of `disk`.
    pub(super) fn read(
        disk: &dyn BlockRead,
        ranges: impl IntoIterator<Item = ByteRange>,
    ) -> image_core::Result<Self> {
        let mut left = Self::default();
        for range in ranges {
            for extent in disk.extents(range)?.iter().filter(|extent| extent.kind == ExtentKind::Data) {
                let mut at = extent.range.offset();
                while at < extent.range.end() {
                    let mut bytes = vec![0; extent.range.end().saturating_sub(at).min(PIECE) as usize];
                    disk.read_at(&mut bytes, at)?;
                    left.look(&bytes, at);
                    at += bytes.len() as u64;
                }
            }
        }
        Ok(left)
    }

    /// Looks at `bytes`, which are at `offset`.
    pub(super) fn look(&mut self, bytes: &[u8], offset: u64) {
        if is_zero(bytes) {
            return;
        }
        self.bytes += bytes.iter().filter(|byte| **byte != 0).count() as u64;
        // The marker's first byte is seldom; a key begins in one block.
        let marks = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'P');
        let keys = marks.filter(|(index, _)| bytes.get(*index..).is_some_and(|rest| rest.starts_with(KEY)));
        self.keys.extend(keys.map(|(index, _)| offset + index as u64));
    }
}
