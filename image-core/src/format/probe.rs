//! Which format a file has where nobody says so: its first bytes, and for what would be raw a descriptor and its last ones.
//!
//! ```text
//! first 512 bytes ─┬─ qcow2, or another image that is read here
//!                  ├─ known, and not read here: images of other programs, compressed files, archives
//!                  └─ neither ─► a disc (ISO 9660)? ─► the last 512 bytes: a fixed VHD, a DMG? ─► raw
//! ```
//!
//! Nothing marks a disk as raw, so whatever is taken for something else here must be nothing that a disk begins or ends
//! with. What has no more than a few bytes to be known by is looked at more closely:
//!
//! - tar: `ustar` lies where an MBR has its boot code, and the oldest have nothing there; the checksum of the header decides.
//! - ISO 9660 (ECMA-119, 8.4): a stick that was an installer has the descriptor long after it was partitioned anew. With
//!   a partition table it is a disc only if the volume fills half of the file at least.
//! - fixed VHD (Virtual Hard Disk Image Format Specification, "Hard Disk Footer Format"): by the checksum of the footer,
//!   its type and its size. Where a GPT ends a disk the footer has no room.

use std::fmt;

use super::Format;
use crate::block::BlockRead;
use crate::error::{Doing, Error, Result};
use crate::foreign::Kind;
use crate::qcow2;

/// The bytes that tell formats apart.
pub(super) const PROBE_LEN: u64 = 512;

/// What a file is held against where nobody says what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Probing {
    /// All that is known here.
    #[default]
    Everything,
    /// The first bytes of what QEMU's programs know. All else is raw to them, whatever it is.
    AsQemu,
}

/// What kind of thing a file is that is no image to be read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnsupportedKind {
    /// An image of another program.
    Image,
    /// A file that is compressed, most often an image.
    Compressed,
    /// Several files in one.
    Archive,
    /// A CD or DVD.
    Disc,
}

/// What a file looks like that is not read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsupportedFormat {
    /// Its name, as users know it.
    pub name: &'static str,
    /// What kind of thing that is.
    pub kind: UnsupportedKind,
    /// The program that decompresses it, where it is compressed.
    pub decompressor: Option<&'static str>,
}

impl UnsupportedFormat {
    /// A format that is read here, where it cannot be taken.
    pub const fn of(kind: Kind) -> Self {
        image(kind.title())
    }
}

impl fmt::Display for UnsupportedFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it looks like {}, which is not supported; use -f raw if it is a raw disk", self.name)
    }
}

impl std::error::Error for UnsupportedFormat {}

impl From<UnsupportedFormat> for Error {
    fn from(unsupported: UnsupportedFormat) -> Self {
        Self::unsupported(unsupported).doing("probing the format")
    }
}

const fn image(name: &'static str) -> UnsupportedFormat {
    UnsupportedFormat { name, kind: UnsupportedKind::Image, decompressor: None }
}

const fn compressed(name: &'static str, by: &'static str) -> UnsupportedFormat {
    UnsupportedFormat { name, kind: UnsupportedKind::Compressed, decompressor: Some(by) }
}

const fn archive(name: &'static str, by: &'static str) -> UnsupportedFormat {
    UnsupportedFormat { name, kind: UnsupportedKind::Archive, decompressor: Some(by) }
}

