//! `goldimg convert`: an image into another format, on all cores.
//!
//! ```text
//! SOURCE … ─► convert ─► beside TARGET, under a name of its own ─► digests ─► renamed to TARGET
//! (source)               into TARGET as it is (-n), a device, standard output
//! ```

mod bitmaps;
pub(super) mod options;
mod output;
mod source;

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, anyhow};
use goldimg::size::Size;
use image_core::block::{BlockRead, BlockWrite, DdRange, FileDisk};
use image_core::convert::{DiskSink, Options, Sink, StreamSink, Summary, Zeroes, convert_over};
use image_core::digest::{Algorithm, Digest, digests_of};
use image_core::format::{Format, Image, Share};
use image_core::qcow2::write::CompressedSink;
use image_core::qcow2::{Header, Qcow2Sink};
use serde::Serialize;

use super::image::Backing;
use crate::failure::{Advise, USAGE};
use crate::interrupt;
use crate::ui::Ui;
use options::Job;
use output::Output;
use source::Source;

/// The command line of `goldimg convert`.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg convert disk.raw disk.qcow2
  goldimg convert -c -o compression_type=zstd disk.raw disk.qcow2
  goldimg convert -O raw --hash sha256 disk.qcow2 disk.raw
  goldimg convert -O raw disk.qcow2 - | ssh host 'cat > /dev/vdb'
  goldimg convert -n -O raw --target-is-zero disk.qcow2 /dev/vdb
  goldimg convert -n -c disk.raw there.qcow2
  goldimg convert -o subformat=streamOptimized disk.qcow2 for-vsphere.vmdk
  goldimg convert -o subformat=fixed disk.qcow2 for-azure.vhd
  goldimg convert --salvage -O raw damaged.qcow2 rescued.raw")]
pub(crate) struct Args {
    /// The format of SOURCE [default: what it looks like]
    #[arg(short = 'f', long = "source-format", value_name = "FMT")]
    pub(crate) source_format: Option<Format>,
    /// raw, qcow2, vmdk, vpc (vhd), vhdx, vdi [default: what the name of TARGET says, or qcow2 with -c, else raw]
    #[arg(short = 'O', long = "target-format", value_name = "FMT")]
    pub(crate) target_format: Option<Format>,
    #[command(flatten)]
    pub(crate) backing: Backing,
    /// Read SOURCE even if it is in use
    #[arg(short = 'U', long)]
    pub(crate) force_share: bool,
    /// Compress (qcow2, vmdk)
    #[arg(short, long)]
    pub(crate) compress: bool,
    /// Options of the target's format: cluster_size, compression_type, compat, refcount_bits; subformat, block_size
    #[arg(short = 'o', value_name = "KEY=VALUE,…", value_delimiter = ',')]
    pub(crate) options: Vec<String>,
    /// How hard to compress: deflate 1 to 9 (default 6), zstd 1 to 22 (default 3)
    #[arg(long, value_name = "N", requires = "compress")]
    pub(crate) level: Option<u8>,
    /// Store equal compressed clusters once: smaller where the disk holds the same files several times
    #[arg(long, requires = "compress", conflicts_with = "no_create")]
    pub(crate) dedup: bool,
    /// How many threads work [default: one for each core]
    #[arg(short = 'm', long = "threads", value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Take SOURCE as it was when this snapshot (id or name) was taken
    #[arg(short = 'l', long, value_name = "SNAPSHOT")]
    pub(crate) snapshot: Option<String>,
    /// Take the persistent bitmaps of SOURCE along (qcow2)
    #[arg(long)]
    pub(crate) bitmaps: bool,
    /// Leave out bitmaps that were not saved properly
    #[arg(long, requires = "bitmaps")]
    pub(crate) skip_broken_bitmaps: bool,
    /// What cannot be read becomes zeroes, and is told
    #[arg(long)]
    pub(crate) salvage: bool,
    /// Read no more than so many bytes a second
    #[arg(short = 'r', long, value_name = "SIZE")]
    pub(crate) rate_limit: Option<Size>,
    /// Write into TARGET as it is: an image, or a device, of at least the same size
    #[arg(short = 'n', long = "no-create", conflicts_with_all = ["options", "hash"])]
    pub(crate) no_create: bool,
    /// TARGET (qcow2) gets this backing file, named from its own folder: only what differs from that is written
    #[arg(short = 'B', long, value_name = "FILE", conflicts_with = "no_create")]
    pub(crate) backing_file: Option<String>,
    /// The format of that backing file [default: what it looks like]
    #[arg(short = 'F', long, value_name = "FMT", requires = "backing_file")]
    pub(crate) backing_format: Option<Format>,
    /// TARGET reads as zeroes: only data are written
    #[arg(long, requires = "no_create")]
    pub(crate) target_is_zero: bool,
    /// Runs of so many zeroes become holes (raw); 0 for none
    #[arg(short = 'S', value_name = "SIZE")]
    pub(crate) sparse_size: Option<Size>,
    /// What filesystems, swap space and LVM do not use becomes holes, as with sparsify
    #[arg(long)]
    pub(crate) skip_free: bool,
    /// Print digests of TARGET: sha256, sha512, md5
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse_algorithm)]
    pub(crate) hash: Vec<Algorithm>,
    /// Print digests of what the image holds, as a guest reads it
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse_algorithm)]
    pub(crate) content_hash: Vec<Algorithm>,
    /// Return when TARGET would survive a loss of power
    #[arg(long)]
    pub(crate) sync: bool,
    /// Replace TARGET, or write onto it if it is a device or an export
    #[arg(long)]
    pub(crate) force: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show progress: accepted for the sake of scripts, it is shown anyway
    #[arg(short = 'p', hide = true)]
    pub(crate) show_progress: bool,
    /// The image to read, or several that follow each other
    #[arg(required = true)]
    pub(crate) source: Vec<PathBuf>,
    /// The image to write; - is standard output (qcow2 by way of a temporary file: its header comes last)
    pub(crate) target: PathBuf,
    /// Only this part of SOURCE.
    #[arg(skip)]
    pub(crate) excerpt: Option<DdRange>,
}

