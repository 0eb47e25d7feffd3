//! What a machine of one boot is made of: firmware, chipset, the disk's bus, and where the guest's data come from.
//!
//! ```text
//!                 NoCloud        a virtio disk, as people do it who have no cloud
//! as OpenStack ┬─ metadata       http://169.254.169.254
//!              ├─ config drive   a CD-ROM: IDE on pc, SATA on q35, or SCSI on either
//!              │                once more without a network card (Nova: `--nic none`)
//!              └─ nothing        an image that finds no data must boot all the same
//! ```
//! How Nova attaches things: its `libvirt/blockinfo.py`, and the image properties `hw_disk_bus` and `hw_cdrom_bus`.

use std::fmt;

use serde::Serialize;

use super::firmware::Firmware;

/// What a machine's other parts are attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Chipset {
    /// An i440FX: PCI, IDE.
    Pc,
    /// A Q35: PCI Express, AHCI.
    Q35,
}

/// How the disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DiskBus {
    /// A virtio disk.
    Virtio,
    /// A disk on a virtio SCSI controller.
    Scsi,
}

/// How a CD-ROM is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cdrom {
    /// What a cloud does on a machine of type pc
    Ide,
    /// What a cloud does on a machine of type q35
    Sata,
    /// What a cloud does with hw_cdrom_bus=scsi and hw_scsi_model=virtio-scsi
    Scsi,
}

/// Where the guest's data come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Source {
    /// A seed on a virtio disk.
    NoCloud,
    /// The metadata service at 169.254.169.254
    Metadata,
    /// A config drive on a CD-ROM
    ConfigDrive,
    /// None at all
    Nothing,
}

/// A machine of one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Setup {
    /// What starts the boot loader.
    pub firmware: Firmware,
    /// The machine's type.
    pub chipset: Chipset,
    /// How the disk is attached.
    pub disk: DiskBus,
    /// Where the guest's data come from.
    pub source: Source,
    /// The config drive's bus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cdrom: Option<Cdrom>,
    /// How many network cards it has: 1, in OpenStack 2, or 0.
    pub nics: u8,
}

/// What an image has drivers for, early enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachable {
    /// Buses that a disk can be on.
    pub disks: Vec<DiskBus>,
    /// Buses that a CD-ROM can be on.
    pub cdroms: Vec<Cdrom>,
}

impl Attachable {
    /// Everything: for an image of which nothing is known, and for those who want to see it fail.
    pub fn all() -> Self {
        Self {
            disks: vec![DiskBus::Virtio, DiskBus::Scsi],
            cdroms: vec![Cdrom::Ide, Cdrom::Sata, Cdrom::Scsi],
        }
    }

    fn takes(&self, setup: &Setup) -> bool {
        self.disks.contains(&setup.disk) && setup.cdrom.is_none_or(|cdrom| self.cdroms.contains(&cdrom))
    }
}

impl Setup {
    /// A boot outside of any cloud.
    pub fn no_cloud(firmware: Firmware) -> Self {
        let (chipset, disk) = (Chipset::Q35, DiskBus::Virtio);
        Self { firmware, chipset, disk, source: Source::NoCloud, cdrom: None, nics: 1 }
    }

    fn of(chipset: Chipset, disk: DiskBus, source: Source) -> Self {
        Self { source, disk, nics: 2, ..Self::no_cloud(Firmware::Bios) }.on(chipset)
    }

    fn config_drive(cdrom: Cdrom, disk: DiskBus) -> Self {
        // Where the bus is the same on both, the one where nothing else would work.
        let chipset = if cdrom == Cdrom::Ide { Chipset::Pc } else { Chipset::Q35 };
        Self { cdrom: Some(cdrom), ..Self::of(chipset, disk, Source::ConfigDrive) }
    }

    fn on(self, chipset: Chipset) -> Self {
        Self { chipset, ..self }
    }

    fn without_nics(self) -> Self {
        Self { nics: 0, ..self }
    }

    /// As OpenStack would boot it: a boot for each source of data, on both kinds of disks, and one without a network.
    pub fn openstack(attachable: &Attachable) -> Vec<Self> {
        let cdrom =
            [Cdrom::Scsi, Cdrom::Sata, Cdrom::Ide].into_iter().find(|c| attachable.cdroms.contains(c));
        let disk = |wanted| match attachable.disks.as_slice() {
            [only] => *only,
            _ => wanted,
        };
        let (virtio, scsi) = (disk(DiskBus::Virtio), disk(DiskBus::Scsi));
        let mut setups = vec![Self::of(Chipset::Q35, virtio, Source::Metadata)];
        let config_drives = cdrom
            .map(|cdrom| [Self::config_drive(cdrom, scsi), Self::config_drive(cdrom, virtio).without_nics()]);
        setups.extend(config_drives.into_iter().flatten());
        setups.push(Self::of(Chipset::Q35, virtio, Source::Nothing));
        setups
    }

