//! Where the filesystems of an image are mounted once it has booted.
//!
//! ```text
//! /etc/fstab             UUID=, LABEL=, PARTUUID=, PARTLABEL=, /dev/disk/by-*, /dev/vda2     (fstab(5))
//! *.mount of systemd     What=, Where=                                                       (systemd.mount(5))
//! types of partitions    /boot, /home, /srv, /var, /var/tmp, /usr, where nothing else says so   (Discoverable Partitions)
//! EFI system partition   /boot/efi, or /boot or /efi              (systemd-gpt-auto-generator(8))
//! ```
//! The first to name a folder counts.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::path::{Component, Path};

use image_core::fs::{Files, SubvolumeChoice};
use uuid::{Uuid, uuid};

use super::{LIMIT, Mounted, Volume};

/// Where units of mounts are, the administrator's first.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// Types of the Discoverable Partitions Specification, and where systemd mounts them.
const TYPES: [(Uuid, &str); 7] = [
    (uuid!("bc13c2ff-59e6-4262-a352-b275fd6f7172"), "/boot"),
    (uuid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915"), "/home"),
    (uuid!("3b8f8425-20e0-4f3b-907f-1a25a76f98e8"), "/srv"),
    (uuid!("4d21b016-b534-45c2-a9fb-5c16e091fd2d"), "/var"),
    (uuid!("7ec6f557-3bc5-4aca-b293-16ef5df639d1"), "/var/tmp"),
    (uuid!("8484680c-9521-48c6-9c11-b0720656f69e"), "/usr"),
    (uuid!("b0e01050-ee5f-4390-949a-9101b17104e9"), "/usr"),
];
/// How `/dev/disk` calls what fstab has words for.
const LINKS: [(&str, &str); 4] = [
    ("/dev/disk/by-uuid/", "UUID"),
    ("/dev/disk/by-label/", "LABEL"),
    ("/dev/disk/by-partuuid/", "PARTUUID"),
    ("/dev/disk/by-partlabel/", "PARTLABEL"),
];
/// What the first disk of a virtual machine is called, before the number of a partition.
const FIRST_DISKS: [&str; 6] =
    ["/dev/sda", "/dev/vda", "/dev/xvda", "/dev/hda", "/dev/nvme0n1p", "/dev/mmcblk0p"];

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where.
    pub(super) folder: String,
    /// Its place in the volumes.
    pub(super) index: usize,
    /// Which of its subvolumes.
    pub(super) subvolume: Option<Subvolume>,
}

/// A subvolume, by what mount options say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subvolume {
    Id(u64),
    Path(String),
}

impl Subvolume {
    /// What `options` choose.
    fn of(options: &str) -> Option<Self> {
        let word = |key: &str| {
            options.split(',').rev().find_map(|word| word.trim().strip_prefix(key)?.strip_prefix('='))
        };
        let by_path = word("subvol").map(|path| Self::Path(unescaped(path).trim_matches('/').to_owned()));
        by_path.or_else(|| word("subvolid").and_then(|id| id.parse().ok()).map(Self::Id))
    }

    /// Its path, if it is told by that.
    pub(super) fn path(self) -> Option<String> {
        match self {
            Self::Path(path) => Some(path),
            Self::Id(_) => None,
        }
    }

    pub(super) fn choice(&self) -> SubvolumeChoice<'_> {
        match self {
            Self::Id(id) => SubvolumeChoice::Id(*id),
            Self::Path(path) => SubvolumeChoice::Path(path.as_bytes()),
        }
    }
}

/// What a line or a unit says of a mount.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    device: String,
    folder: String,
    subvolume: Option<Subvolume>,
}

