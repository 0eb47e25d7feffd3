//! What is done with bytes that may be an image of another program: everything that reads. None of it may panic, hang or take
//! memory that the bytes do not justify. The first byte says the format.

use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange, MemoryDisk};
use image_core::foreign::{Header, Kind};

/// Bytes read at a time.
const PIECE: u64 = 3 * 4096 + 7;

/// Reads `bytes` as an image; says whether its header was accepted.
pub(crate) fn open_foreign(bytes: &[u8]) -> bool {
    let Some((&format, bytes)) = bytes.split_first() else { return false };
    let kind = Kind::ALL[usize::from(format) % Kind::ALL.len()];
    let file: Arc<dyn BlockRead> = Arc::new(MemoryDisk::from_bytes(bytes.to_vec()));
    let Ok(header) = Header::read(&*file, kind, None) else { return false };
    let _ = (header.variant(), header.notes(), header.parent(), header.extent_names());
    // What it names is the file itself.
    let mut named = |_: &[u8]| Ok(file.clone());
    let Ok(image) = header.open(file.clone(), None, &mut named) else { return true };
    let first = ByteRange::whole(image.size().min(1 << 24));
    let _ = (image.extents(first), image.map_entries(first));
    let mut buf = vec![0; PIECE as usize];
    for index in (0..24).chain([1 << 20, 1 << 30, u64::MAX / PIECE]) {
        let at = (index * PIECE).min(image.size().saturating_sub(PIECE));
        let len = PIECE.min(image.size() - at);
        let _ = image.read_at(&mut buf[..len as usize], at);
    }
    true
}
