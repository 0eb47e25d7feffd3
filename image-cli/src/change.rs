//! Files of an image changed in place: all of it or nothing, without mounting anything.
//!
//! ```text
//! path ─► System: which filesystem, which directory ─► VolumeWriter: changes in memory, content into blocks that were free
//!                                                          │
//! finish ─► through the filesystem's own journal, ◄────────┘        a kill before: as it was; after: as it is to be
//!           of a FAT by one sector
//! ```
//!
//! Each change is seen by the next one. What is new belongs to root, with the modes that `umask 022` gives, and has the label that the
//! image's policy of SELinux says; without one, that of the directory that it is made in, as the kernel does it.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod acl;
mod copy_in;
mod metadata;
mod place;
mod rights;
mod tar_in;
mod volume_writer;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite, Window};
use image_core::fs::{NodeId, NodeKind, Ownership, Time};

use crate::error::{Advise, Context, bail, err};
use crate::files::{Owners, SELINUX_LABEL};
pub use crate::mode_change::{ModeChange, ModeError};
use crate::selinux::Policy;
pub use crate::substitution::Substitution;
use crate::system::System;
pub use copy_in::CopyInOptions;
use place::{Place, not_there};
use volume_writer::{VolumeWriter, is_changed_here};

/// What new directories and files have: what `umask 022` leaves.
const DIRECTORY_MODE: u16 = 0o755;
const FILE_MODE: u16 = 0o644;
/// A file that is edited as text is no larger, in bytes.
const TEXT_LIMIT: u64 = 16 << 20;

/// An image whose files are changed.
pub struct Editor {
    disk: Arc<dyn BlockWrite>,
    system: System,
    /// The filesystems that were changed, by their numbers.
    writers: BTreeMap<usize, VolumeWriter>,
    time: Time,
    /// The labels of SELinux, once they were asked for; nothing in it where there are none.
    policy: Option<Option<Policy>>,
}

impl std::fmt::Debug for Editor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Editor").field("system", &self.system).finish_non_exhaustive()
    }
}

/// How a file is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteOptions {
    /// Behind what is there, not in its place.
    pub append: bool,
    /// Its permissions; without, a new file has 0644 and one that is there keeps what it has.
    pub mode: Option<u16>,
    /// Its user and group, likewise.
    pub owner: Option<(Option<u32>, Option<u32>)>,
}

impl WriteOptions {
    /// As `cat > FILE` does.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Editor {
    /// Opens what is in `disk`, or the filesystem `volume` of it alone. What is changed gets `time`.
    ///
    /// # Errors
    /// If there is no system in it, or it cannot be read.
    pub fn open(disk: Arc<dyn BlockWrite>, volume: Option<&str>, time: Time) -> crate::Result<Self> {
        let read = Arc::clone(&disk) as Arc<dyn BlockRead>;
        let system = match volume {
            Some(name) => System::open_volume(read, name)?,
            None => System::open_any(read)?,
        };
        match system.unreadable() {
            None => Ok(Self { disk, system, writers: BTreeMap::new(), time, policy: None }),
            Some(why) => Err(err!("{why}")).hint(|| "--volume NAME changes one filesystem alone"),
        }
    }

    /// Opens `disk`, in which `system` is.
    pub(crate) fn of(disk: Arc<dyn BlockWrite>, system: System, time: Time) -> Self {
        Self { disk, system, writers: BTreeMap::new(), time, policy: None }
    }

    /// What is in it, with all changes.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// What is changed gets this time.
    pub fn time(&self) -> Time {
        self.time
    }

    /// Users and groups by the image's own names.
    pub fn owners(&self) -> Owners {
        Owners::of(self.system.files())
    }

    /// Writes what `content` gives into the file `path`, which is made if it is not there.
    ///
    /// # Errors
    /// If its directory is not there, it is no regular file, or there is no room.
    pub fn write(&mut self, path: &Path, content: &mut dyn Read, options: WriteOptions) -> crate::Result<()> {
        let place = self.place(path, true)?;
        let (writer, file) = match &place.node {
            Some(node) if node.kind == NodeKind::File => (self.writer(&place)?, node.id),
            Some(_) => bail!("{}: it is no regular file", path.display()),
            None => {
                let file = self.create_file(&place, options.mode.unwrap_or(FILE_MODE))?;
                (self.writer(&place)?, file)
            }
        };
        if options.append {
            writer.append_content(file, content)?;
        } else {
            if place.node.is_some() {
                writer.truncate(file)?;
            }
            writer.write_range(file, 0, content)?;
        }
        if let Some((uid, gid)) = options.owner {
            writer.set_owner(file, uid, gid)?;
        }
        if let Some(mode) = options.mode {
            writer.set_mode(file, mode)?;
        }
        self.system.forget();
        Ok(())
    }

