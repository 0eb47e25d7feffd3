//! What an image's kernels can drive, and the properties that a cloud needs to attach nothing else.
//!
//! ```text
//! each /boot/initrd.img-V, initramfs-V.img ─┐
//!            /usr/lib/modules/V/modules.builtin ─┴─► there before the root filesystem is: disks, and the config drive,
//!                                                    which cloud-init looks for at the very beginning
//!            /usr/lib/modules/V/modules.dep ───────► there soon after: networks, filesystems
//! ```
//! Nova attaches a config drive to IDE on machines of type pc and to SATA on q35, unless `hw_cdrom_bus` says otherwise
//! (its `libvirt/blockinfo.py`); `hw_scsi_model` decides which controller SCSI means.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use image_core::format::{Format, Image, OpenOptions};

use super::View;
use crate::error::Context;
use crate::kernel::Modules;

const BOOT: &str = "/boot";

/// The modules of one kernel.
#[derive(Debug)]
struct Kernel {
    early: Modules,
    later: Modules,
}

/// The modules of all kernels of an image.
#[derive(Debug)]
#[non_exhaustive]
pub struct Drivers {
    kernels: Vec<Kernel>,
}

/// A way to attach something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attachment {
    /// A virtio disk.
    VirtioDisk,
    /// A disk on a virtio SCSI controller.
    ScsiDisk,
    /// A CD-ROM on an IDE controller.
    IdeCdrom,
    /// A CD-ROM on an AHCI controller.
    SataCdrom,
    /// A CD-ROM on a virtio SCSI controller.
    ScsiCdrom,
    /// A virtio network card.
    VirtioNetwork,
    /// Intel's 82540EM, which clouds give to images without a virtio driver.
    E1000Network,
}

impl Attachment {
    /// The modules that it takes: early, and at any time.
    fn modules(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::VirtioDisk => (&["virtio_pci", "virtio_blk"], &[]),
            Self::ScsiDisk => (&["virtio_pci", "virtio_scsi", "sd_mod"], &[]),
            Self::IdeCdrom => (&["ata_piix", "sr_mod"], &["isofs"]),
            Self::SataCdrom => (&["ahci", "sr_mod"], &["isofs"]),
            Self::ScsiCdrom => (&["virtio_pci", "virtio_scsi", "sr_mod"], &["isofs"]),
            Self::VirtioNetwork => (&[], &["virtio_pci", "virtio_net"]),
            Self::E1000Network => (&[], &["e1000"]),
        }
    }
}

impl Drivers {
    /// Of the image in the file `path`; `None` where no kernel is found that can be looked into.
    ///
    /// # Errors
    /// If the image cannot be read.
    pub fn of_file(path: &Path, format: Option<Format>) -> crate::Result<Option<Self>> {
        let image = Image::open(path, OpenOptions { format, ..OpenOptions::default() })?;
        // An image without partitions or a filesystem that is known here is nothing to complain about.
        let Ok(view) = View::open(Arc::new(image)) else { return Ok(None) };
        Self::of(&view).with_context(|| format!("looking for the kernels of {}", path.display()))
    }

    /// Of an opened image.
    pub(crate) fn of(view: &View) -> crate::Result<Option<Self>> {
        let mut kernels = Vec::new();
        for entry in view.root().list(BOOT.as_ref())?.unwrap_or_default() {
            let name = entry.name.to_string_lossy().into_owned();
            let Some(version) = version(&name) else { continue };
            let initrd = match view.initrd(&Path::new(BOOT).join(&name))? {
                None => continue,
                Some(Ok(initrd)) => initrd,
                Some(Err(_)) => return Ok(None),
            };
            let list = |name: &str| -> crate::Result<String> {
                Ok(view.text(format!("/usr/lib/modules/{version}/{name}"))?.unwrap_or_default())
            };
            let (builtin, all) = (list("modules.builtin")?, list("modules.dep")?);
            kernels.push(Kernel { later: Modules::listed(&all, &builtin), early: initrd.modules(&builtin) });
        }
        Ok(if kernels.is_empty() { None } else { Some(Self { kernels }) })
    }

    /// Whether every kernel can use it.
    pub fn can(&self, attachment: Attachment) -> bool {
        let (early, later) = attachment.modules();
        self.kernels.iter().all(|kernel| {
            let has_later = |name: &&str| kernel.later.has(name) || kernel.early.has(name);
            early.iter().all(|name| kernel.early.has(name)) && later.iter().all(has_later)
        })
    }

