//! `goldimg map`: where the bytes of an image come from, as `qemu-img map` has it, for people and as JSON.

use std::process::ExitCode;

use anyhow::Context;
use goldimg::printable::printable;
use goldimg::size::Size;
use image_core::block::{BlockRead, ByteRange, MapEntry};
use image_core::map::Map;
use serde_json::json;

use super::image::{Backing, ImageArgs, human_size};
use crate::ui::Ui;

/// Text is written in pieces of so many bytes: a map can have millions of lines.
const PIECE: usize = 64 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg map disk.qcow2
  goldimg map --json disk.qcow2 | jq 'map(select(.data)) | map(.length) | add'
  goldimg map --allow-backing -s 1G -l 64M overlay.qcow2")]
pub(crate) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    backing: Backing,
    /// From this guest offset on
    #[arg(short, long, value_name = "OFFSET", default_value = "0")]
    start_offset: Size,
    /// For so many bytes [default: to the end]
    #[arg(short = 'l', long, value_name = "SIZE")]
    max_length: Option<Size>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let image = args.backing.open(&args.image.path, args.image.format, args.image.share(), ui)?;
    let start = args.start_offset.0.min(image.size());
    let len = args.max_length.map_or(u64::MAX, |size| size.0).min(image.size() - start);
    let json = args.image.wants_json();
    let name = printable(&args.image.path.display().to_string());
    let mut text = if json { "[".to_owned() } else { heading() };
    let mut separator = "\n";
    for stretch in Map::of(&image, ByteRange::new(start, len)?) {
        let stretch = stretch.with_context(|| format!("mapping {name}"))?;
        text.push_str(separator);
        text.push_str(&if json { as_json(&stretch) } else { as_line(&stretch) });
        separator = if json { ",\n" } else { "\n" };
        if text.len() > PIECE {
            ui.data(text.as_bytes())?;
            text.clear();
        }
    }
    text.push_str(if json { "\n]\n" } else { "\n" });
    ui.data(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn file_of(stretch: &MapEntry) -> Option<String> {
    stretch.host.as_ref()?.file.as_ref().map(|file| file.display().to_string())
}

fn as_json(stretch: &MapEntry) -> String {
    let mut value = json!({
        "start": stretch.range.offset(), "length": stretch.range.len(), "depth": stretch.depth,
        "present": stretch.present, "zero": stretch.zero, "data": stretch.data, "compressed": stretch.compressed,
    });
    if let Some(host) = &stretch.host {
        value["offset"] = host.offset.into();
    }
    if let Some(file) = file_of(stretch) {
        value["filename"] = file.into();
    }
    format!("  {value}")
}

fn heading() -> String {
    format!("{:>18} {:>12}  {:<24} {}", "guest offset", "length", "what", "where")
}

fn as_line(stretch: &MapEntry) -> String {
    let what = match stretch {
        MapEntry { compressed: true, .. } => "data, compressed",
        MapEntry { data: true, zero: true, .. } => "zero, set aside unwritten",
        MapEntry { data: true, .. } => "data",
        MapEntry { present: true, .. } => "zero",
        MapEntry { .. } => "nothing (zeroes)",
    };
    let (offset, len) = (format!("{:#x}", stretch.range.offset()), human_size(stretch.range.len()));
    let mut line = format!("{offset:>18} {len:>12}  {what:<24}");
    if let Some(host) = &stretch.host {
        let file = file_of(stretch).map(|file| format!(" of {}", printable(&file)));
        line.push_str(&format!(" {:#x}{}", host.offset, file.unwrap_or_default()));
    }
    if stretch.depth > 0 {
        line.push_str(&format!(" (backing file {})", stretch.depth));
    }
    line.trim_end().to_owned()
}
