//! Files fetched by HTTP: what was fetched before goes on where it ended, and is kept by what is in it.
//!
//! ```text
//! Wanted: address, digests ─► kept? ─► verified ─► there it is                                  store.rs
//!                              └ no ─► partial file, its validator ─► GET, Range, If-Range      transfer.rs
//!                                         └─► verified ─► renamed to ALGORITHM-DIGEST
//! ```
//!
//! A server is not believed: what is not what was wanted is thrown away. A redirect never leads from HTTPS to HTTP, and what lets one in
//! goes to no other server (address.rs).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod address;
mod store;
mod transfer;

use std::path::PathBuf;

use image_core::digest::Digest;

use crate::glance::http::Http;
use crate::glance::secret::Secret;
use crate::monitor::Monitor;
pub(crate) use store::Store;
use transfer::Transfer;

/// A file that is wanted.
pub(crate) struct Wanted {
    /// Its address, without credentials.
    pub(crate) url: String,
    /// What its server is to be told besides: a header's name, and its value.
    pub(crate) secret: Option<(&'static str, Secret)>,
    /// What it has to be: one digest or several, all of which have to be right.
    pub(crate) digests: Vec<Digest>,
}

/// Fetches `wanted` into `store`, unless it is there. Answers with its path.
///
/// # Errors
/// If the server does not give it, gives something else, or there is no room.
pub(crate) fn fetch(
    wanted: &Wanted,
    store: &Store,
    http: &Http,
    monitor: Monitor<'_>,
) -> crate::Result<PathBuf> {
    if let Some(path) = store.kept(&wanted.digests, monitor)? {
        return Ok(path);
    }
    let _held = store.hold(wanted, monitor)?;
    // Another build may have fetched it meanwhile.
    if let Some(path) = store.kept(&wanted.digests, monitor)? {
        return Ok(path);
    }
    let place = store.partial(wanted);
    let fetched = Transfer { wanted, http, place: &place, monitor }.run()?;
    if fetched.was_resumed && !store.is_what_is_wanted(&place.file, &wanted.digests, monitor)? {
        // Whatever the server says of its file, the part from before was of another one.
        monitor.warning(&format!("{}: what was fetched before is of another file", wanted.url));
        place.forget()?;
        Transfer { wanted, http, place: &place, monitor }.run()?;
    }
    store.keep(&place, wanted, monitor)
}

/// Fetches something small: no more than `limit` bytes, kept nowhere.
///
/// # Errors
/// As [`fetch`].
pub(crate) fn fetch_text(url: &str, limit: u64, http: &Http, monitor: Monitor<'_>) -> crate::Result<Vec<u8>> {
    transfer::small(url, limit, http, monitor)
}
