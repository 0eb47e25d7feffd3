//! What sealing changes in filesystems that are only read here (XFS, Btrfs), made in a copy of them by the image's own kernel (`crate::guest`).
//!
//! ```text
//! changes, by paths without links ─┬─ what goes ──────────────────────────────────────────────► removed ─┐
//!                                  ├─ what is empty or other by then, with all names that it has ─┐       ├─► guest ─► read again
//!                                  └─ times of the directories that this is in ───────────────────┴► archive
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange, FileDisk, Window};
use image_core::convert::{DiskSink, Options, Zeroes, convert};
use image_core::free_space::{WithoutFreeSpace, find_free_space};
use image_core::fs::{FilesystemKind, Node, NodeId, NodeKind, Time};

use super::order::Order;
use super::plan::Change;
use super::space;
use super::volume::judge;
use crate::audit::View;
use crate::error::{Context, err};
use crate::files::{Archive, Item, SELINUX_LABEL, by_names};
use crate::guest::{GuestVolume, Request, apply, check, is_for_a_guest};
use crate::monitor::{CancellationToken, Monitor};
use crate::system::{System, Volume};
use crate::variables::Variables;

/// A file that all may read and nobody writes.
const READ_ONLY: u32 = 0o444;

/// Whether files of `volume` are changed by the image's own kernel.
pub(super) fn is_changed_by_kernel(volume: &Volume) -> bool {
    volume.is_in_one_piece() && is_for_a_guest(volume.signature.kind)
}

/// What a filesystem is when it is sealed.
pub(super) struct Sealed {
    /// What is in its place; nothing if it stays.
    pub(super) disk: Option<Arc<dyn BlockRead>>,
    /// The bytes other than zero that were in unused space.
    pub(super) wiped: u64,
    /// What stays, in words.
    pub(super) notes: Vec<String>,
}

/// The changes of a plan to such filesystems.
pub(super) struct InGuest<'a> {
    system: &'a System,
    /// In their order, with absolute paths that lead through no link.
    changes: Vec<Change>,
    /// By where they are mounted.
    volumes: BTreeMap<PathBuf, GuestVolume>,
}

