//! Looking for secrets in a tree: in names, links, attributes and contents.

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;

use super::{Secrets, lines, trimmed};
use crate::error::Context;
use crate::golden::source::attributes;
use crate::golden::tree::Tree;

/// A line of a secret that has no spaces and is so long is found by itself: it is a part of a key.
const TELLING: usize = 32;
/// Contents are read in pieces.
const PIECE: usize = 1 << 20;
/// Of more places, only so many are told.
const PLACES: usize = 20;

/// Makes sure that none of `secrets` is in `tree`.
///
/// # Errors
/// With the places, if one is; and if something cannot be read.
pub(crate) fn none_in(tree: &Tree, secrets: &Secrets) -> crate::Result<()> {
    let Some(search) = Search::new(secrets)? else { return Ok(()) };
    let mut places = Vec::new();
    let mut folders = vec![tree.root().to_owned()];
    while let Some(folder) = folders.pop() {
        let doing = || format!("reading {} in the image", tree.inside(&folder).display());
        let mut entries: Vec<fs::DirEntry> =
            fs::read_dir(&folder).and_then(Iterator::collect).with_context(doing)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let kind = entry.file_type().with_context(doing)?;
            let found = search
                .entry(&path, kind)
                .with_context(|| format!("reading {} in the image", tree.inside(&path).display()))?;
            places.extend(found.map(|(name, what)| (tree.inside(&path), name.to_owned(), what)));
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    places.sort();
    if places.is_empty() { Ok(()) } else { Err(told(&places)) }
}

fn told(places: &[(PathBuf, String, &'static str)]) -> crate::Error {
    let mut text = String::from("secrets are in the image:");
    for (path, name, what) in places.iter().take(PLACES) {
        text.push_str(&format!("\n  {}: the secret {name:?}{what}", path.display()));
    }
    if places.len() > PLACES {
        text.push_str(&format!("\n  and {} more places", places.len().saturating_sub(PLACES)));
    }
    let hint =
        format!("let the step that writes it read {} instead, or remove it in the same step", super::FOLDER);
    crate::Error::failed(text).with_hint(hint)
}

/// What is looked for.
#[derive(Debug)]
struct Search {
    finder: AhoCorasick,
    /// The secret that each text belongs to.
    names: Vec<String>,
    longest: usize,
}

impl Search {
    fn new(secrets: &Secrets) -> crate::Result<Option<Self>> {
        let (mut texts, mut names) = (Vec::new(), Vec::new());
        for (name, content) in secrets.iter() {
            let telling = |line: &&[u8]| line.len() >= TELLING && !line.contains(&b' ');
            for text in std::iter::once(trimmed(content)).chain(lines(content).filter(telling)) {
                texts.push(text);
                names.push(name.to_owned());
            }
        }
        let Some(longest) = texts.iter().map(|text| text.len()).max() else { return Ok(None) };
        Ok(Some(Self { finder: AhoCorasick::new(&texts)?, names, longest }))
    }

    /// The secret that is in `path`, and where there.
    fn entry(&self, path: &Path, kind: fs::FileType) -> crate::Result<Option<(&str, &'static str)>> {
        let name = path.file_name().unwrap_or_default();
        if let Some(found) = self.find(name.as_bytes()) {
            return Ok(Some((found, ", in its name")));
        }
        if kind.is_symlink() {
            let target = fs::read_link(path)?;
            return Ok(self
                .find(target.as_os_str().as_bytes())
                .map(|found| (found, ", in what it points to")));
        }
        if !kind.is_file() && !kind.is_dir() {
            return Ok(None);
        }
        let mut file = fs::File::open(path)?;
        for value in attributes::values(&file)? {
            if let Some(found) = self.find(&value) {
                return Ok(Some((found, ", in an attribute")));
            }
        }
        match kind.is_file() {
            true => Ok(self.find_in(&mut file)?.map(|found| (found, ""))),
            false => Ok(None),
        }
    }

    fn find(&self, bytes: &[u8]) -> Option<&str> {
        let found = self.finder.find(bytes)?;
        self.names.get(found.pattern().as_usize()).map(String::as_str)
    }

    /// In a content of any length: the end of each piece is looked at again with the next.
    fn find_in(&self, content: &mut impl Read) -> std::io::Result<Option<&str>> {
        let mut buffer = vec![0; PIECE.saturating_add(self.longest)];
        let mut kept = 0;
        loop {
            let count = content.read(buffer.get_mut(kept..).unwrap_or_default())?;
            let filled = kept.saturating_add(count);
            if let Some(found) = self.find(buffer.get(..filled).unwrap_or_default()) {
                return Ok(Some(found));
            }
            if count == 0 {
                return Ok(None);
            }
            let from = filled.saturating_sub(self.longest.saturating_sub(1));
            buffer.copy_within(from..filled, 0);
            kept = filled.saturating_sub(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::tests::secrets;
    use super::*;
    use crate::golden::tree::tests::scratch;

    #[test]
    fn a_secret_is_found_wherever_it_is() {
        let key =
            b"-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nand some words\n-----END KEY-----\n";
        let secrets = secrets(&[("key", key), ("token", b"token-0123\n")]);
        let (_dir, tree) = scratch();
        tree.write("/etc/fine", "token-012\nand some words\n-----BEGIN KEY-----\n", 0o644).unwrap();
        none_in(&tree, &secrets).unwrap();
        none_in(&tree, &Secrets::default()).unwrap();
        tree.write("/a/token-0123", "", 0o644).unwrap();
        symlink("/x?token-0123", tree.root().join("link")).unwrap();
        let mut large = vec![b'.'; PIECE - 4];
        large.extend_from_slice(b"token-0123 and more");
        tree.write("/large", large, 0o600).unwrap();
        tree.write("/line", "  MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n", 0o644).unwrap();
        let told = crate::error::rendered(&none_in(&tree, &secrets).unwrap_err());
        let places = [
            "  /a/token-0123: the secret \"token\", in its name",
            "  /large: the secret \"token\"",
            "  /line: the secret \"key\"",
            "  /link: the secret \"token\", in what it points to",
        ];
        assert!(told.contains(&places.join("\n")), "{told}");
        assert!(told.contains("hint: let the step"), "{told}");
    }

    #[test]
    fn pieces_are_joined() {
        /// Gives three bytes at a time.
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let count = self.0.len().min(3).min(buffer.len());
                buffer[..count].copy_from_slice(&self.0[..count]);
                self.0 = &self.0[count..];
                Ok(count)
            }
        }
        let secrets = secrets(&[("token", b"token-0123")]);
        let search = Search::new(&secrets).unwrap().unwrap();
        assert_eq!(search.find_in(&mut Slow(b"xx token-0123 yy")).unwrap(), Some("token"));
        assert_eq!(search.find_in(&mut Slow(b"token-012 0123")).unwrap(), None);
    }
}
