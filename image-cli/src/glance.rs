//! OpenStack: a client of Keystone (who am I, where is Glance) and of Glance (images).
//!
//! ```text
//! clouds.yaml, OS_* ─► clouds ─► keystone ─► session ─► image_api ─► upload ─► rotate
//!                                   │  token, catalog │             │
//!                                   ▼                 ▼             ├─ inspect     would Glance take it?
//!                        exchange: http (sends)                     │
//!                                  dry_run (only shows)             └─ payload     bytes, hashed on the way
//! ```
//!
//! Rules that hold across these files:
//! - A password, secret or token is a `Secret` (`secret.rs`) from where it is read to where it is sent;
//!   nothing else can print it.
//! - Every request goes through an `Exchange` (`exchange.rs`), so that what `--plan` shows is what would be sent.
//! - What a server says is not trusted: sizes are limited, identifiers checked before they become part of a path.
//! - Whatever goes wrong, an image that was begun is deleted, or named.

pub mod clouds;
pub(crate) mod dry_run;
mod early_response;
pub(crate) mod exchange;
pub(crate) mod http;
pub(crate) mod image_api;
pub(crate) mod inspect;
mod keystone;
mod list;
pub(crate) mod payload;
mod retry;
mod rotate;
pub(crate) mod route;
pub(crate) mod secret;
pub(crate) mod session;
pub(crate) mod template;
pub(crate) mod upload;
mod way;

pub use clouds::{Cloud, Environment};
pub use dry_run::Shown;
pub use image_api::{Image, Status, Visibility};
pub use list::{Filter, images};
pub use payload::converted::Target;
pub use rotate::{Keep, Older, Rotated};
pub use upload::Outcome;
pub use way::{Method, Stores, Way};
