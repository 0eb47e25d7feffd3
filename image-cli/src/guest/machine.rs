//! The machine that a guest is: QEMU with the image's kernel, an initrd of ours, a disk for each filesystem, and two serial ports.
//!
//! ```text
//!              ┌ disk N   a filesystem: that part of the image's file, written in place
//!              ├ archive  what is to be unpacked, read-only
//!   QEMU ──────┼ ttyS0    console.log: what the kernel says
//!              └ ttyS1    report.log: what process 1 says (`order.rs`)
//! ```
//!
//! It has no network, no monitor and no other device. QEMU ends with its [`Machine`], and with this program however that ends.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};

use image_core::block::ByteRange;
use serde_json::{Value, json};

use super::kernel::DiskBus;
use super::order::ARCHIVE;
use super::program::LIBRARIES;
use crate::error::{Advise, Context, err};
use crate::programs::Program;
use crate::qemu::{self, Accelerator, SANDBOX, option};
use crate::reexec;

/// What the kernel says, and what process 1 says.
pub(super) const CONSOLE: &str = "console.log";
pub(super) const REPORT: &str = "report.log";
/// What QEMU itself says.
const LOG: &str = "qemu.log";

/// What to start.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initrd: &'a Path,
    /// The image's file, which is written, and the parts of it that are the guest's disks: their serial numbers are [`serial`].
    pub(super) disk: &'a Path,
    pub(super) parts: &'a [ByteRange],
    pub(super) archive: &'a Path,
    pub(super) bus: DiskBus,
    pub(super) accelerator: Accelerator,
    pub(super) memory_mib: u32,
    /// The folders that programs are in, as in `PATH`.
    pub(super) programs: &'a OsStr,
    /// Where everything is written.
    pub(super) folder: &'a Path,
}

/// The serial number of part `index`.
pub(super) fn serial(index: usize) -> String {
    format!("disk{index}")
}

/// A running QEMU.
#[derive(Debug)]
pub(super) struct Machine {
    child: Child,
    folder: PathBuf,
}

impl Machine {
    /// Starts QEMU, and the guest.
    pub(super) fn start(plan: &Plan<'_>) -> crate::Result<Self> {
        let errors = File::create(plan.folder.join(LOG)).context("writing QEMU's log")?;
        let mut command = Program::Qemu.command(plan.programs);
        command.args(arguments(plan)?).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let child = command.spawn().map_err(|error| Program::Qemu.not_started(error))?;
        Ok(Self { child, folder: plan.folder.to_owned() })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How QEMU ended, if it did.
    pub(super) fn ended(&mut self) -> crate::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// What QEMU itself complained about last.
    pub(super) fn complaint(&self) -> String {
        qemu::complaint(&self.folder.join(LOG))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails only for a QEMU that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the kernel is told: `rdinit` is started with the words that it does not know, and has the variables that it does not know.
fn command_line() -> String {
    let words = [
        "console=ttyS0",
        "loglevel=4",
        // With -no-reboot, QEMU ends at once.
        "panic=-1",
        // The emulated timer of a busy machine.
        "no_timer_check",
        // Nothing else runs here, and labels are set as they are asked for.
        "mitigations=off selinux=0 apparmor=0 audit=0",
        "rdinit=/init",
        reexec::GUEST,
    ];
    format!("{} LD_LIBRARY_PATH=/{LIBRARIES}", words.join(" "))
}

fn arguments(plan: &Plan<'_>) -> crate::Result<Vec<String>> {
    let mut all: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| all.extend(words.iter().map(ToString::to_string));
    add(&["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-sandbox", SANDBOX]);
    add(&["-machine", "pc,graphics=off,usb=off", "-m", &plan.memory_mib.to_string()]);
    add(plan.accelerator.arguments());
    add(&["-kernel", text(plan.kernel)?, "-initrd", text(plan.initrd)?, "-append", &command_line()]);
    for (index, name) in [CONSOLE, REPORT].into_iter().enumerate() {
        let path = option(&plan.folder.join(name));
        add(&["-chardev", &format!("file,id=port{index},path={path}")]);
        add(&["-device", &format!("isa-serial,chardev=port{index},index={index}")]);
    }
    let mut block = |value: &Value| add(&["-blockdev", &value.to_string()]);
    // One opened file for all parts of it. What a guest loses with its machine need not be flushed.
    block(&json!({
        "driver": "file", "node-name": "file", "filename": text(plan.disk)?, "discard": "unmap",
        "cache": { "no-flush": true },
    }));
    for (index, part) in plan.parts.iter().enumerate() {
        block(&json!({
            "driver": "raw", "node-name": serial(index), "file": "file", "offset": part.offset(), "size": part.len(),
            "discard": "unmap", "detect-zeroes": "unmap", "cache": { "no-flush": true },
        }));
    }
    block(&json!({
        "driver": "raw", "node-name": ARCHIVE, "read-only": true,
        "file": { "driver": "file", "filename": text(plan.archive)?, "read-only": true },
    }));
    // Each writes its own part of the file.
    for name in (0..plan.parts.len()).map(serial).chain([ARCHIVE.to_owned()]) {
        add(&[
            "-device",
            &match plan.bus {
                DiskBus::Virtio => format!("virtio-blk-pci,drive={name},serial={name},share-rw=on"),
                DiskBus::Nvme => format!("nvme,drive={name},serial={name},share-rw=on"),
            },
        ]);
    }
    Ok(all)
}

fn text(path: &Path) -> crate::Result<&str> {
    path.to_str()
        .ok_or_else(|| err!("{}: QEMU is given no path that is not UTF-8", path.display()))
        .hint(|| "a link with another name will do")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_a_disk_of_its_own() {
        let plan = Plan {
            kernel: Path::new("/scratch/vmlinuz"),
            initrd: Path::new("/scratch/initrd"),
            disk: Path::new("/images/a,\"b\".raw"),
            parts: &[ByteRange::between(4096, 8192), ByteRange::between(8192, 16384)],
            archive: Path::new("/scratch/changes.tar"),
            bus: DiskBus::Virtio,
            accelerator: Accelerator::Tcg,
            memory_mib: 512,
            programs: OsStr::new("/usr/bin"),
            folder: Path::new("/scratch/a,b"),
        };
        let words = arguments(&plan).unwrap();
        let blocks: Vec<Value> = words
            .iter()
            .zip(words.iter().skip(1))
            .filter(|(option, _)| *option == "-blockdev")
            .map(|(_, value)| serde_json::from_str(value).unwrap())
            .collect();
        assert_eq!(blocks.len(), 4);
        assert_eq!(blocks[0]["filename"], "/images/a,\"b\".raw");
        assert_eq!((&blocks[2]["offset"], &blocks[2]["size"]), (&json!(8192), &json!(8192)));
        assert_eq!(blocks[3]["read-only"], true);
        assert!(words.contains(&"virtio-blk-pci,drive=disk1,serial=disk1,share-rw=on".to_owned()));
        assert!(words.contains(&"file,id=port1,path=/scratch/a,,b/report.log".to_owned()));
        assert!(!words.iter().any(|word| word.contains("-netdev") || word.contains("monitor")));
        assert!(command_line().ends_with("rdinit=/init goldimg:guest LD_LIBRARY_PATH=/lib"));
    }
}