/// What is mounted where, besides the root. `root` is the root filesystem, as the place in `volumes` and its files.
pub(super) fn mounts(root: (usize, &dyn Files), volumes: &[Volume]) -> Vec<Mount> {
    let (root, files) = root;
    let mut found: Vec<Mount> = Vec::new();
    let mut add = |folder: String, index: usize, subvolume: Option<Subvolume>| {
        let takes = |other: &Mount| {
            other.folder == folder
                || other.index == index && (subvolume.is_none() || other.subvolume == subvolume)
        };
        let is_free = !found.iter().any(takes) && (index != root || subvolume.is_some());
        let is_filesystem = volumes.get(index).is_some_and(Volume::has_files);
        if is_free && is_filesystem && folder != "/" {
            found.push(Mount { folder, index, subvolume });
        }
    };
    for Said { device, folder, subvolume } in said(files) {
        if let Some(Some(index)) = volume_named(volumes, &device) {
            add(folder, index, subvolume);
        }
    }
    for (index, volume) in volumes.iter().enumerate() {
        let of_type = |(kind, _): &&(Uuid, &str)| {
            volume.partition.as_ref().is_some_and(|partition| partition.is(*kind))
        };
        if let Some((_, folder)) = TYPES.iter().find(of_type) {
            add((*folder).to_owned(), index, None);
        }
    }
    found
}

/// Where an EFI system partition is that nothing names, once all else is mounted in `files`: in the folder that its maker has for it, or
/// else where systemd mounts it, which is an empty `/boot` before `/efi` (systemd-gpt-auto-generator(8)).
pub(super) fn esp_folder(files: &Mounted) -> &'static str {
    let names = |folder: &str| files.list(folder.as_ref()).ok().flatten().map(|names| names.len());
    let is_free = !files.has("/boot") && names("/boot") == Some(0);
    match () {
        () if names("/boot/efi").is_some() => "/boot/efi",
        () if is_free => "/boot",
        () if names("/efi").is_some() => "/efi",
        () => "/boot/efi",
    }
}

/// Which subvolume the system in `files` takes for its root, as its own fstab says; the outer `None` if that says nothing of a root.
pub(super) fn root_subvolume(files: &dyn Files) -> Option<Option<Subvolume>> {
    said(files).into_iter().find(|said| said.folder == "/").map(|said| said.subvolume)
}

