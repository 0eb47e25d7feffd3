//! Bases that are there already.
//!
//! ```text
//! outer   location ─► the file itself, the cache, a server ─► verified: Acquired                   acquire.rs
//! inner   Acquired ─► unpacked, if it is compressed (../packed.rs) ─┬─► image: its disk, changed        image.rs
//!                                                                ├─► tar ─────────────────┬─► a tree  tree.rs
//!                                                                └─► oci ─► its layers ───┘           container.rs, unpack.rs
//! ```
//! The file is only read.

pub(super) mod acquire;
mod cloud;
mod container;
pub(super) mod image;
mod sums;
pub(super) mod tree;
mod unpack;

pub(super) use unpack::Unpacking;