    /// The properties without which a cloud may attach what no driver is there for.
    pub fn properties(&self) -> BTreeMap<&'static str, &'static str> {
        use Attachment::{E1000Network, IdeCdrom, SataCdrom, ScsiCdrom, ScsiDisk, VirtioDisk, VirtioNetwork};

        let mut properties = BTreeMap::new();
        match (self.can(VirtioDisk), self.can(ScsiDisk)) {
            (true, _) | (false, false) => {}
            (false, true) => properties.extend([("hw_disk_bus", "scsi"), ("hw_scsi_model", "virtio-scsi")]),
        }
        match (self.can(IdeCdrom), self.can(SataCdrom), self.can(ScsiCdrom)) {
            // Whatever machine the cloud takes, the image can read its config drive.
            (true, true, _) | (false, false, false) => {}
            (_, _, true) => properties.extend([("hw_cdrom_bus", "scsi"), ("hw_scsi_model", "virtio-scsi")]),
            (true, ..) => properties.extend([("hw_cdrom_bus", "ide"), ("hw_machine_type", "pc")]),
            (_, true, _) => properties.extend([("hw_cdrom_bus", "sata"), ("hw_machine_type", "q35")]),
        }
        if !self.can(VirtioNetwork) && self.can(E1000Network) {
            properties.insert("hw_vif_model", "e1000");
        }
        properties
    }
}

/// The kernel's version in the name of its initrd, as Debian's and as Fedora's tools call it.
fn version(name: &str) -> Option<&str> {
    let fedora = || name.strip_prefix("initramfs-")?.strip_suffix(".img");
    let version = name.strip_prefix("initrd.img-").or_else(fedora)?;
    // The rescue system has drivers for everything, and is not what boots.
    (!version.contains("rescue") && !version.ends_with("kdump")).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::super::initrd::tests::{archive, read};
    use super::*;

    /// A kernel with these modules early, and those later.
    fn kernel(early: &[&str], later: &[&str]) -> Kernel {
        let paths =
            |names: &[&str]| names.iter().map(|name| format!("kernel/{name}.ko\n")).collect::<String>();
        let initrd = read(&archive(&["init"])).unwrap();
        Kernel { early: initrd.modules(&paths(early)), later: Modules::listed("", &paths(later)) }
    }

    fn properties(kernels: Vec<Kernel>) -> Vec<(&'static str, &'static str)> {
        Drivers { kernels }.properties().into_iter().collect()
    }

    const CLOUD: [&str; 6] = ["virtio_pci", "virtio_blk", "virtio-scsi", "sd_mod", "sr_mod", "ata_piix"];
    const LATER: [&str; 3] = ["isofs", "virtio_net", "virtio_pci"];
    const SCSI: [(&str, &str); 2] = [("hw_cdrom_bus", "scsi"), ("hw_scsi_model", "virtio-scsi")];

    #[test]
    fn a_kernel_without_ahci_wants_its_config_drive_on_scsi() {
        assert_eq!(properties(vec![kernel(&CLOUD, &LATER)]), SCSI);
        let all = [&CLOUD[..], &["ahci"]].concat();
        assert_eq!(properties(vec![kernel(&all, &LATER)]), []);
        // What only one of two kernels can do is of no use.
        assert_eq!(properties(vec![kernel(&all, &LATER), kernel(&CLOUD, &LATER)]), SCSI);
    }

    #[test]
    fn what_comes_too_late_does_not_count() {
        // A disk's driver that lies on the disk.
        let late = [&LATER[..], &["virtio_blk"]].concat();
        let early = ["virtio_pci", "virtio_scsi", "sd_mod", "sr_mod", "ahci", "ata_piix"];
        assert_eq!(
            properties(vec![kernel(&early, &late)]),
            [("hw_disk_bus", "scsi"), ("hw_scsi_model", "virtio-scsi")]
        );
        let drivers = Drivers { kernels: vec![kernel(&CLOUD, &["virtio_net", "virtio_pci"])] };
        assert!(!drivers.can(Attachment::ScsiCdrom) && drivers.can(Attachment::ScsiDisk));
        assert_eq!(drivers.properties().len(), 0);
    }

    #[test]
    fn old_hardware_is_asked_for_where_only_that_is_driven() {
        let old = kernel(&["ata_piix", "sr_mod", "sd_mod"], &["isofs", "e1000"]);
        let wanted = [("hw_cdrom_bus", "ide"), ("hw_machine_type", "pc"), ("hw_vif_model", "e1000")];
        assert_eq!(properties(vec![old]), wanted);
    }

    #[test]
    fn initrds_are_known_by_their_names() {
        assert_eq!(version("initrd.img-6.1.0-40-cloud-amd64"), Some("6.1.0-40-cloud-amd64"));
        assert_eq!(version("initramfs-5.14.0-1.el9.x86_64.img"), Some("5.14.0-1.el9.x86_64"));
        assert_eq!(version("initramfs-0-rescue-0123.img"), None);
        assert_eq!(version("initramfs-5.14.0-1.el9.x86_64kdump.img"), None);
        assert_eq!(version("vmlinuz-6.1"), None);
    }
}
