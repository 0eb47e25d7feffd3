//! Process 1 of a guest: loads modules, mounts, removes, unpacks, unmounts, and tells what came of it.
//!
//! ```text
//! /dev /proc /sys ─► modules ─► disks by their serial numbers ─► /image/… mounted ─► removed ─► unpacked ─► unmounted ─► off
//!        └───────────────────────────── each word a line of ttyS1 (`order.rs`) ──────────────────────────────────────┘
//! ```
//!
//! It is root in a machine of its own. Paths are followed beneath `/image` name by name, and never through a link.

mod disks;
mod give;
mod remove;
mod tree;
mod unpack;

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Resource, Rlimit, setrlimit, umask};
use rustix::system::{RebootCommand, init_module, reboot};

use super::fault::{Fault, Task};
use super::order::{ARCHIVE, Mount, ORDER, Order, REMOVED, Said};
use disks::{open_disk, path_of_disk};
use tree::{Tree, way_to};

type Outcome<T> = Result<T, Fault>;

/// Where the image's filesystems are mounted.
const IMAGE: &str = "/image";
/// The second serial port.
const PORT: &str = "/dev/ttyS1";
/// Directories in each other that can be open at once, and some.
const FILES_MAX: u64 = 1 << 19;
/// What of fstab's options is for others than the filesystem (mount(8), "FILESYSTEM-INDEPENDENT MOUNT OPTIONS").
const GENERAL: [&str; 31] = [
    "async",
    "atime",
    "auto",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "group",
    "iversion",
    "lazytime",
    "mand",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "noexec",
    "nofail",
    "nolazytime",
    "norelatime",
    "nosuid",
    "nouser",
    "owner",
    "relatime",
    "ro",
    "rw",
    "strictatime",
    "suid",
    "sync",
    "user",
    "users",
];

/// Runs as process 1 of a guest, and does not come back if it can switch the machine off.
pub(crate) fn run() -> ExitCode {
    let said = match begin() {
        Ok(mut port) => {
            let said = work(&mut port).unwrap_or_else(Said::Failed);
            say(&mut port, &said);
            // What is still on its way is waited for when it is closed.
            drop(port);
            return off();
        }
        Err(fault) => fault,
    };
    // There is only the console, where the end of process 1 is a panic.
    panic_with(&said)
}

fn off() -> ExitCode {
    let _ = reboot(RebootCommand::PowerOff);
    let _ = reboot(RebootCommand::Restart);
    ExitCode::FAILURE
}

fn panic_with(fault: &Fault) -> ExitCode {
    if let Ok(mut console) = File::options().write(true).open("/dev/console") {
        let _ = writeln!(console, "{fault}");
    }
    ExitCode::FAILURE
}

/// Mounts what every process expects, and opens the port.
fn begin() -> Outcome<File> {
    let doing = |path: &'static str| move |error: Errno| Fault::of(Task::Begin, path, error);
    for (kind, path) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        mount(kind, path, kind, MountFlags::empty(), None).map_err(doing(path))?;
    }
    umask(Mode::empty());
    let most = Rlimit { current: Some(FILES_MAX), maximum: Some(FILES_MAX) };
    setrlimit(Resource::Nofile, most).map_err(doing("limit of open files"))?;
    let flags = OFlags::WRONLY | OFlags::NOCTTY;
    rustix::fs::open(PORT, flags, Mode::empty()).map(File::from).map_err(doing(PORT))
}

/// Tells; who does not hear it sees that the guest ends without a word.
fn say(port: &mut File, said: &Said) {
    if let Ok(mut line) = serde_json::to_vec(said) {
        line.push(b'\n');
        let _ = port.write_all(&line);
    }
}

