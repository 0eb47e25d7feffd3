//! An image by name, open for writing: alone, with what it reads through, and nobody misled by its first bytes.
//!
//! ```text
//! name ─► protocol, locked ─► chosen or probed ─┬─ raw ────────────────────────────────────► ImageWriter
//!                               ambiguous? no    └─ qcow2: header ─┬─ backing file, to read ─┐    ▲
//!                                                                  └─ data file, to write ───┤    │
//!                                                                         the gate (reference) ───┘
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ambiguity::{refuse_ambiguous, refuse_disguise};
use super::image::open_backing;
use super::reference::ChainOpener;
use super::{Format, ParseFilename, ProtocolNode, Reference, References, Share, probe};
use crate::block::{Access, BlockRead, BlockWrite, ByteRange, Extents, ZeroMode};
use crate::error::{Doing, Error, Result};
use crate::qcow2::{Header, Qcow2Writer};

/// How to open an image for writing.
#[derive(Debug, Clone, Copy, Default)]
pub struct WriteOptions {
    /// The format; probed if `None`, and then refused if it could be another.
    pub format: Option<Format>,
    /// What is done about other files that the image names: its backing file is only read, its data file is written.
    pub references: References,
    /// What others may do meanwhile with the backing files. Nobody else may write the image itself.
    pub share: Share,
    /// What names mean that are no paths; `None`: nothing.
    pub parse_filename: Option<ParseFilename>,
}

/// An image of any format, open for reading and writing.
#[derive(Debug)]
pub struct ImageWriter {
    path: PathBuf,
    disk: Disk,
}

#[derive(Debug)]
enum Disk {
    Raw { file: ProtocolNode, assumed: bool },
    Qcow2(Box<Qcow2Writer>),
}

impl ImageWriter {
    /// Opens the image at `path` for reading and writing.
    ///
    /// # Errors
    /// [`Refused`](crate::ErrorKind::Refused): it names files that are not allowed (cause:
    /// [`ReferenceRule`](super::ReferenceRule)), could be of two formats (cause: [`ProbeRule`](super::ProbeRule)), or
    /// must be repaired first; [`InUse`](crate::ErrorKind::InUse); [`Corrupt`](crate::ErrorKind::Corrupt),
    /// [`Unsupported`](crate::ErrorKind::Unsupported) or [`Io`](crate::ErrorKind::Io).
    pub fn open(path: impl AsRef<Path>, options: WriteOptions) -> Result<Self> {
        Self::open_node(ProtocolNode::open_writable(path.as_ref())?, options)
    }

    /// Opens the image in `node`, which is open for reading and writing.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_node(node: ProtocolNode, options: WriteOptions) -> Result<Self> {
        let path = node.path().to_owned();
        node.lock(Access::WRITE)?;
        let disk = Disk::open(node, options).doing(|| format!("opening {} for writing", path.display()))?;
        Ok(Self { path, disk })
    }

    /// Its format.
    pub fn format(&self) -> Format {
        match self.disk {
            Disk::Raw { .. } => Format::Raw,
            Disk::Qcow2(_) => Format::Qcow2,
        }
    }

    /// The qcow2 image, if it is one.
    pub fn as_qcow2(&self) -> Option<&Qcow2Writer> {
        match &self.disk {
            Disk::Raw { .. } => None,
            Disk::Qcow2(image) => Some(image),
        }
    }

    /// The qcow2 image, if it is one, to be completed by itself.
    pub fn into_qcow2(self) -> Option<Qcow2Writer> {
        match self.disk {
            Disk::Raw { .. } => None,
            Disk::Qcow2(image) => Some(*image),
        }
    }

    /// What it was opened as.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Completes all that was written. Without it what was flushed is there all the same, but space may stay unused.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub fn close(self) -> Result<()> {
        match self.disk {
            Disk::Raw { file, .. } => file.flush(),
            Disk::Qcow2(image) => image.close(),
        }
        .doing(|| format!("completing {}", self.path.display()))
    }

    fn inner(&self) -> &dyn BlockWrite {
        match &self.disk {
            Disk::Raw { file, .. } => file,
            Disk::Qcow2(image) => image.as_ref(),
        }
    }
}

impl Disk {
    fn open(file: ProtocolNode, options: WriteOptions) -> Result<Self> {
        let format = match options.format {
            Some(format) => format,
            None => probe(&file, file.probing())?,
        };
        let assumed = options.format.is_none();
        if format == Format::Raw {
            return Ok(Self::Raw { file, assumed });
        }
        if assumed {
            refuse_ambiguous(&file, format)?;
        }
        if let Format::Foreign(kind) = format {
            let why =
                format!("images of the format {} are read and made here, and not changed", kind.title());
            return Err(Error::unsupported(why));
        }
        let path = file.path().to_owned();
        let mut chain = ChainOpener::starting_with(&file, options.references)?
            .sharing(options.share)
            .parsing_filenames(options.parse_filename);
        let header = Header::read(&file)?;
        let data_file = match Reference::to_data_file(&header)? {
            Some(reference) => {
                let data_file = chain.open(&reference, &path, Access::WRITE)?;
                Some(Arc::new(data_file) as Arc<dyn BlockWrite>)
            }
            None => None,
        };
        let backing = open_backing(&header, &path, &mut chain)?;
        Ok(Self::Qcow2(Box::new(Qcow2Writer::new(Arc::new(file), header, backing, data_file)?)))
    }
}

impl BlockRead for ImageWriter {
    fn size(&self) -> u64 {
        self.inner().size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let len = buf.len();
        self.inner()
            .read_at(buf, offset)
            .doing(|| format!("reading {len} bytes at guest offset {offset:#x} of {}", self.path.display()))
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        self.inner().extents(range).doing(|| format!("mapping {}", self.path.display()))
    }
}

impl BlockWrite for ImageWriter {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let doing =
            || format!("writing {} bytes at guest offset {offset:#x} of {}", buf.len(), self.path.display());
        if let Disk::Raw { file, assumed: true } = &self.disk {
            refuse_disguise(file, buf, offset).doing(doing)?;
        }
        self.inner().write_at(buf, offset).doing(doing)
    }

    fn write_zeroes(&self, range: ByteRange, mode: ZeroMode) -> Result<()> {
        self.inner().write_zeroes(range, mode).doing(|| {
            let (len, offset) = (range.len(), range.offset());
            format!("zeroing {len} bytes at guest offset {offset:#x} of {}", self.path.display())
        })
    }

    fn flush(&self) -> Result<()> {
        self.inner().flush().doing(|| format!("flushing {}", self.path.display()))
    }

    fn resize(&self, size: u64) -> Result<()> {
        self.inner().resize(size).doing(|| format!("resizing {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests;
