//! What is done with bytes that may be an ext2, ext3 or ext4: everything that reads. None of it may panic, hang or take memory that
//! the bytes do not justify. The fuzz target runs it, and so do the ordinary tests on damaged filesystems.

use std::path::Path;
use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange, MemoryDisk};
use image_core::fs::{Ext4, Files, Filesystem, Inode};

/// Names that a walk goes on for.
const NAMES: usize = 5_000;
/// Bytes read at a time.
const PIECE: u64 = 5_000;

/// Reads `bytes` as a filesystem; says whether it was opened.
pub(crate) fn open_ext4(bytes: &[u8]) -> bool {
    let disk: Arc<dyn BlockRead> = Arc::new(MemoryDisk::from_bytes(bytes.to_vec()));
    let Ok(ext4) = Ext4::open(disk) else { return false };
    let _ = ext4.superblock().features.to_string();
    let _ = ext4.free_ranges();
    if let Ok(root) = ext4.root() {
        for step in ext4.walk(root).take(NAMES).flatten() {
            // Every name leads somewhere, or is told to be broken.
            let _ = ext4.resolve(&step.path, true);
            if let Ok(inode) = ext4.inode(step.inode) {
                read(&ext4, &inode);
            }
        }
    }
    for inode in ext4.inodes().take(NAMES).flatten() {
        read(&ext4, &inode);
    }
    let files: &dyn Files = &ext4;
    for path in ["/", "/lost+found", "/a/b", "/.."] {
        let _ = files.list(Path::new(path));
        let _ = files.read(Path::new(path), PIECE);
    }
    true
}

fn read(ext4: &Ext4, inode: &Inode) {
    let _ = ext4.attributes(inode);
    let _ = ext4.read_link(inode);
    let _ = ext4.read_directory(inode).take(NAMES).filter(Result::is_err).count();
    let _ = ext4.lookup(inode, b"a name");
    let _ = ext4.extents(inode, ByteRange::whole(inode.size));
    let content = ext4.content(inode.clone());
    let mut buf = vec![0; PIECE.min(inode.size) as usize];
    for at in [0, inode.size / 3, inode.size.saturating_sub(PIECE)] {
        let len = (inode.size - at).min(PIECE) as usize;
        let _ = content.read_at(&mut buf[..len], at);
        let _ = content.file_range(ByteRange::between(at, at + len as u64));
    }
}
