//! The sealed image: written beside the old one in the same format, and renamed when all is done.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use image_core::block::{BlockRead, BlockWrite};
use image_core::convert::{DiskSink, Options, Zeroes, convert};
use image_core::format::{Disk, Image};
use image_core::new_file::{Existing, NewFile};
use image_core::qcow2::{Codec, Geometry, NewImage, Qcow2, Qcow2Sink};

use crate::error::Context;
use crate::monitor::Monitor;
use crate::target_name::placed;

/// An image that has no name yet.
#[derive(Debug)]
pub(super) struct Target {
    new: NewFile,
    /// Whether it takes the place of something.
    replaces: bool,
}

impl Target {
    /// Begins what will be `path`.
    pub(super) fn at(path: &Path, existing: Existing) -> crate::Result<Self> {
        let replaces = path.exists();
        Ok(Self { new: placed(NewFile::at(path, existing))?, replaces })
    }

    /// The folder that it will be in.
    pub(super) fn folder(&self) -> &Path {
        self.new.folder()
    }

    /// Writes `content`, in the format of `image`, compressed if that is.
    pub(super) fn write(
        self,
        image: &Image,
        content: &impl BlockRead,
        monitor: Monitor<'_>,
    ) -> crate::Result<Self> {
        let (disk, name) = (self.new.disk(), self.new.place().display().to_string());
        let doing = || format!("writing {name}");
        let watch = monitor.bytes(&name, content.size());
        let options = Options { progress: &watch, ..Options::default() };
        match image.disk() {
            Disk::Raw(_) => {
                disk.resize(content.size()).with_context(doing)?;
                let mut sink = DiskSink::new(disk, Zeroes::AlreadyThere);
                convert(content, &mut sink, &options).with_context(doing)?;
            }
            Disk::Qcow2(old) => {
                let mut sink = Qcow2Sink::new(disk, like(old)?)?;
                convert(content, &mut sink, &options).with_context(doing)?;
            }
        }
        drop(watch);
        disk.flush().with_context(doing)?;
        Ok(self)
    }

    /// Where it is now.
    pub(super) fn path(&self) -> &Path {
        self.new.path()
    }

    /// How many other names what it replaces has.
    pub(super) fn other_names(&self) -> u64 {
        self.new.other_names()
    }

    /// Gives it its name; where nothing was before, with the mode that `sealed` has.
    pub(super) fn keep(self, sealed: &Path) -> crate::Result<()> {
        if !self.replaces {
            let mode = fs::metadata(sealed).map(|metadata| metadata.permissions().mode() & 0o7777);
            let given = mode.and_then(|mode| fs::set_permissions(self.path(), Permissions::from_mode(mode)));
            given.with_context(|| format!("giving it the rights of {}", sealed.display()))?;
        }
        Ok(self.new.keep_synced()?)
    }
}

/// A new image like `old`, without what Glance refuses.
fn like(old: &Qcow2) -> crate::Result<NewImage> {
    let header = old.header();
    let geometry = Geometry::new(header.geometry.cluster_bits(), header.geometry.refcount_order(), false)?;
    let image = NewImage::in_clusters(header.size, geometry)?;
    match old.has_compressed_clusters()? {
        true => Ok(image.with_codec(Codec::new(header.compression, None)?, true)?),
        false => Ok(image),
    }
}
