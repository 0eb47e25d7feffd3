//! The descriptor: text that says what the disk is, and which extents it has ("The Virtual Disk Descriptor File").

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::super::field::in_bytes;
use super::super::rule::{Corrupt, Unsupported};
use super::SECTOR;
use crate::error::Result;

/// No disk has more extents.
const MAX_EXTENTS: usize = 32 * 1024;

/// How an extent holds its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExtentKind {
    /// As they are: FLAT, VMFS.
    Flat,
    /// In grains: SPARSE.
    Sparse,
    /// In grains, as ESX did: VMFSSPARSE.
    VmfsSparse,
    /// In small grains, as ESXi does: SESPARSE.
    SeSparse,
    /// Not at all: ZERO.
    Zero,
}

/// A line that describes an extent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExtentLine {
    /// In bytes.
    pub(crate) size: u64,
    /// How it holds them.
    pub(crate) kind: ExtentKind,
    /// The file's name; zeroes have none.
    pub(crate) name: Option<Vec<u8>>,
    /// Where in the file it begins, in bytes.
    pub(crate) offset: u64,
}

/// What a descriptor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// `createType`: what kind of image it is.
    pub(crate) create_type: String,
    /// `CID`: the state of its content.
    pub(crate) cid: u32,
    /// `parentCID`: the state of its parent's content when it was made; none without one.
    pub(crate) parent_cid: Option<u32>,
    /// `parentFileNameHint`: where its parent is.
    pub(crate) parent_name: Option<Vec<u8>>,
    /// The extents, one behind the other.
    pub(crate) extents: Vec<ExtentLine>,
}

impl Descriptor {
    /// Reads a descriptor.
    ///
    /// # Errors
    /// [`Corrupt`], [`Unsupported`].
    pub(crate) fn parse(text: &[u8]) -> Result<Self> {
        let mut found = Self {
            create_type: String::new(),
            cid: 0,
            parent_cid: None,
            parent_name: None,
            extents: Vec::new(),
        };
        let mut version = None;
        for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            if let Some(extent) = extent(line)? {
                if found.extents.len() >= MAX_EXTENTS {
                    return Err(wrong(line, "no disk has that many extents").into());
                }
                found.extents.push(extent);
                continue;
            }
            let Some((key, value)) = key_value(line) else { continue };
            match key.to_ascii_lowercase().as_slice() {
                b"version" => version = Some(value),
                b"cid" => found.cid = hexadecimal(line, value)?,
                b"parentcid" => {
                    found.parent_cid = Some(hexadecimal(line, value)?).filter(|cid| *cid != u32::MAX);
                }
                b"createtype" => found.create_type = String::from_utf8_lossy(value).into_owned(),
                b"parentfilenamehint" => found.parent_name = Some(value.to_vec()),
                b"encoding" if !is_plain_encoding(value) => {
                    let name = String::from_utf8_lossy(value).into_owned();
                    return Err(Unsupported::Name { what: "encoding", name }.into());
                }
                key if key.starts_with(b"encryption") || key == b"keysafe" => {
                    return Err(Unsupported::Encrypted.into());
                }
                _ => {}
            }
        }
        match version {
            Some(b"1" | b"2" | b"3") => {}
            Some(other) => {
                let name = String::from_utf8_lossy(other).into_owned();
                return Err(Unsupported::Name { what: "descriptor's version", name }.into());
            }
            None => return Err(Corrupt::Missing { what: "descriptor's version" }.into()),
        }
        if found.extents.is_empty() {
            return Err(Corrupt::Missing { what: "descriptor's list of extents" }.into());
        }
        if found.parent_cid.is_some() && found.parent_name.is_none() {
            return Err(Corrupt::Missing { what: "parent's name" }.into());
        }
        if found.parent_cid.is_none() {
            found.parent_name = None;
        }
        Ok(found)
    }

    /// The size of all extents, in bytes.
    ///
    /// # Errors
    /// [`Corrupt`] if no disk is that large.
    pub(crate) fn size(&self) -> Result<u64, Corrupt> {
        let mut sizes = self.extents.iter().map(|line| line.size);
        let sum = sizes.try_fold(0_u64, u64::checked_add).unwrap_or(u64::MAX);
        in_bytes(sum >> 9, "virtual size")
    }
}

/// Names that are read as they are: those of UTF-8, and of encodings that begin as ASCII does.
fn is_plain_encoding(value: &[u8]) -> bool {
    !value.to_ascii_lowercase().starts_with(b"utf-16")
}

