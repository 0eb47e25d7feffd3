//! Which filesystem a disk or partition has, by the magic numbers where each keeps them.
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::fmt;

use uuid::Uuid;

use crate::block::BlockRead;
use crate::error::Result;

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FilesystemKind {
    /// ext2: no journal.
    Ext2,
    /// ext3: a journal, but nothing of ext4's.
    Ext3,
    /// ext4.
    Ext4,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// SquashFS.
    Squashfs,
    /// NTFS.
    Ntfs,
    /// ISO 9660, a CD.
    Iso9660,
    /// Swap space.
    Swap,
    /// An LVM physical volume.
    Lvm,
    /// LUKS, encrypted.
    Luks,
}

impl FilesystemKind {
    /// Whether it is ext2, ext3 or ext4.
    pub fn is_ext(self) -> bool {
        matches!(self, Self::Ext2 | Self::Ext3 | Self::Ext4)
    }

    /// Which of the three an ext filesystem with these features is. Whatever ext3 did not know makes it ext4: beyond filetype,
    /// recover, meta_bg; sparse_super, large_file, btree_dir.
    pub(super) fn of_ext(compatible: u32, incompatible: u32, read_only: u32) -> Self {
        if incompatible & !0x16 != 0 || read_only & !0x7 != 0 {
            Self::Ext4
        } else if compatible & 0x4 != 0 {
            Self::Ext3
        } else {
            Self::Ext2
        }
    }
}

impl fmt::Display for FilesystemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Fat => "FAT",
            Self::Xfs => "XFS",
            Self::Btrfs => "Btrfs",
            Self::Squashfs => "SquashFS",
            Self::Ntfs => "NTFS",
            Self::Iso9660 => "ISO 9660",
            Self::Swap => "swap",
            Self::Lvm => "LVM",
            Self::Luks => "LUKS",
        })
    }
}

/// What a filesystem says of itself at its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Which.
    pub kind: FilesystemKind,
    /// Its UUID as `/dev/disk/by-uuid` has it: FAT's is `1234-ABCD`.
    pub uuid: Option<String>,
    /// Its label; may be empty.
    pub label: String,
}

/// What `disk` holds; `None` for nothing that is known here.
///
/// # Errors
/// Whatever the disk says.
pub fn detect(disk: &(impl BlockRead + ?Sized)) -> Result<Option<Signature>> {
    let head = Head::read(disk)?;
    // FAT has the weakest marks, so it comes last.
    let order = [luks, lvm, xfs, squashfs, ntfs, ext, btrfs, swap, iso9660, fat];
    Ok(order.iter().find_map(|test| test(&head)))
}

/// The first bytes of a disk, and those at 64 KiB.
struct Head {
    start: Vec<u8>,
    second: Vec<u8>,
}

impl Head {
    fn read(disk: &(impl BlockRead + ?Sized)) -> Result<Self> {
        let part = |offset: u64, len: u64| -> Result<Vec<u8>> {
            let mut bytes = vec![0; disk.size().saturating_sub(offset).min(len) as usize];
            disk.read_at(&mut bytes, offset.min(disk.size()))?;
            Ok(bytes)
        };
        Ok(Self { start: part(0, 0x9000)?, second: part(0x1_0000, 0x1000)? })
    }

    fn has(&self, at: usize, magic: &[u8]) -> bool {
        self.start.get(at..).is_some_and(|rest| rest.starts_with(magic))
    }
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    from.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Text up to its first zero or its trailing spaces.
fn text(from: &[u8], at: usize, len: usize) -> String {
    let field = from.get(at..).unwrap_or_default();
    let field: Vec<u8> = field.iter().take(len).copied().take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&field).trim_end().to_owned()
}

fn uuid_at(from: &[u8], at: usize) -> Option<String> {
    Some(Uuid::from_bytes(bytes(from, at))).filter(|uuid| !uuid.is_nil()).map(|uuid| uuid.to_string())
}

fn found(kind: FilesystemKind, uuid: Option<String>, label: String) -> Option<Signature> {
    Some(Signature { kind, uuid, label })
}

