//! The rule of what GRUB reads: its menu and the kernels lie in a filesystem of which it knows all features.
//!
//! ```text
//! /boot/grub/grub.cfg ─► its filesystem: ext4 features, XFS features ─┐
//! EFI/BOOT/grubx64.efi, section .sbat ─► GRUB's version ──────────────┴─► can it read that?
//! ```
//!
//! What each version reads was tried: 2.06 (Debian 12), 2.12 (13), 2.14 (14).

use image_core::block::BlockRead;
use image_core::fs::{FilesystemKind, Superblock};

use super::rule::{Finding, Judgement};
use super::subject::Subject;
use super::view::{LIMIT, View};

const MENUS: [&str; 2] = ["/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"];
/// In an EFI system partition.
const PROGRAMS: &str = "EFI/*/grub*.efi";
/// Features of ext4 that no GRUB up to 2.14 reads, by the names of mke2fs.
const EXT4: [&str; 3] = ["inline_data", "casefold", "ea_inode"];
/// Bits of XFS's `sb_features_incompat`, big-endian at byte 216 of the superblock (Linux, fs/xfs/libxfs/xfs_format.h), and the first GRUB
/// that reads a filesystem with each.
const XFS: [(u32, &str, (u32, u32)); 2] = [(1 << 6, "exchange", (2, 14)), (1 << 7, "parent", (2, 14))];
const XFS_FEATURES: u64 = 216;

/// Whether the image's GRUB reads the filesystem of its menu.
pub(super) fn reads_its_filesystem(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let view = subject.view;
    let Some(menu) = view.first_of(&MENUS)? else { return Ok(Judgement::kept("there is no GRUB")) };
    let Some((volume, _)) = view.place_of(menu.as_ref())? else {
        return Ok(Judgement::Open("it is not known where its menu lies".into()));
    };
    let kind = volume.signature.kind;
    let content = volume.content(view.disk())?;
    let unread: Vec<String> = if kind.is_ext() {
        let superblock = Superblock::read(&content)?;
        unread_of_ext4(&superblock.features.names(), superblock.block_size)
    } else if kind == FilesystemKind::Xfs {
        let mut bytes = [0; 4];
        content.read_at(&mut bytes, XFS_FEATURES)?;
        unread_of_xfs(u32::from_be_bytes(bytes), version(view)?)
    } else {
        return Ok(Judgement::kept(format!("{kind}: not known to be unreadable")));
    };
    let fix = "make the filesystem without it, or put /boot into one of its own";
    let found = |feature: String| Finding::new(volume.name(), format!("GRUB does not read {feature}"), fix);
    Ok(Judgement::of(unread.into_iter().map(found).collect(), kind.to_string()))
}

fn unread_of_ext4(features: &[String], block_size: u64) -> Vec<String> {
    let has = |name: &str| features.iter().any(|feature| feature == name);
    let unread = EXT4.into_iter().filter(|name| has(name)).map(|name| format!("ext4 with {name}"));
    let clusters = (has("bigalloc") && block_size == 1024).then(|| "bigalloc with blocks of 1 KiB".into());
    unread.chain(clusters).collect()
}

/// `version` is GRUB's, where it is known.
fn unread_of_xfs(features: u32, version: Option<(u32, u32)>) -> Vec<String> {
    let Some(version) = version else { return Vec::new() };
    let unread = XFS.into_iter().filter(|(bit, _, first)| features & bit != 0 && version < *first);
    unread.map(|(_, name, (major, minor))| format!("XFS with {name} before {major}.{minor}")).collect()
}

/// The version of the GRUB in the EFI system partition.
fn version(view: &View) -> crate::Result<Option<(u32, u32)>> {
    let Some(esp) = view.esp() else { return Ok(None) };
    for path in view.matches(&format!("{esp}/{PROGRAMS}"))? {
        let program = view.root().read(&path, LIMIT)?.unwrap_or_default();
        if let Some(version) = in_sbat(&program) {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

/// `grub,GENERATION,VENDOR,PACKAGE,VERSION,ADDRESS`, a line of the section .sbat (shim's SBAT.md).
fn in_sbat(program: &[u8]) -> Option<(u32, u32)> {
    let begins: &[u8] = b"\ngrub,";
    let at = program.windows(begins.len()).position(|window| window == begins)?;
    let line: Vec<u8> = program
        .get(at.checked_add(1)?..)?
        .iter()
        .copied()
        .take(512)
        .take_while(|byte| *byte != b'\n')
        .collect();
    let line = String::from_utf8(line).ok()?;
    let (major, rest) = line.split(',').nth(4)?.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_version_does_not_read_is_told() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let usual = names(&["has_journal", "extent", "64bit", "metadata_csum", "orphan_file"]);
        assert!(unread_of_ext4(&usual, 4096).is_empty());
        assert_eq!(unread_of_ext4(&names(&["extent", "casefold", "ea_inode"]), 4096).len(), 2);
        assert_eq!(unread_of_ext4(&names(&["bigalloc"]), 1024).len(), 1);
        assert!(unread_of_ext4(&names(&["bigalloc"]), 4096).is_empty());
        let both = 1 << 6 | 1 << 7 | 0b10_1011;
        assert_eq!(unread_of_xfs(both, Some((2, 12))).len(), 2);
        assert!(unread_of_xfs(both, Some((2, 14))).is_empty());
        assert!(unread_of_xfs(0b10_1011, Some((2, 6))).is_empty() && unread_of_xfs(both, None).is_empty());
    }

    #[test]
    fn the_version_is_that_of_the_programs_own_line() {
        let program = |line: &str| format!("MZ\0sbat,1,SBAT Version,sbat,1,x\n{line}\0\0").into_bytes();
        let line = "grub,5,Free Software Foundation,grub,2.12,https://www.gnu.org/software/grub/\ngrub.debian,5,Debian,grub2,2.12-9,x\n";
        assert_eq!(in_sbat(&program(line)), Some((2, 12)));
        assert_eq!(in_sbat(&program("grub,4,x,grub,2.06~beta,x\n")), Some((2, 6)));
        for other in ["", "grub,4", "grub,4,x,grub,two.1,x\n", "grub.debian,5,Debian,grub2,2.12,x\n"] {
            assert_eq!(in_sbat(&program(other)), None, "{other:?}");
        }
    }
}
