//! What sealing would change in an image: found by reading it, in the order in which it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use image_core::fs::{FileKind, Files};

use super::accounts::lock_others;
use super::operations::{self, Chosen};
use super::rules::{Action, of_home, rules};
use crate::audit::{Expected, View, of_network};
use crate::error::err;
use crate::links::{Last, resolve};
use crate::system::Volume;

/// Folders within folders that are removed.
const DEPTH: usize = 64;
/// Files of accounts, with a password in each line.
const ACCOUNTS: [&str; 3] = ["/etc/shadow", "/etc/gshadow", "/etc/passwd"];
/// They are small.
const TEXT_LIMIT: u64 = 16 << 20;
/// What resolvers are in is smaller.
const RESOLV_LIMIT: u64 = 1 << 20;

/// One change to a filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A file, link or device goes.
    Remove(PathBuf),
    /// A folder goes that is empty by then.
    RemoveFolder(PathBuf),
    /// A file becomes empty.
    Empty(PathBuf),
    /// A file has other content; all else about it stays.
    Rewrite(PathBuf, Vec<u8>),
    /// An empty file of root's is made, for all to read.
    Create(PathBuf),
    /// A link is made.
    Link(PathBuf, &'static str),
}

impl Change {
    /// What is changed.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Remove(path) | Self::RemoveFolder(path) | Self::Empty(path) => path,
            Self::Rewrite(path, _) | Self::Create(path) | Self::Link(path, _) => path,
        }
    }

    /// The same change, at another path.
    pub(super) fn at(&self, path: PathBuf) -> Self {
        match self {
            Self::Remove(_) => Self::Remove(path),
            Self::RemoveFolder(_) => Self::RemoveFolder(path),
            Self::Empty(_) => Self::Empty(path),
            Self::Rewrite(_, content) => Self::Rewrite(path, content.clone()),
            Self::Create(_) => Self::Create(path),
            Self::Link(_, target) => Self::Link(path, target),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path().display();
        match self {
            Self::Remove(_) | Self::RemoveFolder(_) => write!(f, "remove {path}"),
            Self::Empty(_) => write!(f, "empty {path}"),
            Self::Rewrite(path, _) if ACCOUNTS.iter().any(|file| path == Path::new(file)) => {
                write!(f, "lock passwords in {}", path.display())
            }
            Self::Rewrite(..) => write!(f, "write {path}, for each machine to have its own"),
            Self::Create(_) => write!(f, "make {path}, empty"),
            Self::Link(_, target) => write!(f, "make {path} a link to {target}"),
        }
    }
}

/// All changes, in their order.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Plan {
    /// What would be changed, in its order.
    pub changes: Vec<Change>,
    /// What stays, and whoever seals may not expect to.
    pub notes: Vec<String>,
    /// What is gone or empty by then.
    pub(super) done: BTreeSet<PathBuf>,
    /// What of it goes with all names that it has.
    pub(super) secrets: BTreeSet<PathBuf>,
}

