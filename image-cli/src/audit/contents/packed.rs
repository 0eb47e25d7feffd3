//! Files that are packed: archives of cpio (initrds) file by file, all else as the stream that it unpacks to.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};

use super::super::initrd::{CPIO, Initrd};
use super::binary;
use super::kinds::{self, Kind};
use super::search::{Search, Secret};
use crate::kernel::unpacked;

/// What is in a packed file: a secret, and in which file of it.
pub(super) type Inside = (Option<String>, Secret);

/// Every secret in `from`, which begins with `head` and is packed; `None` if it cannot be unpacked.
///
/// # Errors
/// If it ends early, or is broken.
pub(super) fn search(
    head: &[u8],
    from: Box<dyn BufRead + Send + '_>,
    search: &Search,
    with_tokens: bool,
) -> crate::Result<Option<Vec<Inside>>> {
    if head.starts_with(CPIO) {
        return archive(from, search).map(Some);
    }
    let Some(unpacked) = unpacked(head, from)? else { return Ok(None) };
    let mut unpacked = BufReader::new(unpacked);
    if unpacked.fill_buf()?.starts_with(CPIO) {
        return archive(Box::new(unpacked), search).map(Some);
    }
    let found: BTreeSet<Secret> = search.stream(&mut unpacked, with_tokens)?;
    Ok(Some(found.into_iter().map(|secret| (None, secret)).collect()))
}

/// Every secret in the archives of an initrd.
fn archive(mut from: Box<dyn BufRead + Send + '_>, search: &Search) -> crate::Result<Vec<Inside>> {
    let mut secrets = Vec::new();
    Initrd::read(&mut *from, &mut |name, content| {
        let mut head = Vec::new();
        content.take(binary::HEAD as u64).read_to_end(&mut head)?;
        if matches!(kinds::kind(&head), Kind::Harmless) {
            return Ok(());
        }
        let size = if head.len() < binary::HEAD { head.len() as u64 } else { u64::MAX };
        let mut found = search.stream(&mut head.as_slice().chain(content), true)?;
        found.extend(binary::key(&head, size).map(Secret::Key));
        secrets.extend(found.into_iter().map(|secret| (Some(name.to_owned()), secret)));
        Ok(())
    })?;
    Ok(secrets)
}
