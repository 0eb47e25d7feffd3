//! `goldimg create`: a new, empty image, alone or over a backing file.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow};

use goldimg::printable::printable;
use goldimg::size::Size;
use goldimg::target_name::Wish;
use goldimg::target_name::placed;
use image_core::block::{
    Access, BlockRead, BlockWrite, ByteRange, Extents, FileDisk, Preallocation, ZeroMode,
};
use image_core::convert::Piece;
use image_core::format::Format;
use image_core::new_file::{Existing, NewFile};

use super::convert::options::Job;
use super::image::{human_size, tell_of_other_names};
use super::image_options::{FORMAT_HINT, ImageOptions, look_at};
use crate::failure::{Advise, USAGE};
use crate::interrupt;
use crate::ui::Ui;

/// The command line of `goldimg create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg create disk.qcow2 20G
  goldimg create -b golden.qcow2 instance.qcow2
  goldimg create -o cluster_size=128k,preallocation=metadata disk.qcow2 20G
  goldimg create -f raw -o preallocation=falloc disk.raw 20G

Options of qcow2 (-o): size, backing_file, backing_fmt, compat (1.1, 0.10), cluster_size, refcount_bits, \
extended_l2, compression_type (deflate, zstd), lazy_refcounts, preallocation (off, metadata, falloc, full), \
data_file, data_file_raw. Of raw: size, preallocation (off, falloc, full). Of vmdk: subformat (monolithicSparse, \
streamOptimized). Of vpc: subformat (dynamic, fixed), block_size. Of vhdx: block_size.")]
pub(crate) struct Args {
    /// raw, qcow2, vmdk, vpc (vhd), vhdx, vdi [default: what the name says, or qcow2 with -b, else raw]
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Options of the format; a comma in a value is written twice
    #[arg(short = 'o', value_name = "KEY=VALUE,…")]
    options: Vec<String>,
    /// What the image shows where nothing was written; a relative name starts at the folder of IMAGE
    #[arg(short = 'b', long, value_name = "FILE")]
    backing: Option<PathBuf>,
    /// The format of the backing file
    #[arg(short = 'F', long, value_name = "FORMAT", requires = "backing")]
    backing_format: Option<Format>,
    /// Do not look for the backing file; the size must be given then
    #[arg(short = 'u', long = "unchecked", requires = "backing")]
    unchecked: bool,
    /// Replace what is there
    #[arg(long)]
    force: bool,
    /// The image to make
    #[arg(value_name = "IMAGE")]
    path: PathBuf,
    /// Its virtual size, like 20G [default: that of the backing file]
    #[arg(value_name = "SIZE")]
    size: Option<Size>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    if let Some(Format::Foreign(_)) = args.format.or_else(|| named_format(args, ui)) {
        return create_foreign(args, ui);
    }
    let mut options = ImageOptions::default();
    for list in &args.options {
        options.read(list).exit_code(USAGE)?;
    }
    if let Some(backing) = &args.backing {
        options.backing_file = Some(backing.as_os_str().as_bytes().to_vec());
    }
    options.backing_format = args.backing_format.or(options.backing_format);
    let format = format_of(args, &options, ui)?;
    let size = args.size.map(|Size(size)| size).or(options.size);
    let size = match (size, &options.backing_file) {
        (size, Some(_)) => {
            let (backing_size, backing_format) = look_at_backing(args, &options, size)?;
            options.backing_format = Some(backing_format);
            size.unwrap_or(backing_size)
        }
        (Some(size), None) => size,
        (None, None) => {
            return Err(anyhow!("the size is missing"))
                .hint(|| format!("goldimg create {} 20G", printable(&args.path.display().to_string())))
                .exit_code(USAGE);
        }
    };
    let name = printable(&args.path.display().to_string());
    interrupt::listen()?;
    let new = Target::at(&args.path, args.force, ui)?;
    let made = match format {
        Format::Raw => make_raw(&new, args, &options, size),
        Format::Qcow2 => make_qcow2(&new, args, &options, size, ui),
        Format::Foreign(_) => Err(anyhow!("-f says {format}, and the name another format")),
    };
    let size = made.with_context(|| format!("making {name}"))?;
    let on_disk = new.disk().allocated_size()?;
    new.keep()?;
    ui.note(&format!(
        "{name}: {format}, {} ({size} bytes), {} on disk",
        human_size(size),
        human_size(on_disk)
    ));
    Ok(ExitCode::SUCCESS)
}

/// The format that the name alone says.
fn named_format(args: &Args, ui: &Ui) -> Option<Format> {
    Wish { option: "-f", format: None, needs_qcow2: None }.format_of(&args.path, ui.monitor()).ok()
}

/// Makes an empty image of another program's format.
fn create_foreign(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let needs_qcow2 = args.backing.is_some().then_some("-b");
    let format =
        Wish { option: "-f", format: args.format, needs_qcow2 }.format_of(&args.path, ui.monitor())?;
    if needs_qcow2.is_some() {
        return Err(anyhow!("-b has no meaning for an image of the format {format}"))
            .hint(|| "take -f qcow2")
            .exit_code(USAGE);
    }
    let Some(Size(size)) = args.size else {
        return Err(anyhow!("the size is missing"))
            .hint(|| format!("goldimg create {} 20G", printable(&args.path.display().to_string())))
            .exit_code(USAGE);
    };
    let options: Vec<String> =
        args.options.iter().flat_map(|list| list.split(',')).map(str::to_owned).collect();
    let job = Job::of(format, false, &options, None).exit_code(USAGE)?.named(&args.path);
    let image = job.foreign(size).exit_code(USAGE)?.context("no image of another program")?;
    let new = Target::at(&args.path, args.force, ui)?;
    let doing = || format!("making {}", printable(&args.path.display().to_string()));
    let mut sink = image.sink(new.disk()).with_context(doing)?;
    sink.put(ByteRange::whole(image.size()), Piece::Zero).with_context(doing)?;
    sink.finish().with_context(doing)?;
    drop(sink);
    let on_disk = human_size(new.disk().allocated_size()?);
    new.keep()?;
    let (name, size) = (printable(&args.path.display().to_string()), image.size());
    ui.note(&format!("{name}: {image}, {} ({size} bytes), {on_disk} on disk", human_size(size)));
    Ok(ExitCode::SUCCESS)
}

