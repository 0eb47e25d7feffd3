//! Files of an image copied beneath a folder of this machine.
//!
//! ```text
//! Walk ─► name by name, each in the folder before it, never through a link ─► file, folder, link
//! ```
//!
//! What an image says must not reach further than that folder: a name is one name, a folder is opened only if it is one, and what
//! is there already stays unless the caller has it replaced. No device, no set-user-ID bit and no owner without being asked.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use image_core::block::{BlockRead, ByteRange, ExtentKind};
use image_core::fs::{Attribute, Node, NodeId, NodeKind, Time};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::error::{Context, bail, err};
use crate::monitor::Monitor;
use crate::printable::printable;
use crate::system::{Step, Walk};

/// Content is read in such pieces, in bytes.
const PIECE: u64 = 1 << 20;
/// So much of a file is asked about at once, in bytes.
const STRETCH: u64 = 1 << 30;
/// Folders in folders: each is kept open.
const DEPTH_MAX: usize = 400;
/// Files with several names whose first name is remembered.
const LINKS_MAX: usize = 1 << 20;

/// What is kept of a file besides its content, its permissions and when it was changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Who it belongs to: for root.
    pub owners: bool,
    /// Set-user-ID, set-group-ID and the sticky bit.
    pub special_bits: bool,
    /// Extended attributes, with access control lists and capabilities.
    pub attributes: bool,
    /// Devices, pipes: for root.
    pub devices: bool,
    /// Whether files that are there already are replaced.
    pub replace: bool,
}

impl CopyOptions {
    /// Nothing that could surprise: content, permissions, times.
    pub fn new() -> Self {
        Self::default()
    }
}

/// How much was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// Files of whatever kind.
    pub files: u64,
    /// Files that could not be read or made, each told as a warning.
    pub failed: u64,
    /// Devices, pipes and sockets that were left out, each told as a warning.
    pub left_out: u64,
}

/// Copies all that `walk` comes to into `folder`, where it begins under the name `name`; without one, what is in it comes there itself.
///
/// # Errors
/// If `folder` cannot be opened; if the caller stops it. What goes wrong with one file is a warning, and the others are copied.
pub fn copy_out(
    walk: Walk<'_>,
    folder: &Path,
    name: Option<&OsStr>,
    options: CopyOptions,
    monitor: Monitor<'_>,
) -> crate::Result<Copied> {
    Copy::into(folder, options, monitor)?.all(walk, name)
}

/// Copies all that `walk` comes to into `folder`, to be worked on there: with all that this process may give a file here. Answers with the
/// names of attributes that it may not.
///
/// # Errors
/// As [`copy_out`].
pub(crate) fn copy_to_work_on(
    walk: Walk<'_>,
    folder: &Path,
    monitor: Monitor<'_>,
) -> crate::Result<(Copied, BTreeSet<Vec<u8>>)> {
    let options =
        CopyOptions { owners: true, special_bits: true, attributes: true, devices: true, replace: false };
    let mut copy = Copy { is_lenient: true, ..Copy::into(folder, options, monitor)? };
    let copied = copy.all(walk, None)?;
    Ok((copied, copy.refused.into_inner()))
}

struct Copy<'a> {
    root: OwnedFd,
    options: CopyOptions,
    monitor: Monitor<'a>,
    /// The folders that lead to where the walk is, outermost first.
    open: Vec<Folder>,
    /// Of files with several names, the one that was copied.
    first_names: HashMap<(usize, NodeId), PathBuf>,
    /// A folder that could not be made: nothing of what is in it can be.
    skipped: Option<Vec<u8>>,
    copied: Copied,
    /// Whether a file is copied without what this process may not give it.
    is_lenient: bool,
    /// The names of attributes that it may not give.
    refused: RefCell<BTreeSet<Vec<u8>>>,
}

struct Folder {
    folder: OwnedFd,
    path: Vec<u8>,
    node: Node,
    attributes: Vec<Attribute>,
    /// Whether it was there before, and keeps what it has.
    was_there: bool,
}

