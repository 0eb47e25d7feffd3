//! Rules of unused space: what was removed is gone, and not only out of sight.
//!
//! ```text
//! ext2/3/4, FAT  all that belongs to no file: what sealing would wipe, by the same code, and nothing is written
//! XFS, Btrfs     what they count as free; LVM: what no logical volume has
//! swap           what was in memory: all behind the header, of partitions and of files
//! the disk       between partitions, and behind them            others   not read here, and said so
//! ```

mod left;

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use image_core::block::{BlockRead, BlockWrite, ByteRange, Extents, ZeroMode};
use image_core::free_space::{Place, find_free_space_except};
use image_core::fs::{FilesystemKind, open, scrub_ext4, scrub_fat};

use super::rule::{Finding, Judgement, Rule};
use super::space::{gaps, swap_files, swap_page};
use super::subject::Subject;
use left::Left;
pub(super) use left::Stale;

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "deleted-keys",
        "no private key can be read in unused space",
        "what is removed from a filesystem stays until it is overwritten",
        keys,
    )
    .slow()
    .reads(&[&["unused space", "the partition table", "the disk", "/etc/fstab"]]),
    Rule::should(
        "unused-space",
        "unused space is empty: the image is small, and nothing in it can be recovered",
        "OpenStack image guide, converting: sparse images",
        stale,
    )
    .reads(&[&["unused space", "the partition table", "the disk", "/etc/fstab"]]),
];

const FIX: &str = "goldimg seal makes holes of it";
/// Less than this is what every filesystem leaves, in bytes.
const LITTLE: u64 = 1 << 20;

/// A disk that is read and not written: what would have been wiped is looked at.
struct Unwiped {
    disk: Arc<dyn BlockRead>,
    left: Mutex<Left>,
}

impl Unwiped {
    fn left(&self) -> MutexGuard<'_, Left> {
        // A piece is looked at as a whole or not at all.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockRead for Unwiped {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> image_core::Result<()> {
        self.disk.read_at(buf, offset)
    }

    fn extents(&self, range: ByteRange) -> image_core::Result<Extents> {
        self.disk.extents(range)
    }
}

impl BlockWrite for Unwiped {
    fn write_at(&self, buf: &[u8], offset: u64) -> image_core::Result<()> {
        let mut bytes = vec![0; buf.len()];
        self.disk.read_at(&mut bytes, offset)?;
        // What stays as it is belongs to somebody.
        for (old, new) in bytes.iter_mut().zip(buf) {
            if old == new {
                *old = 0;
            }
        }
        self.left().look(&bytes, offset);
        Ok(())
    }

    fn write_zeroes(&self, range: ByteRange, _mode: ZeroMode) -> image_core::Result<()> {
        let Left { bytes, keys } = Left::read(&self.disk, [range])?;
        let mut left = self.left();
        left.bytes += bytes;
        left.keys.extend(keys);
        Ok(())
    }

    fn flush(&self) -> image_core::Result<()> {
        Ok(())
    }
}

/// What is left there.
fn look<'a>(subject: &Subject<'a>) -> crate::Result<&'a Stale> {
    let view = subject.view;
    view.watch().place("unused space");
    view.stale.get(view.watch(), || read(subject))
}

/// Reads all that is in no file of any filesystem: what sealing would wipe.
fn read(subject: &Subject<'_>) -> crate::Result<Stale> {
    let mut found = Stale::default();
    let view = subject.view;
    let mut has_physical = false;
    for volume in view.volumes() {
        let at = |offset: u64| match volume.is_in_one_piece() {
            true => format!("offset {:#x} of the disk", volume.range.offset() + offset),
            false => format!("offset {offset:#x} of {}", volume.name()),
        };
        if volume.signature.kind == FilesystemKind::Lvm {
            has_physical = true;
            continue;
        }
        match of_volume(volume.content(view.disk())?, volume.signature.kind) {
            Ok(Some((what, left))) => found.add(format!("{what}, {}", volume.name()), left, at),
            Ok(None) => found.unknown.push(format!("{}: {}", volume.name(), volume.signature.kind)),
            // What is wrong with one says nothing of the others.
            Err(error) => found.unknown.push(format!("{}: {error:#}", volume.name())),
        }
    }
    if has_physical {
        in_no_logical_volume(view.disk(), &mut found)?;
    }
    for path in swap_files(view)? {
        if let Some(content) = view.root().content(&path)? {
            let left = Left::read(&*content, behind_header(&*content)?)?;
            let path = path.display();
            found.add(format!("swap space, {path}"), left, |at| format!("{path}, at {at:#x}"));
        }
    }
    if let Some(table) = view.table() {
        let left = Left::read(&**view.disk(), gaps(&**view.disk(), table)?)?;
        let at = |offset: u64| format!("offset {offset:#x} of the disk");
        found.add("between and behind partitions".to_owned(), left, at);
    }
    Ok(found)
}

