//! `goldimg sparsify`: an image without what its filesystems count as free.
//!
//! ```text
//! IMAGE ─► free space ─┬─ -o NEW ───► converted once, with holes there
//!                      └─ --in-place ─► holes in the file, clusters given back
//! ```

mod copied;
mod in_place;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use goldimg::size::Size;
use image_core::block::BlockRead;
use image_core::format::Format;
use image_core::free_space::{FreeSpace, Place, find_free_space_except};
use serde_json::{Value, json};

use super::image::tell_of_skipped;
use crate::failure::{Advise, USAGE};
use crate::interrupt;
use crate::ui::Ui;

/// The command line of `goldimg sparsify`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["output", "in_place"])))]
#[command(after_help = "\
Examples:
  goldimg sparsify server.qcow2 -o small.qcow2
  goldimg sparsify --in-place server.raw
  goldimg sparsify -c server.raw -o small.qcow2
  goldimg sparsify --ignore 2 --ignore vg/data server.qcow2 -o small.qcow2

What is unused: what ext2, ext3, ext4, XFS, Btrfs, FAT and LVM count as free, in partitions, on logical volumes or on all of \
the disk, and swap space but for its first page. A journal or log that was not played is taken into account. A \
filesystem of which it is not sure what is free is skipped, and told; nothing between partitions is touched.

A new image is as the old one: format (unless NEW's name or -O says another), size of clusters, compression. In place, an \
image that a program uses is refused, and a kill at any moment does no harm.")]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// The format: raw or qcow2 [default: what it looks like]
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Where the new image goes
    #[arg(short, long, value_name = "NEW")]
    output: Option<PathBuf>,
    /// Give back what is unused of IMAGE itself
    #[arg(long)]
    in_place: bool,
    /// Leave this filesystem as it is: a partition's number, a label, a UUID, GROUP/VOLUME (may be given more than once)
    #[arg(long, value_name = "NAME")]
    ignore: Vec<String>,
    /// The format of NEW [default: what its name says, else that of IMAGE]
    #[arg(short = 'O', long = "target-format", value_name = "FMT", requires = "output")]
    target_format: Option<Format>,
    /// Compress NEW (qcow2) [default: if IMAGE is compressed]
    #[arg(short, long, requires = "output")]
    compress: bool,
    /// How hard to compress: deflate 1 to 9 (default 6), zstd 1 to 22 (default 3)
    #[arg(long, value_name = "N", requires = "output")]
    level: Option<u8>,
    /// Options of NEW (qcow2), as convert has them with -o [default: as IMAGE]
    #[arg(long, value_name = "KEY=VALUE,…", value_delimiter = ',', requires = "output")]
    options: Vec<String>,
    /// Open the files that the image names, beneath its own folder
    #[arg(long)]
    allow_backing: bool,
    /// Replace NEW if it is there
    #[arg(long, requires = "output")]
    force: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// What an image was written to, or what became of it.
struct Done {
    path: PathBuf,
    format: Format,
    virtual_size: u64,
    file_size: u64,
    allocated_size: u64,
    /// Before, in place.
    allocated_before: Option<u64>,
    /// What is unused and stayed: parts of clusters that are compressed, or that snapshots have.
    left: u64,
}

/// Does it.
pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    interrupt::listen()?;
    let doing = || format!("looking for what is unused in {}", args.image.display());
    let survey = |disk: &Arc<dyn BlockRead>| -> anyhow::Result<FreeSpace> {
        let is_ignored = |place: &Place| args.ignore.iter().any(|name| place.is_called(name));
        let found = find_free_space_except(disk, &is_ignored).with_context(doing)?;
        refuse_unknown(&args.ignore, &found)?;
        tell_of_skipped(&found, ui);
        Ok(found)
    };
    let (found, done) = match &args.output {
        Some(output) => copied::sparsify(args, output, &survey, ui)?,
        None => in_place::sparsify(args, &survey, ui)?,
    };
    report(args, &found, &done, ui)?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses names to ignore that nothing has.
fn refuse_unknown(names: &[String], found: &FreeSpace) -> anyhow::Result<()> {
    let unknown = names.iter().find(|name| !found.ignored.iter().any(|place| place.is_called(name)));
    let Some(name) = unknown else { return Ok(()) };
    let all = found.ignored.iter().chain(found.filesystems.iter().map(|own| &own.0));
    let all = all.chain(found.skipped.iter().map(|own| &own.0));
    let all: Vec<String> = all.map(|place| place.to_string()).collect();
    Err(anyhow!("it has no filesystem {name:?} to ignore"))
        .hint(|| format!("it has: {}", all.join(", ")))
        .exit_code(USAGE)
}

fn report(args: &Args, found: &FreeSpace, done: &Done, ui: &Ui) -> anyhow::Result<()> {
    let unused: u64 = found.unused.iter().map(|range| range.len()).sum();
    if args.json {
        let with = |place: &Place, key: &str, value: Value| {
            let mut known = as_json(place);
            known[key] = value;
            known
        };
        let filesystems: Vec<Value> = found
            .filesystems
            .iter()
            .map(|(place, bytes)| with(place, "unused_bytes", json!(bytes)))
            .collect();
        let skipped: Vec<Value> =
            found.skipped.iter().map(|(place, why)| with(place, "reason", json!(why))).collect();
        let ignored: Vec<Value> = found.ignored.iter().map(as_json).collect();
        let mut target = json!({
            "path": done.path,
            "format": done.format.to_string(),
            "virtual_size": done.virtual_size,
            "file_size": done.file_size,
            "allocated_size": done.allocated_size,
        });
        if let Some(before) = done.allocated_before {
            target["allocated_before"] = json!(before);
            target["left_bytes"] = json!(done.left);
        }
        return ui.json(&json!({
            "image": args.image,
            "unused_bytes": unused,
            "filesystems": filesystems,
            "skipped": skipped,
            "ignored": ignored,
            "target": target,
        }));
    }
    for (place, bytes) in &found.filesystems {
        let kind = place.signature.as_ref().map_or(String::new(), |own| format!("{} on ", own.kind));
        ui.note(&goldimg::printable::printable(&format!("{kind}{place}: {} unused", Size(*bytes))));
    }
    ui.note(&format!("{} of {} are unused", Size(unused), Size(done.virtual_size)));
    if done.left > 0 {
        let left = Size(done.left);
        ui.note(&format!("{left} of that stay, in clusters that are compressed or that snapshots have: -o NEW leaves them out"));
    }
    let before = done.allocated_before.map_or(String::new(), |before| format!(", before {}", Size(before)));
    let (size, allocated) = (Size(done.file_size), Size(done.allocated_size));
    ui.note(&format!("{}: {size}, {allocated} on disk{before}", done.path.display()));
    Ok(())
}

fn as_json(place: &Place) -> Value {
    json!({
        "name": place.to_string(),
        "offset": place.offset,
        "kind": place.signature.as_ref().map(|own| own.kind.to_string()),
        "label": place.signature.as_ref().map(|own| &own.label),
    })
}