impl<'a> Copy<'a> {
    fn into(folder: &Path, options: CopyOptions, monitor: Monitor<'a>) -> crate::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, folder, flags, Mode::empty())
            .with_context(|| format!("opening {}", folder.display()))?;
        Ok(Self {
            root,
            options,
            monitor,
            open: Vec::new(),
            first_names: HashMap::new(),
            skipped: None,
            copied: Copied::default(),
            is_lenient: false,
            refused: RefCell::default(),
        })
    }

    fn all(&mut self, walk: Walk<'_>, name: Option<&OsStr>) -> crate::Result<Copied> {
        let prefix = name.map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        for step in walk {
            self.monitor.check()?;
            self.step(&step, &prefix);
        }
        self.close_to(0);
        Ok(self.copied)
    }

    fn step(&mut self, step: &Step<'_>, prefix: &[u8]) {
        let path = match (prefix, step.path.as_slice()) {
            (b"", path) => path.to_vec(),
            (prefix, b"") => prefix.to_vec(),
            (prefix, path) => [prefix, b"/", path].concat(),
        };
        if self.skipped.as_ref().is_some_and(|skipped| is_beneath(&path, skipped)) {
            return;
        }
        let done = match &step.node {
            Ok(node) => self.copy(step, node, &path),
            Err(error) => Err(err!("{error:#}")),
        };
        match done {
            Ok(true) => self.copied.files += 1,
            Ok(false) => {}
            Err(error) => {
                self.copied.failed += 1;
                self.monitor.warning(&format!("{}: {error:#}", shown(&path)));
                self.skipped = Some(path);
            }
        }
    }

    /// Copies one file; whether there was anything to copy.
    fn copy(&mut self, step: &Step<'_>, node: &Node, path: &[u8]) -> crate::Result<bool> {
        let parent = self.parent_of(path);
        self.close_to(parent);
        if path.is_empty() {
            return Ok(false);
        }
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if matches!(name, b"" | b"." | b"..") || name.contains(&0) {
            bail!("no file of this machine can have that name");
        }
        let attributes = if self.options.attributes { step.fs.attributes(node)? } else { Vec::new() };
        if node.kind == NodeKind::Directory {
            self.enter(name, path, node, attributes)?;
            return Ok(true);
        }
        let is_left_out = match node.kind {
            NodeKind::Socket => true,
            NodeKind::CharacterDevice | NodeKind::BlockDevice | NodeKind::Pipe => !self.options.devices,
            _ => false,
        };
        if is_left_out {
            self.leave_out(path);
            return Ok(false);
        }
        self.make_way(name)?;
        let own = (step.volume, node.id);
        if let Some(first) = self.first_names.get(&own) {
            self.link(&first.clone(), name)?;
            return Ok(true);
        }
        match node.kind {
            NodeKind::File => self.file(step, node, name, &attributes)?,
            NodeKind::Link => self.symbolic_link(step, node, name, &attributes)?,
            _ if !self.special(node, name)? => {
                self.leave_out(path);
                return Ok(false);
            }
            _ => {}
        }
        if node.links > 1 && self.first_names.len() < LINKS_MAX {
            self.first_names.insert(own, PathBuf::from(OsStr::from_bytes(path)));
        }
        Ok(true)
    }

    fn leave_out(&mut self, path: &[u8]) {
        self.copied.left_out += 1;
        if !self.is_lenient {
            self.monitor.warning(&format!("{}: left out: it is no file, directory or link", shown(path)));
        }
    }

    /// How many of the open folders lead to `path`.
    fn parent_of(&self, path: &[u8]) -> usize {
        self.open.iter().take_while(|folder| is_beneath(path, &folder.path)).count()
    }

    /// The folder that the walk is in.
    fn here(&self) -> &OwnedFd {
        self.open.last().map_or(&self.root, |folder| &folder.folder)
    }

