//! What is in an initrd: archives one behind the other, the last of them packed.
//!
//! ```text
//! [cpio: early microcode] [zeroes] zstd, gzip, xz or lz4 ─► cpio: init, scripts, modules
//! cpio entry  "070701", 13 numbers of 8 hex digits: … [6] file size … [11] name size │ name, 0 │ pad 4 │ data │ pad 4
//! ```
//!
//! Linux kernel documentation, "initramfs buffer format". Only names are kept, and words for the kernel's command line (dracut.cmdline(7)).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};

use crate::error::{Context, bail};
use crate::kernel::{Modules, unpacked};

const NAME_LIMIT: u64 = 4096;
const NAMES_LIMIT: usize = 1 << 20;
/// Bytes of all names.
const ALL_NAMES_LIMIT: u64 = 32 << 20;
const HEADER: usize = 110;
/// Bytes of a file of words, and of all such files.
const WORDS_LIMIT: u64 = 64 << 10;
const ALL_WORDS_LIMIT: usize = 1 << 20;

/// The names of an initrd's files.
#[derive(Debug, Default)]
pub(super) struct Initrd {
    names: BTreeSet<String>,
    /// Files with words that it adds to the kernel's command line.
    words: BTreeMap<String, String>,
    /// How many bytes those have.
    len: u64,
}

/// What is told of each file in an archive: its name, and its content, of which may be left what is not needed.
pub(super) type Each<'a> = dyn FnMut(&str, &mut dyn Read) -> crate::Result<()> + 'a;

impl Initrd {
    /// Reads all archives of `from`, and tells `each` file.
    ///
    /// # Errors
    /// If it is packed in a way that is not read here, or ends early; whatever `each` says.
    pub(super) fn read(from: &mut (dyn BufRead + Send), each: &mut Each<'_>) -> crate::Result<Self> {
        let mut initrd = Self::default();
        loop {
            let head = head(from)?;
            if head.is_empty() {
                return Ok(initrd);
            }
            let mut whole = head.as_slice().chain(&mut *from);
            if head.starts_with(CPIO) {
                initrd.archive(&mut whole, each)?;
                continue;
            }
            let mut unpacked =
                BufReader::new(unpacked(&head, whole)?.context("it is packed in an unknown way")?);
            return initrd.unpacked(&mut unpacked, each);
        }
    }

    /// The modules that a kernel has at hand before it knows its root filesystem: its own, and those that `builtin`, the kernel's list,
    /// has.
    pub(super) fn modules(&self, builtin: &str) -> Modules {
        Modules::of(self.names.iter().map(String::as_str).chain(builtin.lines()))
    }

    /// The words that it adds to the kernel's command line by itself, with the file that has each.
    pub(super) fn words(&self) -> impl Iterator<Item = (&str, &str)> {
        let files = self.words.iter();
        files.flat_map(|(name, text)| text.split_whitespace().map(move |word| (name.as_str(), word)))
    }

    /// Whether there is a file whose path ends with `path`, whatever folder `/usr` is.
    pub(super) fn has_file(&self, path: &str) -> bool {
        self.names
            .iter()
            .any(|name| name.strip_suffix(path).is_some_and(|rest| rest.is_empty() || rest.ends_with('/')))
    }

    /// The releases of kernels whose modules are in it.
    pub(super) fn releases(&self) -> BTreeSet<&str> {
        let parts = self.names.iter().filter_map(|name| name.split_once("lib/modules/"));
        parts.filter_map(|(_, rest)| rest.split('/').next()).filter(|release| !release.is_empty()).collect()
    }

    fn unpacked(mut self, from: &mut impl BufRead, each: &mut Each<'_>) -> crate::Result<Self> {
        loop {
            let head = head(from).context("unpacking it")?;
            if head.is_empty() {
                return Ok(self);
            }
            self.archive(&mut head.as_slice().chain(&mut *from), each)?;
        }
    }

    /// One archive, up to its trailer.
    fn archive(&mut self, from: &mut impl Read, each: &mut Each<'_>) -> crate::Result<()> {
        loop {
            let mut header = [0; HEADER];
            from.read_exact(&mut header).context("an archive in it ends early")?;
            if !header.starts_with(b"070701") && !header.starts_with(b"070702") {
                bail!("an archive in it has no entry where one should be");
            }
            let size = number(&header, 6).context("an entry's size is no number")?;
            let name_size = number(&header, 11).context("an entry's name has no size")?;
            if name_size > NAME_LIMIT || self.names.len() > NAMES_LIMIT || self.len > ALL_NAMES_LIMIT {
                bail!("an archive in it has too long or too many names");
            }
            let mut name = Vec::new();
            from.take(name_size).read_to_end(&mut name)?;
            skip(from, padding(name_size.saturating_add(HEADER as u64)))?;
            let name: Vec<u8> = name.into_iter().take_while(|byte| *byte != 0).collect();
            let name = String::from_utf8_lossy(&name).into_owned();
            let mut content = from.take(size);
            if size > 0 && size <= WORDS_LIMIT && has_words(&name) {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                each(&name, &mut bytes.as_slice())?;
                let len: usize = self.words.values().map(String::len).sum();
                if len.saturating_add(bytes.len()) > ALL_WORDS_LIMIT {
                    bail!("it adds more to the kernel's command line than there is room for");
                }
                self.words.insert(name.clone(), String::from_utf8_lossy(&bytes).into_owned());
            } else if size > 0 {
                each(&name, &mut content)?;
            }
            let left = content.limit();
            skip(from, left.saturating_add(padding(size)))?;
            if name == "TRAILER!!!" {
                return Ok(());
            }
            self.len = self.len.saturating_add(name.len() as u64);
            self.names.insert(name);
        }
    }
}

