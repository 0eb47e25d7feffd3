//! What is sent of an image file: itself, or what it is converted to; looked at before a byte is sent.

use std::path::{Path, PathBuf};

use image_core::block::FileDisk;
use image_core::digest::{Algorithm, digests_of};
use image_core::format::{Format, Probing, UnsupportedFormat, probe};

use super::Request;
use crate::error::{Advise, Context};
use crate::glance::inspect;
use crate::glance::payload::converted::{RawPayload, Target, to_file};
use crate::glance::payload::{FilePayload, Payload};
use crate::monitor::Monitor;

/// What is sent.
pub(super) struct Source {
    pub(super) payload: Box<dyn Payload>,
    /// In bytes.
    pub(super) len: u64,
    /// Of what is sent, where that is a file.
    pub(super) sha256: Option<String>,
    /// What tells this upload from others: the SHA-256 of the image file, and the format it is sent in.
    pub(super) build_id: String,
    /// Removed with this value.
    _temporary: Option<tempfile::NamedTempFile>,
}

/// An image that was looked at, and whose content nobody has read yet: what is wrong with it is told before that.
#[derive(Debug)]
pub(super) struct Sighted<'a> {
    path: &'a Path,
    convert: Option<Target>,
    /// Where a temporary file is made.
    folder: PathBuf,
    /// Glance's name of the format that is sent.
    pub(super) format: String,
    /// In GiB, where it is known.
    pub(super) min_disk: Option<u64>,
}

impl<'a> Sighted<'a> {
    /// Looks at the image at `request.image`.
    ///
    /// # Errors
    /// Where it cannot be read, or Glance would refuse what is sent.
    pub(super) fn at(request: &'a Request, monitor: Monitor<'_>) -> crate::Result<Self> {
        let path = request.image.as_path();
        let folder = request.variables.temporary_folder();
        let declared = request.disk_format.as_deref();
        let (seen, format) = match request.convert {
            // What is made here is as Glance has it.
            Some(target @ (Target::Qcow2(_) | Target::Foreign(_))) => {
                let min_disk = Some(inspect::in_gib(RawPayload::open(path)?.disk().size()));
                let format = target.format().to_owned();
                return Ok(Self { path, convert: request.convert, folder, format, min_disk });
            }
            Some(target @ Target::Raw) => {
                (inspect::inspect_disk(RawPayload::open(path)?.disk())?, target.format())
            }
            None => {
                let seen = inspect::inspect(path)?.declared(declared);
                let format = declared.unwrap_or(seen.format);
                (seen, format)
            }
        };
        seen.warnings.iter().for_each(|warning| monitor.warning(warning));
        if request.inspect {
            seen.check(path, format)?;
            // Glance takes whatever it does not know for a raw disk, and nothing boots from it.
            if request.convert.is_none() && declared.is_none() && seen.format == "raw" {
                refuse_foreign(path)?;
            }
        }
        let (format, min_disk) = (format.to_owned(), seen.min_disk());
        Ok(Self { path, convert: request.convert, folder, format, min_disk })
    }

    /// Glance's name of the format that the file has; `None` if that is to be found out, for it is converted.
    pub(super) fn stored_as(&self) -> Option<&str> {
        self.convert.is_none().then_some(self.format.as_str())
    }

    /// What is sent of the image, whose SHA-256 is `file_sha256`.
    ///
    /// # Errors
    /// Where it cannot be read or converted.
    pub(super) fn prepare(&self, file_sha256: &str, monitor: Monitor<'_>) -> crate::Result<Source> {
        let format = &self.format;
        match self.convert {
            None => {
                let payload = FilePayload::new(self.path, std::fs::metadata(self.path)?.len());
                let sha256 = Some(file_sha256.to_owned());
                Ok(Source { sha256, ..Source::new(payload, file_sha256.to_owned()) })
            }
            Some(Target::Raw) => {
                Ok(Source::new(RawPayload::open(self.path)?, format!("{file_sha256}-{format}")))
            }
            Some(target) => {
                let size = RawPayload::open(self.path)?.disk().size();
                let file = to_file(self.path, &self.folder, target, &monitor.bytes("converting", size))?;
                let payload = FilePayload::new(file.path(), file.as_file().metadata()?.len());
                let sha256 = Some(sha256_of(file.path(), "reading", monitor)?);
                let build_id = match target {
                    Target::Qcow2(compression) => format!("{file_sha256}-{format}-{compression}"),
                    _ => format!("{file_sha256}-{format}"),
                };
                Ok(Source { sha256, _temporary: Some(file), ..Source::new(payload, build_id) })
            }
        }
    }
}

impl Source {
    fn new(payload: impl Payload + 'static, build_id: String) -> Self {
        let len = payload.len().unwrap_or_default();
        Self { payload: Box::new(payload), len, sha256: None, build_id, _temporary: None }
    }
}

/// Refuses what would be uploaded as a raw disk and is none.
fn refuse_foreign(path: &Path) -> crate::Result<()> {
    let doing = || format!("uploading {}", path.display());
    match probe(&FileDisk::open(path)?, Probing::Everything) {
        Err(error) => match error.cause::<UnsupportedFormat>().and_then(|foreign| foreign.decompressor) {
            Some(program) => Err(error).with_context(doing).hint(|| {
                format!("unpack it first ({program}); --disk-format raw sends it as the bytes of a disk")
            }),
            // The hint of what is not read here.
            None => Err(error).with_context(doing),
        },
        Ok(Format::Foreign(kind)) => {
            let what = UnsupportedFormat::of(kind);
            Err(image_core::Error::from(what)).with_context(doing).hint(|| {
                format!(
                    "--convert qcow2 sends what is in it: goldimg upload --convert qcow2 {}",
                    path.display()
                )
            })
        }
        Ok(_) => Ok(()),
    }
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// Where it cannot be read, or the user stops it.
pub(super) fn sha256_of(path: &Path, what: &str, monitor: Monitor<'_>) -> crate::Result<String> {
    let disk = FileDisk::open(path)?;
    let size = image_core::block::BlockRead::size(&disk);
    let digests = digests_of(&disk, &[Algorithm::Sha256], &monitor.bytes(what, size))?;
    digests.into_iter().next().map(|digest| digest.hex).context("no digest was made")
}
