//! Rules of booting: firmware finds a boot loader, it finds the kernel, and that finds the root filesystem and speaks.

use std::collections::BTreeSet;

use super::discovered::finds_root;
use super::firmware::{bios, uefi};
use super::grub::reads_its_filesystem;
use super::menu::{Entry, Loader, entries, file_of, initrds};
use super::places::MENUS;
use super::rule::{Finding, Judgement, Rule};
use super::subject::Subject;
use crate::system::volume_named;

pub(super) const RULES: &[Rule] =
    &[
        Rule::must("boot-bios", "a BIOS finds a boot loader", "OpenStack image guide, Ubuntu example", bios)
            .reads(&[&["the partition table", "the disk", "/boot/", "/efi/"]]),
        Rule::must("boot-uefi", "UEFI finds a boot loader and its menu", "UEFI 2.10, 3.5.1.1", uefi)
            .reads(&[&["the partition table", "/boot/", "/efi/"]]),
        Rule::must(
            "grub-filesystem",
            "GRUB reads the filesystem that its menu and its kernels are in",
            "tried with GRUB 2.06, 2.12 and 2.14; its drivers of filesystems",
            reads_its_filesystem,
        )
        .reads(&[MENUS, &["the partition table", "the disk", "/boot/"]]),
        Rule::must(
            "root-uuid",
            "each kernel is told of this image's own root filesystem",
            "cloning: names of devices differ from cloud to cloud",
            own_root,
        )
        .reads(&[&["the partition table", "/boot/"], MENUS]),
        Rule::must("kernel-files", "each kernel and initrd of the menu exists", "booting", kernel_files)
            .reads(&[&["the partition table", "/boot/", "/efi/"]]),
        Rule::must(
            "console",
            "each kernel writes its log to a serial console",
            "OpenStack image guide, image writes boot log to console",
            consoles,
        )
        .reads(&[MENUS, &["the partition table"]]),
        Rule::should(
            "console-last",
            "the serial console is the last one, where messages of the boot go",
            "Linux kernel documentation, serial console",
            console_last,
        )
        .reads(&[MENUS, &["the partition table"]]),
        Rule::should(
            "console-kept",
            "the next kernel gets the serial console too",
            "OpenStack image guide, image writes boot log to console",
            console_kept,
        )
        .reads(&[
            &[
                "/etc/default/grub",
                "/etc/default/grub.d/*",
                "/etc/kernel/cmdline",
                "/boot/extlinux/",
                "/etc/update-extlinux.conf",
                "the partition table",
            ],
            MENUS,
        ]),
        Rule::should(
            "boot-messages",
            "the kernel's messages are not hidden",
            "OpenStack image guide, CentOS example: no rhgb quiet",
            messages,
        )
        .reads(&[MENUS, &["the partition table"]]),
        Rule::must(
            "initrd-virtio",
            "each initrd finds a virtio disk, as block device and by SCSI",
            "OpenStack image guide, virtio drivers",
            virtio,
        )
        .reads(&[&["the partition table", "/boot/", "/efi/", "/usr/lib/modules/*/modules.builtin"]]),
        Rule::must(
            "initrd-root",
            "no initrd looks by itself for a root filesystem of another machine",
            "dracut.cmdline(7); dracut-ng issue 2519: in a chroot it can take the builder's",
            initrd_root,
        )
        .reads(&[MENUS, &["the partition table", "/boot/"]]),
        Rule::must("fstab", "each filesystem of /etc/fstab is in this image", "fstab(5)", fstab)
            .reads(&[&["/etc/fstab", "the partition table", "/boot/"], MENUS]),
        Rule::should(
            "fstab-nofail",
            "a boot does not wait for the EFI system partition",
            "systemd.mount(5)",
            nofail,
        )
        .reads(&[&["/etc/fstab"]]),
    ];

const UPDATE: &str =
    "make the boot menu anew (update-grub, grub2-mkconfig) with the image's own root filesystem";

