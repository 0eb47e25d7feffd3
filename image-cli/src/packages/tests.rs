//! Trees of files in memory, headers and databases made by hand, and bytes changed at random.
//!
//! ```text
//! header ─► ndb, berkeley, sqlite: a file with such headers ─► Files ─► installed
//!                                                         └─► flipped, cut ─► installed: an error, or less, but it ends
//! ```

mod berkeley;
mod ndb;
mod sqlite;
mod texts;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::*;

/// Files by path, and how many of their bytes were asked for.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: BTreeMap<String, Vec<u8>>,
    read: AtomicU64,
}

struct Bytes<'a>(&'a [u8], &'a AtomicU64);

impl Content for Bytes<'_> {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Cause> {
        self.1.fetch_add(buf.len() as u64, Ordering::Relaxed);
        buf.copy_from_slice(&self.0[offset as usize..][..buf.len()]);
        Ok(())
    }
}

impl Source for Files {
    fn open(&self, path: &str) -> Result<Option<Box<dyn Content + '_>>, Cause> {
        match self.files.get(path) {
            Some(bytes) if bytes == b"unreadable" => Err("the disk is broken".into()),
            Some(bytes) => Ok(Some(Box::new(Bytes(bytes, &self.read)))),
            None => Ok(None),
        }
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Cause> {
        let beneath = self.files.keys().filter_map(|file| file.strip_prefix(path)?.strip_prefix('/'));
        let mut names: Vec<_> = beneath.map(|rest| rest.split('/').next().unwrap().to_owned()).collect();
        names.dedup();
        names.reverse();
        Ok(names)
    }
}

impl Files {
    pub(super) fn with(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), bytes.into());
        self
    }

    /// What is installed: `name version architecture` of each.
    pub(super) fn told(&self) -> Vec<String> {
        let packages = installed(self).unwrap_or_else(|error| panic!("{}", chain(&error)));
        packages.iter().map(|p| format!("{} {} {}", p.name, p.version, p.architecture)).collect()
    }

    /// Why nothing can be told.
    pub(super) fn error(&self) -> String {
        chain(&installed(self).unwrap_err())
    }

    /// Changes the files at random in `rounds` ways: each ends, and reads no more than `times` the files.
    pub(super) fn survive(&self, rounds: u64, times: u64) {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let paths: Vec<_> = self.files.iter().filter(|file| !file.1.is_empty()).map(|file| file.0).collect();
        for round in 0..rounds {
            let mut files = Self { files: self.files.clone(), read: AtomicU64::new(0) };
            let bytes = files.files.get_mut(paths[random.below(paths.len())]).unwrap();
            if round % 4 == 0 {
                bytes.truncate(random.below(bytes.len()));
            } else {
                for _ in 0..=random.below(6) {
                    // The starts of pages have more that leads elsewhere.
                    let at = match random.below(2) {
                        0 => random.below(bytes.len()),
                        _ => (random.below(bytes.len()) & !0x1ff | random.below(64)).min(bytes.len() - 1),
                    };
                    bytes[at] = match random.below(3) {
                        0 => bytes[at] ^ 1 << random.below(8),
                        1 => random.below(256) as u8,
                        _ => [0, 0xff, 1, 0x80][random.below(4)],
                    };
                }
            }
            let size: usize = files.files.values().map(Vec::len).sum();
            let _ = installed(&files);
            assert!(files.read.load(Ordering::Relaxed) <= size as u64 * times, "round {round}");
        }
    }
}

/// Numbers that are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

fn chain(error: &DatabaseError) -> String {
    let mut text = error.to_string();
    let mut link = std::error::Error::source(error);
    while let Some(cause) = link {
        text += &format!(": {cause}");
        link = cause.source();
    }
    text
}