/// What QEMU's programs recognise too: where, which bytes, whose.
const KNOWN_TO_QEMU: [(usize, &[u8], UnsupportedFormat); 3] = [
    (0, b"LUKS\xba\xbe\0\x01", image("LUKS")),
    (0, b"Bochs Virtual HD Image", image("Bochs")),
    (0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", image("cloop")),
];

/// What they take for raw.
const UNKNOWN_TO_QEMU: [(usize, &[u8], UnsupportedFormat); 17] = [
    (0, b"LUKS\xba\xbe", image("LUKS")),
    (0, b"\x3a\xff\x26\xed\x01\0", image("an Android sparse image")),
    (0, b"sprs", image("an Apple sparse image")),
    (0, b"\xfd7zXZ\0", compressed("an xz file", "unxz")),
    (0, b"\x28\xb5\x2f\xfd", compressed("a zstd file", "unzstd")),
    (0, b"\x04\x22\x4d\x18", compressed("an lz4 file", "unlz4")),
    (0, b"LZIP\x01", compressed("an lzip file", "lzip -d")),
    (0, b"\x89LZO\0\r\n\x1a\n", compressed("an lzop file", "lzop -d")),
    (0, b"PK\x03\x04", archive("a zip file", "unzip")),
    (0, b"PK\x05\x06", archive("a zip file", "unzip")),
    (0, b"PK\x07\x08", archive("a zip file", "unzip")),
    (0, b"7z\xbc\xaf\x27\x1c", archive("a 7z file", "7z x")),
    (0, b"Rar!\x1a\x07", archive("a rar file", "unrar x")),
    (0, b"!<arch>\n", archive("an ar archive", "ar x")),
    (0, b"MSWIM\0\0\0", archive("a WIM file", "wimlib-imagex extract")),
    (0, b"\x1f\x9d\x90", compressed("a compress (.Z) file", "uncompress")),
    (0, b"\x1f\xa0", compressed("a compress (.z) file", "gunzip")),
];

/// Which format `file` has. Whatever looks like nothing else is raw.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for what is known but not read (cause: [`UnsupportedFormat`]); whatever reading says.
pub fn probe(file: &dyn BlockRead, probing: Probing) -> Result<Format> {
    let doing = || "probing the format";
    let start = bytes_at(file, 0, PROBE_LEN).doing(doing)?;
    let format = probe_start(&start, probing)?;
    if format == Format::Raw && probing == Probing::Everything {
        let descriptor = bytes_at(file, DESCRIPTOR_OFFSET, DESCRIPTOR_LEN).doing(doing)?;
        if is_disc(&start, &descriptor, file.size()) {
            let kind = UnsupportedKind::Disc;
            return Err(UnsupportedFormat { name: "ISO 9660 (a CD or DVD)", kind, decompressor: None }.into());
        }
        let end = bytes_at(file, file.size().saturating_sub(FOOTER_LEN), FOOTER_LEN).doing(doing)?;
        return known_end(&end, file.size());
    }
    Ok(format)
}

/// As [`probe`], of a file that starts so.
pub(super) fn probe_start(start: &[u8], probing: Probing) -> Result<Format> {
    if let Some(unsupported) = known_start(start, probing) {
        return Err(unsupported.into());
    }
    match Kind::of_start(start) {
        // They are not opened by who stands in for QEMU.
        Some(kind) if probing == Probing::AsQemu => Err(image(kind.title()).into()),
        Some(kind) => Ok(Format::Foreign(kind)),
        None if start.starts_with(&qcow2::layout::MAGIC) => Ok(Format::Qcow2),
        None => Ok(Format::Raw),
    }
}

fn known_start(start: &[u8], probing: Probing) -> Option<UnsupportedFormat> {
    let among = |known: &[(usize, &[u8], UnsupportedFormat)]| {
        let is_there = |at: usize, bytes| start.get(at..).is_some_and(|rest| rest.starts_with(bytes));
        known.iter().find(|(at, bytes, _)| is_there(*at, bytes)).map(|(_, _, unsupported)| *unsupported)
    };
    let found = among(&KNOWN_TO_QEMU);
    if found.is_some() || probing == Probing::AsQemu {
        return found;
    }
    among(&UNKNOWN_TO_QEMU).or_else(|| {
        let looks: [(Look, UnsupportedFormat); 5] = [
            (is_gzip, compressed("a gzip file", "gunzip")),
            (is_bzip2, compressed("a bzip2 file", "bunzip2")),
            (is_skippable_zstd, compressed("a zstd file", "unzstd")),
            (is_tar, archive("a tar archive", "tar -xf")),
            (is_cpio, archive("a cpio archive", "cpio -i")),
        ];
        looks.into_iter().find(|(is_it, _)| is_it(start)).map(|(_, unsupported)| unsupported)
    })
}

/// Whether something begins as a format does.
type Look = fn(&[u8]) -> bool;

/// RFC 1952, 2.3: the magic, the one method that there is, and no reserved flags.
fn is_gzip(start: &[u8]) -> bool {
    matches!(start, [0x1f, 0x8b, 8, flags, ..] if flags & 0xe0 == 0)
}

/// The magic, a level, and the magic of the first block or, of nothing, of the end.
fn is_bzip2(start: &[u8]) -> bool {
    let block = start.get(4..10);
    matches!(start, [b'B', b'Z', b'h', b'1'..=b'9', ..])
        && (block == Some(b"\x31\x41\x59\x26\x53\x59") || block == Some(b"\x17\x72\x45\x38\x50\x90"))
}

/// RFC 8878, 3.1.2: a frame that decoders skip, as parallel compressors write one first. The length of its content, and
/// then another frame, where that is to be seen.
fn is_skippable_zstd(start: &[u8]) -> bool {
    let &[0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, ..] = start else { return false };
    let next = 8 + u32::from_le_bytes([a, b, c, d]) as usize;
    start.get(next..next + 4) == Some(b"\x28\xb5\x2f\xfd")
}

/// A header of which the checksum is right: the sum of its bytes, with blanks in place of the checksum itself, in octal
/// (POSIX pax, "ustar Header Block"). `ustar` stands in it (POSIX, GNU); or, as in tar's seventh edition and those like
/// it, nothing does: then it has a name and octal numbers where they belong, and no disk's signature.
fn is_tar(start: &[u8]) -> bool {
    const SUM: std::ops::Range<usize> = 148..156;
    let Some(header) = start.get(..512) else { return false };
    let bytes = header.iter().enumerate();
    let sum: u64 = bytes.map(|(at, byte)| u64::from(if SUM.contains(&at) { b' ' } else { *byte })).sum();
    if octal(&header[SUM]) != Some(sum) {
        return false;
    }
    // Mode, owner, group, size and time.
    let mut numbers = [100..108, 108..116, 116..124, 124..136, 136..148].into_iter();
    header[257..].starts_with(b"ustar")
        || (header[0] != 0
            && !header.ends_with(b"\x55\xaa")
            && matches!(header[156], 0 | b'0'..=b'7')
            && numbers.all(|field| octal(&header[field]).is_some()))
}

/// A number in octal digits, with blanks before and blanks or zeroes behind them. Some programs leave a field empty.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii_start();
    let len = digits.iter().position(|byte| !(b'0'..=b'7').contains(byte)).unwrap_or(digits.len());
    let (digits, behind) = digits.split_at(len);
    let is_ended = behind.iter().all(|byte| matches!(byte, b' ' | 0));
    is_ended.then(|| digits.iter().fold(0, |value, digit| value << 3 | u64::from(digit - b'0')))
}

