//! Paths: names one after the other, links followed, and never out of the filesystem.
//!
//! ```text
//! /a/../link/b ─► root, a ─► root ─► link: its target's names go before what is left ─► … ─► b
//! ```
//! path_resolution(7). The directories above are remembered, so `..` needs no reading, and is the root above the root.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::filesystem::Filesystem;
use super::node::{Node, NodeKind};
use crate::error::{Doing, Error, Result};

/// Links in the way that are followed, as by a kernel (MAXSYMLINKS).
const LINKS_MAX: usize = 40;
/// Names that are left to follow.
const NAMES_MAX: usize = 1 << 20;

/// What `path` leads to from the root directory of `fs`; of a link at its end, the link itself unless `follow`. `None` if there is
/// nothing.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for too many links; else as [`Filesystem::node`].
pub fn resolve(fs: &(impl Filesystem + ?Sized), path: &[u8], follow: bool) -> Result<Option<Node>> {
    let doing = || format!("following {}", String::from_utf8_lossy(path));
    let mut above = Vec::new();
    let mut here = fs.root()?;
    // The names that are left, the next one last.
    let mut names = reversed(path);
    let mut links = 0_usize;
    while let Some(name) = names.pop() {
        if here.kind != NodeKind::Directory {
            return Ok(None);
        }
        match &name[..] {
            b"." => continue,
            b".." => {
                if let Some(parent) = above.pop() {
                    here = parent;
                }
                continue;
            }
            _ => {}
        }
        let Some(id) = fs.lookup(&here, &name).doing(doing)? else { return Ok(None) };
        let found = fs.node(id).doing(doing)?;
        if found.kind != NodeKind::Link || (names.is_empty() && !follow) {
            above.push(std::mem::replace(&mut here, found));
            continue;
        }
        links = links.saturating_add(1);
        let target = fs.read_link(&found).doing(doing)?;
        if links > LINKS_MAX || names.len().saturating_add(target.len()) > NAMES_MAX {
            return Err(Error::invalid("there are too many links in the way")).doing(doing);
        }
        if target.starts_with(b"/") {
            // Emptied from below: what was first is the root.
            here = above.drain(..).next().unwrap_or(here);
        }
        names.extend(reversed(&target));
    }
    Ok(Some(here))
}

/// The names of a path, the last one first.
fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    names.rev().map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_from_the_end() {
        assert_eq!(reversed(b"//a/./bc//"), [b"bc".to_vec(), b".".to_vec(), b"a".to_vec()]);
        assert!(reversed(b"/").is_empty());
    }
}