/// The name of a device says nothing of what is in it.
fn format_of(args: &Args, options: &ImageOptions, ui: &Ui) -> anyhow::Result<Format> {
    let needs_qcow2 = options.backing_file.is_some().then_some("-b");
    if fs::metadata(&args.path).is_ok_and(|there| there.file_type().is_block_device()) {
        let default = if needs_qcow2.is_some() { Format::Qcow2 } else { Format::Raw };
        return Ok(args.format.unwrap_or(default));
    }
    Ok(Wish { option: "-f", format: args.format, needs_qcow2 }.format_of(&args.path, ui.monitor())?)
}

/// The size and the format of the backing file; what was given counts where it is not looked at.
fn look_at_backing(args: &Args, options: &ImageOptions, size: Option<u64>) -> anyhow::Result<(u64, Format)> {
    let name = options.backing_file.as_deref().unwrap_or_default();
    if args.unchecked {
        let size = size.context("the size is missing: with -u nobody looks for it").exit_code(USAGE)?;
        let format = options.backing_format.context("the backing file's format is missing");
        return Ok((size, format.hint(|| FORMAT_HINT).exit_code(USAGE)?));
    }
    look_at(&args.path, name, options.backing_format)
}

fn make_raw(new: &Target, args: &Args, options: &ImageOptions, size: u64) -> anyhow::Result<u64> {
    options.refuse_for_raw()?;
    let size = size.next_multiple_of(512);
    let disk = new.disk();
    if !disk.is_block_device() {
        disk.resize(size)?;
    }
    if options.preallocation > Preallocation::Metadata {
        let again = new.again(&args.path)?;
        options.preallocation.set_aside(&*again, ByteRange::whole(size.min(disk.size())))?;
    }
    Ok(size)
}

fn make_qcow2(new: &Target, args: &Args, options: &ImageOptions, size: u64, ui: &Ui) -> anyhow::Result<u64> {
    let image = options.new_image(size).exit_code(USAGE)?;
    let Some(name) = &options.data_file else {
        image.create(new.again(&args.path)?, None, options.preallocation)?;
        return Ok(image.size());
    };
    let path = args.path.parent().unwrap_or(Path::new("")).join(std::ffi::OsStr::from_bytes(name));
    let data = Target::at(&path, args.force, ui)?;
    image.create(new.again(&args.path)?, Some(data.again(&path)?), options.preallocation)?;
    data.keep()?;
    Ok(image.size())
}

/// The image in the making: a new file, or a block device that is written where it is.
enum Target {
    File(NewFile),
    Device(FileDisk),
}

impl Target {
    fn at(path: &Path, force: bool, ui: &Ui) -> anyhow::Result<Self> {
        if fs::metadata(path).is_ok_and(|there| there.file_type().is_block_device()) {
            if !force {
                return Err(anyhow!("{} exists", printable(&path.display().to_string())))
                    .hint(|| "--force writes onto it");
            }
            let device = FileDisk::open_writable(path)?;
            device.lock(Access::WRITE).hint(|| "stop the program that uses it")?;
            return Ok(Self::Device(device));
        }
        let existing = if force { Existing::Replace } else { Existing::Refuse };
        let new = placed(NewFile::at(path, existing))?;
        tell_of_other_names(&new, ui);
        Ok(Self::File(new))
    }

    fn disk(&self) -> &FileDisk {
        match self {
            Self::File(new) => new.disk(),
            Self::Device(disk) => disk,
        }
    }

    /// The same file again, as what owns its disk wants it.
    fn again(&self, path: &Path) -> anyhow::Result<Arc<dyn BlockWrite>> {
        let file = self.disk().file().try_clone()?;
        Ok(Arc::new(Interruptible(FileDisk::from_file(file, path)?)))
    }

    /// Gives it its name.
    fn keep(self) -> image_core::Result<()> {
        match self {
            Self::File(new) => new.keep_synced(),
            Self::Device(disk) => disk.flush(),
        }
    }
}

/// A disk that stops to take changes when the work is asked to stop.
struct Interruptible<D>(D);

impl<D: BlockWrite> BlockRead for Interruptible<D> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> image_core::Result<()> {
        self.0.read_at(buf, offset)
    }

    fn extents(&self, range: ByteRange) -> image_core::Result<Extents> {
        self.0.extents(range)
    }
}

impl<D: BlockWrite> BlockWrite for Interruptible<D> {
    fn write_at(&self, buf: &[u8], offset: u64) -> image_core::Result<()> {
        interrupt::check()?;
        self.0.write_at(buf, offset)
    }

    fn write_zeroes(&self, range: ByteRange, mode: ZeroMode) -> image_core::Result<()> {
        interrupt::check()?;
        self.0.write_zeroes(range, mode)
    }

    fn flush(&self) -> image_core::Result<()> {
        self.0.flush()
    }

    fn resize(&self, size: u64) -> image_core::Result<()> {
        self.0.resize(size)
    }
}