/// How a menu is made anew.
fn update(entry: &Entry) -> &'static str {
    match entry.loader {
        Loader::Grub | Loader::Extlinux => UPDATE,
        Loader::Specification => {
            "make the entry anew (kernel-install, grub2-mkconfig) with the image's own root filesystem"
        }
        Loader::Unified => "make it anew (ukify, dracut --uefi) with the image's own root filesystem",
    }
}

/// How the words of kernels are set.
fn words(loader: Loader) -> &'static str {
    match loader {
        Loader::Grub => "set GRUB_CMDLINE_LINUX in /etc/default/grub and run update-grub",
        Loader::Specification => {
            "set them in /etc/kernel/cmdline and run kernel-install (where GRUB reads the entries: grubby --update-kernel=ALL)"
        }
        Loader::Unified => {
            "set them in /etc/kernel/cmdline and make the image anew (kernel-install, ukify, dracut --uefi)"
        }
        Loader::Extlinux => "set them behind APPEND",
    }
}

/// Disks of virtual machines: blk, or SCSI with its disks.
const DISK_MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod"];
/// What the names of serial consoles begin with: of PCs, ARM, POWER and z.
const SERIAL: [&str; 4] = ["ttyS", "ttyAMA", "hvc", "ttysclp"];

fn is_serial(console: &str) -> bool {
    SERIAL.iter().any(|name| console.starts_with(name))
}

/// Whether this image has what a line of fstab or a kernel's root= names; `None` for what is no name of a filesystem.
fn names_volume(subject: &Subject<'_>, name: &str) -> Option<bool> {
    let (kind, value) =
        name.split_once('=').map_or(("", name), |(kind, value)| (kind, value.trim_matches('"')));
    let partitions = || subject.view.partitions().iter();
    match kind {
        // Also of a partition in which nothing is known.
        "PARTUUID" => {
            let guids = partitions().filter_map(|partition| partition.guid);
            Some(guids.map(|own| own.to_string()).any(|own| own.eq_ignore_ascii_case(value)))
        }
        "PARTLABEL" => Some(partitions().any(|partition| partition.name == value)),
        // Names of devices are other ones in another cloud.
        "" if !name.starts_with("/dev/disk/by-") => None,
        _ => volume_named(subject.view.volumes(), name).map(|found| found.is_some()),
    }
}

/// What is the same for a rule over every kernel: no kernel breaks it.
fn each_kernel(
    subject: &Subject<'_>,
    kept: &str,
    finding: impl Fn(&Entry) -> crate::Result<Option<Finding>>,
) -> crate::Result<Judgement> {
    let entries = entries(subject.view)?;
    if entries.is_empty() {
        return Ok(Judgement::broken("/boot", "no menu starts a kernel", UPDATE));
    }
    let mut findings = Vec::new();
    for entry in &entries {
        findings.extend(finding(entry)?);
    }
    findings.dedup();
    Ok(Judgement::of(findings, kept))
}

fn own_root(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let own = format!("UUID={}", subject.view.root_uuid().unwrap_or("?"));
    each_kernel(subject, &own, |entry| {
        let root = entry.values("root").last();
        let is_uuid = root.is_some_and(|root| root.starts_with("UUID="));
        let good = root.is_some_and(|root| match is_uuid {
            true => root.eq_ignore_ascii_case(&own),
            false => names_volume(subject, root).unwrap_or(false),
        });
        if good || finds_root(subject.view, entry)? {
            return Ok(None);
        }
        let found = format!("root={} in place of root={own}", root.unwrap_or("(nothing)"));
        Ok(Some(Finding::new(&entry.place, found, update(entry))))
    })
}

fn kernel_files(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let mut findings = Vec::new();
    let mut kernels = Vec::new();
    for entry in entries(subject.view)? {
        for path in std::iter::once(&entry.kernel).chain(&entry.initrds) {
            if file_of(subject.view, path)?.is_none() {
                findings.push(Finding::new(
                    path,
                    format!("it does not exist, but is in {}", entry.place),
                    update(&entry),
                ));
            }
        }
        kernels.push(entry.kernel);
    }
    kernels.dedup();
    Ok(Judgement::of(findings, kernels.join(", ")))
}

