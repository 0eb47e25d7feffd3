//! Files of public keys beside the recipe: what apt and gpgv take for keys.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::beside::beside;
use super::fields::{Value, Walk};
use super::problem::Problem;

/// The largest file of keys: a hundred times what archives have.
const LARGEST_KEYS: u64 = 1 << 20;

/// A file of public keys beside the recipe.
pub(super) fn keys_file(walk: &Walk<'_>, value: &Value<'_>) -> Option<PathBuf> {
    let (relative, path) = beside(walk, value)?;
    match read_keys(&path) {
        Ok(_) => Some(relative),
        Err(problem) => {
            let problem = Problem::error(value.span(), problem.to_string());
            walk.refuse(problem.help("gpg --armor --export KEY > keys/theirs.asc"))
        }
    }
}

/// Why a file is not what apt takes for keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("the keys cannot be read: {0}")]
    Unreadable(String),
    #[error("the file of keys is larger than 1 MiB")]
    TooLarge,
    #[error("this file has a private key in it, which must stay with its owner")]
    Private,
    #[error("this is a keybox of GnuPG, which apt does not read")]
    Keybox,
    #[error("this is not a file of public OpenPGP keys")]
    Other,
}

impl From<KeysError> for crate::Error {
    fn from(error: KeysError) -> Self {
        Self::failed(error)
    }
}

/// Public keys as apt takes them, and the ending by which it knows their kind.
///
/// # Errors
/// If the file at `path` is none, or larger than 1 MiB.
pub(crate) fn read_keys(path: &Path) -> Result<(Vec<u8>, &'static str), KeysError> {
    let mut keys = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(LARGEST_KEYS.saturating_add(1)).read_to_end(&mut keys))
        .map_err(|error| KeysError::Unreadable(error.to_string()))?;
    if keys.len() as u64 > LARGEST_KEYS {
        return Err(KeysError::TooLarge);
    }
    let has = |words: &[u8]| keys.windows(words.len()).any(|window| window == words);
    // Packet headers of RFC 9580, 4.2: tag 6 is a public key, tag 5 a secret one; the old form keeps it in bits 2 to 5.
    let tag = match keys.first() {
        Some(first) if first & 0xc0 == 0xc0 => Some(first & 0x3f),
        Some(first) if first & 0x80 != 0 => Some((first >> 2) & 0xf),
        _ => None,
    };
    if has(b"-----BEGIN PGP PRIVATE KEY BLOCK-----") || tag == Some(5) {
        Err(KeysError::Private)
    } else if has(b"-----BEGIN PGP PUBLIC KEY BLOCK-----") {
        Ok((keys, "asc"))
    } else if keys.get(8..12) == Some(b"KBXf") {
        Err(KeysError::Keybox)
    } else if tag == Some(6) {
        Ok((keys, "gpg"))
    } else {
        Err(KeysError::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_what_apt_does_not_take() {
        let dir = tempfile::tempdir().unwrap();
        let read = |content: &[u8]| {
            let path = dir.path().join("keys");
            fs::write(&path, content).unwrap();
            read_keys(&path).map(|(_, ending)| ending)
        };
        assert_eq!(read(b"Comment\n-----BEGIN PGP PUBLIC KEY BLOCK-----\n"), Ok("asc"));
        assert_eq!(read(&[0x99, 0x01, 0x0d, 0x04]), Ok("gpg"));
        assert_eq!(read(&[0xc6, 0x33, 0x04]), Ok("gpg"));
        assert_eq!(read(b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n"), Err(KeysError::Private));
        assert_eq!(read(&[0x95, 0x01]), Err(KeysError::Private));
        assert_eq!(read(b"\0\0\0 \x01\x01\0\x02KBXf\0\0"), Err(KeysError::Keybox));
        for other in [&b""[..], b"<html>", &[0xff], &[0x80]] {
            assert_eq!(read(other), Err(KeysError::Other), "{other:?}");
        }
        assert_eq!(read(&vec![0x99; 1 + (1 << 20)]), Err(KeysError::TooLarge));
        assert!(matches!(read_keys(&dir.path().join("none")), Err(KeysError::Unreadable(_))));
    }
}
