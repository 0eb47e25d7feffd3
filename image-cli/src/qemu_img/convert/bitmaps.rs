//! `--bitmaps`: the persistent bitmaps of the source in the target too.

use image_core::format::{Format, FormatNode, ProtocolNode};
use image_core::qcow2::bitmap::{self, Bitmap};
use image_core::qcow2::write::copy_bitmaps;
use image_core::qcow2::{Header, Version};

use super::arguments::Asked;
use crate::qemu_img::failure::Failure;
use crate::qemu_img::node::Node;
use crate::qemu_img::{bytes, say, words};

/// What is said of a bitmap that may be wrong.
const HOW_TO_SKIP: &str = "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it\n";

/// Bitmaps to be copied, and the image they are in.
pub(super) struct Bitmaps {
    source: FormatNode,
    header: Header,
    all: Vec<Bitmap>,
}

impl Bitmaps {
    /// Those of the image that is meant.
    pub(super) fn of(node: &Node, asked: &Asked) -> Result<Self, Failure> {
        let source = node.member()?;
        let header = source.header.clone().filter(|header| header.version != Version::V2);
        let header = header.ok_or_else(|| Failure::new("Source lacks bitmap support"))?;
        let all = bitmap::list(&source.file, &header).map_err(|error| node.failed_to_open(&error))?;
        // The last one is met first, here and below.
        match all.iter().rev().find(|bitmap| bitmap.is_in_use()) {
            Some(broken) if !asked.skip_broken_bitmaps => {
                let message = format!("Cannot copy inconsistent bitmap '{}'", name_of(broken));
                Err(Failure::new(message).hint(HOW_TO_SKIP))
            }
            _ => Ok(Self { source, header, all }),
        }
    }

    /// Writes them into the image in `medium`, which is complete: up to the first that it cannot have.
    pub(super) fn write_into(&self, medium: &ProtocolNode) -> Result<(), Failure> {
        let failed = |error: image_core::Error| Failure::new(words::of_opening(&error));
        let target = medium.reopen(true).map_err(failed)?;
        let target = FormatNode::open_node_to_write(target, Some(Format::Qcow2)).map_err(failed)?;
        let Some(header) = &target.header else { return Ok(()) };
        let there = bitmap::list(&target.file, header).map_err(failed)?;
        let (mut sound, mut end) = (Vec::new(), Ok(()));
        for bitmap in self.all.iter().rev() {
            if bitmap.is_in_use() {
                let name = name_of(bitmap);
                say(&format!("qemu-img: warning: Skipping inconsistent bitmap '{name}'\n"));
                continue;
            }
            end = self.check(bitmap, &there, header);
            if end.is_err() {
                break;
            }
            sound.push(bitmap.clone());
        }
        // In the order in which they are stored.
        sound.reverse();
        let source = (&self.source.file as _, &self.header);
        copy_bitmaps(source, &sound, &target.file, header.clone()).map_err(failed)?;
        end
    }

    /// Whether an image that has the bitmaps `there` can have this one too.
    fn check(&self, bitmap: &Bitmap, there: &[Bitmap], header: &Header) -> Result<(), Failure> {
        let name = name_of(bitmap);
        if there.iter().any(|other| other.name == bitmap.name) {
            let message = format!("Failed to create bitmap {name}: Bitmap already exists: {name}");
            return Err(Failure::new(message));
        }
        let (size, source_size) = (header.size, self.header.size);
        match size == source_size {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "Failed to populate bitmap {name}: Bitmaps are of different sizes (destination size is {size}, \
                 source size is {source_size}) and can't be merged"
            ))),
        }
    }
}

fn name_of(bitmap: &Bitmap) -> String {
    bytes::to_text(&bitmap.name)
}
