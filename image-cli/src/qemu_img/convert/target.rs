//! What a conversion writes to.

use image_core::block::{BlockRead, BlockWrite, ByteRange, MapEntry, Preallocation, Window, is_zero};
use image_core::convert::{Encoder, Piece, Sink};
use image_core::format::{Format, ImageWriter, ProtocolNode};
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
    /// A part of a file that is there.
    Part { disk: Window<ProtocolNode> },
    /// An image that is written in place.
    InPlace {
        writer: ImageWriter,
        /// What it lies in, open for reading.
        medium: ProtocolNode,
        /// It reads as zeroes.
        fresh: bool,
        /// What the source does not have itself stays away: a backing file of its own has that.
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
            return Ok(Self::Raw { new: new_file::create_raw(name, kind, options, size).map_err(failed)? });
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
        let node = Node::parse(name, &wanted)?;
        let (writer, medium) = (node.writer()?, node.medium()?);
        Ok(Self::InPlace { writer, medium, fresh: true, backing: has("backing_file") })
    }

    /// An image that is there; `backing`: to which the source's backing file is to be left.
    pub(super) fn there(node: &Node, backing: bool) -> Result<Self, Failure> {
        if let Some(disk) = node.part_to_write()? {
            return Ok(Self::Part { disk });
        }
        Ok(Self::InPlace { writer: node.writer()?, medium: node.medium()?, fresh: false, backing })
    }

    /// The virtual size of an image that is written in place.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::InPlace { writer, .. } => Some(writer.size()),
            Self::Part { disk } => Some(disk.size()),
            Self::Sink { .. } | Self::Raw { .. } => None,
        }
    }

    /// Whether it can have compressed clusters.
    pub(super) fn can_compress(&self) -> bool {
        match self {
            Self::Sink { .. } => true,
            Self::Raw { .. } | Self::Part { .. } => false,
            Self::InPlace { writer, .. } => writer.as_qcow2().is_some(),
        }
    }

    /// Whether it can have bitmaps; the error is its format.
    pub(super) fn check_bitmaps(&self) -> Result<(), Format> {
        match self {
            Self::Sink { .. } => Ok(()),
            Self::Raw { .. } | Self::Part { .. } => Err(Format::Raw),
            Self::InPlace { writer, .. } => match writer.as_qcow2() {
                Some(image) if image.image().header().version != Version::V2 => Ok(()),
                _ => Err(writer.format()),
            },
        }
    }

    /// What it lies in, once more, if it is all of that.
    pub(super) fn medium(&self) -> image_core::Result<Option<ProtocolNode>> {
        match self {
            Self::Sink { new, .. } | Self::Raw { new } => new.disk().reopen(false).map(Some),
            Self::InPlace { medium, .. } => Ok(Some(medium.clone())),
            Self::Part { .. } => Ok(None),
        }
    }

    /// Has all of it on the disk.
    pub(super) fn flush(&self) -> image_core::Result<()> {
        match self {
            Self::Sink { new, .. } | Self::Raw { new } => new.disk().flush(),
            Self::InPlace { writer, .. } => writer.flush(),
            Self::Part { disk } => disk.flush(),
        }
    }

    /// Completes it.
    pub(super) fn keep(self) -> image_core::Result<()> {
        match self {
            Self::Sink { new, .. } | Self::Raw { new } => new.keep(),
            Self::InPlace { writer, .. } => writer.close(),
            Self::Part { disk } => disk.flush(),
        }
    }
}

/// The sink that writes `image`.
pub(super) fn qcow2_sink<'a>(
    new: &'a NewFile,
    image: &NewImage,
) -> image_core::Result<Qcow2Sink<&'a ProtocolNode>> {
    Qcow2Sink::new(&**new.disk(), image.clone())
}

/// Copies what `source` has itself, and not from its backing file. Where `sink` compresses, a cluster of which a part is
/// its own is all copied.
pub(super) fn copy_own(
    source: &dyn BlockRead,
    sink: &mut dyn Sink,
    progress: &dyn Progress,
) -> image_core::Result<()> {
    let mut encoder = sink.encoder()?;
    let unit = if encoder.is_some() { sink.unit_size() } else { 1 };
    let is_below = |stretch: &image_core::Result<_>| stretch.as_ref().is_ok_and(|it: &MapEntry| it.depth > 0);
    let mut map_entries = Map::new(source).peekable();
    let mut at = 0;
    while let Some(stretch) = map_entries.next() {
        let stretch = stretch?;
        let (before, mut end) = (at, stretch.range.end());
        // Whatever there is below is one.
        while stretch.depth > 0
            && let Some(next) = map_entries.next_if(is_below)
        {
            end = next?.range.end();
        }
        while at < end {
            let whole = (end - at) / unit * unit;
            let own = stretch.depth == 0 || whole == 0;
            let len = match whole {
                0 => unit.min(source.size() - at),
                _ if own && !stretch.zero => whole.min(CHUNK.max(unit)),
                _ => whole,
            };
            let range = ByteRange::new(at, len)?;
            at = range.end();
            if !own {
                continue;
            }
            if stretch.zero && whole > 0 {
                sink.put(range, Piece::Zero)?;
            } else {
                put_data(source, range, (sink, unit), &mut encoder)?;
            }
        }
        progress.advance(at - before);
    }
    sink.finish()
}

/// Copies `range`, in `unit`s where there is an encoder.
fn put_data(
    source: &dyn BlockRead,
    range: ByteRange,
    (sink, unit): (&mut dyn Sink, u64),
    encoder: &mut Option<Box<dyn Encoder>>,
) -> image_core::Result<()> {
    let mut bytes = vec![0; range.len() as usize];
    source.read_at(&mut bytes, range.offset())?;
    let Some(encoder) = encoder else { return sink.put(range, Piece::Plain(&bytes)) };
    bytes.resize(range.len().next_multiple_of(unit) as usize, 0);
    let (mut at, mut packed) = (range.offset(), Vec::new());
    for bytes in bytes.chunks(unit as usize) {
        let part = ByteRange::between(at, (at + unit).min(range.end()));
        packed.clear();
        let piece = match encoder.encode(bytes, &mut packed)? {
            _ if is_zero(bytes) => Piece::Zero,
            true => Piece::Compressed(&packed),
            false => Piece::Plain(&bytes[..part.len() as usize]),
        };
        sink.put(part, piece)?;
        at = part.end();
    }
    Ok(())
}
