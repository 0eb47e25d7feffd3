//! Building golden images.
//!
//! ```text
//! recipe ─► bootstrap ─► tree ─► steps ─► cloud-init ─► seal ─► disk ─► outputs ─► verified
//! ```

pub(crate) mod bootcode;
pub(crate) mod bootloader;
pub(crate) mod disk;
pub(crate) mod epoch;
pub(crate) mod ext4;
pub(crate) mod identity;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod namespace;
pub(crate) mod recipe;
pub(crate) mod tree;
