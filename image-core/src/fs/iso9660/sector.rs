//! Sectors, and the numbers in them.

/// Bytes in a logical sector and in a logical block.
pub(super) const SECTOR: usize = 2048;

/// Where a file or a directory lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) sector: u32,
    pub(super) len: u32,
}

/// How many sectors `len` bytes take.
pub(super) fn sectors(len: usize) -> u32 {
    len.div_ceil(SECTOR) as u32
}

pub(super) fn at(image: &mut [u8], sector: u32) -> &mut [u8] {
    &mut image[sector as usize * SECTOR..]
}

/// A number in both byte orders (ECMA-119, 7.2.3).
pub(super) fn both_u16(value: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d]
}

/// A number in both byte orders (ECMA-119, 7.3.3).
pub(super) fn both_u32(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}
