//! The disk: partitions and filesystems, made in place in one sparse file.
//!
//! ```text
//! 0       1 MiB             4 MiB                                                    end − 1 MiB
//! │ GPT  │ 14 bios_grub    │ 15 ESP (FAT)      │ 1 root (ext4), last: it can grow   │ backup GPT │
//! ```
//!
//! The root filesystem is measured before it is made and never shrunk afterwards. What a firmware does not need is
//! left out.

use std::path::Path;

use anyhow::{Context, anyhow};
use image_core::block::{BlockRead, BlockWrite, ByteRange, FileDisk, Window};
use image_core::fs::{NewFat, make_fat};
use image_core::partition::{NewPartition, SECTOR_SIZE, kind, write_gpt};

use super::bootcode::{SECTOR, boot_sector, core_image};
use super::bootloader::{BiosCode, BootFiles};
use super::epoch::Epoch;
use super::ext4::{self, Content};
use super::identity::{Identity, Purpose};
use super::recipe::{DiskSize, Firmware, Recipe};
use super::tree::Tree;
use crate::failure::Advise;
use crate::size::Size;

/// The root partition's number.
pub(crate) const ROOT: u32 = 1;
/// The number of GRUB's partition for a BIOS.
pub(crate) const BIOS: u32 = 14;
/// The EFI system partition's number.
pub(crate) const ESP: u32 = 15;

/// Partitions begin and end at multiples of this.
const ALIGNMENT: u64 = 1 << 20;
/// Where GRUB's partition for a BIOS ends.
const BIOS_END: u64 = 4 << 20;

/// Which part of the disk is what, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The whole disk's size.
    pub(crate) size: u64,
    /// The partitions, in the order of the disk.
    pub(crate) partitions: Vec<Placed>,
}

/// A partition's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    /// [`ROOT`], [`BIOS`] or [`ESP`].
    pub(crate) number: u32,
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// Where it is.
    pub(crate) range: ByteRange,
}

impl Layout {
    /// The layout for `recipe` with a root filesystem of at least `needed` bytes.
    ///
    /// # Errors
    /// If the recipe gives a size and that is too small.
    pub(crate) fn new(recipe: &Recipe, needed: u64) -> anyhow::Result<Self> {
        let mut partitions = Vec::new();
        let mut at = ALIGNMENT;
        let mut place = |number, name, end: u64| {
            partitions.push(Placed { number, name, range: ByteRange::between(at, end) });
            at = end;
        };
        if recipe.boot.firmware.contains(&Firmware::Bios) {
            place(BIOS, "bios", BIOS_END);
        }
        if recipe.boot.firmware.contains(&Firmware::Uefi) {
            let start = BIOS_END;
            let end = (start + recipe.disk.esp_size.0).next_multiple_of(ALIGNMENT);
            partitions.push(Placed { number: ESP, name: "esp", range: ByteRange::between(start, end) });
            at = end;
        }
        let smallest = (at + needed).next_multiple_of(ALIGNMENT) + ALIGNMENT;
        let size = match recipe.disk.size {
            DiskSize::Fit => smallest,
            DiskSize::Bytes(Size(size)) => size / ALIGNMENT * ALIGNMENT,
        };
        if size < smallest {
            let mib = smallest / ALIGNMENT;
            return Err(anyhow!(
                "the disk is too small: `disk.size` is {}, its content needs {}",
                Size(size),
                Size(smallest)
            ))
            .hint(|| format!("write disk.size = \"{mib}M\" or more, or leave it out for a disk that fits"));
        }
        let root = ByteRange::between(at, size - ALIGNMENT);
        partitions.push(Placed { number: ROOT, name: "root", range: root });
        Ok(Self { size, partitions })
    }

    /// The place of the partition with this number.
    pub(crate) fn range(&self, number: u32) -> Option<ByteRange> {
        self.partitions.iter().find(|placed| placed.number == number).map(|placed| placed.range)
    }

    fn table(&self, identity: &Identity) -> Vec<NewPartition> {
        let entry = |placed: &Placed| NewPartition {
            number: placed.number,
            range: placed.range,
            kind: match placed.number {
                BIOS => kind::BIOS_BOOT,
                ESP => kind::EFI_SYSTEM,
                _ => kind::LINUX_ROOT_X86_64,
            },
            guid: identity.uuid(Purpose::Partition(placed.number)),
            name: placed.name.into(),
        };
        self.partitions.iter().map(entry).collect()
    }
}

