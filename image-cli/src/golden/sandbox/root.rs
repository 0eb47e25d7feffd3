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

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

use super::masks;
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

/// Adds `flags` to those that the mount at `target` has.
pub(crate) fn add_flags(target: &Path, flags: MountFlags) -> crate::Result<()> {
    let doing = || format!("restricting the mount at {}", target.display());
    // Those of this machine's mounts are locked in a user namespace, and must be said again (mount_namespaces(7)).
    let locked = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let has = statvfs(target).with_context(doing)?.f_flag;
    let kept = locked.into_iter().filter(|(has_flag, _)| has.contains(*has_flag));
    let all = kept.fold(MountFlags::BIND | flags, |all, (_, flag)| all | flag);
    mount_remount(target, all, c"").with_context(doing)
}

/// Makes what is at `target` read-only.
pub(super) fn read_only(target: &Path) -> crate::Result<()> {
    mount_bind(target, target).with_context(|| format!("restricting {}", target.display()))?;
    add_flags(target, MountFlags::RDONLY)
}
