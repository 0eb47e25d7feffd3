//! An image by name, open for reading.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reference::ChainOpener;
use super::{Format, OpenOptions, ProtocolNode, Reference, probe};
use crate::block::{Access, BlockRead, ByteRange, Extents, FileDisk, FileRange, MapEntry};
use crate::error::{Doing, Error, Result};
use crate::foreign::{self, Foreign, Kind, SizeFrom};
use crate::qcow2::{Header, Qcow2, snapshot};
use crate::raw::Raw;

/// An open image of any format.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    disk: Disk,
}

/// An image, by format.
#[derive(Debug)]
pub enum Disk {
    /// A raw image.
    Raw(Raw),
    /// A qcow2 image.
    Qcow2(Box<Qcow2>),
    /// An image of another program.
    Foreign(Box<Foreign>),
}

impl Disk {
    fn into_shared(self) -> Arc<dyn BlockRead> {
        match self {
            Self::Raw(raw) => Arc::new(raw),
            Self::Qcow2(image) => Arc::<Qcow2>::from(image),
            Self::Foreign(image) => Arc::<Foreign>::from(image),
        }
    }
}

impl Image {
    /// Opens the image at `path` (or the address of an export: [`ProtocolNode::open`]) for reading.
    ///
    /// # Errors
    /// [`Refused`](crate::ErrorKind::Refused) (cause: [`ReferenceRule`](super::ReferenceRule)) if it names files that are not allowed;
    /// [`InUse`](crate::ErrorKind::InUse) if another program writes to one of them, unless that is allowed;
    /// [`Corrupt`](crate::ErrorKind::Corrupt), [`Unsupported`](crate::ErrorKind::Unsupported) or
    /// [`Io`](crate::ErrorKind::Io).
    pub fn open(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self> {
        Self::open_node(ProtocolNode::open(path.as_ref())?, options)
    }

    /// Opens the image in `node` for reading.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_node(node: ProtocolNode, options: OpenOptions) -> Result<Self> {
        let path = node.path().to_owned();
        let mut chain = ChainOpener::starting_with(&node, options.references)?
            .sharing(options.share)
            .parsing_filenames(options.parse_filename);
        let disk = open_format(node, options.format, options.size_from, &mut chain)
            .doing(|| format!("opening {}", path.display()))?;
        Ok(Self { path, disk })
    }

    /// The image as it was when the snapshot with this id or, where there is none, this name was taken.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if there is none; as [`open`](Self::open).
    pub fn at_snapshot(&self, id_or_name: &str) -> Result<Self> {
        let path = &self.path;
        let none = || Error::invalid(format!("{} has no snapshot {id_or_name:?}", path.display()));
        let image = self.as_qcow2().ok_or_else(none)?;
        let (snapshots, _) = snapshot::list(&**image.file(), &image.header())?;
        let snapshot = snapshot::find(&snapshots, id_or_name.as_bytes()).ok_or_else(none)?;
        let doing = || format!("opening snapshot {id_or_name:?} of {}", path.display());
        Ok(Self { path: path.clone(), disk: Disk::Qcow2(Box::new(image.at(snapshot).doing(doing)?)) })
    }

    /// Its format.
    pub fn format(&self) -> Format {
        match &self.disk {
            Disk::Raw(_) => Format::Raw,
            Disk::Qcow2(_) => Format::Qcow2,
            Disk::Foreign(image) => Format::Foreign(image.header().kind()),
        }
    }

    /// The image itself.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The qcow2 image, if it is one.
    pub fn as_qcow2(&self) -> Option<&Qcow2> {
        match &self.disk {
            Disk::Qcow2(image) => Some(image),
            Disk::Raw(_) | Disk::Foreign(_) => None,
        }
    }

    /// What it was opened as.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn inner(&self) -> &dyn BlockRead {
        match &self.disk {
            Disk::Raw(raw) => raw,
            Disk::Qcow2(image) => image.as_ref(),
            Disk::Foreign(image) => image.as_ref(),
        }
    }
}

/// Opens an image whose protocol node is open; what it names, by way of `chain`.
fn open_format(
    file: ProtocolNode,
    format: Option<Format>,
    size_from: Option<SizeFrom>,
    chain: &mut ChainOpener,
) -> Result<Disk> {
    let path = file.path().to_owned();
    let probed = match format {
        Some(format) => format,
        None => probe(&file, file.probing())?,
    };
    file.lock(chain.share().access(probed))?;
    let file: Arc<dyn BlockRead> = Arc::new(file);
    match probed {
        Format::Raw => Ok(Disk::Raw(if format.is_some() { Raw::new(file) } else { Raw::assumed(file) })),
        Format::Qcow2 => Ok(Disk::Qcow2(Box::new(open_qcow2(file, &path, chain)?))),
        Format::Foreign(kind) => {
            Ok(Disk::Foreign(Box::new(open_foreign(file, (kind, size_from), &path, chain)?)))
        }
    }
}