impl Plan {
    /// What is to be done about the image behind `view`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn new(view: &View, expected: &Expected, chosen: &Chosen) -> crate::Result<Self> {
        let mut plan = Self::default();
        let files = view.root();
        for rule in rules() {
            let operation = rule.operation();
            if !chosen.has(operation.name) {
                continue;
            }
            let found = view.matches(&rule.pattern)?;
            if found.is_empty() || !rule.system.fits(|path| view.exists(path))? {
                continue;
            }
            for path in found {
                if !(rule.unless_asked && expected.asks_for(&path)) {
                    let before = plan.changes.len();
                    plan.apply(rule.action, &path, files, expected, 0)?;
                    plan.note_secrets(before, operation.is_secret);
                }
            }
        }
        plan.homes(view, expected, chosen)?;
        if !expected.keep_passwords && chosen.has(operations::PASSWORDS) {
            for path in ACCOUNTS {
                plan.lock_passwords(path.as_ref(), files, expected)?;
            }
        }
        if chosen.has(operations::MACHINE_ID) {
            plan.identity(files, expected)?;
        }
        if chosen.has(operations::RESOLVERS) {
            plan.resolvers(files, expected)?;
        }
        plan.other_names(view, expected)?;
        Ok(plan)
    }

    fn note_secrets(&mut self, from: usize, is_secret: bool) {
        if is_secret {
            self.secrets.extend(self.changes[from..].iter().map(|change| change.path().to_owned()));
        }
    }

    /// What lies in homes that are elsewhere than homes usually are.
    fn homes(&mut self, view: &View, expected: &Expected, chosen: &Chosen) -> crate::Result<()> {
        let Some(bytes) = view.root().read("/etc/passwd".as_ref(), TEXT_LIMIT)? else { return Ok(()) };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let homes: BTreeSet<&str> = text.lines().filter_map(|line| line.split(':').nth(5)).collect();
        // A star would be taken for a pattern.
        let fits = |home: &&str| {
            home.starts_with('/') && !home.contains('*') && !home.split('/').any(|name| name == "..")
        };
        for home in homes.into_iter().filter(fits) {
            for file in of_home() {
                let operation = operations::of_home(file);
                if !chosen.has(operation.name) {
                    continue;
                }
                for path in view.matches(&format!("{home}/{file}"))? {
                    if !expected.asks_for(&path) {
                        let before = self.changes.len();
                        self.apply(Action::Remove, &path, view.root(), expected, 0)?;
                        self.note_secrets(before, operation.is_secret);
                    }
                }
            }
        }
        Ok(())
    }

    /// The changes of each filesystem, with paths in there.
    pub(super) fn by_volume<'a>(&self, view: &'a View) -> crate::Result<Vec<(&'a Volume, Vec<Change>)>> {
        let mut volumes: Vec<(&Volume, Vec<Change>)> =
            view.mounted().map(|volume| (volume, Vec::new())).collect();
        // Several ways may lead to one file, by links.
        let mut gone: BTreeMap<(u64, PathBuf), bool> = BTreeMap::new();
        for change in &self.changes {
            let place = match change {
                Change::Rewrite(..) => view.place_of_content(change.path())?,
                _ => view.place_of(change.path())?,
            };
            if let Some((volume, inside)) = &place {
                let is_gone = matches!(change, Change::Remove(_) | Change::RemoveFolder(_));
                let before = gone.insert((volume.range.offset(), inside.clone()), is_gone);
                if before == Some(true) && !matches!(change, Change::Create(_) | Change::Link(..)) {
                    gone.insert((volume.range.offset(), inside.clone()), true);
                    continue;
                }
            }
            let own = place.and_then(|(place, inside)| {
                volumes.iter_mut().find(|(volume, _)| volume.range == place.range).map(|own| (own, inside))
            });
            match own {
                Some(((_, changes), inside)) => changes.push(change.at(inside)),
                None => return Err(err!("{} is in no filesystem", change.path().display())),
            }
        }
        // Where nothing is changed, blocks may be unused and not empty.
        Ok(volumes)
    }

    pub(super) fn add(&mut self, change: Change) {
        self.done.insert(change.path().to_owned());
        self.changes.push(change);
    }

    fn apply(
        &mut self,
        action: Action,
        path: &Path,
        files: &dyn Files,
        expected: &Expected,
        depth: usize,
    ) -> crate::Result<()> {
        if self.done.contains(path) || expected.keeps(path) {
            return Ok(());
        }
        let Some(metadata) = files.link_metadata(path)? else { return Ok(()) };
        if depth > DEPTH {
            return Err(err!("{} is too deep", path.display()));
        }
        match (action, metadata.kind) {
            (Action::Remove, FileKind::Directory) => {
                self.inside(action, path, files, expected, depth)?;
                // Part of it may be kept.
                let all_gone = files
                    .list(path)?
                    .unwrap_or_default()
                    .iter()
                    .all(|entry| self.done.contains(&path.join(&entry.name)));
                if all_gone {
                    self.add(Change::RemoveFolder(path.into()));
                }
            }
            (Action::Remove, _) => self.add(Change::Remove(path.into())),
            (Action::RemoveContent, FileKind::Directory) => {
                self.inside(Action::Remove, path, files, expected, depth)?;
            }
            (Action::Truncate, FileKind::Directory) => self.inside(action, path, files, expected, depth)?,
            (Action::Truncate, FileKind::File) if metadata.size > 0 => self.add(Change::Empty(path.into())),
            (Action::Write { .. }, FileKind::File) => {
                let content = files.read(path, TEXT_LIMIT)?.unwrap_or_default();
                if let Some(text) = action.written(&content) {
                    self.add(Change::Rewrite(path.into(), text.into()));
                }
            }
            // What a link points to has rules of its own, or none.
            (Action::RemoveContent | Action::Truncate | Action::Write { .. }, _) => {}
        }
        Ok(())
    }

    fn inside(
        &mut self,
        action: Action,
        folder: &Path,
        files: &dyn Files,
        expected: &Expected,
        depth: usize,
    ) -> crate::Result<()> {
        for entry in files.list(folder)?.unwrap_or_default() {
            self.apply(action, &folder.join(&entry.name), files, expected, depth + 1)?;
        }
        Ok(())
    }

    fn lock_passwords(&mut self, path: &Path, files: &dyn Files, expected: &Expected) -> crate::Result<()> {
        let Some(bytes) = files.read(path, TEXT_LIMIT)? else { return Ok(()) };
        let Ok(text) = String::from_utf8(bytes) else {
            return Err(err!("{} is no text", path.display()));
        };
        // A group of the same name is somebody else.
        let none = BTreeSet::new();
        let kept = if path == "/etc/shadow" { &expected.passwords } else { &none };
        // Line by line, each with the end that it has: without a password nothing is written anew.
        let locked: String = text
            .split_inclusive('\n')
            .map(|line| match line.strip_suffix('\n') {
                Some(line) => format!("{}\n", lock_others(line, kept)),
                None => lock_others(line, kept),
            })
            .collect();
        if locked != text {
            self.add(Change::Rewrite(path.into(), locked.into_bytes()));
        }
        Ok(())
    }

    /// The machine's ids: there and empty, and one for all.
    fn identity(&mut self, files: &dyn Files, expected: &Expected) -> crate::Result<()> {
        let id = Path::new("/etc/machine-id");
        if !expected.keeps(id) {
            match files.link_metadata(id)? {
                Some(metadata) if metadata.kind == FileKind::File && metadata.size == 0 => {}
                Some(metadata) if metadata.kind == FileKind::File => self.add(Change::Empty(id.into())),
                Some(_) => {
                    self.add(Change::Remove(id.into()));
                    self.add(Change::Create(id.into()));
                }
                None => self.add(Change::Create(id.into())),
            }
        }
        let bus = Path::new("/var/lib/dbus/machine-id");
        let is_own = files.link_metadata(bus)?.is_some_and(|metadata| metadata.kind != FileKind::Link);
        if is_own && !expected.keeps(bus) {
            self.add(Change::Remove(bus.into()));
            self.add(Change::Link(bus.into(), "/etc/machine-id"));
        }
        Ok(())
    }

    /// Names come from the network that the image runs in.
    fn resolvers(&mut self, files: &dyn Files, expected: &Expected) -> crate::Result<()> {
        let path = Path::new("/etc/resolv.conf");
        if expected.asks_for(path) {
            return Ok(());
        }
        match files.link_metadata(path)?.map(|metadata| metadata.kind) {
            Some(FileKind::File) => {}
            // The link is somebody's choice: what it leads to is made anew by whoever makes it.
            Some(FileKind::Link) => {
                let target = resolve(path, Last::Follow, |path| files.read_link(path))?;
                let Some(target) = target.filter(|target| !expected.asks_for(target)) else { return Ok(()) };
                let content = files.read(&target, RESOLV_LIMIT)?.unwrap_or_default();
                if of_network(&String::from_utf8_lossy(&content)).is_some() {
                    self.add(Change::Remove(target));
                }
                return Ok(());
            }
            _ => return Ok(()),
        }
        self.add(Change::Remove(path.into()));
        if files.metadata("/usr/lib/systemd/systemd-resolved".as_ref())?.is_some() {
            self.add(Change::Link(path.into(), "../run/systemd/resolve/stub-resolv.conf"));
        }
        Ok(())
    }
}
