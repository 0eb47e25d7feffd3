//! `goldimg resize`: another virtual size for an image, in place.

use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, anyhow};
use goldimg::printable::printable;
use goldimg::size::{Size, SizeError};
use image_core::block::{BlockRead, BlockWrite, ByteRange, Preallocation};
use image_core::format::ImageWriter;

use super::image::{WriteArgs, human_size};
use crate::failure::{Advise, USAGE};
use crate::ui::Ui;

/// The command line of `goldimg resize`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg resize disk.qcow2 40G
  goldimg resize -f raw disk.raw +10G
  goldimg resize --shrink disk.qcow2 8G

The partitions and filesystems in the image stay as they are: grow them afterwards, shrink them before.")]
pub(crate) struct Args {
    #[command(flatten)]
    image: WriteArgs,
    /// The new size, or the difference: 40G, +10G, -10G
    #[arg(value_name = "SIZE", allow_hyphen_values = true)]
    size: Change,
    /// Allow a smaller size: what lies behind it is lost
    #[arg(long)]
    shrink: bool,
    /// What is set aside for the new part: off, metadata, falloc or full
    #[arg(long, value_name = "MODE", default_value_t)]
    preallocation: Preallocation,
}

/// What becomes of a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    To(u64),
    By(i64),
}

impl FromStr for Change {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let size = |text: &str| text.parse::<Size>().map(|Size(size)| size);
        match text.split_at_checked(1) {
            Some(("+", rest)) => Ok(Self::By(size(rest)? as i64)),
            Some(("-", rest)) => Ok(Self::By(-(size(rest)? as i64))),
            _ => Ok(Self::To(size(text)?)),
        }
    }
}

impl Change {
    /// The new size, in whole sectors.
    fn of(self, size: u64) -> anyhow::Result<u64> {
        let new = match self {
            Self::To(size) => Some(size),
            Self::By(difference) => size.checked_add_signed(difference),
        };
        let new = new.and_then(|new| new.checked_next_multiple_of(512));
        new.with_context(|| format!("no size is left of {size} bytes"))
    }
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let image = args.image.open(ui)?;
    let name = printable(&args.image.path.display().to_string());
    let old = image.size();
    let new = args.size.of(old)?;
    if new < old && !args.shrink {
        return Err(anyhow!("{name} has {old} bytes: {new} would cut it off"))
            .hint(|| "--shrink does so; shrink the partitions and filesystems in it before")
            .exit_code(USAGE);
    }
    if new < old && args.preallocation != Preallocation::Off {
        return Err(anyhow!("a smaller image has no new part to set anything aside for")).exit_code(USAGE);
    }
    image.resize(new)?;
    set_aside(&image, ByteRange::between(old, new), args.preallocation)
        .with_context(|| format!("{name} has its new size, but nothing set aside for it"))?;
    image.close()?;
    ui.note(&format!("{name}: {} ({new} bytes), was {} ({old} bytes)", human_size(new), human_size(old)));
    Ok(ExitCode::SUCCESS)
}

fn set_aside(image: &ImageWriter, range: ByteRange, how: Preallocation) -> anyhow::Result<()> {
    match image.as_qcow2() {
        _ if how == Preallocation::Off || range.is_empty() => Ok(()),
        Some(qcow2) => Ok(qcow2.preallocate(range, how)?),
        None if how == Preallocation::Metadata => {
            Err(anyhow!("a raw image has no metadata")).hint(|| "take --preallocation falloc or full")
        }
        None => Ok(how.set_aside(image, range)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_absolute_or_differences() {
        let new = |text: &str| text.parse::<Change>().unwrap().of(10 << 20).ok();
        assert_eq!(new("1M"), Some(1 << 20));
        assert_eq!(new("+1M"), Some(11 << 20));
        assert_eq!(new("-1M"), Some(9 << 20));
        assert_eq!(new("1000"), Some(1024));
        assert_eq!(new("-11M"), None);
        assert!("+".parse::<Change>().is_err() && "".parse::<Change>().is_err());
    }
}