    /// Makes the folder `name`, or opens it if it is one, and goes on in there.
    fn enter(
        &mut self,
        name: &[u8],
        path: &[u8],
        node: &Node,
        attributes: Vec<Attribute>,
    ) -> crate::Result<()> {
        if self.open.len() >= DEPTH_MAX {
            bail!("it is in more than {DEPTH_MAX} folders");
        }
        let name = OsStr::from_bytes(name);
        let was_there = match rustix::fs::mkdirat(self.here(), name, Mode::RWXU) {
            Ok(()) => false,
            Err(Errno::EXIST) => true,
            Err(error) => return Err(error).context("making the folder"),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(self.here(), name, flags, Mode::empty())
            .context("something that is no folder has its name there")?;
        self.open.push(Folder { folder, path: path.to_vec(), node: node.clone(), attributes, was_there });
        Ok(())
    }

    /// Leaves folders until `depth` of them are open. What they have is given to them at the end: files are made in them before.
    fn close_to(&mut self, depth: usize) {
        while self.open.len() > depth {
            let Some(Folder { folder, path, node, attributes, was_there }) = self.open.pop() else { return };
            if was_there {
                continue;
            }
            if let Err(error) = self.give(&File::from(folder), &node, &attributes) {
                self.copied.failed += 1;
                self.monitor.warning(&format!("{}: {error:#}", shown(&path)));
            }
        }
    }

    /// Removes what has the name of a file that comes, if it is to be replaced.
    fn make_way(&self, name: &[u8]) -> crate::Result<()> {
        let name = OsStr::from_bytes(name);
        match rustix::fs::statat(self.here(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error).context("looking what is there"),
            Ok(_) if !self.options.replace => Err(err!("there is something already: --force replaces it")),
            Ok(_) => {
                rustix::fs::unlinkat(self.here(), name, AtFlags::empty()).context("replacing what is there")
            }
        }
    }

    fn file(&self, step: &Step<'_>, node: &Node, name: &[u8], attributes: &[Attribute]) -> crate::Result<()> {
        let content = step.fs.content(node)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.here(), OsStr::from_bytes(name), flags, Mode::RUSR | Mode::WUSR)
            .context("making the file")?;
        let file = File::from(file);
        let done = self.fill(&file, &*content).and_then(|()| self.give(&file, node, attributes));
        if done.is_err() {
            // A part of it would look like all of it.
            let _ = rustix::fs::unlinkat(self.here(), OsStr::from_bytes(name), AtFlags::empty());
        }
        done
    }

    /// Writes what `content` has stored; all else stays a hole.
    fn fill(&self, file: &File, content: &dyn BlockRead) -> crate::Result<()> {
        file.set_len(content.size()).context("giving it its size")?;
        let mut bytes = vec![0; content.size().min(PIECE) as usize];
        let mut at = 0;
        while at < content.size() {
            let stretch = ByteRange::between(at, (at + STRETCH).min(content.size()));
            for extent in content.extents(stretch)?.iter().filter(|extent| extent.kind == ExtentKind::Data) {
                let mut from = extent.range.offset();
                while from < extent.range.end() {
                    self.monitor.check()?;
                    let count = (extent.range.end() - from).min(PIECE) as usize;
                    let piece = bytes.get_mut(..count).unwrap_or_default();
                    content.read_at(piece, from)?;
                    file.write_all_at(piece, from).context("writing it")?;
                    from += count as u64;
                }
            }
            at = stretch.end();
        }
        Ok(())
    }

    fn symbolic_link(
        &self,
        step: &Step<'_>,
        node: &Node,
        name: &[u8],
        attributes: &[Attribute],
    ) -> crate::Result<()> {
        let (target, name) = (step.fs.read_link(node)?, OsStr::from_bytes(name));
        rustix::fs::symlinkat(OsStr::from_bytes(&target), self.here(), name).context("making the link")?;
        self.give_owner_at(name, node)?;
        // A link cannot be opened: it is named, in a folder that is.
        let path = Path::new("/proc/self/fd").join(self.here().as_raw_fd().to_string()).join(name);
        for Attribute { name, value } in attributes {
            let set = rustix::fs::lsetxattr(&path, &**name, value, XattrFlags::empty());
            self.unless_refused(set, name)?;
        }
        rustix::fs::utimensat(self.here(), name, &times(node), AtFlags::SYMLINK_NOFOLLOW)
            .context("giving it its times")
    }

