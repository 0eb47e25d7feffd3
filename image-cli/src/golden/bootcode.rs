//! GRUB's boot code for a BIOS, put where the firmware looks for it: no program to be run as root on a device.
//!
//! ```text
//! LBA 0      boot.img, around the partition table that is there         BIOS ─► LBA 0 ─► core.img ─► /boot/grub
//! bios_grub  core.img, its first sector told where the others are
//! ```
//!
//! Offsets as in GRUB 2's `include/grub/i386/pc/boot.h` and `grub-setup`.

use image_core::fs::NewFile;

use crate::error::{Context, bail};

/// The size of a sector in bytes.
pub(crate) const SECTOR: usize = 512;

/// Where a disk's own data lies in the first sector: the BIOS parameter block, and signature with partition table.
const KEPT: [std::ops::Range<usize>; 2] = [0x03..0x5a, 0x1b8..0x1fe];
/// In boot.img: the sector of core.img, 8 bytes.
const KERNEL_SECTOR: usize = 0x5c;
/// In boot.img: the drive to read from; 0xff means "the one the firmware booted".
const BOOT_DRIVE: usize = 0x64;
/// In boot.img: a jump around a fix for old firmware, which two NOPs let pass through.
const DRIVE_CHECK: usize = 0x66;
/// In core.img's first sector: the list of its other sectors, here of one piece.
const BLOCK_LIST: usize = 0x1f4;
/// Where core.img's second sector goes in memory, as a real-mode segment: 0x8200 / 16.
const KERNEL_SEGMENT: u16 = 0x820;

/// What goes beside the filesystem's files: into sectors and the EFI system partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct BootFiles {
    /// boot.img and core.img, as GRUB made them.
    pub(crate) bios: Option<BiosCode>,
    /// The EFI system partition's files.
    pub(crate) esp: Vec<NewFile>,
}

/// GRUB's code for a BIOS.
#[derive(Debug, Clone)]
pub(crate) struct BiosCode {
    /// For the first sector.
    pub(crate) boot_img: Vec<u8>,
    /// For its partition.
    pub(crate) core_img: Vec<u8>,
}

/// The first sector of a disk that has `current` there now: `boot_img` with the disk's own partition table, told that
/// core.img begins at sector `core_lba`.
///
/// # Errors
/// If `boot_img` is not what GRUB's is.
pub(crate) fn boot_sector(
    boot_img: &[u8],
    current: &[u8; SECTOR],
    core_lba: u64,
) -> crate::Result<[u8; SECTOR]> {
    let mut sector: [u8; SECTOR] = boot_img
        .try_into()
        .with_context(|| format!("GRUB's boot.img has {} bytes, not {SECTOR}", boot_img.len()))?;
    if sector[0x1fe..] != [0x55, 0xaa] {
        bail!("GRUB's boot.img does not end with 55 aa");
    }
    for kept in KEPT {
        sector[kept.clone()].copy_from_slice(&current[kept]);
    }
    sector[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&core_lba.to_le_bytes());
    sector[BOOT_DRIVE] = 0xff;
    sector[DRIVE_CHECK..DRIVE_CHECK + 2].fill(0x90);
    Ok(sector)
}

/// `core_img` in whole sectors, to be written to sector `core_lba` and those behind it, of which there are `room`.
///
/// # Errors
/// If it does not fit, or is not what GRUB's is.
pub(crate) fn core_image(core_img: &[u8], core_lba: u64, room: u64) -> crate::Result<Vec<u8>> {
    let mut core = core_img.to_vec();
    core.resize(core_img.len().next_multiple_of(SECTOR), 0);
    let sectors = core.len() / SECTOR;
    if sectors < 2 || sectors as u64 > room {
        bail!("GRUB's core image has {sectors} sectors; 2 to {room} are possible");
    }
    let rest = u16::try_from(sectors - 1).context("GRUB's core image is larger than 32 MiB")?;
    core[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&(core_lba + 1).to_le_bytes());
    core[BLOCK_LIST + 8..BLOCK_LIST + 10].copy_from_slice(&rest.to_le_bytes());
    core[BLOCK_LIST + 10..BLOCK_LIST + 12].copy_from_slice(&KERNEL_SEGMENT.to_le_bytes());
    Ok(core)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_sector_keeps_the_partition_table_and_knows_where_the_core_is() {
        let mut boot: [u8; SECTOR] = [0xb0; SECTOR];
        boot[0x1fe..].copy_from_slice(&[0x55, 0xaa]);
        let current = [0xcc; SECTOR];
        let sector = boot_sector(&boot, &current, 0x1122_3344_5566_7788).unwrap();
        assert_eq!(sector[..0x03], [0xb0; 3]);
        assert_eq!(sector[0x03..0x5a], [0xcc; 0x57]);
        assert_eq!(sector[0x5a..0x5c], [0xb0; 2]);
        assert_eq!(sector[0x5c..0x64], [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
        assert_eq!(sector[0x64..0x68], [0xff, 0xb0, 0x90, 0x90]);
        assert_eq!(sector[0x68..0x1b8], [0xb0; 0x150]);
        assert_eq!(sector[0x1b8..0x1fe], [0xcc; 0x46]);
        assert_eq!(sector[0x1fe..], [0x55, 0xaa]);
        assert!(boot_sector(&boot[..511], &current, 1).is_err());
        assert!(boot_sector(&current, &current, 1).is_err());
    }

    #[test]
    fn the_core_image_knows_its_own_sectors() {
        let core = core_image(&[7; 3 * SECTOR - 1], 2048, 3).unwrap();
        assert_eq!(core.len(), 3 * SECTOR);
        assert_eq!(core[0x1f3], 7);
        assert_eq!(core[0x1f4..0x200], [0x01, 0x08, 0, 0, 0, 0, 0, 0, 2, 0, 0x20, 0x08]);
        assert_eq!(core[0x200], 7);
        assert_eq!(core[3 * SECTOR - 1], 0);
        assert!(core_image(&[7; 3 * SECTOR + 1], 2048, 3).is_err());
        assert!(core_image(&[7; SECTOR], 2048, 3).is_err());
    }
}