/// What is left where physical volumes have extents of no logical volume. What is on logical volumes is not looked at.
fn in_no_logical_volume(disk: &Arc<dyn BlockRead>, found: &mut Stale) -> crate::Result<()> {
    let is_physical = |place: &Place| {
        place.logical.is_none() && place.signature.as_ref().is_some_and(|own| own.kind == FilesystemKind::Lvm)
    };
    let free = find_free_space_except(disk, &|place| !is_physical(place))?;
    found.unknown.extend(free.skipped.iter().map(|(place, why)| format!("{place}: {why}")));
    let left = Left::read(disk, free.unused)?;
    found.add("in no logical volume".to_owned(), left, |at| format!("offset {at:#x} of the disk"));
    Ok(())
}

/// What is left in a filesystem, and what to call that; `None` if it is not read here.
fn of_volume(disk: Arc<dyn BlockRead>, kind: FilesystemKind) -> crate::Result<Option<(&'static str, Left)>> {
    if kind == FilesystemKind::Swap {
        let left = Left::read(&disk, behind_header(&disk)?)?;
        return Ok(Some(("swap space", left)));
    }
    if matches!(kind, FilesystemKind::Xfs | FilesystemKind::Btrfs) {
        let free = open(Arc::clone(&disk))?.free_ranges()?;
        return Ok(Some(("unused space", Left::read(&disk, free)?)));
    }
    let disk = Arc::new(Unwiped { disk, left: Mutex::default() });
    match kind {
        kind if kind.is_ext() => _ = scrub_ext4(&(Arc::clone(&disk) as Arc<dyn BlockWrite>))?,
        FilesystemKind::Fat => _ = scrub_fat(&*disk)?,
        // All of it is used.
        FilesystemKind::Iso9660 | FilesystemKind::Squashfs => {}
        _ => return Ok(None),
    }
    let left = mem::take(&mut *disk.left());
    Ok(Some(("unused space", left)))
}

/// All of a swap space but its header; nothing of what is none.
fn behind_header(disk: &dyn BlockRead) -> crate::Result<Option<ByteRange>> {
    Ok(swap_page(disk)?.map(|page| ByteRange::between(page, disk.size())))
}

fn keys(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let found = look(subject)?;
    let told = |place: &String| Finding::new(place.clone(), "a private key that was removed", FIX);
    let findings: Vec<Finding> = found.keys.iter().map(told).collect();
    Ok(judged(found, findings, "none".to_owned()))
}

fn stale(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let found = look(subject)?;
    let bytes: u64 = found.places.iter().map(|(_, bytes)| bytes).sum();
    let told =
        |(place, bytes): &(String, u64)| Finding::new(place.clone(), format!("{bytes} bytes are in it"), FIX);
    let findings: Vec<Finding> =
        if bytes < LITTLE { Vec::new() } else { found.places.iter().map(told).collect() };
    Ok(judged(found, findings, format!("{bytes} bytes in it")))
}

/// Nothing is said to be fine of what was not seen.
fn judged(found: &Stale, findings: Vec<Finding>, kept: String) -> Judgement {
    match findings.is_empty() && !found.unknown.is_empty() {
        true => Judgement::Open(format!("unused space is not read here: {}", found.unknown.join(", "))),
        false => Judgement::of(findings, kept),
    }
}
