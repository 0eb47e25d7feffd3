//! Rules of the disk: a table that every importer takes, and a root filesystem that can grow.

use image_core::ErrorKind;
use image_core::block::BlockRead;
use image_core::fs::FilesystemKind;
use image_core::partition::{SECTOR_SIZE, Scheme, check_protective, kind};

use super::rule::{Finding, Judgement, Rule};
use super::subject::Subject;

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "partition-table",
        "the partition table is whole and describes this disk",
        "OpenStack image guide, disk partitions; UEFI 2.10, 5.3",
        whole_table,
    )
    .reads(&[&["the partition table"]])
    .of_disk(),
    Rule::must(
        "protective-mbr",
        "the master boot record of a GPT is one that Glance accepts",
        "Glance 33: oslo.utils format_inspector",
        protective_record,
    )
    .reads(&[&["the partition table", "the disk"]])
    .of_disk(),
    Rule::must(
        "no-lvm",
        "no logical volumes: nothing grows them at the first boot",
        "OpenStack image guide, disk partitions",
        lvm,
    )
    .reads(&[&["the partition table"]])
    .of_disk(),
    Rule::must(
        "root-last",
        "the root partition is the last one, so it can grow",
        "OpenStack image guide, disk partitions",
        root_last,
    )
    .reads(&[&["the partition table"]]),
    Rule::must(
        "root-filesystem",
        "the root filesystem is clean and fills its partition",
        "OpenStack image guide, disk partitions",
        root_filesystem,
    )
    .reads(&[&["the partition table", "the disk"]]),
    Rule::must(
        "sector-size",
        "the partition table counts in sectors of 512 bytes, which the disks of clouds have",
        "UEFI 2.10, 5.3.1; Cinder and Nova attach disks with sectors of 512 bytes",
        sector_size,
    )
    .reads(&[&["the partition table"]])
    .of_disk()
    .openstack(),
    Rule::should(
        "unmounted",
        "the system mounts every filesystem of the image",
        "what nobody mounts, nobody looks after",
        unmounted,
    )
    .reads(&[&["the partition table", "the disk"]]),
    Rule::should("no-swap", "there is no swap space: flavors bring it", "Nova flavors", swap)
        .reads(&[&["the partition table", "/etc/fstab"]]),
];

const REPAIR: &str = "sgdisk -e writes both copies anew";

fn whole_table(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let Some(table) = subject.view.table() else {
        return Ok(Judgement::kept("none: one filesystem is all of the disk"));
    };
    let defects = table.defects.iter();
    let findings =
        defects.map(|defect| Finding::new("partition table", defect.to_string(), REPAIR)).collect();
    let scheme = match table.scheme {
        Scheme::Gpt { .. } => "GPT",
        Scheme::Mbr { .. } => "MBR",
    };
    Ok(Judgement::of(findings, format!("{scheme}, {} partitions", table.partitions.len())))
}

fn protective_record(subject: &Subject<'_>) -> crate::Result<Judgement> {
    if !subject.view.table().is_some_and(|table| matches!(table.scheme, Scheme::Gpt { .. })) {
        return Ok(Judgement::kept("there is no GPT"));
    }
    let broken = check_protective(&**subject.view.disk())?;
    let fix = "sfdisk --dump and back writes one entry that covers the disk";
    let findings = broken.iter().map(|rule| Finding::new("sector 0", rule.to_string(), fix)).collect();
    Ok(Judgement::of(findings, "one entry for all of the disk"))
}

fn sector_size(subject: &Subject<'_>) -> crate::Result<Judgement> {
    Ok(match subject.view.table() {
        None => Judgement::kept("there is no partition table"),
        Some(table) if table.sector_size == SECTOR_SIZE => Judgement::kept("it does"),
        Some(table) => Judgement::broken(
            "partition table",
            format!(
                "it counts in sectors of {} bytes: on a disk of a cloud there would be none",
                table.sector_size
            ),
            "make the image anew on a disk with sectors of 512 bytes",
        ),
    })
}

/// What is no filesystem, and is not mounted.
const NO_FILESYSTEMS: [uuid::Uuid; 4] = [kind::BIOS_BOOT, kind::LINUX_SWAP, POWER_BOOT, MICROSOFT_RESERVED];
/// What OpenFirmware starts (PReP), and what Windows sets aside.
const POWER_BOOT: uuid::Uuid = uuid::uuid!("9e1a2d38-c612-4316-aa26-8b49521e5a8b");
const MICROSOFT_RESERVED: uuid::Uuid = uuid::uuid!("e3c9e316-0b5c-4db8-817d-f92df00215ae");
/// So much of a partition that is not known tells whether there is anything in it.
const BEGINNING: u64 = 1 << 20;

