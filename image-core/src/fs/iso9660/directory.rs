//! Directories, once for each of the two hierarchies: their order, their records, their path tables.
//!
//! ```text
//! directory: record "."  record ".."  record  record … │ zeroes to the sector's end │ record …
//! record:    length · extent · size · flags · identifier · (Rock Ridge: SP ER PX NM)
//! ```
//!
//! A record never crosses a sector's end (ECMA-119, 6.8.1.1). Records are sorted by identifier (9.3); directories in
//! a path table by level, then by their parent's number, then by identifier (6.9.1): breadth first over sorted records.

use std::collections::BTreeMap;

use super::sector::{Extent, SECTOR, at, both_u16, both_u32, sectors};
use super::{DEPTH_LIMIT, IsoRule, NAME_LIMIT};

/// What names look like in a hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Cut to ISO 9660, the real ones in Rock Ridge's entries.
    RockRidge,
    /// The real ones in UCS-2, big endian.
    Joliet,
}

impl Names {
    pub(super) fn descriptor_type(self) -> u8 {
        match self {
            Self::RockRidge => 1,
            Self::Joliet => 2,
        }
    }

    /// `text` in this character set, filled up with spaces to `len` bytes (an odd last byte is zero).
    pub(super) fn padded(self, text: &str, len: usize) -> Vec<u8> {
        match self {
            Self::RockRidge => format!("{text:<len$}").into_bytes(),
            Self::Joliet => {
                let mut bytes = ucs2(&format!("{text:<width$}", width = len / 2));
                bytes.resize(len, 0);
                bytes
            }
        }
    }

    /// The identifier of a file or directory (ECMA-119, 7.5.1 and 7.6.1, interchange level 2), without a version:
    /// the order of a directory is that of the names.
    fn identifier(self, name: &str, is_file: bool) -> Vec<u8> {
        if self == Self::Joliet {
            return ucs2(name);
        }
        let cut = |text: &str, limit: usize| -> String {
            let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
            text.chars().take(limit).map(plain).collect()
        };
        // 30 characters: the dot and an extension of up to 8 among them.
        let identifier = match name.rsplit_once('.') {
            _ if !is_file => cut(name, 31),
            Some((stem, extension)) => format!("{}.{}", cut(stem, 21), cut(extension, 8)),
            None => format!("{}.", cut(name, 29)),
        };
        identifier.into_bytes()
    }

    /// What ends a file's identifier in its record.
    fn version(self) -> &'static [u8] {
        match self {
            Self::RockRidge => b";1",
            Self::Joliet => b"\0;\x001",
        }
    }
}

fn ucs2(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// All directories with names of one kind; the root is the first.
#[derive(Debug)]
pub(super) struct Hierarchy<'a> {
    names: Names,
    directories: Vec<Directory<'a>>,
    path_table_len: usize,
    path_tables: [u32; 2],
}

#[derive(Debug, Default)]
struct Directory<'a> {
    parent: usize,
    identifier: Vec<u8>,
    /// By identifier: the order of the standard.
    entries: BTreeMap<Vec<u8>, Entry<'a>>,
    sector: u32,
}

#[derive(Debug)]
struct Entry<'a> {
    name: &'a str,
    kind: Kind,
}

/// With the number of the directory in this hierarchy, or of the file in the caller's list.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Directory(usize),
    File(usize),
}

/// The tree as the caller gave it.
#[derive(Debug, Default)]
struct Folder<'a> {
    folders: BTreeMap<&'a str, Folder<'a>>,
    files: BTreeMap<&'a str, usize>,
}

impl<'a> Folder<'a> {
    fn add(&mut self, path: &'a str, index: usize) -> Result<(), IsoRule> {
        let wrong = |c: char| !(' '..='~').contains(&c) || "/\\:;*?".contains(c);
        let mut folder = self;
        let mut names: Vec<&str> = path.split('/').collect();
        for name in &names {
            if name.is_empty()
                || name.len() > NAME_LIMIT
                || [".", ".."].contains(name)
                || name.contains(wrong)
            {
                return Err(IsoRule::Name(path.to_owned()));
            }
        }
        if names.len() > DEPTH_LIMIT {
            return Err(IsoRule::Depth(path.to_owned()));
        }
        let last = names.pop().unwrap_or_default();
        for name in names {
            if folder.files.contains_key(name) {
                return Err(IsoRule::FileAndDirectory(name.to_owned()));
            }
            folder = folder.folders.entry(name).or_default();
        }
        match folder.files.insert(last, index) {
            _ if folder.folders.contains_key(last) => Err(IsoRule::FileAndDirectory(last.to_owned())),
            Some(_) => Err(IsoRule::SameName(last.to_owned())),
            None => Ok(()),
        }
    }
}

