//! What a program needs to run: its loader and its libraries, as its ELF headers say.
//!
//! ```text
//! header ─► program headers ─┬─ PT_INTERP   the loader's path
//!                            ├─ PT_DYNAMIC  DT_NEEDED, DT_SONAME: places in DT_STRTAB, an address ─┐
//!                            └─ PT_LOAD     where addresses are in the file ◄──────────────────────┘
//! [ what is loaded ][ sections: symbols, what debuggers want ]      behind `end` nothing runs
//! ```
//! System V ABI, "Program Loading and Dynamic Linking"; 64 bits, little-endian.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::fs::File;
use std::os::unix::fs::FileExt;

/// The length of the header, and of a program header.
pub(super) const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
/// More of them no program has.
const PROGRAM_HEADERS_MAX: usize = 64;
/// Nor so long a dynamic section, in bytes, nor such names.
const DYNAMIC_MAX: u64 = 1 << 16;
const NAME_MAX: usize = 4096;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;

/// What is known of a program or library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Elf {
    /// The loader that it asks for.
    pub(super) interpreter: Option<String>,
    /// The libraries that it needs.
    pub(super) needed: Vec<String>,
    /// What it is called as a library.
    pub(super) soname: Option<String>,
    /// Where what is loaded of it ends in the file.
    pub(super) end: u64,
}

/// A segment: its kind, and where it is in the file and in memory.
#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    len: u64,
}

impl Elf {
    /// Of `file`; `None` if it is no ELF file of this kind.
    pub(super) fn read(file: &File) -> Option<Self> {
        let header = bytes(file, 0, HEADER)?;
        if header.get(..6)? != b"\x7fELF\x02\x01" {
            return None;
        }
        let (at, size, count) =
            (number(&header, 32, 8)?, number(&header, 54, 2)?, number(&header, 56, 2)? as usize);
        if size != PROGRAM_HEADER as u64 || count > PROGRAM_HEADERS_MAX {
            return None;
        }
        let table = bytes(file, at, PROGRAM_HEADER.checked_mul(count)?)?;
        let segments: Option<Vec<Segment>> = table.chunks_exact(PROGRAM_HEADER).map(segment).collect();
        let segments = segments?;
        let ends = segments.iter().map(|own| own.offset.saturating_add(own.len));
        let table_end = at.saturating_add(table.len() as u64);
        let end = ends.chain([table_end, HEADER as u64]).max()?;
        let of_kind = |kind: u64| segments.iter().find(|own| own.kind == kind);
        let interpreter = of_kind(PT_INTERP).and_then(|own| text(file, own.offset));
        let mut found = Self { interpreter, needed: Vec::new(), soname: None, end };
        if let Some(dynamic) = of_kind(PT_DYNAMIC) {
            found.read_dynamic(file, *dynamic, &segments)?;
        }
        Some(found)
    }

    fn read_dynamic(&mut self, file: &File, dynamic: Segment, segments: &[Segment]) -> Option<()> {
        let table = bytes(file, dynamic.offset, dynamic.len.min(DYNAMIC_MAX) as usize)?;
        let pairs: Vec<(u64, u64)> = table
            .chunks_exact(16)
            .filter_map(|pair| Some((number(pair, 0, 8)?, number(pair, 8, 8)?)))
            .take_while(|(tag, _)| *tag != 0)
            .collect();
        let (_, address) = *pairs.iter().find(|(tag, _)| *tag == DT_STRTAB)?;
        let names = in_file(address, segments)?;
        for (tag, at) in pairs {
            let name = || text(file, names.checked_add(at)?);
            match tag {
                DT_NEEDED => self.needed.push(name()?),
                DT_SONAME => self.soname = name(),
                _ => {}
            }
        }
        Some(())
    }
}

fn segment(header: &[u8]) -> Option<Segment> {
    Some(Segment {
        kind: number(header, 0, 4)?,
        offset: number(header, 8, 8)?,
        address: number(header, 16, 8)?,
        len: number(header, 32, 8)?,
    })
}

/// Where in the file is what is loaded at `address`.
fn in_file(address: u64, segments: &[Segment]) -> Option<u64> {
    let within = |own: &&Segment| {
        own.kind == PT_LOAD && (own.address..own.address.saturating_add(own.len)).contains(&address)
    };
    let own = segments.iter().find(within)?;
    address.checked_sub(own.address)?.checked_add(own.offset)
}

fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let own = bytes.get(at..at.checked_add(len)?)?;
    Some(own.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn bytes(file: &File, at: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

/// What is at `at`, up to a zero.
fn text(file: &File, at: u64) -> Option<String> {
    let mut bytes = vec![0; NAME_MAX];
    let len = file.read_at(&mut bytes, at).ok()?;
    let own = bytes.get(..len)?;
    let end = own.iter().position(|byte| *byte == 0)?;
    String::from_utf8(own.get(..end)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_what_it_needs() {
        let own = Elf::read(&File::open("/proc/self/exe").unwrap()).unwrap();
        assert!(own.needed.iter().any(|name| name.starts_with("libc.so")), "{own:?}");
        let loader = Elf::read(&File::open(own.interpreter.unwrap()).unwrap()).unwrap();
        assert!(loader.interpreter.is_none() && loader.needed.is_empty());
        assert!(loader.soname.unwrap().starts_with("ld-"));
        let size = File::open("/proc/self/exe").unwrap().metadata().unwrap().len();
        assert!(own.end < size, "{} of {size} bytes are loaded", own.end);
    }

    #[test]
    fn what_is_no_program_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let whole = std::fs::read("/proc/self/exe").unwrap();
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Elf::read(&File::open(&path).unwrap())
        };
        assert_eq!((of(b""), of(b"#!/bin/sh\n"), of(&whole[..100])), (None, None, None));
        // Whatever its first bytes say, it is read or not, and nothing more.
        for at in 4..600 {
            let mut broken = whole[..4096].to_vec();
            broken[at] ^= 0xff;
            let _ = of(&broken);
        }
    }
}
