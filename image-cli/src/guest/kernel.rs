//! The kernel of an image that a guest is started with, and the modules that it needs.
//!
//! ```text
//! /usr/lib/modules/V/modules.dep ─┬─ /boot/vmlinuz-V, or /usr/lib/modules/V/vmlinuz ─► Kernel: the newest V that has both
//!                                 └─ modules ─► unpacked, in the order in which they need each other
//! ```
//!
//! The kernel's file says for which processor it is: a bzImage in its setup header (Linux kernel documentation, "The Linux/x86 Boot
//! Protocol"), others in the header of an EFI program or of ELF.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::cmp::Ordering;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use image_core::fs::{FileKind, Files, FilesystemKind};

use super::modules::Lists;
use super::order::Module;
use crate::error::{Advise, Context, Error, ErrorKind, bail, err};
use crate::kernel::{module_name, unpacked};
use crate::printable::printable;

/// No kernel, no module and no list of modules is larger, in bytes.
const LIMIT: u64 = 256 << 20;
/// Where modules are; the second one where `/lib` is no link.
const FOLDERS: [&str; 2] = ["/usr/lib/modules", "/lib/modules"];
/// Disks as the guest may have them, and the modules for them, the first one first.
const DISKS: [(DiskBus, &[&str]); 2] =
    [(DiskBus::Virtio, &["virtio_pci", "virtio_blk"]), (DiskBus::Nvme, &["nvme"])];

/// How the guest's disks are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskBus {
    Virtio,
    Nvme,
}

/// A kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Its version, as `uname -r` tells it.
    pub(super) version: String,
    /// Its file.
    pub(super) image: Vec<u8>,
    folder: PathBuf,
    lists: Lists,
}

impl Kernel {
    /// The newest one of `files` that has modules.
    ///
    /// # Errors
    /// If there is none, or it is for another processor.
    pub(super) fn newest(files: &dyn Files) -> crate::Result<Self> {
        let mut found = Vec::new();
        for folder in FOLDERS.map(Path::new) {
            for entry in files.list(folder)?.unwrap_or_default() {
                let (Some(version), FileKind::Directory) = (entry.name.to_str(), entry.kind) else {
                    continue;
                };
                let own = folder.join(version);
                let Some(image) = image_of(files, version, &own)? else { continue };
                if files.metadata(&own.join("modules.dep"))?.is_some() {
                    found.push((version.to_owned(), own, image));
                }
            }
            if !found.is_empty() {
                break;
            }
        }
        found.sort_by(|one, other| by_version(&one.0, &other.0));
        let Some((version, folder, path)) = found.pop() else {
            return Err(err!("the image has no kernel with modules, which would change its filesystems"))
                .of_kind(ErrorKind::Image)
                .hint(
                    || "what is needed: /boot/vmlinuz-VERSION, and /usr/lib/modules/VERSION with modules.dep",
                );
        };
        let shown = printable(&path.display().to_string());
        let image = files.read(&path, LIMIT)?.with_context(|| format!("{shown} is gone"))?;
        match architecture(&image) {
            Some("x86_64") => {}
            other => {
                let other = other.unwrap_or("an unknown architecture");
                return Err(err!("{shown} is a kernel for {other}: only those for x86_64 are started"))
                    .of_kind(ErrorKind::Image);
            }
        }
        let text = |name: &str| -> crate::Result<String> {
            let bytes = files.read(&folder.join(name), LIMIT)?.unwrap_or_default();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let [dependencies, builtin] = [text("modules.dep")?, text("modules.builtin")?];
        let lists = Lists::parse(&dependencies, &builtin, &text("modules.softdep")?, &text("modules.alias")?);
        Ok(Self { version, image, folder, lists })
    }

    /// How it is given disks, and all modules to load for those and for the filesystems `kinds`.
    ///
    /// # Errors
    /// If it lacks one.
    pub(super) fn needs(&self, kinds: &[FilesystemKind]) -> crate::Result<(DiskBus, Vec<Module>)> {
        let lacks = |what: &str| -> Error {
            let version = printable(&self.version);
            err!("the image's kernel {version} has no module for {what}").of_kind(ErrorKind::Image)
        };
        let has = |names: &&[&str]| names.iter().all(|name| self.lists.has(name));
        let disk = DISKS.into_iter().find(|(_, names)| has(names));
        let (bus, names) = disk.ok_or_else(|| lacks("virtual disks (virtio_pci and virtio_blk, or nvme)"))?;
        let mut wanted = names.to_vec();
        for kind in kinds {
            let name = name_of(*kind)?;
            if !self.lists.has(name) {
                return Err(lacks(name));
            }
            wanted.push(name);
        }
        Ok((bus, self.lists.order(&wanted)))
    }

    /// The module `module`, unpacked.
    ///
    /// # Errors
    /// If it is not there, or broken.
    pub(super) fn module(&self, files: &dyn Files, module: &Module) -> crate::Result<Vec<u8>> {
        let file = Path::new(&module.file);
        // Absolute in lists of depmod before 2008, and by the way of a link to it.
        let path = if file.is_absolute() { file.to_owned() } else { self.folder.join(file) };
        let doing = || format!("reading the kernel's module {}", printable(&path.display().to_string()));
        let bytes = files.read(&path, LIMIT).with_context(doing)?;
        let bytes = bytes.ok_or_else(|| err!("the image does not have it")).with_context(doing)?;
        let head = bytes.get(..6).unwrap_or_default().to_vec();
        if module_name(&module.file).is_none() || head.starts_with(b"\x7fELF") {
            return Ok(bytes);
        }
        let mut whole = Vec::new();
        let from = BufReader::new(Cursor::new(bytes));
        let Some(from) = unpacked(&head, from)? else {
            return Err(err!("it is packed in an unknown way")).with_context(doing);
        };
        from.take(LIMIT.saturating_add(1)).read_to_end(&mut whole).with_context(doing)?;
        match whole.len() as u64 > LIMIT {
            true => Err(err!("it unpacks to more than {LIMIT} bytes")).with_context(doing),
            false => Ok(whole),
        }
    }
}

/// What the kernel calls a filesystem, and the module for it.
///
/// # Errors
/// For those that no guest is needed for, or none can change.
pub(super) fn name_of(kind: FilesystemKind) -> crate::Result<&'static str> {
    Ok(match kind {
        FilesystemKind::Xfs => "xfs",
        FilesystemKind::Btrfs => "btrfs",
        FilesystemKind::Ext2 | FilesystemKind::Ext3 | FilesystemKind::Ext4 => "ext4",
        other => bail!("files in {other} are not changed by the image's kernel"),
    })
}

