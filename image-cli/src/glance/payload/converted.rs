//! An image converted on its way: raw as a stream, qcow2 (whose header is written last) by way of a temporary file.
//!
//! ```text
//! Image ─► convert (workers) ─► pieces in order ─► channel ─► reader ─► PUT
//! ```

use std::io::{self, Read, Write};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use image_core::block::{BlockRead, BlockWrite, FileDisk};
use image_core::convert::{Options, Sink, StreamSink, convert};
use image_core::foreign::{self, Kind};
use image_core::format::{Image, OpenOptions};
use image_core::progress::Progress;
use image_core::qcow2::{Codec, Compression, NewImage, Qcow2Sink};

use super::Payload;
use crate::error::{Advise, Context};

/// Pieces of 64 KiB to 256 KiB under way between conversion and connection.
const PIECES: usize = 16;

/// What an image becomes on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Raw, streamed.
    Raw,
    /// qcow2, by way of a temporary file.
    Qcow2(Compression),
    /// A format of another program, likewise.
    Foreign(Kind),
}

impl Target {
    /// Glance's name of the format.
    pub(crate) fn format(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2(_) => "qcow2",
            // What QEMU calls vpc.
            Self::Foreign(Kind::Vpc) => "vhd",
            Self::Foreign(kind) => kind.name(),
        }
    }
}

impl FromStr for Target {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        match text {
            "raw" => Ok(Self::Raw),
            "qcow2" | "qcow2:deflate" => Ok(Self::Qcow2(Compression::Deflate)),
            "qcow2:zstd" => Ok(Self::Qcow2(Compression::Zstd)),
            "vmdk" => Ok(Self::Foreign(Kind::Vmdk)),
            "vhd" | "vpc" => Ok(Self::Foreign(Kind::Vpc)),
            "vhdx" => Ok(Self::Foreign(Kind::Vhdx)),
            "vdi" => Ok(Self::Foreign(Kind::Vdi)),
            _ => Err(crate::Error::failed(
                "raw, qcow2 (deflate), qcow2:zstd, vmdk, vhd, vhdx and vdi can be made",
            ))
            .invalid(),
        }
    }
}

/// What an image holds, as a raw disk.
pub(crate) struct RawPayload {
    image: Arc<Image>,
}

impl RawPayload {
    /// # Errors
    /// Where the image cannot be read.
    pub(crate) fn open(path: &Path) -> crate::Result<Self> {
        Ok(Self { image: Arc::new(Image::open(path, OpenOptions::default())?) })
    }

    /// The disk itself: what arrives in the cloud.
    pub(crate) fn disk(&self) -> &dyn BlockRead {
        &*self.image
    }
}

impl Payload for RawPayload {
    fn open(&self) -> crate::Result<Box<dyn Read + '_>> {
        let (sender, pieces) = sync_channel(PIECES);
        let image = Arc::clone(&self.image);
        // It ends by itself when the reader is gone: its next piece finds nobody.
        std::thread::Builder::new().name("convert".into()).spawn(move || {
            let mut sink = StreamSink::new(Sender(sender.clone()));
            if let Err(error) = convert(&*image, &mut sink, &Options::default()) {
                let _ = sender.send(Err(io::Error::other(error)));
            }
        })?;
        Ok(Box::new(Pieces { pieces, current: Vec::new(), taken: 0 }))
    }

    fn len(&self) -> Option<u64> {
        Some(self.image.size())
    }
}

struct Sender(SyncSender<io::Result<Vec<u8>>>);

