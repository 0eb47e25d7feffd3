//! Unified kernel images: a kernel, its initrd and its words as sections of one UEFI program.
//!
//! ```text
//! "MZ" … [0x3c] ─► "PE" 0 0 │ COFF header, 20 bytes: [2] sections … [16] optional header's size │ optional header │ section table
//! section      name, 8 bytes │ size in memory │ address │ size in the file │ offset in the file │ …, 40 bytes
//! ```
//!
//! PE Format, "COFF File Header" and "Section Table"; UAPI group, Unified Kernel Image (`.linux`, `.initrd`, `.cmdline`). Of a section that
//! several profiles have, the first one counts, which is the one that starts unless somebody chooses another.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use image_core::block::{BlockRead, ByteRange};

/// Where the offset of the PE header is.
const HEADER_OFFSET: u64 = 0x3c;
const COFF_LEN: usize = 24;
const SECTION_LEN: usize = 40;
/// No program has more sections (Windows loads no more than 96).
const SECTIONS_MAX: u16 = 96;

/// Where the section `name` of the program `content` is; `None` if it is no program, or has none.
///
/// # Errors
/// If it cannot be read.
pub(super) fn section(content: &dyn BlockRead, name: &str) -> image_core::Result<Option<ByteRange>> {
    let Some(at) = read(content, HEADER_OFFSET, 4)?.and_then(|bytes| u32_at(&bytes, 0)) else {
        return Ok(None);
    };
    let Some(coff) = read(content, at.into(), COFF_LEN)?.filter(|bytes| bytes.starts_with(b"PE\0\0")) else {
        return Ok(None);
    };
    let (count, optional) = (u16_at(&coff, 6).unwrap_or(0), u16_at(&coff, 20).unwrap_or(0));
    let table = u64::from(at).saturating_add(COFF_LEN as u64).saturating_add(optional.into());
    let len = usize::from(count.min(SECTIONS_MAX)).saturating_mul(SECTION_LEN);
    let Some(table) = read(content, table, len)? else { return Ok(None) };
    let (sections, _) = table.as_chunks::<SECTION_LEN>();
    let found = sections.iter().find(|section| {
        let (own, _) = section.split_at(8);
        own.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
    });
    let Some(found) = found else { return Ok(None) };
    let number = |at| u32_at(found, at).map_or(0, u64::from);
    // What is in the file beyond the size in memory is padding.
    let (offset, len) = (number(20), number(16).min(number(8)));
    let is_inside = offset.checked_add(len).is_some_and(|end| end <= content.size());
    Ok(is_inside.then(|| ByteRange::new(offset, len)).and_then(Result::ok))
}

/// Bytes of `content`; `None` where it is shorter.
fn read(content: &dyn BlockRead, offset: u64, len: usize) -> image_core::Result<Option<Vec<u8>>> {
    if offset.checked_add(len as u64).is_none_or(|end| end > content.size()) {
        return Ok(None);
    }
    let mut bytes = vec![0; len];
    content.read_at(&mut bytes, offset)?;
    Ok(Some(bytes))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use image_core::block::MemoryDisk;

    use super::*;

    /// A program with these sections, as the specification lays them out.
    pub(in super::super) fn program(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; 0x80];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x80;
        bytes.extend(b"PE\0\0");
        bytes.extend(0x8664_u16.to_le_bytes());
        bytes.extend((sections.len() as u16).to_le_bytes());
        bytes.extend([0; 12]);
        bytes.extend(240_u16.to_le_bytes());
        bytes.extend([0; 2 + 240]);
        let mut offset = (bytes.len() + sections.len() * SECTION_LEN).next_multiple_of(512);
        for (name, content) in sections {
            let mut own = name.as_bytes().to_vec();
            own.resize(8, 0);
            let in_file = content.len().next_multiple_of(512);
            for number in [content.len(), 0x1000, in_file, offset] {
                own.extend((number as u32).to_le_bytes());
            }
            own.resize(SECTION_LEN, 0);
            bytes.extend(own);
            offset += in_file;
        }
        for (_, content) in sections {
            bytes.resize(bytes.len().next_multiple_of(512), 0);
            bytes.extend(*content);
        }
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn found(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
        let range = section(&MemoryDisk::from_bytes(bytes.to_vec()), name).unwrap()?;
        Some(bytes[range.offset() as usize..][..range.len() as usize].to_vec())
    }

    #[test]
    fn a_section_is_found_by_its_whole_name() {
        let bytes =
            program(&[(".cmdline", b"root=LABEL=x rw"), (".initrd", b"070701"), (".cmdline", b"other")]);
        assert_eq!(found(&bytes, ".cmdline").as_deref(), Some(b"root=LABEL=x rw".as_slice()));
        assert_eq!(found(&bytes, ".initrd").as_deref(), Some(b"070701".as_slice()));
        assert_eq!(found(&bytes, ".init"), None);
        assert_eq!(found(&bytes, ".linux"), None);
    }

    #[test]
    fn what_is_no_program_or_ends_early_has_none() {
        let bytes = program(&[(".cmdline", b"rw")]);
        for cut in [0, 2, 0x40, 0x90, 0x190, bytes.len() - 600] {
            assert_eq!(found(&bytes[..cut], ".cmdline"), None, "{cut}");
        }
        let mut far = bytes.clone();
        far[0x3c..0x40].copy_from_slice(&[0xff; 4]);
        assert_eq!(found(&far, ".cmdline"), None);
        assert_eq!(found(&bytes[..bytes.len() - 512], ".cmdline"), None);
    }
}