/// Where the kernel `version` is, whose modules are in `folder`.
fn image_of(files: &dyn Files, version: &str, folder: &Path) -> crate::Result<Option<PathBuf>> {
    for path in [Path::new("/boot").join(format!("vmlinuz-{version}")), folder.join("vmlinuz")] {
        if files.metadata(&path)?.is_some_and(|own| own.kind == FileKind::File) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Numbers within versions count as numbers: 6.1.0-9 comes before 6.1.0-10.
fn by_version(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (pieces(one).into_iter(), pieces(other).into_iter());
    loop {
        let order = match (one.next(), other.next()) {
            (None, None) => return Ordering::Equal,
            (one, other) => one.cmp(&other),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Digits (as a number: without zeroes before it, by length, then by digits) and what is between.
fn pieces(version: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut rest = version;
    while let Some(first) = rest.chars().next() {
        let is_number = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_number).unwrap_or(rest.len());
        let (own, behind) = rest.split_at(end);
        let digits = own.trim_start_matches('0');
        found.push(if is_number { (digits.len().saturating_add(1), digits) } else { (0, own) });
        rest = behind;
    }
    found
}

/// Which processor a kernel is for, if its file tells.
fn architecture(image: &[u8]) -> Option<&'static str> {
    let number = |at: usize, len: usize| {
        let own = image.get(at..at.checked_add(len)?)?;
        Some(own.iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte)))
    };
    if image.get(0x202..0x206) == Some(b"HdrS") {
        // xloadflags, XLF_KERNEL_64.
        let is_64 = number(0x236, 2).is_some_and(|flags| flags & 1 != 0);
        return Some(if is_64 { "x86_64" } else { "i386" });
    }
    let machine = if image.starts_with(b"MZ") {
        let header = number(0x3c, 4)?;
        let is_program = image.get(header..header.checked_add(4)?) == Some(b"PE\0\0");
        if is_program { number(header.checked_add(4)?, 2) } else { None }
    } else if image.starts_with(b"\x7fELF\x02\x02") {
        // Big-endian.
        number(19, 1)
    } else if image.starts_with(b"\x7fELF") {
        number(18, 2)
    } else {
        None
    };
    Some(match machine? {
        0xaa64 | 183 => "arm64",
        0x5064 | 243 => "riscv64",
        0x6264 | 258 => "loongarch64",
        0x1c0 | 0x1c2 | 40 => "arm",
        21 => "ppc64",
        22 => "s390x",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_that_with_the_largest_numbers() {
        let mut versions =
            ["6.1.0-10-amd64", "6.1.0-9-amd64", "6.12.1", "5.14.0-427.el9", "6.1.0-10-cloud-amd64", "6.1.0"];
        versions.sort_by(|one, other| by_version(one, other));
        assert_eq!(
            versions,
            ["5.14.0-427.el9", "6.1.0", "6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-10-cloud-amd64", "6.12.1"]
        );
        assert_eq!(by_version("6.01", "6.1"), Ordering::Equal);
    }

    #[test]
    fn a_kernel_says_which_processor_it_is_for() {
        let mut image = vec![0; 0x300];
        assert_eq!(architecture(&image), None);
        image[0x202..0x206].copy_from_slice(b"HdrS");
        assert_eq!(architecture(&image), Some("i386"));
        image[0x236] = 0x7f;
        assert_eq!(architecture(&image), Some("x86_64"));
        let mut arm = vec![0; 0x80];
        arm[..2].copy_from_slice(b"MZ");
        arm[0x3c] = 0x40;
        arm[0x40..0x46].copy_from_slice(b"PE\0\0\x64\xaa");
        assert_eq!(architecture(&arm), Some("arm64"));
        arm[0x3c..0x40].fill(0xff);
        assert_eq!(architecture(&arm), None);
        assert_eq!(architecture(b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0\0\x02\0\x16"), Some("s390x"));
        assert_eq!(architecture(b""), None);
    }
}
