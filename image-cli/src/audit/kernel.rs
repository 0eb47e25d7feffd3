//! Rules of the kernel: drivers of what a cloud gives to its servers.
//!
//! ```text
//! /usr/lib/modules/VERSION/modules.dep       kernel/fs/isofs/isofs.ko: …      (depmod(8))
//!                          modules.builtin   kernel/drivers/scsi/virtio_scsi.ko
//! ```

use super::menu::entries;
use super::places::{MENUS, MODULES};
use super::rule::{Finding, Judgement, Rule};
use super::subject::Subject;
use super::view::View;
use crate::kernel::Modules;

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "kernel-modules",
        "each kernel of the menu has its modules",
        "a kernel without them has no network, and reads no config drive",
        own_modules,
    )
    .reads(&[MENUS, &["the partition table", "/usr/lib/modules/*/modules.*", "/lib/modules/*/modules.*"]]),
    Rule::must(
        "config-drive",
        "a config drive can be read, by SCSI at least",
        "Nova, config drives",
        config_drive,
    )
    .reads(&[MODULES])
    .openstack(),
    Rule::should(
        "config-drive-bus",
        "a config drive can be read wherever it is attached",
        "Nova attaches it by IDE (pc) or SATA (q35)",
        config_drive_bus,
    )
    .reads(&[MODULES])
    .openstack(),
    Rule::must(
        "network-card",
        "the kernel drives a virtio network card",
        "OpenStack image guide, virtio drivers",
        network_card,
    )
    .reads(&[MODULES])
    .openstack(),
    Rule::must("entropy", "the kernel takes random numbers from the host", "Nova adds virtio-rng", entropy)
        .reads(&[MODULES])
        .openstack(),
    Rule::should(
        "watchdog",
        "the kernel has the driver of the watchdog",
        "hw_watchdog_action: the device is an i6300esb",
        watchdog,
    )
    .reads(&[MODULES])
    .openstack(),
];

/// The kernels of an image, and the modules of each.
pub(super) struct Kernels {
    kernels: Vec<(String, Modules)>,
}

impl Kernels {
    /// Those of `view`.
    ///
    /// # Errors
    /// If a list of modules cannot be read.
    pub(super) fn of(view: &View) -> crate::Result<Self> {
        let mut kernels = Vec::new();
        let mut folders = view.matches("/usr/lib/modules/*")?;
        if folders.is_empty() {
            folders = view.matches("/lib/modules/*")?;
        }
        for folder in folders {
            let Some(dependencies) = view.text(folder.join("modules.dep"))? else { continue };
            let builtin = view.text(folder.join("modules.builtin"))?.unwrap_or_default();
            let modules = Modules::listed(&dependencies, &builtin);
            kernels.push((folder.display().to_string(), modules));
        }
        Ok(Self { kernels })
    }

    /// A finding for each kernel that lacks one of `names`.
    pub(super) fn lacking(&self, names: &[&str], fix: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (folder, modules) in &self.kernels {
            let missing: Vec<&str> = names.iter().copied().filter(|name| !modules.has(name)).collect();
            if !missing.is_empty() {
                findings.push(Finding::new(folder, format!("it lacks {}", missing.join(", ")), fix));
            }
        }
        findings
    }

    /// Judges by what each kernel lacks.
    fn judge(&self, names: &[&str], fix: &str) -> Judgement {
        match self.kernels.is_empty() {
            true => Judgement::Open("there is no list of a kernel's modules".into()),
            false => Judgement::of(self.lacking(names, fix), names.join(", ")),
        }
    }
}

fn own_modules(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let fix =
        "install its modules (Debian: the package linux-image-VERSION), or remove it and make the menu anew";
    let (mut findings, mut found) = (Vec::new(), Vec::new());
    for entry in entries(subject.view)? {
        let Some(version) = version(&entry.kernel) else { continue };
        let lists = ["/usr/lib", "/lib"].map(|lib| format!("{lib}/modules/{version}/modules.dep"));
        match subject.view.first_of(&lists.each_ref().map(String::as_str))? {
            Some(_) => found.push(version.to_owned()),
            None => findings.push(Finding::new(&entry.kernel, format!("{} is missing", lists[0]), fix)),
        }
    }
    findings.dedup();
    found.dedup();
    Ok(Judgement::of(findings, found.join(", ")))
}

/// The version in the name of a kernel's file. Some names have none; a rescue kernel brings its modules in its initrd.
fn version(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    let version = ["vmlinuz-", "vmlinux-"].iter().find_map(|before| name.strip_prefix(before))?;
    let is_version = version.starts_with(|first: char| first.is_ascii_digit()) && !version.contains("rescue");
    is_version.then_some(version)
}

const OTHER_KERNEL: &str = "install the distribution's general kernel in place of one for few machines";

fn config_drive(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let names = ["isofs", "sr_mod", "virtio_scsi"];
    Ok(Kernels::of(subject.view)?.judge(&names, OTHER_KERNEL))
}

fn config_drive_bus(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let fix = "upload with hw_cdrom_bus=scsi and hw_scsi_model=virtio-scsi, or install the general kernel";
    Ok(Kernels::of(subject.view)?.judge(&["ata_piix", "ahci"], fix))
}

fn network_card(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let fix = "install a kernel with virtio_net, or upload with hw_vif_model=e1000 if it has that";
    Ok(Kernels::of(subject.view)?.judge(&["virtio_net"], fix))
}

fn entropy(subject: &Subject<'_>) -> crate::Result<Judgement> {
    Ok(Kernels::of(subject.view)?.judge(&["virtio_rng"], OTHER_KERNEL))
}

fn watchdog(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let fix = "do not set hw_watchdog_action, or install the general kernel";
    Ok(Kernels::of(subject.view)?.judge(&["i6300esb"], fix))
}
