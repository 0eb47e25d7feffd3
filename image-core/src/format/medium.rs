//! What an image lies in: a file or device of the host, or an export of an NBD server.
//!
//! Only the caller of this library names an export: what an image names is opened by the gate (`reference`), which knows
//! no other media than files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{Access, BlockRead, BlockWrite, FileDisk, read_as, write_as};
use crate::error::Result;
use crate::nbd::{Address, Export, ExportOptions};

/// What an image lies in, and its name.
#[derive(Clone)]
pub struct Medium {
    disk: Arc<dyn BlockWrite>,
    name: PathBuf,
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Medium").field("name", &self.name).finish_non_exhaustive()
    }
}

impl From<FileDisk> for Medium {
    fn from(file: FileDisk) -> Self {
        let name = file.path().to_owned();
        Self { disk: Arc::new(file), name }
    }
}

impl From<Arc<Export>> for Medium {
    fn from(export: Arc<Export>) -> Self {
        let name = export.name().to_owned();
        Self { disk: export, name }
    }
}

impl Medium {
    /// Opens what `name` means, for reading: the address of an export ([`Address`]), or the path of a file. A file whose
    /// name looks like an address is meant by `./name`.
    ///
    /// # Errors
    /// As [`FileDisk::open`] or [`Export::open`]; [`AddressRule`](crate::nbd::AddressRule).
    pub fn open(name: &Path) -> Result<Self> {
        match address(name)? {
            Some(address) => Ok(Arc::new(Export::open(&address, &ExportOptions::default())?).into()),
            None => Ok(FileDisk::open(name)?.into()),
        }
    }

    /// As [`open`](Self::open), for reading and writing.
    ///
    /// # Errors
    /// As [`FileDisk::open_writable`] or [`Export::open_writable`].
    pub fn open_writable(name: &Path) -> Result<Self> {
        match address(name)? {
            Some(address) => Ok(Arc::new(Export::open_writable(&address, &ExportOptions::default())?).into()),
            None => Ok(FileDisk::open_writable(name)?.into()),
        }
    }

    /// The path, or the address of an export as it is shown.
    pub fn path(&self) -> &Path {
        &self.name
    }

    /// Whether it is an export.
    pub fn is_export(&self) -> bool {
        self.as_file().is_none()
    }

    /// Whether it is a block device.
    pub fn is_block_device(&self) -> bool {
        self.as_file().is_some_and(FileDisk::is_block_device)
    }

    /// The bytes that are set aside for it, as [`FileDisk::allocated_size`]; a server does not say.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io).
    pub fn allocated_size(&self) -> Result<Option<u64>> {
        self.as_file().map(FileDisk::allocated_size).transpose()
    }

    /// As [`FileDisk::lock`]; an export has no locks.
    pub(super) fn lock(&self, access: Access) -> Result<()> {
        self.as_file().map_or(Ok(()), |file| file.lock(access))
    }

    /// The disk itself.
    pub fn disk(&self) -> &Arc<dyn BlockWrite> {
        &self.disk
    }
}

/// The address that `name` is, if it is meant as one.
fn address(name: &Path) -> Result<Option<Address>> {
    match name.to_str().filter(|text| Address::is_meant_by(text)) {
        Some(text) => Ok(Some(text.parse()?)),
        None => Ok(None),
    }
}

impl BlockRead for Medium {
    read_as!(self => self.disk);
}

impl BlockWrite for Medium {
    write_as!(self => self.disk);
}
