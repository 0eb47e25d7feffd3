//! Building golden images.
//!
//! ```text
//! recipe ─► bootstrap ─► tree ─► steps ─► cloud-init ─► seal ─► disk ─► outputs ─► verified
//! ```

pub(crate) mod recipe;
