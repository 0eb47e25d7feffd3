//! Headers: 512 bytes of fixed fields, and before them records for all that does not fit.
//!
//! ```text
//! 0 name │ 100 mode │ 108 uid │ 116 gid │ 124 size │ 136 mtime │ 148 checksum │ 156 kind │ 157 link │ 257 ustar │ 329 device
//! record   LENGTH KEY=VALUE\n      the length counts itself
//! ```
//! POSIX.1-2024, pax, "ustar Interchange Format" and "pax Extended Header".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;

use image_core::fs::{Node, NodeKind, Time};

use super::acl;

/// What everything in an archive is a multiple of, in bytes.
pub(crate) const BLOCK: usize = 512;
/// Bytes of a name that a header has room for.
const NAME_MAX: usize = 100;
/// The largest numbers of fields with so many octal digits.
const OCTAL_7: u64 = 0o777_7777;
const OCTAL_11: u64 = 0o777_7777_7777;
/// The flags that archives have words for, in the order of their words.
const FLAGS: [(u32, &str); 6] = [
    (0x20, "sappnd"),
    (0x10, "schg"),
    (0x40, "nodump"),
    (0x80, "noatime"),
    (0x01_0000, "dirsync"),
    (0x08, "sync"),
];

/// What a header is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File = b'0' as isize,
    HardLink = b'1' as isize,
    Link = b'2' as isize,
    CharacterDevice = b'3' as isize,
    BlockDevice = b'4' as isize,
    Directory = b'5' as isize,
    Pipe = b'6' as isize,
}

/// A header that is being made.
pub(super) struct Header {
    name: Vec<u8>,
    link: Vec<u8>,
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    modified: Time,
    device: (u32, u32),
    /// Keys and values, in their order.
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Header {
    /// Of `node`, which has no content.
    pub(super) fn new(name: &[u8], node: &Node) -> Self {
        let mut header = Self {
            name: name.to_owned(),
            link: Vec::new(),
            kind: match node.kind {
                NodeKind::Directory => Kind::Directory,
                NodeKind::Link => Kind::Link,
                NodeKind::CharacterDevice => Kind::CharacterDevice,
                NodeKind::BlockDevice => Kind::BlockDevice,
                NodeKind::Pipe => Kind::Pipe,
                NodeKind::File | NodeKind::Socket => Kind::File,
            },
            mode: node.mode,
            owner: (node.uid, node.gid),
            size: 0,
            modified: node.modified,
            device: node.device.unwrap_or_default(),
            records: Vec::new(),
        };
        let words: Vec<&str> =
            FLAGS.iter().filter(|(bit, _)| node.flags & bit != 0).map(|(_, word)| *word).collect();
        if !words.is_empty() {
            header.record("SCHILY.fflags", words.join(",").as_bytes());
        }
        header
    }

    fn record(&mut self, key: &str, value: &[u8]) {
        self.records.push((key.as_bytes().to_owned(), value.to_owned()));
    }

    /// With these extended attributes: rights of access lists as text, which both tar programs restore, all else as it is.
    pub(super) fn set_attributes(&mut self, attributes: BTreeMap<Vec<u8>, Vec<u8>>) {
        for (name, value) in attributes {
            let rights = match name.as_slice() {
                b"system.posix_acl_access" => acl::text(&value).map(|text| ("SCHILY.acl.access", text)),
                b"system.posix_acl_default" => acl::text(&value).map(|text| ("SCHILY.acl.default", text)),
                _ => None,
            };
            match rights {
                Some((key, text)) => self.record(key, text.as_bytes()),
                // A name with `=` in it has no place in a record.
                None if name.contains(&b'=') => {}
                None => self.records.push(([b"SCHILY.xattr.".as_slice(), &name].concat(), value)),
            }
        }
    }

    /// Has it point to `target`.
    pub(super) fn set_link(&mut self, kind: Kind, target: &[u8]) {
        self.kind = kind;
        target.clone_into(&mut self.link);
    }

    /// Of a file with `size` bytes.
    pub(super) fn set_size(&mut self, size: u64) {
        self.size = size;
    }

    /// Of a file with `size` bytes of which, with their map, `stored` follow (GNU tar manual, "Storing Sparse Files", format 1.0).
    pub(super) fn set_sparse(&mut self, size: u64, stored: u64) {
        self.size = stored;
        let name = std::mem::replace(&mut self.name, b"./GNUSparseFile.0/sparse".to_vec());
        self.record("GNU.sparse.major", b"1");
        self.record("GNU.sparse.minor", b"0");
        self.record("GNU.sparse.name", &name);
        self.record("GNU.sparse.realsize", size.to_string().as_bytes());
    }

    /// The header, with records before it where they are needed.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.add_what_does_not_fit();
        let mut bytes = Vec::new();
        if !self.records.is_empty() {
            let records: Vec<u8> = self.records.iter().flat_map(|(key, value)| record(key, value)).collect();
            let own = Header {
                name: b"./PaxHeaders/file".to_vec(),
                link: Vec::new(),
                kind: Kind::File,
                mode: 0o644,
                owner: (0, 0),
                size: records.len() as u64,
                modified: Time::default(),
                device: (0, 0),
                records: Vec::new(),
            };
            bytes.extend(own.block(b'x'));
            bytes.extend(&records);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        let kind = self.kind as u8;
        bytes.extend(self.block(kind));
        bytes
    }

    fn add_what_does_not_fit(&mut self) {
        let mut more: Vec<(&str, Vec<u8>)> = Vec::new();
        // What is no UTF-8 is taken as it is from the header; in a record it would be text.
        let is_text = |bytes: &[u8]| !bytes.is_ascii() && std::str::from_utf8(bytes).is_ok();
        for (key, text) in [("path", &self.name), ("linkpath", &self.link)] {
            if text.len() > NAME_MAX || is_text(text) {
                if std::str::from_utf8(text).is_err() {
                    more.push(("hdrcharset", b"BINARY".to_vec()));
                }
                more.push((key, text.clone()));
            }
        }
        if self.size > OCTAL_11 {
            more.push(("size", self.size.to_string().into_bytes()));
        }
        for (key, number) in [("uid", self.owner.0), ("gid", self.owner.1)] {
            if u64::from(number) > OCTAL_7 {
                more.push((key, number.to_string().into_bytes()));
            }
        }
        let Time { seconds, nanoseconds } = self.modified;
        if nanoseconds != 0 || seconds < 0 || seconds.unsigned_abs() > OCTAL_11 {
            more.push(("mtime", decimal(self.modified).into_bytes()));
        }
        let more = more.into_iter().map(|(key, value)| (key.as_bytes().to_owned(), value));
        self.records.splice(0..0, more);
    }

    fn block(&self, kind: u8) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| {
            for (target, byte) in block.iter_mut().skip(at).zip(bytes) {
                *target = *byte;
            }
        };
        let octal = |number: u64, digits: usize| format!("{number:0digits$o}").into_bytes();
        let fits = |number: u64, most: u64| if number > most { 0 } else { number };
        put(0, self.name.get(..NAME_MAX).unwrap_or(&self.name));
        put(100, &octal(self.mode.into(), 7));
        put(108, &octal(fits(self.owner.0.into(), OCTAL_7), 7));
        put(116, &octal(fits(self.owner.1.into(), OCTAL_7), 7));
        put(124, &octal(fits(self.size, OCTAL_11), 11));
        let seconds = u64::try_from(self.modified.seconds).unwrap_or(0);
        put(136, &octal(fits(seconds, OCTAL_11), 11));
        put(148, b"        ");
        put(156, &[kind]);
        put(157, self.link.get(..NAME_MAX).unwrap_or(&self.link));
        put(257, b"ustar\x0000");
        put(329, &octal(fits(self.device.0.into(), OCTAL_7), 7));
        put(337, &octal(fits(self.device.1.into(), OCTAL_7), 7));
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        for (target, byte) in block.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
            *target = byte;
        }
        block
    }
}

