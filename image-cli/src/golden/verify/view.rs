//! An image as its rules see it: the partition table, and filesystems by the role they have.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use image_core::block::{BlockRead, Window};
use image_core::fs::{FileKind, Files, Signature, detect};
use image_core::partition::{Partition, PartitionTable, kind};

/// No file that is looked into is larger, save an initrd.
pub(super) const LIMIT: u64 = 16 << 20;
/// Folders within folders that are walked through.
const DEPTH: usize = 32;

/// An image, opened.
pub(crate) struct View {
    /// All of it.
    pub(super) disk: Arc<dyn BlockRead>,
    /// Its partition table.
    pub(super) table: PartitionTable,
    /// What the partitions hold, by number.
    pub(super) signatures: Vec<(u32, Signature)>,
    /// The partition of the root filesystem.
    pub(super) root_partition: Partition,
    root: Box<dyn Files>,
    esp: Option<Box<dyn Files>>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("table", &self.table).field("signatures", &self.signatures).finish()
    }
}

impl View {
    /// Opens `disk`.
    ///
    /// # Errors
    /// If it has no partition table or no root filesystem that can be read.
    pub(crate) fn open(disk: Arc<dyn BlockRead>) -> anyhow::Result<Self> {
        let table = PartitionTable::read(&*disk)?.context("it has no partition table")?;
        let mut signatures = Vec::new();
        let (mut root, mut esp) = (None, None);
        for partition in &table.partitions {
            let window = partition.window(Arc::clone(&disk))?;
            let Some(signature) = detect(&window)? else { continue };
            if partition.is(kind::EFI_SYSTEM) {
                esp = Some(open(window).with_context(|| format!("opening partition {}", partition.number))?);
            } else if signature.kind.is_ext() && root.is_none() {
                let files =
                    open(window).with_context(|| format!("opening partition {}", partition.number))?;
                if files.metadata("/etc".as_ref())?.is_some() {
                    root = Some((partition.clone(), files));
                }
            }
            signatures.push((partition.number, signature));
        }
        let (root_partition, root) =
            root.ok_or_else(|| anyhow!("no partition has a root filesystem (one with /etc)"))?;
        Ok(Self { disk, table, signatures, root_partition, root, esp })
    }

    /// The root filesystem's files.
    pub(super) fn root(&self) -> &dyn Files {
        &*self.root
    }

    /// The EFI system partition's files.
    pub(super) fn esp(&self) -> Option<&dyn Files> {
        self.esp.as_deref()
    }

    /// The UUID of the root filesystem.
    pub(super) fn root_uuid(&self) -> Option<&str> {
        let own = |(number, _): &&(u32, Signature)| *number == self.root_partition.number;
        self.signatures.iter().find(own).and_then(|(_, signature)| signature.uuid.as_deref())
    }

    /// The text of the file `path` in the root filesystem; `None` if there is none.
    pub(super) fn text(&self, path: &str) -> anyhow::Result<Option<String>> {
        let bytes = self.root.read(path.as_ref(), LIMIT)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Whether there is anything at `path` in the root filesystem, be it a dangling link.
    pub(super) fn exists(&self, path: &Path) -> anyhow::Result<bool> {
        Ok(self.root.link_metadata(path)?.is_some())
    }

    /// What in the root filesystem a pattern means: an absolute path whose names may have one `*` each.
    pub(super) fn matches(&self, pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = vec![PathBuf::from("/")];
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            let mut next = Vec::new();
            for folder in found {
                let Some((before, after)) = part.split_once('*') else {
                    if self.exists(&folder.join(part))? {
                        next.push(folder.join(part));
                    }
                    continue;
                };
                for entry in self.root.list(&folder)?.unwrap_or_default() {
                    let name = entry.name.to_string_lossy();
                    let middle = name.strip_prefix(before).is_some_and(|rest| rest.ends_with(after));
                    if middle {
                        next.push(folder.join(&entry.name));
                    }
                }
            }
            found = next;
        }
        Ok(found)
    }

    /// Every file beneath `path` that is no directory, with what it is; links are not followed.
    pub(super) fn walk(&self, path: &Path) -> anyhow::Result<Vec<(PathBuf, FileKind)>> {
        let mut found = Vec::new();
        let mut folders = vec![(path.to_owned(), 0_usize)];
        while let Some((folder, depth)) = folders.pop() {
            if self.root.link_metadata(&folder)?.is_none_or(|metadata| metadata.kind != FileKind::Directory) {
                continue;
            }
            for entry in self.root.list(&folder)?.unwrap_or_default() {
                let inside = folder.join(&entry.name);
                match entry.kind {
                    FileKind::Directory if depth < DEPTH => folders.push((inside, depth.saturating_add(1))),
                    FileKind::Directory => return Err(anyhow!("{} is too deep", inside.display())),
                    other => found.push((inside, other)),
                }
            }
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }
}

fn open(window: Window<Arc<dyn BlockRead>>) -> image_core::Result<Box<dyn Files>> {
    image_core::fs::open(Arc::new(window))
}
