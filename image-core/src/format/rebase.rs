//! Another backing file for an image: that it reads the same as before, or by name only.
//!
//! ```text
//! safe     old ≠ new where nothing is stored ─► stored ─► flush ─► the new name in the header
//! by name                                                          the new name in the header
//! ```

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::protocol::address;
use super::{Format, FormatNode, Image, ImageWriter, OpenOptions, ProtocolNode, WriteOptions};
use crate::block::BlockRead;
use crate::error::{Doing, Error, Result};
use crate::qcow2::write::change_backing_file;

/// A backing file as an image names it.
#[derive(Debug, Clone, Copy)]
pub struct NewBacking<'a> {
    /// Its name; a relative one starts at the folder of the image.
    pub name: &'a [u8],
    /// The name of its format, which is recorded: QEMU knows more of them than are read here.
    pub format: &'a str,
    /// What it is read as, where it is looked at; probed if `None`.
    pub read_as: Option<Format>,
    /// What it lies in, where its name does not tell.
    pub node: Option<&'a ProtocolNode>,
}

/// How differences between the old and the new backing file are stored.
pub struct Differences<'a> {
    /// Whether whole clusters of them are stored compressed.
    pub compress: bool,
    /// Told of the bytes that were looked at; its error stops the work.
    pub done: &'a mut dyn FnMut(u64) -> Result<()>,
}

/// Gives the image in `node` the backing file `new`, or none, and keeps what it reads as: differences are `stored`.
/// Without that only the name changes: the caller knows that the new backing file has what the old one had.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for a raw image, which has no backing file; else as [`ImageWriter::open`],
/// [`Image::open`] for `new`, and what [`Differences::done`] says: the image has its old backing file then.
pub fn rebase(
    node: &ProtocolNode,
    options: WriteOptions,
    new: Option<NewBacking<'_>>,
    stored: Option<Differences<'_>>,
) -> Result<()> {
    let path = node.path();
    let raw =
        || Error::invalid("a raw image has no backing file").doing(format!("rebasing {}", path.display()));
    let recorded = new.map(|new| (new.name, Some(new.format)));
    let doing = || format!("rebasing {}", path.display());
    let Some(Differences { compress, done }) = stored else {
        let node = FormatNode::open_node_to_write(node.reopen(true)?, options.format)?;
        let header = node.header.as_ref().ok_or_else(raw)?;
        return change_backing_file(&node.file, header, recorded).map(drop).doing(doing);
    };
    let image = ImageWriter::open_node(node.reopen(true)?, options)?.into_qcow2().ok_or_else(raw)?;
    let new = match new {
        Some(new) => {
            let name = Path::new(OsStr::from_bytes(new.name));
            let folder = path.parent().filter(|_| !node.is_export()).unwrap_or(Path::new(""));
            let place = if address(name)?.is_some() { name.to_owned() } else { folder.join(name) };
            let open = OpenOptions {
                format: new.read_as,
                references: options.references,
                share: options.share,
                parse_filename: options.parse_filename,
                size_from: None,
            };
            Some(match new.node {
                Some(node) => Image::open_node(node.clone(), open)?,
                None => Image::open(place, open)?,
            })
        }
        None => None,
    };
    let new = new.as_ref().map(|new| new as &dyn BlockRead);
    image
        .copy_from_backing(new, compress, done)
        .and_then(|()| image.close_with_backing_file(recorded))
        .doing(doing)
}
