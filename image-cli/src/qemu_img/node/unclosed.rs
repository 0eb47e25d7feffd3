//! An image that was not closed, with refcounts that were to be written late: it is repaired before it is written, and as by
//! QEMU each step of that is told.

use image_core::ErrorKind;
use image_core::format::FormatNode;
use image_core::qcow2::Header;
use image_core::qcow2::repair::{Repair, Step, repair};

use super::Node;
use crate::qemu_img::failure::Failure;
use crate::qemu_img::{check, say, words};

impl Node {
    /// Repairs the image of `member`, which is about to be written, if it was not closed; whether that was so.
    pub(in crate::qemu_img) fn repair_unclosed(&self, member: &FormatNode) -> Result<bool, Failure> {
        let dirty = |header: &&Header| header.is_dirty() && !header.is_corrupt();
        let Some(header) = member.header.as_ref().filter(dirty) else { return Ok(false) };
        let geometry = header.geometry;
        let file = self.file_to_write()?;
        let mut again = false;
        let repaired = repair(&file, Repair::All, &mut |step| match step {
            // What is left is told by whoever looks for it.
            Step::CheckingAgain => again = true,
            _ if again => {}
            step => say(&check::line_of_step(&step, geometry)),
        });
        repaired.map(|_| true).map_err(|error| match error.kind() {
            ErrorKind::InUse => self.failed_to_open(&error),
            _ => self.failed(format!("Could not repair dirty image: {}", words::of_opening(&error))),
        })
    }
}
