//! `-l`: a disk as it was when a snapshot was taken, which is named or said to be `snapshot.id=…,snapshot.name=…`.

use image_core::block::BlockRead;
use image_core::qcow2::snapshot::{self, Snapshot};

use super::failure::Failure;
use super::node::Node;
use super::{bytes, key_values, words};

/// Opens the disk that the snapshot `wanted` of an image holds.
pub(super) fn open(node: &Node, wanted: &str) -> Result<Box<dyn BlockRead>, Failure> {
    let member = node.member()?;
    let failed = |why: &str| Failure::new(format!("Failed to load snapshot: {why}"));
    let Some(header) = &member.header else {
        return Err(failed(
            "Block format 'raw' used by device '' does not support temporarily loading internal snapshots",
        ));
    };
    let told = |error: image_core::Error| failed(&words::of_opening(&error));
    let all = snapshot::list(&member.file, header).map_err(told)?.0;
    let found = find(&all, wanted).ok_or_else(|| failed("Can't find snapshot"))?;
    node.snapshot_disk(&found.header(header).map_err(told)?)
}

/// The snapshot that is meant: by id or name, or by both where `wanted` says so.
fn find<'a>(all: &'a [Snapshot], wanted: &str) -> Option<&'a Snapshot> {
    if !wanted.starts_with("snapshot.") {
        return snapshot::find(all, &bytes::of_text(wanted));
    }
    let pairs = key_values::parse(wanted, None);
    let fits = |key: &str, value: &[u8]| {
        pairs.iter().filter(|(name, _)| name == key).all(|(_, wanted)| bytes::of_text(wanted) == value)
    };
    all.iter().find(|snapshot| fits("snapshot.id", &snapshot.id) && fits("snapshot.name", &snapshot.name))
}
