//! The drivers that QEMU 10.0.2 knows, of which few are driven here: a name that it knows may be recorded in an image, and is
//! refused in other words than one that there is not.

use image_core::format::Format;

use super::failure::Failure;

/// Drivers, as `qemu-img --help` lists them.
const ALL: [&str; 42] = [
    "blkdebug",
    "blklogwrites",
    "blkverify",
    "bochs",
    "cloop",
    "compress",
    "copy-before-write",
    "copy-on-read",
    "dmg",
    "file",
    "ftp",
    "ftps",
    "gluster",
    "host_cdrom",
    "host_device",
    "http",
    "https",
    "iscsi",
    "iser",
    "luks",
    "nbd",
    "nfs",
    "null-aio",
    "null-co",
    "nvme",
    "parallels",
    "preallocate",
    "qcow",
    "qcow2",
    "qed",
    "quorum",
    "raw",
    "rbd",
    "replication",
    "snapshot-access",
    "ssh",
    "throttle",
    "vdi",
    "vhdx",
    "vmdk",
    "vpc",
    "vvfat",
];

/// Those of which QEMU itself makes no images.
const NOT_MADE: [&str; 17] = [
    "blkdebug",
    "blklogwrites",
    "blkverify",
    "bochs",
    "cloop",
    "compress",
    "copy-before-write",
    "copy-on-read",
    "dmg",
    "null-aio",
    "null-co",
    "preallocate",
    "quorum",
    "replication",
    "snapshot-access",
    "throttle",
    "vvfat",
];

/// Whether QEMU has a driver of this name.
pub(super) fn is_known(name: &str) -> bool {
    ALL.contains(&name)
}

/// Whether QEMU takes the name for a backing file's format in a new image: a driver, by another list of them.
pub(super) fn is_backing_format(name: &str) -> bool {
    is_known(name) && name != "iser" || name == "blkreplay"
}

/// What is recorded of a backing file's format: QEMU has room for so many bytes, and refuses images that have more.
pub(super) fn recorded(name: &str) -> &str {
    const ROOM: usize = 15;
    name.get(..ROOM).unwrap_or(name)
}

/// Why nothing is opened by a driver of this name.
pub(super) fn not_opened(name: &str) -> Failure {
    Failure::new(match is_known(name) {
        true => format!("The driver '{name}' is QEMU's alone: goldimg opens raw and qcow2 images"),
        false => format!("Unknown driver '{name}'"),
    })
}

/// Why no image of this format is made.
pub(super) fn not_made(name: &str) -> Failure {
    Failure::new(match name {
        name if NOT_MADE.contains(&name) => format!("Format driver '{name}' does not support image creation"),
        name if is_known(name) => format!("Images of the format '{name}' are not made by goldimg"),
        name => format!("Unknown file format '{name}'"),
    })
}

/// What a backing file is read as whose format is this driver, if it is read here.
pub(super) fn format_of(name: &str) -> Option<Format> {
    match name {
        "raw" | "file" | "host_device" | "host_cdrom" | "nbd" | "null-co" | "null-aio" => Some(Format::Raw),
        "qcow2" => Some(Format::Qcow2),
        _ => None,
    }
}
