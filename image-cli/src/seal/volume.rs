//! A filesystem of an image, copied, changed and judged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use image_core::block::{BlockRead, BlockWrite, ByteRange, ExtentKind, FileDisk, ZeroMode, is_zero};
use image_core::convert::{DiskSink, Options, Zeroes, convert};
use image_core::fs::{self, Superblock, unused_ranges};

use super::debugfs;
use super::plan::Change;
use crate::audit::{View, Volume as Place};
use crate::ui::Ui;

/// Unused space is looked into in pieces of this size.
const PIECE: u64 = 1 << 20;

/// A copy of a filesystem.
#[derive(Debug)]
pub(super) struct Volume {
    disk: FileDisk,
    path: PathBuf,
    work: PathBuf,
    /// Whether it is an ext4; else it is a FAT.
    is_ext: bool,
}

impl Volume {
    /// Copies the filesystem at `place` of `view`'s disk into the folder `work`.
    pub(super) fn copy_of(view: &View, place: &Place, work: &Path, ui: &Ui) -> anyhow::Result<Self> {
        let path = work.join(format!("volume-{:x}", place.range.offset()));
        let doing = || format!("copying {}", place.name());
        let disk = FileDisk::create_new(&path, place.range.len()).with_context(doing)?;
        let window = place.window(Arc::clone(view.disk()))?;
        let mut sink = DiskSink::new(&disk, Zeroes::AlreadyThere);
        let watch = ui.bytes(&place.name(), place.range.len());
        let options = Options { progress: &watch, ..Options::default() };
        convert(&window, &mut sink, &options).with_context(doing)?;
        drop(watch);
        Ok(Self { disk, path, work: work.to_owned(), is_ext: place.signature.kind.is_ext() })
    }

    /// Makes `changes`, and holes of unused blocks. Answers with how many bytes other than zero were in those.
    ///
    /// # Errors
    /// If it is broken, or a change cannot be made in it.
    pub(super) fn seal(&self, changes: &[Change]) -> anyhow::Result<u64> {
        if !self.is_ext {
            self.change_fat(changes)?;
            return Ok(0);
        }
        self.make_clean()?;
        self.change(changes)?;
        let stale_bytes = self.wipe()?;
        debugfs::check(&self.path, false).context("after the changes")?;
        self.judge(changes)?;
        Ok(stale_bytes)
    }

    /// Of an EFI system partition files can go, and nothing else is asked for.
    fn change_fat(&self, changes: &[Change]) -> anyhow::Result<()> {
        for change in changes {
            match change {
                Change::Remove(path) | Change::RemoveFolder(path) => fs::remove_from_fat(&self.disk, path)?,
                _ => bail!("a FAT has no such thing: {change}"),
            }
        }
        self.disk.flush()?;
        self.judge(changes)
    }

    /// Replays its journal, and repairs what can be repaired without asking.
    fn make_clean(&self) -> anyhow::Result<()> {
        debugfs::check(&self.path, true)
    }

    /// Makes `changes`.
    fn change(&self, changes: &[Change]) -> anyhow::Result<()> {
        debugfs::change(&self.path, &self.work, changes)?;
        for change in changes {
            if let Change::Rewrite(path, content) = change {
                self.rewrite(path, content)
                    .with_context(|| format!("writing {} in the image", path.display()))?;
            }
        }
        Ok(())
    }

    /// Writes `content` into the blocks that a file has: its owner, rights and attributes stay.
    fn rewrite(&self, path: &Path, content: &[u8]) -> anyhow::Result<()> {
        let size = Superblock::read(&self.disk)?.block_size;
        let blocks = debugfs::blocks(&self.path, path)?;
        let files = fs::open(Arc::new(FileDisk::open(&self.path)?))?;
        let old = files.metadata(path)?.map_or(0, |metadata| metadata.size);
        let count = blocks.len() as u64;
        // A file with holes, or so large that blocks list blocks, is none of accounts.
        if count != old.div_ceil(size) || content.len() as u64 > count * size {
            bail!(
                "its {old} bytes are in {count} blocks of {size}, which do not hold {} bytes",
                content.len()
            );
        }
        for (block, piece) in blocks.iter().zip(content.chunks(usize::try_from(size)?)) {
            let mut bytes = piece.to_vec();
            bytes.resize(usize::try_from(size)?, 0);
            let offset = block.checked_mul(size).context("a block beyond any disk")?;
            self.disk.write_at(&bytes, offset)?;
        }
        self.disk.flush()?;
        debugfs::set_size(&self.path, &self.work, path, content.len())
    }

    fn wipe(&self) -> anyhow::Result<u64> {
        let mut stale = 0;
        for range in unused_ranges(&self.disk)? {
            stale += stale_bytes(&self.disk, range)?;
            self.disk.write_zeroes(range, ZeroMode::Punch)?;
        }
        self.disk.flush()?;
        Ok(stale)
    }

    /// Reads everything that was changed.
    fn judge(&self, changes: &[Change]) -> anyhow::Result<()> {
        let files = fs::open(Arc::new(FileDisk::open(&self.path)?))?;
        let size = |path: &Path| anyhow::Ok(files.link_metadata(path)?.map(|metadata| metadata.size));
        for (index, change) in changes.iter().enumerate() {
            // What was removed may be something else by now.
            let path = change.path();
            let later = changes.iter().skip(index + 1).any(|later| later.path() == path);
            let done = match change {
                Change::Remove(_) | Change::RemoveFolder(_) => later || size(path)?.is_none(),
                Change::Empty(_) | Change::Create(_) => size(path)? == Some(0),
                Change::Rewrite(_, content) => files.read(path, u64::MAX)?.as_ref() == Some(content),
                Change::Link(_, target) => files.read_link(path)?.as_deref() == Some(Path::new(target)),
            };
            if !done {
                bail!("it was not done: {change}");
            }
        }
        Ok(())
    }

    pub(super) fn into_disk(self) -> FileDisk {
        self.disk
    }
}

/// How many bytes of `range` are in blocks with anything but zeroes, by blocks of 4 KiB.
fn stale_bytes(disk: &FileDisk, range: ByteRange) -> anyhow::Result<u64> {
    let mut stale = 0;
    for extent in disk.extents(range)?.iter().filter(|extent| extent.kind == ExtentKind::Data) {
        let mut at = extent.range.offset();
        while at < extent.range.end() {
            let mut bytes = vec![0; (extent.range.end() - at).min(PIECE) as usize];
            disk.read_at(&mut bytes, at)?;
            stale += bytes
                .chunks(4096)
                .filter(|block| !is_zero(block))
                .map(|block| block.len() as u64)
                .sum::<u64>();
            at += bytes.len() as u64;
        }
    }
    Ok(stale)
}