fn wrong(line: &[u8], rule: &'static str) -> Corrupt {
    let shown = line.get(..100).unwrap_or(line);
    Corrupt::Descriptor { line: String::from_utf8_lossy(shown).into_owned(), rule }
}

/// `key = "value"`, with or without blanks and quotation marks.
fn key_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == b'=')?;
    let (key, value) = line.split_at_checked(at)?;
    let value = value.get(1..)?.trim_ascii();
    let inner = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    Some((key.trim_ascii(), inner.unwrap_or(value)))
}

fn hexadecimal(line: &[u8], value: &[u8]) -> Result<u32, Corrupt> {
    let parsed = std::str::from_utf8(value).ok().and_then(|text| u32::from_str_radix(text, 16).ok());
    parsed.ok_or_else(|| wrong(line, "not a hexadecimal number"))
}

/// The extent that a line describes: `RW 4192256 SPARSE "name"`, `RW 1024 FLAT "name" 63`.
fn extent(line: &[u8]) -> Result<Option<ExtentLine>> {
    let (word, rest) = word(line);
    match word.to_ascii_uppercase().as_slice() {
        b"RW" | b"RDONLY" => {}
        // Its content is not to be seen, and VMware's programs do not see it either.
        b"NOACCESS" => {
            let name = String::from_utf8_lossy(word).into_owned();
            return Err(Unsupported::Name { what: "extent's access", name }.into());
        }
        _ => return Ok(None),
    }
    let (size, rest) = self::word(rest);
    let sectors = decimal(size).ok_or_else(|| wrong(line, "the size is no number"))?;
    let size = in_bytes(sectors, "extent's size")?;
    let (kind, rest) = self::word(rest);
    let kind = match kind.to_ascii_uppercase().as_slice() {
        b"FLAT" | b"VMFS" => ExtentKind::Flat,
        b"SPARSE" => ExtentKind::Sparse,
        b"VMFSSPARSE" => ExtentKind::VmfsSparse,
        b"SESPARSE" => ExtentKind::SeSparse,
        b"ZERO" => ExtentKind::Zero,
        _ => {
            let name = String::from_utf8_lossy(kind).into_owned();
            return Err(Unsupported::Name { what: "kind of extent", name }.into());
        }
    };
    if kind == ExtentKind::Zero {
        return Ok(Some(ExtentLine { size, kind, name: None, offset: 0 }));
    }
    let name = rest.trim_ascii_start().strip_prefix(b"\"").and_then(|rest| {
        let end = rest.iter().position(|byte| *byte == b'"')?;
        Some((rest.get(..end)?, rest.get(end.saturating_add(1)..)?))
    });
    let (name, rest) = name.ok_or_else(|| wrong(line, "a name in quotation marks is missing"))?;
    if name.is_empty() {
        return Err(wrong(line, "the name is empty").into());
    }
    let offset = match (kind, self::word(rest).0) {
        (ExtentKind::Flat, word) if !word.is_empty() => {
            let sectors = decimal(word).ok_or_else(|| wrong(line, "the offset is no number"))?;
            in_bytes(sectors, "extent's offset")?
        }
        _ => 0,
    };
    Ok(Some(ExtentLine { size, kind, name: Some(name.to_vec()), offset }))
}

/// The first word of a line, and what follows it.
fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii_start();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    line.split_at_checked(end).unwrap_or((line, &[]))
}

fn decimal(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// A descriptor as it is written here, for one file `name` of `size` bytes.
pub(super) fn written(create_type: &str, cid: u32, name: &str, size: u64) -> String {
    let sectors = size.checked_div(SECTOR).unwrap_or_default();
    // As of a disk of a SCSI controller: 255 heads, 63 sectors; "The Disk Database".
    let (heads, track) = (255_u64, 63_u64);
    let cylinders = sectors.checked_div(heads.saturating_mul(track)).unwrap_or_default().clamp(1, 65535);
    format!(
        "# Disk DescriptorFile\n\
         version=1\n\
         CID={cid:08x}\n\
         parentCID=ffffffff\n\
         createType=\"{create_type}\"\n\
         \n\
         # Extent description\n\
         RW {sectors} SPARSE \"{name}\"\n\
         \n\
         # The Disk Data Base\n\
         #DDB\n\
         \n\
         ddb.virtualHWVersion = \"10\"\n\
         ddb.adapterType = \"lsilogic\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"{heads}\"\n\
         ddb.geometry.sectors = \"{track}\"\n\
         ddb.toolsVersion = \"2147483647\"\n"
    )
}
