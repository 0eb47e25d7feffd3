//! The header of a package: an index of tags, and the data that they lead to.
//!
//! ```text
//! 0 tags │ 4 length of the data │ 8 tag │ tag │ …… │ data
//! tag    0 number │ 4 kind │ 8 place in the data │ 12 count
//! ```
//!
//! All numbers are big endian. The first tag may be that of a region: so many tags, and the data up to its end, are as the
//! package had them when it was made, and have a checksum among the tags behind.
//! RPM's documentation of its package format (version 4), "Header structure".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::super::field::{Order, part};
use super::super::rule::DatabaseRule;
use super::super::text::text_of;
use super::super::{Package, PackageKind};
use super::digest;

/// Before the tags.
const START_LEN: usize = 8;
/// Of a tag.
const TAG_LEN: usize = 16;
/// As many tags as rpm takes.
const TAGS_MAX: usize = 0xffff;

const REGION: u32 = 63;
const SHA1: u32 = 269;
const SHA256: u32 = 273;
const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const ARCHITECTURE: u32 = 1022;

const KIND_INT32: u32 = 4;
const KIND_STRING: u32 = 6;
const KIND_BYTES: u32 = 7;

/// What is not a package: a key that packages are checked with.
const KEY_NAME: &[u8] = b"gpg-pubkey";

/// A tag of an index.
#[derive(Debug, Clone, Copy)]
struct Tag {
    kind: u32,
    place: usize,
    count: u32,
}

/// A header whose parts have the lengths that it says.
struct Header<'a> {
    record: u64,
    tags: &'a [u8],
    data: &'a [u8],
}

/// What the package had when it was made.
struct Region<'a> {
    tags: &'a [u8],
    /// Up to its end.
    data: &'a [u8],
}

/// The package of record `record` in a database; `None` for a key.
pub(super) fn package(record: u64, bytes: &[u8]) -> Result<Option<Package>, DatabaseRule> {
    let header = Header::parse(record, bytes)?;
    header.check_digest()?;
    let name = header.string(NAME)?.filter(|name| !name.is_empty()).ok_or(header.wrong("no name"))?;
    if name == KEY_NAME {
        return Ok(None);
    }
    let version = text_of(header.string(VERSION)?.ok_or(header.wrong("no version"))?)?;
    let release = text_of(header.string(RELEASE)?.ok_or(header.wrong("no release"))?)?;
    let version = match header.number(EPOCH)? {
        Some(epoch) => format!("{epoch}:{version}-{release}"),
        None => format!("{version}-{release}"),
    };
    let architecture = text_of(header.string(ARCHITECTURE)?.unwrap_or_default())?;
    Ok(Some(Package { name: text_of(name)?, version, architecture, kind: PackageKind::Rpm }))
}

impl<'a> Header<'a> {
    fn parse(record: u64, bytes: &'a [u8]) -> Result<Self, DatabaseRule> {
        let wrong = |what| DatabaseRule::Header { record, what };
        let tags = Order::Big.u32(bytes, 0) as usize;
        let data_len = Order::Big.u32(bytes, 4) as usize;
        if bytes.len() < START_LEN || tags == 0 || tags > TAGS_MAX {
            return Err(wrong("an impossible number of tags"));
        }
        let tags_len = tags.saturating_mul(TAG_LEN);
        let index = part(bytes, START_LEN, tags_len).ok_or(wrong("more tags than bytes"))?;
        let data = bytes.get(START_LEN.saturating_add(tags_len)..).unwrap_or_default();
        match data.len() == data_len {
            true => Ok(Self { record, tags: index, data }),
            false => Err(wrong("data of another length than it says")),
        }
    }

    fn wrong(&self, what: &'static str) -> DatabaseRule {
        DatabaseRule::Header { record: self.record, what }
    }

    /// The tag of this number. What came to a package when it was installed lies behind its own, and counts instead.
    fn tag(&self, number: u32) -> Option<Tag> {
        let tag = self.tags.chunks_exact(TAG_LEN).rfind(|tag| Order::Big.u32(tag, 0) == number)?;
        let (kind, count) = (Order::Big.u32(tag, 4), Order::Big.u32(tag, 12));
        Some(Tag { kind, place: Order::Big.u32(tag, 8) as usize, count })
    }

