//! Rules of firmware: what a BIOS and what UEFI find on the disk.

use image_core::block::BlockRead;
use image_core::partition::kind;

use super::rule::{Finding, Judgement};
use super::subject::Subject;
use super::view::{LIMIT, View};

/// Where GRUB's boot code names its next sector (GRUB source, boot/i386/pc/boot.S).
const NEXT_SECTOR: usize = 0x5c;
/// Where the first sector of GRUB's core image names the one behind it (boot/i386/pc/diskboot.S).
const BLOCK_LIST: usize = 0x1f4;
/// Boot code ends where the disk's signature begins.
const CODE_LEN: usize = 440;
const INSTALL: &str = "grub-install --target=i386-pc";
const REMOVABLE: &str = "grub-install --target=x86_64-efi --removable, or the distribution's shim and GRUB";
const SHIM: &[u8] = b"\nshim,";
/// What firmware starts of its own accord, in an EFI system partition (UEFI 2.10, 3.5.1.1).
const PROGRAMS: [&str; 2] = ["EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/BOOTAA64.EFI"];

/// What is there for a kind of firmware.
enum Loader {
    None(Finding),
    Broken(Vec<Finding>),
    There(String),
}

pub(super) fn bios(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let wanted = subject.asked().bios();
    if wanted == Some(false) {
        return Ok(Judgement::kept("it is for UEFI"));
    }
    Ok(match bios_loader(subject)? {
        Loader::There(what) => Judgement::Kept(what),
        Loader::Broken(findings) => Judgement::Broken(findings),
        Loader::None(finding) if wanted == Some(true) => Judgement::Broken(vec![finding]),
        Loader::None(finding) => match uefi_loader(subject)? {
            Loader::None(_) => Judgement::Broken(vec![finding]),
            _ => Judgement::kept("none: set hw_firmware_type=uefi"),
        },
    })
}

pub(super) fn uefi(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let wanted = subject.asked().uefi();
    if wanted == Some(false) {
        return Ok(Judgement::kept("it is for BIOS"));
    }
    Ok(match uefi_loader(subject)? {
        Loader::There(what) => Judgement::Kept(what),
        Loader::Broken(findings) => Judgement::Broken(findings),
        Loader::None(finding) if wanted == Some(true) => Judgement::Broken(vec![finding]),
        Loader::None(_) => Judgement::kept("none: set hw_firmware_type=bios"),
    })
}

fn bios_loader(subject: &Subject<'_>) -> crate::Result<Loader> {
    let view = subject.view;
    let core = view.partitions().iter().find(|partition| partition.is(kind::BIOS_BOOT));
    let sector = sector(subject, 0)?;
    let code = sector.get(..CODE_LEN).unwrap_or_default();
    if code.iter().all(|byte| *byte == 0) {
        return Ok(Loader::None(Finding::new("sector 0", "there is no boot code", INSTALL)));
    }
    if !code.windows(4).any(|window| window == b"GRUB") && subject.asked().bios().is_none() {
        return Ok(Loader::There("boot code that is not GRUB's".into()));
    }
    let next = number(&sector, NEXT_SECTOR);
    if let Some(partition) = core
        && next.checked_mul(512) != Some(partition.range.offset())
    {
        let found =
            format!("its boot code goes on at sector {next:#x}, not in partition {}", partition.number);
        return Ok(Loader::Broken(vec![Finding::new("sector 0", found, INSTALL)]));
    }
    if core.is_none() && subject.asked().bios().is_some() {
        let found = "there is no BIOS boot partition";
        return Ok(Loader::Broken(vec![Finding::new("partition table", found, INSTALL)]));
    }
    let Some(offset) = next.checked_mul(512).filter(|offset| *offset < view.disk().size()) else {
        let found = format!("its boot code goes on at sector {next:#x}, behind the disk's end");
        return Ok(Loader::Broken(vec![Finding::new("sector 0", found, INSTALL)]));
    };
    if number(&self::sector(subject, offset)?, BLOCK_LIST) != next.saturating_add(1) {
        let found = "GRUB's core image does not begin there";
        return Ok(Loader::Broken(vec![Finding::new(format!("sector {next:#x}"), found, INSTALL)]));
    }
    Ok(Loader::There(format!("GRUB, at sector {next:#x}")))
}

