//! The persistent bitmaps of a source, taken along.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use goldimg::printable::printable;
use image_core::block::{BlockRead, BlockWrite};
use image_core::format::{Format, FormatNode, Image};
use image_core::qcow2::bitmap::{self, Bitmap};
use image_core::qcow2::write::copy_bitmaps;
use image_core::qcow2::{Header, Version};

use super::Args;
use super::options::Job;
use super::output::Output;
use crate::failure::{Advise, USAGE};
use crate::ui::Ui;

/// Bitmaps that are going to be copied.
pub(super) struct Bitmaps {
    file: Arc<dyn BlockRead>,
    header: Arc<Header>,
    list: Vec<Bitmap>,
}

impl Bitmaps {
    /// Those of `image`. One that was not saved properly is an error, or with `--skip-broken-bitmaps` told and left.
    pub(super) fn of(image: &Image, args: &Args, ui: &Ui) -> anyhow::Result<Self> {
        let name = printable(&image.path().display().to_string());
        let old = |header: &Arc<Header>| header.version == Version::V2;
        let qcow2 = image.as_qcow2().map(|image| (image.file().clone(), image.header()));
        let qcow2 = qcow2.filter(|(_, header)| !old(header));
        let (file, header) = qcow2
            .ok_or_else(|| anyhow!("{name} has no place for bitmaps: qcow2 images of compat 1.1 have one"))
            .hint(|| "leave out --bitmaps")?;
        let all = bitmap::list(&*file, &header)?;
        let (broken, list): (Vec<Bitmap>, Vec<Bitmap>) = all.into_iter().partition(Bitmap::is_in_use);
        for bitmap in broken {
            let bitmap = printable(&String::from_utf8_lossy(&bitmap.name));
            let told = format!("the bitmap {bitmap:?} was not saved properly and may be wrong");
            if !args.skip_broken_bitmaps {
                return Err(anyhow!("{name}: {told}"))
                    .hint(|| format!("--skip-broken-bitmaps, or goldimg bitmap --remove {name} {bitmap}"));
            }
            ui.warning(&format!("{told}: it is left out"));
        }
        Ok(Self { file, header, list })
    }

    /// Writes them into a finished image.
    pub(super) fn write(&self, file: &dyn BlockWrite, header: Header) -> anyhow::Result<()> {
        copy_bitmaps((&*self.file, &self.header), &self.list, file, header)?;
        Ok(())
    }

    /// Writes them into the image at `path`, which was written in place.
    pub(super) fn write_into(&self, path: &Path) -> anyhow::Result<()> {
        let member = FormatNode::open_writable(path, Some(Format::Qcow2))?;
        let header = member.header.context("a qcow2 image has a header")?;
        self.write(&member.file, header)
    }
}

/// Refuses targets without a place for bitmaps.
pub(super) fn check_target(job: &Job, output: &Output) -> anyhow::Result<()> {
    let there = output.image().and_then(|image| image.as_qcow2());
    let old = there.map(|image| image.image().header().version == Version::V2);
    match job.has_bitmaps() && old != Some(true) {
        true => Ok(()),
        false => Err(anyhow!("the target has no place for bitmaps"))
            .hint(|| "qcow2 images of compat 1.1 have one")
            .exit_code(USAGE),
    }
}
