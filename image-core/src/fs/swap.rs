//! Swap space: a page that says what it is, and pages that mean nothing to a machine that is off.
//!
//! ```text
//! page 0   … boot code │ 1024 version, last page, bad pages │ 1036 UUID │ 1052 label │ … │ mark in the last ten bytes
//! page 1   … up to the last page
//! ```
//! The page has the size that the machine's pages had which made it. A machine that hibernates puts another mark in place of
//! that of swap space, so that what it keeps there is never taken for nothing. Linux kernel, include/linux/swap.h (swap_header).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::field::u32_at;
use crate::block::{BlockRead, ByteRange};
use crate::error::{Error, Result};

const MARK: &[u8; 10] = b"SWAPSPACE2";
/// Sizes of pages, the largest first: behind the largest that is marked is nothing but what was swapped.
const PAGES: [u64; 5] = [64 << 10, 32 << 10, 16 << 10, 8 << 10, 4 << 10];
/// Where the version and the number of the last page are.
const VERSION: u64 = 1024;

/// What of the swap space that is all of `disk` means nothing without a running system: all but its first page.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) for what is no swap space, or says that it is larger than the disk;
/// [`Unsupported`](crate::ErrorKind::Unsupported) for another version; whatever the disk says.
pub fn free_ranges_of_swap(disk: &(impl BlockRead + ?Sized)) -> Result<Vec<ByteRange>> {
    let mut page_size = None;
    for size in PAGES.into_iter().filter(|size| *size <= disk.size()) {
        let mut mark = [0; MARK.len()];
        disk.read_at(&mut mark, size.saturating_sub(MARK.len() as u64))?;
        if mark == *MARK {
            page_size = page_size.or(Some(size));
        }
    }
    let Some(page_size) = page_size else {
        return Err(Error::corrupt("there is no mark of swap space"));
    };
    let mut header = [0; 8];
    disk.read_at(&mut header, VERSION)?;
    let (version, last) = (u32_at(&header, 0), u64::from(u32_at(&header, 4)));
    if version != 1 {
        return Err(Error::unsupported(format!("the swap space is of version {version:#x}")));
    }
    let end = last.saturating_add(1).saturating_mul(page_size);
    if end > disk.size() {
        let size = disk.size();
        return Err(Error::corrupt(format!("the swap space has {end} bytes, and its disk {size}")));
    }
    Ok(vec![ByteRange::between(page_size, end)].into_iter().filter(|range| !range.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockWrite, MemoryDisk};

    fn swap(pages: &[u64], version: u32, last: u32) -> MemoryDisk {
        let disk = MemoryDisk::new(1 << 20);
        pages.iter().for_each(|page| disk.write_at(MARK, page - 10).unwrap());
        disk.write_at(&[version.to_le_bytes(), last.to_le_bytes()].concat(), VERSION).unwrap();
        disk
    }

    #[test]
    fn the_first_page_stays() {
        let free = |disk: &MemoryDisk| free_ranges_of_swap(disk).map_err(|error| error.to_string());
        assert_eq!(free(&swap(&[4096], 1, 255)), Ok(vec![ByteRange::between(4096, 1 << 20)]));
        assert_eq!(free(&swap(&[65536], 1, 10)), Ok(vec![ByteRange::between(65536, 11 << 16)]));
        assert_eq!(free(&swap(&[4096, 16384], 1, 10)), Ok(vec![ByteRange::between(16384, 11 << 14)]));
        assert_eq!(free(&swap(&[4096], 1, 0)), Ok(vec![]));
        assert!(free(&swap(&[4096], 1, 256)).unwrap_err().contains("its disk 1048576"));
        assert!(free(&swap(&[4096], 1 << 24, 255)).unwrap_err().contains("version 0x1000000"));
        assert!(free(&swap(&[], 1, 255)).is_err());
    }

    #[test]
    fn a_machine_that_sleeps_there_is_no_swap_space() {
        let disk = swap(&[4096], 1, 255);
        disk.write_at(b"S1SUSPEND\0", 4096 - 10).unwrap();
        assert!(free_ranges_of_swap(&disk).is_err());
    }
}
