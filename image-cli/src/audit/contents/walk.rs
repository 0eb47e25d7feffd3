//! All files of all filesystems, on all processors.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use image_core::block::{BlockRead, ByteRange, ExtentKind};
use image_core::fs::{Ext4, FileKind, Files, NodeKind, WalkEntry};

use super::super::view::{Readable, View};
use super::kinds::{self, Kind};
use super::search::{Search, Secret};
use super::{Contents, Found, binary, packed};
use crate::error::{Context, bail};
use crate::monitor::{Bytes, Monitor};

/// So many names are handed over at once.
const BATCH: usize = 128;
/// A file of this size is read at once.
const WHOLE: u64 = binary::HEAD as u64;
/// Larger ones in such pieces.
const PIECE: usize = 256 << 10;

/// A filesystem with so many bytes in use takes long enough for it to be told.
const LONG: u64 = 1 << 30;

/// Reads every file; `monitor` hears how far it is.
///
/// # Errors
/// If a filesystem cannot be opened.
pub(super) fn read(view: &View, monitor: Monitor<'_>) -> crate::Result<Contents> {
    let mut contents = Contents::default();
    let search = &Search::new()?;
    for place in view.readable() {
        let found = match place.volume.signature.kind.is_ext() {
            true => {
                let window: Arc<dyn BlockRead> = place.volume.content(view.disk())?;
                by_inode(&place, &Ext4::open(window)?, search, monitor)
            }
            false => by_path(&place, search),
        };
        contents.join(found.with_context(|| format!("reading all files of {}", place.name))?);
    }
    contents.found.sort();
    Ok(contents)
}

/// One who looks into files.
struct Worker<'a> {
    /// What stands before paths.
    prefix: &'a str,
    search: &'a Search,
    bytes: Vec<u8>,
    contents: Contents,
}

impl<'a> Worker<'a> {
    fn new(prefix: &'a str, search: &'a Search) -> Self {
        Self { prefix, search, bytes: Vec::new(), contents: Contents::default() }
    }

    /// Looks into the file that people know as `called`.
    fn file(&mut self, called: &str, content: &dyn BlockRead) {
        if content.size() == 0 {
            return;
        }
        match self.look(called, content) {
            Ok(Some(found)) => {
                self.contents.searched = self.contents.searched.saturating_add(1);
                for (inside, secret) in found {
                    self.contents.add(Found { path: called.to_owned(), inside, secret });
                }
            }
            Ok(None) => self.contents.closed = self.contents.closed.saturating_add(1),
            Err(error) => self.contents.unread(called, &error),
        }
    }

    /// Every secret of a file; `None` if it cannot be opened here.
    fn look(&mut self, called: &str, content: &dyn BlockRead) -> crate::Result<Option<Vec<packed::Inside>>> {
        let size = content.size();
        self.bytes.resize(size.min(WHOLE) as usize, 0);
        content.read_at(&mut self.bytes, 0)?;
        let head = self.bytes.as_slice();
        // A whole file that is as long as what was read is at hand.
        let mut rest = Pieces::new(content, head.len() as u64);
        let with_tokens = has_own_tokens(called);
        let mut found = match kinds::kind(head) {
            Kind::Harmless => return Ok(Some(Vec::new())),
            Kind::Closed => return Ok(None),
            Kind::Packed => {
                let whole = Box::new(BufReader::with_capacity(PIECE, head.chain(rest)));
                // What only looks packed is looked at as it is.
                match packed::search(head, whole, self.search, with_tokens) {
                    Ok(found) => return Ok(found),
                    Err(_) => {
                        let whole = &mut head.chain(Pieces::new(content, head.len() as u64));
                        self.search.stream(whole, with_tokens)?
                    }
                }
            }
            Kind::Plain if size <= WHOLE => self.search.stream(&mut &*head, with_tokens)?,
            Kind::Plain => self.search.stream(&mut head.chain(&mut rest), with_tokens)?,
        };
        found.extend(binary::key(head, size).map(Secret::Key));
        Ok(Some(found.into_iter().map(|secret| (None, secret)).collect()))
    }
}

/// Whether a token in the file `path` is one of this image. What packages bring has examples.
fn has_own_tokens(path: &str) -> bool {
    let is_package = path.starts_with("/usr/") && !path.starts_with("/usr/local/");
    !is_package && !path.starts_with("/var/lib/dpkg/")
}

/// What is stored of a file, one piece behind the other: holes are left out, for files are larger than disks.
struct Pieces<'a> {
    content: &'a dyn BlockRead,
    at: u64,
    /// Stored up to here.
    end: u64,
}

impl<'a> Pieces<'a> {
    /// From `start` on.
    fn new(content: &'a dyn BlockRead, start: u64) -> Self {
        Self { content, at: start, end: start }
    }

