//! Text files of the tree that steps set up: never a pipe or a device in their place, and owner and mode of what is there stay.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::error::bail;
use crate::golden::tree::Tree;

/// The text of the file `path`, or `None` if there is nothing.
///
/// # Errors
/// If there is something else, or it cannot be read as text.
pub(super) fn text(path: &str, tree: &Tree) -> crate::Result<Option<String>> {
    file_mode(path, tree)?;
    tree.text(path)
}

/// Writes `content` to `path`, with `mode` if it is new, and answers with the file: as it was named, and as it is without links.
///
/// # Errors
/// If something else is in its place, or it cannot be written.
pub(super) fn put(path: &str, content: &str, mode: u32, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    let there = file_mode(path, tree)?;
    tree.write(path, content, there.unwrap_or(mode))?;
    names(path, tree)
}

/// The file `path`: as it is without links, and as it was named, if that is a link.
///
/// # Errors
/// If links go round in circles.
pub(super) fn names(path: &str, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    let (place, named) = (tree.inside(&tree.path(path)?), tree.inside(&tree.link_path(path)?));
    Ok(if named == place { vec![place] } else { vec![place, named] })
}

/// The mode of the file `path`, if it is there.
fn file_mode(path: &str, tree: &Tree) -> crate::Result<Option<u32>> {
    match tree.path(path)?.symlink_metadata() {
        Ok(meta) if meta.is_file() => Ok(Some(meta.permissions().mode() & 0o7777)),
        Ok(_) => bail!("{path} in the image is no file that can be written"),
        Err(_) => Ok(None),
    }
}

/// `text` with the lines that `is_own` knows replaced by `line`: the first one of them, or else at its end.
pub(super) fn with_line(text: &str, is_own: impl Fn(&str) -> bool, line: &str) -> String {
    let mut found = false;
    let mut lines: Vec<&str> = Vec::new();
    for own in text.lines() {
        if !is_own(own) {
            lines.push(own);
        } else if !std::mem::replace(&mut found, true) {
            lines.push(line);
        }
    }
    if !found {
        lines.push(line);
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::tree::tests::scratch;

    #[test]
    fn a_file_keeps_its_mode_and_what_is_none_stays_closed() {
        let (_dir, tree) = scratch();
        assert_eq!(put("/etc/own", "a\n", 0o640, &tree).unwrap(), [PathBuf::from("/etc/own")]);
        std::os::unix::fs::symlink("own", tree.root().join("etc/link")).unwrap();
        let put_there = put("/etc/link", "b\n", 0o600, &tree).unwrap();
        assert_eq!(put_there, [PathBuf::from("/etc/own"), PathBuf::from("/etc/link")]);
        assert_eq!(tree.path("/etc/own").unwrap().metadata().unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(text("/etc/link", &tree).unwrap().as_deref(), Some("b\n"));
        // Would wait for somebody who reads, for ever.
        rustix::fs::mknodat(
            rustix::fs::CWD,
            tree.root().join("etc/pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        for refused in [put("/etc/pipe", "", 0o644, &tree).err(), text("/etc/pipe", &tree).err()] {
            assert!(refused.unwrap().to_string().contains("/etc/pipe in the image is no file"));
        }
    }

    #[test]
    fn a_line_is_replaced_or_added_once() {
        let own = |line: &str| line.starts_with("LANG=");
        assert_eq!(with_line("", own, "LANG=C"), "LANG=C\n");
        assert_eq!(with_line("LANG=x\nLC_ALL=y\nLANG=z", own, "LANG=C"), "LANG=C\nLC_ALL=y\n");
        assert_eq!(with_line("LC_ALL=y\n", own, "LANG=C"), "LC_ALL=y\nLANG=C\n");
    }
}