impl Args {
    fn share(&self) -> Share {
        if self.force_share { Share::Writers } else { Share::Readers }
    }
}

fn parse_algorithm(name: &str) -> Result<Algorithm, image_core::Error> {
    name.parse()
}

/// What was done, as it is printed.
#[derive(Debug, Serialize)]
struct Report {
    sources: Vec<Side>,
    target: Side,
    /// Bytes read from the source, beyond its metadata.
    read_bytes: u64,
    /// Bytes of the disk that are not zeroes, in units of the target's format.
    data_bytes: u64,
    /// What could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost: Vec<Lost>,
    seconds: f64,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    digests: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    content_digests: serde_json::Map<String, serde_json::Value>,
}

/// A format by its name.
fn named<S: serde::Serializer>(format: &Format, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(format.name())
}

#[derive(Debug, Serialize)]
struct Lost {
    start: u64,
    length: u64,
}

#[derive(Debug, Serialize)]
struct Side {
    path: PathBuf,
    #[serde(serialize_with = "named")]
    format: Format,
    virtual_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allocated_size: Option<u64>,
}

/// Converts.
pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let job = Job::new(args, ui).exit_code(USAGE)?;
    if let Some(text) = job.warning() {
        ui.warning(&text);
    }
    interrupt::listen()?;
    match convert(args, job, ui) {
        // It has read enough, as from any other program.
        Err(_) if args.target == Path::new("-") && is_reader_gone() => Ok(ExitCode::from(BROKEN_PIPE)),
        done => done.map(|()| ExitCode::SUCCESS),
    }
}

