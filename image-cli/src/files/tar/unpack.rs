//! Archives read: one entry after the other, from a stream, with all that pax and GNU tar put before it.
//!
//! ```text
//! x: records │ L, K: long names │ header ─► Entry ─► content, or of a sparse file its map and the data
//! ```
//! POSIX.1-2024, pax; GNU tar manual, "Basic Tar Format" and "Storing Sparse Files" (format 1.0). Lengths are limited before anything
//! is set aside.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use image_core::block::ByteRange;
use image_core::fs::{Attribute, Time};

use super::acl;
use super::header::{BLOCK, Kind};
use crate::error::{Context, bail, err};
use crate::files::owners::Owners;

/// Records, long names and maps have no more bytes.
const TEXT_MAX: u64 = 1 << 20;
/// So many ranges a sparse file may have.
const RANGES_MAX: usize = 1 << 18;

/// A file in an archive.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its path, as the archive has it.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: Time,
    /// Where a link points to; of another name, the first one.
    pub(crate) link: Vec<u8>,
    pub(crate) device: (u32, u32),
    pub(crate) attributes: Vec<Attribute>,
    /// Its size in bytes, holes included.
    pub(crate) size: u64,
    /// Where its data is; all of it, if it has no holes.
    pub(crate) data: Vec<ByteRange>,
}

impl Entry {
    /// A directory of which nothing else is known.
    pub(in crate::files) fn folder(path: Vec<u8>) -> Self {
        Self {
            path,
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            modified: Time::default(),
            link: Vec::new(),
            device: (0, 0),
            attributes: Vec::new(),
            size: 0,
            data: Vec::new(),
        }
    }
}

/// The `path` of an entry, from where the archive is unpacked; `None` if it leads up, out of there.
pub(crate) fn inside(path: &[u8]) -> Option<PathBuf> {
    let mut found = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(path)).components() {
        match part {
            Component::Normal(name) => found.push(name),
            Component::RootDir | Component::CurDir => {}
            _ => return None,
        }
    }
    Some(found)
}

/// An archive that is being read.
pub(crate) struct Unpack<R> {
    input: R,
    /// Who has the names in access control lists.
    owners: Owners,
    /// How much of the last entry's content is still to come, and of the zeroes behind it.
    left: u64,
    padding: u64,
}

impl<R: Read> Unpack<R> {
    /// Of `input`; names in access control lists are those of `owners`.
    pub(crate) fn new(input: R, owners: Owners) -> Self {
        Self { input, owners, left: 0, padding: 0 }
    }

    /// What it is read from: after an entry, where its content begins.
    pub(in crate::files) fn input(&self) -> &R {
        &self.input
    }

