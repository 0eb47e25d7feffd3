//! ISO 9660, written whole and in memory: the small read-only disks that hand a virtual machine its data.
//!
//! ```text
//! sector  0 ┬ system area, zeroes
//!        16 ├ primary volume descriptor ───────────► root ─► directories, names cut to ISO 9660,
//!           │                                                 the real ones beside them (Rock Ridge)
//!        17 ├ supplementary volume descriptor ─────► root ─► directories, names in UCS-2 (Joliet)
//!        18 ├ terminator                                                 │
//!        19 ├ path tables: little and big endian, for each of the two    │
//!           ├ the directories of both                                    ▼
//!           └ files, each from a sector's start ◄── both point to the same extents
//! ```
//!
//! ECMA-119 (ISO 9660), IEEE P1281 (SUSP 1.10) and P1282 (Rock Ridge 1.10), and Microsoft's Joliet
//! specification. Linux and cloud-init read the Rock Ridge names, Windows the Joliet ones.
//!
//! Nothing depends on the time or the machine: dates are "not specified" (ECMA-119, 8.4.26.1 and 9.1.5),
//! so the same files make the same bytes.

mod directory;
mod sector;

use directory::{Hierarchy, Names};
use sector::{Extent, SECTOR, at, both_u16, both_u32, sectors};

use crate::error::{Error, Result};

/// The first volume descriptor's sector (ECMA-119, 6.2.1).
const FIRST_DESCRIPTOR: u32 = 16;
/// Sectors before the path tables: the system area, two descriptors and the terminator.
const DESCRIPTORS_END: u32 = FIRST_DESCRIPTOR + 3;
/// Directories below each other, the root included (ECMA-119, 6.8.2.1).
const DEPTH_LIMIT: usize = 8;
/// Bytes in a name: what UCS-2 and a directory record hold beside everything else (Joliet, "file names").
const NAME_LIMIT: usize = 64;
/// Bytes in all files: these disks are small, and everything is in memory.
const CONTENT_LIMIT: usize = 64 << 20;

/// The rules for what goes into an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IsoRule {
    /// The volume identifier has 1 to 16 printable ASCII characters, so that both descriptors can hold it.
    #[error("volume name {0:?} does not have 1 to 16 printable ASCII characters")]
    VolumeName(String),
    /// A name has 1 to 64 bytes of printable ASCII without `/ \ : ; * ?`.
    #[error("{0:?} is not a path of names with 1 to 64 printable ASCII characters other than / \\ : ; * ?")]
    Name(String),
    /// Eight levels of directories at most.
    #[error("{0:?} lies more than eight levels deep")]
    Depth(String),
    /// Two files of one directory need names that differ in their first letters and digits.
    #[error("two names in one directory become {0:?} when cut to ISO 9660")]
    SameName(String),
    /// A name is a file's or a directory's.
    #[error("{0:?} is both a file and a directory")]
    FileAndDirectory(String),
    /// 64 MiB of content, 4096 files.
    #[error("more than 64 MiB or 4096 files")]
    TooLarge,
}

/// Makes an image named `volume` of `files`: paths with `/` between names, none in front, and their content.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) with the [`IsoRule`] that was broken.
pub fn image(volume: &str, files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    build(volume, files).map_err(Error::invalid)
}

fn build(volume: &str, files: &[(&str, &[u8])]) -> Result<Vec<u8>, IsoRule> {
    if volume.is_empty() || volume.len() > 16 || !volume.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(IsoRule::VolumeName(volume.to_owned()));
    }
    let content: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    if content > CONTENT_LIMIT || files.len() > 4096 {
        return Err(IsoRule::TooLarge);
    }
    let mut primary = Hierarchy::new(files, Names::RockRidge)?;
    let mut joliet = Hierarchy::new(files, Names::Joliet)?;
    let mut next = DESCRIPTORS_END;
    for hierarchy in [&mut primary, &mut joliet] {
        next = hierarchy.place(next);
    }
    let mut extents = Vec::with_capacity(files.len());
    for (_, bytes) in files {
        extents.push(Extent { sector: next, len: bytes.len() as u32 });
        next += sectors(bytes.len());
    }
    let mut image = vec![0; next as usize * SECTOR];
    descriptor(at(&mut image, FIRST_DESCRIPTOR), volume, &primary, next);
    descriptor(at(&mut image, FIRST_DESCRIPTOR + 1), volume, &joliet, next);
    at(&mut image, FIRST_DESCRIPTOR + 2)[..7].copy_from_slice(b"\xffCD001\x01");
    primary.write(&mut image, &extents);
    joliet.write(&mut image, &extents);
    for ((_, bytes), extent) in files.iter().zip(&extents) {
        at(&mut image, extent.sector)[..bytes.len()].copy_from_slice(bytes);
    }
    Ok(image)
}