/// What keeps a shim from starting the next program, if the firmware's default program is one: from there it starts `fbx64.efi` beside it, if
/// that is there, which starts what a list in a vendor's folder names, else `grubx64.efi` (shim's source, shim.c, `should_use_fallback`; fallback.c).
fn second_stage(view: &View, program: &str) -> crate::Result<Vec<Finding>> {
    let content = view.root().read(program.as_ref(), LIMIT)?.unwrap_or_default();
    // Of its section .sbat.
    if !content.windows(SHIM.len()).any(|window| window == SHIM) {
        return Ok(Vec::new());
    }
    let (folder, name) = program.rsplit_once('/').unwrap_or_default();
    let machine = name.trim_start_matches("BOOT").trim_end_matches(".EFI");
    let lower = machine.to_ascii_lowercase();
    let fallback = format!("{folder}/fb{lower}.efi");
    if !view.exists(&fallback)? {
        let next = format!("{folder}/grub{lower}.efi");
        let found = "it is missing, and the shim beside it starts nothing else";
        return Ok(match view.exists(&next)? {
            true => Vec::new(),
            false => vec![Finding::new(next, found, REMOVABLE)],
        });
    }
    let (vendors, _) = folder.rsplit_once('/').unwrap_or_default();
    let lists = view.matches(&format!("{vendors}/*/BOOT{machine}.CSV"))?;
    for list in &lists {
        let bytes = view.root().read(list, LIMIT)?.unwrap_or_default();
        let units: Vec<u16> = bytes
            .chunks_exact(2)
            .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
            .collect();
        let text = String::from_utf16_lossy(&units);
        let named = text.trim_start_matches('\u{feff}').split(',').next().unwrap_or_default();
        let beside = list.with_file_name(named);
        if !named.is_empty() && !named.contains(['/', '\\']) && view.exists(&beside)? {
            return Ok(Vec::new());
        }
    }
    let found = format!(
        "no EFI/*/BOOT{machine}.CSV names a program that is there, and the shim beside it starts nothing else"
    );
    Ok(vec![Finding::new(fallback, found, REMOVABLE)])
}

fn sector(subject: &Subject<'_>, offset: u64) -> crate::Result<Vec<u8>> {
    let mut bytes = vec![0; subject.view.disk().size().saturating_sub(offset).min(512) as usize];
    subject.view.disk().read_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u64::from_le_bytes)
}

fn uefi_loader(subject: &Subject<'_>) -> crate::Result<Loader> {
    let view = subject.view;
    let Some(esp) = view.table().and_then(|_| view.esp()) else {
        let found = "there is no EFI system partition";
        return Ok(Loader::None(Finding::new("partition table", found, REMOVABLE)));
    };
    let places = PROGRAMS.map(|program| format!("{esp}/{program}"));
    let Some(program) = view.first_of(&places.each_ref().map(String::as_str))? else {
        let [place, _] = places;
        return Ok(Loader::None(Finding::new(place, "it is missing", REMOVABLE)));
    };
    let mut findings = second_stage(view, &program)?;
    let mut programs = vec![program.clone()];
    if subject.asked().uefi().is_some() {
        programs.push(format!("{esp}/EFI/BOOT/grubx64.efi"));
    }
    for path in programs {
        let content = view.root().read(path.as_ref(), LIMIT)?;
        if !content.is_some_and(|bytes| bytes.starts_with(b"MZ")) {
            findings.push(Finding::new(path, "it is missing, or no program", REMOVABLE));
        }
    }
    let menus = view.matches(&format!("{esp}/EFI/*/grub.cfg"))?;
    for path in &menus {
        let text = view.text(path)?.unwrap_or_default();
        let mut own = view.volumes().iter().filter_map(|volume| volume.signature.uuid.as_deref());
        let names_own = own.any(|own| text.split_whitespace().any(|word| word.eq_ignore_ascii_case(own)));
        if text.contains("search") && !names_own {
            let found = "it looks for a filesystem that is not in this image";
            findings.push(Finding::new(path.display().to_string(), found, REMOVABLE));
        }
    }
    if menus.is_empty() && subject.asked().uefi().is_some() {
        findings.push(Finding::new(format!("{esp}/EFI"), "no folder has a grub.cfg", REMOVABLE));
    }
    Ok(if findings.is_empty() { Loader::There(program) } else { Loader::Broken(findings) })
}