    /// Changes the text of the file `path` by `substitutions`, one after the other. Whether that changed anything.
    ///
    /// # Errors
    /// As [`write`](Self::write); for a file of more than 16 MiB.
    pub fn edit(&mut self, path: &Path, substitutions: &[Substitution]) -> crate::Result<bool> {
        let old = self.read(path)?;
        let new = substitutions.iter().fold(old.clone(), |text, own| own.apply(&text));
        if new != old {
            self.write(path, &mut new.as_slice(), WriteOptions::new())?;
        }
        Ok(new != old)
    }

    /// What is in the file `path`.
    ///
    /// # Errors
    /// If it is no regular file, cannot be read, or has more than 16 MiB.
    pub fn read(&self, path: &Path) -> crate::Result<Vec<u8>> {
        let bytes = self.system.files().read(path, TEXT_LIMIT)?;
        bytes.ok_or_else(|| err!("{}: there is no such regular file in the image", path.display()))
    }

    /// Removes `path`: with `recursive` also a directory with all that is in it. With `force` it need not be there.
    ///
    /// # Errors
    /// If it is not there, or a directory; for a mount point.
    pub fn remove(&mut self, path: &Path, recursive: bool, force: bool) -> crate::Result<()> {
        if force && self.system.find(&Path::new("/").join(path), false)?.is_none() {
            return Ok(());
        }
        let place = self.place(path, false)?;
        let node = place.node.as_ref().ok_or_else(|| not_there(path))?;
        let directory = place.directory(path)?;
        let is_directory = node.kind == NodeKind::Directory;
        if is_directory && !recursive {
            return Err(err!("{}: it is a directory", path.display()))
                .hint(|| "-r removes it with all that is in it");
        }
        self.refuse_mounted(path)?;
        let writer = self.writer(&place)?;
        match is_directory {
            true => writer.remove_tree(directory, &place.name)?,
            false => writer.remove(directory, &place.name)?,
        }
        self.system.forget();
        Ok(())
    }

    /// Makes the directory `path`; with `parents` also those above it, and none of them is an error if it is there.
    ///
    /// # Errors
    /// If there is something else of that name, or no directory to make it in.
    pub fn make_directory(&mut self, path: &Path, mode: Option<u16>, parents: bool) -> crate::Result<()> {
        let above = path.parent().filter(|above| parents && !above.as_os_str().is_empty());
        if let Some(above) = above
            && self.find(above)?.is_none()
        {
            self.make_directory(above, None, true)?;
        }
        let place = self.place(path, true)?;
        match &place.node {
            Some(node) if node.kind == NodeKind::Directory && parents => Ok(()),
            Some(_) => bail!("{}: it is there already", path.display()),
            None => self.create_directory(&place, mode.unwrap_or(DIRECTORY_MODE)).map(drop),
        }
    }

    /// Gives `from` the name `to`, or moves it into `to` if that is a directory. A file there is replaced.
    ///
    /// # Errors
    /// If one is not there, or they are in different filesystems.
    pub fn rename(&mut self, from: &Path, to: &Path) -> crate::Result<()> {
        let old = self.place(from, false)?;
        let old_directory = old.directory(from)?;
        if old.node.is_none() {
            return Err(not_there(from));
        }
        let is_into = self.find(to)?.is_some_and(|node| node.kind == NodeKind::Directory);
        let to = match (is_into, from.file_name()) {
            (true, Some(name)) => to.join(name),
            _ => to.to_owned(),
        };
        let new = self.place(&to, false)?;
        let new_directory = new.directory(&to)?;
        if old.volume != new.volume {
            return Err(err!("{} and {} are in different filesystems", from.display(), to.display()))
                .hint(|| "copy-out and copy-in take files from one to another");
        }
        self.refuse_mounted(from)?;
        self.writer(&old)?.rename(old_directory, &old.name, new_directory, &new.name)?;
        self.system.forget();
        Ok(())
    }