    /// The string of a tag, if there is the tag.
    fn string(&self, number: u32) -> Result<Option<&'a [u8]>, DatabaseRule> {
        let Some(tag) = self.tag(number) else { return Ok(None) };
        if tag.kind != KIND_STRING || tag.count != 1 {
            return Err(self.wrong("a tag of another kind than it must be"));
        }
        let rest = self.data.get(tag.place..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == 0).ok_or(self.wrong("a string without an end"))?;
        Ok(rest.get(..end))
    }

    /// The number of a tag, if there is the tag.
    fn number(&self, number: u32) -> Result<Option<u32>, DatabaseRule> {
        let Some(tag) = self.tag(number) else { return Ok(None) };
        if tag.kind != KIND_INT32 || tag.count != 1 {
            return Err(self.wrong("a tag of another kind than it must be"));
        }
        let bytes = part(self.data, tag.place, 4).ok_or(self.wrong("a number outside its data"))?;
        Ok(Some(Order::Big.u32(bytes, 0)))
    }

    /// The region, if the header has one.
    fn region(&self) -> Result<Option<Region<'a>>, DatabaseRule> {
        if Order::Big.u32(self.tags, 0) != REGION {
            return Ok(None);
        }
        let wrong = || self.wrong("an impossible region");
        let place = Order::Big.u32(self.tags, 8) as usize;
        let end = part(self.data, place, TAG_LEN).ok_or_else(wrong)?;
        // At its end there is a tag once more, and how far it reaches back, as a negative number.
        let tags_len = Order::Big.u32(end, 8).wrapping_neg() as usize;
        let is_region =
            |tag| Order::Big.u32(tag, 4) == KIND_BYTES && Order::Big.u32(tag, 12) as usize == TAG_LEN;
        if !is_region(self.tags) || !is_region(end) || !tags_len.is_multiple_of(TAG_LEN) || tags_len == 0 {
            return Err(wrong());
        }
        let tags = self.tags.get(..tags_len).ok_or_else(wrong)?;
        let data = self.data.get(..place.saturating_add(TAG_LEN)).unwrap_or_default();
        Ok(Some(Region { tags, data }))
    }

    /// Checks the region's checksum, if it has one: the stronger one, if it has both.
    fn check_digest(&self) -> Result<(), DatabaseRule> {
        let Some(Region { tags, data }) = self.region()? else { return Ok(()) };
        let is_right = match (self.string(SHA256)?, self.string(SHA1)?) {
            (Some(said), _) => digest::is_sha256(said, tags, data),
            (None, Some(said)) => digest::is_sha1(said, tags, data),
            (None, None) => true,
        };
        is_right.then_some(()).ok_or(DatabaseRule::Checksum(self.record))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{header, key, numbered};
    use super::*;

    const NAMES: [(u32, &str); 3] = [(1000, "a"), (1001, "1"), (1002, "2")];

    #[test]
    fn a_version_has_an_epoch_if_there_is_one() {
        for (epoch, version) in [(None, "1-2"), (Some(0), "0:1-2"), (Some(u32::MAX), "4294967295:1-2")] {
            let package = package(7, &header(&NAMES, epoch, 9)).unwrap().unwrap();
            assert_eq!(
                (&package.name[..], &package.version[..], &package.architecture[..]),
                ("a", version, "")
            );
        }
        assert_eq!(package(7, &key()).unwrap(), None);
    }

    #[test]
    fn a_header_without_form_is_told() {
        let error = |bytes: &[u8]| package(7, bytes).unwrap_err().to_string();
        assert_eq!(error(&header(&NAMES[1..], None, 0)), "the header of record 7 has no name");
        assert_eq!(error(&header(&NAMES[..1], None, 0)), "the header of record 7 has no version");
        assert_eq!(error(&header(&NAMES[..2], None, 0)), "the header of record 7 has no release");
        let (good, _) = numbered(1, 0);
        let changed = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            error(&bytes)
        };
        assert!(changed(3, 0).ends_with("an impossible number of tags"));
        assert!(changed(1, 1).ends_with("an impossible number of tags"));
        assert!(changed(2, 1).ends_with("more tags than bytes"));
        assert!(changed(7, 0).ends_with("data of another length than it says"));
        // The tag of the region: its kind, its place.
        assert!(changed(15, 6).ends_with("an impossible region"));
        assert!(changed(17, 1).ends_with("an impossible region"));
        // The name's tag, behind it: its kind.
        assert!(changed(31, 9).ends_with("another checksum than it says"));
        for len in 0..good.len() {
            error(&good[..len]);
        }
    }

    #[test]
    fn older_headers_without_a_region_are_taken_as_they_are() {
        let (mut bytes, _) = numbered(1, 0);
        // Another tag than that of a region.
        bytes[11] = 64;
        assert_eq!(package(1, &bytes).unwrap().unwrap().name, "p0001");
        // A name of another kind, and one outside of the data.
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            package(1, &bytes).map(|_| ()).unwrap_err().to_string()
        };
        assert!(with(31, 8).ends_with("a tag of another kind than it must be"));
        assert!(with(39, 2).ends_with("a tag of another kind than it must be"));
        assert!(with(32, 0x7f).ends_with("a string without an end"));
    }
}
