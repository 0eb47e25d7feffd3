//! What operations do to a FAT, by paths and without one.

use std::io::Read;

use image_core::Result;
use image_core::fs::{FatRefusal, FatWriter, NodeId, Time, resolve};

use super::Tree;
use crate::support::random::Random;

pub(super) const TIME: Time = Time { seconds: 1_700_000_000, nanoseconds: 5 };

/// One operation.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Make(String),
    Directory(String),
    Rename(String, String),
    Remove(String),
    Tree(String),
    Write { path: String, offset: u64, bytes: Vec<u8> },
    Append { path: String, bytes: Vec<u8> },
    Replace { path: String, bytes: Vec<u8> },
    Cut(String, u64),
    ReadOnly(String, bool),
}

pub(super) fn content(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|index| (seed + index * 7 + (index >> 8)) as u8).collect()
}

/// The folder of `path`, and its name in there.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn node(files: &FatWriter, path: &str) -> Result<NodeId> {
    let found = resolve(files.files(), path.as_bytes(), false)?;
    Ok(found.ok_or(FatRefusal::NotFound)?.id)
}

/// Does it.
pub(super) fn act(files: &mut FatWriter, act: &Act) -> Result<()> {
    let place = |files: &FatWriter, path: &str| node(files, split(path).0);
    match act {
        Act::Make(path) => files.create_file(place(files, path)?, split(path).1.as_bytes()).map(drop),
        Act::Directory(path) => files.make_directory(place(files, path)?, split(path).1.as_bytes()).map(drop),
        Act::Rename(from, to) => {
            let (old, new) = (place(files, from)?, place(files, to)?);
            files.rename(old, split(from).1.as_bytes(), new, split(to).1.as_bytes())
        }
        Act::Remove(path) => files.remove(place(files, path)?, split(path).1.as_bytes()),
        Act::Tree(path) => files.remove_tree(place(files, path)?, split(path).1.as_bytes()),
        Act::Write { path, offset, bytes } => {
            let wanted = bytes.len() as u64;
            let written = files.write_range(node(files, path)?, *offset, &mut Slow(bytes))?;
            assert_eq!(written, wanted);
            Ok(())
        }
        Act::Append { path, bytes } => {
            files.append_content(node(files, path)?, &mut bytes.as_slice()).map(drop)
        }
        Act::Replace { path, bytes } => {
            let source = image_core::block::MemoryDisk::from_bytes(bytes.clone());
            files.write_content(node(files, path)?, &source)
        }
        Act::Cut(path, size) => files.set_len(node(files, path)?, *size),
        Act::ReadOnly(path, is) => files.set_read_only(node(files, path)?, *is),
    }
}

/// Gives a few bytes at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let len = self.0.len().min(buf.len()).min(777);
        let (now, rest) = self.0.split_at(len);
        buf[..len].copy_from_slice(now);
        self.0 = rest;
        Ok(len)
    }
}

/// Names that meet again and again, some of them the same but for their case.
const NAMES: [&str; 17] = [
    "A",
    "a",
    "README.TXT",
    "readme.txt",
    "loader.conf",
    "grub configuration file.cfg",
    "Größe",
    "GRÖßE",
    "日本語の名前.txt",
    "x.y.z",
    "kernel-6.1.0-13-amd64.efi",
    "kernel-6.1.0-14-amd64.efi",
    "EFI",
    ".hidden",
    "a name of more than two hundred letters, which takes many entries of its directory and so more than one sector of \
     512 bytes, wherever it begins, because sixteen entries are in a sector and this one has more of them",
    "+,;=[]",
    "sub",
];

/// Any operation beneath the folder `top`.
pub(super) fn any(random: &mut Random, model: &Model, top: &str) -> Act {
    let is_inside = |path: &&String| path.starts_with(top) && !top.is_empty() || top.is_empty();
    let paths: Vec<&String> = model.tree.keys().filter(is_inside).collect();
    let some = |random: &mut Random| paths[random.below(paths.len())].clone();
    let fresh = |random: &mut Random| {
        let mut folders: Vec<&str> = vec![top];
        folders.extend(paths.iter().filter(|path| model.tree[**path].is_none()).map(|path| path.as_str()));
        let (folder, name) = (folders[random.below(folders.len())], NAMES[random.below(NAMES.len())]);
        if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
    };
    if paths.is_empty() {
        return Act::Make(fresh(random));
    }
    let len = [0, 1, 500, 512, 3000, 40_000][random.below(6)];
    let bytes = content(random.below(256), len);
    match random.below(20) {
        0..4 => Act::Make(fresh(random)),
        4..6 => Act::Directory(fresh(random)),
        6..9 => Act::Rename(some(random), if random.below(4) == 0 { some(random) } else { fresh(random) }),
        9 | 10 => Act::Remove(some(random)),
        11 if random.below(3) == 0 => Act::Tree(some(random)),
        11..14 => Act::Write { path: some(random), offset: random.below(5000) as u64, bytes },
        14 => Act::Append { path: some(random), bytes },
        15..18 => Act::Replace { path: some(random), bytes },
        18 => Act::Cut(some(random), [0, 1, 700, 9000][random.below(4)]),
        _ => Act::ReadOnly(some(random), random.below(2) == 0),
    }
}

