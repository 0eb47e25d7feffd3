//! A file with the recipe's own text, or with it behind what is there.
//!
//! Owner and mode are for a file that the step makes; one that is there keeps its own where the recipe says nothing
//! else: text behind /etc/shadow must not show it to everybody. A link is followed, inside the image.

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::PathBuf;

use super::owner::Ids;
use super::text::names;
use crate::error::{Context, bail};
use crate::golden::recipe::Write;
use crate::golden::tree::Tree;

/// The mode of a new file.
const MODE: u32 = 0o644;

/// Does it, and answers with what was written by name: the file, and the link that was named if it is one.
///
/// # Errors
/// If it cannot be written, or its owner is not known.
pub(super) fn write(step: &Write, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    let doing = || format!("writing {} in the image", step.path);
    let ids = step.owner.as_ref().map(|owner| Ids::find(owner, tree)).transpose()?;
    let path = tree.path(&step.path)?;
    let there = path.metadata().ok();
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        bail!("{} in the image is no file that can be written", tree.inside(&path).display());
    }
    let mut content = match step.append {
        true => tree.text(&step.path)?.unwrap_or_default(),
        false => String::new(),
    };
    content.push_str(&step.content);
    let mode = step.mode.or(there.as_ref().map(|there| there.permissions().mode() & 0o7777));
    tree.write(&step.path, content, mode.unwrap_or(MODE))?;
    if let Some(ids) = ids.or(there.is_none().then_some(Ids::ROOT)) {
        lchown(&path, Some(ids.user), Some(ids.group)).with_context(doing)?;
        // Changing the owner clears the set-user-ID bit.
        fs::set_permissions(&path, fs::Permissions::from_mode(mode.unwrap_or(MODE))).with_context(doing)?;
    }
    names(&step.path, tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::steps::copy::tests::me;
    use crate::golden::tree::tests::scratch;

    fn step(content: &str, append: bool) -> Write {
        Write {
            path: "/etc/motd".into(),
            content: content.into(),
            owner: Some(me()),
            mode: Some(0o640),
            append,
        }
    }

    #[test]
    fn text_is_written_anew_or_behind_what_is_there() {
        let (_dir, tree) = scratch();
        assert_eq!(write(&step("one\n", true), &tree).unwrap(), [PathBuf::from("/etc/motd")]);
        write(&step("two\n", true), &tree).unwrap();
        assert_eq!(tree.read("/etc/motd").unwrap(), b"one\ntwo\n");
        write(&step("three\n", false), &tree).unwrap();
        assert_eq!(tree.read("/etc/motd").unwrap(), b"three\n");
    }

    #[test]
    fn a_file_that_is_there_keeps_its_mode_and_what_is_asked_for_is_the_file_behind_a_link() {
        let (_dir, tree) = scratch();
        let mode = |path: &str| tree.path(path).unwrap().metadata().unwrap().permissions().mode() & 0o7777;
        tree.write("/etc/shadow", "root:*:1::::::\n", 0o640).unwrap();
        std::os::unix::fs::symlink("shadow", tree.root().join("etc/motd")).unwrap();
        let plain = Write { owner: None, mode: None, ..step("ann:!:1::::::\n", true) };
        assert_eq!(write(&plain, &tree).unwrap(), ["/etc/shadow", "/etc/motd"].map(PathBuf::from));
        assert_eq!(tree.read("/etc/shadow").unwrap(), b"root:*:1::::::\nann:!:1::::::\n");
        assert_eq!(mode("/etc/shadow"), 0o640);
        write(&Write { mode: Some(0o600), owner: None, ..plain.clone() }, &tree).unwrap();
        assert_eq!(mode("/etc/shadow"), 0o600);
        let folder = Write { path: "/etc".into(), ..plain };
        let error = write(&folder, &tree).unwrap_err();
        assert_eq!(error.to_string(), "/etc in the image is no file that can be written");
    }
}
