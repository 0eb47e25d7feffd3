//! Mounts with fewer rights than they had.

use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{MountFlags, mount_bind, mount_remount};

use crate::error::Context;

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
