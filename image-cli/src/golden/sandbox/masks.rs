//! What of `/proc` a program does not see, or not change.
//!
//! The first list is that of the container runtimes (the OCI runtime specification's `maskedPaths` and `readonlyPaths`,
//! with Docker's and Podman's defaults). The second list goes further: these files tell of the machine that builds, its
//! disks above all, and scripts of packages act upon them as if it were the image's.

use std::path::Path;

use rustix::mount::{MountFlags, mount, mount_bind};

use super::restrict::read_only;
use crate::error::Context;

/// Dangerous, or telling of the kernel's inside.
const MASKED: [&str; 12] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "key-users",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
    "kmsg",
];
/// Telling of this machine: its disks (`fs/ext4/sda1`), its kernel's arguments and modules.
const FOREIGN: [&str; 10] = [
    "cmdline",
    "config.gz",
    "diskstats",
    "fs",
    "mdstat",
    "modules",
    "mtrr",
    "partitions",
    "swaps",
    "vmallocinfo",
];
const READ_ONLY: [&str; 5] = ["bus", "irq", "pressure", "sys", "sysrq-trigger"];
/// Where the session has put a boot id for the kernel's.
pub(crate) const BOOT_ID: &str = "run/goldimg/boot-id";

/// Masks the new `/proc` of the tree at `root`, whose `/dev` the session has filled.
///
/// # Errors
/// If something cannot be mounted.
pub(super) fn put(root: &Path) -> crate::Result<()> {
    let proc = root.join("proc");
    for name in MASKED.iter().chain(&FOREIGN) {
        mask(&proc.join(name), &root.join("dev/null"))?;
    }
    READ_ONLY
        .iter()
        .map(|name| proc.join(name))
        .filter(|path| path.exists())
        .try_for_each(|path| read_only(&path))?;
    // Over what is read-only now, or it would be beneath it.
    let boot_id = root.join(BOOT_ID);
    match boot_id.exists() {
        true => mount_bind(&boot_id, proc.join("sys/kernel/random/boot_id")).context("hiding the boot id"),
        false => Ok(()),
    }
}

/// Hides the file or folder at `path`, if there is one.
fn mask(path: &Path, null: &Path) -> crate::Result<()> {
    let Ok(found) = path.symlink_metadata() else { return Ok(()) };
    let hidden = if found.is_dir() {
        let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("tmpfs", path, "tmpfs", flags, c"mode=555,size=4k,nr_inodes=2")
    } else {
        mount_bind(null, path)
    };
    hidden.with_context(|| format!("hiding {}", path.display()))
}
