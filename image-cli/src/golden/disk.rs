//! The disk: partitions and filesystems, made in place in one sparse file.
//!
//! ```text
//! 0       1 MiB             4 MiB                                                    end − 1 MiB
//! │ GPT  │ 14 bios_grub    │ 15 ESP (FAT)      │ 1 root (ext4), last: it can grow   │ backup GPT │
//! ```
//!
//! The root filesystem is measured before it is made and never shrunk afterwards. What a firmware does not need is
//! left out.

pub(crate) mod room;

use std::fs;
use std::path::Path;

use image_core::block::{BlockRead, BlockWrite, ByteRange, FileDisk, Window};
use image_core::fs::{NewFat, make_fat};
use image_core::partition::{NewPartition, SECTOR_SIZE, kind, write_gpt};

use super::bootcode::{BiosCode, BootFiles};
use super::bootcode::{SECTOR, boot_sector, core_image};
use super::epoch::Epoch;
use super::ext4::{self, Content};
use super::identity::{Identity, Purpose};
use super::recipe::{DiskSize, Firmware, Recipe};
use super::tree::Tree;
use crate::error::{Advise, Context, err};
use crate::size::Size;

/// The root partition's number.
pub(crate) const ROOT: u32 = 1;
/// The number of GRUB's partition for a BIOS.
pub(crate) const BIOS: u32 = 14;
/// The EFI system partition's number.
pub(crate) const ESP: u32 = 15;

/// Partitions begin and end at multiples of this.
const ALIGNMENT: u64 = 1 << 20;
/// A disk that fits its content is not made larger than for this, in bytes.
const LARGEST_FIT: u64 = 16 << 40;
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

/// The disk for a root filesystem of `needed` bytes that begins `at`.
fn around(at: u64, needed: u64) -> u64 {
    at.saturating_add(needed).saturating_add(ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + ALIGNMENT
}

/// What to write instead of a size that is smaller than `smallest` bytes. Clouds count disks in whole GiB.
pub(crate) fn remedy(smallest: u64) -> String {
    format!("size = \"{}G\" in [disk]; without `size` the disk fits its content", smallest.div_ceil(1 << 30))
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
    pub(crate) fn new(recipe: &Recipe, needed: u64) -> crate::Result<Self> {
        let (mut partitions, at) = Self::before_root(recipe);
        let smallest = around(at, needed);
        let size = match recipe.disk.size {
            DiskSize::Fit => smallest,
            DiskSize::Bytes(Size(size)) => size / ALIGNMENT * ALIGNMENT,
        };
        if size < smallest {
            return Err(err!(
                "the disk is too small: `disk.size` is {}, its content needs {}",
                Size(size),
                Size(smallest)
            ))
            .hint(|| remedy(smallest));
        }
        let root = ByteRange::between(at, size - ALIGNMENT);
        partitions.push(Placed { number: ROOT, name: "root", range: root });
        Ok(Self { size, partitions })
    }

    /// That of an image, of which only the size may be said.
    pub(crate) fn of_an_image(recipe: &Recipe) -> Self {
        let size = match recipe.disk.size {
            DiskSize::Fit => 0,
            DiskSize::Bytes(Size(size)) => size,
        };
        Self { size, partitions: Vec::new() }
    }

    /// The smallest disk for `recipe` with a root filesystem of `needed` bytes, in bytes.
    pub(crate) fn smallest(recipe: &Recipe, needed: u64) -> u64 {
        around(Self::before_root(recipe).1, needed)
    }

    /// The partitions before the root filesystem's, and where that begins.
    fn before_root(recipe: &Recipe) -> (Vec<Placed>, u64) {
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
        (partitions, at)
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
) -> crate::Result<Layout> {
    let content = Content::measure(tree.root())?;
    let free = match recipe.disk.size {
        DiskSize::Fit => recipe.disk.free.0,
        DiskSize::Bytes(_) => 0,
    };
    let mut needed = content.filesystem_size(free);
    loop {
        let layout = Layout::new(recipe, needed)?;
        let made = fill(tree, identity, boot, path, &layout, &content);
        match made {
            // What cannot be told beforehand (attributes, extents) took more than is usually set aside for it.
            Err(error)
                if recipe.disk.size == DiskSize::Fit && ext4::is_full(&error) && needed < LARGEST_FIT =>
            {
                tree.log().note("the content does not fit: a larger filesystem is made")?;
                fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
                needed += needed / 8;
            }
            made => return made.map(|()| layout),
        }
    }
}

/// Makes the disk with this layout in the new file `path`.
fn fill(
    tree: &Tree,
    identity: &Identity,
    boot: &BootFiles,
    path: &Path,
    layout: &Layout,
    content: &Content,
) -> crate::Result<()> {
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
    ext4::make(tree, identity, tree.epoch(), content, path, root)?;
    disk.flush().with_context(doing)
}

fn write_boot_code(disk: &FileDisk, code: &BiosCode, range: ByteRange) -> crate::Result<()> {
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
) -> crate::Result<()> {
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

    #[test]
    fn a_disk_that_fits_always_does_and_one_of_a_given_size_says_if_not() {
        use crate::golden::tree::tests::scratch;
        // Attributes that lie in blocks of their own, of which the measurement knows nothing.
        let (dir, tree) = scratch();
        for number in 0..3000 {
            let inside = format!("/files/{number}");
            tree.write(&inside, "x", 0o644).unwrap();
            let path = tree.path(&inside).unwrap();
            let value = format!("{number:0>2000}");
            let flags = rustix::fs::XattrFlags::empty();
            if rustix::fs::setxattr(&path, "user.test", value.as_bytes(), flags).is_err() {
                // A filesystem without attributes, or one that keeps few.
                return;
            }
        }
        let mut recipe = example();
        recipe.disk.free = Size(0);
        let identity = Identity::new(&recipe, tree.epoch()).unwrap();
        let path = dir.path().join("disk");
        let measured = Content::measure(tree.root()).unwrap().filesystem_size(0);
        let boot = BootFiles::default();
        recipe.boot.firmware = vec![];
        let layout = make(&tree, &recipe, &identity, &boot, &path).unwrap();
        assert!(layout.range(ROOT).unwrap().len() > measured, "it was tried again");
        recipe.disk.size = DiskSize::Bytes(Size(Layout::smallest(&recipe, measured)));
        fs::remove_file(&path).unwrap();
        let error = make(&tree, &recipe, &identity, &boot, &path).unwrap_err();
        assert!(
            crate::error::rendered(&error).contains("hint: if it says that there is no room: `disk.size`")
        );
    }
}
