//! Files of filesystems that this program itself only reads, changed by the image's own kernel: in a machine of QEMU's that is thrown
//! away, with this program as process 1, as an ordinary user and without a network.
//!
//! ```text
//! image ─► newest kernel, its modules (kernel.rs, modules.rs) ─┐
//! this program, its libraries (program.rs, elf.rs) ────────────┼─► initrd (cpio.rs) ─┐
//! order: mounts, what goes (order.rs) ─────────────────────────┘                     ├─► machine.rs ─► watch.rs ─► Applied
//! each filesystem: a part of the image's file, a disk ───────────────────────────────┤       ▲
//! archive of what comes: a disk, read-only ──────────────────────────────────────────┘       │ ttyS1, a line each
//!                                                       guest: mounts, removes, unpacks, unmounts, tells (init.rs)
//! ```
//!
//! What is mounted may be hostile: whatever breaks out of the guest's kernel is in a machine with the parts of the image's file that it was
//! given, the archive, and two serial ports.

mod cpio;
mod elf;
mod fault;
pub(crate) mod init;
mod initrd;
mod kernel;
mod machine;
mod modules;
mod order;
mod program;
mod watch;

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use image_core::block::ByteRange;
use image_core::fs::FilesystemKind;

pub use fault::{Fault, Task};

use crate::error::{Advise, Context, bail, err};
use crate::monitor::Monitor;
use crate::programs::Program;
use crate::qemu::Accelerator;
use crate::system::{System, Volume};
use crate::variables::Variables;
use kernel::Kernel;
use machine::{Machine, Plan};
use order::{Mount, Order};

/// So many disks a guest has, besides the archive: PCI has 32 places.
const DISKS_MAX: usize = 24;
/// Filesystems are of whole sectors, in bytes.
const SECTOR: u64 = 512;

/// A filesystem that a guest changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestVolume {
    /// Where it is in the image's file, in bytes: in one piece, of whole sectors.
    pub range: ByteRange,
    /// What it is: XFS, Btrfs, or ext2 to ext4.
    pub kind: FilesystemKind,
    /// The absolute path where the system mounts it, without a link on its way.
    pub mount: PathBuf,
    /// How it mounts it, as in `/etc/fstab`: `subvol=@,compress=zstd`. Whatever it says, it is mounted to be written, and no program of it runs.
    pub options: String,
}

impl GuestVolume {
    /// The filesystem that is `volume`, to be mounted at `mount` with `options`.
    ///
    /// # Errors
    /// [`Image`](crate::ErrorKind::Image) if it is a logical volume in several pieces, which no disk of a guest can be.
    pub fn of(volume: &Volume, mount: impl Into<PathBuf>, options: &str) -> crate::Result<Self> {
        if !volume.is_in_one_piece() {
            let error = err!("{} is in several pieces: files in it are not changed", volume.name());
            return Err(error.of_kind(crate::ErrorKind::Image));
        }
        let (range, kind) = (volume.range, volume.signature.kind);
        Ok(Self { range, kind, mount: mount.into(), options: options.to_owned() })
    }
}

/// What is to be changed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The image's file, a raw disk, which is changed in place: after a failure it may be half changed.
    pub disk: &'a Path,
    /// What is in it: its kernel is started.
    pub system: &'a System,
    /// The filesystems to mount, in any order.
    pub volumes: Vec<GuestVolume>,
    /// Absolute paths, without a link on their way, to remove before anything is unpacked, directories with all that is in them. What is not there is removed already.
    pub removed: Vec<Vec<u8>>,
    /// An archive as [`tar_out`](crate::files::tar_out) writes it, with paths from the root: what is there is replaced, directories stay and get
    /// what the archive says of them. Each directory of what it has is in it before that, or on the volume.
    pub archive: &'a Path,
    /// The guest's memory in MiB.
    pub memory_mib: u32,
    /// What runs the guest, if not KVM where it works and the emulator where it does not.
    pub accelerator: Option<Accelerator>,
    /// A folder for what is written meanwhile: the kernel, an initrd, logs.
    pub folder: &'a Path,
    /// The caller's variables: programs are looked for in the folders of `PATH`.
    pub variables: Variables,
}

impl<'a> Request<'a> {
    /// To unpack `archive` into `volumes` of the raw disk `disk`, in which is `system`, with 512 MiB of memory; `folder` is there for what is
    /// written meanwhile.
    pub fn new(
        disk: &'a Path,
        system: &'a System,
        volumes: Vec<GuestVolume>,
        archive: &'a Path,
        folder: &'a Path,
        variables: Variables,
    ) -> Self {
        let (removed, memory_mib, accelerator) = (Vec::new(), 512, None);
        Self { disk, system, volumes, removed, archive, memory_mib, accelerator, folder, variables }
    }
}

/// What was changed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// How many names were removed, directories with all that was in them.
    pub removed: u64,
    /// How many entries of the archive were unpacked.
    pub unpacked: u64,
    /// The kernel's version.
    pub kernel: String,
    /// What ran the guest.
    pub accelerator: Accelerator,
    /// From the start of QEMU to the first word of the guest's process 1, and to its end.
    pub began: Duration,
    /// See [`began`](Self::began).
    pub took: Duration,
}

