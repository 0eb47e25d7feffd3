//! Filesystems in images, read and written without mounting them.

pub mod iso9660;
