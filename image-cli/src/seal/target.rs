//! An image written anew: beside the old one in the same format, and renamed when all is done.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite};
use image_core::convert::{DiskSink, Options, Zeroes, convert};
use image_core::format::{Disk, Format, Image};
use image_core::free_space::{WithoutFreeSpace, find_free_space};
use image_core::new_file::{Existing, NewFile};
use image_core::qcow2::{Codec, Compression, Geometry, NewImage, Qcow2, Qcow2Sink};

use crate::error::{Advise, Context, err};
use crate::monitor::Monitor;
use crate::target_name::placed;

/// An image that has no name yet.
#[derive(Debug)]
pub(crate) struct Rewritten {
    new: NewFile,
    /// Whether it takes the place of something.
    replaces: bool,
}

impl Rewritten {
    /// Begins what will be `path`.
    pub(crate) fn at(path: &Path, existing: Existing) -> crate::Result<Self> {
        let replaces = path.exists();
        Ok(Self { new: placed(NewFile::at(path, existing))?, replaces })
    }

    /// The folder that it will be in.
    pub(crate) fn folder(&self) -> &Path {
        self.new.folder()
    }

    /// Writes `content`, in the format of `image`, compressed if that is.
    pub(crate) fn write(
        self,
        image: &Image,
        content: &impl BlockRead,
        monitor: Monitor<'_>,
    ) -> crate::Result<Self> {
        self.write_as(Form::like(image, content.size())?, content, monitor)
    }

    fn write_as(self, form: Form, content: &impl BlockRead, monitor: Monitor<'_>) -> crate::Result<Self> {
        let (disk, name) = (self.new.disk(), self.new.place().display().to_string());
        let doing = || format!("writing {name}");
        let watch = monitor.bytes(&name, content.size());
        let options = Options { progress: &watch, ..Options::default() };
        match form {
            Form::Raw => {
                disk.resize(content.size()).with_context(doing)?;
                let mut sink = DiskSink::new(disk, Zeroes::AlreadyThere);
                convert(content, &mut sink, &options).with_context(doing)?;
            }
            Form::Qcow2(new) => {
                let mut sink = Qcow2Sink::new(disk, new)?;
                convert(content, &mut sink, &options).with_context(doing)?;
            }
        }
        drop(watch);
        disk.flush().with_context(doing)?;
        Ok(self)
    }

    /// As [`write`](Self::write), with holes where no filesystem has anything.
    /// In the format `form`, compressed or not, where it is another.
    pub(crate) fn write_shrunk(
        self,
        image: &Image,
        form: Option<(Format, bool)>,
        content: &Arc<dyn BlockRead>,
        monitor: Monitor<'_>,
    ) -> crate::Result<Self> {
        let free = find_free_space(content).context("looking for free space")?;
        let content = WithoutFreeSpace::new(Arc::clone(content), free);
        let form = match form {
            None => Form::like(image, content.size())?,
            Some((Format::Raw, _)) => Form::Raw,
            Some((other @ Format::Foreign(_), _)) => return Err(not_written(other)),
            Some((Format::Qcow2, compress)) => {
                let new = NewImage::new(content.size())?;
                Form::Qcow2(if compress {
                    new.with_codec(Codec::new(Compression::Deflate, None)?, true)?
                } else {
                    new
                })
            }
        };
        self.write_as(form, &content, monitor)
    }

    /// Where it is now.
    pub(crate) fn path(&self) -> &Path {
        self.new.path()
    }

    /// How many other names what it replaces has.
    pub(crate) fn other_names(&self) -> u64 {
        self.new.other_names()
    }

    /// Gives it its name; where nothing was before, with the mode that `sealed` has.
    pub(crate) fn keep(self, sealed: &Path) -> crate::Result<()> {
        if !self.replaces {
            let mode = fs::metadata(sealed).map(|metadata| metadata.permissions().mode() & 0o7777);
            let given = mode.and_then(|mode| fs::set_permissions(self.path(), Permissions::from_mode(mode)));
            given.with_context(|| format!("giving it the rights of {}", sealed.display()))?;
        }
        Ok(self.new.keep_synced()?)
    }
}

/// What would be lost of `image` where a new one takes its place; `None` if that is nothing.
pub(crate) fn lost(image: &Image) -> Option<String> {
    let count = image.as_qcow2()?.header().snapshots.count;
    (count > 0).then(|| format!("it has {count} internal snapshots"))
}

/// What an image is written as.
enum Form {
    Raw,
    Qcow2(NewImage),
}

impl Form {
    /// As `image`, of `size` bytes.
    fn like(image: &Image, size: u64) -> crate::Result<Self> {
        Ok(match image.disk() {
            Disk::Raw(_) => Self::Raw,
            Disk::Qcow2(old) => Self::Qcow2(like(old, size)?),
            Disk::Foreign(_) => return Err(not_written(image.format())),
        })
    }
}

/// Such images are made from others as a whole.
fn not_written(format: Format) -> crate::Error {
    let hint = || "take qcow2 or raw here, and convert what comes of it";
    let refused: crate::Result<()> = Err(err!("{format} images are not written in this way")).hint(hint);
    refused.map_or_else(|error| error, |()| unreachable!("it was refused"))
}

/// A new image of `size` bytes like `old`, without what Glance refuses.
fn like(old: &Qcow2, size: u64) -> crate::Result<NewImage> {
    let header = old.header();
    let geometry = Geometry::new(header.geometry.cluster_bits(), header.geometry.refcount_order(), false)?;
    let image = NewImage::in_clusters(size, geometry)?;
    match old.has_compressed_clusters()? {
        true => Ok(image.with_codec(Codec::new(header.compression, None)?, true)?),
        false => Ok(image),
    }
}