/// Whether a file has words that dracut's init adds to the kernel's command line (dracut.cmdline(7), "DESCRIPTION").
fn has_words(name: &str) -> bool {
    let name = name.trim_start_matches("./").trim_start_matches('/');
    name == "etc/cmdline" || name.strip_prefix("etc/cmdline.d/").is_some_and(|file| file.ends_with(".conf"))
}

/// What an archive begins with.
pub(super) const CPIO: &[u8] = b"07070";
/// So many bytes tell how something is packed.
const HEAD: u64 = 6;

/// The first bytes behind the zeroes that archives are padded with, up to six; none at the end.
fn head(from: &mut (impl BufRead + ?Sized)) -> std::io::Result<Vec<u8>> {
    loop {
        let ready = from.fill_buf()?;
        let zeroes = ready.iter().take_while(|byte| **byte == 0).count();
        let (is_end, is_all) = (ready.is_empty(), zeroes == ready.len());
        from.consume(zeroes);
        if is_end || !is_all {
            let mut head = Vec::new();
            from.take(HEAD).read_to_end(&mut head)?;
            return Ok(head);
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

fn skip(from: &mut impl Read, count: u64) -> crate::Result<()> {
    let skipped = std::io::copy(&mut from.take(count), &mut std::io::sink())?;
    if skipped != count {
        bail!("an archive in it ends early");
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    pub(in super::super) fn read(bytes: &[u8]) -> crate::Result<Initrd> {
        Initrd::read(&mut &*bytes, &mut |_, _| Ok(()))
    }

    /// An archive of files with little in them, as cpio(1) writes it.
    pub(in super::super) fn archive(names: &[&str]) -> Vec<u8> {
        let content = |name: &str| if name.ends_with(".ko") { "module" } else { "" };
        archive_of(&names.iter().map(|name| (*name, content(name))).collect::<Vec<_>>())
    }

    /// An archive of these files.
    pub(in super::super) fn archive_of(files: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, content) in files.iter().chain(&[("TRAILER!!!", "")]) {
            let len = content.len();
            write!(bytes, "070701{:08x}{:08x}{:048x}", 1, 0o100_644, 0).unwrap();
            bytes.truncate(bytes.len() - 16);
            write!(bytes, "{len:08x}{:032x}{:08x}{:08x}", 0, name.len() + 1, 0).unwrap();
            write!(bytes, "{name}\0").unwrap();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend(content.as_bytes());
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
            let initrd = read(&bytes).unwrap();
            assert_eq!(initrd.names.len(), 3);
            let modules = initrd.modules("kernel/drivers/virtio/virtio-pci.ko.xz\n");
            assert!(modules.has("virtio_blk") && modules.has("virtio_pci") && !modules.has("virtio_scsi"));
        }
    }

    #[test]
    fn words_for_the_command_line_are_kept_and_told() {
        let files =
            [("etc/cmdline.d/95root.conf", "root=/dev/sda1 \n ro"), ("etc/other.conf", "root=/dev/sdb1")];
        let bytes = archive_of(&files);
        let mut told = Vec::new();
        let initrd = Initrd::read(&mut &*bytes, &mut |name, content| {
            let mut text = String::new();
            content.read_to_string(&mut text)?;
            told.push((name.to_owned(), text));
            Ok(())
        });
        let words = |word: &'static str| ("etc/cmdline.d/95root.conf", word);
        assert_eq!(initrd.unwrap().words().collect::<Vec<_>>(), [words("root=/dev/sda1"), words("ro")]);
        assert_eq!(told, files.map(|(name, text)| (name.to_owned(), text.to_owned())));
        let many = "x".repeat(WORDS_LIMIT as usize);
        let names: Vec<String> = (0..20).map(|number| format!("etc/cmdline.d/{number}.conf")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), many.as_str())).collect();
        assert!(
            read(&archive_of(&files)).unwrap_err().to_string().contains("more to the kernel's command line")
        );
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
            let initrd = read(&packed).unwrap();
            assert_eq!(initrd.names.iter().collect::<Vec<_>>(), ["init", "virtio_blk.ko"]);
            // Two streams, one behind the other, are one.
            assert_eq!(read(&[packed.clone(), packed.clone()].concat()).unwrap().names.len(), 2);
            for cut in [10, 60, packed.len() - 20] {
                assert!(read(&packed[..cut]).is_err(), "{cut}");
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
            let error = format!("{:#}", read(bytes).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }
}
