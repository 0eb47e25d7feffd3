//! Where the bytes of a disk come from: which image of a chain has them, and where in which file they are.

use std::path::Path;
use std::sync::Arc;

use super::{ByteRange, ExtentKind, Extents};

/// A place in a file of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPlace {
    /// The file, as it was opened; `None` where that is not known.
    pub file: Option<Arc<Path>>,
    /// The offset in it, in bytes.
    pub offset: u64,
}

/// A range, and where its bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapEntry {
    /// Where on the disk.
    pub range: ByteRange,
    /// How far down the chain of backing files: 0 is the disk itself.
    pub depth: u32,
    /// Whether an image says anything of it: data, or that it reads as zeroes.
    pub present: bool,
    /// Whether it reads as zeroes.
    pub zero: bool,
    /// Whether there are bytes to be read. They may be known to be zeroes.
    pub data: bool,
    /// Whether the bytes are compressed.
    pub compressed: bool,
    /// Where the first byte is stored as it is, or where storage is set aside for it.
    pub host: Option<HostPlace>,
}

impl MapEntry {
    /// Of which nothing is known, not even that it reads as zeroes.
    pub const fn nothing(range: ByteRange) -> Self {
        Self { range, depth: 0, present: false, zero: false, data: false, compressed: false, host: None }
    }

    /// Of a kind of extent of a disk that knows no more.
    pub fn of(range: ByteRange, kind: ExtentKind) -> Self {
        let data = kind == ExtentKind::Data;
        Self {
            range,
            depth: 0,
            present: kind != ExtentKind::Hole,
            zero: !data,
            data,
            compressed: false,
            host: None,
        }
    }

    /// Of a file's extents: in a file all of it is present, and lies at its own offset.
    pub(super) fn of_file(path: &Path, extents: &Extents) -> Vec<Self> {
        let file: Arc<Path> = path.into();
        let entry = |extent: super::Extent| Self {
            present: true,
            host: Some(HostPlace { file: Some(file.clone()), offset: extent.range.offset() }),
            ..Self::of(extent.range, extent.kind)
        };
        extents.iter().map(entry).collect()
    }

    /// The same, `distance` bytes nearer to the start of the disk.
    pub(super) fn moved_down(self, distance: u64) -> Self {
        let offset = self.range.offset().saturating_sub(distance);
        Self { range: ByteRange::between(offset, offset.saturating_add(self.range.len())), ..self }
    }

    /// The same, `distance` bytes further from the start of the disk.
    pub(super) fn moved_up(self, distance: u64) -> Self {
        let offset = self.range.offset().saturating_add(distance);
        Self { range: ByteRange::between(offset, offset.saturating_add(self.range.len())), ..self }
    }

    /// Whether everything but the range and the place in the file is the same.
    fn is_like(&self, other: &Self) -> bool {
        let flags = |it: &Self| (it.depth, it.present, it.zero, it.data, it.compressed, it.host.is_some());
        flags(self) == flags(other)
    }

    /// Makes it longer by `next`, which follows it, if one entry says all of both; else gives `next` back.
    pub fn join(&mut self, next: Self) -> Result<(), Self> {
        let contiguous = match (&self.host, &next.host) {
            (Some(one), Some(other)) => {
                one.offset.checked_add(self.range.len()) == Some(other.offset) && one.file == other.file
            }
            (one, other) => one.is_none() && other.is_none(),
        };
        if !contiguous || !self.is_like(&next) {
            return Err(next);
        }
        self.range = ByteRange::between(self.range.offset(), next.range.end());
        Ok(())
    }
}
