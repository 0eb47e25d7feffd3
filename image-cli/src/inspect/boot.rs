//! What starts: the processor that programs are for, the first program, kernels, and what loads them.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::path::Path;

use image_core::block::BlockRead;
use image_core::fs::{FileKind, Files};

use crate::links::{Last, resolve};
use crate::system::System;

/// Programs that every system has.
const PROGRAMS: [&str; 5] =
    ["/bin/sh", "/usr/bin/env", "/bin/busybox", "/usr/lib/systemd/systemd", "/sbin/init"];
/// Where kernels look for the first program, as they look (Linux, init/main.c).
const INITS: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];
/// Where kernels are, and how their names begin.
const KERNEL_FOLDERS: [&str; 5] =
    ["/boot", "/boot/efi/EFI/Linux", "/boot/EFI/Linux", "/efi/EFI/Linux", "/usr/lib/kernel"];
const KERNEL_NAMES: [&str; 4] = ["vmlinuz", "vmlinux", "Image", "kernel-"];
const MODULES: [&str; 2] = ["/usr/lib/modules", "/lib/modules"];
/// Where an EFI system partition is mounted.
const EFI: [&str; 3] = ["/boot/efi/EFI", "/efi/EFI", "/boot/EFI"];
/// So much of the disk is looked through for boot code, in bytes.
const BOOT_CODE: u64 = 440;

/// The machine that a program of the system is for, in the words of `uname -m` (ELF, `e_machine`).
pub(super) fn architecture(files: &dyn Files) -> Option<&'static str> {
    PROGRAMS.iter().find_map(|path| machine(files, Path::new(path)))
}

fn machine(files: &dyn Files, path: &Path) -> Option<&'static str> {
    let content = files.content(path).ok().flatten()?;
    let mut head = [0; 20];
    content.read_at(&mut head, 0).ok()?;
    let [0x7f, b'E', b'L', b'F', class, order, ..] = head else { return None };
    let [.., low, high] = head;
    let machine = if order == 2 { u16::from_be_bytes([low, high]) } else { u16::from_le_bytes([low, high]) };
    Some(match (machine, class) {
        (0x3e, _) => "x86_64",
        (0x03, _) => "i686",
        (0xb7, _) => "aarch64",
        (0x28, _) => "armv7l",
        (0xf3, 2) => "riscv64",
        (0x15, _) if order == 1 => "ppc64le",
        (0x15, _) => "ppc64",
        (0x16, 2) => "s390x",
        (0x102, 2) => "loongarch64",
        (0x08, _) => "mips",
        _ => return None,
    })
}

/// The first program, without the links that lead to it.
pub(super) fn init(system: &System) -> Option<String> {
    let files = system.files();
    let link = |path: &Path| files.read_link(path);
    let found = INITS.iter().find(|path| {
        files.metadata(Path::new(path)).ok().flatten().is_some_and(|found| found.kind == FileKind::File)
    })?;
    let path = resolve(Path::new(found), Last::Follow, link).ok().flatten()?;
    Some(path.to_string_lossy().into_owned())
}

/// Files in which kernels are.
pub(super) fn kernels(files: &dyn Files) -> Vec<String> {
    let mut found = Vec::new();
    for folder in KERNEL_FOLDERS {
        for name in names(files, folder) {
            let is_unified = folder.ends_with("Linux") && name.ends_with(".efi");
            if is_unified || KERNEL_NAMES.iter().any(|start| name.starts_with(start)) {
                found.push(format!("{folder}/{name}"));
            }
        }
    }
    for release in modules(files) {
        let path = format!("/usr/lib/modules/{release}/vmlinuz");
        if files.metadata(Path::new(&path)).ok().flatten().is_some() {
            found.push(path);
        }
    }
    found
}

/// Releases of kernels that there are modules for.
pub(super) fn modules(files: &dyn Files) -> Vec<String> {
    let folder = MODULES.iter().find(|folder| !names(files, folder).is_empty());
    folder.map(|folder| names(files, folder)).unwrap_or_default()
}

/// What loads a kernel: of a BIOS by its boot code, of UEFI by the names of programs.
pub(super) fn loaders(system: &System) -> Vec<String> {
    let mut found = Vec::new();
    let mut code = vec![0; system.disk().size().min(BOOT_CODE) as usize];
    if system.disk().read_at(&mut code, 0).is_ok() {
        let has = |text: &[u8]| code.windows(text.len()).any(|part| part == text);
        for (text, name) in
            [(b"GRUB ".as_slice(), "GRUB"), (b"SYSLINUX", "SYSLINUX"), (b"EXTLINUX", "EXTLINUX")]
        {
            if has(text) {
                found.push(format!("{name} (BIOS)"));
            }
        }
    }
    let files = system.files();
    let Some(efi) = EFI.iter().find(|folder| !names(files, folder).is_empty()) else { return found };
    for vendor in names(files, efi) {
        for program in names(files, &format!("{efi}/{vendor}")) {
            let name = program.to_ascii_lowercase();
            let is_program = Path::new(&name).extension().is_some_and(|extension| extension == "efi");
            let known =
                [("shim", "shim"), ("grub", "GRUB"), ("systemd-boot", "systemd-boot"), ("boot", "fallback")];
            if let Some((_, what)) = known.iter().find(|(start, _)| is_program && name.starts_with(start)) {
                found.push(format!("{what} (UEFI, {efi}/{vendor}/{program})"));
            }
        }
    }
    found
}

fn names(files: &dyn Files, folder: &str) -> Vec<String> {
    let entries = files.list(Path::new(folder)).ok().flatten().unwrap_or_default();
    entries.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect()
}
