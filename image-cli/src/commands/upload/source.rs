//! What is sent of an image file: itself, or what it is converted to; looked at before a byte is sent.

use std::path::Path;

use anyhow::Context;
use image_core::block::FileDisk;
use image_core::digest::{Algorithm, digests_of};
use image_core::format::{Foreign, Probing, probe};

use super::Args;
use crate::failure::Advise;
use crate::glance::inspect::{self, Inspected};
use crate::glance::payload::converted::{RawPayload, Target, to_qcow2};
use crate::glance::payload::{FilePayload, Payload};
use crate::ui::Ui;

/// What is sent.
pub(super) struct Source {
    pub(super) payload: Box<dyn Payload>,
    /// Glance's name of the format.
    pub(super) format: String,
    /// In GiB, where it is known.
    pub(super) min_disk: Option<u64>,
    /// In bytes.
    pub(super) len: u64,
    /// Of what is sent, where that is a file.
    pub(super) sha256: Option<String>,
    /// What tells this upload from others: the SHA-256 of the image file, and the format it is sent in.
    pub(super) build_id: String,
    /// Removed with this value.
    _temporary: Option<tempfile::NamedTempFile>,
}

impl Source {
    /// Prepares the image at `args.image`, whose SHA-256 is `file_sha256`.
    ///
    /// # Errors
    /// Where it cannot be read or converted, or Glance would refuse what is sent.
    pub(super) fn prepare(args: &Args, file_sha256: &str, ui: &Ui) -> anyhow::Result<Self> {
        let path = &args.image;
        match args.convert {
            None => {
                let seen = inspect::inspect(path)?;
                let format = args.disk_format.as_deref().unwrap_or(seen.format).to_owned();
                let payload = Box::new(FilePayload::new(path, seen.file_size));
                let sha256 = Some(file_sha256.to_owned());
                Self { format, sha256, ..Self::new(payload, &seen, file_sha256) }.checked(args, &seen, ui)
            }
            Some(target @ Target::Raw) => {
                let payload = RawPayload::open(path)?;
                let seen = inspect::inspect_disk(payload.disk())?;
                let payload = Box::new(payload);
                let build_id = format!("{file_sha256}-raw");
                let format = target.format().to_owned();
                Self { format, ..Self::new(payload, &seen, &build_id) }.checked(args, &seen, ui)
            }
            Some(target @ Target::Qcow2(compression)) => {
                let size = RawPayload::open(path)?.disk().size();
                let file = to_qcow2(path, compression, &ui.bytes("converting", size))?;
                let seen = inspect::inspect(file.path())?;
                let payload = Box::new(FilePayload::new(file.path(), seen.file_size));
                let build_id = format!("{file_sha256}-qcow2-{compression}");
                let sha256 = Some(sha256_of(file.path(), "reading", ui)?);
                let format = target.format().to_owned();
                let source =
                    Self { format, sha256, _temporary: Some(file), ..Self::new(payload, &seen, &build_id) };
                source.checked(args, &seen, ui)
            }
        }
    }

    fn new(payload: Box<dyn Payload>, seen: &Inspected, build_id: &str) -> Self {
        Self {
            payload,
            format: seen.format.to_owned(),
            min_disk: seen.min_disk(),
            len: seen.file_size,
            sha256: None,
            build_id: build_id.to_owned(),
            _temporary: None,
        }
    }

    fn checked(self, args: &Args, seen: &Inspected, ui: &Ui) -> anyhow::Result<Self> {
        seen.warnings.iter().for_each(|warning| ui.warning(warning));
        if !args.no_inspect {
            seen.check(&args.image, &self.format)?;
            // Glance takes whatever it does not know for a raw disk, and nothing boots from it.
            if args.convert.is_none() && args.disk_format.is_none() && seen.format == "raw" {
                refuse_foreign(&args.image)?;
            }
        }
        Ok(self)
    }
}

/// Refuses what would be uploaded as a raw disk and is none.
fn refuse_foreign(path: &Path) -> anyhow::Result<()> {
    let doing = || format!("uploading {}", path.display());
    match probe(&FileDisk::open(path)?, Probing::Everything) {
        Err(error) => match error.cause::<Foreign>().and_then(|foreign| foreign.unpacked_by) {
            Some(program) => Err(error).with_context(doing).hint(|| {
                format!("unpack it first ({program}); --disk-format raw sends it as the bytes of a disk")
            }),
            // The hint of what is not read here.
            None => Err(error).with_context(doing),
        },
        Ok(_) => Ok(()),
    }
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// Where it cannot be read, or the user stops it.
pub(super) fn sha256_of(path: &Path, what: &str, ui: &Ui) -> anyhow::Result<String> {
    let disk = FileDisk::open(path)?;
    let size = image_core::block::BlockRead::size(&disk);
    let digests = digests_of(&disk, &[Algorithm::Sha256], &ui.bytes(what, size))?;
    digests.into_iter().next().map(|digest| digest.hex).context("no digest was made")
}
