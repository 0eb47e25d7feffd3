//! The initrd of a guest: this program, the modules of the image's kernel, and the order.
//!
//! ```text
//! init                this program, without what is not loaded        lib/…   its libraries
//! order.json          what is to be done                              removed paths that go
//! modules/NAME.ko     unpacked                                        dev/console, dev/null
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use image_core::fs::Files;

use super::cpio::Archive;
use super::kernel::Kernel;
use super::order::{ORDER, Order, REMOVED};
use super::program;
use crate::error::Context;

/// The folders that process 1 mounts on.
const FOLDERS: [&str; 4] = ["dev", "proc", "sys", "image"];
/// Nodes that a process has to have before it mounts anything: the kernel opens the first for process 1.
const DEVICES: [(&str, (u32, u32)); 2] = [("dev/console", (5, 1)), ("dev/null", (1, 3))];

/// Writes the initrd to the new file `path`: how many bytes it has. The order's modules are `kernel`'s, whose files are in `files`, and in the initrd
/// afterwards.
///
/// # Errors
/// If a module or a part of this program cannot be read, or the file cannot be written.
pub(super) fn write(
    path: &Path,
    kernel: &Kernel,
    files: &dyn Files,
    mut order: Order,
    removed: &[Vec<u8>],
) -> crate::Result<u64> {
    let doing = || format!("writing {}", path.display());
    let mut archive = Archive::new(BufWriter::new(File::create_new(path).with_context(doing)?));
    for folder in FOLDERS {
        archive.folder(folder)?;
    }
    for (name, number) in DEVICES {
        archive.device(name, number)?;
    }
    for part in program::parts()? {
        archive.file(&part.name, part.len(), part.content()?)?;
    }
    for module in &mut order.modules {
        let bytes = kernel.module(files, module)?;
        module.file = format!("modules/{}.ko", module.name);
        archive.file(&module.file, bytes.len() as u64, bytes.as_slice())?;
    }
    let words = serde_json::to_vec(&order).context("writing a guest's order")?;
    archive.file(ORDER, words.len() as u64, words.as_slice())?;
    let paths: Vec<u8> = removed.iter().flat_map(|path| [path.as_slice(), &[0]].concat()).collect();
    archive.file(REMOVED, paths.len() as u64, paths.as_slice())?;
    archive.end()
}
