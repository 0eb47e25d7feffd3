//! What commands that look at the files in an image have in common: the image, which filesystem, and paths.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use goldimg::printable::printable;
use goldimg::size::Size;
use goldimg::system::{Step, System};
use image_core::block::{BlockRead, ByteRange, Window};
use image_core::format::{Format, Share, UnsupportedFormat, UnsupportedKind};

use super::image::{Backing, at_snapshot};
use crate::failure::Advise;
use crate::ui::Ui;

/// The image that is looked into.
#[derive(Debug, clap::Args)]
pub(super) struct Inside {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(super) path: PathBuf,
    #[command(flatten)]
    pub(super) how: How,
}

/// How it is looked into. `-l` is what a snapshot is called by, where it means nothing else.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// The format: raw or qcow2 [default: what it looks like]
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<Format>,
    /// As it was when this snapshot was taken
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// Only this filesystem, whose root is / then: a partition's number, a label, a UUID
    #[arg(long, visible_alias = "partition", value_name = "NAME")]
    volume: Option<String>,
    /// The disk begins there in the image
    #[arg(long, value_name = "OFFSET", default_value = "0", hide_default_value = true)]
    offset: Size,
    #[command(flatten)]
    backing: Backing,
    /// Look at it even if it is in use
    #[arg(short = 'U', long)]
    force_share: bool,
}

impl How {
    /// The disk that `path` is.
    pub(super) fn disk(&self, path: &Path, ui: &Ui) -> anyhow::Result<Arc<dyn BlockRead>> {
        let share = if self.force_share { Share::Writers } else { Share::Readers };
        let open = |format| self.backing.open(path, format, share, ui);
        let image = match open(self.format) {
            // To look into, a CD is a disk like any other.
            Err(error) if self.format.is_none() && looks_like_disc(&error) => open(Some(Format::Raw))?,
            opened => opened?,
        };
        let image = match &self.snapshot {
            Some(name) => at_snapshot(&image, name)?,
            None => image,
        };
        if self.offset == Size(0) {
            return Ok(Arc::new(image));
        }
        let rest = ByteRange::between(self.offset.0, image.size());
        if rest.is_empty() {
            return Err(anyhow::anyhow!("offset {} is behind its end", self.offset.0))
                .hint(|| format!("it has {} bytes", image.size()));
        }
        Ok(Arc::new(Window::new(image, rest)?))
    }

    /// Whether a format is looked for, and none was named.
    pub(super) fn is_probed(&self) -> bool {
        self.format.is_none() && self.snapshot.is_none()
    }

    /// What is in `path`, whether or not there is a system.
    fn open_whatever(&self, path: &Path, ui: &Ui) -> anyhow::Result<System> {
        let disk = self.disk(path, ui)?;
        let system = match &self.volume {
            Some(name) => System::open_volume(disk, name),
            None => System::open_any(disk),
        };
        system.with_context(|| doing(path))
    }

    /// What is in `path`.
    pub(super) fn open(&self, path: &Path, ui: &Ui) -> anyhow::Result<System> {
        let system = self.open_whatever(path, ui)?;
        match system.unreadable() {
            None => Ok(system),
            Some(why) => Err(anyhow::anyhow!("{why}").context(doing(path)))
                .hint(|| "--volume NAME looks into one filesystem alone; goldimg inspect lists them"),
        }
    }
}

/// Whether nothing but that a file is a CD kept it from being opened.
fn looks_like_disc(error: &anyhow::Error) -> bool {
    let foreign = error.chain().find_map(|link| match link.downcast_ref::<image_core::Error>() {
        Some(error) => error.cause::<UnsupportedFormat>(),
        None => link.downcast_ref(),
    });
    foreign.is_some_and(|foreign| foreign.kind == UnsupportedKind::Disc)
}

fn doing(path: &Path) -> String {
    format!("looking into {}", shown(path.as_os_str().as_bytes()))
}

impl Inside {
    /// What is in the image, whether or not there is a system.
    pub(super) fn open_whatever(&self, ui: &Ui) -> anyhow::Result<System> {
        self.how.open_whatever(&self.path, ui)
    }

    /// What is in the image.
    pub(super) fn open(&self, ui: &Ui) -> anyhow::Result<System> {
        self.how.open(&self.path, ui)
    }
}

/// What is at `path`, which was asked for.
pub(super) fn find<'a>(system: &'a System, path: &Path, follow: bool) -> anyhow::Result<Step<'a>> {
    let found = system.find(&absolute(path), follow)?;
    found.ok_or_else(|| not_there(path))
}

/// That there is nothing at `path`.
pub(super) fn not_there(path: &Path) -> anyhow::Error {
    anyhow::anyhow!("{}: there is no such file in the image", shown(path.as_os_str().as_bytes()))
}

/// The `number` of the user or group (`what`) that was called `name`, or why there is none.
pub(super) fn known(what: &str, name: &str, number: Option<u32>) -> anyhow::Result<u32> {
    number
        .with_context(|| format!("the image has no {what} {name:?}"))
        .hint(|| "a number says which one is meant, whether or not it has a name")
}

/// `path` from the root of the image on.
pub(super) fn absolute(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}

/// The path of a step of a walk that began at `start`.
pub(super) fn joined(start: &Path, path: &[u8]) -> Vec<u8> {
    match path {
        [] => start.as_os_str().as_bytes().to_vec(),
        path => start.join(OsStr::from_bytes(path)).into_os_string().as_bytes().to_vec(),
    }
}

/// Bytes of a name as a terminal may show them.
pub(super) fn shown(name: &[u8]) -> String {
    printable(&String::from_utf8_lossy(name))
}
