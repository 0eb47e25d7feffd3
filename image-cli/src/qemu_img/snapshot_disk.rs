//! `-l`: a disk as it was when a snapshot was taken, which is named or said to be `snapshot.id=…,snapshot.name=…`.

use image_core::block::BlockRead;
use image_core::qcow2::snapshot::{self, Snapshot};

use super::failure::Failure;
use super::node::Node;
use super::{bytes, key_values, words};

/// Which snapshot is meant.
#[derive(Debug)]
pub(super) enum Wanted {
    /// By id, or by name.
    Either(Vec<u8>),
    /// By what is given.
    Both { id: Option<Vec<u8>>, name: Option<Vec<u8>> },
}

impl Wanted {
    /// The value of `-l`.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if !text.starts_with("snapshot.") {
            return Ok(Self::Either(bytes::of_text(text)));
        }
        let (mut id, mut name) = (None, None);
        for (key, value) in key_values::parse_noisily(text, None) {
            match key.as_str() {
                "snapshot.id" => id = Some(bytes::of_text(&value)),
                "snapshot.name" => name = Some(bytes::of_text(&value)),
                _ => {
                    let which = format!("qemu-img: Failed in parsing snapshot param '{text}'\n");
                    return Err(Failure::new(format!("Invalid parameter '{key}'")).hint(&which));
                }
            }
        }
        Ok(Self::Both { id, name })
    }

    fn find<'a>(&self, all: &'a [Snapshot]) -> Option<&'a Snapshot> {
        match self {
            Self::Either(text) => snapshot::find(all, text),
            Self::Both { id, name } => {
                let fits = |wanted: &Option<Vec<u8>>, value: &[u8]| {
                    wanted.as_ref().is_none_or(|wanted| wanted == value)
                };
                all.iter().find(|snapshot| fits(id, &snapshot.id) && fits(name, &snapshot.name))
            }
        }
    }
}

/// Opens the disk that the snapshot `wanted` of an image holds.
pub(super) fn open(node: &Node, wanted: &Wanted) -> Result<Box<dyn BlockRead>, Failure> {
    let member = node.member()?;
    let failed = |why: &str| Failure::new(format!("Failed to load snapshot: {why}"));
    let Some(header) = &member.header else {
        return Err(failed(
            "Block format 'raw' used by device '' does not support temporarily loading internal snapshots",
        ));
    };
    let told = |error: image_core::Error| failed(&words::of_opening(&error));
    let all = snapshot::list(&member.file, header).map_err(told)?.0;
    let found = wanted.find(&all).ok_or_else(|| failed("Can't find snapshot"))?;
    node.snapshot_disk(&found.header(header).map_err(told)?)
}
