//! What there is to know about the kernels of an image: how their files are packed, and which modules they have.
//!
//! ```text
//! modules.dep, modules.builtin ─► Modules: names            modules.rs
//! vmlinuz, initrd, *.ko.xz ─────► what they unpack to       packed.rs
//! ```

mod modules;
mod packed;

pub(crate) use modules::{Modules, module_name};
pub(crate) use packed::unpacked;