    /// What came of setting the attribute `name`.
    fn unless_refused(&self, set: rustix::io::Result<()>, name: &[u8]) -> crate::Result<()> {
        match set {
            Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) if self.is_lenient => {
                self.refused.borrow_mut().insert(name.to_vec());
                Ok(())
            }
            set => set.with_context(|| format!("giving it its attribute {}", shown(name))),
        }
    }

    /// Makes a device or pipe; whether that is allowed.
    fn special(&self, node: &Node, name: &[u8]) -> crate::Result<bool> {
        let kind = match node.kind {
            NodeKind::CharacterDevice => FileType::CharacterDevice,
            NodeKind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let (major, minor) = node.device.unwrap_or_default();
        let (name, mode) = (OsStr::from_bytes(name), Mode::from_raw_mode(node.mode & 0o777));
        match rustix::fs::mknodat(self.here(), name, kind, mode, rustix::fs::makedev(major, minor)) {
            Err(Errno::PERM) if self.is_lenient => return Ok(false),
            made => made.context("making the device or pipe")?,
        }
        self.give_owner_at(name, node)?;
        let bits = if self.options.special_bits { 0o7777 } else { 0o777 };
        // Whatever the umask left of it; it was just made, and is no link.
        rustix::fs::chmodat(self.here(), name, Mode::from_raw_mode(node.mode & bits), AtFlags::empty())
            .context("giving it its permissions")?;
        rustix::fs::utimensat(self.here(), name, &times(node), AtFlags::SYMLINK_NOFOLLOW)
            .context("giving it its times")?;
        Ok(true)
    }

    fn give_owner_at(&self, name: &OsStr, node: &Node) -> crate::Result<()> {
        if !self.options.owners {
            return Ok(());
        }
        let (uid, gid) = (Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)));
        rustix::fs::chownat(self.here(), name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .context("giving it to its owner")
    }

    /// Gives `name` to what was copied to `first` before.
    fn link(&self, first: &Path, name: &[u8]) -> crate::Result<()> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let (folder, own) = (first.parent().unwrap_or(Path::new("")), first.file_name().unwrap_or_default());
        let folder = match folder.as_os_str().is_empty() {
            true => rustix::fs::openat(&self.root, c".", flags, Mode::empty()),
            false => rustix::fs::openat2(&self.root, folder, flags, Mode::empty(), beneath),
        };
        let folder = folder.context("opening the folder of its first name")?;
        rustix::fs::linkat(folder, own, self.here(), OsStr::from_bytes(name), AtFlags::empty())
            .context("giving it another name")
    }

    /// Gives owner, permissions, attributes and times, in the order in which none takes away another.
    fn give(&self, file: &File, node: &Node, attributes: &[Attribute]) -> crate::Result<()> {
        if self.options.owners {
            let (uid, gid) = (Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)));
            rustix::fs::fchown(file, uid, gid).context("giving it to its owner")?;
        }
        let bits = if self.options.special_bits { 0o7777 } else { 0o777 };
        rustix::fs::fchmod(file, Mode::from_raw_mode(node.mode & bits))
            .context("giving it its permissions")?;
        for Attribute { name, value } in attributes {
            let set = rustix::fs::fsetxattr(file, &**name, value, XattrFlags::empty());
            self.unless_refused(set, name)?;
        }
        rustix::fs::futimens(file, &times(node)).context("giving it its times")
    }
}

fn times(node: &Node) -> Timestamps {
    let spec =
        |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.min(999_999_999).into() };
    Timestamps { last_access: spec(node.accessed), last_modification: spec(node.modified) }
}

/// Whether `path` is in the folder `folder`.
fn is_beneath(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/"))
}

fn shown(name: &[u8]) -> String {
    printable(&String::from_utf8_lossy(name))
}
