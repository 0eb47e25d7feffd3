//! Archives unpacked into an image, with all that they have: owners, modes, times, attributes, holes, devices, links.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::io::Read;
use std::path::{Path, PathBuf};

use image_core::fs::{NewTimes, NodeKind, Ownership, SpecialFile, Time};

use super::Editor;
use super::place::Place;
use crate::error::{Context, bail, err};
use crate::files::{Entry, Kind, Unpack, path_inside};
use crate::monitor::CancellationToken;
use crate::printable::printable;

impl Editor {
    /// Unpacks `archive` into the directory `folder`. Files that are there are replaced, directories stay and get what the archive says
    /// of them. How many entries that were.
    ///
    /// # Errors
    /// If it is no tar archive, or damaged; for an entry whose path leads up; as [`write`](Self::write).
    pub fn tar_in(
        &mut self,
        archive: &mut dyn Read,
        folder: &Path,
        cancel: &CancellationToken,
    ) -> crate::Result<u64> {
        let is_folder = self.find(folder)?.is_some_and(|node| node.kind == NodeKind::Directory);
        if !is_folder {
            bail!("{}: there is no such directory in the image", folder.display());
        }
        let mut unpack = Unpack::new(archive, self.owners());
        let mut count = 0_u64;
        // What is made in a directory changes its times: they are given at the end.
        let mut directories: Vec<(PathBuf, Time)> = Vec::new();
        while let Some(entry) = unpack.entry()? {
            cancel.check()?;
            let shown = printable(&String::from_utf8_lossy(&entry.path));
            let path = beneath(folder, &entry.path).with_context(|| shown.clone())?;
            self.unpack(&mut unpack, &entry, &path, folder).with_context(|| format!("unpacking {shown}"))?;
            if entry.kind == Kind::Directory {
                directories.push((path, entry.modified));
            }
            count = count.saturating_add(1);
        }
        for (path, modified) in directories.into_iter().rev() {
            self.touch(&path, modified, true)?;
        }
        Ok(count)
    }

    fn unpack(
        &mut self,
        content: &mut dyn Read,
        entry: &Entry,
        path: &Path,
        folder: &Path,
    ) -> crate::Result<()> {
        if entry.kind == Kind::Directory {
            let there = self.find(path)?;
            let is_there = there.as_ref().is_some_and(|node| node.kind == NodeKind::Directory);
            if !is_there {
                let place = self.free_place(path, true)?;
                self.create_directory(&place, entry.mode as u16)?;
            }
            let place = self.place(path, true)?;
            return self.give(&place, entry);
        }
        let place = self.free_place(path, true)?;
        if entry.kind == Kind::HardLink {
            let first = beneath(folder, &entry.link)?;
            return self.hard_link(&first, path, false);
        }
        let directory = place.directory(path)?;
        let own = Ownership {
            mode: entry.mode as u16,
            uid: entry.uid,
            gid: entry.gid,
            accessed: entry.modified,
            modified: entry.modified,
            created: self.time,
        };
        let (major, minor) = entry.device;
        let writer = self.writer(&place)?;
        match entry.kind {
            Kind::Link => drop(writer.make_symlink(directory, &place.name, &entry.link, &own)?),
            Kind::CharacterDevice => {
                writer.make_node(directory, &place.name, SpecialFile::CharacterDevice(major, minor), &own)?;
            }
            Kind::BlockDevice => {
                writer.make_node(directory, &place.name, SpecialFile::BlockDevice(major, minor), &own)?;
            }
            Kind::Pipe => drop(writer.make_node(directory, &place.name, SpecialFile::Pipe, &own)?),
            _ => {
                let file = writer.create_file(directory, &place.name, &own)?;
                for range in &entry.data {
                    let mut part = content.take(range.len());
                    let written = writer.write_range(file, range.offset(), &mut part)?;
                    if written != range.len() {
                        bail!("the archive ends early");
                    }
                }
                writer.set_len(file, entry.size)?;
            }
        }
        self.system.forget();
        let place = self.place(path, false)?;
        if let Some(made) = &place.node {
            self.label(&place, made.id, made.kind)?;
        }
        self.give(&place, entry)
    }

    /// Gives what is at `place` all that the archive says of it, in the order in which nothing takes away another.
    fn give(&mut self, place: &Place, entry: &Entry) -> crate::Result<()> {
        let node = place.node.as_ref().ok_or_else(|| err!("it is not there any more"))?;
        let (id, is_link) = (node.id, node.kind == NodeKind::Link);
        let writer = self.writer(place)?;
        writer.give_owner(id, Some(entry.uid), Some(entry.gid))?;
        if !is_link {
            writer.give_mode(id, entry.mode as u16)?;
        }
        for attribute in &entry.attributes {
            writer.give_attribute(id, &attribute.name, &attribute.value)?;
        }
        let modified = Some(entry.modified);
        writer.set_times(id, NewTimes { accessed: modified, modified, ..NewTimes::default() })?;
        self.system.forget();
        Ok(())
    }
}

/// Where the path of an entry is in the image: beneath `folder`.
fn beneath(folder: &Path, path: &[u8]) -> crate::Result<PathBuf> {
    let inside = path_inside(path).ok_or_else(|| err!("its path leads up, out of where it is to go"))?;
    let mut found = folder.to_owned();
    found.extend(&inside);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_entries_stay_beneath() {
        let of = |path: &str| beneath(Path::new("/srv"), path.as_bytes());
        for path in ["a/b", "./a/b", "/a/b", "a//b/"] {
            assert_eq!(of(path).unwrap(), Path::new("/srv/a/b"), "{path}");
        }
        assert_eq!(of("./").unwrap(), Path::new("/srv"));
        assert!(of("../a").is_err() && of("a/../../b").is_err());
    }
}