fn open_qcow2(file: Arc<dyn BlockRead>, path: &Path, chain: &mut ChainOpener) -> Result<Qcow2> {
    let header = Header::read(&*file)?;
    let data_file = match Reference::to_data_file(&header)? {
        Some(reference) => {
            let data_file = chain.open(&reference, path, Access::READ)?;
            Some(Arc::new(data_file) as Arc<dyn BlockRead>)
        }
        None => None,
    };
    let backing = open_backing(&header, path, chain)?;
    Qcow2::new(file, header, backing, data_file)
}

fn open_foreign(
    file: Arc<dyn BlockRead>,
    (kind, size_from): (Kind, Option<SizeFrom>),
    path: &Path,
    chain: &mut ChainOpener,
) -> Result<Foreign> {
    let header = foreign::Header::read(&*file, kind, size_from)?;
    let parent = match Reference::to_parent(&header) {
        Some(reference) => {
            let parent = open_named(&reference, path, chain)?;
            header.check_parent(match &parent {
                Disk::Foreign(parent) => Some(parent.header()),
                Disk::Raw(_) | Disk::Qcow2(_) => None,
            })?;
            Some(parent.into_shared())
        }
        None => None,
    };
    let mut extent = |name: &[u8]| {
        let extent = chain.open_extent(name, path)?;
        Ok(Arc::new(extent) as Arc<dyn BlockRead>)
    };
    header.open(file, parent, &mut extent)
}

/// Opens the backing file of the image at `image`, for reading, if it has one.
pub(super) fn open_backing(
    header: &Header,
    image: &Path,
    chain: &mut ChainOpener,
) -> Result<Option<Arc<dyn BlockRead>>> {
    let Some(reference) = Reference::to_backing_file(header)? else { return Ok(None) };
    Ok(Some(open_named(&reference, image, chain)?.into_shared()))
}

/// Opens what the image at `image` was made over.
fn open_named(reference: &Reference, image: &Path, chain: &mut ChainOpener) -> Result<Disk> {
    let reference = chain.parsed(reference.clone());
    let file = chain.open(&reference, image, Access::READ_SHARED)?;
    let name = file.path().display().to_string();
    open_format(file, reference.format(), None, chain).doing(|| format!("opening the backing file {name:?}"))
}

impl BlockRead for Image {
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

    fn map_entries(&self, range: ByteRange) -> Result<Vec<MapEntry>> {
        self.inner().map_entries(range).doing(|| format!("mapping {}", self.path.display()))
    }

    fn prefetch(&self, range: ByteRange) {
        self.inner().prefetch(range);
    }

    fn as_file(&self) -> Option<&FileDisk> {
        self.inner().as_file()
    }

    fn file_range(&self, range: ByteRange) -> Result<Option<FileRange<'_>>> {
        self.inner().file_range(range).doing(|| format!("mapping {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// The bytes that storage was asked for by this thread; none are counted where files are in memory only.
    fn read_from_storage() -> u64 {
        let counts = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        let count = counts.lines().find_map(|line| line.strip_prefix("read_bytes: "));
        count.unwrap().parse().unwrap()
    }

    #[test]
    fn what_is_announced_of_an_image_its_file_brings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        std::fs::write(&path, vec![7; 4 << 20]).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let forget = || {
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        };
        forget();
        let before = read_from_storage();
        file.read_at(&mut [0], 0).unwrap();
        if read_from_storage() == before {
            let required = std::env::var_os("GOLDIMG_PEERS").is_some_and(|value| value == "required");
            assert!(!required, "a folder on a disk is needed: files are in memory here");
            eprintln!("skipped: files are in memory here");
            return;
        }
        forget();
        let image = Image::open(&path, OpenOptions::default()).unwrap();
        let before = read_from_storage();
        image.prefetch(ByteRange::between(1 << 20, 3 << 20));
        assert_eq!(read_from_storage() - before, 2 << 20);
        image.read_at(&mut vec![0; 2 << 20], 1 << 20).unwrap();
        assert_eq!(read_from_storage() - before, 2 << 20, "it was there already");
    }
}