/// cpio: the magic, and numbers that are octal (POSIX pax, "cpio Header"), or hexadecimal with a checksum or without one.
fn is_cpio(start: &[u8]) -> bool {
    let digits = |field: std::ops::Range<usize>, is_digit: fn(&u8) -> bool| {
        start.get(field).is_some_and(|digits| digits.iter().all(is_digit))
    };
    match start.get(..6) {
        Some(b"070707") => digits(6..76, |byte| (b'0'..=b'7').contains(byte)),
        Some(b"070701" | b"070702") => digits(6..110, u8::is_ascii_hexdigit),
        _ => false,
    }
}

/// Where ISO 9660 has its first volume descriptor.
const DESCRIPTOR_OFFSET: u64 = 0x8000;
/// As much of it as is looked at.
const DESCRIPTOR_LEN: u64 = 132;
/// The only size of blocks that is in use.
const DISC_BLOCK: u16 = 2048;

/// Whether a file of `size` bytes that starts so, with this descriptor, is a disc.
fn is_disc(start: &[u8], descriptor: &[u8], size: u64) -> bool {
    let has_table = start.get(510..512) == Some(b"\x55\xaa");
    match descriptor.get(..7) {
        Some(b"\x01CD001\x01") => {}
        // A boot record or something else comes first: nothing is known of the volume.
        Some([0 | 2 | 3, b'C', b'D', b'0', b'0', b'1', 1]) => return !has_table,
        _ => return false,
    }
    // Each number stands there in both byte orders.
    let both = |at: usize, len: usize| {
        let (low, high) = (descriptor.get(at..at + len)?, descriptor.get(at + len..at + 2 * len)?);
        let value = low.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        low.iter().eq(high.iter().rev()).then_some(value)
    };
    let (Some(blocks), Some(block)) = (both(80, 4), both(128, 2)) else { return false };
    block == u64::from(DISC_BLOCK) && (!has_table || blocks * block >= size / 2)
}

/// What a VHD or a DMG has at its end.
const FOOTER_LEN: u64 = 512;

/// What a file of `size` bytes is that ends so.
fn known_end(end: &[u8], size: u64) -> Result<Format> {
    // Programs before 2004 wrote a byte less.
    if [end, end.get(1..).unwrap_or_default()].iter().any(|footer| is_fixed_vhd(footer, size)) {
        return Ok(Format::Foreign(Kind::Vpc));
    }
    // Its version, and the length of this trailer.
    let is_dmg = end.len() == 512 && end.starts_with(b"koly\0\0\0\x04\0\0\x02\0");
    if is_dmg { Err(image("DMG").into()) } else { Ok(Format::Raw) }
}

/// A footer of type 2 (fixed) with the checksum that it says, behind as many bytes as it says.
fn is_fixed_vhd(footer: &[u8], size: u64) -> bool {
    const SUM: std::ops::Range<usize> = 64..68;
    if footer.len() < 511 || !footer.starts_with(b"conectix") || footer[60..64] != [0, 0, 0, 2] {
        return false;
    }
    let number = |at: usize, len: usize| {
        footer[at..at + len].iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
    };
    let bytes = footer.iter().enumerate().filter(|(at, _)| !SUM.contains(at));
    let sum: u32 = bytes.map(|(_, byte)| u32::from(*byte)).sum();
    let (told, original, current) = (number(64, 4), number(40, 8), number(48, 8));
    let content = size - footer.len() as u64;
    u64::from(!sum) == told && (current == content || original == content)
}

/// So many bytes of `file`, or as many as there are.
fn bytes_at(file: &dyn BlockRead, offset: u64, len: u64) -> Result<Vec<u8>> {
    let there = file.size().saturating_sub(offset).min(len);
    let mut bytes = vec![0; there as usize];
    if !bytes.is_empty() {
        file.read_at(&mut bytes, offset)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
