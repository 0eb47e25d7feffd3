//! What is in an initrd: archives one behind the other, the last of them packed.
//!
//! ```text
//! [cpio: early microcode] [zeroes] zstd, gzip, xz or lz4 ─► cpio: init, scripts, modules
//! cpio entry  "070701", 13 numbers of 8 hex digits: … [6] file size … [11] name size │ name, 0 │ pad 4 │ data │ pad 4
//! ```
//!
//! Linux kernel documentation, "initramfs buffer format". Only names are kept.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod lz4;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, bail};
use lzma_rust2::XzReader;

/// More than any initrd unpacks to.
const UNPACKED_LIMIT: u64 = 4 << 30;
/// Memory for what is packed with xz: dictionaries of its level 9 have 64 MiB.
const XZ_LIMIT_KIB: u32 = 256 << 10;
const NAME_LIMIT: u64 = 4096;
const NAMES_LIMIT: usize = 1 << 20;
const HEADER: usize = 110;

/// The names of an initrd's files.
#[derive(Debug, Default)]
pub(super) struct Initrd {
    names: BTreeSet<String>,
}

impl Initrd {
    /// Reads all archives of `bytes`.
    ///
    /// # Errors
    /// If it is packed in a way that is not read here, or ends early.
    pub(super) fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        let mut initrd = Self::default();
        let mut rest = bytes;
        loop {
            let zeroes = rest.iter().take_while(|byte| **byte == 0).count();
            rest = rest.get(zeroes..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(initrd);
            }
            if rest.starts_with(b"07070") {
                // A slice is read from its front: what is left is behind the archive.
                initrd.archive(&mut rest)?;
                continue;
            }
            return initrd.packed(rest);
        }
    }

    fn packed(mut self, bytes: &[u8]) -> anyhow::Result<Self> {
        let unpacked: Box<dyn Read> = match bytes {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::new(bytes)?),
            [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
            [0xfd, b'7', b'z', b'X', ..] => Box::new(XzReader::new_mem_limit(bytes, true, XZ_LIMIT_KIB)),
            [0x02, 0x21, 0x4c, 0x18, ..] => Box::new(lz4::Reader::new(bytes)),
            _ => bail!("it is packed in an unknown way"),
        };
        let mut unpacked = BufReader::new(unpacked.take(UNPACKED_LIMIT));
        loop {
            // Archives are padded with zeroes up to the next one.
            let ready = unpacked.fill_buf().context("unpacking it")?;
            let zeroes = ready.iter().take_while(|byte| **byte == 0).count();
            unpacked.consume(zeroes);
            if zeroes == 0 {
                if unpacked.fill_buf()?.is_empty() {
                    return Ok(self);
                }
                self.archive(&mut unpacked)?;
            }
        }
    }

    /// One archive, up to its trailer.
    fn archive(&mut self, from: &mut impl Read) -> anyhow::Result<()> {
        loop {
            let mut header = [0; HEADER];
            from.read_exact(&mut header).context("an archive in it ends early")?;
            if !header.starts_with(b"070701") && !header.starts_with(b"070702") {
                bail!("an archive in it has no entry where one should be");
            }
            let size = number(&header, 6).context("an entry's size is no number")?;
            let name_size = number(&header, 11).context("an entry's name has no size")?;
            if name_size > NAME_LIMIT || self.names.len() > NAMES_LIMIT {
                bail!("an archive in it has too long or too many names");
            }
            let mut name = Vec::new();
            from.take(name_size).read_to_end(&mut name)?;
            skip(from, padding(name_size.saturating_add(HEADER as u64)))?;
            let name: Vec<u8> = name.into_iter().take_while(|byte| *byte != 0).collect();
            let name = String::from_utf8_lossy(&name).into_owned();
            skip(from, size.saturating_add(padding(size)))?;
            if name == "TRAILER!!!" {
                return Ok(());
            }
            self.names.insert(name);
        }
    }
}