/// Makes sure that filesystems of the kinds `kinds` can be changed by the kernel of `system`, and that QEMU is there.
///
/// # Errors
/// As [`apply`], for what can be known before.
pub(crate) fn check(system: &System, kinds: &[FilesystemKind], variables: &Variables) -> crate::Result<()> {
    find_programs(variables)?;
    Kernel::newest(system.files())?.needs(kinds).map(drop)
}

fn find_programs(variables: &Variables) -> crate::Result<std::ffi::OsString> {
    if !cfg!(target_arch = "x86_64") {
        let error = err!("a guest is this program itself, and there are only guests for x86_64");
        return Err(error.of_kind(crate::ErrorKind::Missing));
    }
    let programs = variables.path();
    Program::Qemu.check(&programs)?;
    Ok(programs)
}

/// Changes files as `request` says.
///
/// # Errors
/// [`Missing`](crate::ErrorKind::Missing) without QEMU; [`Image`](crate::ErrorKind::Image) if the image has no kernel that can do it;
/// [`Invalid`](crate::ErrorKind::Invalid) for paths and ranges that cannot be; a [`Fault`] is the cause of what the guest failed at.
pub fn apply(request: &Request<'_>, monitor: Monitor<'_>) -> crate::Result<Applied> {
    let programs = find_programs(&request.variables)?;
    let (parts, mounts) = plan(request)?;
    let files = request.system.files();
    let kernel = Kernel::newest(files)?;
    let kinds: Vec<FilesystemKind> = request.volumes.iter().map(|volume| volume.kind).collect();
    let (bus, modules) = kernel.needs(&kinds)?;
    let work = tempfile::Builder::new().prefix("guest-").tempdir_in(request.folder);
    let work = work.context("making a work folder for the guest")?;
    let (initrd, image) = (work.path().join("initrd"), work.path().join("vmlinuz"));
    let order = Order { modules, mounts };
    initrd::write(&initrd, &kernel, files, order, &request.removed).context("making the guest's initrd")?;
    fs::write(&image, &kernel.image).context("writing the guest's kernel")?;
    let accelerator = match request.accelerator {
        Some(accelerator) => accelerator,
        None => Accelerator::probe(work.path(), &programs, monitor.cancel())?,
    };
    let started = std::time::Instant::now();
    let mut machine = Machine::start(&Plan {
        kernel: &image,
        initrd: &initrd,
        disk: request.disk,
        parts: &parts,
        archive: request.archive,
        bus,
        accelerator,
        memory_mib: request.memory_mib,
        programs: &programs,
        folder: work.path(),
    })?;
    let ended = watch::watch(&mut machine, work.path(), monitor).with_context(|| {
        format!("changing files with the image's kernel {}", crate::printable::printable(&kernel.version))
    })?;
    let watch::Ended { began, removed, unpacked } = ended;
    Ok(Applied { removed, unpacked, kernel: kernel.version, accelerator, began, took: started.elapsed() })
}

/// The parts of the file that are disks of the guest, each once, and what is mounted where: what is mounted in another comes after it.
fn plan(request: &Request<'_>) -> crate::Result<(Vec<ByteRange>, Vec<Mount>)> {
    let size =
        fs::metadata(request.disk).with_context(|| format!("opening {}", request.disk.display()))?.len();
    let mut volumes: Vec<&GuestVolume> = request.volumes.iter().collect();
    volumes.sort_by_key(|volume| volume.mount.components().count());
    let mut parts: Vec<ByteRange> = Vec::new();
    let mut mounts: Vec<Mount> = Vec::new();
    for volume in volumes {
        let GuestVolume { range, kind, mount, options } = volume;
        let shown = mount.display();
        if !is_plain(mount) {
            return Err(err!("{shown}: where a volume is mounted is no plain absolute path")).invalid();
        }
        if range.end() > size || range.offset() % SECTOR != 0 || range.len() % SECTOR != 0 || range.is_empty()
        {
            return Err(err!("the volume at {shown} is no range of whole sectors of the disk")).invalid();
        }
        let overlaps =
            |own: &ByteRange| own != range && own.offset() < range.end() && range.offset() < own.end();
        if parts.iter().any(overlaps) || mounts.iter().any(|own| own.folder == mount.into()) {
            return Err(err!("the volume at {shown} overlaps with another one")).invalid();
        }
        let index = parts.iter().position(|own| own == range).unwrap_or_else(|| {
            parts.push(*range);
            parts.len() - 1
        });
        let (disk, kind) = (machine::serial(index), kernel::name_of(*kind)?.to_owned());
        mounts.push(Mount { disk, kind, folder: mount.into(), options: options.clone() });
    }
    if parts.is_empty() || parts.len() > DISKS_MAX {
        bail!("a guest changes 1 to {DISKS_MAX} volumes, not {}", parts.len());
    }
    if let Some(path) = request.removed.iter().find(|path| path.contains(&0) || !path.starts_with(b"/")) {
        return Err(err!("{:?} is no absolute path to remove", String::from_utf8_lossy(path))).invalid();
    }
    Ok((parts, mounts))
}

/// Whether a path begins at the root and names every directory on its way.
fn is_plain(path: &Path) -> bool {
    path.is_absolute()
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}