/// What is to be in a FAT.
pub(super) struct Model {
    pub(super) tree: Tree,
}

impl Model {
    pub(super) fn of(tree: Tree) -> Self {
        Self { tree }
    }

    /// What it has by this name, whatever its case.
    fn find(&self, path: &str) -> Option<String> {
        let folded = |text: &str| text.to_lowercase();
        self.tree.keys().find(|own| folded(own) == folded(path)).cloned()
    }

    fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || self.find(path).is_some_and(|own| self.tree[&own].is_none())
    }

    /// `path` in the folder as it is called.
    fn made(&self, path: &str) -> Option<String> {
        let (folder, name) = split(path);
        match folder {
            "" => Some(name.to_owned()),
            folder if self.is_directory(folder) => Some(format!("{}/{name}", self.find(folder)?)),
            _ => None,
        }
    }

    fn has_inside(&self, path: &str) -> bool {
        self.tree.keys().any(|own| own.starts_with(&format!("{path}/")))
    }

    /// Does `act` if it was done, and holds what was said of it against what is so here.
    pub(super) fn hold(&mut self, act: &Act, done: &Result<()>) {
        let is_full = |error: &image_core::Error| {
            matches!(error.cause(), Some(FatRefusal::NoSpace | FatRefusal::DirectoryFull(_)))
        };
        assert!(!done.as_ref().is_err_and(is_full), "{act:?}: {done:?}");
        let expected = self.apply(act);
        assert_eq!(expected.is_some(), done.is_ok(), "{act:?}: {done:?}");
    }

    fn apply(&mut self, act: &Act) -> Option<()> {
        match act {
            Act::Make(path) | Act::Directory(path) => {
                let new = self.made(path).filter(|_| self.find(path).is_none())?;
                self.tree.insert(new, matches!(act, Act::Make(_)).then(Vec::new));
            }
            Act::Remove(path) => {
                let own = self.find(path).filter(|own| !self.has_inside(own))?;
                self.tree.remove(&own);
            }
            Act::Tree(path) => {
                let own = self.find(path)?;
                let inside = format!("{own}/");
                self.tree.retain(|path, _| *path != own && !path.starts_with(&inside));
            }
            Act::Rename(from, to) => return self.rename(from, to),
            Act::ReadOnly(path, _) => drop(self.find(path)?),
            Act::Write { path, offset, bytes } => self.edit(path, |old| {
                let end = *offset as usize + bytes.len();
                if !bytes.is_empty() {
                    old.resize(old.len().max(end), 0);
                    old[*offset as usize..end].copy_from_slice(bytes);
                }
            })?,
            Act::Append { path, bytes } => self.edit(path, |old| old.extend(bytes))?,
            Act::Replace { path, bytes } => self.edit(path, |old| old.clone_from(bytes))?,
            Act::Cut(path, size) => self.edit(path, |old| old.resize(*size as usize, 0))?,
        }
        Some(())
    }

    fn edit(&mut self, path: &str, edit: impl FnOnce(&mut Vec<u8>)) -> Option<()> {
        let own = self.find(path)?;
        edit(self.tree.get_mut(&own)?.as_mut()?);
        Some(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Option<()> {
        let (own, new) = (self.find(from)?, self.made(to)?);
        let is_directory = self.tree[&own].is_none();
        let (low, low_new) = (own.to_lowercase(), new.to_lowercase());
        if is_directory && low_new.starts_with(&format!("{low}/")) {
            return None;
        }
        if let Some(there) = self.find(to).filter(|there| *there != own) {
            if is_directory != self.tree[&there].is_none() || self.has_inside(&there) {
                return None;
            }
            self.tree.remove(&there);
        }
        let inside = format!("{own}/");
        let moved: Vec<String> =
            self.tree.keys().filter(|path| **path == own || path.starts_with(&inside)).cloned().collect();
        for path in moved {
            let content = self.tree.remove(&path)?;
            self.tree.insert(format!("{new}{}", &path[own.len()..]), content);
        }
        Some(())
    }
}