    /// As OpenStack could boot it: every way that differs for a guest. Those that the image has no drivers for are
    /// left out, and come second.
    pub fn matrix(attachable: &Attachable) -> (Vec<Self>, Vec<Self>) {
        let mut all = vec![
            Self::of(Chipset::Q35, DiskBus::Virtio, Source::Metadata),
            Self::of(Chipset::Pc, DiskBus::Scsi, Source::Metadata),
        ];
        for cdrom in [Cdrom::Ide, Cdrom::Sata, Cdrom::Scsi] {
            all.extend([DiskBus::Virtio, DiskBus::Scsi].map(|disk| Self::config_drive(cdrom, disk)));
        }
        // A network card more or less is the same on every bus.
        all.extend(Self::openstack(attachable).into_iter().filter(|setup| setup.nics == 0));
        all.push(Self::of(Chipset::Q35, DiskBus::Virtio, Source::Nothing));
        all.into_iter().partition(|setup| attachable.takes(setup))
    }

    /// Whether there are such machines: Secure Boot's firmware runs on q35 alone.
    pub fn exists(&self) -> bool {
        !(self.firmware == Firmware::SecureBoot && self.chipset == Chipset::Pc)
    }

    /// Whether this machine is one of a cloud.
    pub(super) fn is_openstack(&self) -> bool {
        self.source != Source::NoCloud
    }

    /// Its name in file names and verdicts.
    pub(crate) fn name(&self) -> String {
        let firmware = self.firmware.name();
        if !self.is_openstack() {
            return firmware.to_owned();
        }
        let source = match (self.source, self.cdrom) {
            (Source::Metadata, _) => "metadata",
            (Source::Nothing, _) => "nothing",
            (_, Some(Cdrom::Ide)) => "config-drive-ide",
            (_, Some(Cdrom::Sata)) => "config-drive-sata",
            (_, Some(Cdrom::Scsi)) => "config-drive-scsi",
            (_, None) => "config-drive",
        };
        let disk = if self.disk == DiskBus::Virtio { "virtio" } else { "scsi" };
        let network = if self.nics == 0 { "-no-nic" } else { "" };
        format!("{source}-{}-{disk}{network}-{firmware}", self.chipset.name())
    }
}

impl Chipset {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pc => "pc",
            Self::Q35 => "q35",
        }
    }
}

/// For people.
impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let firmware = self.firmware.name();
        let source = match (self.source, self.cdrom) {
            (Source::NoCloud, _) => return f.write_str(firmware),
            (Source::Metadata, _) => "metadata service",
            (Source::Nothing, _) => "no data source",
            (Source::ConfigDrive, Some(Cdrom::Ide)) => "config drive on IDE",
            (Source::ConfigDrive, Some(Cdrom::Sata)) => "config drive on SATA",
            (Source::ConfigDrive, _) => "config drive on SCSI",
        };
        let disk = if self.disk == DiskBus::Virtio { "virtio" } else { "SCSI" };
        let network = if self.nics == 0 { ", no network card" } else { "" };
        write!(f, "{source}, {disk} disk{network}, {}, {firmware}", self.chipset.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(setups: &[Setup]) -> Vec<String> {
        setups.iter().map(Setup::name).collect()
    }

    #[test]
    fn an_image_for_everything_is_tried_with_everything() {
        let (tried, left_out) = Setup::matrix(&Attachable::all());
        assert_eq!((tried.len(), left_out.len()), (10, 0));
        let unique: std::collections::BTreeSet<_> = names(&tried).into_iter().collect();
        assert_eq!(unique.len(), 10);
    }

    #[test]
    fn what_an_image_has_no_drivers_for_is_left_out() {
        let cloud = Attachable { cdroms: vec![Cdrom::Ide, Cdrom::Scsi], ..Attachable::all() };
        let (tried, left_out) = Setup::matrix(&cloud);
        assert_eq!(tried.len(), 8);
        assert_eq!(
            names(&left_out),
            ["config-drive-sata-q35-virtio-bios", "config-drive-sata-q35-scsi-bios"]
        );
        assert_eq!(
            names(&Setup::openstack(&cloud)),
            [
                "metadata-q35-virtio-bios",
                "config-drive-scsi-q35-scsi-bios",
                "config-drive-scsi-q35-virtio-no-nic-bios",
                "nothing-q35-virtio-bios"
            ]
        );
        let poor = Attachable { disks: vec![DiskBus::Virtio], cdroms: vec![Cdrom::Ide] };
        assert_eq!(names(&Setup::openstack(&poor))[1], "config-drive-ide-pc-virtio-bios");
        let none = Attachable { disks: vec![DiskBus::Scsi], cdroms: vec![] };
        assert_eq!(names(&Setup::openstack(&none)), ["metadata-q35-scsi-bios", "nothing-q35-scsi-bios"]);
        assert_eq!(Setup::matrix(&none).0.len(), 1);
    }

    #[test]
    fn a_server_without_a_network_card_is_booted_once() {
        for setups in [Setup::openstack(&Attachable::all()), Setup::matrix(&Attachable::all()).0] {
            let without: Vec<_> = setups.iter().filter(|setup| setup.nics == 0).collect();
            assert_eq!(without.len(), 1);
            let words = "config drive on SCSI, virtio disk, no network card, q35, bios";
            assert_eq!(without[0].to_string(), words);
        }
    }

    #[test]
    fn a_boot_outside_of_a_cloud_is_called_by_its_firmware() {
        assert_eq!(Setup::no_cloud(Firmware::Uefi).name(), "uefi");
        assert_eq!(Setup::no_cloud(Firmware::Uefi).to_string(), "uefi");
    }
}
