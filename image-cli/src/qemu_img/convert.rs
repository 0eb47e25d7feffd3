//! `qemu-img convert`: an image into another format, or onto another image.
//!
//! ```text
//! SOURCE, or a snapshot of it ─► target ─┬─ a new raw file, sparse
//!                                        ├─ a new qcow2 image, front to back
//!                                        ├─ a new qcow2 image that is written in place: over a backing file, prepared
//!                                        └─ -n: what is there already
//! ```

mod arguments;
mod bitmaps;
mod target;

use image_core::block::{BlockRead, Concatenated, RateLimited, Salvage};
use image_core::convert::{DiskSink, Options, Sink, Zeroes, convert};
use image_core::qcow2::Unsupported;
use image_core::qcow2::write::CompressedSink;

use super::failure::Failure;
use super::format_options::{self, FormatOptions, Kind};
use super::node::{Node, Wanted, check_name};
use super::progress::Percent;
use super::{Call, cache, say, snapshot_disk, words};
use arguments::Asked;
pub(super) use arguments::OPTIONS;
use bitmaps::Bitmaps;
use target::Target;

pub(super) fn run(call: &mut Call) -> Result<u8, Failure> {
    let mut asked = Asked::default();
    while let Some(option) = call.option()? {
        asked.take(option)?;
    }
    let mut names = call.names();
    let format = asked.target_format.clone().unwrap_or_else(|| "raw".to_owned());
    if asked.lists.ask_for_help() {
        let kind = Kind::parse(&format)?;
        call.print(&format_options::help(kind, !names.is_empty()));
        return Ok(0);
    }
    asked.check()?;
    let target_name = names.pop().filter(|_| !names.is_empty());
    let target_name = target_name.ok_or_else(|| Failure::new("Must specify image file name"))?;
    let percent = Percent::start(asked.progress && !asked.quiet);
    asked.source_cache.as_deref().map_or(Ok(()), cache::check_source)?;
    let source = open_sources(&names, &asked)?;
    if !asked.no_create {
        let kind = Kind::parse(&format)?;
        if !target_name.is_empty() {
            check_name(&target_name)?;
        }
        let options = options_of(&asked, kind, &names, source.size())?;
        let bitmaps = bitmaps_of(&names, &asked)?;
        let target = Target::create(&target_name, kind, &options, source.size(), &asked)?;
        if let Err(failure) = cache::check_target(asked.target_cache()) {
            // The empty target stays.
            return target.keep().map_err(|error| Failure::new(words::of_chain(&error))).and(Err(failure));
        }
        return copy(&*source, target, &asked, bitmaps.as_ref(), percent);
    }
    refuse_backing_of_several(&names, asked.backing.as_deref())?;
    let bitmaps = bitmaps_of(&names, &asked)?;
    cache::check_target(asked.target_cache())?;
    let wanted = Wanted {
        format: asked.target_format.clone().or_else(|| (!asked.target_image_opts).then(|| "raw".to_owned())),
        image_opts: asked.target_image_opts,
        force_share: false,
    };
    let target = Target::there(&Node::parse(&target_name, &wanted)?, asked.backing.is_some())?;
    if asked.backing.is_some() && asked.target_is_zero {
        let message = "Cannot use --target-is-zero when the destination image has a backing file";
        return Err(Failure::new(message));
    }
    copy(&*source, target, &asked, bitmaps.as_ref(), percent)
}

/// The images that are read, one behind the other, no faster than was asked for.
fn open_sources(names: &[String], asked: &Asked) -> Result<Box<dyn BlockRead>, Failure> {
    let open = |name: &String| Node::parse(name, &asked.wanted).map(Node::undisturbed);
    let nodes = names.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let source: Box<dyn BlockRead> = match (&nodes[..], &asked.snapshot) {
        ([node], Some(snapshot)) => snapshot_disk::open(node, snapshot)?,
        ([node], None) => node.disk()?,
        (nodes, snapshot) => {
            let disks = nodes.iter().map(Node::disk).collect::<Result<Vec<_>, _>>()?;
            if snapshot.is_some() {
                return Err(Failure::new("No support for concatenating multiple snapshot"));
            }
            let joined = Concatenated::new(disks);
            Box::new(joined.map_err(|error| Failure::new(words::of_chain(&error)))?)
        }
    };
    let source: Box<dyn BlockRead> = if asked.no_create && !source.size().is_multiple_of(512) {
        // What is there in the rest of the last sector does not stay.
        let whole = Concatenated::new([source]).map(Concatenated::in_whole_sectors);
        Box::new(whole.map_err(|error| Failure::new(words::of_chain(&error)))?)
    } else {
        source
    };
    let source = if asked.rate > 0 { Box::new(RateLimited::new(source, asked.rate)) } else { source };
    Ok(match asked.salvage {
        true if asked.quiet => Box::new(Salvage::new(source, |_, _| ())),
        true => Box::new(Salvage::new(source, |range, error| {
            let (offset, words) = (range.offset(), words::of_reading(error));
            say(&format!("qemu-img: warning: error while reading offset {offset}: {words}\n"));
        })),
        false => source,
    })
}