fn unmounted(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let view = subject.view;
    let mut findings = Vec::new();
    let fix = "mount it, or remove it";
    for (index, volume) in view.volumes().iter().enumerate() {
        let is_other = matches!(volume.signature.kind, FilesystemKind::Swap | FilesystemKind::Lvm);
        if !is_other && !view.is_mounted(index) {
            let found = format!("{}, which nothing mounts", volume.signature.kind);
            findings.push(Finding::new(volume.name(), found, fix));
        }
    }
    for partition in view.partitions() {
        let is_known = view.volumes().iter().any(|volume| volume.range == partition.range);
        if is_known || NO_FILESYSTEMS.iter().any(|kind| partition.is(*kind)) {
            continue;
        }
        let mut bytes = vec![0; partition.range.len().min(BEGINNING) as usize];
        view.disk().read_at(&mut bytes, partition.range.offset())?;
        if !image_core::block::is_zero(&bytes) {
            let found = "no filesystem that is known here, and not empty";
            findings.push(Finding::new(format!("partition {}", partition.number), found, fix));
        }
    }
    Ok(Judgement::of(findings, "it does"))
}

fn lvm(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let is_lvm = |volume: &&crate::system::Volume| volume.signature.kind == FilesystemKind::Lvm;
    let fix = "install it anew, with the root filesystem in a partition";
    let findings = subject.view.volumes().iter().filter(is_lvm);
    Ok(Judgement::from(findings.map(|volume| Finding::new(volume.name(), "LVM", fix)).collect::<Vec<_>>()))
}

fn root_last(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let Some(root) = subject.view.root_volume() else {
        return Ok(Judgement::Open("there is no root".into()));
    };
    let Some(partition) = &root.partition else {
        return Ok(Judgement::kept("it is all of the disk"));
    };
    let mut findings = Vec::new();
    for other in subject.view.partitions() {
        if other.range.offset() > root.range.offset() {
            let fix = "move it before the root partition";
            let found = "it lies behind the root partition";
            findings.push(Finding::new(format!("partition {}", other.number), found, fix));
        }
    }
    if partition.is(kind::LINUX_LVM) {
        findings.push(Finding::new(root.name(), "its type is that of LVM", "sgdisk -t sets it to 8304"));
    }
    Ok(Judgement::of(findings, root.name()))
}

fn root_filesystem(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let view = subject.view;
    let Some(root) = view.root_volume() else {
        return Ok(Judgement::Open("there is no root".into()));
    };
    let kind = root.signature.kind;
    let Some(found) = view.readable().into_iter().find(|own| std::ptr::eq(own.volume, root)) else {
        return Ok(Judgement::Open(format!("{kind} cannot be read")));
    };
    // What is in the way of reading is the disk.
    let size = root.content(view.disk())?.size();
    let condition = match found.files.condition() {
        Ok(condition) => condition,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return Ok(Judgement::Open(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    let mut findings = Vec::new();
    if !condition.is_clean {
        findings.push(Finding::new(root.name(), "it was not unmounted cleanly", "goldimg seal"));
    }
    let (gap, (tolerated, grow)) = (size.saturating_sub(condition.size), growing(kind));
    if gap > tolerated {
        let found = format!("it leaves {gap} bytes of its partition");
        findings.push(Finding::new(root.name(), found, format!("{grow} fills its partition")));
    }
    let kept = format!("{}: {kind}, {} bytes", root.name(), condition.size);
    Ok(Judgement::of(findings, kept))
}

/// How much a filesystem of `kind` may leave of its partition, in bytes, and what makes it larger. A last group that is too small
/// for its own tables, or too small at all, is left out (mke2fs; mkfs.xfs, whose least group has 16 MiB).
fn growing(kind: FilesystemKind) -> (u64, &'static str) {
    match kind {
        FilesystemKind::Xfs => (16 << 20, "xfs_growfs"),
        FilesystemKind::Btrfs => (1 << 20, "btrfs filesystem resize max"),
        _ => (1 << 20, "resize2fs"),
    }
}

fn swap(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let fix = "remove it";
    let mut findings = Vec::new();
    for partition in subject.view.partitions().iter().filter(|partition| partition.is(kind::LINUX_SWAP)) {
        findings.push(Finding::new(format!("partition {}", partition.number), "swap space", fix));
    }
    for line in super::boot::fstab_lines(subject)? {
        if line.split_whitespace().nth(2) == Some("swap") {
            findings.push(Finding::new("/etc/fstab", line, fix));
        }
    }
    Ok(Judgement::of(findings, "none"))
}