/// Seconds with a fraction; before 1970 the whole is less than 0.
fn decimal(time: Time) -> String {
    let total =
        i128::from(time.seconds).saturating_mul(1_000_000_000).saturating_add(i128::from(time.nanoseconds));
    let (sign, size) = (if total < 0 { "-" } else { "" }, total.unsigned_abs());
    let (whole, rest) = (size / 1_000_000_000, size % 1_000_000_000);
    match rest {
        0 => format!("{sign}{whole}"),
        rest => format!("{sign}{whole}.{rest:09}").trim_end_matches('0').to_owned(),
    }
}

/// A record: its length in decimal digits, which it counts too, key and value.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len().saturating_add(value.len()).saturating_add(3);
    let mut len = rest.saturating_add(1);
    while rest.saturating_add(len.to_string().len()) != len {
        len = rest.saturating_add(len.to_string().len());
    }
    [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        assert_eq!(record(b"path", b"x"), b"9 path=x\n");
        assert_eq!(record(b"path", &[b'a'; 90]).len(), 99);
        assert_eq!(record(b"path", &[b'a'; 91]).len(), 101);
        for len in 0..2000 {
            let record = record(b"key", &vec![b'v'; len]);
            let said: usize = String::from_utf8_lossy(&record).split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, record.len(), "{len}");
        }
    }

    #[test]
    fn times_before_1970_are_less_than_zero() {
        let shown = |seconds, nanoseconds| decimal(Time { seconds, nanoseconds });
        assert_eq!(shown(1, 500_000_000), "1.5");
        assert_eq!(shown(-1, 500_000_000), "-0.5");
        assert_eq!(shown(-2, 0), "-2");
        assert_eq!(shown(1 << 40, 1), "1099511627776.000000001");
    }
}
