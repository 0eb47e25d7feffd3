//! Where the target goes: beside its name until it is complete, onto a device, or to standard output.

use std::fs;
use std::io::Seek;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use goldimg::target_name::placed;
use image_core::ErrorKind;
use image_core::block::{Access, BlockRead, BlockWrite, FileDisk};
use image_core::format::{Format, ImageWriter, ProtocolNode, References, WriteOptions};
use image_core::nbd::Address;
use image_core::new_file::{Existing, NewFile};

use super::Args;
use crate::commands::image::{Unclosed, tell_of_other_names};
use crate::failure::Advise;
use crate::ui::Ui;

/// The target in the making. A file that is not kept is removed.
#[derive(Debug)]
pub(super) enum Output {
    /// A new file.
    File { new: NewFile },
    /// A block device.
    Device { disk: FileDisk },
    /// An export of a server.
    Export { medium: ProtocolNode },
    /// An image that is there, or a device, written into as it is.
    Existing { image: Box<ImageWriter>, zero: bool },
    /// A file without a name that goes to standard output when it is complete.
    Spooled { disk: FileDisk },
    /// Standard output.
    Stream,
}

impl Output {
    /// Prepares to write `path`; what is there already is touched only if `force` is set.
    pub(super) fn new(path: &Path, args: &Args, format: Format, ui: &Ui) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return match format {
                Format::Raw => Ok(Self::Stream),
                Format::Qcow2 | Format::Foreign(_) => {
                    let file = tempfile::tempfile().context("making a temporary file")?;
                    Ok(Self::Spooled { disk: FileDisk::from_file(file, "a temporary file")? })
                }
            };
        }
        if path.to_str().is_some_and(Address::is_meant_by) {
            return Self::export(path, args, format);
        }
        if let Ok(there) = fs::metadata(path) {
            refuse_source(path, &there, args)?;
            if there.file_type().is_block_device() {
                if !args.force {
                    return Err(anyhow!("{} exists", path.display())).hint(|| "--force writes onto it");
                }
                return Ok(Self::Device { disk: alone(FileDisk::open_writable(path)?)? });
            }
            if !there.is_file() && !there.is_dir() {
                return Err(anyhow!("{} is neither a file nor a block device", path.display()))
                    .hint(|| "- is standard output");
            }
        }
        let existing = if args.force { Existing::Replace } else { Existing::Refuse };
        let new = placed(NewFile::at(path, existing))?;
        tell_of_other_names(&new, ui);
        Ok(Self::File { new })
    }

    /// An export is there before anything is written, and stays as large as it is.
    fn export(address: &Path, args: &Args, format: Format) -> anyhow::Result<Self> {
        let name = address.display();
        if !args.force {
            return Err(anyhow!("{name} is an export, which holds something already"))
                .hint(|| "--force writes onto it, -n into the image that it holds");
        }
        if format == Format::Qcow2 && !args.hash.is_empty() {
            return Err(anyhow!("the bytes of an export are not read again")).hint(|| "leave out --hash");
        }
        Ok(Self::Export { medium: ProtocolNode::open_writable(address)? })
    }

    /// Opens what is at `path` to write into it.
    pub(super) fn existing(path: &Path, args: &Args, ui: &Ui) -> anyhow::Result<Self> {
        if let Ok(there) = fs::metadata(path) {
            refuse_source(path, &there, args)?;
        }
        let references = if args.backing.allowed { References::AllowBeneath } else { References::Refuse };
        let format = args.target_format;
        let options = WriteOptions { format, references, share: args.share(), parse_filename: None };
        let unclosed = Unclosed::look(path, format);
        let opened = ImageWriter::open(path, options);
        let image = match opened.as_ref().map_err(image_core::Error::kind) {
            Err(ErrorKind::Refused) => {
                opened.hint(|| "say its format with -O, and what it may name with --allow-backing")?
            }
            _ => opened?,
        };
        unclosed.tell(ui);
        Ok(Self::Existing { image: Box::new(image), zero: args.target_is_zero })
    }

    /// The image that is written into as it is.
    pub(super) fn image(&self) -> Option<&ImageWriter> {
        match self {
            Self::Existing { image, .. } => Some(image),
            _ => None,
        }
    }

    /// Whether that is all zeroes, as its user says.
    pub(super) fn reads_as_zeroes(&self) -> bool {
        matches!(self, Self::Existing { zero: true, .. })
    }

    /// The virtual size of an image that is there.
    pub(super) fn virtual_size(&self) -> Option<u64> {
        self.image().map(BlockRead::size)
    }

    /// The file or device; none if it is standard output.
    pub(super) fn file(&self) -> Option<&FileDisk> {
        match self {
            Self::File { new } => Some(new.disk()),
            Self::Device { disk } | Self::Spooled { disk } => Some(disk),
            Self::Existing { .. } | Self::Export { .. } | Self::Stream => None,
        }
    }

    /// What a new image is written onto; none if it is standard output.
    pub(super) fn disk(&self) -> Option<&dyn BlockWrite> {
        match self {
            Self::Export { medium } => Some(medium),
            other => other.file().map(|file| file as &dyn BlockWrite),
        }
    }

    /// Sees to it that `size` bytes fit. Whether they all read as zeroes.
    pub(super) fn make_room(&self, size: u64) -> anyhow::Result<bool> {
        match self {
            Self::File { new } => new.disk().resize(size)?,
            Self::Spooled { disk } => disk.resize(size)?,
            Self::Existing { image, .. } if image.size() < size => {
                let (path, room) = (image.path().display(), image.size());
                return Err(anyhow!("{path} is an image of {room} bytes, and {size} are to be written"))
                    .hint(|| "goldimg resize makes it larger");
            }
            Self::Device { disk } if disk.size() < size => {
                return Err(anyhow!(
                    "{} has {} bytes, and the image needs {size}",
                    disk.path().display(),
                    disk.size()
                ))
                .hint(|| "take a larger device");
            }
            Self::Export { medium } if medium.size() < size => {
                let (path, room) = (medium.path().display(), medium.size());
                return Err(anyhow!("{path} has {room} bytes, and the image needs {size}"))
                    .hint(|| "take a larger export");
            }
            Self::Device { .. } | Self::Export { .. } | Self::Existing { .. } | Self::Stream => {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What was written, for reading.
    pub(super) fn reopen(&self) -> anyhow::Result<FileDisk> {
        match self {
            Self::File { new } => Ok(FileDisk::open(new.path())?),
            Self::Device { disk } => Ok(FileDisk::open(disk.path())?),
            Self::Spooled { disk } => Ok(FileDisk::from_file(disk.file().try_clone()?, disk.path())?),
            Self::Existing { .. } | Self::Export { .. } | Self::Stream => {
                Err(anyhow!("what was written cannot be read again"))
            }
        }
    }

    /// The length of the file in bytes.
    pub(super) fn file_size(&self) -> anyhow::Result<Option<u64>> {
        match self {
            Self::File { new } => Ok(Some(new.disk().size())),
            Self::Spooled { disk } => Ok(Some(disk.size())),
            Self::Device { .. } | Self::Export { .. } | Self::Existing { .. } | Self::Stream => Ok(None),
        }
    }

    /// The bytes set aside for the file.
    pub(super) fn allocated_size(&self) -> anyhow::Result<Option<u64>> {
        match self {
            Self::File { new } => Ok(Some(new.disk().allocated_size()?)),
            _ => Ok(None),
        }
    }

    /// Gives it its name; with `sync`, returns when it survives a loss of power.
    pub(super) fn keep(self, sync: bool) -> anyhow::Result<()> {
        if sync && let Self::Device { disk } = &self {
            disk.flush()?;
        }
        match self {
            Self::File { new } if sync => Ok(new.keep_synced()?),
            Self::File { new } => Ok(new.keep()?),
            Self::Existing { image, .. } => Ok(image.close()?),
            // Its server may fail at that, and nobody hears of it later.
            Self::Export { medium } => Ok(medium.flush()?),
            Self::Spooled { disk } => to_stdout(&disk),
            Self::Device { .. } | Self::Stream => Ok(()),
        }
    }
}

/// The same, if no other program uses it; none will while it is open.
fn alone(there: FileDisk) -> anyhow::Result<FileDisk> {
    there.lock(Access::WRITE).hint(|| "stop the program that uses it")?;
    Ok(there)
}

/// Copies a complete file to standard output.
fn to_stdout(disk: &FileDisk) -> anyhow::Result<()> {
    let mut file = disk.file();
    let doing = "writing to standard output";
    file.rewind().context(doing)?;
    // Not through `Stdout`, which looks for the ends of lines.
    let mut out = fs::File::from(std::io::stdout().as_fd().try_clone_to_owned().context(doing)?);
    std::io::copy(&mut file, &mut out).context(doing)?;
    Ok(())
}

/// Refuses to write what is read.
fn refuse_source(path: &Path, there: &fs::Metadata, args: &Args) -> anyhow::Result<()> {
    let is_source = |source: &PathBuf| fs::metadata(source).is_ok_and(|source| same(&source, there));
    if args.source.iter().any(is_source) {
        return Err(anyhow!("{} is both source and target", path.display()))
            .hint(|| "write another file, and rename it");
    }
    Ok(())
}

/// Whether two names are of one file, or one device.
fn same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    let devices = one.file_type().is_block_device() && other.file_type().is_block_device();
    (one.dev(), one.ino()) == (other.dev(), other.ino()) || (devices && one.rdev() == other.rdev())
}
