//! A disk made larger, and the root filesystem with it: the backup of its GPT, the partition, the filesystem, in one step and under the
//! numbers and names that they have.
//!
//! ```text
//! disk.raw ─► its new size ─► partition::grow ─► the filesystem in a file of its own ─► resize2fs ─► back into the partition
//! ```
//! resize2fs(8) takes a filesystem within a file for all of the file, and cuts that (e2fsprogs 1.47): so it gets one.

use std::process::Command;
use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite, ByteRange, FileDisk, Window};
use image_core::convert::{DiskSink, Options, Zeroes, convert};
use image_core::fs::Ext4Writer;
use image_core::partition::{PartitionTable, grow};

use super::NewSize;
use crate::error::{Advise, Context, ErrorKind, bail, err};
use crate::golden::workspace::Workspace;
use crate::system::System;

/// Sizes are in whole sectors of this many bytes.
const SECTOR: u64 = 4096;

/// What is made larger.
pub(super) struct Grow<'a> {
    pub(super) size: Option<NewSize>,
    /// Whether the root filesystem is.
    pub(super) root: bool,
    pub(super) disk: &'a Arc<FileDisk>,
}

impl Grow<'_> {
    /// Makes it larger.
    ///
    /// # Errors
    /// If the size is a smaller one, there is no root filesystem that can grow, or resize2fs fails.
    pub(super) fn run(&self, place: &Workspace<'_>) -> crate::Result<()> {
        let old = self.disk.size();
        let new = new_size(self.size, old)?;
        if self.size.is_none() && !self.root {
            return Ok(());
        }
        if new > old {
            self.disk.resize(new)?;
        }
        let Some(table) = PartitionTable::read(&**self.disk)? else {
            return if self.root {
                self.grow_filesystem(ByteRange::whole(old), ByteRange::whole(new), place)
            } else {
                Ok(())
            };
        };
        if !self.root {
            if new > old {
                grow(&**self.disk, &table, None)?;
            }
            return Ok(());
        }
        let system = System::open(Arc::clone(self.disk) as Arc<dyn BlockRead>)?;
        let root = system.root_volume().context("there is no root filesystem to grow")?;
        let (kind, before) = (root.signature.kind, root.range);
        let Some(partition) = root.partition.as_ref().filter(|_| root.logical.is_none()) else {
            bail!("the root filesystem is in {}, which is not grown here", root.name());
        };
        if !kind.is_ext() {
            bail!(
                "the root filesystem is {kind}, which is not grown here: its own system does it when it runs"
            );
        }
        let after =
            grow(&**self.disk, &table, Some(partition.number))?.context("the partition did not grow")?;
        if after.len() == before.len() {
            place
                .monitor
                .warning("the root filesystem is as large as its place on the disk allows: it did not grow");
            return Ok(());
        }
        self.grow_filesystem(before, after, place)
    }

    /// Has the ext4 filesystem in `before` fill `after`.
    fn grow_filesystem(
        &self,
        before: ByteRange,
        after: ByteRange,
        place: &Workspace<'_>,
    ) -> crate::Result<()> {
        let disk = self.disk;
        // What waits in its journal is written, or resize2fs would refuse it.
        let window = Arc::new(Window::new(Arc::clone(disk), before)?);
        Ext4Writer::open(window, place.request.epoch.time())?.commit()?;
        let path = place.work.scratch.join("root.ext4");
        let own = FileDisk::create_new(&path, after.len())?;
        copy(&Window::new(&**disk, before)?, &own, Zeroes::AlreadyThere)?;
        drop(own);
        let mut command = Command::new("resize2fs");
        command.env("PATH", place.request.variables.path()).arg("-f").arg(&path);
        let resized = place.log.run(&mut command).context("growing the root filesystem");
        resized.hint(|| "resize2fs is in the package e2fsprogs").of_kind(ErrorKind::Failed)?;
        let own = FileDisk::open(&path)?;
        copy(&own, &Window::new(&**disk, after)?, Zeroes::Write)?;
        std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))
    }
}

fn copy(from: &impl BlockRead, to: &impl BlockWrite, zeroes: Zeroes) -> crate::Result<()> {
    convert(from, &mut DiskSink::new(to, zeroes), &Options::default()).context("copying the filesystem")?;
    Ok(())
}

/// The size of a disk of `old` bytes that is to have `size`; what is asked for is rounded up to whole sectors.
///
/// # Errors
/// If it is a smaller one.
pub(super) fn new_size(size: Option<NewSize>, old: u64) -> crate::Result<u64> {
    let new = match size {
        None => return Ok(old),
        Some(NewSize::To(size)) => size,
        Some(NewSize::By(more)) => old.saturating_add(more),
    };
    if new < old {
        return Err(err!("the disk has {old} bytes, and {new} are fewer"))
            .hint(|| "a disk is made larger here: --size +10G");
    }
    new.checked_next_multiple_of(SECTOR).context("no disk is that large")
}
