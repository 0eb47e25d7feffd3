//! One virtual machine: QEMU with the image, a seed, a network of its own, and two serial ports.
//!
//! ```text
//!              ┌ disk     the image, read-only, below an overlay that has no name and grows by some GiB
//!              ├ seed     read-only: a virtio disk, or a config drive's CD-ROM
//!   QEMU ──────┼ network  DHCP, and nothing else; one port of loopback leads to the guest's SSH
//!    │         │          as OpenStack: perhaps the metadata service, and a second network without DHCP; or none
//!    │         ├ ttyS0    console.log: what the firmware, the boot loader, the kernel and a login prompt say
//!    │         └ ttyS1    report.log: what the guest tells about itself
//!    └ standard input and output: control (`qmp.rs`)
//! ```
//!
//! Everything that is written lies in one folder, or in a file without a name (the overlay, in TMPDIR or /var/tmp).
//! QEMU ends with its [`Machine`], and with this program however that ends.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};

use serde_json::{Value, json};

use super::neutron;
use super::qmp::{Event, Qmp};
use super::setup::{Cdrom, DiskBus, Setup, Source};
use crate::error::{Advise, Context, Result, err};
use crate::monitor::CancellationToken;
use crate::programs::Program;
use crate::qemu::{self, Accelerator, SANDBOX, option};
use crate::reexec;

/// The guest's network: documentation addresses would look wrong to a guest, the default ones are in many images.
const NETWORK: &str = "172.29.83.0/24";
/// The address that the guest gets by DHCP, and by nothing else.
pub(super) const ADDRESS: &str = "172.29.83.57";
/// What went over the guest's first network.
pub(super) const CAPTURE: &str = "network.pcap";

/// What QEMU itself says.
const LOG: &str = "qemu.log";
/// As [`SANDBOX`], but where QEMU starts a program for each connection to the metadata service, in a session of its own: setsid(2)
/// is among the calls that would elevate privileges, which it cannot do in any case (`Program::command`).
const SPAWNING_SANDBOX: &str = "on,obsolete=deny,elevateprivileges=allow,spawn=allow,resourcecontrol=deny";

/// What to start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) image: &'a Path,
    /// The image's format, in QEMU's words.
    pub(super) format: &'a str,
    pub(super) accelerator: Accelerator,
    pub(super) setup: Setup,
    pub(super) memory_mib: u32,
    /// By how many bytes the guest's disk is larger than the image.
    pub(super) grow: u64,
    /// What is attached for the guest to read: a seed, or a config drive.
    pub(super) seed: Option<&'a Path>,
    /// The folder with the metadata service's documents.
    pub(super) metadata: Option<&'a Path>,
    /// The machine's identity: a cloud gives a different one to every server, and systemd makes a machine-id of it.
    pub(super) uuid: &'a str,
    /// The folders that programs are in, as in `PATH`.
    pub(super) programs: &'a OsStr,
    /// Where QEMU puts what the guest writes, if not in /var/tmp.
    pub(super) temporary: Option<&'a OsStr>,
    pub(super) cancel: &'a CancellationToken,
    /// Where everything is written.
    pub(super) folder: &'a Path,
}

/// A running QEMU.
#[derive(Debug)]
pub(super) struct Machine {
    child: Child,
    qmp: Qmp,
    folder: PathBuf,
    /// The folders that programs are in, as in `PATH`.
    pub(super) programs: OsString,
    /// The port of loopback that leads to the guest's SSH; without a network card there is none.
    pub(super) ssh_port: Option<u16>,
    /// The size of the guest's disk in bytes.
    pub(super) disk_size: u64,
}

