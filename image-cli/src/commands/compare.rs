//! `goldimg compare`: do two images hold the same? Exit codes are those of `qemu-img compare`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use goldimg::printable::printable;
use image_core::block::{BlockRead, ByteRange};
use image_core::compare::{Comparison, Failed, Options, compare, first_difference_of_maps};
use image_core::format::{Format, Image, Share};
use serde_json::json;

use super::image::{Backing, human_size};
use crate::failure::Advise;
use crate::interrupt;
use crate::ui::Ui;

/// The exit code of images that differ.
const DIFFERENT: u8 = 1;
/// The exit code where an image could not be opened.
const NOT_OPENED: u8 = 2;
/// The exit code where an image did not say what it has.
const NOT_MAPPED: u8 = 3;
/// The exit code where an image could not be read.
const NOT_READ: u8 = 4;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg compare disk.raw disk.qcow2
  goldimg compare --ranges 1000 --json before.qcow2 after.qcow2 | jq '.ranges[]'
  goldimg compare -q disk.raw /dev/vdb && echo the same

A disk that ends earlier counts as followed by zeroes. Exit code: 0 the same, 1 different, 2 an image cannot be \
opened, 3 or 4 it cannot be read.")]
pub(crate) struct Args {
    /// The format of ONE: raw or qcow2 [default: what it looks like]
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<Format>,
    /// The format of OTHER
    #[arg(short = 'F', long, value_name = "FORMAT")]
    other_format: Option<Format>,
    #[command(flatten)]
    backing: Backing,
    /// Read the images even if they are in use
    #[arg(short = 'U', long)]
    force_share: bool,
    /// Sizes must be the same too, and what is allocated
    #[arg(short, long)]
    strict: bool,
    /// Show so many differing ranges, and stop there
    #[arg(long, value_name = "N", default_value_t = 10)]
    ranges: usize,
    /// How many threads work [default: one for each core]
    #[arg(short = 'm', long = "threads", value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Show progress: accepted for the sake of scripts, it is shown anyway
    #[arg(short = 'p', hide = true)]
    show_progress: bool,
    /// An image
    one: PathBuf,
    /// The image to compare it with
    other: PathBuf,
}

/// How two images differ.
struct Verdict {
    sizes: [u64; 2],
    /// Where the maps differ, if that matters.
    map: Option<u64>,
    content: Comparison,
    strict: bool,
}

impl Verdict {
    fn is_same(&self) -> bool {
        self.content.is_same() && self.map.is_none() && !(self.strict && self.sizes[0] != self.sizes[1])
    }
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    interrupt::listen()?;
    let share = if args.force_share { Share::Writers } else { Share::Readers };
    let open = |path, format| args.backing.open(path, format, share, ui).exit_code(NOT_OPENED);
    let (one, other) = (open(&args.one, args.format)?, open(&args.other, args.other_format)?);
    let verdict = match look(args, &one, &other, ui) {
        Err(error) if error.kind() == image_core::ErrorKind::Cancelled => return Err(error.into()),
        looked => {
            let reading =
                |error: &image_core::Error| error.cause::<Failed>().is_some_and(|cause| cause.reading);
            let code = if looked.as_ref().is_err_and(reading) { NOT_READ } else { NOT_MAPPED };
            let names = [&args.one, &args.other].map(|path| printable(&path.display().to_string()));
            looked.with_context(|| format!("comparing {} with {}", names[0], names[1])).exit_code(code)?
        }
    };
    if args.json {
        ui.json(&as_json(args, &verdict))?;
    } else {
        ui.verdict(&format!("{}\n", as_text(args, &verdict)))?;
    }
    Ok(if verdict.is_same() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}

fn look(args: &Args, one: &Image, other: &Image, ui: &Ui) -> image_core::Result<Verdict> {
    let sizes = [one.size(), other.size()];
    let watch = ui.bytes("comparing", sizes[0].max(sizes[1]));
    let options = Options { threads: args.threads, most: args.ranges, progress: &watch };
    let content = compare(one, other, &options)?;
    let map = if args.strict { first_difference_of_maps(one, other, u64::MAX)? } else { None };
    Ok(Verdict { sizes, map, content, strict: args.strict })
}

fn as_json(args: &Args, verdict: &Verdict) -> serde_json::Value {
    let Comparison { first, ranges, complete, .. } = &verdict.content;
    let side = |path: &PathBuf, size| json!({ "filename": path.display().to_string(), "virtual-size": size });
    let range = |range: &ByteRange| json!({ "start": range.offset(), "length": range.len() });
    let mut value = json!({
        "same": verdict.is_same(),
        "one": side(&args.one, verdict.sizes[0]),
        "other": side(&args.other, verdict.sizes[1]),
        "first-difference": first,
        "ranges": ranges.iter().map(range).collect::<Vec<_>>(),
        "complete": complete,
    });
    if verdict.strict {
        value["first-map-difference"] = verdict.map.into();
    }
    value
}

fn as_text(args: &Args, verdict: &Verdict) -> String {
    let [one, other] = [&args.one, &args.other].map(|path| printable(&path.display().to_string()));
    let [size, other_size] = verdict.sizes;
    let content = &verdict.content;
    let mut lines = Vec::new();
    lines.push(match content.first {
        None => format!("{one} and {other} hold the same"),
        Some(first) => format!("{one} and {other} differ from byte {first} ({first:#x}) on"),
    });
    if size != other_size {
        let (shorter, longer) = if size < other_size { (&one, &other) } else { (&other, &one) };
        let more = human_size(size.abs_diff(other_size));
        lines.push(match content.is_same() {
            true => format!("{longer} has {more} more than {shorter}, all of it zeroes"),
            false => format!("{longer} has {more} more than {shorter}"),
        });
    }
    for range in &content.ranges {
        lines.push(format!("  {:#x} … {:#x}  {}", range.offset(), range.end(), human_size(range.len())));
    }
    if !content.complete && !content.ranges.is_empty() {
        lines.push("  and more: --ranges shows them".to_owned());
    }
    if let Some(at) = verdict.map {
        lines.push(format!("from guest offset {at:#x} on they are not stored alike"));
    }
    lines.join("\n")
}
