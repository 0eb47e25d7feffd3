//! What probing cannot know, and writing must not get wrong: whether a file is an image or a disk that looks like one.
//!
//! A guest can write the header of an image onto its raw disk. Whoever then takes the disk for that image writes
//! clusters over it, or opens what the guest named. So where nobody said what a file is, it is not written if it
//! could be both, and a disk that was taken for raw never gets the first sector of anything else.

use super::probe::{PROBE_LEN, probe_start};
use super::{Format, ProtocolNode};
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, ErrorKind, Result};

/// Why a file whose format was probed is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProbeRule {
    /// It could be a disk too.
    #[error(
        "it looks like {format}, and has {trace} at {offset:#x} as a raw disk has: use -f raw or -f {format}"
    )]
    Ambiguous {
        /// What it was taken for.
        format: Format,
        /// What a disk has.
        trace: &'static str,
        /// Where, in bytes.
        offset: u64,
    },
    /// It would be taken for something else the next time.
    #[error(
        "its format was probed as raw, and these bytes at its start would make it look like something else: use -f raw"
    )]
    Disguise,
}

impl From<ProbeRule> for Error {
    fn from(source: ProbeRule) -> Self {
        Self::new(ErrorKind::Refused, source)
    }
}

/// What disks have that start with a partition table or a filesystem: where, which bytes, what.
const TRACES: [(u64, &[u8], &str); 7] = [
    (0x1fe, b"\x55\xaa", "the signature of an MBR or boot sector"),
    (0x200, b"EFI PART", "a GPT"),
    (0x1000, b"EFI PART", "a GPT"),
    (0x438, b"\x53\xef", "the superblock of ext4"),
    (0x8001, b"CD001", "the descriptor of ISO 9660"),
    (0xff6, b"SWAPSPACE2", "the signature of swap space"),
    (0x10040, b"_BHRfS_M", "the superblock of btrfs"),
];

/// Refuses a file that was probed as `format`, which is not raw, if it could be a raw disk as well.
///
/// # Errors
/// [`ProbeRule::Ambiguous`]; whatever reading says.
pub(super) fn refuse_ambiguous(file: &dyn BlockRead, format: Format) -> Result<()> {
    for (offset, bytes, trace) in TRACES {
        let place = ByteRange::new(offset, bytes.len() as u64)?;
        if place.end() > file.size() {
            continue;
        }
        let mut there = vec![0; bytes.len()];
        file.read_at(&mut there, offset).doing(|| "looking for traces of a raw disk")?;
        if there == bytes {
            return Err(ProbeRule::Ambiguous { format, trace, offset }.into());
        }
    }
    Ok(())
}

/// Refuses `buf` at `offset` of a file that was taken for raw, if it would not be any more.
///
/// # Errors
/// [`ProbeRule::Disguise`]; whatever reading says.
pub(super) fn refuse_disguise(file: &ProtocolNode, buf: &[u8], offset: u64) -> Result<()> {
    if offset >= PROBE_LEN || buf.is_empty() {
        return Ok(());
    }
    let mut start = vec![0; file.size().min(PROBE_LEN) as usize];
    file.read_at(&mut start, 0).doing(|| "probing the format")?;
    for (to, from) in start.iter_mut().skip(offset as usize).zip(buf) {
        *to = *from;
    }
    match probe_start(&start, file.probing()) {
        Ok(Format::Raw) => Ok(()),
        _ => Err(ProbeRule::Disguise.into()),
    }
}
