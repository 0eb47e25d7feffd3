//! OpenStack: a client of Keystone (who am I, where is Glance) and of Glance (images).
//!
//! ```text
//! clouds.yaml, OS_* ─► clouds ─► keystone ─► session ─► image_api ─► upload ─► rotate
//!                                   │  token, catalog │             │
//!                                   ▼                 ▼             ├─ inspect     would Glance take it?
//!                        exchange: http (sends)                     │
//!                                  rehearsal (only shows)           └─ payload     bytes, hashed on the way
//! ```
//!
//! Rules that hold across these files:
//! - A password, secret or token is a [`Secret`](secret::Secret) from where it is read to where it is sent;
//!   nothing else can print it.
//! - Every request goes through [`Exchange`](exchange::Exchange), so that what `--plan` shows is what would be sent.
//! - What a server says is not trusted: sizes are limited, identifiers checked before they become part of a path.
//! - Whatever goes wrong, an image that was begun is deleted, or named.

pub(crate) mod clouds;
pub(crate) mod exchange;
pub(crate) mod http;
pub(crate) mod image_api;
pub(crate) mod inspect;
pub(crate) mod keystone;
mod last_words;
pub(crate) mod payload;
pub(crate) mod rehearsal;
pub(crate) mod rotate;
pub(crate) mod secret;
pub(crate) mod session;
pub(crate) mod template;
pub(crate) mod upload;
