//! What is done with bytes that may be a filesystem of any kind: everything that reads. None of it may panic, hang or take memory that
//! the bytes do not justify. The fuzz target runs it, and so does an ordinary test on damaged filesystems.

use std::collections::HashSet;
use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange, MemoryDisk};
use image_core::fs::{Filesystem, Node, NodeKind, detect, open, resolve};

/// Nodes that are looked at.
const NODES: usize = 3_000;
/// Bytes read at a time.
const PIECE: u64 = 5_000;

/// Reads `bytes` as a filesystem; says whether it was opened.
pub(crate) fn open_filesystem(bytes: &[u8]) -> bool {
    let disk: Arc<dyn BlockRead> = Arc::new(MemoryDisk::from_bytes(bytes.to_vec()));
    let _ = detect(&disk);
    let Ok(fs) = open(disk) else { return false };
    let _ = fs.usage();
    let _ = fs.free_ranges();
    let _ = fs.subvolume_paths();
    let mut todo: Vec<Node> = fs.root().into_iter().collect();
    let mut seen = HashSet::new();
    while let Some(node) = todo.pop().filter(|_| seen.len() < NODES) {
        read(&*fs, &node);
        for entry in fs.entries(&node).take(NODES).flatten() {
            let _ = fs.lookup(&node, &entry.name);
            if seen.insert(entry.id)
                && let Ok(found) = fs.node(entry.id)
            {
                todo.push(found);
            }
        }
    }
    for path in ["/", "/a/b", "/..", "/EFI/BOOT"] {
        let _ = resolve(&*fs, path.as_bytes(), true);
    }
    true
}

fn read(fs: &dyn Filesystem, node: &Node) {
    let _ = fs.attributes(node);
    let _ = fs.lookup(node, b"a name");
    if node.kind == NodeKind::Link {
        let _ = fs.read_link(node);
    }
    let Ok(content) = fs.content(node) else { return };
    let _ = content.extents(ByteRange::whole(content.size().min(1 << 40)));
    let mut buf = vec![0; PIECE.min(content.size()) as usize];
    for at in [0, content.size() / 3, content.size().saturating_sub(PIECE)] {
        let len = (content.size() - at).min(PIECE) as usize;
        let _ = content.read_at(&mut buf[..len], at);
    }
}
