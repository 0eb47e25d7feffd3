//! Where something is, or would be: a filesystem, a directory of it, and a name.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use image_core::fs::{Node, NodeId, NodeKind};

use super::Editor;
use crate::error::{Advise, bail, err};

/// A place in a filesystem.
pub(super) struct Place {
    /// The number of the filesystem.
    pub(super) volume: usize,
    /// The directory; `None` for the root of a filesystem, which is in none.
    pub(super) above: Option<Node>,
    /// The name in there.
    pub(super) name: Vec<u8>,
    /// What has that name.
    pub(super) node: Option<Node>,
    /// Its path in the booted system, without links on the way.
    pub(super) path: PathBuf,
}

impl Place {
    /// The directory that `path` is in.
    pub(super) fn directory(&self, path: &Path) -> crate::Result<NodeId> {
        match &self.above {
            Some(above) => Ok(above.id),
            None => Err(err!("{}: a filesystem is mounted there", path.display())),
        }
    }

    /// The directory.
    pub(super) fn directory_number(&self) -> crate::Result<NodeId> {
        self.directory(Path::new("/"))
    }
}

impl Editor {
    /// Where `path` is; of a link at its end, what it points to if `follow`. Its directory must be there.
    pub(super) fn place(&self, path: &Path, follow: bool) -> crate::Result<Place> {
        let absolute = Path::new("/").join(path);
        let found = self.system.place(&absolute, follow)?;
        let (volume, inside) = found.ok_or_else(|| not_there(path))?;
        let files =
            self.system.filesystem(volume).ok_or_else(|| err!("{}: it cannot be read", path.display()))?;
        let folder = self.system.mount_point(volume).unwrap_or(Path::new("/"));
        let find = |inside: &Path| image_core::fs::resolve(files, inside.as_os_str().as_bytes(), false);
        let path = folder.join(inside.strip_prefix("/").unwrap_or(&inside));
        let (Some(above), Some(name)) = (inside.parent(), inside.file_name()) else {
            return Ok(Place { volume, above: None, name: Vec::new(), node: Some(files.root()?), path });
        };
        let directory = find(above)?.filter(|node| node.kind == NodeKind::Directory);
        let Some(directory) = directory else {
            let above = above_of(&inside, folder);
            return Err(err!("{}: there is no directory {} in the image", path.display(), above.display()))
                .hint(|| "mkdir -p makes it; of a link that leads there, rm removes the link");
        };
        let node = find(&inside)?;
        Ok(Place { volume, above: Some(directory), name: name.as_bytes().to_vec(), node, path })
    }

    /// Where `path` would be: nothing is there, or was a file and is removed.
    pub(super) fn free_place(&mut self, path: &Path, replace: bool) -> crate::Result<Place> {
        let mut place = self.place(path, false)?;
        match &place.node {
            None => {}
            Some(node) if replace && node.kind != NodeKind::Directory => {
                let directory = place.directory(path)?;
                let name = place.name.clone();
                self.writer(&place)?.remove(directory, &name)?;
                self.system.forget();
                place.node = None;
            }
            Some(_) => bail!("{}: it is there already", path.display()),
        }
        Ok(place)
    }

    /// What is at `path`, links followed.
    pub(super) fn find(&self, path: &Path) -> crate::Result<Option<Node>> {
        let absolute = Path::new("/").join(path);
        self.system.find(&absolute, true)?.map(|step| step.node).transpose()
    }
}

/// The directory of `inside`, a path in the filesystem at `folder`, as a booted system sees it.
fn above_of(inside: &Path, folder: &Path) -> PathBuf {
    let above = inside.parent().unwrap_or(Path::new("/"));
    folder.join(above.strip_prefix("/").unwrap_or(above))
}

pub(super) fn not_there(path: &Path) -> crate::Error {
    err!("{}: there is no such file in the image", path.display())
}
