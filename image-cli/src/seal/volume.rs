//! A filesystem of an image, changed and judged; the image itself stays as it is.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite};
use image_core::fs::{
    self, Ext4, Ext4Writer, Files, Finding, NewInode, NodeKind, Time, scrub_ext4, scrub_fat,
    wipe_ext4_content,
};

use super::overlay::Overlay;
use super::plan::Change;
use crate::audit::View;
use crate::audit::swap_page;
use crate::error::{Advise, Context, bail, err};
use crate::monitor::CancellationToken;
use crate::printable::printable;
use crate::system::Volume as Place;

/// So many bytes of changes are held before they are written beside the image.
const HELD: u64 = 16 << 20;
/// A file that all may read and nobody writes.
const READ_ONLY: u16 = 0o444;

/// A filesystem that is being changed.
pub(super) struct Volume {
    disk: Arc<Overlay>,
    /// Whether it is an ext4; else it is a FAT.
    is_ext: bool,
}

impl Volume {
    /// The filesystem at `place` of `view`'s disk; what is changed of it lies in the folder `work`.
    pub(super) fn over(view: &View, place: &Place, work: &Path) -> crate::Result<Self> {
        let window = place.content(view.disk())?;
        let path = work.join(format!("volume-{:x}", place.range.offset()));
        let disk = Arc::new(Overlay::new(window, &path)?);
        Ok(Self { disk, is_ext: place.signature.kind.is_ext() })
    }

    /// Makes `changes` at `time`, and with `wipe` zeroes and holes of what belongs to no file, and of what is in the `swap` files.
    /// Answers with how many bytes other than zero those were.
    ///
    /// # Errors
    /// If it is broken, or a change cannot be made in it.
    pub(super) fn seal(
        &self,
        changes: &[Change],
        time: Time,
        wipe: Option<&[PathBuf]>,
        cancel: &CancellationToken,
    ) -> crate::Result<u64> {
        if !self.is_ext {
            return self.seal_fat(changes, wipe.is_some());
        }
        self.change(changes, time, cancel)?;
        let mut wiped = 0;
        if let Some(swap) = wipe {
            let disk = Arc::clone(&self.disk) as Arc<dyn BlockWrite>;
            wiped = scrub_ext4(&disk)?;
            for path in swap {
                wiped += wipe_swap(&disk, path)
                    .with_context(|| format!("wiping the swap file {}", path.display()))?;
            }
        }
        if !self.disk.is_unchanged() {
            let files = Ext4::open(Arc::clone(&self.disk) as Arc<dyn BlockRead>)?;
            refuse(&files.check()?).context("after the changes")?;
            judge(&files, changes)?;
        }
        Ok(wiped)
    }

    /// Of an EFI system partition files can go, and nothing else is asked for.
    fn seal_fat(&self, changes: &[Change], wipe: bool) -> crate::Result<u64> {
        for change in changes {
            match change {
                Change::Remove(path) | Change::RemoveFolder(path) => fs::remove_from_fat(&self.disk, path)?,
                _ => bail!("a FAT has no such thing: {change}"),
            }
        }
        let wiped = if wipe { scrub_fat(&*self.disk)? } else { 0 };
        judge(&*fs::open(Arc::clone(&self.disk) as Arc<dyn BlockRead>)?, changes)?;
        Ok(wiped)
    }

    /// Makes `changes`, in a filesystem that was consistent before.
    fn change(&self, changes: &[Change], time: Time, cancel: &CancellationToken) -> crate::Result<()> {
        let mut files = Ext4Writer::open(Arc::clone(&self.disk) as Arc<dyn BlockWrite>, time)?;
        refuse(&files.files().check()?)?;
        for change in changes {
            cancel.check()?;
            make(&mut files, change).with_context(|| format!("to {change}"))?;
            if files.held_len() > HELD {
                files.commit()?;
            }
        }
        Ok(files.commit()?)
    }

    /// What it is now; `None` if nothing was changed.
    pub(super) fn into_disk(self) -> Option<Arc<dyn BlockRead>> {
        (!self.disk.is_unchanged()).then_some(self.disk as Arc<dyn BlockRead>)
    }
}

/// Wipes the swap file `path`, but for its header; what is none is left alone.
fn wipe_swap(disk: &Arc<dyn BlockWrite>, path: &Path) -> crate::Result<u64> {
    let files = Ext4::open(Arc::clone(disk) as Arc<dyn BlockRead>)?;
    let found = files.resolve(path.as_os_str().as_bytes(), false)?;
    let Some(inode) = found.filter(|inode| inode.kind == NodeKind::File) else { return Ok(0) };
    match swap_page(&files.content(inode.clone()))? {
        Some(page) => Ok(wipe_ext4_content(disk, inode.number, page)?),
        None => Ok(0),
    }
}

/// Makes one change. Its path leads through no link: whoever planned it followed those of the booted system.
fn make(files: &mut Ext4Writer, change: &Change) -> crate::Result<()> {
    let path = change.path();
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { bail!("it has no name") };
    let found = files.files().resolve(folder.as_os_str().as_bytes(), false)?;
    let folder = found.ok_or_else(|| err!("its folder is not there"))?;
    let name = name.as_bytes();
    let there = files.files().lookup(&folder, name)?;
    let own = || there.ok_or_else(|| err!("it is not there"));
    match change {
        Change::Remove(_) | Change::RemoveFolder(_) => files.remove(folder.number, name)?,
        Change::Empty(_) => files.truncate(own()?)?,
        Change::Rewrite(_, content) => files.write(own()?, content)?,
        Change::Create(_) => {
            files.create(folder.number, name, &NewInode::File(READ_ONLY))?;
        }
        Change::Link(_, target) => {
            files.create(folder.number, name, &NewInode::Link(target.as_bytes()))?;
        }
    }
    Ok(())
}

/// Refuses a filesystem in which something was found.
fn refuse(findings: &[Finding]) -> crate::Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    let words: Vec<String> = findings.iter().take(5).map(|finding| printable(&finding.to_string())).collect();
    let more = if findings.len() > words.len() { "; and more" } else { "" };
    Err(err!("the ext4 filesystem is inconsistent: {}{more}", words.join("; ")))
        .hint(|| "repair a raw copy (goldimg convert -O raw) with e2fsck -f, and seal that")
}

/// Reads everything that was changed.
///
/// # Errors
/// With the first change that was not made.
pub(super) fn judge(files: &(impl Files + ?Sized), changes: &[Change]) -> crate::Result<()> {
    let size = |path: &Path| files.link_metadata(path).map(|found| found.map(|metadata| metadata.size));
    let last: std::collections::BTreeMap<&Path, usize> =
        changes.iter().enumerate().map(|(index, change)| (change.path(), index)).collect();
    for (index, change) in changes.iter().enumerate() {
        let path = change.path();
        // What was removed may be something else by now.
        let is_last = last.get(path) == Some(&index);
        let done = match change {
            Change::Remove(_) | Change::RemoveFolder(_) => !is_last || size(path)?.is_none(),
            Change::Empty(_) | Change::Create(_) => size(path)? == Some(0),
            Change::Rewrite(_, content) => files.read(path, u64::MAX)?.as_ref() == Some(content),
            Change::Link(_, target) => files.read_link(path)?.as_deref() == Some(Path::new(target)),
        };
        if !done {
            bail!("it was not done: {change}");
        }
    }
    Ok(())
}
