//! Encrypted names, as a kernel without the key shows them: text that no folder is broken by.
//!
//! ```text
//! hash and minor hash, 8 bytes │ the name's first 149 bytes │ SHA-256 of the rest, if there is one      all in base64url
//! ```
//! Linux kernel documentation, filesystems/fscrypt ("No-key names"), and its `struct fscrypt_nokey_name`. The stored bytes may be
//! anything, `/` and zero too. Of a directory that is found whatever its case as well, the hash is left at zero here.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use sha2::{Digest, Sha256};

use super::directory::block_of;
use super::field::field;
use super::hash::NameHash;
use super::inode::{FLAG_CASEFOLD, FLAG_INDEX, FLAG_INLINE_DATA, Inode};
use super::{Ext4, features};

/// How much of a name is shown as it is.
const SHOWN_LEN: usize = 149;
/// RFC 4648, section 5.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How the names of one encrypted directory are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoKey {
    /// `None` where the directory has no hashes.
    hash: Option<NameHash>,
}

impl NoKey {
    pub(super) fn new(fs: &Ext4, inode: &Inode) -> Self {
        let superblock = fs.superblock();
        // One block counts as an index of its own.
        let is_indexed = inode.has(FLAG_INDEX)
            || inode.has(FLAG_INLINE_DATA)
            || inode.size.checked_div(superblock.block_size) == Some(1);
        if !superblock.has(features::DIR_INDEX) || !is_indexed || inode.has(FLAG_CASEFOLD) {
            return Self { hash: None };
        }
        let said = inode.has(FLAG_INDEX).then(|| block_of(fs, inode, 0).ok()).flatten();
        let version = said.map_or(superblock.hash_version, |root| field::<1>(&root, 28)[0]);
        Self { hash: NameHash::new(version, superblock.has_unsigned_hash, superblock.hash_seed) }
    }

    /// What `name`, as it is stored, is shown as.
    pub(super) fn name(&self, name: &[u8]) -> Vec<u8> {
        let (major, minor) = self.hash.map_or((0, 0), |hash| hash.of(name));
        let mut bytes = [major.to_le_bytes(), minor.to_le_bytes()].concat();
        let (shown, rest) = name.split_at(name.len().min(SHOWN_LEN));
        bytes.extend(shown);
        if !rest.is_empty() {
            bytes.extend(Sha256::digest(rest));
        }
        base64url(&bytes)
    }
}

/// `bytes` in six bits a letter, without padding.
fn base64url(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for piece in bytes.chunks(3) {
        let [a, b, c] = field::<3>(&[piece, &[0, 0]].concat(), 0);
        let bits = u32::from_be_bytes([0, a, b, c]);
        let letters =
            [18, 12, 6, 0].map(|shift| ALPHABET.get((bits >> shift & 63) as usize).copied().unwrap_or(b'_'));
        text.extend(letters.iter().take(piece.len().saturating_add(1)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_letters() {
        assert_eq!(base64url(b"Many hands make light work."), b"TWFueSBoYW5kcyBtYWtlIGxpZ2h0IHdvcmsu");
        assert_eq!(base64url(&[0xfb, 0xff]), b"-_8");
        assert_eq!(base64url(&[0xff]), b"_w");
        let nokey = NoKey { hash: None };
        assert_eq!(nokey.name(&[0; 16]), [b'A'; 32]);
        // 8 + 149 + 32 bytes, whatever the name's length.
        assert_eq!((nokey.name(&[1; 150]).len(), nokey.name(&[1; 255]).len()), (252, 252));
    }
}