impl Write for Sender {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.send(Ok(buf.to_vec())).map_err(gone)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Pieces {
    pieces: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    taken: usize,
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.current.len() {
            match self.pieces.recv() {
                Ok(piece) => self.current = piece?,
                Err(_) => return Ok(0),
            }
            self.taken = 0;
        }
        let rest = self.current.get(self.taken..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.taken = self.taken.saturating_add(count);
        Ok(count)
    }
}

/// Converts an image into a temporary file in `folder`, as `target` says; raw is streamed, and not made here.
///
/// # Errors
/// Where the image cannot be read or the file not written.
pub(crate) fn to_file(
    path: &Path,
    folder: &Path,
    target: Target,
    progress: &dyn Progress,
) -> crate::Result<tempfile::NamedTempFile> {
    let image = Image::open(path, OpenOptions::default())?;
    let file = tempfile::Builder::new().prefix("goldimg-").tempfile_in(folder);
    let file =
        file.context("making a temporary file").map_err(|error| error.context("converting the image"))?;
    let disk = FileDisk::open_writable(file.path())?;
    let mut sink = sink(target, image.size(), &disk)?;
    convert(&image, &mut *sink, &Options { progress, ..Options::default() })
        .with_context(|| format!("converting {}", path.display()))?;
    drop(sink);
    disk.flush()?;
    Ok(file)
}

/// What writes a disk of `size` bytes into `file`.
fn sink<'a>(target: Target, size: u64, file: &'a FileDisk) -> crate::Result<Box<dyn Sink + 'a>> {
    match target {
        Target::Raw => Err(crate::Error::failed("raw is streamed")),
        Target::Qcow2(compression) => {
            let new = NewImage::new(size)?.with_codec(Codec::new(compression, None)?, true)?;
            Ok(Box::new(Qcow2Sink::new(file, new)?))
        }
        Target::Foreign(kind) => {
            let new = foreign::NewImage::new(kind, size)?;
            // Less to send.
            let new = if kind == Kind::Vmdk { new.with_subformat("streamOptimized")? } else { new };
            Ok(new.sink(file)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::glance::payload::digests_of;

    /// A disk of 300 KiB whose last part is not whole, as qcow2.
    fn image(dir: &Path) -> (Vec<u8>, std::path::PathBuf) {
        let mut bytes: Vec<u8> = (0..300u32 * 1024).map(|i| (i * 7 / 3) as u8).collect();
        bytes[64 * 1024..160 * 1024].fill(0);
        let raw = dir.join("a.raw");
        fs::write(&raw, &bytes).unwrap();
        let made = to_file(&raw, dir, Target::Qcow2(Compression::Deflate), &()).unwrap();
        let path = dir.join("a.qcow2");
        fs::copy(made.path(), &path).unwrap();
        (bytes, path)
    }

    #[test]
    fn a_disk_is_streamed_as_often_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, path) = image(dir.path());
        let payload = RawPayload::open(&path).unwrap();
        assert_eq!(payload.len(), Some(bytes.len() as u64));
        for _ in 0..2 {
            let mut read = Vec::new();
            payload.open().unwrap().read_to_end(&mut read).unwrap();
            assert!(read == bytes);
        }
        // One that is dropped half-way ends its conversion.
        payload.open().unwrap().read_exact(&mut [0; 100]).unwrap();
        assert_eq!(digests_of(&payload, None).unwrap().len, bytes.len() as u64);
    }

    #[test]
    fn a_broken_image_is_an_error_and_not_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let (_, path) = image(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        // Compressed clusters begin behind the header's cluster.
        bytes[65536..65536 + 64].fill(0xff);
        fs::write(&path, bytes).unwrap();
        let error = digests_of(&RawPayload::open(&path).unwrap(), None).unwrap_err();
        assert!(error.cause::<image_core::Error>().is_some(), "{error:#}");
    }

    #[test]
    fn targets_are_spelt_as_qemu_img_spells_them() {
        assert_eq!("raw".parse::<Target>().unwrap(), Target::Raw);
        assert_eq!("qcow2".parse::<Target>().unwrap(), Target::Qcow2(Compression::Deflate));
        assert_eq!("qcow2:zstd".parse::<Target>().unwrap(), Target::Qcow2(Compression::Zstd));
        assert_eq!("vmdk".parse::<Target>().unwrap().format(), "vmdk");
        assert!("vdmk".parse::<Target>().is_err());
    }
}
