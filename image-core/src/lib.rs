//! Disk images: raw and qcow2, converted in parallel, checked, and taken apart without mounting.
//!
//! ```text
//!            file, device, memory, nbd
//!                     │  block: BlockRead, BlockWrite, extents
//!        ┌────────────┼──────────────┐
//!     format       partition        fs
//!  raw · qcow2    GPT · MBR    ext4, XFS, Btrfs, FAT, ISO 9660, read without a kernel
//!                LVM
//!        └────────────┼──────────────┘
//!                     ▼
//!      convert: source → extents → workers → sink
//! ```
//!
//! Nothing named inside an image (a backing file, a data file) is opened unless the caller allows it,
//! nothing here prints or exits, and everything works through `&self` from many threads.

pub mod bench;
pub mod block;
pub mod compare;
pub mod convert;
pub mod deflate;
pub mod digest;
mod error;
pub mod foreign;
pub mod format;
pub mod free_space;
pub mod fs;
pub mod lvm;
pub mod map;
pub mod measure;
pub mod nbd;
pub mod new_file;
pub mod partition;
pub mod progress;
pub mod qcow2;
pub mod raw;

pub use error::{Doing, Error, ErrorKind, Result};
