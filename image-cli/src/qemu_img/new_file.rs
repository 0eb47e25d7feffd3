//! A new image under its own name: what is there already is written over. What fails is removed, unless it was there
//! before: a link, or a file that somebody prepared, is empty then, and has its rights.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use image_core::block::{Access, BlockRead, BlockWrite, ByteRange, FileDisk, Preallocation};
use image_core::convert::Zeroes;
use image_core::format::ProtocolNode;

use super::failure::Failure;
use super::format_options::{FormatOptions, Kind};
use super::node::{export_to_write, plain_path};
use super::{bytes, words};

/// What the umask leaves of it, as QEMU wants it.
const MODE: u32 = 0o644;

/// A new file. It stays if [`keep`](Self::keep) is called.
#[derive(Debug)]
pub(super) struct NewFile {
    disk: Arc<ProtocolNode>,
    path: String,
    kept: bool,
    /// Whether something was there before.
    found: bool,
}

impl NewFile {
    /// Makes the file `name`, empty, or empties it; a device, or an export, stays as it is.
    pub(super) fn at(name: &str) -> Result<Self, Failure> {
        if let Some(export) = export_to_write(name)? {
            return Ok(Self { disk: Arc::new(export), path: name.to_owned(), kept: true, found: true });
        }
        let path = if name.is_empty() { name } else { plain_path(name)? };
        let mut options = File::options();
        options.read(true).write(true).mode(MODE);
        // A link to nothing is not followed by the first, and stays in any case.
        let (opened, found) = match options.create_new(true).open(bytes::path(path)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                (options.create_new(false).create(true).open(bytes::path(path)), true)
            }
            opened => (opened, false),
        };
        let file = opened.map_err(|error| {
            Failure::new(format!("Could not create '{path}': {}", words::of_system(&error)))
        })?;
        let failed = |error: image_core::Error| {
            Failure::new(words::of_opening(&error)).hint(&words::hint_of(&error, path))
        };
        let disk = FileDisk::from_file(file, bytes::path(path)).map_err(failed)?;
        disk.lock(Access::WRITE).map_err(failed)?;
        if !disk.is_block_device() {
            disk.resize(0).map_err(failed)?;
        }
        Ok(Self { disk: Arc::new(disk.into()), path: path.to_owned(), kept: false, found })
    }

    /// As [`at`](Self::at); the file stays whatever happens, as QEMU's raw images do.
    fn to_stay(name: &str) -> Result<Self, Failure> {
        let mut new = Self::at(name)?;
        new.kept = true;
        Ok(new)
    }

    /// The file.
    pub(super) fn disk(&self) -> &Arc<ProtocolNode> {
        &self.disk
    }

    /// What a copy has to do about zeroes: a device or an export holds something, a new file does not.
    pub(super) fn zeroes(&self) -> Zeroes {
        if self.disk.is_block_device() || self.disk.is_export() {
            Zeroes::Write
        } else {
            Zeroes::AlreadyThere
        }
    }

    /// It is complete.
    ///
    /// # Errors
    /// Whatever a server says that is to have it on its disk; QEMU's programs end with that too.
    pub(super) fn keep(mut self) -> image_core::Result<()> {
        self.kept = true;
        if self.disk.is_export() { self.disk.flush() } else { Ok(()) }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.kept || self.disk.is_block_device() {
            return;
        }
        // Nothing can be done about what stays.
        if self.found {
            let _ = self.disk.resize(0);
        } else {
            let _ = std::fs::remove_file(bytes::path(&self.path));
        }
    }
}

/// Makes an empty image of `size` bytes.
pub(super) fn create(name: &str, kind: Kind, options: &FormatOptions, size: u64) -> Result<(), Failure> {
    match kind {
        Kind::Raw | Kind::File | Kind::Device => {
            let new = create_raw(name, kind, options, size)?;
            completed(new)
        }
        Kind::Qcow2 => create_qcow2(name, options, size),
    }
}

/// Makes an empty raw image and keeps hold of it.
pub(super) fn create_raw(
    name: &str,
    kind: Kind,
    options: &FormatOptions,
    size: u64,
) -> Result<NewFile, Failure> {
    let preallocation = options.preallocation().map_err(Failure::new)?;
    if kind == Kind::Device {
        check_device(name)?;
    }
    if preallocation == Preallocation::Metadata {
        // The file is made before the mode is looked at.
        NewFile::to_stay(name)?;
        return Err(Failure::new("Unsupported preallocation mode: metadata"));
    }
    let new = NewFile::to_stay(name)?;
    let disk = new.disk();
    if disk.is_export() && disk.size() < size {
        return Err(Failure::new("Cannot grow NBD nodes"));
    }
    if disk.is_export() {
        return Ok(new);
    }
    if disk.is_block_device() {
        begin_device(disk, preallocation, size)?;
        return Ok(new);
    }
    let too_large = |_| Failure::new("The image size is too large for file format 'raw'");
    let size = size.checked_next_multiple_of(512).unwrap_or(size);
    disk.resize(size).map_err(too_large)?;
    let set_aside = preallocation.set_aside(&**disk, ByteRange::whole(size));
    set_aside.map_err(|error| Failure::new(words::of_chain(&error)))?;
    Ok(new)
}

/// Only what is there can be a device.
fn check_device(name: &str) -> Result<(), Failure> {
    let failed = |why: String| {
        Err(Failure::new(format!(
            "Protocol driver 'host_device' does not support creating new images, so an existing image must be selected as \
             the target; however, opening the given target as an existing image failed: {why}"
        )))
    };
    match std::fs::metadata(bytes::path(name)) {
        Err(error) => failed(format!("Could not open '{name}': {}", words::of_system(&error))),
        Ok(file) if file.is_file() || file.is_dir() => failed(words::no_device(name)),
        Ok(_) => Ok(()),
    }
}

/// Takes a device for a new image: what began in its first sector is gone.
fn begin_device(device: &ProtocolNode, preallocation: Preallocation, size: u64) -> Result<(), Failure> {
    if preallocation != Preallocation::Off {
        return Err(Failure::new(format!("Unsupported preallocation mode '{preallocation}'")));
    }
    if device.size() < size {
        return Err(Failure::new("Cannot grow device files"));
    }
    let first = [0; 512];
    let len = device.size().min(first.len() as u64) as usize;
    device.write_at(&first[..len], 0).map_err(|error| Failure::new(words::of_chain(&error)))
}

fn create_qcow2(name: &str, options: &FormatOptions, size: u64) -> Result<(), Failure> {
    let new = NewFile::at(name)?;
    let preallocation = options.preallocation().map_err(Failure::new)?;
    let image = options.new_image(size, false).map_err(Failure::new)?;
    let data = options.text("data_file").map(NewFile::at).transpose()?;
    let data_disk = data.as_ref().map(|data| Arc::clone(data.disk()) as Arc<dyn BlockWrite>);
    let made = image.create(Arc::clone(new.disk()) as Arc<dyn BlockWrite>, data_disk, preallocation);
    made.map_err(|error| Failure::new(words::of_opening(&error)))?;
    completed(new)?;
    data.map_or(Ok(()), completed)
}

fn completed(new: NewFile) -> Result<(), Failure> {
    new.keep().map_err(|error| Failure::new(words::of_chain(&error)))
}