/// Fills a primary or supplementary volume descriptor (ECMA-119, 8.4 and 8.5).
fn descriptor(sector: &mut [u8], volume: &str, hierarchy: &Hierarchy<'_>, size: u32) {
    let names = hierarchy.names();
    let mut put = |offset: usize, bytes: &[u8]| sector[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, &[names.descriptor_type()]);
    put(1, b"CD001\x01");
    // Identifiers that are not given are filled with spaces, in the character set of the volume.
    let text = |text: &str, len: usize| names.padded(text, len);
    put(8, &text("", 32));
    put(40, &text(volume, 32));
    put(80, &both_u32(size));
    if names == Names::Joliet {
        // UCS-2 level 3.
        put(88, b"%/E");
    }
    put(120, &both_u16(1));
    put(124, &both_u16(1));
    put(128, &both_u16(SECTOR as u16));
    put(132, &both_u32(hierarchy.path_table_len()));
    put(140, &hierarchy.path_table(false).to_le_bytes());
    put(148, &hierarchy.path_table(true).to_be_bytes());
    put(156, &directory::record(&[0], hierarchy.root(), true, &[]));
    for (offset, len) in [(190, 128), (318, 128), (446, 128), (574, 128), (702, 37), (739, 37), (776, 37)] {
        put(offset, &text("", len));
    }
    // Creation, modification, expiration, effective: sixteen zero digits and a zero offset say "not specified".
    for offset in [813, 830, 847, 864] {
        put(offset, b"0000000000000000\0");
    }
    put(881, &[1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(files: &[(&str, &[u8])]) -> IsoRule {
        build("cidata", files).unwrap_err()
    }

    #[test]
    fn descriptors_lie_where_the_standard_says() {
        let image = image("cidata", &[("user-data", b"#!/bin/sh\n"), ("meta-data", b"")]).unwrap();
        assert_eq!(image.len() % SECTOR, 0);
        assert!(image[..16 * SECTOR].iter().all(|byte| *byte == 0));
        let primary = &image[16 * SECTOR..];
        assert_eq!(&primary[..7], b"\x01CD001\x01");
        assert_eq!(&primary[40..72], b"cidata                          ");
        assert_eq!(primary[80..84], ((image.len() / SECTOR) as u32).to_le_bytes());
        assert_eq!(primary[84..88], ((image.len() / SECTOR) as u32).to_be_bytes());
        assert_eq!(primary[156], 34, "the root's record");
        let joliet = &image[17 * SECTOR..];
        assert_eq!(&joliet[..7], b"\x02CD001\x01");
        assert_eq!(&joliet[40..52], b"\0c\0i\0d\0a\0t\0a");
        assert_eq!(&image[18 * SECTOR..18 * SECTOR + 7], b"\xffCD001\x01");
        let content = image.windows(10).filter(|window| window == b"#!/bin/sh\n").count();
        assert_eq!(content, 1, "both hierarchies share the extents");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(build("", &[]).unwrap_err(), IsoRule::VolumeName(String::new()));
        assert!(matches!(build("seventeen letters", &[]).unwrap_err(), IsoRule::VolumeName(_)));
        for name in ["", "/a", "a//b", "a/", "..", "a/./b", "a;1", "ä", "a\nb", &"x".repeat(65)] {
            assert_eq!(rule(&[(name, b"")]), IsoRule::Name(name.to_owned()), "{name:?}");
        }
        assert_eq!(rule(&[("user-data", b""), ("user_data", b"")]), IsoRule::SameName("USER_DATA.".into()));
        assert_eq!(rule(&[("a", b""), ("a/b", b"")]), IsoRule::FileAndDirectory("a".into()));
        assert_eq!(rule(&[("a/b", b""), ("a", b"")]), IsoRule::FileAndDirectory("a".into()));
        assert!(build("v", &[("1/2/3/4/5/6/7/file", b"")]).is_ok());
        assert_eq!(rule(&[("1/2/3/4/5/6/7/8/file", b"")]), IsoRule::Depth("1/2/3/4/5/6/7/8/file".into()));
        let large = vec![0; CONTENT_LIMIT + 1];
        assert_eq!(rule(&[("a", &large)]), IsoRule::TooLarge);
    }

    #[test]
    fn the_same_files_make_the_same_bytes_in_any_number_of_directories() {
        let names: Vec<String> =
            (0..300).map(|n| format!("folder{}/some-file-number-{n:03}.json", n % 7)).collect();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
        let first = image("config-2", &files).unwrap();
        assert_eq!(first, image("config-2", &files).unwrap());
        for name in &names {
            assert!(first.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
        }
    }
}
