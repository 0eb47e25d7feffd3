//! `goldimg create`: a new, empty image, alone or over a backing file.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use image_core::block::{Access, BlockRead, BlockWrite, ByteRange, FileDisk, Preallocation};
use image_core::format::Format;

use super::image::human_size;
use super::image_options::{FORMAT_HINT, ImageOptions, look_at};
use crate::failure::{Advise, USAGE};
use crate::printable::printable;
use crate::size::Size;
use crate::ui::Ui;

/// The command line of `goldimg create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg create disk.qcow2 20G
  goldimg create -b golden.qcow2 instance.qcow2
  goldimg create -o cluster_size=128k,preallocation=metadata disk.qcow2 20G
  goldimg create -f raw -o preallocation=falloc disk.raw 20G

Options of qcow2 (-o): size, backing_file, backing_fmt, compat (1.1, 0.10), cluster_size, refcount_bits,
extended_l2, compression_type (deflate, zstd), lazy_refcounts, preallocation (off, metadata, falloc, full),
data_file, data_file_raw. Of raw: size, preallocation (off, falloc, full).")]
pub(crate) struct Args {
    /// The format of IMAGE [default: qcow2 if its name ends so or -b is given, else raw]
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
    let mut options = ImageOptions::default();
    for list in &args.options {
        options.read(list).exit_code(USAGE)?;
    }
    if let Some(backing) = &args.backing {
        options.backing_file = Some(backing.as_os_str().as_bytes().to_vec());
    }
    options.backing_format = args.backing_format.or(options.backing_format);
    let named_qcow2 = args.path.extension().is_some_and(|extension| extension == "qcow2");
    let format = args.format.unwrap_or(match named_qcow2 || options.backing_file.is_some() {
        true => Format::Qcow2,
        false => Format::Raw,
    });
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
    let new = NewFile::at(&args.path, args.force)?;
    let made = match format {
        Format::Raw => make_raw(&new.disk, &options, size),
        Format::Qcow2 => make_qcow2(args, &new.disk, &options, size),
    };
    let size = made.with_context(|| format!("making {name}"))?;
    let on_disk = new.disk.allocated_size()?;
    new.keep(&args.path)?;
    ui.note(&format!(
        "{name}: {format}, {} ({size} bytes), {} on disk",
        human_size(size),
        human_size(on_disk)
    ));
    Ok(ExitCode::SUCCESS)
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

fn make_raw(disk: &FileDisk, options: &ImageOptions, size: u64) -> anyhow::Result<u64> {
    options.refuse_for_raw()?;
    let size = size.next_multiple_of(512);
    if !disk.is_block_device() {
        disk.resize(size)?;
    }
    if options.preallocation > Preallocation::Metadata {
        options.preallocation.set_aside(disk, ByteRange::whole(size.min(disk.size())))?;
    }
    disk.flush()?;
    Ok(size)
}

fn make_qcow2(args: &Args, disk: &FileDisk, options: &ImageOptions, size: u64) -> anyhow::Result<u64> {
    let image = options.new_image(size).exit_code(USAGE)?;
    let file = FileDisk::from_file(disk.file().try_clone()?, &args.path)?;
    let Some(name) = &options.data_file else {
        image.create(Arc::new(file), None, options.preallocation)?;
        return Ok(image.size());
    };
    let path = args.path.parent().unwrap_or(Path::new("")).join(std::ffi::OsStr::from_bytes(name));
    let data = NewFile::at(&path, args.force)?;
    let data_disk = FileDisk::from_file(data.disk.file().try_clone()?, &path)?;
    image.create(Arc::new(file), Some(Arc::new(data_disk) as Arc<dyn BlockWrite>), options.preallocation)?;
    data.disk.flush()?;
    data.keep(&path)?;
    Ok(image.size())
}

/// A file in the making: under another name until it is complete. A block device is written where it is.
struct NewFile {
    disk: FileDisk,
    unfinished: Option<tempfile::TempPath>,
    force: bool,
}

impl NewFile {
    fn at(path: &Path, force: bool) -> anyhow::Result<Self> {
        let shown = printable(&path.display().to_string());
        if fs::symlink_metadata(path).is_ok() {
            if !force {
                return Err(anyhow!("{shown} exists")).hint(|| "--force replaces it");
            }
            let there = FileDisk::open(path)?;
            there.lock(Access::WRITE).hint(|| "stop the program that uses it")?;
            if there.is_block_device() {
                return Ok(Self { disk: FileDisk::open_writable(path)?, unfinished: None, force });
            }
        }
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let (file, unfinished) = tempfile::Builder::new()
            .prefix(".goldimg-")
            // What the umask leaves of it, as for any new file.
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .with_context(|| format!("making a file in {}", printable(&folder.display().to_string())))?
            .into_parts();
        Ok(Self { disk: FileDisk::from_file(file, path)?, unfinished: Some(unfinished), force })
    }

    /// Gives it its name. Without force nothing that appeared there meanwhile is replaced.
    fn keep(self, path: &Path) -> anyhow::Result<()> {
        let Some(unfinished) = self.unfinished else { return Ok(()) };
        let renamed = match self.force {
            true => unfinished.persist(path),
            false => unfinished.persist_noclobber(path),
        };
        match renamed {
            Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => {
                Err(anyhow!("{} exists", path.display())).hint(|| "--force replaces it")
            }
            renamed => renamed.with_context(|| format!("renaming the finished file to {}", path.display())),
        }
    }
}