/// The number in field `index` of a header.
fn number(header: &[u8; HEADER], index: usize) -> Option<u64> {
    let at = index.checked_mul(8)?.checked_add(6)?;
    let digits = std::str::from_utf8(header.get(at..at.checked_add(8)?)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

fn padding(len: u64) -> u64 {
    len.next_multiple_of(4).saturating_sub(len)
}

fn skip(from: &mut impl Read, count: u64) -> anyhow::Result<()> {
    let skipped = std::io::copy(&mut from.take(count), &mut std::io::sink())?;
    if skipped != count {
        bail!("an archive in it ends early");
    }
    Ok(())
}

/// The modules that a kernel has at hand before it knows its root filesystem.
#[derive(Debug)]
pub(super) struct Modules {
    names: BTreeSet<String>,
}

impl Modules {
    /// Those of `initrd`, and those that `builtin`, the kernel's own list, has.
    pub(super) fn new(initrd: &Initrd, builtin: &str) -> Self {
        Self::of(initrd.names.iter().map(String::as_str).chain(builtin.lines()))
    }

    /// Those whose files have these paths.
    pub(super) fn of<'a>(paths: impl Iterator<Item = &'a str>) -> Self {
        Self { names: paths.filter_map(module).collect() }
    }

    /// Whether `name` is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

/// The module's name in the path of its file.
fn module(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let (name, packing) = name.split_once(".ko")?;
    matches!(packing, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    /// An archive of empty files, as cpio(1) writes it.
    pub(in super::super) fn archive(names: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for name in names.iter().chain(&["TRAILER!!!"]) {
            let content: &[u8] = if name.ends_with(".ko") { b"module" } else { b"" };
            let len = content.len();
            write!(bytes, "070701{:08x}{:08x}{:048x}", 1, 0o100_644, 0).unwrap();
            bytes.truncate(bytes.len() - 16);
            write!(bytes, "{len:08x}{:032x}{:08x}{:08x}", 0, name.len() + 1, 0).unwrap();
            write!(bytes, "{name}\0").unwrap();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn packed_and_plain_archives_are_read_one_behind_the_other() {
        let early = archive(&["kernel/x86/microcode/GenuineIntel.bin"]);
        let main = archive(&["init", "usr/lib/modules/6/kernel/drivers/block/virtio_blk.ko"]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&main).unwrap();
        for packed in [zstd::encode_all(&main[..], 1).unwrap(), gzip.finish().unwrap(), main.clone()] {
            let mut bytes = early.clone();
            bytes.extend([0; 512]);
            bytes.extend(packed);
            let initrd = Initrd::read(&bytes).unwrap();
            assert_eq!(initrd.names.len(), 3);
            let modules = Modules::new(&initrd, "kernel/drivers/virtio/virtio-pci.ko.xz\n");
            assert!(modules.has("virtio_blk") && modules.has("virtio_pci") && !modules.has("virtio_scsi"));
        }
    }

    /// An archive of `init` and `virtio_blk.ko`, as `lz4 -l` and `xz --check=crc32 -9` pack it.
    const PACKED: [&str; 2] = [
        "02214c18680000007230373037303130010001080042383161340f000d02000120000f0200201435340069696e69740000740010321c0\
         00f74004010655800000200da76697274696f5f626c6b2e6b6f7c000102000f7c004011625900f002303030545241494c4552212121\
         00000000",
        "fd377a585a0000016922de36020021011c00000010cf58cce0016b00455d00180ddd04639c721b76a1c028f1752eabf3424d8b77d7dbb\
         aa140b55c52071d99257b9ec1ad33e78b920027d8d3a5627c64ab91edd52fded8ec41f980f5df7402c4accd2c000000000045808e6d\
         00015dec02000000a12d68343e300d8b020000000001595a",
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[test]
    fn what_other_programs_pack_is_read() {
        for packed in PACKED.map(bytes) {
            let initrd = Initrd::read(&packed).unwrap();
            assert_eq!(initrd.names.iter().collect::<Vec<_>>(), ["init", "virtio_blk.ko"]);
            // Two streams, one behind the other, are one.
            assert_eq!(Initrd::read(&[packed.clone(), packed.clone()].concat()).unwrap().names.len(), 2);
            for cut in [10, 60, packed.len() - 20] {
                assert!(Initrd::read(&packed[..cut]).is_err(), "{cut}");
            }
        }
    }

    #[test]
    fn what_is_no_initrd_is_told() {
        let whole = archive(&["init"]);
        for (bytes, words) in [
            (&whole[..100], "ends early"),
            (&whole[..whole.len() - 120], "ends early"),
            (b"\xfd7zXZ\0", "unpacking it"),
            (b"\x02\x21\x4c\x18\xff\0\0\0", "early"),
            (b"text", "unknown way"),
        ] {
            let error = format!("{:#}", Initrd::read(bytes).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }
}