impl<'a> InGuest<'a> {
    /// Those of `changes` to what is in `view`.
    ///
    /// # Errors
    /// If a folder on the way to one cannot be read.
    pub(super) fn of(view: &'a View, changes: &[Change]) -> crate::Result<Self> {
        let system = view.system();
        let mut own = Self { system, changes: Vec::new(), volumes: BTreeMap::new() };
        for change in changes {
            let follow = matches!(change, Change::Rewrite(..));
            let Some(path) = system.real_path(change.path(), follow)? else { continue };
            let Some((index, folder)) = system.mounted().holder(&path) else { continue };
            if !system.volumes().get(index).is_some_and(is_changed_by_kernel) {
                continue;
            }
            if !own.volumes.contains_key(folder) {
                own.volumes.insert(folder.to_owned(), GuestVolume::holding(system, folder)?);
            }
            own.changes.push(change.at(path));
        }
        Ok(own)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The filesystems that are changed, each once: subvolumes are mounted each for itself.
    fn ranges(&self) -> Vec<ByteRange> {
        let mut ranges: Vec<ByteRange> = self.volumes.values().map(|volume| volume.range).collect();
        ranges.sort_by_key(|range| range.offset());
        ranges.dedup();
        ranges
    }

    /// What is told before it is done.
    fn note(&self) -> String {
        let names: Vec<String> = self
            .volumes
            .iter()
            .map(|(folder, volume)| format!("{} ({})", folder.display(), volume.kind))
            .collect();
        format!("the image's own kernel changes {}, which is only read here", names.join(", "))
    }

    /// Makes sure that it can be done.
    ///
    /// # Errors
    /// Without QEMU, or a kernel in the image that can do it.
    pub(super) fn check(&self, variables: &Variables) -> crate::Result<()> {
        let kinds: Vec<FilesystemKind> = self.volumes.values().map(|volume| volume.kind).collect();
        check(self.system, &kinds, variables).with_context(|| self.note())
    }

    /// Seals the filesystems, those in which only unused space is to be wiped among them: what each of them is by then.
    ///
    /// # Errors
    /// As [`apply`] says; if it was not done then, or a filesystem cannot be read.
    pub(super) fn seal(
        &self,
        order: &Order<'_>,
        wipes: bool,
        monitor: Monitor<'_>,
    ) -> crate::Result<Vec<(ByteRange, Sealed)>> {
        let mut changed = None;
        if !self.changes.is_empty() {
            monitor.note(&self.note());
            let stage = monitor.stage("seal in a guest");
            changed = Some(self.run(order, monitor)?);
            stage.done();
        }
        let ranges = self.ranges();
        let mut all: Vec<(ByteRange, Sealed)> = Vec::new();
        for place in order.view.mounted().filter(|place| is_changed_by_kernel(place)) {
            if all.iter().any(|(range, _)| *range == place.range) {
                continue;
            }
            let mut sealed = Sealed { disk: None, wiped: 0, notes: Vec::new() };
            let mut content = place.content(order.view.disk())?;
            if let Some(disk) = changed.as_ref().filter(|_| ranges.contains(&place.range)) {
                content = Arc::new(Window::new(Arc::clone(disk), place.range)?);
                sealed.disk = Some(Arc::clone(&content));
            }
            if wipes {
                let emptied = space::wipe_free(&content, place, order.work)?;
                (sealed.wiped, sealed.notes) = (emptied.wiped, emptied.notes);
                if emptied.wiped > 0 {
                    sealed.disk = Some(emptied.disk);
                }
            }
            all.push((place.range, sealed));
        }
        Ok(all)
    }

    /// Makes the changes in a copy of the filesystems, each at its place on a disk of the same size: the rest of that is empty.
    ///
    /// # Errors
    /// As [`apply`] says; if it was not done then.
    fn run(&self, order: &Order<'_>, monitor: Monitor<'_>) -> crate::Result<Arc<FileDisk>> {
        let (path, archive) = (order.work.join("guest.raw"), order.work.join("guest.tar"));
        let whole = self.system.disk();
        let disk = FileDisk::create_new(&path, whole.size())?;
        for range in self.ranges() {
            let from: Arc<dyn BlockRead> = Arc::new(Window::new(Arc::clone(whole), range)?);
            let free = find_free_space(&from).context("looking for free space")?;
            let from = WithoutFreeSpace::new(from, free);
            let to = Window::new(&disk, range)?;
            let watch = monitor.bytes("copying the filesystem", range.len());
            let options = Options { progress: &watch, ..Options::default() };
            convert(&from, &mut DiskSink::new(&to, Zeroes::AlreadyThere), &options)
                .context("copying the filesystem")?;
        }
        let pack = || -> crate::Result<()> {
            let mut out = BufWriter::new(File::create_new(&archive)?);
            self.pack(&mut out, order.time, monitor.cancel())?;
            Ok(out.flush()?)
        };
        pack().context("packing the changes for a guest")?;
        let volumes = self.volumes.values().cloned().collect();
        let variables = order.variables.clone();
        let mut request = Request::new(&path, self.system, volumes, &archive, order.work, variables);
        request.removed =
            self.removed().map(|path| path.to_owned().into_os_string().into_encoded_bytes()).collect();
        apply(&request, monitor)?;
        let disk = Arc::new(disk);
        let changed = self.system.again(Arc::clone(&disk) as Arc<dyn BlockRead>)?;
        judge(changed.files(), &self.changes)?;
        Ok(disk)
    }

    fn removed(&self) -> impl Iterator<Item = &Path> {
        self.changes
            .iter()
            .filter(|change| matches!(change, Change::Remove(_) | Change::RemoveFolder(_)))
            .map(Change::path)
    }

    /// Packs what is there after the changes, and was not before.
    fn pack(&self, out: &mut dyn Write, time: Time, cancel: &CancellationToken) -> crate::Result<()> {
        let gone: BTreeSet<&Path> = self.removed().collect();
        // The last change of a path counts.
        let last: BTreeMap<&Path, &Change> =
            self.changes.iter().map(|change| (change.path(), change)).collect();
        let mut archive = Archive::new(out);
        // Files with several names, by the first that was packed.
        let mut shared: BTreeMap<(usize, NodeId), PathBuf> = BTreeMap::new();
        for folder in self.folders(&gone) {
            let mut item = self.item(&folder)?;
            (item.path, item.node.modified) = (relative(&folder), time);
            archive.add(&item, None, cancel)?;
        }
        for (path, change) in &last {
            let (kind, mode, content): (_, _, &[u8]) = match change {
                Change::Remove(_) | Change::RemoveFolder(_) => continue,
                Change::Empty(_) => (None, READ_ONLY, &[]),
                Change::Rewrite(_, content) => (None, READ_ONLY, content),
                Change::Create(_) => (Some(NodeKind::File), READ_ONLY, &[]),
                Change::Link(_, target) => (Some(NodeKind::Link), 0o777, target.as_bytes()),
            };
            let (node, attributes) = match kind {
                Some(kind) => (new_node(kind, mode, time), self.label_of_folder(path)?),
                None => {
                    let step = self.system.find(path, false)?.with_context(|| gone_by_now(path))?;
                    let volume = step.volume;
                    let item = Item::of(step)?;
                    if item.node.links > 1 {
                        shared.insert((volume, item.node.id), (*path).to_owned());
                    }
                    (Node { modified: time, ..item.node.clone() }, item.attributes()?)
                }
            };
            archive.add(&Item::made(relative(path), node, content.to_vec()), Some(attributes), cancel)?;
        }
        self.pack_names(&mut archive, &shared, &gone, cancel)?;
        archive.end().map(drop)
    }

    /// Adds the other names of `shared` files: they are names of what was packed by then.
    fn pack_names(
        &self,
        archive: &mut Archive<'_>,
        shared: &BTreeMap<(usize, NodeId), PathBuf>,
        gone: &BTreeSet<&Path>,
        cancel: &CancellationToken,
    ) -> crate::Result<()> {
        if shared.is_empty() {
            return Ok(());
        }
        let walk = self.system.walk(Path::new("/"), false)?.context("there is no root directory")?;
        for step in walk {
            cancel.check()?;
            let Ok(node) = &step.node else { continue };
            let Some(first) = shared.get(&(step.volume, node.id)) else { continue };
            let path = crate::files::absolute(&step.path);
            if path != *first && !gone.contains(path.as_path()) {
                archive.add_link(&Item::of(step)?, &relative(first))?;
            }
        }
        Ok(())
    }

    /// Directories in which a name goes or comes, and that stay.
    fn folders(&self, gone: &BTreeSet<&Path>) -> Vec<PathBuf> {
        let is_other = |change: &&Change| !matches!(change, Change::Empty(_) | Change::Rewrite(..));
        let parents = self.changes.iter().filter(is_other).filter_map(|change| change.path().parent());
        let stays = |folder: &&Path| !folder.ancestors().any(|above| gone.contains(above));
        let is_here = |folder: &&Path| {
            let holder = self.system.mounted().holder(folder);
            holder.is_some_and(|(_, place)| self.volumes.contains_key(place))
        };
        let mut folders: Vec<PathBuf> = parents
            .filter(stays)
            .filter(is_here)
            .map(Path::to_owned)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        folders.sort_by(|one, other| by_names(one.as_os_str().as_bytes(), other.as_os_str().as_bytes()));
        folders
    }

    fn item(&self, path: &Path) -> crate::Result<Item<'_>> {
        Item::of(self.system.find(path, false)?.with_context(|| gone_by_now(path))?)
    }

    /// What is new has the label of the directory that it is in.
    fn label_of_folder(&self, path: &Path) -> crate::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let folder = path.parent().ok_or_else(|| err!("it has no name"))?;
        let mut attributes = self.item(folder)?.attributes()?;
        attributes.retain(|name, _| name == SELINUX_LABEL.as_bytes());
        Ok(attributes)
    }
}

fn gone_by_now(path: &Path) -> String {
    format!("{} is not there any more", path.display())
}

/// A path as archives have it.
fn relative(path: &Path) -> Vec<u8> {
    path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes().to_vec()
}

/// Something of root's that was not there before.
fn new_node(kind: NodeKind, mode: u32, time: Time) -> Node {
    Node {
        id: NodeId::new(0),
        kind,
        mode,
        uid: 0,
        gid: 0,
        size: 0,
        allocated: 0,
        links: 1,
        flags: 0,
        accessed: time,
        changed: time,
        modified: time,
        created: None,
        device: None,
    }
}