/// Makes the disk of `tree` in the new file `path`.
///
/// # Errors
/// If the content does not fit, a program fails, or the file cannot be written.
pub(crate) fn make(
    tree: &Tree,
    recipe: &Recipe,
    identity: &Identity,
    boot: &BootFiles,
    path: &Path,
) -> anyhow::Result<Layout> {
    let content = Content::measure(tree.root())?;
    let free = match recipe.disk.size {
        DiskSize::Fit => recipe.disk.free.0,
        DiskSize::Bytes(_) => 0,
    };
    let layout = Layout::new(recipe, content.filesystem_size(free))?;
    let doing = || format!("making the disk {}", path.display());
    let disk = FileDisk::create_new(path, layout.size).with_context(doing)?;
    write_gpt(&disk, identity.uuid(Purpose::Disk), &layout.table(identity)).with_context(doing)?;
    if let (Some(code), Some(range)) = (&boot.bios, layout.range(BIOS)) {
        write_boot_code(&disk, code, range).with_context(doing)?;
    }
    if let Some(range) = layout.range(ESP) {
        write_esp(&disk, range, identity, tree.epoch(), boot).with_context(doing)?;
    }
    let root = layout.range(ROOT).context("a layout without a root partition")?;
    ext4::make(tree, identity, tree.epoch(), &content, path, root)?;
    disk.flush().with_context(doing)?;
    Ok(layout)
}

fn write_boot_code(disk: &FileDisk, code: &BiosCode, range: ByteRange) -> anyhow::Result<()> {
    let core_lba = range.offset() / SECTOR_SIZE;
    let core = core_image(&code.core_img, core_lba, range.len() / SECTOR_SIZE)?;
    disk.write_at(&core, range.offset())?;
    let mut first = [0; SECTOR];
    disk.read_at(&mut first, 0)?;
    disk.write_at(&boot_sector(&code.boot_img, &first, core_lba)?, 0)?;
    Ok(())
}

fn write_esp(
    disk: &FileDisk,
    range: ByteRange,
    identity: &Identity,
    epoch: Epoch,
    boot: &BootFiles,
) -> anyhow::Result<()> {
    let options = NewFat {
        label: "ESP".into(),
        serial: identity.serial(Purpose::EspVolume),
        seconds: epoch.seconds(),
        hidden_sectors: u32::try_from(range.offset() / SECTOR_SIZE)?,
    };
    make_fat(&Window::new(disk, range)?, &options, &boot.esp)
        .context("making the EFI system partition")
        .hint(|| "its size is `disk.esp-size` of the recipe")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::recipe::example;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_root_partition_is_last_and_the_disk_as_small_as_it_can_be() {
        let layout = Layout::new(&example(), 700 * MIB + 1).unwrap();
        let places: Vec<_> = layout
            .partitions
            .iter()
            .map(|placed| (placed.number, placed.range.offset() / MIB, placed.range.end() / MIB))
            .collect();
        assert_eq!(places, [(14, 1, 4), (15, 4, 68), (1, 68, 769)]);
        assert_eq!(layout.size, 770 * MIB);
    }

    #[test]
    fn what_a_firmware_does_not_need_is_left_out() {
        let mut recipe = example();
        recipe.boot.firmware = vec![Firmware::Bios];
        recipe.disk.size = DiskSize::Bytes(Size(2048 * MIB + 5));
        let layout = Layout::new(&recipe, 700 * MIB).unwrap();
        assert_eq!(layout.range(ESP), None);
        assert_eq!(layout.range(ROOT), Some(ByteRange::between(4 * MIB, 2047 * MIB)));
        recipe.boot.firmware = vec![Firmware::Uefi];
        assert_eq!(Layout::new(&recipe, MIB).unwrap().range(BIOS), None);
    }

    #[test]
    fn a_size_that_is_too_small_is_told_with_the_one_that_is_not() {
        let mut recipe = example();
        recipe.disk.size = DiskSize::Bytes(Size(100 * MIB));
        let error = Layout::new(&recipe, 700 * MIB).unwrap_err().to_string();
        assert_eq!(error, "the disk is too small: `disk.size` is 100 MiB, its content needs 769 MiB");
    }
}
