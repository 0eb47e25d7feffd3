//! The tree becomes the root directory, and nothing else is left to see.
//!
//! ```text
//! /  (this machine)
//! └─ work/tree   bound over itself, no devices      ─ pivot_root ─►  /
//!    ├─ dev sys run   as the session mounted them                    ├─ dev sys run
//!    └─ proc          this PID namespace's, masked                   └─ proc
//! ```
//!
//! Device nodes do nothing but those that the session bound into `/dev`: a program that is truly root could make one
//! for this machine's disks.

use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, unmount,
};
use rustix::process::{chdir, pivot_root};

use super::masks;
use super::restrict::add_flags;
use crate::error::{Advise, Context, err};

/// Makes the tree at `root` the root directory of this process, which must be the first one of its PID namespace and
/// alone in its mount namespace.
///
/// # Errors
/// If something cannot be mounted.
pub(super) fn enter(root: &Path) -> crate::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("parting from this machine's mounts")?;
    mount_bind_recursive(root, root).context("making the image the root directory")?;
    add_flags(root, MountFlags::NODEV)?;
    mount_proc(&root.join("proc"))?;
    masks::put(root)?;
    // The old root lands on top of the new one, and goes (pivot_root(2), "pivot_root(".", ".")").
    let change = || -> rustix::io::Result<()> {
        chdir(root)?;
        pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        chdir("/")
    };
    change().context("making the image the root directory")
}

fn mount_proc(target: &Path) -> crate::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match mount("proc", target, "proc", flags, None) {
        Ok(()) => Ok(()),
        // A container whose own /proc is partly hidden may not have a whole one (mount_namespaces(7)).
        Err(Errno::PERM) => Err(err!("mounting /proc in the image: this machine hides parts of its own"))
            .hint(|| "start the container with --security-opt systempaths=unconfined (Podman: unmask=ALL), or --privileged"),
        Err(error) => Err(error).context("mounting /proc in the image"),
    }
}