fn convert(args: &Args, job: Job, ui: &Ui) -> anyhow::Result<()> {
    let started = Instant::now();
    let source = Source::open(args, ui)?;
    if source.disk().size() == 0 {
        ui.warning("there is nothing to convert: the source is empty, and so will be the target");
    }
    let output = match args.no_create {
        true => Output::existing(&args.target, args, ui)?,
        false => Output::new(&args.target, args, job.format, ui)?,
    };
    let base = args.backing_file.as_ref().map(|name| source::base(args, name, ui)).transpose()?;
    let job = job.writing_into(&output).over(args.backing_file.as_deref(), base.as_ref());
    if args.bitmaps {
        bitmaps::check_target(&job, &output)?;
    }
    let names: Vec<String> = args.source.iter().map(|path| path.display().to_string()).collect();
    let doing = || format!("converting {} to {}", names.join(" and "), args.target.display());
    let (mut done, output) = write(args, &job, (&source, base.as_ref()), output, ui).with_context(doing)?;
    let written_in_place = output.image().is_some();
    output.keep(args.sync).with_context(doing)?;
    if let Some(bitmaps) = source.bitmaps.as_ref().filter(|_| written_in_place) {
        bitmaps.write_into(&args.target).with_context(doing)?;
    }
    done.seconds = (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    report(args, &done, ui)
}

/// The exit code of a program whose reader went away: 128 and SIGPIPE, as shells count.
const BROKEN_PIPE: u8 = 141;

/// Whether nobody reads standard output any more.
fn is_reader_gone() -> bool {
    let stdout = std::io::stdout();
    let mut polled = [rustix::event::PollFd::new(&stdout, rustix::event::PollFlags::empty())];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let ready = rustix::event::poll(&mut polled, Some(&now));
    ready.is_ok() && polled[0].revents().contains(rustix::event::PollFlags::ERR)
}

/// Writes the output, and its digests; it is kept by the caller.
fn write(
    args: &Args,
    job: &Job,
    (source, base): (&Source<'_>, Option<&Image>),
    output: Output,
    ui: &Ui,
) -> anyhow::Result<(Report, Output)> {
    let disk = source.disk();
    let mut digests = Vec::new();
    // A raw target holds the content and nothing else: its digests are made on the way.
    let raw = job.format == Format::Raw;
    let shared = raw && share(args, source, &output)?;
    let mut content = args.content_hash.clone();
    if raw && !shared {
        content.extend(&args.hash);
    }
    let summary = if shared {
        let content_digests = digests_of(disk, &content, &ui.bytes("hashing", disk.size()))?;
        Summary { size: disk.size(), digests: content_digests, ..Summary::default() }
    } else {
        let watch = ui.bytes("converting", disk.size());
        let options = Options { threads: args.threads, digests: &content, progress: &watch };
        let base = base.map(|base| base as &dyn BlockRead);
        convert_over(base, disk, job.sink(disk.size(), &output)?.as_mut(), &options)?
    };
    if let (Some(bitmaps), Some(disk)) = (&source.bitmaps, output.disk()) {
        bitmaps.write(disk, Header::read(disk)?)?;
    }
    let mut content_digests = summary.digests;
    if raw && !shared {
        digests = content_digests.split_off(args.content_hash.len());
    } else if !args.hash.is_empty() {
        let file = output.reopen()?;
        digests = digests_of(&file, &args.hash, &ui.bytes("hashing", file.size()))?;
    }
    let side = |path: &Path, format, size| Side {
        path: path.to_owned(),
        format,
        virtual_size: size,
        file_size: None,
        allocated_size: None,
    };
    let target = Side {
        file_size: output.file_size()?,
        allocated_size: output.allocated_size()?,
        ..side(
            &args.target,
            job.format,
            output.virtual_size().map_or_else(|| job.virtual_size(disk.size()), Ok)?,
        )
    };
    let report = Report {
        sources: source.images.iter().map(|(path, format, size)| side(path, *format, *size)).collect(),
        target,
        read_bytes: summary.read,
        data_bytes: summary.stored,
        lost: lost(source),
        seconds: 0.0,
        digests: digest_map(&digests),
        content_digests: digest_map(&content_digests),
    };
    Ok((report, output))
}

/// Shares the storage of a raw source where nothing speaks against it.
fn share(args: &Args, source: &Source<'_>, output: &Output) -> anyhow::Result<bool> {
    let Some(file) = output.file().filter(|_| args.sparse_size.is_none()) else { return Ok(false) };
    let Some(path) = source.raw_file() else { return Ok(false) };
    let source = FileDisk::open(path).ok().filter(|again| again.size() == source.disk().size());
    Ok(source.map_or(Ok(false), |source| file.reflink(&source))?)
}

fn lost(source: &Source<'_>) -> Vec<Lost> {
    let lost = source.lost();
    lost.iter().map(|range| Lost { start: range.offset(), length: range.len() }).collect()
}

fn digest_map(digests: &[Digest]) -> serde_json::Map<String, serde_json::Value> {
    digests.iter().map(|digest| (digest.algorithm.to_string(), digest.hex.clone().into())).collect()
}

/// Says what was done: digests to standard output (or standard error, where the image went there).
fn report(args: &Args, report: &Report, ui: &Ui) -> anyhow::Result<()> {
    let to_stdout = args.target == Path::new("-");
    let mut lines = Vec::new();
    if args.json {
        lines.push(serde_json::to_string_pretty(report)?);
    } else {
        let name = args.target.display();
        let line = |(algorithm, hex): (&String, &serde_json::Value), of: &str| {
            format!("{} ({of}) = {}", algorithm.to_uppercase(), hex.as_str().unwrap_or_default())
        };
        lines.extend(report.digests.iter().map(|digest| line(digest, &name.to_string())));
        lines.extend(report.content_digests.iter().map(|digest| line(digest, &format!("content of {name}"))));
    }
    for text in lines {
        if to_stdout {
            ui.note(&text);
        } else {
            ui.line(&text)?;
        }
    }
    if !report.lost.is_empty() {
        let bytes: u64 = report.lost.iter().map(|lost| lost.length).sum();
        ui.warning(&format!("{bytes} bytes could not be read, and are zeroes now"));
    }
    if let Some(size) = report.target.file_size {
        let allocated = report.target.allocated_size.unwrap_or(size);
        ui.note(&format!("{}: {}, {} on disk", args.target.display(), Size(size), Size(allocated)));
    }
    Ok(())
}

impl Job {
    /// The sink that writes a disk of `size` bytes into `output`.
    fn sink<'a>(&self, size: u64, output: &'a Output) -> anyhow::Result<Box<dyn Sink + 'a>> {
        if let Some(image) = output.image() {
            output.make_room(size)?;
            let zeroes = if output.reads_as_zeroes() { Zeroes::AlreadyThere } else { Zeroes::Write };
            if self.compresses() {
                let image = image.as_qcow2().ok_or_else(|| anyhow!("a raw image cannot be compressed"))?;
                return Ok(Box::new(CompressedSink::new(image, self.level, zeroes)?));
            }
            return self.disk_sink(image, zeroes);
        }
        let Some(disk) = output.disk() else {
            // Not through `Stdout`, which looks for the ends of lines.
            return Ok(Box::new(StreamSink::new(File::from(
                std::io::stdout().as_fd().try_clone_to_owned()?,
            ))));
        };
        if let Some(image) = self.foreign(size)? {
            return Ok(image.sink(disk)?);
        }
        if self.format == Format::Qcow2 {
            return Ok(Box::new(Qcow2Sink::new(disk, self.image(size)?)?));
        }
        let fresh = output.make_room(size)?;
        self.disk_sink(disk, if fresh { Zeroes::AlreadyThere } else { Zeroes::Write })
    }

    /// Onto a disk; with `-S 0` zeroes are written in any case.
    fn disk_sink<'a>(
        &self,
        disk: impl BlockWrite + 'a,
        zeroes: Zeroes,
    ) -> anyhow::Result<Box<dyn Sink + 'a>> {
        let Some(unit) = self.sparse_unit else { return Ok(Box::new(DiskSink::new(disk, Zeroes::Allocate))) };
        Ok(Box::new(DiskSink::new(disk, zeroes).with_sparse_unit(unit)?))
    }
}