fn consoles(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let wanted = subject.asked().consoles.as_deref();
    let kept = wanted.map_or("there is one".into(), |wanted| wanted.join(", "));
    each_kernel(subject, &kept, |entry| {
        let has: Vec<&str> = entry.values("console").collect();
        let good = match wanted {
            Some(wanted) => has.iter().copied().eq(wanted),
            None => has.iter().copied().any(is_serial),
        };
        let found = match wanted {
            Some(wanted) => format!("the kernel's consoles are {has:?} in place of {wanted:?}"),
            None => format!("the kernel's consoles are {has:?}"),
        };
        let fix = format!("{}: console=tty0 console=ttyS0,115200n8", words(entry.loader));
        Ok((!good).then(|| Finding::new(&entry.place, found, fix)))
    })
}

fn console_last(subject: &Subject<'_>) -> crate::Result<Judgement> {
    each_kernel(subject, "it is", |entry| {
        let last = entry.values("console").last().unwrap_or("(none)");
        let found = format!("the last console is {last}");
        Ok((!is_serial(last)).then(|| Finding::new(&entry.place, found, words(entry.loader))))
    })
}

fn console_kept(subject: &Subject<'_>) -> crate::Result<Judgement> {
    for pattern in [
        "/etc/default/grub",
        "/etc/default/grub.d/*.cfg",
        "/etc/kernel/cmdline",
        "/etc/kernel/cmdline.d/*.conf",
        "/boot/extlinux/extlinux.conf",
        "/etc/update-extlinux.conf",
    ] {
        for path in subject.view.matches(pattern)? {
            let text = subject.view.text(&path)?.unwrap_or_default();
            let set = text.lines().filter(|line| !line.trim_start().starts_with('#'));
            let mut words =
                set.flat_map(|line| line.split(|c: char| c.is_whitespace() || "\"'=".contains(c)));
            // "console=ttyS0" is split at its "=".
            if words.any(is_serial) && text.contains("console=") {
                return Ok(Judgement::kept(path.display().to_string()));
            }
        }
    }
    let loader = entries(subject.view)?.first().map_or(Loader::Grub, |entry| entry.loader);
    let place = match loader {
        // Fedora's entries are GRUB's, too.
        _ if subject.view.exists("/etc/default/grub")? => "/etc/default/grub",
        Loader::Grub => "/etc/default/grub",
        Loader::Extlinux => "/boot/extlinux/extlinux.conf",
        Loader::Specification | Loader::Unified => "/etc/kernel/cmdline",
    };
    let fix = if place.ends_with("grub") { words(Loader::Grub) } else { words(loader) };
    Ok(Judgement::broken(place, "it sets no serial console", fix))
}

fn messages(subject: &Subject<'_>) -> crate::Result<Judgement> {
    each_kernel(subject, "they are shown", |entry| {
        let hiding = entry.options.iter().find(|word| matches!(word.as_str(), "quiet" | "rhgb" | "splash"));
        Ok(hiding.map(|word| Finding::new(&entry.place, format!("the word {word}"), words(entry.loader))))
    })
}

fn initrd_root(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let fix = "make it anew with hostonly=\"no\" in /etc/dracut.conf.d, and without root= in kernel_cmdline";
    let mut findings = Vec::new();
    let mut looked = BTreeSet::new();
    for entry in entries(subject.view)? {
        for (path, initrd) in initrds(subject.view, &entry)? {
            // What cannot be read is told by the rule of its drivers.
            let Ok(initrd) = initrd else { continue };
            if !looked.insert(path.clone()) {
                continue;
            }
            for (place, word) in initrd.words() {
                let device = ["root=", "resume="].iter().find_map(|name| word.strip_prefix(name));
                let device = device.map(|device| device.strip_prefix("block:").unwrap_or(device));
                if device.is_some_and(|device| names_volume(subject, device) != Some(true)) {
                    findings.push(Finding::new(&path, format!("/{place} in it has {word}"), fix));
                }
            }
        }
    }
    Ok(Judgement::of(findings, "none"))
}

