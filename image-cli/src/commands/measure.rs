//! `goldimg measure`: how large the file of a new image will be. The numbers are those of `qemu-img measure`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use goldimg::size::Size;
use image_core::block::{BlockRead, Preallocation};
use image_core::convert::Options;
use image_core::format::{Format, Image, Share};
use image_core::measure::{self, Content, Measured, Target};
use image_core::qcow2::{Version, bitmap};
use serde_json::json;

use super::convert::options::Job;
use super::image::{Backing, human_size};
use super::image_options::ImageOptions;
use crate::failure::{Advise, USAGE};
use crate::interrupt;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg measure -O qcow2 disk.raw
  goldimg measure --exact -c -o compression_type=zstd disk.raw
  goldimg measure -O qcow2 --size 100G --json")]
pub(crate) struct Args {
    /// The format of IMAGE [default: what it looks like]
    #[arg(short = 'f', long = "source-format", value_name = "FMT")]
    source_format: Option<Format>,
    /// raw, qcow2, vmdk, vpc (vhd), vhdx, vdi (the last four exact in any case) [default: qcow2 with -c or --exact, else raw]
    #[arg(short = 'O', long = "target-format", value_name = "FMT")]
    target_format: Option<Format>,
    /// Options of the new image, as for create (with --exact: as for convert)
    #[arg(short = 'o', value_name = "KEY=VALUE,…")]
    options: Vec<String>,
    /// The new image is compressed; only --exact can tell what comes of it
    #[arg(short, long, requires = "exact")]
    compress: bool,
    /// How hard to compress
    #[arg(long, value_name = "N", requires = "compress")]
    level: Option<u8>,
    /// Find the length of the file that convert would write, by doing all of it but the writing
    #[arg(long, conflicts_with = "size")]
    exact: bool,
    /// How many threads work [default: one for each core]
    #[arg(short = 'm', long = "threads", value_name = "N")]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    backing: Backing,
    /// Read IMAGE even if it is in use
    #[arg(short = 'U', long)]
    force_share: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The virtual size of a new image without content
    #[arg(short, long, conflicts_with = "image", required_unless_present = "image")]
    size: Option<Size>,
    /// The image that the new one has the content of
    image: Option<PathBuf>,
}

/// Sizes in bytes.
struct Answer {
    measured: Measured,
    bitmaps: Option<u64>,
    exact: Option<u64>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    interrupt::listen()?;
    let qcow2 = args.compress || args.exact;
    let format = args.target_format.unwrap_or(if qcow2 { Format::Qcow2 } else { Format::Raw });
    if format == Format::Raw && (qcow2 || !args.options.is_empty()) {
        return Err(anyhow!("a raw image has no options")).hint(|| "take -O qcow2").exit_code(USAGE);
    }
    let wanted = Wanted::parse(args, format).exit_code(USAGE)?;
    let answer = match (&args.image, args.size) {
        (Some(path), _) => {
            let share = if args.force_share { Share::Writers } else { Share::Readers };
            let image = args.backing.open(path, args.source_format, share, ui)?;
            of_image(args, &wanted, &image, ui).with_context(|| format!("measuring {}", path.display()))?
        }
        (None, size) => {
            let content = Content::Empty(size.unwrap_or_default().0);
            Answer { measured: wanted.measure(content, &Options::default())?, bitmaps: None, exact: None }
        }
    };
    show(args, &answer, ui)?;
    Ok(ExitCode::SUCCESS)
}

fn of_image(args: &Args, wanted: &Wanted, image: &Image, ui: &Ui) -> anyhow::Result<Answer> {
    let watch = ui.bytes("measuring", image.size());
    let options = Options { threads: args.threads, progress: &watch, ..Options::default() };
    let measured = wanted.measure(Content::Of(image), &options)?;
    let bitmaps = match (image.as_qcow2(), &wanted.qcow2) {
        (Some(qcow2), Some((target, true))) => {
            let list = bitmap::list(&**qcow2.file(), &qcow2.header())?;
            Some(measure::bitmaps(target.geometry, image.size(), &list))
        }
        _ => None,
    };
    let exact = match &wanted.exact {
        Some(job) => Some(measure::exact(image, job.image(image.size())?, &options)?),
        None => None,
    };
    Ok(Answer { measured, bitmaps, exact })
}

/// The new image, as far as its size depends on it.
struct Wanted {
    /// A qcow2 image, and whether it can have bitmaps; raw if there is none.
    qcow2: Option<(Target, bool)>,
    /// The conversion to do without writing.
    exact: Option<Job>,
    /// An image of another program's format.
    foreign: Option<image_core::foreign::NewImage>,
}

impl Wanted {
    fn parse(args: &Args, format: Format) -> anyhow::Result<Self> {
        if format == Format::Raw {
            return Ok(Self { qcow2: None, exact: None, foreign: None });
        }
        let list: Vec<String> =
            args.options.iter().flat_map(|list| list.split(',')).map(str::to_owned).collect();
        if let Format::Foreign(_) = format {
            let job = Job::of(format, args.compress, &list, args.level)?;
            return Ok(Self { qcow2: None, exact: None, foreign: job.foreign(0)? });
        }
        let mut options = ImageOptions::default();
        for list in &args.options {
            options.read(list)?;
        }
        let target = Target {
            geometry: options.new_image(0)?.geometry(),
            preallocated: options.preallocation > Preallocation::Metadata,
            backed: options.backing_file.is_some(),
        };
        let exact = args.exact.then(|| Job::of(format, args.compress, &list, args.level)).transpose()?;
        Ok(Self { qcow2: Some((target, options.version != Some(Version::V2))), exact, foreign: None })
    }

    fn measure(&self, content: Content<'_>, options: &Options) -> image_core::Result<Measured> {
        if let Some(image) = &self.foreign {
            return measure::foreign(image, content, options);
        }
        match self.qcow2 {
            None => Ok(measure::raw(content)),
            Some((target, _)) => measure::qcow2(target, content),
        }
    }
}

fn show(args: &Args, answer: &Answer, ui: &Ui) -> anyhow::Result<()> {
    let Answer { measured, bitmaps, exact } = answer;
    if args.json {
        let mut value = json!({ "required": measured.required, "fully-allocated": measured.fully_allocated });
        for (key, size) in [("bitmaps", bitmaps), ("exact", exact)] {
            if let Some(size) = size {
                value[key] = (*size).into();
            }
        }
        return ui.json(&value);
    }
    let rows = [
        ("exact size:", *exact),
        ("required size:", Some(measured.required)),
        ("bitmaps size:", bitmaps.filter(|&size| size > 0)),
        ("fully allocated size:", Some(measured.fully_allocated)),
    ];
    for (name, size) in rows {
        if let Some(size) = size {
            let human = if size < 1024 { String::new() } else { format!(" ({})", human_size(size)) };
            ui.line(&format!("{name:<22}{size} bytes{human}"))?;
        }
    }
    Ok(())
}