/// The bitmaps to be copied, if that is asked for.
fn bitmaps_of(names: &[String], asked: &Asked) -> Result<Option<Bitmaps>, Failure> {
    match (names, asked.bitmaps) {
        (_, false) => Ok(None),
        ([name], true) => Bitmaps::of(&Node::parse(name, &asked.wanted)?, asked).map(Some),
        (_, true) => Err(Failure::new("Copying bitmaps only possible with single source")),
    }
}

/// The options of the new image, the size and the backing file among them.
fn options_of(asked: &Asked, kind: Kind, sources: &[String], size: u64) -> Result<FormatOptions, Failure> {
    let mut options = FormatOptions::parse(kind, &asked.lists)?;
    for (option, value, what) in [
        ("backing_file", &asked.backing, "Backing file"),
        ("backing_fmt", &asked.backing_format, "Backing file format"),
    ] {
        let Some(value) = value else { continue };
        if !options.has(option) {
            return Err(Failure::new(format!("{what} not supported for file format '{}'", kind.name())));
        }
        options.set(option, value.clone());
    }
    refuse_backing_of_several(sources, options.text("backing_file"))?;
    if options.text("backing_file").is_some() && options.text("backing_fmt").is_none() {
        return Err(Failure::new("Use of backing file requires explicit backing format"));
    }
    if asked.compress && kind != Kind::Qcow2 {
        return Err(Failure::new("Compression not supported for this file format"));
    }
    if asked.compress && options.text("preallocation").is_some_and(|mode| mode != "off") {
        return Err(Failure::new("Compression and preallocation not supported at the same time"));
    }
    options.set("size", size.to_string());
    Ok(options)
}

/// What several images have together no backing file can have.
fn refuse_backing_of_several(sources: &[String], backing: Option<&str>) -> Result<(), Failure> {
    match sources.len() > 1 && backing.is_some() {
        true => Err(Failure::new(
            "Having a backing file for the target makes no sense when concatenating multiple input images",
        )),
        false => Ok(()),
    }
}

/// Copies all of `source`, and completes the target.
fn copy(
    source: &dyn BlockRead,
    target: Target,
    asked: &Asked,
    bitmaps: Option<&Bitmaps>,
    mut percent: Percent,
) -> Result<u8, Failure> {
    if let (Some(_), Err(format)) = (bitmaps, target.check_bitmaps()) {
        return Err(Failure::new(format!("Format driver '{format}' does not support bitmaps")));
    }
    if asked.compress && !target.can_compress() {
        return Err(Failure::new("Compression not supported for this file format"));
    }
    if target.size().is_some_and(|size| size < source.size()) {
        return Err(Failure::new("output file is smaller than input file"));
    }
    percent.of(source.size());
    let failed = |error: image_core::Error| match error.cause() {
        Some(Unsupported::CompressedInDataFile { guest }) => {
            Failure::new(format!("error while writing at byte {}: Operation not supported", guest.0))
        }
        _ => Failure::new(format!("error while converting: {}", words::of_chain(&error))),
    };
    let options = Options { threads: None, digests: &[], progress: &percent };
    match &target {
        Target::Sink { new, image } => {
            let sink = target::qcow2_sink(new, image).map_err(failed)?;
            let mut sink = asked.filled(sink).map_err(failed)?;
            convert(source, &mut *sink, &options).map_err(failed)?;
        }
        Target::Raw { new } => {
            let zeroes = if asked.sparse == Some(0) { Zeroes::Allocate } else { new.zeroes() };
            let mut sink = asked.sparse_sink(DiskSink::new(&**new.disk(), zeroes)).map_err(failed)?;
            convert(source, &mut sink as &mut dyn Sink, &options).map_err(failed)?;
        }
        Target::Part { disk } => {
            let zeroes = if asked.target_is_zero { Zeroes::AlreadyThere } else { Zeroes::Write };
            let mut sink = asked.sparse_sink(DiskSink::new(disk, zeroes)).map_err(failed)?;
            convert(source, &mut sink as &mut dyn Sink, &options).map_err(failed)?;
        }
        Target::InPlace { writer, fresh, backing, .. } => {
            let there = *fresh || asked.target_is_zero;
            let zeroes = match there && !backing {
                true => Zeroes::AlreadyThere,
                false => Zeroes::Write,
            };
            let sink: Box<dyn Sink> = match writer.as_qcow2().filter(|_| asked.compress) {
                Some(image) => Box::new(CompressedSink::new(image, None, zeroes).map_err(failed)?),
                None => Box::new(asked.sparse_sink(DiskSink::new(writer, zeroes)).map_err(failed)?),
            };
            let mut sink = asked.filled(sink).map_err(failed)?;
            match backing {
                true => target::copy_own(source, &mut *sink, &percent).map_err(failed)?,
                false => drop(convert(source, &mut *sink, &options).map_err(failed)?),
            }
        }
    }
    if cache::is_flushed(asked.target_cache()) {
        target.flush().map_err(failed)?;
    }
    let medium = target.medium().map_err(failed)?;
    target.keep().map_err(failed)?;
    percent.complete();
    drop(percent);
    bitmaps.zip(medium).map_or(Ok(()), |(bitmaps, medium)| bitmaps.write_into(&medium)).and(Ok(0))
}
