//! What archives say that they have: the digests of their signed indices, as apt keeps them.
//!
//! ```text
//! HOST_PATH_dists_SUITE_InRelease ─► Codename, Date │ SHA-256        the same from every mirror
//! ```
//! Debian Repository Format, "Release files".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::Context;
use crate::golden::identity::hex;

/// What each archive says, by the name that it has itself: when it was made, and its digest.
pub(crate) type Index = BTreeMap<String, String>;

/// The index in the folder `lists` of apt; `None` if it does not have all of `count` archives: who has no signed index may have changed
/// without a word.
///
/// # Errors
/// If a file cannot be read.
pub(crate) fn index_of(lists: &Path, count: usize) -> crate::Result<Option<Index>> {
    let doing = || format!("reading the lists in {}", lists.display());
    let mut index = Index::new();
    let entries = match std::fs::read_dir(lists) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        entries => entries.with_context(doing)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.with_context(doing)?.file_name());
    }
    names.sort();
    for name in names {
        let shown = name.to_string_lossy();
        if !(shown.ends_with("_InRelease") || shown.ends_with("_Release")) {
            continue;
        }
        let bytes = std::fs::read(lists.join(&name)).with_context(doing)?;
        let text = String::from_utf8_lossy(&bytes);
        let field = |key: &str| text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()));
        let codename = field("Codename:").or_else(|| field("Suite:")).unwrap_or_default();
        let origin = field("Origin:").unwrap_or_default();
        let said = format!("{}, {}", field("Date:").unwrap_or_default(), hex(&Sha256::digest(&bytes)));
        // Two archives may have one name.
        let mut key = format!("{origin} {codename}").trim().to_owned();
        while index.contains_key(&key) {
            key.push('+');
        }
        index.insert(key, said);
    }
    Ok(Some(index).filter(|index| index.len() == count && count > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_archive_has_to_say_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        assert_eq!(index_of(&dir.path().join("none"), 1).unwrap(), None);
        put("a_dists_bookworm_InRelease", "Origin: Debian\nCodename: bookworm\nDate: Sat\n");
        put("a_dists_bookworm_main_Packages", "Package: a\n");
        assert_eq!(index_of(dir.path(), 2).unwrap(), None);
        let one = index_of(dir.path(), 1).unwrap().unwrap();
        assert!(one["Debian bookworm"].starts_with("Sat, "), "{one:?}");
        // From another mirror it is the same.
        std::fs::rename(
            dir.path().join("a_dists_bookworm_InRelease"),
            dir.path().join("b_dists_bookworm_InRelease"),
        )
        .unwrap();
        assert_eq!(index_of(dir.path(), 1).unwrap().unwrap(), one);
        put("b_dists_bookworm_InRelease", "Origin: Debian\nCodename: bookworm\nDate: Sun\n");
        assert_ne!(index_of(dir.path(), 1).unwrap().unwrap(), one);
        put("c_dists_bookworm_Release", "Origin: Debian\nCodename: bookworm\n");
        let two = index_of(dir.path(), 2).unwrap().unwrap();
        assert_eq!(two.keys().collect::<Vec<_>>(), ["Debian bookworm", "Debian bookworm+"]);
    }
}
