//! Protocol nodes: what an image lies in, a file or device of the host, or an export of an NBD server.
//!
//! Only the caller of this library names an export, or says that an image may: what an image names is opened by the gate
//! (`reference`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Probing;
use crate::block::{Access, BlockRead, BlockWrite, FileDisk, NullDisk, read_as, write_as};
use crate::error::{Error, Result};
use crate::nbd::{Address, Export, ExportOptions, Refusal};

/// What an image lies in, and its name: QEMU's protocol node.
#[derive(Clone)]
pub struct ProtocolNode {
    disk: Arc<dyn BlockWrite>,
    /// The same disk, if it is an export.
    export: Option<Arc<Export>>,
    null: Option<NullDriver>,
    name: PathBuf,
    probing: Probing,
}

/// QEMU's drivers for a disk that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullDriver {
    /// `null-co`.
    Co,
    /// `null-aio`, which differs in how QEMU waits.
    Aio,
}

impl NullDriver {
    /// QEMU's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Co => "null-co",
            Self::Aio => "null-aio",
        }
    }

    /// The one file name that it takes.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Co => "null-co://",
            Self::Aio => "null-aio://",
        }
    }
}

impl fmt::Debug for ProtocolNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtocolNode").field("name", &self.name).finish_non_exhaustive()
    }
}

impl From<FileDisk> for ProtocolNode {
    fn from(file: FileDisk) -> Self {
        let name = file.path().to_owned();
        Self { disk: Arc::new(file), export: None, null: None, name, probing: Probing::default() }
    }
}

impl From<Arc<Export>> for ProtocolNode {
    fn from(export: Arc<Export>) -> Self {
        let name = export.name().to_owned();
        let disk = Arc::clone(&export) as Arc<dyn BlockWrite>;
        Self { disk, export: Some(export), null: None, name, probing: Probing::default() }
    }
}

impl ProtocolNode {
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

    /// A disk that is not there, as one of QEMU's drivers has it; `name` is what it is called.
    pub fn null(driver: NullDriver, disk: NullDisk, name: &str) -> Self {
        Self {
            disk: Arc::new(disk),
            export: None,
            null: Some(driver),
            name: name.into(),
            probing: Probing::default(),
        }
    }

    /// The same once more, for writing too if `writes`: a file is opened anew, with locks of its own; an export has the
    /// one connection that there is, encrypted or not.
    ///
    /// # Errors
    /// As [`FileDisk::open`]; [`Refusal::ReadOnly`].
    pub fn reopen(&self, writes: bool) -> Result<Self> {
        match &self.export {
            Some(export) if writes && export.is_read_only() => {
                Err(Error::from(Refusal::ReadOnly).doing(format!("opening {}", self.name.display())))
            }
            Some(_) => Ok(self.clone()),
            None if self.null.is_some() => Ok(self.clone()),
            None if writes => Ok(Self::from(FileDisk::open_writable(&self.name)?).with_probing(self.probing)),
            None => Ok(Self::from(FileDisk::open(&self.name)?).with_probing(self.probing)),
        }
    }

    /// The same, with what it is held against where nobody says its format; so are the backing files that it names.
    #[must_use]
    pub fn with_probing(self, probing: Probing) -> Self {
        Self { probing, ..self }
    }

    /// What it is held against where nobody says its format.
    pub(super) fn probing(&self) -> Probing {
        self.probing
    }

    /// The path, or the address of an export as it is shown.
    pub fn path(&self) -> &Path {
        &self.name
    }

    /// Whether it is an export.
    pub fn is_export(&self) -> bool {
        self.export.is_some()
    }

    /// The driver of a disk that is not there.
    pub fn null_driver(&self) -> Option<NullDriver> {
        self.null
    }

    /// Whether it is a block device.
    pub fn is_block_device(&self) -> bool {
        self.as_file().is_some_and(FileDisk::is_block_device)
    }

    /// The bytes that are set aside for it, as [`FileDisk::allocated_size`]; a server does not say, and nothing has none.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io).
    pub fn allocated_size(&self) -> Result<Option<u64>> {
        match self.null {
            Some(_) => Ok(Some(0)),
            None => self.as_file().map(FileDisk::allocated_size).transpose(),
        }
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
pub(super) fn address(name: &Path) -> Result<Option<Address>> {
    match name.to_str().filter(|text| Address::is_meant_by(text)) {
        Some(text) => Ok(Some(text.parse()?)),
        None => Ok(None),
    }
}

impl BlockRead for ProtocolNode {
    read_as!(self => self.disk);
}

impl BlockWrite for ProtocolNode {
    write_as!(self => self.disk);
}
