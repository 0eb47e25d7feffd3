//! `qemu-img resize`: another virtual size.

use image_core::block::{BlockRead, BlockWrite, ByteRange, Preallocation};
use image_core::format::{Format, ImageWriter, ProtocolNode};
use image_core::qcow2::{Unsupported, Version, bitmap};

use super::failure::Failure;
use super::node::{Node, Wanted};
use super::options::{Opt, flag, long_flag, long_valued, valued};
use super::size::{self, SizeFault};
use super::{Call, bytes, words};

pub(super) const OPTIONS: &[Opt] = &[
    flag('h', "help"),
    flag('q', "quiet"),
    long_valued("object"),
    valued('f', "format"),
    long_flag("image-opts"),
    long_valued("preallocation"),
    long_flag("shrink"),
];

pub(super) fn run(call: &mut Call) -> Result<u8, Failure> {
    let (mut wanted, mut quiet, mut shrink) = (Wanted::default(), false, false);
    let mut preallocation = Preallocation::Off;
    while let Some(option) = call.option()? {
        match option.name {
            "quiet" => quiet = true,
            "shrink" => shrink = true,
            "preallocation" => {
                preallocation = option
                    .value
                    .parse()
                    .map_err(|_| Failure::new(format!("Invalid preallocation mode '{}'", option.value)))?;
            }
            _ => wanted.take(option),
        }
    }
    let Ok([name, text]) = <[String; 2]>::try_from(call.names()) else {
        return Err(Failure::usage("Expecting image file name and size"));
    };
    let change = Change::parse(&text)?;
    let node = Node::parse(&name, &wanted)?;
    let image = node.writer()?;
    if image.format() == Format::Raw {
        call.talk.say(&node.warning_of_probing());
    }
    let old = image.size();
    let new = change.of(old).filter(|&size| size > 0);
    let new = new.ok_or_else(|| Failure::new("New image size must be positive"))?;
    if new <= old && preallocation != Preallocation::Off {
        return Err(Failure::new("Preallocation can only be used for growing images"));
    }
    if new < old && !shrink {
        return Err(Failure::new("Use the --shrink option to perform a shrink operation.").hint(&format!(
            "{}: warning: Shrinking an image will delete all data beyond the shrunken image's end. Before performing \
             such an operation, make sure there is no important data there.\n",
            call.talk.name
        )));
    }
    resize(&image, &node.medium()?, new, preallocation)?;
    image.close().map_err(|error| Failure::new(words::of_chain(&error)))?;
    if !quiet {
        call.print("Image resized.\n");
    }
    Ok(0)
}

fn resize(
    image: &ImageWriter,
    medium: &ProtocolNode,
    new: u64,
    preallocation: Preallocation,
) -> Result<(), Failure> {
    let failed = |error: image_core::Error| Failure::new(words::of_chain(&error));
    let old = image.size();
    if image.format() == Format::Raw && preallocation == Preallocation::Metadata {
        return Err(Failure::new("Unsupported preallocation mode: metadata"));
    }
    if image.format() == Format::Qcow2 && !new.is_multiple_of(512) {
        return Err(Failure::new("The new size must be a multiple of 512"));
    }
    let header = image.as_qcow2().map(|qcow2| qcow2.image().header());
    if header.is_some_and(|header| header.version == Version::V2 && header.snapshots.count > 0) {
        return Err(Failure::new("Can't resize a v2 image which has snapshots"));
    }
    refuse_inconsistent_bitmaps(image)?;
    if image.format() == Format::Raw && medium.is_export() {
        return Err(Failure::new("Cannot resize NBD nodes"));
    }
    if medium.null_driver().is_some() {
        return Err(Failure::new("Image format driver does not support resize"));
    }
    image.resize(new).map_err(|error| match error.cause() {
        Some(Unsupported::VirtualSize { .. }) => Failure::new("Failed to grow the L1 table: File too large"),
        _ => failed(error),
    })?;
    let added = ByteRange::between(old, new);
    match image.as_qcow2() {
        _ if preallocation == Preallocation::Off || added.is_empty() => Ok(()),
        Some(qcow2) => qcow2.preallocate(added, preallocation).map_err(failed),
        None => preallocation.set_aside(image, added).map_err(failed),
    }
}

/// Bitmaps that were not saved properly cannot follow the size of the disk.
fn refuse_inconsistent_bitmaps(image: &ImageWriter) -> Result<(), Failure> {
    let Some(qcow2) = image.as_qcow2() else { return Ok(()) };
    let list = bitmap::list(&**qcow2.image().file(), &qcow2.image().header());
    let list = list.map_err(|error| Failure::new(words::of_opening(&error)))?;
    // The last one is met first.
    match list.iter().rev().find(|bitmap| bitmap.is_in_use()) {
        Some(broken) => Err(Failure::new(super::bitmap::inconsistent(&bytes::to_text(&broken.name)))),
        None => Ok(()),
    }
}

/// What becomes of a size.
enum Change {
    To(u64),
    Plus(u64),
    Minus(u64),
}

impl Change {
    fn parse(text: &str) -> Result<Self, Failure> {
        let size = |text: &str| {
            size::parse(text).map_err(|fault| match fault {
                SizeFault::Malformed => {
                    Failure::new("Parameter 'size' expects a non-negative number below 2^64").hint(size::HINT)
                }
                SizeFault::TooLarge => {
                    Failure::new(format!("Value '{text}' is out of range for parameter 'size'"))
                }
            })
        };
        match text.split_at_checked(1) {
            Some(("+", rest)) => Ok(Self::Plus(size(rest)?)),
            Some(("-", rest)) => Ok(Self::Minus(size(rest)?)),
            _ => Ok(Self::To(size(text)?)),
        }
    }

    fn of(&self, old: u64) -> Option<u64> {
        match *self {
            Self::To(size) => Some(size),
            Self::Plus(more) => old.checked_add(more).filter(|&size| i64::try_from(size).is_ok()),
            Self::Minus(less) => old.checked_sub(less),
        }
    }
}
