//! Rules of booting: firmware finds a boot loader, it finds the kernel, and that finds the root filesystem and speaks.

use image_core::block::BlockRead;
use image_core::partition::kind;

use super::super::disk::ESP;
use super::initrd::{Initrd, Modules};
use super::{Finding, Rule, Subject};
use crate::golden::recipe::Firmware;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "root-uuid",
        requirement: "each kernel is told of this image's own root filesystem",
        check: own_root,
    },
    Rule {
        name: "kernel-files",
        requirement: "each kernel and initrd of the menu exists",
        check: kernel_files,
    },
    Rule {
        name: "console",
        requirement: "each kernel speaks on the consoles of the recipe",
        check: consoles,
    },
    Rule { name: "initrd-virtio", requirement: "each initrd finds a virtio disk", check: virtio },
    Rule { name: "fstab", requirement: "each filesystem of /etc/fstab is in this image", check: fstab },
    Rule { name: "boot-bios", requirement: "a BIOS finds GRUB", check: bios },
    Rule { name: "boot-uefi", requirement: "UEFI finds the shim, GRUB and the menu", check: uefi },
];

const MENU: &str = "/boot/grub/grub.cfg";
const UPDATE: &str = "a step that runs update-grub or changes /boot/grub must not: the build does it";
const INITRD_LIMIT: u64 = 512 << 20;
/// Disks of virtual machines: blk, or SCSI with its disks.
const DISK_MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod"];

/// The menu's lines that begin with `command`, each as its words.
fn menu_lines(subject: &Subject<'_>, command: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let menu = subject.view.text(MENU)?.unwrap_or_default();
    let words = menu.lines().map(|line| line.split_whitespace().map(String::from).collect::<Vec<_>>());
    Ok(words.filter(|words| words.first().is_some_and(|first| first == command)).collect())
}

fn own_root(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let own = format!("root=UUID={}", subject.view.root_uuid().unwrap_or("?"));
    let kernels = menu_lines(subject, "linux")?;
    if kernels.is_empty() {
        return Ok(vec![Finding::new(MENU, "it starts no kernel", UPDATE)]);
    }
    let mut findings = Vec::new();
    for words in kernels {
        let root = words.iter().find(|word| word.starts_with("root="));
        if root != Some(&own) {
            let found = root.map_or("no root= at all", String::as_str);
            findings.push(Finding::new(MENU, format!("{found} in place of {own}"), UPDATE));
        }
    }
    Ok(findings)
}

fn kernel_files(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for command in ["linux", "initrd"] {
        for words in menu_lines(subject, command)? {
            let path = words.get(1).map_or("", String::as_str);
            if subject.view.root().metadata(path.as_ref())?.is_none() {
                findings.push(Finding::new(path, "it does not exist, but is in the menu", UPDATE));
            }
        }
    }
    Ok(findings)
}

fn consoles(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let wanted: Vec<String> =
        subject.recipe.boot.console.iter().map(|console| format!("console={console}")).collect();
    let mut findings = Vec::new();
    for words in menu_lines(subject, "linux")? {
        let has: Vec<&String> = words.iter().filter(|word| word.starts_with("console=")).collect();
        if !has.iter().copied().eq(&wanted) {
            let found = format!("{has:?} in place of {wanted:?}");
            findings.push(Finding::new(MENU, found, "consoles are set by `boot.console` alone"));
        }
    }
    Ok(findings)
}

fn virtio(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut paths: Vec<String> =
        menu_lines(subject, "initrd")?.into_iter().filter_map(|words| words.into_iter().nth(1)).collect();
    paths.sort();
    paths.dedup();
    for path in paths {
        let Some(bytes) = subject.view.root().read(path.as_ref(), INITRD_LIMIT)? else { continue };
        let version = path.rsplit_once("initrd.img-").map_or("", |(_, version)| version);
        let builtin = subject.view.text(&format!("/usr/lib/modules/{version}/modules.builtin"))?;
        let initrd = match Initrd::read(&bytes) {
            Ok(initrd) => initrd,
            Err(error) => {
                findings.push(Finding::new(path, format!("{error:#}"), "make it with update-initramfs"));
                continue;
            }
        };
        let modules = Modules::new(&initrd, &builtin.unwrap_or_default());
        let missing: Vec<&str> = DISK_MODULES.into_iter().filter(|name| !modules.has(name)).collect();
        if !missing.is_empty() {
            let remedy = "write MODULES=most into /etc/initramfs-tools/initramfs.conf";
            findings.push(Finding::new(path, format!("it lacks {}", missing.join(", ")), remedy));
        }
    }
    Ok(findings)
}

