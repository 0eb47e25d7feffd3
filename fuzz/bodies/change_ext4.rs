//! What is done with bytes that may be an ext2, ext3 or ext4: everything that changes one. None of it may panic, hang, write outside
//! of the filesystem or take memory that the bytes do not justify; what it accepts, it must leave readable.

use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite, MemoryDisk};
use image_core::fs::{Ext4, Ext4Writer, NewInode, NodeKind, Time, WalkEntry, scrub_ext4};

/// Names that are changed at most.
const NAMES: usize = 40;

/// Changes `bytes` as a filesystem; says whether it was opened for that.
pub(crate) fn change_ext4(bytes: &[u8]) -> bool {
    let disk = Arc::new(MemoryDisk::from_bytes(bytes.to_vec()));
    let time = Time { seconds: 1_700_000_000, nanoseconds: 0 };
    let Ok(mut changes) = Ext4Writer::open(Arc::clone(&disk) as Arc<dyn BlockWrite>, time) else {
        return false;
    };
    let _ = changes.files().check();
    let steps: Vec<WalkEntry> = match changes.files().root() {
        Ok(root) => changes.files().walk(root).take(NAMES * 3).flatten().collect(),
        Err(_) => Vec::new(),
    };
    for (index, step) in steps.iter().enumerate().rev() {
        let at = step.path.iter().rposition(|byte| *byte == b'/');
        let (folder, name) =
            at.map_or((&b""[..], &step.path[..]), |at| (&step.path[..at], &step.path[at + 1..]));
        let Ok(Some(folder)) = changes.files().resolve(folder, false) else { continue };
        let done = match index % 5 {
            0 => changes.remove_tree(folder.number, name),
            1 => changes.remove(folder.number, name),
            2 if step.kind == NodeKind::File => changes.write(step.inode, &vec![7; index * 100]),
            3 => changes
                .create(folder.number, format!("new {index}").as_bytes(), &NewInode::Link(b"x"))
                .map(|_| ()),
            _ => changes.truncate(step.inode),
        };
        // What fails half-way is not written: the rest is tried on what was.
        if done.and_then(|()| changes.commit()).is_err() {
            let Ok(again) = Ext4Writer::open(Arc::clone(&disk) as Arc<dyn BlockWrite>, time) else { break };
            changes = again;
        }
    }
    let wiped = scrub_ext4(&(Arc::clone(&disk) as Arc<dyn BlockWrite>));
    if wiped.is_ok() {
        let again = Ext4::open(Arc::clone(&disk) as Arc<dyn BlockRead>).and_then(|fs| fs.check());
        assert_eq!(again.expect("it was consistent"), [], "wiping made it inconsistent");
    }
    true
}