    /// The next entry; `None` at the end. What was not read of the one before is left out.
    pub(crate) fn entry(&mut self) -> crate::Result<Option<Entry>> {
        let mut records: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        loop {
            self.skip()?;
            let mut header = [0; BLOCK];
            if !self.header(&mut header)? {
                return Ok(None);
            }
            let size = number(&header, 124, 12)?;
            self.left = size;
            self.padding = size.next_multiple_of(BLOCK as u64).saturating_sub(size);
            let mut text = || {
                let bytes = self.text(size)?;
                Ok::<_, crate::Error>(bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
            };
            match header[156] {
                b'x' => {
                    let bytes = self.text(size)?;
                    records.extend(pax(&bytes)?);
                }
                // Of all entries that follow: nothing that is needed here.
                b'g' => {}
                b'L' => drop(records.insert(b"path".to_vec(), text()?)),
                b'K' => drop(records.insert(b"linkpath".to_vec(), text()?)),
                kind => return self.finish(&header, kind, records).map(Some),
            }
        }
    }

    fn finish(
        &mut self,
        header: &[u8; BLOCK],
        kind: u8,
        mut records: BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> crate::Result<Entry> {
        let kind = match kind {
            b'0' | 0 | b'7' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Link,
            b'3' => Kind::CharacterDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Pipe,
            other => bail!("it has an entry of a kind that is not known here ({:?})", char::from(other)),
        };
        let is_sparse = records.remove(b"GNU.sparse.major".as_slice()).is_some_and(|major| major == b"1");
        let mut entry = Entry {
            path: records.remove(b"path".as_slice()).unwrap_or_else(|| name(header)),
            kind,
            mode: number(header, 100, 8)? as u32 & 0o7777,
            uid: number(header, 108, 8)? as u32,
            gid: number(header, 116, 8)? as u32,
            modified: Time { seconds: number(header, 136, 12)?.cast_signed(), nanoseconds: 0 },
            link: records.remove(b"linkpath".as_slice()).unwrap_or_else(|| field(header, 157, 100)),
            device: (number(header, 329, 8)? as u32, number(header, 337, 8)? as u32),
            attributes: Vec::new(),
            size: self.left,
            data: Vec::new(),
        };
        let mut real_size = None;
        for (key, value) in records {
            match key.as_slice() {
                b"uid" => entry.uid = decimal(&value)?,
                b"gid" => entry.gid = decimal(&value)?,
                b"mtime" => entry.modified = time(&value)?,
                b"size" => {
                    self.left = decimal(&value)?;
                    self.padding = self.left.next_multiple_of(BLOCK as u64).saturating_sub(self.left);
                    entry.size = self.left;
                }
                b"GNU.sparse.name" => entry.path = value,
                b"GNU.sparse.realsize" => real_size = Some(decimal(&value)?),
                _ => entry.attributes.extend(attribute(&key, value, &self.owners)?),
            }
        }
        if kind == Kind::Directory {
            entry.path.truncate(
                entry.path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at.saturating_add(1)),
            );
        }
        if let (true, Some(size)) = (is_sparse, real_size) {
            entry.data = self.map(size)?;
            entry.size = size;
        } else {
            entry.data = vec![ByteRange::whole(entry.size)];
        }
        Ok(entry)
    }

    /// Reads a header; whether it is none of the zeroes at the end.
    fn header(&mut self, header: &mut [u8; BLOCK]) -> crate::Result<bool> {
        let mut bytes = Vec::with_capacity(BLOCK);
        self.input.by_ref().take(BLOCK as u64).read_to_end(&mut bytes).context("reading the archive")?;
        match bytes.len() {
            // Archives without an end are read by others, too.
            0 => return Ok(false),
            BLOCK => header.copy_from_slice(&bytes),
            _ => bail!("it is no tar archive, or it ends early"),
        }
        if header.iter().all(|byte| *byte == 0) {
            return Ok(false);
        }
        let blank = header.iter().enumerate().map(|(at, byte)| match at {
            148..156 => u32::from(b' '),
            _ => u32::from(*byte),
        });
        match number(header, 148, 8).is_ok_and(|said| u64::from(blank.sum::<u32>()) == said) {
            true => Ok(true),
            false => Err(err!("it is no tar archive, or it is damaged: a header's checksum is wrong")),
        }
    }

    /// The map of a sparse file, which has `size` bytes.
    fn map(&mut self, size: u64) -> crate::Result<Vec<ByteRange>> {
        let mut text = Vec::new();
        let mut block = [0; BLOCK];
        let mut numbers: Vec<u64> = Vec::new();
        while numbers
            .first()
            .is_none_or(|count| (numbers.len() as u64) < count.saturating_mul(2).saturating_add(1))
        {
            self.read_exact(&mut block).context("reading the map of a sparse file")?;
            for byte in block {
                match byte {
                    b'\n' => numbers.push(decimal(&std::mem::take(&mut text))?),
                    // Behind the map.
                    0 => {}
                    digit => text.push(digit),
                }
            }
            if numbers.len() > RANGES_MAX.saturating_mul(2) {
                bail!("a sparse file has more than {RANGES_MAX} ranges");
            }
        }
        let mut ranges = Vec::new();
        let mut end = 0;
        for pair in numbers.get(1..).unwrap_or_default().chunks_exact(2) {
            let [offset, len] = pair else { continue };
            let range = ByteRange::new(*offset, *len)?;
            if *offset < end || range.end() > size {
                bail!("the map of a sparse file has ranges outside of it");
            }
            end = range.end();
            ranges.push(range);
        }
        Ok(ranges)
    }

    fn text(&mut self, size: u64) -> crate::Result<Vec<u8>> {
        if size > TEXT_MAX {
            bail!("it has {size} bytes of records before a file, more than {TEXT_MAX}");
        }
        let mut bytes = vec![0; size as usize];
        self.read_exact(&mut bytes).context("reading the archive")?;
        Ok(bytes)
    }

    fn skip(&mut self) -> crate::Result<()> {
        let rest = self.left.saturating_add(self.padding);
        let skipped =
            io::copy(&mut self.input.by_ref().take(rest), &mut io::sink()).context("reading the archive")?;
        // Behind the last content the padding may be missing, as the end may (umoci 0.4.7 leaves out both).
        let is_whole = skipped == rest || skipped >= self.left;
        (self.left, self.padding) = (0, 0);
        match is_whole {
            true => Ok(()),
            false => Err(err!("the archive ends early")),
        }
    }
}

/// The content of the entry, one piece of data behind the other.
impl<R: Read> Read for Unpack<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = (buf.len() as u64).min(self.left) as usize;
        let count = self.input.read(buf.get_mut(..len).unwrap_or_default())?;
        if count == 0 && len > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

/// Keys and values of records: `LENGTH KEY=VALUE\n`.
fn pax(bytes: &[u8]) -> crate::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let wrong = || err!("a record of the archive is malformed");
    let mut rest = bytes;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let blank = rest.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let len: usize = decimal(rest.get(..blank).unwrap_or_default())?;
        let record = rest.get(blank.saturating_add(1)..len).and_then(|own| own.strip_suffix(b"\n"));
        let record = record.ok_or_else(wrong)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        let (key, value) = record.split_at(equals);
        records.push((key.to_vec(), value.get(1..).unwrap_or_default().to_vec()));
        rest = rest.get(len..).unwrap_or_default();
    }
    Ok(records)
}