impl Machine {
    /// Starts QEMU, makes the disk larger, and lets the guest go.
    pub(super) fn start(plan: &Plan<'_>) -> Result<Self> {
        let mut command = Program::Qemu.command(plan.programs);
        if let Some(folder) = plan.temporary {
            command.env("TMPDIR", folder);
        }
        let errors = File::create(plan.folder.join(LOG)).context("writing QEMU's log")?;
        command.args(arguments(plan)?).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().map_err(|error| Program::Qemu.not_started(error))?;
        let channel = child.stdin.take().zip(child.stdout.take()).context("QEMU without pipes");
        let started = channel.and_then(|(commands, answers)| {
            let mut qmp = Qmp::new(commands, answers, plan.cancel.clone())?;
            let disk_size = grow(&mut qmp, plan.grow)?;
            let ssh_port = if plan.setup.nics > 0 { Some(ssh_port(&mut qmp)?) } else { None };
            qmp.execute("cont", json!({}))?;
            Ok((qmp, ssh_port, disk_size))
        });
        match started {
            Ok((qmp, ssh_port, disk_size)) => Ok(Self {
                child,
                qmp,
                folder: plan.folder.to_owned(),
                programs: plan.programs.to_owned(),
                ssh_port,
                disk_size,
            }),
            Err(error) => {
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                plan.cancel.check()?;
                let said = qemu::complaint(&plan.folder.join(LOG));
                Err(error.context(format!("starting QEMU ({said})")))
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What happened since the last call.
    pub(super) fn events(&mut self) -> Vec<Event> {
        self.qmp.events()
    }

    /// How QEMU ended, if it did.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// What QEMU itself complained about last.
    pub(super) fn complaint(&self) -> String {
        qemu::complaint(&self.folder.join(LOG))
    }

    /// As a cloud asks a server to stop.
    pub(super) fn press_power_button(&mut self) -> Result<()> {
        self.qmp.execute("system_powerdown", json!({})).map(drop)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails only for a QEMU that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn arguments(plan: &Plan<'_>) -> Result<Vec<String>> {
    let setup = &plan.setup;
    let mut all: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| all.extend(words.iter().map(ToString::to_string));
    add(&["-S", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    add(&["-sandbox", if plan.metadata.is_some() { SPAWNING_SANDBOX } else { SANDBOX }]);
    // Without graphics, so that the firmware and the boot loader speak on the serial port.
    let machine = format!("{},graphics=off{}", setup.chipset.name(), setup.firmware.machine_options());
    add(&["-machine", &machine, "-m", &plan.memory_mib.to_string(), "-uuid", plan.uuid]);
    add(plan.accelerator.arguments());
    add(&["-rtc", "base=utc", "-device", "virtio-rng-pci"]);
    add(&["-chardev", "stdio,id=control,signal=off", "-mon", "chardev=control,mode=control"]);
    for (index, name) in ["console", "report"].into_iter().enumerate() {
        let path = option(&plan.folder.join(format!("{name}.log")));
        add(&["-chardev", &format!("file,id={name},path={path}")]);
        add(&["-device", &format!("isa-serial,chardev={name},index={index}")]);
    }
    if matches!(setup.source, Source::Metadata | Source::ConfigDrive) {
        // By this, a guest sees that it is in OpenStack (as Nova's libvirt driver writes it).
        let nova = "type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova,family=Virtual Machine";
        add(&["-smbios", &format!("{nova},version=28.0.0,serial={0},uuid={0}", plan.uuid)]);
    }
    add_disks(plan, &mut add);
    add_networks(plan, &mut add)?;
    all.extend(setup.firmware.arguments(plan.folder)?);
    Ok(all)
}

/// The image's disk and what is there to read.
fn add_disks(plan: &Plan<'_>, add: &mut impl FnMut(&[&str])) {
    let setup = &plan.setup;
    let image = option(plan.image);
    let format = plan.format;
    // What a guest loses with its machine need not be flushed.
    let overlay = "snapshot=on,cache.no-flush=on,discard=unmap,detect-zeroes=unmap";
    add(&["-drive", &format!("file={image},format={format},if=none,id=disk,{overlay}")]);
    if setup.disk == DiskBus::Scsi || setup.cdrom == Some(Cdrom::Scsi) {
        add(&["-device", "virtio-scsi-pci,id=scsi"]);
    }
    // Only the disk can be booted from: a fault there is seen at once, instead of after a try over the network.
    add(&[
        "-device",
        match setup.disk {
            DiskBus::Virtio => "virtio-blk-pci,drive=disk,bootindex=0",
            DiskBus::Scsi => "scsi-hd,bus=scsi.0,drive=disk,bootindex=0",
        },
    ]);
    let Some(seed) = plan.seed else { return };
    add(&["-drive", &format!("file={},format=raw,if=none,id=seed,readonly=on", option(seed))]);
    add(&[
        "-device",
        match setup.cdrom {
            None => "virtio-blk-pci,drive=seed",
            // The machine's own controller: PIIX's on pc, AHCI on q35.
            Some(Cdrom::Ide | Cdrom::Sata) => "ide-cd,bus=ide.0,drive=seed",
            Some(Cdrom::Scsi) => "scsi-cd,bus=scsi.0,drive=seed",
        },
    ]);
}

/// The guest's networks.
fn add_networks(plan: &Plan<'_>, add: &mut impl FnMut(&[&str])) -> Result<()> {
    let is_openstack = plan.setup.is_openstack();
    if plan.setup.nics == 0 {
        return Ok(());
    }
    let (network, address) =
        if is_openstack { (neutron::NETWORK, neutron::ADDRESS) } else { (NETWORK, ADDRESS) };
    let forward = format!("hostfwd=tcp:127.0.0.1:0-{address}:22");
    let mut net = format!("user,id=net,restrict=on,net={network},dhcpstart={address},{forward}");
    if let Some(folder) = plan.metadata {
        let own = reexec::program()?;
        let words = [own.as_path(), Path::new(reexec::METADATA), folder].map(quoted).join(" ");
        net.push_str(&format!(",guestfwd=tcp:{}-cmd:{}", neutron::METADATA, words.replace(',', ",,")));
    }
    add(&["-netdev", &net]);
    let [first, second] = macs(plan.uuid);
    add(&["-device", &format!("virtio-net-pci,netdev=net,romfile=,mac={first}")]);
    // What the guest asks for is also seen from outside.
    let capture = option(&plan.folder.join(CAPTURE));
    add(&["-object", &format!("filter-dump,id=capture,netdev=net,maxlen=600,file={capture}")]);
    if plan.setup.nics > 1 {
        // A network where nobody answers.
        add(&["-netdev", "hubport,id=lonely,hubid=1"]);
        add(&["-device", &format!("virtio-net-pci,netdev=lonely,romfile=,mac={second}")]);
    }
    Ok(())
}

/// A word for QEMU, which splits the command of a `guestfwd` as a shell does (g_shell_parse_argv).
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// Locally administered addresses of QEMU's range for both interfaces, from the first digits of the machine's identity.
pub(super) fn macs(uuid: &str) -> [String; 2] {
    let digits: String = uuid.chars().filter(char::is_ascii_hexdigit).take(6).collect();
    ["00", "01"].map(|index| format!("52:54:{index}:{}:{}:{}", &digits[..2], &digits[2..4], &digits[4..]))
}

/// Makes the overlay larger than the image; the new size.
fn grow(qmp: &mut Qmp, by: u64) -> Result<u64> {
    let answer = qmp.execute("query-block", json!({}))?;
    let disk = answer.as_array().and_then(|all| all.iter().find(|one| one["device"] == "disk"));
    let size = disk.and_then(|disk| disk.pointer("/inserted/image/virtual-size")).and_then(Value::as_u64);
    let size = size.context("QEMU does not say how large the disk is")?;
    let size = size.checked_add(by).ok_or_else(|| err!("a disk of {size} bytes cannot grow by {by}"))?;
    let size = size.next_multiple_of(512);
    qmp.execute("block_resize", json!({ "device": "disk", "size": size }))?;
    Ok(size)
}

/// The port that QEMU chose.
fn ssh_port(qmp: &mut Qmp) -> Result<u16> {
    let answer = qmp.execute("human-monitor-command", json!({ "command-line": "info usernet" }))?;
    let text = answer.as_str().unwrap_or_default();
    forwarded_port(text)
        .ok_or_else(|| err!("QEMU names no forwarded port in {text:?}"))
        .hint(|| "this needs QEMU 4.0 or later")
}

/// `TCP[HOST_FORWARD]   9       127.0.0.1 43735    172.29.83.57    22     0     0`
fn forwarded_port(usernet: &str) -> Option<u16> {
    let line = usernet.lines().find(|line| line.contains("HOST_FORWARD"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_and_the_address_are_found() {
        let table = "Hub -1 (net):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
                     TCP[HOST_FORWARD]   9       127.0.0.1 43735    172.29.83.57    22     0     0\r\n";
        assert_eq!(forwarded_port(table), Some(43735));
        assert_eq!(forwarded_port("VLAN 0"), None);
        let [first, second] = macs("0a1b2c3d-4e5f-4000-8000-000000000000");
        assert_eq!((first.as_str(), second.as_str()), ("52:54:00:0a:1b:2c", "52:54:01:0a:1b:2c"));
        assert_eq!(quoted(Path::new("/it's a/path")), "'/it'\\''s a/path'");
    }
}
