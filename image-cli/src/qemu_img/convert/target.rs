//! What a conversion writes to.

use std::path::Path;

use image_core::block::{BlockRead, BlockWrite, ByteRange, Preallocation, ZeroMode};
use image_core::format::{Format, ImageWriter, Medium};
use image_core::map::Map;
use image_core::progress::Progress;
use image_core::qcow2::{NewImage, Qcow2Sink, Version};

use super::arguments::Asked;
use crate::qemu_img::failure::Failure;
use crate::qemu_img::format_options::{FormatOptions, Kind};
use crate::qemu_img::new_file::{self, NewFile};
use crate::qemu_img::node::{Node, Wanted};

/// How much is copied at a time where a backing file is in the way of all cores.
const CHUNK: u64 = 1 << 20;

/// What a conversion writes to.
pub(super) enum Target {
    /// A new qcow2 image, front to back.
    Sink { new: NewFile, image: NewImage },
    /// A new raw file.
    Raw { new: NewFile },
    /// An image that is written in place.
    InPlace {
        writer: ImageWriter,
        /// It reads as zeroes.
        fresh: bool,
        /// It has a backing file of its own: what the source does not have itself stays away.
        backing: bool,
    },
}

impl Target {
    /// A new image for a disk of `size` bytes.
    pub(super) fn create(
        name: &str,
        kind: Kind,
        options: &FormatOptions,
        size: u64,
        asked: &Asked,
    ) -> Result<Self, Failure> {
        let prefix = format!("{name}: error while converting {}", kind.name());
        let failed = |failure: Failure| failure.context(&prefix);
        if kind != Kind::Qcow2 {
            return Ok(Self::Raw { new: new_file::create_raw(name, options, size).map_err(failed)? });
        }
        let preallocation = options.preallocation().map_err(|fault| failed(Failure::new(fault)))?;
        let has = |option: &str| options.text(option).is_some();
        // Where bitmaps cannot be had it stays, empty.
        let refused = asked.bitmaps && matches!(options.text("compat"), Some("0.10" | "v2"));
        if preallocation == Preallocation::Off && !has("backing_file") && !has("data_file") && !refused {
            let new = NewFile::at(name).map_err(failed)?;
            let image = options.new_image(size, asked.compress);
            let image = image.map_err(|fault| failed(Failure::new(fault)))?;
            return Ok(Self::Sink { new, image });
        }
        new_file::create(name, kind, options, size).map_err(failed)?;
        let wanted = Wanted { format: Some("qcow2".to_owned()), ..Wanted::default() };
        let writer = Node::parse(name, &wanted)?.writer()?;
        Ok(Self::InPlace { writer, fresh: true, backing: has("backing_file") })
    }

    /// An image that is there.
    pub(super) fn there(node: &Node) -> Result<Self, Failure> {
        Ok(Self::InPlace { writer: node.writer()?, fresh: false, backing: false })
    }

    /// The virtual size of an image that is written in place.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::InPlace { writer, .. } => Some(writer.size()),
            Self::Sink { .. } | Self::Raw { .. } => None,
        }
    }

    /// Whether it can have bitmaps; the error is its format.
    pub(super) fn check_bitmaps(&self) -> Result<(), Format> {
        match self {
            Self::Sink { .. } => Ok(()),
            Self::Raw { .. } => Err(Format::Raw),
            Self::InPlace { writer, .. } => match writer.as_qcow2() {
                Some(image) if image.image().header().version != Version::V2 => Ok(()),
                _ => Err(writer.format()),
            },
        }
    }

    /// The path of its file.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Sink { new, .. } | Self::Raw { new } => new.disk().path(),
            Self::InPlace { writer, .. } => writer.path(),
        }
    }

    /// Completes it.
    pub(super) fn keep(self) -> image_core::Result<()> {
        match self {
            Self::Sink { new, .. } | Self::Raw { new } => new.keep(),
            Self::InPlace { writer, .. } => writer.close(),
        }
    }
}

/// The sink that writes `image`.
pub(super) fn qcow2_sink<'a>(
    new: &'a NewFile,
    image: &NewImage,
) -> image_core::Result<Qcow2Sink<&'a Medium>> {
    Qcow2Sink::new(&**new.disk(), image.clone())
}

/// Copies what `source` has itself, and not from its backing file.
pub(super) fn copy_own(
    source: &dyn BlockRead,
    target: &dyn BlockWrite,
    progress: &dyn Progress,
) -> image_core::Result<()> {
    let mut buffer = vec![0; CHUNK as usize];
    for stretch in Map::new(source) {
        let stretch = stretch?;
        let range = stretch.range;
        if stretch.zero && stretch.depth == 0 {
            target.write_zeroes(range, ZeroMode::Punch)?;
        } else if stretch.depth == 0 {
            let mut at = range.offset();
            while at < range.end() {
                let len = (range.end() - at).min(CHUNK);
                let part = &mut buffer[..len as usize];
                source.read_at(part, at)?;
                target.write_at(part, at)?;
                at = ByteRange::new(at, len)?.end();
            }
        }
        progress.advance(range.len());
    }
    Ok(())
}