fn ext(head: &Head) -> Option<Signature> {
    if !head.has(0x438, &[0x53, 0xef]) {
        return None;
    }
    let flags = |at| u32::from_le_bytes(bytes(&head.start, at));
    let kind = FilesystemKind::of_ext(flags(0x45c), flags(0x460), flags(0x464));
    found(kind, uuid_at(&head.start, 0x468), text(&head.start, 0x478, 16))
}

fn fat(head: &Head) -> Option<Signature> {
    let sector = u16::from_le_bytes(bytes(&head.start, 0x0b));
    let [per_cluster] = bytes::<1>(&head.start, 0x0d);
    let [fats] = bytes::<1>(&head.start, 0x10);
    let [media] = bytes::<1>(&head.start, 0x15);
    let jump = head.has(0, &[0xeb]) || head.has(0, &[0xe9]);
    let sane = matches!(sector, 512 | 1024 | 2048 | 4096)
        && per_cluster.is_power_of_two()
        && matches!(fats, 1 | 2)
        && (media == 0xf0 || media >= 0xf8);
    if !(head.has(0x1fe, &[0x55, 0xaa]) && jump && sane) {
        return None;
    }
    let wide = head.has(0x52, b"FAT32");
    let (serial_at, label_at) = if wide { (0x43, 0x47) } else { (0x27, 0x2b) };
    let serial = u32::from_le_bytes(bytes(&head.start, serial_at));
    let uuid = format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff);
    let label = Some(text(&head.start, label_at, 11)).filter(|label| label != "NO NAME").unwrap_or_default();
    found(FilesystemKind::Fat, Some(uuid), label)
}

fn xfs(head: &Head) -> Option<Signature> {
    head.has(0, b"XFSB").then_some(())?;
    found(FilesystemKind::Xfs, uuid_at(&head.start, 0x20), text(&head.start, 0x6c, 12))
}

fn btrfs(head: &Head) -> Option<Signature> {
    (bytes(&head.second, 0x40) == *b"_BHRfS_M").then_some(())?;
    found(FilesystemKind::Btrfs, uuid_at(&head.second, 0x20), text(&head.second, 0x12b, 256))
}

fn squashfs(head: &Head) -> Option<Signature> {
    head.has(0, b"hsqs").then_some(())?;
    found(FilesystemKind::Squashfs, None, String::new())
}

fn ntfs(head: &Head) -> Option<Signature> {
    head.has(3, b"NTFS    ").then_some(())?;
    let serial = u64::from_le_bytes(bytes(&head.start, 0x48));
    found(FilesystemKind::Ntfs, Some(format!("{serial:016X}")), String::new())
}

fn iso9660(head: &Head) -> Option<Signature> {
    head.has(0x8001, b"CD001").then_some(())?;
    found(FilesystemKind::Iso9660, None, text(&head.start, 0x8028, 32))
}

fn swap(head: &Head) -> Option<Signature> {
    // In the last ten bytes of the first page, whatever the machine's page size.
    let marked = [0x1000usize, 0x2000, 0x4000, 0x8000]
        .iter()
        .any(|page| head.has(page.saturating_sub(10), b"SWAPSPACE2"));
    marked.then_some(())?;
    found(FilesystemKind::Swap, uuid_at(&head.start, 0x40c), text(&head.start, 0x41c, 16))
}

fn lvm(head: &Head) -> Option<Signature> {
    // The label is in one of the first four sectors.
    let marked = (0..4usize).any(|sector| {
        head.has(sector.saturating_mul(512), b"LABELONE") && {
            head.has(sector.saturating_mul(512).saturating_add(0x18), b"LVM2 001")
        }
    });
    marked.then_some(())?;
    found(FilesystemKind::Lvm, None, String::new())
}

fn luks(head: &Head) -> Option<Signature> {
    head.has(0, b"LUKS\xba\xbe").then_some(())?;
    found(FilesystemKind::Luks, Some(text(&head.start, 0xa8, 40)), String::new())
}