    /// Makes `path` a symbolic link that says `target`; with `replace` in place of a file or link that is there.
    ///
    /// # Errors
    /// If it is there, or its directory is not.
    pub fn symbolic_link(&mut self, target: &[u8], path: &Path, replace: bool) -> crate::Result<()> {
        let place = self.free_place(path, replace)?;
        let (directory, own) = (place.directory(path)?, self.ownership(&place, 0o777, false)?);
        let link = self.writer(&place)?.make_symlink(directory, &place.name, target, &own)?;
        self.label(&place, link, NodeKind::Link)
    }

    /// Makes `path` another name of the file `target`; with `replace` in place of a file or link that is there.
    ///
    /// # Errors
    /// If `target` is not there, a directory, or in another filesystem.
    pub fn hard_link(&mut self, target: &Path, path: &Path, replace: bool) -> crate::Result<()> {
        let old = self.place(target, false)?;
        let node = old.node.as_ref().ok_or_else(|| not_there(target))?;
        if node.kind == NodeKind::Directory {
            bail!("{}: a directory has one name", target.display());
        }
        let there = self.place(path, false)?;
        if there.volume == old.volume && there.node.as_ref().is_some_and(|own| own.id == node.id) {
            bail!("{} and {} are the same file", target.display(), path.display());
        }
        let place = self.free_place(path, replace)?;
        if old.volume != place.volume {
            bail!("{} and {} are in different filesystems", target.display(), path.display());
        }
        let (directory, file) = (place.directory(path)?, node.id);
        self.writer(&place)?.make_link(directory, &place.name, file)?;
        self.system.forget();
        Ok(())
    }

