//! A file or block device of the host as a disk.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{SeekFrom, ioctl_ficlone, seek};
use rustix::io::Errno;

use super::{
    Access, BlockRead, BlockWrite, ByteRange, ExtentKind, Extents, FileInUse, MapEntry, ZeroMode, copy,
    fiemap, lock, not_a_disk, readahead, sparse,
};
use crate::error::{Doing, Error, Result};

/// Zeroes written at a time where the filesystem cannot punch.
const ZERO_CHUNK: usize = 64 * 1024;

/// Bytes of a disk that are as they are in a file of the host.
#[derive(Debug, Clone, Copy)]
pub struct FileRange<'a> {
    /// The file: never a device.
    pub file: &'a FileDisk,
    /// Where in it.
    pub range: ByteRange,
}

/// A filesystem of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostFilesystem {
    /// The number of its device.
    pub device: u64,
    /// Whether its files may share blocks.
    pub reflinks: bool,
}

/// A regular file or block device.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    path: PathBuf,
    size: AtomicU64,
    block_device: bool,
    /// Of the filesystem.
    device: u64,
    /// Whether that lets files share blocks, once somebody asked.
    reflinks: OnceLock<bool>,
    /// Whether that is ext4, once somebody asked.
    ext4: OnceLock<bool>,
    /// What copies into it go through, while nobody copies.
    pipe: Mutex<Option<copy::Pipe>>,
    locked: AtomicBool,
}

impl Drop for FileDisk {
    fn drop(&mut self) {
        // A process that another thread is just starting has the descriptor too, and would hold the locks until it runs.
        if *self.locked.get_mut() {
            lock::release(&self.file);
        }
    }
}

impl FileDisk {
    /// Opens an existing file or block device for reading.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) if it cannot be opened, [`Invalid`](crate::ErrorKind::Invalid) if it
    /// is neither a regular file nor a block device, or holds something else than its size says (cause: [`NotADisk`](super::NotADisk)).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), OpenOptions::new().read(true))
    }

    /// As [`open`](Self::open), for reading and writing.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_writable(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), OpenOptions::new().read(true).write(true))
    }

    /// Makes a new sparse file of `size` bytes.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io), also where something of that name exists.
    pub fn create_new(path: impl AsRef<Path>, size: u64) -> Result<Self> {
        let disk =
            Self::open_with(path.as_ref(), OpenOptions::new().read(true).write(true).create_new(true))?;
        disk.resize(size)?;
        Ok(disk)
    }

    /// Takes over a file that is open already; `path` is only used in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_file(file: File, path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let metadata = file.metadata().doing(|| format!("looking at {}", path.display()))?;
        let opening = || format!("opening {}", path.display());
        not_a_disk::check_kind(metadata.file_type()).doing(opening)?;
        not_a_disk::check_size(&file, &metadata).doing(opening)?;
        let block_device = metadata.file_type().is_block_device();
        let size = match block_device {
            true => seek(&file, SeekFrom::End(0)).doing(|| format!("measuring {}", path.display()))?,
            false => metadata.len(),
        };
        Ok(Self {
            file,
            path,
            size: AtomicU64::new(size),
            block_device,
            device: metadata.dev(),
            reflinks: OnceLock::new(),
            ext4: OnceLock::new(),
            pipe: Mutex::new(None),
            locked: AtomicBool::new(false),
        })
    }

    fn open_with(path: &Path, options: &OpenOptions) -> Result<Self> {
        // A fifo would block the open for ever: looked at first. A race here only costs a wait.
        let doing = || format!("opening {}", path.display());
        if let Ok(metadata) = std::fs::metadata(path) {
            not_a_disk::check_kind(metadata.file_type()).doing(doing)?;
        }
        let file = options.open(path).doing(doing)?;
        Self::from_file(file, path)
    }

    /// What it was opened as.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether it is a block device, whose size is fixed.
    pub fn is_block_device(&self) -> bool {
        self.block_device
    }

    /// Tells other programs what is done with it, for as long as it is open, as QEMU does.
    ///
    /// # Errors
    /// [`InUse`](crate::ErrorKind::InUse) (cause: [`FileInUse`], by [`InUse`](super::InUse)) if another program, of this kind or QEMU's,
    /// stands against that.
    pub fn lock(&self, access: Access) -> Result<()> {
        self.locked.store(true, Ordering::Release);
        lock::hold(&self.file, access).map_err(|error| match error.cause() {
            Some(&source) => Error::new(error.kind(), FileInUse { path: self.path.clone(), source }),
            None => error.doing(format!("opening {}", self.path.display())),
        })
    }

    /// The number of the device that its filesystem is on.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// The bytes that its filesystem has set aside for it; the size for a block device.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io).
    pub fn allocated_size(&self) -> Result<u64> {
        if self.block_device {
            return Ok(self.size());
        }
        let metadata = self.file.metadata().doing(|| format!("looking at {}", self.path.display()))?;
        Ok(metadata.blocks().saturating_mul(512))
    }

    /// Becomes a copy of `source` that shares its storage (FICLONE), in no time and no space; `false`, and unchanged,
    /// where the filesystem cannot do that or either of them is a device.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) if the filesystem can and fails.
    pub fn reflink(&self, source: &FileDisk) -> Result<bool> {
        if self.block_device || source.block_device {
            return Ok(false);
        }
        match ioctl_ficlone(&self.file, &source.file) {
            Ok(()) => {
                self.size.store(source.size(), Ordering::Release);
                Ok(true)
            }
            Err(
                Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS | Errno::PERM,
            ) => Ok(false),
            Err(errno) => {
                Err(Error::from(errno).doing(format!("sharing the storage of {}", source.path.display())))
            }
        }
    }

    fn is_on_ext4(&self) -> bool {
        *self.ext4.get_or_init(|| fiemap::is_ext4(&self.file))
    }

    fn reflinks(&self) -> bool {
        *self.reflinks.get_or_init(|| copy::can_reflink(&self.file))
    }

    /// Copies what it can through a pipe, where that is the best there is; returns how many bytes.
    fn splice_from(&self, source: &FileDisk, from: ByteRange, offset: u64) -> u64 {
        if !self.is_on_ext4() {
            return 0;
        }
        let kept = || self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pipe) = kept().take().or_else(copy::Pipe::new) else { return 0 };
        let copied = pipe.copy(&source.file, from, &self.file, offset);
        if copied == from.len() {
            *kept() = Some(pipe);
        }
        copied
    }

    fn range(&self, offset: u64, len: usize) -> Result<ByteRange> {
        let range = ByteRange::new(offset, len as u64)?;
        range.check_within(self.size())?;
        Ok(range)
    }
}

