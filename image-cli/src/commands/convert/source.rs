//! What is read: an image, perhaps as it was when a snapshot was taken, or several one behind the other.
//!
//! ```text
//! SOURCE … ─► images ─► snapshot ─► concatenated ─► a part ─► not faster than … ─► salvaged ─► disk
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use goldimg::printable::printable;
use goldimg::size::Size;
use image_core::block::{BlockRead, ByteRange, Concatenated, DdRange, RateLimited, Salvage, Window};
use image_core::format::{Format, Image};
use image_core::free_space::{WithoutFreeSpace, find_free_space};

use super::super::image::{at_snapshot, tell_of_skipped};
use super::Args;
use super::bitmaps::Bitmaps;
use crate::failure::{Advise, USAGE};
use crate::ui::Ui;

/// The disk that is converted.
pub(super) struct Source<'a> {
    disk: Box<dyn BlockRead + 'a>,
    /// Each image, its format and its virtual size.
    pub(super) images: Vec<(PathBuf, Format, u64)>,
    /// Its bitmaps, if they are wanted.
    pub(super) bitmaps: Option<Bitmaps>,
    salvage: Option<Arc<Salvage<'a, Box<dyn BlockRead>>>>,
    /// Whether it is one image and nothing is done to it.
    plain: bool,
}

impl<'a> Source<'a> {
    /// Opens all that `args` name.
    pub(super) fn open(args: &Args, ui: &'a Ui) -> anyhow::Result<Self> {
        let of_one = [(args.snapshot.is_some(), "a snapshot", "-l"), (args.bitmaps, "bitmaps", "--bitmaps")];
        if let Some((_, what, option)) = of_one.iter().find(|(asked, ..)| *asked && args.source.len() > 1) {
            return Err(anyhow!("{what} of several images at once"))
                .hint(|| format!("{option} takes one SOURCE"))
                .exit_code(USAGE);
        }
        let format = args.source_format;
        let mut disks: Vec<Box<dyn BlockRead>> = Vec::new();
        let (mut images, mut bitmaps) = (Vec::new(), None);
        for path in &args.source {
            let image = args.backing.open(path, format, args.share(), ui)?;
            if args.bitmaps {
                bitmaps = Some(Bitmaps::of(&image, args, ui)?);
            }
            let image = match &args.snapshot {
                Some(name) => at_snapshot(&image, name)?,
                None => image,
            };
            images.push((path.clone(), image.format(), image.size()));
            disks.push(Box::new(image));
        }
        let changed = args.salvage || args.skip_free || args.rate_limit.is_some() || args.excerpt.is_some();
        let plain = disks.len() == 1 && !changed;
        let mut disk: Box<dyn BlockRead> = match <[Box<dyn BlockRead>; 1]>::try_from(disks) {
            Ok([alone]) => alone,
            Err(several) => Box::new(Concatenated::new(several)?),
        };
        if let Some(excerpt) = &args.excerpt {
            disk = part(disk, excerpt)?;
        }
        if args.skip_free {
            disk = used_only(disk, ui)?;
        }
        if let Some(rate) = args.rate_limit {
            disk = Box::new(RateLimited::new(disk, rate.0));
        }
        let tell = |range: ByteRange, error: &image_core::Error| {
            let (len, offset) = (range.len(), range.offset());
            ui.warning(&format!("{len} bytes at guest offset {offset:#x} are lost: {}", chain(error)));
        };
        if !args.salvage {
            return Ok(Self { disk, images, bitmaps, salvage: None, plain });
        }
        let salvage = Arc::new(Salvage::new(disk, tell));
        Ok(Self { disk: Box::new(salvage.clone()), images, bitmaps, salvage: Some(salvage), plain })
    }

    /// The disk itself.
    pub(super) fn disk(&self) -> &dyn BlockRead {
        &*self.disk
    }

    /// The file of the only image, if it is raw and converted as it is.
    pub(super) fn raw_file(&self) -> Option<&Path> {
        match self.images.as_slice() {
            [(path, Format::Raw, _)] if self.plain => Some(path),
            _ => None,
        }
    }

    /// What could not be read and is zeroes now.
    pub(super) fn lost(&self) -> Vec<ByteRange> {
        self.salvage.as_ref().map(|salvage| salvage.lost()).unwrap_or_default()
    }
}

/// The blocks of `disk` that are wanted.
fn part(disk: Box<dyn BlockRead>, excerpt: &DdRange) -> anyhow::Result<Box<dyn BlockRead>> {
    let size = disk.size();
    let range = excerpt.range(size).ok_or_else(|| {
        anyhow!("skip={} of {} bytes each is behind the end of {size} bytes", excerpt.skip, excerpt.block_len)
    });
    let range =
        range.hint(|| format!("skip={} is the last block", size.saturating_sub(1) / excerpt.block_len))?;
    Ok(Box::new(Window::new(disk, range)?))
}

/// `disk` without what its filesystems count as free. Says which filesystems could not be looked into.
fn used_only(disk: Box<dyn BlockRead>, ui: &Ui) -> anyhow::Result<Box<dyn BlockRead>> {
    let disk: Arc<dyn BlockRead> = Arc::from(disk);
    let found = find_free_space(&disk).context("looking for free space")?;
    tell_of_skipped(&found, ui);
    let skipped = found.unused.iter().map(|range| range.len()).sum();
    ui.note(&format!("free space left out: {}", Size(skipped)));
    Ok(Box::new(WithoutFreeSpace::new(disk, found)))
}

/// The backing file that the target gets: a name in a folder's image is a path from that folder.
pub(super) fn base(args: &Args, name: &str, ui: &Ui) -> anyhow::Result<Image> {
    let folder = args.target.parent().unwrap_or(Path::new(""));
    args.backing.open(&folder.join(name), args.backing_format, args.share(), ui)
}

/// The error with its causes, in one line.
fn chain(error: &image_core::Error) -> String {
    let mut text = error.to_string();
    let mut link = std::error::Error::source(error);
    while let Some(cause) = link {
        text.push_str(&format!(": {cause}"));
        link = cause.source();
    }
    printable(&text)
}