fn virtio(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let mut findings = Vec::new();
    let mut looked = BTreeSet::new();
    for entry in entries(subject.view)? {
        let read = initrds(subject.view, &entry)?;
        // What several initrds have is there together.
        let name = read.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>().join(" + ");
        if read.is_empty() || !looked.insert(name.clone()) {
            continue;
        }
        let mut modules = Vec::new();
        for (path, initrd) in &read {
            match initrd {
                Ok(initrd) => {
                    let mut builtins = String::new();
                    for release in initrd.releases().into_iter().chain([version(path)]) {
                        builtins += &builtin(subject, release)?;
                    }
                    modules.push(initrd.modules(&builtins));
                }
                Err(error) => {
                    findings.push(Finding::new(
                        path,
                        error.clone(),
                        "make it with update-initramfs or dracut",
                    ));
                }
            }
        }
        let missing: Vec<&str> = DISK_MODULES
            .into_iter()
            .filter(|name| !modules.iter().any(|modules| modules.has(name)))
            .collect();
        if !missing.is_empty() && read.iter().all(|(_, initrd)| initrd.is_ok()) {
            let fix =
                "write MODULES=most into /etc/initramfs-tools/initramfs.conf, or run dracut --no-hostonly";
            findings.push(Finding::new(name, format!("it lacks {}", missing.join(", ")), fix));
        }
    }
    Ok(Judgement::of(findings, looked.into_iter().collect::<Vec<_>>().join(", ")))
}

/// The kernel's version in the name of an initrd's file.
fn version(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = ["initrd.img-", "initramfs-", "initrd-"].iter().find_map(|before| name.strip_prefix(before));
    name.map_or("", |name| name.strip_suffix(".img").unwrap_or(name))
}

/// The list of what a kernel has built in.
fn builtin(subject: &Subject<'_>, version: &str) -> crate::Result<String> {
    Ok(subject.view.text(format!("/usr/lib/modules/{version}/modules.builtin"))?.unwrap_or_default())
}

/// The lines of /etc/fstab that mean something.
pub(super) fn fstab_lines(subject: &Subject<'_>) -> crate::Result<Vec<String>> {
    let text = subject.view.text("/etc/fstab")?.unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(String::from).collect())
}

fn fstab(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let mut findings = Vec::new();
    let mut root_found = false;
    for line in fstab_lines(subject)? {
        let mut words = line.split_whitespace();
        let (device, place) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        root_found |= place == "/";
        // Nothing waits for these, and a drive may be empty.
        let options = words.nth(1).unwrap_or_default();
        let waits = !options.split(',').any(|option| matches!(option, "noauto" | "nofail"));
        let is_drive = ["/dev/sr", "/dev/cdrom", "/dev/dvd", "/dev/fd", "/dev/floppy"]
            .iter()
            .any(|drive| device.starts_with(drive));
        if !waits || is_drive {
            continue;
        }
        let exists = names_volume(subject, device).unwrap_or(!device.starts_with("/dev/"));
        if !exists {
            findings.push(Finding::new(
                "/etc/fstab",
                line,
                "name filesystems by UUIDs or labels of this image",
            ));
        }
    }
    if !root_found && !is_known_without(subject)? {
        let found = "it has no root filesystem";
        findings.push(Finding::new("/etc/fstab", found, "give it a line for /, by UUID"));
    }
    Ok(Judgement::from(findings))
}

/// Whether each kernel knows its root filesystem and mounts it to be written to, though fstab has no line for it.
fn is_known_without(subject: &Subject<'_>) -> crate::Result<bool> {
    let entries = entries(subject.view)?;
    for entry in &entries {
        let is_writable = entry.options.iter().any(|word| word == "rw");
        if !is_writable && !finds_root(subject.view, entry)? {
            return Ok(false);
        }
    }
    Ok(!entries.is_empty())
}

fn nofail(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let mut findings = Vec::new();
    for line in fstab_lines(subject)? {
        let mut words = line.split_whitespace().skip(1);
        let (place, options) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        let waits = !options.split(',').any(|option| option == "nofail" || option == "noauto");
        if matches!(place, "/boot/efi" | "/efi") && waits {
            findings.push(Finding::new("/etc/fstab", line, "add nofail to its options"));
        }
    }
    Ok(Judgement::from(findings))
}