impl BlockRead for FileDisk {
    fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let doing =
            || format!("reading {} bytes at offset {offset:#x} of {}", buf.len(), self.path.display());
        self.range(offset, buf.len()).doing(doing)?;
        let len = buf.len();
        self.file
            .read_exact_at(buf, offset)
            .doing(|| format!("reading {len} bytes at offset {offset:#x} of {}", self.path.display()))
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        range.check_within(self.size())?;
        if self.block_device {
            return Ok(Extents::uniform(range, ExtentKind::Data));
        }
        sparse::extents(&self.file, range, || self.is_on_ext4())
            .doing(|| format!("looking for holes in {}", self.path.display()))
    }

    fn map_entries(&self, range: ByteRange) -> Result<Vec<MapEntry>> {
        Ok(MapEntry::of_file(&self.path, &self.extents(range)?))
    }

    fn prefetch(&self, range: ByteRange) {
        readahead::readahead(&self.file, range);
    }

    fn as_file(&self) -> Option<&FileDisk> {
        Some(self)
    }

    fn file_range(&self, range: ByteRange) -> Result<Option<FileRange<'_>>> {
        range.check_within(self.size())?;
        Ok((!self.block_device).then_some(FileRange { file: self, range }))
    }
}

impl BlockWrite for FileDisk {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let doing =
            || format!("writing {} bytes at offset {offset:#x} of {}", buf.len(), self.path.display());
        self.range(offset, buf.len()).doing(doing)?;
        self.file.write_all_at(buf, offset).doing(doing)
    }

    fn write_zeroes(&self, range: ByteRange, mode: ZeroMode) -> Result<()> {
        let doing = || {
            format!(
                "zeroing {} bytes at offset {:#x} of {}",
                range.len(),
                range.offset(),
                self.path.display()
            )
        };
        range.check_within(self.size()).doing(doing)?;
        if range.is_empty() || sparse::zero_range(&self.file, range, mode).doing(doing)? {
            return Ok(());
        }
        let zeroes = [0; ZERO_CHUNK];
        let mut at = range.offset();
        while at < range.end() {
            let len = (range.end() - at).min(ZERO_CHUNK as u64);
            self.file.write_all_at(&zeroes[..len as usize], at).doing(doing)?;
            at += len;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.file.sync_data().doing(|| format!("syncing {}", self.path.display()))
    }

    fn make_room(&self, range: ByteRange) {
        if !self.block_device && self.is_on_ext4() {
            sparse::make_room(&self.file, range);
        }
    }

    fn filesystem(&self) -> Option<HostFilesystem> {
        (!self.block_device).then(|| HostFilesystem { device: self.device, reflinks: self.reflinks() })
    }

    fn copy_from(&self, source: &FileDisk, from: ByteRange, offset: u64) -> Result<()> {
        let doing = || {
            let (len, from) = (from.len(), from.offset());
            let (source, target) = (source.path.display(), self.path.display());
            format!("copying {len} bytes at offset {from:#x} of {source} to offset {offset:#x} of {target}")
        };
        from.check_within(source.size()).doing(doing)?;
        ByteRange::new(offset, from.len()).and_then(|to| to.check_within(self.size())).doing(doing)?;
        let copied = self.splice_from(source, from, offset);
        let rest = ByteRange::between(from.offset() + copied, from.end());
        copy::copy(&source.file, rest, &self.file, offset + copied).doing(doing)
    }

    fn resize(&self, size: u64) -> Result<()> {
        let doing = || format!("resizing {} to {size} bytes", self.path.display());
        if self.block_device {
            return Err(Error::unsupported("the size of a block device is fixed").doing(doing()));
        }
        self.file.set_len(size).doing(doing)?;
        self.size.store(size, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::NotADisk;
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn holes_are_found_and_punched() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FileDisk::create_new(dir.path().join("a.raw"), 1 << 20).unwrap();
        disk.write_at(&[7; 65536], 131_072).unwrap();
        let kinds = |disk: &FileDisk| {
            let extents = disk.extents(ByteRange::whole(1 << 20)).unwrap();
            assert_eq!(extents.range(), ByteRange::whole(1 << 20));
            extents.total(ExtentKind::Data)
        };
        assert_eq!(kinds(&disk), 65536);
        disk.write_zeroes(ByteRange::between(131_072, 163_840), ZeroMode::Punch).unwrap();
        assert_eq!(kinds(&disk), 32768);
        let mut buf = [1; 8];
        disk.read_at(&mut buf, 163_836).unwrap();
        assert_eq!(buf, [0, 0, 0, 0, 7, 7, 7, 7]);
    }

    #[test]
    fn keeping_zeroes_keeps_storage() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FileDisk::create_new(dir.path().join("a.raw"), 1 << 20).unwrap();
        disk.write_at(&[7; 65536], 0).unwrap();
        let before = disk.allocated_size().unwrap();
        disk.write_zeroes(ByteRange::between(0, 65536), ZeroMode::Keep).unwrap();
        assert_eq!(disk.allocated_size().unwrap(), before);
        let mut buf = [1; 65536];
        disk.read_at(&mut buf, 0).unwrap();
        assert!(super::super::is_zero(&buf));
    }

    #[test]
    fn ranges_past_the_end_and_strange_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FileDisk::create_new(dir.path().join("a.raw"), 512).unwrap();
        let error = disk.read_at(&mut [0; 2], 511).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(format!("{error:?}").contains("past the disk's 512 bytes"), "{error:?}");
        assert_eq!(disk.write_at(&[0; 2], 511).unwrap_err().kind(), ErrorKind::Invalid);
        let why = |path: &Path| FileDisk::open(path).unwrap_err().cause::<NotADisk>().copied();
        assert_eq!(why("/dev/null".as_ref()), Some(NotADisk::CharacterDevice));
        assert_eq!(why("/proc/self/stat".as_ref()), Some(NotADisk::Unsized));
        assert_eq!(why("/sys/kernel/uevent_seqnum".as_ref()), Some(NotADisk::MadeWhileRead));
        assert_eq!(why(dir.path()), Some(NotADisk::Folder));
        assert_eq!(FileDisk::create_new(dir.path().join("a.raw"), 1).unwrap_err().kind(), ErrorKind::Io);
    }
}