impl<'a> Hierarchy<'a> {
    pub(super) fn new(files: &[(&'a str, &[u8])], names: Names) -> Result<Self, IsoRule> {
        let mut root = Folder::default();
        for (index, (path, _)) in files.iter().enumerate() {
            root.add(path, index)?;
        }
        let mut hierarchy =
            Self { names, directories: vec![Directory::default()], path_table_len: 0, path_tables: [0; 2] };
        hierarchy.directories[0].identifier = vec![0];
        // The folders of `directories`, in the same order.
        let mut folders = vec![root];
        let mut index = 0;
        while index < folders.len() {
            let folder = std::mem::take(&mut folders[index]);
            let mut entries = BTreeMap::new();
            let mut insert = |identifier: Vec<u8>, entry| match entries.insert(identifier.clone(), entry) {
                None => Ok(()),
                Some(_) => Err(IsoRule::SameName(String::from_utf8_lossy(&identifier).into_owned())),
            };
            for (name, file) in folder.files {
                insert(names.identifier(name, true), Entry { name, kind: Kind::File(file) })?;
            }
            let mut children = BTreeMap::new();
            for (name, child) in folder.folders {
                let identifier = names.identifier(name, false);
                insert(identifier.clone(), Entry { name, kind: Kind::Directory(0) })?;
                children.insert(identifier, child);
            }
            for (identifier, child) in children {
                if let Some(entry) = entries.get_mut(&identifier) {
                    entry.kind = Kind::Directory(folders.len());
                }
                hierarchy.directories.push(Directory { parent: index, identifier, ..Directory::default() });
                folders.push(child);
            }
            hierarchy.directories[index].entries = entries;
            index += 1;
        }
        let path_table_len = |directory: &Directory<'_>| 8 + directory.identifier.len().next_multiple_of(2);
        hierarchy.path_table_len = hierarchy.directories.iter().map(path_table_len).sum();
        Ok(hierarchy)
    }

    pub(super) fn names(&self) -> Names {
        self.names
    }

    pub(super) fn path_table_len(&self) -> u32 {
        self.path_table_len as u32
    }

    /// The sector of the path table in little or big endian.
    pub(super) fn path_table(&self, big_endian: bool) -> u32 {
        self.path_tables[usize::from(big_endian)]
    }

    /// Places path tables and directories from sector `next` on; the first sector behind them.
    pub(super) fn place(&mut self, mut next: u32) -> u32 {
        for table in &mut self.path_tables {
            *table = next;
            next += sectors(self.path_table_len);
        }
        for index in 0..self.directories.len() {
            self.directories[index].sector = next;
            next += sectors(self.directory_bytes(index, &[]).len());
        }
        next
    }

    pub(super) fn root(&self) -> Extent {
        self.extent(0)
    }

    fn extent(&self, index: usize) -> Extent {
        let len = self.directory_bytes(index, &[]).len() as u32;
        Extent { sector: self.directories[index].sector, len }
    }

    /// Writes path tables and directories to their places.
    pub(super) fn write(&self, image: &mut [u8], files: &[Extent]) {
        for big_endian in [false, true] {
            let table = self.path_table_bytes(big_endian);
            at(image, self.path_table(big_endian))[..table.len()].copy_from_slice(&table);
        }
        let extents: Vec<Extent> = (0..self.directories.len()).map(|index| self.extent(index)).collect();
        for (index, directory) in self.directories.iter().enumerate() {
            let bytes = self.directory_bytes(index, &[&extents, files]);
            at(image, directory.sector)[..bytes.len()].copy_from_slice(&bytes);
        }
    }

    /// ECMA-119, 9.4.
    fn path_table_bytes(&self, big_endian: bool) -> Vec<u8> {
        let mut table = Vec::with_capacity(self.path_table_len);
        for directory in &self.directories {
            let parent = directory.parent as u16 + 1;
            table.extend([directory.identifier.len() as u8, 0]);
            if big_endian {
                table.extend(directory.sector.to_be_bytes());
                table.extend(parent.to_be_bytes());
            } else {
                table.extend(directory.sector.to_le_bytes());
                table.extend(parent.to_le_bytes());
            }
            table.extend(&directory.identifier);
            table.resize(table.len().next_multiple_of(2), 0);
        }
        table
    }

    /// A directory's sectors. `extents` are those of the directories and of the files; without them only the length counts.
    fn directory_bytes(&self, index: usize, extents: &[&[Extent]]) -> Vec<u8> {
        let extent_of = |kind: Kind| {
            let (list, index) = match kind {
                Kind::Directory(index) => (0, index),
                Kind::File(index) => (1, index),
            };
            extents.get(list).map_or(Extent { sector: 0, len: 0 }, |extents| extents[index])
        };
        let directory = &self.directories[index];
        let mut bytes = Vec::new();
        let mut push = |record: Vec<u8>| {
            if bytes.len() % SECTOR + record.len() > SECTOR {
                bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
            }
            bytes.extend(record);
        };
        for (identifier, target) in [(0, index), (1, directory.parent)] {
            let system_use = self.system_use(None, Kind::Directory(target), index == 0 && identifier == 0);
            push(record(&[identifier], extent_of(Kind::Directory(target)), true, &system_use));
        }
        for (identifier, entry) in &directory.entries {
            let is_directory = matches!(entry.kind, Kind::Directory(_));
            let version = if is_directory { &[] } else { self.names.version() };
            let system_use = self.system_use(Some(entry.name), entry.kind, false);
            push(record(&[identifier, version].concat(), extent_of(entry.kind), is_directory, &system_use));
        }
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        bytes
    }

    /// Rock Ridge's entries of a record; `is_root` for the root's own one, which announces them.
    fn system_use(&self, name: Option<&str>, kind: Kind, is_root: bool) -> Vec<u8> {
        let mut entries = Vec::new();
        if self.names == Names::Joliet {
            return entries;
        }
        if is_root {
            // SUSP 5.3, and 5.5 with the identifier of Rock Ridge 1.10 (4.3) and neither descriptor nor source.
            entries.extend(b"SP\x07\x01\xbe\xef\x00");
            entries.extend(b"ER\x12\x01\x0a\x00\x00\x01RRIP_1991A");
        }
        // Rock Ridge 4.1.1: mode, links, user, group. A directory has a link from each of its own directories.
        let (mode, links) = match kind {
            Kind::File(_) => (0o100_444, 1),
            Kind::Directory(index) => {
                let entries = self.directories[index].entries.values();
                (
                    0o040_555,
                    2 + entries.filter(|entry| matches!(entry.kind, Kind::Directory(_))).count() as u32,
                )
            }
        };
        entries.extend(b"PX\x24\x01");
        for value in [mode, links, 0, 0] {
            entries.extend(both_u32(value));
        }
        if let Some(name) = name {
            // Rock Ridge 4.1.4.
            entries.extend([b'N', b'M', 5 + name.len() as u8, 1, 0]);
            entries.extend(name.bytes());
        }
        entries
    }
}

/// A directory record (ECMA-119, 9.1): 33 bytes, the identifier, a byte if that is needed for an even length, the rest.
pub(super) fn record(identifier: &[u8], extent: Extent, is_directory: bool, system_use: &[u8]) -> Vec<u8> {
    let mut record = vec![0; 2];
    record.extend(both_u32(extent.sector));
    record.extend(both_u32(extent.len));
    record.extend([0; 7]);
    record.extend([if is_directory { 2 } else { 0 }, 0, 0]);
    record.extend(both_u16(1));
    record.push(identifier.len() as u8);
    record.extend(identifier);
    record.resize(record.len().next_multiple_of(2), 0);
    record.extend(system_use);
    record.resize(record.len().next_multiple_of(2), 0);
    record[0] = record.len() as u8;
    record
}
