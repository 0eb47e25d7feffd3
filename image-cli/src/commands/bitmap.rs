//! `goldimg bitmap`: the persistent bitmaps of a qcow2 image, which tell a backup what was written.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use goldimg::printable::printable;
use goldimg::size::Size;
use image_core::format::{Format, FormatNode, OpenOptions};
use image_core::qcow2::Header;
use image_core::qcow2::bitmap::{self, Bitmap, Bits};
use image_core::qcow2::write::{BitmapChange, change_bitmaps};
use serde_json::json;

use super::image::{ImageArgs, Unclosed, human_size, unless_shared};
use crate::failure::Advise;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  goldimg bitmap disk.qcow2\n  goldimg bitmap --add -g 64K disk.qcow2 since-monday\n  \
    goldimg bitmap --merge monday disk.qcow2 week\n  goldimg bitmap --remove disk.qcow2 monday\n\n\
    Without a change the bitmaps are listed, with what is marked in each. Several changes are made at one moment, in the \
    order in which the options are listed here."
)]
pub(crate) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// The bitmap
    #[arg(value_name = "BITMAP", required_if_eq_any = [("add", "true"), ("remove", "true"), ("clear", "true"),
        ("enable", "true"), ("disable", "true")])]
    name: Option<String>,
    /// Add it; from now on it follows every write
    #[arg(long, conflicts_with = "remove")]
    add: bool,
    /// The bytes that each of its bits stands for [default: the cluster size, 4K to 64K]
    #[arg(short, long, value_name = "SIZE", requires = "add")]
    granularity: Option<Size>,
    /// Mark nothing in it
    #[arg(long, conflicts_with = "remove")]
    clear: bool,
    /// Mark in it what is marked in this bitmap (can be repeated)
    #[arg(long, value_name = "SOURCE", conflicts_with = "remove", requires = "name")]
    merge: Vec<String>,
    /// The image that the sources of --merge are in
    #[arg(short = 'b', long, value_name = "FILE", requires = "merge")]
    source_file: Option<PathBuf>,
    /// The format of that image
    #[arg(short = 'F', long, value_name = "FORMAT", requires = "source_file")]
    source_format: Option<Format>,
    /// Let it follow every write
    #[arg(long, conflicts_with_all = ["remove", "disable"])]
    enable: bool,
    /// Let it stay as it is
    #[arg(long, conflicts_with = "remove")]
    disable: bool,
    /// Remove it
    #[arg(long)]
    remove: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let name = printable(&args.image.path.display().to_string());
    let changes = changes(args)?;
    if changes.is_empty() {
        return list(args, ui);
    }
    let unclosed = Unclosed::look(&args.image.path, args.image.format);
    let member = FormatNode::open_writable(&args.image.path, args.image.format)?;
    let header = qcow2_header(&member, &name)?;
    change_bitmaps(&member.file, header, &changes)
        .hint(|| format!("goldimg bitmap {name}"))
        .with_context(|| name.clone())?;
    unclosed.tell(ui);
    Ok(ExitCode::SUCCESS)
}

fn qcow2_header<'a>(member: &'a FormatNode, name: &str) -> anyhow::Result<&'a Header> {
    let header = member.header.as_ref();
    header.ok_or_else(|| anyhow!("{name}: a {} image has no bitmaps", member.format))
}

/// What the options ask for, in order.
fn changes(args: &Args) -> anyhow::Result<Vec<BitmapChange>> {
    let name = args.name.clone().unwrap_or_default().into_bytes();
    let mut changes = Vec::new();
    if args.add {
        let granularity_bits = args.granularity.map(|size| granularity_bits(size.0)).transpose()?;
        changes.push(BitmapChange::Add { name: name.clone(), granularity_bits });
    }
    if args.clear {
        changes.push(BitmapChange::Clear(name.clone()));
    }
    for source in &args.merge {
        changes.push(match &args.source_file {
            Some(file) => BitmapChange::Merge { name: name.clone(), source: other(file, args, source)? },
            None => BitmapChange::MergeOwn { name: name.clone(), source: source.clone().into_bytes() },
        });
    }
    if args.enable {
        changes.push(BitmapChange::Enable(name.clone()));
    }
    if args.disable {
        changes.push(BitmapChange::Disable(name.clone()));
    }
    if args.remove {
        changes.push(BitmapChange::Remove(name));
    }
    Ok(changes)
}

fn granularity_bits(size: u64) -> anyhow::Result<u8> {
    match size.is_power_of_two() {
        true => Ok(size.trailing_zeros() as u8),
        false => {
            Err(anyhow!("a granularity of {size} bytes: powers of two from 512 bytes to 2 GiB are possible"))
        }
    }
}

/// The bits of a bitmap of another image.
fn other(file: &PathBuf, args: &Args, source: &str) -> anyhow::Result<Bits> {
    let name = printable(&file.display().to_string());
    let options = OpenOptions { format: args.source_format, ..args.image.options() };
    let member = unless_shared(FormatNode::open(file, options))?;
    let header = qcow2_header(&member, &name)?;
    let bitmaps = bitmap::list(&member.file, header)?;
    let found = bitmaps.iter().find(|bitmap| bitmap.name == source.as_bytes());
    let found = found
        .ok_or_else(|| anyhow!("{name}: there is no bitmap {:?}", printable(source)))
        .hint(|| format!("goldimg bitmap {name}"))?;
    if found.is_in_use() {
        return Err(anyhow!(
            "{name}: the bitmap {:?} was not saved properly and may be wrong",
            printable(source)
        ));
    }
    Ok(Bits::read(&member.file, header, found)?)
}

fn list(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let member = unless_shared(FormatNode::open(&args.image.path, args.image.options()))?;
    let mut values = Vec::new();
    if let Some(header) = &member.header {
        for bitmap in bitmap::list(&member.file, header)? {
            let marked = match bitmap.is_in_use() {
                true => None,
                false => {
                    let ranges = Bits::read(&member.file, header, &bitmap)?.ranges();
                    Some(ranges.iter().map(|range| range.len()).sum::<u64>())
                }
            };
            match args.image.wants_json() {
                true => values.push(json!({
                    "name": String::from_utf8_lossy(&bitmap.name),
                    "granularity": 1_u64.checked_shl(bitmap.granularity_bits.into()),
                    "enabled": bitmap.is_enabled(),
                    "consistent": !bitmap.is_in_use(),
                    "marked-bytes": marked,
                })),
                false => ui.line(&line(&bitmap, marked))?,
            }
        }
    }
    if args.image.wants_json() {
        ui.json(&values)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(bitmap: &Bitmap, marked: Option<u64>) -> String {
    let granularity = 1_u64.checked_shl(bitmap.granularity_bits.into()).unwrap_or_default();
    let enabled = if bitmap.is_enabled() { "follows every write" } else { "stays as it is" };
    let marked = match marked {
        Some(marked) => format!("{} marked", human_size(marked)),
        None => "not saved properly: it can only be removed".to_owned(),
    };
    let name = printable(&String::from_utf8_lossy(&bitmap.name));
    format!("{name}: {} a bit, {enabled}, {marked}", human_size(granularity))
}
