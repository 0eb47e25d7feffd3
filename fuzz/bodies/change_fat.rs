//! What is done with bytes that may be a FAT: everything that changes one. None of it may panic, hang, write outside of the filesystem
//! or take memory that the bytes do not justify; what it accepts, it must leave whole.

use std::sync::Arc;

use image_core::block::{BlockWrite, MemoryDisk};
use image_core::fs::{FatWriter, Filesystem, Node, NodeKind, Time};

/// Names that are changed at most.
const NAMES: usize = 60;
const TIME: Time = Time { seconds: 1_700_000_000, nanoseconds: 0 };

fn open(disk: &Arc<MemoryDisk>) -> image_core::Result<FatWriter> {
    FatWriter::open(Arc::clone(disk) as Arc<dyn BlockWrite>, TIME)
}

/// Directories, and what is in them, from the root directory on.
fn names(files: &FatWriter) -> Vec<(Node, Vec<u8>)> {
    let Ok(root) = files.files().root() else { return Vec::new() };
    let (mut found, mut waiting) = (Vec::new(), vec![root]);
    while let Some(directory) = waiting.pop() {
        for entry in files.files().entries(&directory).flatten() {
            if found.len() >= NAMES {
                return found;
            }
            if let Ok(node) = files.files().node(entry.id)
                && node.kind == NodeKind::Directory
            {
                waiting.push(node);
            }
            found.push((directory.clone(), entry.name));
        }
    }
    found
}

/// Changes `bytes` as a FAT; says whether it was opened for that.
pub(crate) fn change_fat(bytes: &[u8]) -> bool {
    let disk = Arc::new(MemoryDisk::from_bytes(bytes.to_vec()));
    let Ok(mut files) = open(&disk) else { return false };
    for index in 0..NAMES {
        // A commit may move what was found before.
        let all = names(&files);
        let Some((directory, name)) = all.get(index % all.len().max(1)) else { break };
        let Ok(found) = files.files().lookup(directory, name) else { continue };
        let (folder, new) = (directory.id, format!("a new name, number {index}"));
        let done = match (index % 8, found) {
            (0, _) => files.remove(folder, name),
            (1, _) => files.rename(folder, name, all[index * 7 % all.len()].0.id, new.as_bytes()),
            (2, Some(file)) => files.set_len(file, index as u64 * 300),
            (3, Some(file)) => files.append_content(file, &mut &vec![7; index * 100][..]).map(drop),
            (4, _) => files.make_directory(folder, new.as_bytes()).map(drop),
            (5, _) if index > NAMES / 2 => files.remove_tree(folder, name),
            (6, Some(node)) => files.set_mode(node, 0o555),
            _ => files.create_file(folder, new.as_bytes()).map(drop),
        };
        // What fails half-way is not written: the rest is tried on what was.
        let done = if index % 3 == 0 { done.and_then(|()| files.commit()) } else { done };
        if done.is_err() {
            let Ok(again) = open(&disk) else { panic!("it was whole, and is not any more") };
            files = again;
        }
    }
    let _ = files.commit();
    assert!(open(&disk).is_ok(), "it was whole, and is not any more");
    true
}
