//! What another image names as its backing file: a path, or a whole description behind `json:`.

use image_core::format::{ParsedFilename, ProtocolNode};

use super::{Node, bytes};
use crate::qemu_img::failure::Failure;

/// What stands in front of a description.
pub(in crate::qemu_img) const DESCRIPTION: &str = "json:";

impl Node {
    /// The name as QEMU shows it that an image has for its backing file, which `name` is from where the image is.
    pub(in crate::qemu_img) fn shown_backing(name: &str) -> String {
        match name.starts_with(DESCRIPTION) {
            true => Self::backing(name, None).map_or_else(|_| name.to_owned(), |node| node.shown),
            false => name.to_owned(),
        }
    }

    /// What it lies in, where its name alone does not tell that.
    pub(in crate::qemu_img) fn medium_of_description(
        &self,
        name: &str,
    ) -> Result<Option<ProtocolNode>, Failure> {
        match self.null.is_some() || name.starts_with(DESCRIPTION) {
            true => self.medium().map(Some),
            false => Ok(None),
        }
    }
}

/// What a description in an image means, as far as such a thing is opened: a file as it is, or nothing at all. Exports and
/// parts of files stay closed.
pub(super) fn describe(name: &[u8]) -> Option<ParsedFilename> {
    let name = bytes::to_text(name);
    if !name.starts_with(DESCRIPTION) {
        return None;
    }
    let node = Node::backing(&name, None).ok()?;
    if let Some(null) = &node.null {
        return Some(ParsedFilename::Null(null.medium(&node.path)));
    }
    let whole =
        node.export.is_none() && node.late.is_none() && !matches!(node.layer, super::Layer::Part { .. });
    // It begins where the program was started, and not at the image.
    let path = whole.then(|| std::path::absolute(node.file_path()).ok()).flatten()?;
    Some(ParsedFilename::File { path, format: node.format() })
}