/// What fstab and the units of `files` say.
fn said(files: &dyn Files) -> Vec<Said> {
    let text = |path: &Path| {
        let bytes = files.read(path, LIMIT).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let mut said: Vec<Said> = text("/etc/fstab".as_ref()).lines().filter_map(fstab_line).collect();
    for folder in UNITS {
        let units = files.list(folder.as_ref()).ok().flatten().unwrap_or_default();
        for unit in
            units.iter().filter(|unit| Path::new(&unit.name).extension().is_some_and(|e| e == "mount"))
        {
            said.extend(unit_of(&text(&Path::new(folder).join(&unit.name))));
        }
    }
    said
}

/// What a line of fstab says, if it mounts a filesystem of a disk.
fn fstab_line(line: &str) -> Option<Said> {
    let mut fields = line.split_whitespace().filter(|_| !line.trim_start().starts_with('#'));
    let (device, folder, kind) = (fields.next()?, fields.next()?, fields.next().unwrap_or_default());
    let options = fields.next().unwrap_or_default();
    let is_bind = options.split(',').any(|option| matches!(option, "bind" | "rbind"));
    let folder = clean(&unescaped(folder))?;
    let said = || Said { device: unescaped(device), folder, subvolume: Subvolume::of(options) };
    (kind != "swap" && !is_bind).then(said)
}

/// The same of a unit.
fn unit_of(text: &str) -> Option<Said> {
    let value = |key: &str| {
        let lines = text.lines().map(str::trim);
        lines
            .filter_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='))
            .next_back()
            .map(str::trim)
    };
    let subvolume = value("Options").and_then(Subvolume::of);
    Some(Said { device: value("What")?.to_owned(), folder: clean(value("Where")?)?, subvolume })
}

/// An absolute path without what leads up or nowhere.
fn clean(folder: &str) -> Option<String> {
    let path = Path::new(folder);
    let fine = path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
    let parts: Vec<_> = folder.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    fine.then(|| format!("/{}", parts.join("/")))
}

/// Without the `\040` and `\x20` that stand for blanks and the like (fstab(5), udev(7)).
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\\') {
        plain.push_str(before);
        let hex = behind.strip_prefix('x').and_then(|digits| code(digits.get(..2)?, 16, 3));
        match hex.or_else(|| code(behind.get(..3)?, 8, 3)) {
            Some((character, len)) => {
                plain.push(character);
                rest = behind.get(len..).unwrap_or_default();
            }
            None => {
                plain.push('\\');
                rest = behind;
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn code(digits: &str, radix: u32, len: usize) -> Option<(char, usize)> {
    Some((char::from(u8::from_str_radix(digits, radix).ok()?), len))
}

/// Which of `volumes` a word of fstab, or of a kernel's command line, names; the outer `None` is for what is no name of a
/// filesystem on a disk.
pub(crate) fn volume_named(volumes: &[Volume], name: &str) -> Option<Option<usize>> {
    let link = LINKS.iter().find_map(|(folder, kind)| Some((*kind, unescaped(name.strip_prefix(folder)?))));
    let (kind, value) = match (&link, name.split_once('=')) {
        (Some((kind, value)), _) => (*kind, value.as_str()),
        (None, Some((kind, value))) => (kind, value.trim_matches('"')),
        (None, None) => ("", name),
    };
    let same = |own: &str| own.eq_ignore_ascii_case(value);
    let find = |fits: &dyn Fn(&Volume) -> bool| Some(volumes.iter().position(fits));
    match kind {
        "UUID" => find(&|volume| volume.signature.uuid.as_deref().is_some_and(same)),
        "LABEL" => find(&|volume| volume.signature.label == value),
        "PARTUUID" => find(&|volume| volume.partition_uuid.as_deref().is_some_and(same)),
        "PARTLABEL" => find(&|volume| volume.partition.as_ref().is_some_and(|own| own.name == value)),
        "" if volumes.iter().any(|volume| volume.is_mapped_as(name)) => {
            find(&|volume| volume.is_mapped_as(name))
        }
        "" => {
            let number: u32 = FIRST_DISKS.iter().find_map(|disk| name.strip_prefix(disk)?.parse().ok())?;
            find(&|volume| {
                let is_partition = volume.logical.is_none();
                is_partition && volume.partition.as_ref().is_some_and(|own| own.number == number)
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_units_name_a_device_and_a_folder() {
        let line = |text| fstab_line(text);
        let pair = |device: &str, folder: &str| {
            Some(Said { device: device.to_owned(), folder: folder.to_owned(), subvolume: None })
        };
        assert_eq!(line("UUID=1 /var ext4 defaults 0 2"), pair("UUID=1", "/var"));
        assert_eq!(line("LABEL=my\\040disk /srv/my\\040disk/ xfs"), pair("LABEL=my disk", "/srv/my disk"));
        for none in
            ["", "# x /y ext4", "UUID=1 none swap sw", "/srv /mnt none bind", "UUID=1 /../x ext4", "x"]
        {
            assert_eq!(line(none), None, "{none}");
        }
        let unit = "[Mount]\nWhat=/dev/disk/by-label/data\nWhere = /var/lib/data\n";
        assert_eq!(unit_of(unit), pair("/dev/disk/by-label/data", "/var/lib/data"));
        assert_eq!(unit_of("[Mount]\nWhat=tmpfs\n"), None);
        assert_eq!(unescaped("a\\x20b\\134c\\9"), "a b\\c\\9");
        let subvolume = |text| line(text).and_then(|said| said.subvolume);
        let path = |text: &str| Some(Subvolume::Path(text.to_owned()));
        assert_eq!(subvolume("UUID=1 /home btrfs defaults,subvol=/@/home,ro 0 0"), path("@/home"));
        assert_eq!(subvolume("UUID=1 /home btrfs subvolid=257 0 0"), Some(Subvolume::Id(257)));
        assert_eq!(subvolume("UUID=1 /home btrfs subvol=one,subvol=other 0 0"), path("other"));
    }
}