/// A header of these strings by tag, with a region and its checksum; `filler` makes it longer.
pub(super) fn header(strings: &[(u32, &str)], epoch: Option<u32>, filler: usize) -> Vec<u8> {
    let mut tags = Vec::new();
    let mut data = Vec::new();
    let tag = |tag: u32, kind: u32, place: usize, count: u32| {
        [tag, kind, place as u32, count].map(u32::to_be_bytes).concat()
    };
    if let Some(number) = epoch {
        tags.push(tag(1003, 4, data.len(), 1));
        data.extend(number.to_be_bytes());
    }
    for (number, text) in strings {
        tags.push(tag(*number, 6, data.len(), 1));
        data.extend(text.bytes().chain([0]));
    }
    tags.push(tag(1005, 6, data.len(), 1));
    data.extend((0..filler).map(|at| b'a' + (at % 23) as u8).chain([0]));
    tags.insert(0, tag(63, 7, data.len(), 16));
    let back = (tags.len() as u32 * 16).wrapping_neg();
    data.extend([63, 7, back, 16].map(u32::to_be_bytes).concat());
    let mut hashed = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
    hashed.extend([tags.len() as u32, data.len() as u32].map(u32::to_be_bytes).concat());
    hashed.extend(tags.concat().iter().chain(&data));
    let digest: String = Sha256::digest(&hashed).iter().map(|byte| format!("{byte:02x}")).collect();
    tags.push(tag(273, 6, data.len(), 1));
    data.extend(digest.bytes().chain([0]));
    let start = [tags.len() as u32, data.len() as u32].map(u32::to_be_bytes).concat();
    [start, tags.concat(), data].concat()
}

/// The header of package `number` of those that databases are made of, and what is told of it.
pub(super) fn numbered(number: u32, filler: usize) -> (Vec<u8>, String) {
    let (name, version) = (format!("p{number:04}"), format!("1.{number}"));
    let strings = [(1000, &name[..]), (1001, &version), (1002, "3.el9"), (1022, "x86_64")];
    let epoch = number.is_multiple_of(3).then_some(number);
    let told_epoch = epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
    (header(&strings, epoch, filler), format!("{name} {told_epoch}{version}-3.el9 x86_64"))
}

/// The header of a key.
pub(super) fn key() -> Vec<u8> {
    header(&[(1000, "gpg-pubkey"), (1001, "1"), (1002, "2")], None, 100)
}

#[test]
fn a_tree_without_databases_has_no_packages() {
    assert!(Files::default().told().is_empty());
    assert!(os_release(&Files::default()).unwrap().is_none());
}

#[test]
fn packages_of_all_databases_are_sorted_by_name() {
    let files = Files::default()
        .with("/var/lib/dpkg/status", "Package: m\nStatus: install ok installed\nVersion: 1\n")
        .with("/lib/apk/db/installed", "P:b\nV:2-r0\nA:x86_64\n")
        .with("/var/lib/pacman/local/z-1-1/desc", "%NAME%\nz\n\n%VERSION%\n1-1\n")
        .with("/var/lib/rpm/Packages.db", ndb::file(&[numbered(1, 0).0]));
    assert_eq!(files.told(), ["b 2-r0 x86_64", "m 1 ", "p0001 1.1-3.el9 x86_64", "z 1-1 "]);
    let text = serde_json::to_string(&installed(&files).unwrap()[0]).unwrap();
    assert_eq!(text, r#"{"name":"b","version":"2-r0","architecture":"x86_64","kind":"apk"}"#);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let files = Files::default().with("/var/lib/rpm/rpmdb.sqlite", "unreadable");
    let expected = "reading /var/lib/rpm/rpmdb.sqlite: its bytes cannot be read: the disk is broken";
    assert_eq!(files.error(), expected);
    let files = Files::default().with("/var/lib/rpm/Packages", "");
    assert!(files.error().starts_with("reading /var/lib/rpm/Packages: page 0"), "{}", files.error());
}

#[test]
fn the_first_os_release_counts() {
    let files = Files::default().with("/usr/lib/os-release", "ID=a\nVERSION_ID=1");
    assert_eq!(os_release(&files).unwrap().unwrap().id.as_deref(), Some("a"));
    let release = os_release(&files.with("/etc/os-release", "ID=b")).unwrap().unwrap();
    assert_eq!((release.id.as_deref(), release.version_id), (Some("b"), None));
}
