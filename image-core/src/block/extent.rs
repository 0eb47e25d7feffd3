//! Ranges of bytes, and what a disk says about them: data, zero or hole.

use crate::error::{Error, Result};

/// `len` bytes from `offset` on; its end never overflows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ByteRange {
    offset: u64,
    len: u64,
}

impl ByteRange {
    /// No bytes.
    pub const EMPTY: Self = Self { offset: 0, len: 0 };

    /// The `len` bytes from `offset` on.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the end is past 2⁶⁴ − 1.
    pub fn new(offset: u64, len: u64) -> Result<Self> {
        match offset.checked_add(len) {
            Some(_) => Ok(Self { offset, len }),
            None => Err(Error::invalid(format!("{len} bytes at offset {offset:#x} end past 2^64"))),
        }
    }

    /// From the first byte to the last of a disk of `size` bytes.
    pub fn whole(size: u64) -> Self {
        Self { offset: 0, len: size }
    }

    /// From `start` up to, not including, `end`; empty if `end` lies before `start`.
    pub fn between(start: u64, end: u64) -> Self {
        Self { offset: start, len: end.saturating_sub(start) }
    }

    /// The first byte.
    pub fn offset(self) -> u64 {
        self.offset
    }

    /// How many bytes.
    pub fn len(self) -> u64 {
        self.len
    }

    /// The first byte behind it.
    pub fn end(self) -> u64 {
        self.offset + self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Whether all of `other` lies in it.
    pub fn contains(self, other: ByteRange) -> bool {
        self.offset <= other.offset && other.end() <= self.end()
    }

    /// It, `by` bytes further on; what would lie behind 2⁶⁴ is cut off.
    pub(crate) fn moved(self, by: u64) -> Self {
        Self::between(self.offset.saturating_add(by), self.end().saturating_add(by))
    }

    /// The bytes both have; `None` where there are none.
    pub fn intersection(self, other: ByteRange) -> Option<ByteRange> {
        let both = Self::between(self.offset.max(other.offset), self.end().min(other.end()));
        (!both.is_empty()).then_some(both)
    }

    /// Refuses a range that is not wholly on a disk of `size` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
    pub fn check_within(self, size: u64) -> Result<()> {
        if self.end() <= size {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{} bytes at offset {:#x} end past the disk's {size} bytes",
            self.len, self.offset
        )))
    }
}

/// What is known of a range without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExtentKind {
    /// Must be read; may turn out to be zeroes.
    Data,
    /// Reads as zeroes, and storage is set aside for it or it is marked so on purpose.
    Zero,
    /// Reads as zeroes because nothing is stored.
    Hole,
}

impl ExtentKind {
    /// Whether it reads as zeroes.
    pub fn reads_as_zero(self) -> bool {
        !matches!(self, Self::Data)
    }
}

/// A range of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where.
    pub range: ByteRange,
    /// What.
    pub kind: ExtentKind,
}

/// Extents in ascending order without gaps or overlaps; neighbours differ in kind.
///
/// The only way to make one is to [`push`](Self::push) lengths from a start, so these rules hold by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extents {
    start: u64,
    end: u64,
    list: Vec<Extent>,
}

impl Extents {
    /// None yet; the first will begin at `start`.
    pub fn starting_at(start: u64) -> Self {
        Self { start, end: start, list: Vec::new() }
    }

    /// All of `range` as one extent.
    pub fn uniform(range: ByteRange, kind: ExtentKind) -> Self {
        let mut extents = Self::starting_at(range.offset());
        extents.push(range.len(), kind);
        extents
    }

    /// Appends `len` bytes of `kind`; nothing if `len` is 0. Lengths past 2⁶⁴ are cut there.
    pub fn push(&mut self, len: u64, kind: ExtentKind) {
        let range = ByteRange::between(self.end, self.end.saturating_add(len));
        if range.is_empty() {
            return;
        }
        self.end = range.end();
        match self.list.last_mut() {
            Some(last) if last.kind == kind => last.range.len += range.len,
            _ => self.list.push(Extent { range, kind }),
        }
    }

    /// Appends up to `end`, as [`push`](Self::push); nothing if that lies behind.
    pub fn push_until(&mut self, end: u64, kind: ExtentKind) {
        self.push(end.saturating_sub(self.end), kind);
    }

    /// The range that is covered.
    pub fn range(&self) -> ByteRange {
        ByteRange::between(self.start, self.end)
    }

    /// In ascending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Extent> + '_ {
        self.list.iter().copied()
    }

    /// How many bytes are of `kind`.
    pub fn total(&self, kind: ExtentKind) -> u64 {
        self.iter().filter(|extent| extent.kind == kind).map(|extent| extent.range.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_cannot_overflow() {
        assert!(ByteRange::new(u64::MAX, 1).is_err());
        assert_eq!(ByteRange::new(u64::MAX - 1, 1).unwrap().end(), u64::MAX);
        assert!(ByteRange::new(10, 5).unwrap().check_within(14).is_err());
        assert!(ByteRange::new(10, 5).unwrap().check_within(15).is_ok());
    }

    #[test]
    fn intersections_have_bytes() {
        let a = ByteRange::between(0, 10);
        assert_eq!(a.intersection(ByteRange::between(5, 20)), Some(ByteRange::between(5, 10)));
        assert_eq!(a.intersection(ByteRange::between(10, 20)), None);
    }

    #[test]
    fn neighbours_of_a_kind_are_joined_and_nothing_is_added_for_nothing() {
        let mut extents = Extents::starting_at(4096);
        extents.push(100, ExtentKind::Data);
        extents.push(0, ExtentKind::Hole);
        extents.push(28, ExtentKind::Data);
        extents.push_until(5000, ExtentKind::Hole);
        extents.push_until(4000, ExtentKind::Zero);
        let list: Vec<_> = extents.iter().map(|e| (e.range.offset(), e.range.len(), e.kind)).collect();
        assert_eq!(list, [(4096, 128, ExtentKind::Data), (4224, 776, ExtentKind::Hole)]);
        assert_eq!(extents.range(), ByteRange::between(4096, 5000));
        assert_eq!(extents.total(ExtentKind::Data), 128);
    }
}
