//! What an image says, put into its backing file.
//!
//! ```text
//! top ──► … ──► base ──► …          what top and all between say ─► base;  top says nothing any more
//! ```
//!
//! The base is complete and safe before anything is dropped from the top. Only what lies above the base is read: the
//! base's own bytes may change meanwhile.

use std::path::{Path, PathBuf};

use super::protocol::address;
use super::{FormatNode, Image, ImageWriter, OpenOptions, ProtocolNode, Share, WriteOptions};
use crate::block::{BlockRead, BlockWrite, ByteRange, ZeroMode};
use crate::error::{Doing, Error, Result};
use crate::qcow2::Qcow2Writer;

/// Bytes that are copied at a time.
const STEP: u64 = 1 << 20;

/// What is to be committed.
#[derive(Debug, Clone)]
pub struct Commit {
    /// How the image is opened; it must be allowed to open what it names.
    pub options: WriteOptions,
    /// The backing file to commit to, if not the first one: its path. What lies between stays as it is, and so does
    /// the image then.
    pub base: Option<PathBuf>,
    /// Whether the image keeps what it says.
    pub keep: bool,
}

/// Puts what the image in `node` says into its backing file. Tells `done` of the bytes that were looked at.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for an image without (that) backing file; else as [`Image::open`] and
/// [`ImageWriter::open`], and what `done` says. Committing again after an error goes on.
pub fn commit(node: &ProtocolNode, job: &Commit, done: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
    let (path, references) = (node.path(), job.options.references);
    let WriteOptions { format, share, parse_filename, .. } = job.options;
    let look = OpenOptions { format, references, share, parse_filename, size_from: None };
    let depth = find_base(node, look, job.base.as_deref())?;
    // The base is written, and the image's own chain has it open for reading.
    let top = WriteOptions { references, share: Share::Writers, ..job.options };
    let top = ImageWriter::open_node(node.reopen(true)?, top)?.into_qcow2();
    let top = top.ok_or_else(|| Error::invalid("a raw image has no backing file"))?;
    let (base, base_format) = {
        let nodes = chain(node, OpenOptions { share: Share::Writers, ..look })?;
        let base = nodes.get(depth as usize).ok_or_else(|| Error::invalid("the chain changed meanwhile"))?;
        (base.file.clone(), base.format)
    };
    let below = WriteOptions { format: Some(base_format), references, share, parse_filename };
    let doing = || format!("committing {} to {}", path.display(), base.path().display());
    let base = ImageWriter::open_node(base.reopen(true)?, below)?;
    let empties = !job.keep && job.base.is_none();
    put_down(top, depth, (base, ImageWriter::close), empties, done).doing(doing)
}

/// Puts what `top` and the images above the one that is `depth` below it say into that one, `base`, which `close`
/// completes. Only then `top` says nothing any more, if it `empties`.
fn put_down<B: BlockWrite>(
    top: Qcow2Writer,
    depth: u32,
    (base, close): (B, impl FnOnce(B) -> Result<()>),
    empties: bool,
    done: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<()> {
    copy_down(top.image(), depth, &base, done)?;
    close(base)?;
    if empties {
        top.make_empty().doing(|| "emptying the image")?;
    }
    top.close()
}

fn chain(node: &ProtocolNode, look: OpenOptions) -> Result<Vec<FormatNode>> {
    FormatNode::open_node(node.reopen(false)?, look.format, look.share)?.with_backing_chain(look)
}

/// How far down the chain the base is.
fn find_base(node: &ProtocolNode, look: OpenOptions, base: Option<&Path>) -> Result<u32> {
    let invalid = |why: String| Error::invalid(why).doing(format!("committing {}", node.path().display()));
    // A chain that cannot be read, or must not be, is found out before anything is written.
    let look = OpenOptions { share: Share::Writers, ..look };
    Image::open_node(node.reopen(false)?, look)?;
    let nodes = chain(node, look)?;
    if nodes.len() < 2 {
        return Err(invalid("it has no backing file".to_owned()));
    }
    let Some(base) = base else { return Ok(1) };
    let address = address(base)?.map(|address| address.to_string());
    let same = |node: &FormatNode| {
        if let Some(address) = &address {
            return node.file.path() == Path::new(address);
        }
        let paths = (std::fs::canonicalize(node.file.path()), std::fs::canonicalize(base));
        matches!(paths, (Ok(one), Ok(other)) if one == other)
    };
    let found = nodes.iter().skip(1).position(same).map(|index| index.saturating_add(1) as u32);
    found.ok_or_else(|| invalid(format!("{} is not one of its backing files", base.display())))
}

/// Writes to `base`, which is `depth` images below `top`, what those above it say.
fn copy_down(
    top: &dyn BlockRead,
    depth: u32,
    base: &dyn BlockWrite,
    done: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<()> {
    if base.size() < top.size() {
        base.resize(top.size())?;
    }
    let mut at = 0;
    let mut bytes = Vec::new();
    while at < top.size() {
        let step = ByteRange::between(at, at.saturating_add(64 * STEP).min(top.size()));
        for entry in top.map_entries(step)? {
            if entry.depth >= depth || !entry.present {
                continue;
            }
            if entry.zero {
                base.write_zeroes(entry.range, ZeroMode::Punch)?;
                continue;
            }
            let mut from = entry.range.offset();
            while from < entry.range.end() {
                let len = entry.range.end().saturating_sub(from).min(STEP);
                bytes.resize(len as usize, 0);
                top.read_at(&mut bytes, from)?;
                base.write_at(&bytes, from)?;
                from = from.saturating_add(len);
            }
        }
        done(step.len())?;
        at = step.end();
    }
    base.flush()
}

#[cfg(test)]
mod tests;