/// The extended attribute that a record is; `None` for what is none.
fn attribute(key: &[u8], value: Vec<u8>, owners: &Owners) -> crate::Result<Option<Attribute>> {
    let list = match key {
        b"SCHILY.acl.access" => "system.posix_acl_access",
        b"SCHILY.acl.default" => "system.posix_acl_default",
        _ => {
            let name =
                key.strip_prefix(b"SCHILY.xattr.").or_else(|| key.strip_prefix(b"RHT.security.selinux"));
            return Ok(name.map(|name| match name {
                b"" => Attribute { name: b"security.selinux".to_vec(), value },
                name => Attribute { name: name.to_vec(), value },
            }));
        }
    };
    let text = String::from_utf8_lossy(&value);
    let bytes = acl::bytes(&text, owners);
    let bytes =
        bytes.ok_or_else(|| err!("an access control list has a name that is not known there: {text:?}"))?;
    Ok(Some(Attribute { name: list.as_bytes().to_vec(), value: bytes }))
}

/// A field up to its first zero.
fn field(header: &[u8; BLOCK], at: usize, len: usize) -> Vec<u8> {
    let field = header.iter().skip(at).take(len).copied();
    field.take_while(|byte| *byte != 0).collect()
}

/// The name, with what a ustar header has before it.
fn name(header: &[u8; BLOCK]) -> Vec<u8> {
    let (name, prefix) = (field(header, 0, 100), field(header, 345, 155));
    let is_ustar = header.get(257..263) == Some(b"ustar\0");
    match is_ustar && !prefix.is_empty() {
        true => [&prefix, b"/".as_slice(), &name].concat(),
        false => name,
    }
}

