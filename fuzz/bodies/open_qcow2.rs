//! What is done with bytes that may be a qcow2 image: everything that reads. None of it may panic, hang or take memory
//! that the bytes do not justify. The fuzz target runs it, and so do the ordinary tests on damaged fixtures.

use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange, MemoryDisk};
use image_core::qcow2::check::check;
use image_core::qcow2::{Header, Qcow2, snapshot};

/// Bytes read at a time.
const PIECE: u64 = 3 * 4096 + 7;

/// Reads `bytes` as an image; says whether its header was accepted.
pub(crate) fn open_qcow2(bytes: &[u8]) -> bool {
    let file = Arc::new(MemoryDisk::from_bytes(bytes.to_vec()));
    let Ok(header) = Header::read(&*file) else { return false };
    if let Ok(written) = header.to_bytes() {
        // What is written says the same, except for what the format leaves open.
        let again = Header::from_bytes(&written, bytes.len() as u64).expect("our own header is read again");
        assert_eq!((again.size, again.l1, again.geometry), (header.size, header.l1, header.geometry));
        assert_eq!(again.extensions, header.extensions);
    }
    let _ = snapshot::list(&*file, &header);
    let _ = check(&*file, &header, &mut |finding| drop(finding.to_string()));
    let data_file = header.has_data_file().then(|| file.clone() as Arc<dyn BlockRead>);
    let Ok(image) = Qcow2::new(file, header, None, data_file) else { return true };
    let _ = image.extents(ByteRange::whole(image.size()));
    let mut buf = vec![0; PIECE as usize];
    // The first and the last pieces, and some between.
    for index in (0..24).chain([1 << 20, 1 << 30, u64::MAX / PIECE]) {
        let at = (index * PIECE).min(image.size().saturating_sub(PIECE));
        let len = PIECE.min(image.size() - at);
        let _ = image.read_at(&mut buf[..len as usize], at);
    }
    true
}