fn fstab(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let text = subject.view.text("/etc/fstab")?.unwrap_or_default();
    let mut findings = Vec::new();
    let mut root_found = false;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let mut words = line.split_whitespace();
        let (device, place) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        root_found |= place == "/";
        let exists = if let Some(uuid) = device.strip_prefix("UUID=") {
            let same = |own: &str| own.eq_ignore_ascii_case(uuid);
            subject.view.signatures.iter().any(|(_, each)| each.uuid.as_deref().is_some_and(same))
        } else if let Some(label) = device.strip_prefix("LABEL=") {
            subject.view.signatures.iter().any(|(_, each)| each.label == label)
        } else if let Some(guid) = device.strip_prefix("PARTUUID=") {
            let guids = subject.view.table.partitions.iter().filter_map(|partition| partition.guid);
            guids.map(|own| own.to_string()).any(|own| own.eq_ignore_ascii_case(guid))
        } else {
            !device.starts_with("/dev/")
        };
        if !exists {
            findings.push(Finding::new(
                "/etc/fstab",
                line,
                "name filesystems by UUIDs or labels of this image",
            ));
        }
    }
    if !root_found {
        findings.push(Finding::new("/etc/fstab", "it has no root filesystem", "leave its line for / in it"));
    }
    Ok(findings)
}

fn bios(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    if !subject.recipe.boot.firmware.contains(&Firmware::Bios) {
        return Ok(Vec::new());
    }
    const REMEDY: &str = "build the image again; if it stays, this is a defect of goldimg";
    let view = subject.view;
    let Some(partition) = view.table.partitions.iter().find(|partition| partition.is(kind::BIOS_BOOT)) else {
        return Ok(vec![Finding::new("partition table", "there is no BIOS boot partition", REMEDY)]);
    };
    let mut sector = [0; 512];
    view.disk.read_at(&mut sector, 0)?;
    let (_, rest) = sector.split_at(0x5c);
    let core_lba = rest.first_chunk().copied().map_or(0, u64::from_le_bytes);
    if core_lba.checked_mul(512) != Some(partition.range.offset()) {
        let found =
            format!("its boot code goes on at sector {core_lba:#x}, not in partition {}", partition.number);
        return Ok(vec![Finding::new("sector 0", found, REMEDY)]);
    }
    let mut core = [0; 512];
    view.disk.read_at(&mut core, partition.range.offset())?;
    let list: &[u8] = &core[0x1f4..];
    if list.first_chunk().copied().map(u64::from_le_bytes) != Some(core_lba.saturating_add(1)) {
        let place = format!("partition {}", partition.number);
        return Ok(vec![Finding::new(place, "it does not begin with GRUB's core image", REMEDY)]);
    }
    Ok(Vec::new())
}

fn uefi(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    if !subject.recipe.boot.firmware.contains(&Firmware::Uefi) {
        return Ok(Vec::new());
    }
    const REMEDY: &str =
        "the packages shim-signed and grub-efi-amd64-signed have it: no step may remove them";
    let Some(esp) = subject.view.esp() else {
        return Ok(vec![Finding::new(
            format!("partition {ESP}"),
            "there is no EFI system partition",
            REMEDY,
        )]);
    };
    let mut findings = Vec::new();
    for path in ["/EFI/BOOT/BOOTX64.EFI", "/EFI/BOOT/grubx64.efi"] {
        let content = esp.read(path.as_ref(), super::view::LIMIT)?;
        if !content.is_some_and(|bytes| bytes.starts_with(b"MZ")) {
            findings.push(Finding::new(format!("ESP {path}"), "it is missing, or no program", REMEDY));
        }
    }
    let mut menus = 0;
    for vendor in esp.list("/EFI".as_ref())?.unwrap_or_default() {
        let path = format!("/EFI/{}/grub.cfg", vendor.name.to_string_lossy());
        let Some(text) = esp.read(path.as_ref(), super::view::LIMIT)? else { continue };
        menus += 1;
        let own = subject.view.root_uuid().unwrap_or("?");
        if !String::from_utf8_lossy(&text).split_whitespace().any(|word| word == own) {
            findings.push(Finding::new(format!("ESP {path}"), format!("it does not look for {own}"), REMEDY));
        }
    }
    if menus == 0 {
        findings.push(Finding::new("ESP /EFI", "no folder has a grub.cfg", REMEDY));
    }
    Ok(findings)
}
