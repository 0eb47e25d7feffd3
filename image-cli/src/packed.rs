//! Files that may be compressed: told by how they begin, and unpacked as their own programs do, whatever number of members they have.
//!
//! ```text
//! 1f 8b 08          gzip, RFC 1952               28 b5 2f fd, 5? 2a 4d 18    zstd, RFC 8878; a frame to skip
//! fd 7zXZ 00        xz, The .xz File Format      BZh1 … BZh9, 31 41 59 26 53 59   bzip2
//! ```
//! What comes out is not believed to end: it has the room that there is, and no more.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use crate::error::{Context, bail};
use crate::monitor::Monitor;
use crate::room::room;
use crate::size::Size;

/// Read at once, in bytes.
const PIECE: usize = 1 << 20;
/// Zeroes of this many bytes become holes.
const HOLE: usize = 64 << 10;
/// An xz that needs more memory to be unpacked is none that `xz -9` makes, in KiB.
const XZ_MEMORY: u32 = 256 << 10;
/// No disk is larger, in bytes.
const LARGEST: u64 = 16 << 40;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Xz,
    Zstd,
    Bzip2,
}

impl Packing {
    /// How what begins like this is compressed; `None` if it is not.
    pub(crate) fn of(begin: &[u8]) -> Option<Self> {
        Some(match begin {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => Self::Bzip2,
            _ => return None,
        })
    }

    /// What `packed` unpacks to.
    ///
    /// # Errors
    /// If the decoder has no memory.
    pub(crate) fn unpack<'a>(self, packed: impl BufRead + 'a) -> std::io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Xz => Box::new(XzReader::new_mem_limit(packed, true, XZ_MEMORY)),
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(packed)?),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(packed)),
        })
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        }
    }
}

/// How the file `path` is compressed.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn packing_of(path: &Path) -> crate::Result<Option<Packing>> {
    let mut begin = Vec::new();
    File::open(path)
        .and_then(|file| file.take(16).read_to_end(&mut begin))
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(Packing::of(&begin))
}

/// Unpacks the file `packed` into the new file `path`, in which zeroes are holes.
///
/// # Errors
/// If it is damaged, or becomes larger than there is room for.
pub(crate) fn unpack_file(
    packed: &Path,
    packing: Packing,
    path: &Path,
    monitor: Monitor<'_>,
) -> crate::Result<()> {
    let reading = || format!("unpacking {} ({})", packed.display(), packing.name());
    let file = File::open(packed).with_context(reading)?;
    let watch = monitor.bytes("unpacking", file.metadata().with_context(reading)?.len());
    let counted = Counted { file, watch: &watch };
    let mut content = packing.unpack(BufReader::with_capacity(PIECE, counted)).with_context(reading)?;
    let writing = || format!("writing {}", path.display());
    let out = File::create_new(path).with_context(writing)?;
    let whole_room = room(&out).with_context(writing)?;
    let mut left = whole_room;
    let mut buffer = vec![0; PIECE];
    let mut at = 0_u64;
    loop {
        monitor.check()?;
        let count = fill(&mut content, &mut buffer).with_context(reading)?;
        if count == 0 {
            break;
        }
        for piece in buffer.get(..count).unwrap_or_default().chunks(HOLE) {
            let len = piece.len() as u64;
            if piece.iter().any(|byte| *byte != 0) {
                left = match left.checked_sub(len) {
                    Some(left) => left,
                    None => bail!(
                        "it unpacks to more than {}, which is all the room there is (No space left on device)",
                        Size(whole_room)
                    ),
                };
                out.write_all_at(piece, at).with_context(writing)?;
            }
            at = at.saturating_add(len);
        }
        if at > LARGEST {
            bail!("it unpacks to more than {}, and no disk is that large", Size(LARGEST));
        }
    }
    out.set_len(at).with_context(writing)
}

/// As much as there is, up to the end of `buffer`.
fn fill(content: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0_usize;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match content.read(rest) {
            Ok(0) => break,
            Ok(count) => filled = filled.saturating_add(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A file whose bytes are counted as they are read.
struct Counted<'a> {
    file: File,
    watch: &'a crate::monitor::Bytes<'a>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buf)?;
        self.watch.add(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::monitor::silent;

    /// What the real `program` makes of `content`; `None` where there is none.
    fn packed_by(program: &str, content: &[u8]) -> Option<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("content");
        std::fs::write(&path, content).unwrap();
        let input = File::open(&path).unwrap();
        let made = Command::new(program).arg("-c").stdin(input).stderr(Stdio::null()).output().ok()?;
        made.status.success().then_some(made.stdout)
    }

    fn unpacked(packed: &[u8]) -> crate::Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
        std::fs::write(&from, packed).unwrap();
        let packing = packing_of(&from)?.expect("it is packed");
        unpack_file(&from, packing, &to, silent())?;
        Ok(std::fs::read(&to).unwrap())
    }

    #[test]
    fn every_member_is_unpacked_as_the_programs_themselves_do() {
        let one: Vec<u8> = (0..3 << 20_u32).map(|at| (at >> 12) as u8).collect();
        let two = [vec![0; 2 << 20], b"the end".to_vec()].concat();
        let mut seen = 0;
        for program in ["gzip", "xz", "zstd", "bzip2"] {
            let (Some(first), Some(second)) = (packed_by(program, &one), packed_by(program, &two)) else {
                continue;
            };
            seen += 1;
            let both = [first.clone(), second.clone()].concat();
            assert!(unpacked(&first).unwrap() == one, "{program}: one member");
            assert!(
                unpacked(&both).unwrap() == [one.clone(), two.clone()].concat(),
                "{program}: two members"
            );
            assert!(unpacked(&both[..both.len() - 9]).is_err(), "{program}: cut in the second member");
            let mut damaged = both.clone();
            let at = first.len() / 2;
            damaged[at] ^= 0x10;
            assert!(unpacked(&damaged).is_err(), "{program}: damaged");
        }
        assert!(seen > 0);
    }

    #[test]
    fn what_is_not_packed_is_told_and_zeroes_are_holes() {
        for plain in
            [&b""[..], b"QFI\xfb\0\0\0\x03", &[0x1f, 0x8b], b"BZh9 is no archive", &[0xeb, 0x63, 0x90]]
        {
            assert_eq!(Packing::of(plain), None, "{plain:?}");
        }
        let Some(packed) = packed_by("gzip", &vec![0; 64 << 20]) else { return };
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
        std::fs::write(&from, packed).unwrap();
        unpack_file(&from, Packing::Gzip, &to, silent()).unwrap();
        use std::os::unix::fs::MetadataExt;
        let found = to.metadata().unwrap();
        assert_eq!((found.len(), found.blocks()), (64 << 20, 0));
    }
}
