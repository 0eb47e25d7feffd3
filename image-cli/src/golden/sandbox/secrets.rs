//! The secrets of a step: in a memory filesystem of its own, which ends with it.
//!
//! ```text
//! /run/secrets           0700, read-only; only in the mount namespace of this program
//! └─ NAME                0400
//! ```

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::mount::{MountFlags, mount};

use super::restrict::add_flags;
use crate::error::Context;
use crate::golden::secrets::{FOLDER, Secrets};

/// Shows them. To be called when the tree is the root directory: a link that an earlier step left at [`FOLDER`], or on
/// the way to it, leads nowhere else.
///
/// # Errors
/// If they cannot be shown.
pub(super) fn show(secrets: &Secrets) -> crate::Result<()> {
    if secrets.is_empty() {
        return Ok(());
    }
    let doing = || format!("showing the secrets in {FOLDER}");
    let folder = Path::new(FOLDER);
    match folder.symlink_metadata() {
        Ok(found) if found.is_dir() => {}
        Ok(_) => fs::remove_file(folder).and_then(|()| fs::create_dir(folder)).with_context(doing)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(folder).with_context(doing)?
        }
        Err(error) => return Err(error).with_context(doing),
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", folder, "tmpfs", flags, c"mode=700,size=16m").with_context(doing)?;
    for (name, content) in secrets.iter() {
        fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(folder.join(name))
            .and_then(|mut file| file.write_all(content))
            .with_context(doing)?;
    }
    add_flags(folder, MountFlags::RDONLY)
}