    /// Goes on to what is stored next; whether there is any.
    fn seek(&mut self) -> image_core::Result<bool> {
        /// So much is asked about at once.
        const STRETCH: u64 = 1 << 30;
        while self.at >= self.end && self.at < self.content.size() {
            let range = ByteRange::between(self.at, self.at.saturating_add(STRETCH).min(self.content.size()));
            let extents = self.content.extents(range)?;
            match extents.iter().find(|extent| extent.kind == ExtentKind::Data) {
                Some(data) => {
                    self.at = data.range.offset();
                    self.end = data.range.end();
                }
                None => {
                    self.at = range.end();
                    self.end = range.end();
                }
            }
        }
        Ok(self.at < self.end)
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if buf.is_empty() || !self.seek().map_err(std::io::Error::other)? {
            return Ok(0);
        }
        let count = (buf.len() as u64).min(self.end.saturating_sub(self.at)) as usize;
        let target = buf.get_mut(..count).unwrap_or_default();
        self.content.read_at(target, self.at).map_err(std::io::Error::other)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

/// One thread comes to the names, the others look into the files.
fn by_inode(
    place: &Readable<'_>,
    fs: &Ext4,
    search: &Search,
    monitor: Monitor<'_>,
) -> crate::Result<Contents> {
    let (name, prefix) = (place.name.as_str(), place.prefix.as_str());
    let workers = thread::available_parallelism().map_or(1, |count| count.get().min(16));
    let (sender, receiver) = sync_channel::<Vec<WalkEntry>>(workers.saturating_mul(2));
    let used = fs.superblock().used_size();
    let bytes = (used >= LONG).then(|| monitor.bytes(&format!("reading the files of {name}"), used));
    // Theirs alone: when none is left, nobody waits for them.
    let receiver = Arc::new(Mutex::new(receiver));
    let (mut contents, of_workers) = thread::scope(|scope| {
        let look = |receiver: Arc<Mutex<Receiver<Vec<WalkEntry>>>>| {
            let mut worker = Worker::new(prefix, search);
            while let Some(batch) = next(&receiver) {
                for step in batch {
                    inode(&mut worker, fs, &step, bytes.as_ref());
                }
            }
            worker.contents
        };
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                let receiver = Arc::clone(&receiver);
                scope.spawn(move || look(receiver))
            })
            .collect();
        drop(receiver);
        let contents = names(name, prefix, fs, &sender);
        drop(sender);
        let joined: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        contents.map(|contents| (contents, joined))
    })?;
    for worker in of_workers {
        contents.join(worker.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    }
    Ok(contents)
}

fn next(receiver: &Mutex<Receiver<Vec<WalkEntry>>>) -> Option<Vec<WalkEntry>> {
    receiver.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Hands over every name; what cannot be read is told.
fn names(
    name: &str,
    prefix: &str,
    fs: &Ext4,
    sender: &SyncSender<Vec<WalkEntry>>,
) -> crate::Result<Contents> {
    let mut contents = Contents::default();
    let mut batch = Vec::with_capacity(BATCH);
    for step in fs.walk(fs.root()?) {
        let step = match step {
            Ok(step) => step,
            Err(error) => {
                contents.unread(name, &error.into());
                continue;
            }
        };
        let is_looked_into =
            step.kind == NodeKind::File && !kinds::is_public(&[prefix.as_bytes(), b"/", &step.path].concat());
        if is_looked_into {
            batch.push(step);
        }
        // Workers end early only where all of them failed, which is told when they are joined.
        if batch.len() == BATCH && sender.send(std::mem::take(&mut batch)).is_err() {
            break;
        }
    }
    let _ = sender.send(batch);
    Ok(contents)
}

/// Looks into the file that `step` leads to; `bytes` counts what it takes on the disk.
fn inode(worker: &mut Worker<'_>, fs: &Ext4, step: &WalkEntry, bytes: Option<&Bytes<'_>>) {
    let called = format!("{}/{}", worker.prefix, String::from_utf8_lossy(&step.path));
    match fs.inode(step.inode) {
        Ok(inode) if inode.kind == NodeKind::File => {
            // Not its size: a file of holes is larger than what is read of it.
            let stored = inode.sectors.saturating_mul(512);
            worker.file(&called, &fs.content(inode));
            bytes.into_iter().for_each(|bytes| bytes.add(stored));
        }
        Ok(_) => {}
        Err(error) => worker.contents.unread(&called, &error.into()),
    }
}

/// Of filesystems without inodes.
fn by_path(place: &Readable<'_>, search: &Search) -> crate::Result<Contents> {
    /// More folders than any such filesystem has.
    const FOLDERS: usize = 1 << 16;
    let mut worker = Worker::new(&place.prefix, search);
    let files: &dyn Files = place.files;
    let mut folders = vec![PathBuf::from("/")];
    let mut met = 0_usize;
    while let Some(folder) = folders.pop() {
        let entries = match files.list(&folder) {
            Ok(entries) => entries.unwrap_or_default(),
            Err(error) => {
                let folder = format!("{}{}", place.prefix, folder.display());
                worker.contents.unread(&folder, &error.into());
                continue;
            }
        };
        for entry in entries {
            let path = folder.join(&entry.name);
            let called = format!("{}{}", place.prefix, path.display());
            met = met.saturating_add(1);
            match entry.kind {
                FileKind::Directory if met < FOLDERS => folders.push(path),
                FileKind::Directory => bail!("there are more than {FOLDERS} names"),
                FileKind::File if !kinds::is_public(called.as_bytes()) => match files.content(&path) {
                    Ok(Some(content)) => worker.file(&called, &*content),
                    Ok(None) => {}
                    Err(error) => worker.contents.unread(&called, &error.into()),
                },
                _ => {}
            }
        }
    }
    Ok(worker.contents)
}