    /// Cuts the file `path` at `size` bytes, or makes it longer by a hole; it is made if it is not there.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn truncate(&mut self, path: &Path, size: u64) -> crate::Result<()> {
        let place = self.place(path, true)?;
        let file = match &place.node {
            Some(node) => node.id,
            None => self.create_file(&place, FILE_MODE)?,
        };
        Ok(self.writer(&place)?.set_len(file, size)?)
    }

    /// Writes all changes. Those of one filesystem are there all at once or not at all; of several, one after the other, once it is known
    /// that each has room for them. (A FAT12 or FAT16 in whose root directory much changes is no whole: [`FatWriter`] tells of it.)
    ///
    /// [`FatWriter`]: image_core::fs::FatWriter
    ///
    /// # Errors
    /// If they cannot be written: then the image is as it was, but for filesystems that the error tells of as changed already.
    pub fn finish(&mut self) -> crate::Result<()> {
        let name = |index: &usize| match self.system.volumes().get(*index) {
            Some(volume) => volume.name(),
            None => "a filesystem".to_owned(),
        };
        for (index, writer) in &mut self.writers {
            writer.check_in_place().with_context(|| format!("changing {}", name(index)))?;
        }
        self.system.forget();
        let mut changed: Vec<String> = Vec::new();
        for (index, writer) in &mut self.writers {
            let doing = || match changed.is_empty() {
                true => format!("changing {}", name(index)),
                false => format!("changing {}, after {} was changed", name(index), changed.join(", ")),
            };
            writer.commit_in_place().with_context(doing)?;
            changed.push(name(index));
        }
        self.system.forget();
        Ok(self.disk.flush()?)
    }

    /// As [`finish`](Self::finish), for an image that nobody else knows yet: stopped half-way, it is neither.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn finish_copy(&mut self) -> crate::Result<()> {
        for writer in self.writers.values_mut() {
            writer.commit_copy()?;
        }
        self.system.forget();
        Ok(self.disk.flush()?)
    }

    /// Who changes the filesystem of `place`.
    fn writer(&mut self, place: &Place) -> crate::Result<&mut VolumeWriter> {
        if !self.writers.contains_key(&place.volume) {
            let volume = self.system.volumes().get(place.volume);
            let volume = volume.ok_or_else(|| err!("it is in no filesystem"))?;
            let kind = volume.signature.kind;
            if !is_changed_here(kind) || !volume.is_in_one_piece() {
                return Err(err!("{} is {kind}, which is only read here", volume.name()))
                    .hint(|| "files of ext2, ext3, ext4 and FAT filesystems are changed in place");
            }
            let window = Arc::new(Window::new(Arc::clone(&self.disk), volume.range)?);
            let writer = VolumeWriter::open(kind, window, self.time)
                .with_context(|| format!("changing {}", volume.name()))?;
            self.system.replace(place.volume, writer.files());
            self.writers.insert(place.volume, writer);
        }
        self.writers.get_mut(&place.volume).ok_or_else(|| err!("it is in no filesystem"))
    }

    /// Refuses to take away a directory in which a filesystem is mounted.
    fn refuse_mounted(&self, path: &Path) -> crate::Result<()> {
        let absolute = Path::new("/").join(path);
        let Some(real) = self.system.real_path(&absolute, false)? else { return Ok(()) };
        match self.system.mounted_beneath(&real) {
            Some(folder) => Err(err!("{}: a filesystem is mounted at {}", path.display(), folder.display()))
                .hint(|| "the directory that it is mounted at has to stay; name what is in it"),
            None => Ok(()),
        }
    }

    fn create_file(&mut self, place: &Place, mode: u16) -> crate::Result<NodeId> {
        let (mode, list) = handed_down(self.default_list(place)?.as_deref(), mode);
        let (directory, own) = (place.directory_number()?, self.ownership(place, mode, false)?);
        let writer = self.writer(place)?;
        let file = writer.create_file(directory, &place.name, &own)?;
        if let Some(list) = list {
            writer.give_attribute(file, acl::ACCESS, &list)?;
        }
        self.label(place, file, NodeKind::File)?;
        Ok(file)
    }

    fn create_directory(&mut self, place: &Place, mode: u16) -> crate::Result<NodeId> {
        let default = self.default_list(place)?;
        let (mode, list) = handed_down(default.as_deref(), mode);
        let (directory, own) = (place.directory_number()?, self.ownership(place, mode, true)?);
        let writer = self.writer(place)?;
        let made = writer.make_directory(directory, &place.name, &own)?;
        for (name, list) in [(acl::ACCESS, list), (acl::DEFAULT, default)] {
            if let Some(list) = list {
                writer.give_attribute(made, name, &list)?;
            }
        }
        self.label(place, made, NodeKind::Directory)?;
        Ok(made)
    }

    /// The access control list that the directory of `place` hands down to what is made in it, if it has one.
    fn default_list(&self, place: &Place) -> crate::Result<Option<Vec<u8>>> {
        let (Some(above), Some(files)) = (&place.above, self.system.filesystem(place.volume)) else {
            return Ok(None);
        };
        let all = files.attributes(above)?;
        Ok(all.into_iter().find(|own| own.name == acl::DEFAULT).map(|own| own.value))
    }

    /// Whose something new at `place` is: root's, and of the directory's group where that is handed down (inode(7), S_ISGID).
    fn ownership(&self, place: &Place, mode: u16, is_directory: bool) -> crate::Result<Ownership> {
        let above = place.above.as_ref().ok_or_else(|| err!("it is the root of a filesystem"))?;
        let mut own = Ownership::root(mode, self.time);
        if above.mode & 0o2000 != 0 {
            own.gid = above.gid;
            own.mode |= if is_directory { 0o2000 } else { 0 };
        }
        Ok(own)
    }

    /// Gives what was just made at `place` the label that the image's policy of SELinux has for it; where that says nothing, that of its
    /// directory, as the kernel does.
    fn label(&mut self, place: &Place, made: NodeId, kind: NodeKind) -> crate::Result<()> {
        self.system.forget();
        if self.policy.is_none() {
            self.policy = Some(Policy::of(self.system.files())?);
        }
        let label = self.policy.iter().flatten().find_map(|policy| policy.label(&place.path, kind));
        let Some(above) = place.above.as_ref() else { return Ok(()) };
        match label {
            Some(label) => Ok(self.writer(place)?.give_attribute(made, SELINUX_LABEL.as_bytes(), &label)?),
            None => Ok(self.writer(place)?.give_label(above, made)?),
        }
    }
}

/// Mode and list of something new for which a program asks `mode`, in a directory that hands down the list `default`. No umask counts
/// then (umask(2)).
fn handed_down(default: Option<&[u8]>, mode: u16) -> (u16, Option<Vec<u8>>) {
    let asked = match mode {
        FILE_MODE => 0o666,
        DIRECTORY_MODE => 0o777,
        mode => mode,
    };
    default.and_then(|list| acl::handed_down(list, asked)).unwrap_or((mode, None))
}
