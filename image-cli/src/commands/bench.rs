//! `goldimg bench`: how fast an image takes requests; the options are those of `qemu-img bench`.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use goldimg::printable::printable;
use goldimg::size::Size;
use image_core::bench::{Requests, Workload};
use image_core::format::{Format, ImageWriter, References, Share, WriteOptions};
use serde_json::json;

use super::image::{Backing, human_size};
use crate::interrupt;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg bench disk.qcow2
  goldimg bench -c 1000 -s 1M -d 8 disk.qcow2
  goldimg bench -w -f raw --pattern 65 --flush-interval 100 scratch.raw")]
pub(crate) struct Args {
    /// The format: raw or qcow2 [default: what it looks like]
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    backing: Backing,
    /// How many requests
    #[arg(short, long, value_name = "N", default_value_t = 75_000)]
    count: u64,
    /// How many of them at a time
    #[arg(short, long, value_name = "N", default_value = "64")]
    depth: NonZeroUsize,
    /// The bytes of each
    #[arg(short = 's', long, value_name = "SIZE", default_value = "4K")]
    buffer_size: Size,
    /// Where the first begins
    #[arg(short, long, value_name = "OFFSET", default_value = "0")]
    offset: Size,
    /// How much further each of the others begins [default: its size]
    #[arg(short = 'S', long, value_name = "SIZE")]
    step_size: Option<Size>,
    /// Write, over what is there, instead of reading
    #[arg(short, long)]
    write: bool,
    /// The byte that is written
    #[arg(long, value_name = "BYTE", default_value_t = 0, requires = "write")]
    pattern: u8,
    /// Flush after every so many requests
    #[arg(long, value_name = "N", requires = "write")]
    flush_interval: Option<NonZeroU64>,
    /// A flush does not wait for the requests before it
    #[arg(long, requires = "flush_interval")]
    no_drain: bool,
    /// Use the image even if others do
    #[arg(short = 'U', long)]
    force_share: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The image
    image: PathBuf,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    interrupt::listen()?;
    let workload = Workload {
        count: args.count,
        depth: args.depth,
        len: usize::try_from(args.buffer_size.0).context("the size of a request")?,
        offset: args.offset.0,
        step: args.step_size.unwrap_or(args.buffer_size).0,
    };
    let name = printable(&args.image.display().to_string());
    let took = measure(args, workload, ui).with_context(|| format!("measuring {name}"))?;
    show(args, took, ui)?;
    Ok(ExitCode::SUCCESS)
}

fn measure(args: &Args, workload: Workload, ui: &Ui) -> anyhow::Result<Duration> {
    let share = if args.force_share { Share::Writers } else { Share::Readers };
    let watch = ui.bytes("measuring", workload.count.saturating_mul(workload.len as u64));
    if !args.write {
        let image = args.backing.open(&args.image, args.format, share, ui)?;
        return Ok(workload.run(Requests::Read(&image), &watch)?);
    }
    let image = writer(&args.image, args, share)?;
    let (pattern, flush_every, drain) = (args.pattern, args.flush_interval, !args.no_drain);
    let took = workload.run(Requests::Write { disk: &image, pattern, flush_every, drain }, &watch)?;
    image.close()?;
    Ok(took)
}

fn writer(path: &Path, args: &Args, share: Share) -> anyhow::Result<ImageWriter> {
    let references = if args.backing.allowed { References::AllowBeneath } else { References::Refuse };
    Ok(ImageWriter::open(
        path,
        WriteOptions { format: args.format, references, share, parse_filename: None },
    )?)
}

fn show(args: &Args, took: Duration, ui: &Ui) -> anyhow::Result<()> {
    let seconds = took.as_secs_f64();
    let bytes = args.count.saturating_mul(args.buffer_size.0);
    let (requests_a_second, bytes_a_second) = (args.count as f64 / seconds, (bytes as f64 / seconds) as u64);
    if args.json {
        return ui.json(&json!({
            "requests": args.count, "bytes": bytes, "seconds": seconds,
            "requests-per-second": requests_a_second.round(), "bytes-per-second": bytes_a_second,
        }));
    }
    ui.line(&format!(
        "{} requests of {} in {seconds:.3} s: {requests_a_second:.0} a second, {} a second",
        args.count,
        human_size(args.buffer_size.0),
        human_size(bytes_a_second)
    ))?;
    Ok(())
}