fn work(port: &mut File) -> Outcome<Said> {
    say(port, &Said::Began);
    let read = |name: &str| {
        let path = format!("/{name}");
        fs::read(&path).map_err(|error| Fault::of(Task::Begin, &path, error))
    };
    let order: Order =
        serde_json::from_slice(&read(ORDER)?).map_err(|error| Fault::new(Task::Begin, ORDER, error))?;
    load_modules(&order)?;
    for own in &order.mounts {
        mount_volume(own)?;
    }
    let mounts: Vec<PathBuf> = order.mounts.iter().map(|own| own.folder.clone().into_path()).collect();
    let tree = Tree::open(IMAGE)?;
    let mut removed = 0;
    for path in read(REMOVED)?.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        removed += remove::remove(&tree, path, &mounts)?;
    }
    let archive = open_disk(ARCHIVE)?;
    let unpacked = unpack::unpack(archive, &tree, &mounts, &mut |bytes| say(port, &Said::Unpacked(bytes)))?;
    drop(tree);
    for own in order.mounts.iter().rev() {
        unmount_volume(own)?;
    }
    Ok(Said::Done { removed, unpacked })
}

fn load_modules(order: &Order) -> Outcome<()> {
    for module in &order.modules {
        let path = format!("/{}", module.file);
        let bytes = fs::read(&path).map_err(|error| Fault::of(Task::Module, &module.name, error))?;
        match init_module(&bytes, c"") {
            // Another one brought it.
            Ok(()) | Err(Errno::EXIST) => {}
            // For a processor that this is not.
            Err(_) if !module.is_needed => {}
            Err(error) => return Err(Fault::of(Task::Module, &module.name, error)),
        }
        // Memory is short.
        let _ = fs::remove_file(&path);
    }
    Ok(())
}

fn mount_volume(own: &Mount) -> Outcome<()> {
    let folder = own.folder.clone().into_path();
    let shown = folder.to_string_lossy().into_owned();
    let failed = |error: Errno| Fault::of(Task::Mount, &shown, error);
    let disk = path_of_disk(&own.disk)?;
    // What is not on a volume of the image is made here, in memory.
    let tree = Tree::open(IMAGE)?;
    let place = tree.make_folder(folder.as_os_str().as_encoded_bytes())?;
    let options: Vec<&str> = own.options.split(',').filter(|option| is_for_the_filesystem(option)).collect();
    let options = CString::new(options.join(",")).map_err(|error| Fault::new(Task::Mount, &shown, error))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
    mount(&disk, way_to(&place), &own.kind, flags, options.as_c_str()).map_err(failed)
}

/// Whether an option of fstab is one that the filesystem itself knows.
fn is_for_the_filesystem(option: &str) -> bool {
    let is_of_others = ["x-", "X-", "comment=", "_netdev"].iter().any(|begin| option.starts_with(begin));
    !option.is_empty() && !is_of_others && !GENERAL.contains(&option)
}

/// Everything is on the disk afterwards, or it is known that it is not.
fn unmount_volume(own: &Mount) -> Outcome<()> {
    let folder = own.folder.clone().into_path();
    let shown = folder.to_string_lossy().into_owned();
    let failed = |error: Errno| Fault::of(Task::Unmount, &shown, error);
    let tree = Tree::open(IMAGE)?;
    let (parent, name) = tree.parent(folder.as_os_str().as_encoded_bytes(), Task::Unmount)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::openat(&parent, &name, flags, Mode::empty()).map_err(failed)?;
    rustix::fs::syncfs(&root).map_err(failed)?;
    drop(root);
    drop((parent, tree));
    // By its path: what was opened would keep it busy.
    let path = Path::new(IMAGE).join(folder.strip_prefix("/").unwrap_or(&folder));
    unmount(&path, UnmountFlags::NOFOLLOW).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filesystem_is_told_what_it_knows() {
        let options =
            "defaults,noatime,subvol=@,compress=zstd:1,x-systemd.growfs,nofail,,ro,discard=async,_netdev";
        let own: Vec<&str> = options.split(',').filter(|option| is_for_the_filesystem(option)).collect();
        assert_eq!(own, ["subvol=@", "compress=zstd:1", "discard=async"]);
    }
}