/// A number in octal digits, or in base 256 with its first bit set (GNU tar).
fn number(header: &[u8; BLOCK], at: usize, len: usize) -> crate::Result<u64> {
    let bytes: Vec<u8> = header.iter().skip(at).take(len).copied().collect();
    if let [first, rest @ ..] = bytes.as_slice()
        && first & 0x80 != 0
    {
        return Ok(rest.iter().fold(u64::from(first & 0x3f), |number, byte| number << 8 | u64::from(*byte)));
    }
    let text = String::from_utf8_lossy(&bytes);
    let digits = text.trim_matches(|c: char| c == '\0' || c == ' ');
    match digits.is_empty() {
        true => Ok(0),
        false => u64::from_str_radix(digits, 8)
            .map_err(|_| err!("a number of the archive is malformed: {digits:?}")),
    }
}

fn decimal<T: std::str::FromStr>(text: &[u8]) -> crate::Result<T> {
    let text = String::from_utf8_lossy(text);
    text.trim().parse().map_err(|_| err!("a number of the archive is malformed: {text:?}"))
}

/// Seconds with a fraction, as POSIX has them: one number with a sign.
fn time(text: &[u8]) -> crate::Result<Time> {
    let text = String::from_utf8_lossy(text);
    let wrong = || err!("a time of the archive is malformed: {text:?}");
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.as_ref()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let seconds: i64 = whole.parse().map_err(|_| wrong())?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let padded = format!("{fraction:0<9}");
    let nanoseconds: u32 = padded.get(..9).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    Ok(match (is_negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: seconds.saturating_neg(), nanoseconds: 0 },
        (true, _) => Time {
            seconds: seconds.saturating_neg().saturating_sub(1),
            nanoseconds: 1_000_000_000_u32.saturating_sub(nanoseconds),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_are_read_as_they_are_written() {
        let of = |text: &str| time(text.as_bytes()).unwrap();
        assert_eq!(of("1.5"), Time { seconds: 1, nanoseconds: 500_000_000 });
        assert_eq!(of("-0.5"), Time { seconds: -1, nanoseconds: 500_000_000 });
        assert_eq!(of("-2"), Time { seconds: -2, nanoseconds: 0 });
        assert_eq!(of("7.1234567891"), Time { seconds: 7, nanoseconds: 123_456_789 });
        assert!(time(b"x").is_err() && time(b"1.x").is_err());
        let mut header = [0; BLOCK];
        header[..8].copy_from_slice(b"0000644\0");
        header[8..16].copy_from_slice(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe]);
        assert_eq!((number(&header, 0, 8).unwrap(), number(&header, 8, 8).unwrap()), (0o644, 0xffff_fffe));
        assert_eq!(number(&header, 16, 8).unwrap(), 0);
    }

    #[test]
    fn records_are_taken_apart_and_what_is_malformed_is_an_error() {
        assert_eq!(
            pax(b"9 path=x\n12 uid=70=0\n").unwrap(),
            [(b"path".to_vec(), b"x".to_vec()), (b"uid".to_vec(), b"70=0".to_vec())]
        );
        for wrong in [&b"9 path=x"[..], b"99 path=x\n", b"path=x\n", b"8 pathxx\n", b"0 a=b\n"] {
            assert!(pax(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn what_is_no_archive_is_said_to_be_none() {
        let error = Unpack::new(&[b'x'; 1024][..], Owners::default()).entry().unwrap_err();
        assert!(error.to_string().contains("it is no tar archive"), "{error}");
        let error = Unpack::new(&b"short"[..], Owners::default()).entry().unwrap_err();
        assert!(error.to_string().contains("it is no tar archive"), "{error}");
        assert!(Unpack::new(&[0; 1024][..], Owners::default()).entry().unwrap().is_none());
        assert!(Unpack::new(&[][..], Owners::default()).entry().unwrap().is_none());
    }
}
