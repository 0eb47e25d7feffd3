//! Files of this machine copied into an image.
//!
//! ```text
//! folder ─► name by name, links as links ─► in the image: made, or written over; folders that are there stay as they are
//! ```
//!
//! Of the source's mode only execution counts: no umask and no owner of this machine shows in an image, unless they are asked for.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use image_core::block::{BlockRead, FileDisk, MemoryDisk};
use image_core::fs::{NewTimes, NodeId, NodeKind, Time};

use super::place::Place;
use super::{DIRECTORY_MODE, Editor, FILE_MODE};
use crate::error::{Context, bail};
use crate::monitor::CancellationToken;

/// Of what is executed by its owner.
const PROGRAM_MODE: u16 = 0o755;
/// Folders in folders.
const DEPTH_MAX: usize = 1000;

/// What is kept of files that are copied into an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyInOptions {
    /// Whose they become; without, root's.
    pub owner: Option<(Option<u32>, Option<u32>)>,
    /// All of their permissions, not execution alone.
    pub modes: bool,
    /// When they were changed.
    pub times: bool,
}

impl CopyInOptions {
    /// Content, and what is executed.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Editor {
    /// Copies the file or folder `source` of this machine into the directory `folder`, under its own name. How many files that were.
    ///
    /// # Errors
    /// If `folder` is not there; for what is neither file, folder nor link; if something else has its name.
    pub fn copy_in(
        &mut self,
        source: &Path,
        folder: &Path,
        options: CopyInOptions,
        cancel: &CancellationToken,
    ) -> crate::Result<u64> {
        let is_folder = self.find(folder)?.is_some_and(|node| node.kind == NodeKind::Directory);
        if !is_folder {
            bail!("{}: there is no such directory in the image", folder.display());
        }
        let real =
            std::path::absolute(source).with_context(|| format!("looking for {}", source.display()))?;
        let Some(name) = real.file_name() else { bail!("{} has no name", source.display()) };
        self.copy(source, &folder.join(name), options, cancel, 0)
    }

    fn copy(
        &mut self,
        source: &Path,
        path: &Path,
        options: CopyInOptions,
        cancel: &CancellationToken,
        depth: usize,
    ) -> crate::Result<u64> {
        cancel.check()?;
        if depth > DEPTH_MAX {
            bail!("{} is in more than {DEPTH_MAX} folders", source.display());
        }
        let doing = || format!("copying {}", source.display());
        let metadata = source.symlink_metadata().with_context(doing)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            return self.copy_folder(source, path, &metadata, options, cancel, depth);
        }
        if kind.is_symlink() {
            let target = std::fs::read_link(source).with_context(doing)?;
            self.symbolic_link(target.as_os_str().as_bytes(), path, true).with_context(doing)?;
            let made = self.place(path, false)?;
            if let Some(node) = &made.node {
                let options = CopyInOptions { modes: false, ..options };
                let id = node.id;
                self.finish_copied(&made, id, &metadata, options)?;
            }
            return Ok(1);
        }
        if !kind.is_file() {
            bail!("{} is neither file, folder nor link", source.display());
        }
        let content: Box<dyn BlockRead> = match metadata.len() {
            // What says that it has no bytes is no disk, and may have some (proc(5)).
            0 => Box::new(MemoryDisk::from_bytes(std::fs::read(source).with_context(doing)?)),
            _ => Box::new(FileDisk::open(source)?),
        };
        let file = self.copied_file(path, &*content, mode_of(&metadata, options)).with_context(doing)?;
        let place = self.place(path, true)?;
        self.finish_copied(&place, file, &metadata, options)?;
        Ok(1)
    }

    fn copied_file(&mut self, path: &Path, content: &dyn BlockRead, mode: u16) -> crate::Result<NodeId> {
        let place = self.place(path, true)?;
        let file = match &place.node {
            Some(node) if node.kind == NodeKind::File => node.id,
            Some(_) => bail!("{}: something that is no regular file has its name", path.display()),
            None => self.create_file(&place, mode)?,
        };
        self.writer(&place)?.write_content(file, content)?;
        Ok(file)
    }

    fn copy_folder(
        &mut self,
        source: &Path,
        path: &Path,
        metadata: &Metadata,
        options: CopyInOptions,
        cancel: &CancellationToken,
        depth: usize,
    ) -> crate::Result<u64> {
        let doing = || format!("copying {}", source.display());
        let place = self.place(path, true)?;
        let made =
            match &place.node {
                Some(node) if node.kind == NodeKind::Directory => None,
                Some(_) => bail!("{}: something that is no directory has its name", path.display()),
                None => Some(self.create_directory(
                    &place,
                    if options.modes { own_mode(metadata) } else { DIRECTORY_MODE },
                )?),
            };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(source).with_context(doing)? {
            names.push(entry.with_context(doing)?.file_name());
        }
        names.sort();
        let mut count = 1_u64;
        for name in names {
            let copied =
                self.copy(&source.join(&name), &path.join(&name), options, cancel, depth.saturating_add(1))?;
            count = count.saturating_add(copied);
        }
        if let Some(made) = made {
            let place = self.place(path, true)?;
            self.finish_copied(&place, made, metadata, options)?;
        }
        Ok(count)
    }

    /// Gives what was copied to `place` what is kept of it.
    fn finish_copied(
        &mut self,
        place: &Place,
        made: NodeId,
        metadata: &Metadata,
        options: CopyInOptions,
    ) -> crate::Result<()> {
        let writer = self.writer(place)?;
        if let Some((uid, gid)) = options.owner {
            writer.give_owner(made, uid, gid)?;
        }
        if options.modes {
            writer.give_mode(made, own_mode(metadata))?;
        }
        if options.times {
            let time = |seconds, nanoseconds: i64| Time { seconds, nanoseconds: nanoseconds as u32 };
            let modified = Some(time(metadata.mtime(), metadata.mtime_nsec()));
            writer.set_times(made, NewTimes { accessed: modified, modified, ..NewTimes::default() })?;
        }
        self.system.forget();
        Ok(())
    }
}

fn own_mode(metadata: &Metadata) -> u16 {
    (metadata.permissions().mode() & 0o7777) as u16
}

fn mode_of(metadata: &Metadata, options: CopyInOptions) -> u16 {
    let own = own_mode(metadata);
    match (options.modes, own & 0o100 != 0) {
        (true, _) => own,
        (false, true) => PROGRAM_MODE,
        (false, false) => FILE_MODE,
    }
}
