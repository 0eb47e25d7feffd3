//! A new image, written once: complete or not there.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use goldimg::target_name::{Wish, placed};
use image_core::block::{BlockRead, BlockWrite};
use image_core::convert::{DiskSink, Options, Sink, Zeroes, convert};
use image_core::format::{Format, Image, OpenOptions, References, Share};
use image_core::free_space::{FreeSpace, WithoutFreeSpace};
use image_core::new_file::{Existing, NewFile};
use image_core::qcow2::{Compression, Header, Qcow2Sink, Version};

use super::super::convert::options::Job;
use super::super::image::{advised, tell_of_other_names};
use super::{Args, Done};
use crate::failure::{Advise, USAGE};
use crate::ui::Ui;

/// Shorter runs of zeroes are written to a raw file.
const SPARSE_UNIT: u64 = 4096;

/// Writes what `survey` does not find unused of the image into `output`.
pub(super) fn sparsify(
    args: &Args,
    output: &Path,
    survey: &dyn Fn(&Arc<dyn BlockRead>) -> anyhow::Result<FreeSpace>,
    ui: &Ui,
) -> anyhow::Result<(FreeSpace, Done)> {
    refuse_same(&args.image, output)?;
    let references = if args.allow_backing { References::AllowBeneath } else { References::Refuse };
    let options =
        OpenOptions { format: args.format, references, share: Share::Readers, ..OpenOptions::default() };
    let image = advised(Image::open(&args.image, options))?;
    let job = job(args, &image, output, ui)?;
    let existing = if args.force { Existing::Replace } else { Existing::Refuse };
    let new = placed(NewFile::at(output, existing))?;
    tell_of_other_names(&new, ui);
    let disk: Arc<dyn BlockRead> = Arc::new(image);
    let found = survey(&disk)?;
    let size = disk.size();
    let doing = || format!("writing {}", output.display());
    let source = WithoutFreeSpace::new(disk, found.clone());
    let (virtual_size, mut sink): (u64, Box<dyn Sink + '_>) = match job.format {
        Format::Raw => {
            new.disk().resize(size).with_context(doing)?;
            let sink = DiskSink::new(new.disk(), Zeroes::AlreadyThere).with_sparse_unit(SPARSE_UNIT)?;
            (size, Box::new(sink))
        }
        Format::Foreign(_) => {
            let image = job.foreign(size)?.with_context(doing)?;
            (image.size(), image.sink(new.disk())?)
        }
        Format::Qcow2 => {
            let image = job.image(size)?;
            (image.size(), Box::new(Qcow2Sink::new(new.disk(), image)?))
        }
    };
    let watch = ui.bytes("sparsifying", size);
    convert(&source, sink.as_mut(), &Options { progress: &watch, ..Options::default() })
        .with_context(doing)?;
    drop((watch, sink));
    let done = Done {
        path: output.to_owned(),
        format: job.format,
        virtual_size,
        file_size: new.disk().size(),
        allocated_size: new.disk().allocated_size()?,
        allocated_before: None,
        left: 0,
    };
    new.keep()?;
    Ok((found, done))
}

/// Refuses to write what is read.
fn refuse_same(image: &Path, output: &Path) -> anyhow::Result<()> {
    let same = |path: &Path| std::fs::canonicalize(path).ok();
    if same(image).is_some() && same(image) == same(output) {
        return Err(anyhow!("{} is the image itself", output.display()))
            .hint(|| "--in-place gives back what is unused of it")
            .exit_code(USAGE);
    }
    Ok(())
}

/// The new image: as `image` is, but for what is asked for.
fn job(args: &Args, image: &Image, output: &Path, ui: &Ui) -> anyhow::Result<Job> {
    let needs_qcow2 = match () {
        () if args.compress => Some("-c"),
        () if !args.options.is_empty() => Some("--options"),
        () if args.level.is_some() => Some("--level"),
        () => None,
    };
    if let (Some(Format::Raw), Some(what)) = (args.target_format, needs_qcow2) {
        return Err(anyhow!("{what} has no meaning for a raw image"))
            .hint(|| "take -O qcow2")
            .exit_code(USAGE);
    }
    let wish = Wish { option: "-O", format: args.target_format, needs_qcow2 };
    let format = wish.format_like(image.format(), output, ui.monitor())?;
    let old = image.as_qcow2().filter(|_| format == Format::Qcow2);
    let mut options = old.map_or_else(Vec::new, |old| like(&old.header()));
    options.extend(args.options.iter().cloned());
    let compress = args.compress || old.map_or(Ok(false), |old| old.has_compressed_clusters())?;
    Job::of(format, compress, &options, args.level).exit_code(USAGE)
}

/// The options that make an image as `old` is.
fn like(old: &Header) -> Vec<String> {
    let (version, compression) = match (old.version, old.compression) {
        (Version::V2, _) => ("0.10", "deflate"),
        (_, Compression::Zstd) => ("1.1", "zstd"),
        (_, Compression::Deflate) => ("1.1", "deflate"),
    };
    vec![
        format!("cluster_size={}", old.geometry.cluster_size()),
        format!("refcount_bits={}", 1_u32 << old.geometry.refcount_order()),
        format!("compat={version}"),
        format!("compression_type={compression}"),
    ]
}
