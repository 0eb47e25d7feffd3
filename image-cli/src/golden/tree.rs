//! The tree: the root filesystem being made, a directory that belongs to this process's user namespace.
//!
//! ```text
//! work directory
//!   └─ tree/   path("/etc/x") ─► work/tree/etc/x, never a file of the host
//!              command("apt-get") ─► in a sandbox, clean environment, output into the log
//!              session() ─► /sys /dev /run for the duration, services denied, names resolved
//! ```
//!
//! Paths inside are absolute, as the system in the tree will see them.

mod beneath;
mod session;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::epoch::{self, Epoch};
use super::log::Log;
use super::network::Networks;
use super::sandbox::Confined;
use crate::error::Context;
use beneath::{Last, resolve};
pub(crate) use session::Session;

/// Where programs are in a tree. The first entry is [`session`]'s.
const PATH: &str = "/run/goldimg/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A root filesystem being made.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    root: PathBuf,
    log: Log,
    /// No file in the tree is newer in the end.
    epoch: Epoch,
}

impl Tree {
    /// The tree in the directory `root`, with no file newer than `epoch` in the end.
    pub(crate) fn new(root: impl Into<PathBuf>, log: Log, epoch: Epoch) -> Self {
        Self { root: root.into(), log, epoch }
    }

    /// Where the tree is on this machine.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where all that is done to it is written.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// The build's date.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Where the file `inside` is on this machine, links followed. It need not exist.
    ///
    /// # Errors
    /// If links go round in circles.
    pub(crate) fn path(&self, inside: impl AsRef<Path>) -> crate::Result<PathBuf> {
        resolve(&self.root, inside.as_ref(), Last::Follow)
    }

    /// Where the file `inside` is on this machine; if it is a link, where the link is.
    ///
    /// # Errors
    /// If links of its parents go round in circles.
    pub(crate) fn link_path(&self, inside: impl AsRef<Path>) -> crate::Result<PathBuf> {
        resolve(&self.root, inside.as_ref(), Last::Keep)
    }

    /// What a path on this machine is called in the tree; one outside stays as it is.
    pub(crate) fn inside(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.root) {
            Ok(inside) => Path::new("/").join(inside),
            Err(_) => path.to_owned(),
        }
    }

    /// Whether there is anything at `inside`, be it a dangling link.
    pub(crate) fn exists(&self, inside: impl AsRef<Path>) -> bool {
        self.link_path(inside).is_ok_and(|path| path.symlink_metadata().is_ok())
    }

    /// What the file `inside` has in it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn read(&self, inside: impl AsRef<Path>) -> crate::Result<Vec<u8>> {
        let path = self.path(&inside)?;
        fs::read(path).with_context(|| format!("reading {} in the image", inside.as_ref().display()))
    }

    /// The text of the file `inside`, or `None` if there is no such file.
    ///
    /// # Errors
    /// If it cannot be read, or is no UTF-8.
    pub(crate) fn text(&self, inside: impl AsRef<Path>) -> crate::Result<Option<String>> {
        match fs::read_to_string(self.path(&inside)?) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("reading {} in the image", inside.as_ref().display()))
            }
        }
    }

    /// Writes the file `inside` anew, with the permission bits `mode` and parents as needed.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write(
        &self,
        inside: impl AsRef<Path>,
        content: impl AsRef<[u8]>,
        mode: u32,
    ) -> crate::Result<()> {
        let path = self.path(&inside)?;
        let write = || -> std::io::Result<()> {
            self.make_parents(&path)?;
            let mut file =
                fs::File::options().write(true).create(true).truncate(true).mode(mode).open(&path)?;
            std::io::Write::write_all(&mut file, content.as_ref())?;
            // The mode given to open counts for new files only, and less the umask.
            file.set_permissions(fs::Permissions::from_mode(mode))
        };
        write().with_context(|| format!("writing {} in the image", inside.as_ref().display()))
    }

    /// Makes the directory `inside`, and its parents, unless they exist.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn make_dir(&self, inside: impl AsRef<Path>) -> crate::Result<PathBuf> {
        let path = self.path(&inside)?;
        self.make_parents(&path)
            .and_then(|()| make_dir(&path))
            .with_context(|| format!("making the directory {} in the image", inside.as_ref().display()))?;
        Ok(path)
    }

    fn make_parents(&self, path: &Path) -> std::io::Result<()> {
        let missing = |path: &&Path| path.starts_with(&self.root) && path.symlink_metadata().is_err();
        let parents: Vec<&Path> = path.ancestors().skip(1).take_while(missing).collect();
        parents.into_iter().rev().try_for_each(make_dir)
    }

    /// Removes `inside`, with all beneath it; a link itself. Answers whether there was anything.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub(crate) fn remove(&self, inside: impl AsRef<Path>) -> crate::Result<bool> {
        let path = self.link_path(&inside)?;
        let removed = match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(false);
            }
            Err(error) => Err(error),
        };
        removed.with_context(|| format!("removing {} in the image", inside.as_ref().display()))?;
        Ok(true)
    }

    /// The names in the directory `inside`, in order; none if there is no such directory.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn list(&self, inside: impl AsRef<Path>) -> crate::Result<Vec<std::ffi::OsString>> {
        let doing = || format!("listing {} in the image", inside.as_ref().display());
        let entries = match fs::read_dir(self.path(&inside)?) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error).with_context(doing),
        };
        let mut names = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<std::io::Result<Vec<_>>>()
            .with_context(doing)?;
        names.sort();
        Ok(names)
    }

    /// `program` in the tree: in a sandbox, with an environment of its own and no network. Run it with [`Log::run`] or
    /// [`Log::output`], while a [`Session`] lasts.
    pub(crate) fn command<'n>(&self, program: &str) -> Confined<'n> {
        let mut command = Confined::new(&self.root, program);
        command.envs([
            ("PATH", PATH),
            ("HOME", "/root"),
            ("LANG", "C.UTF-8"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("SYSTEMD_OFFLINE", "1"),
        ]);
        command.env(epoch::VARIABLE, self.epoch.seconds().to_string());
        command
    }

    /// Runs `program` with `arguments` in the tree.
    ///
    /// # Errors
    /// As [`Log::run`].
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> crate::Result<()> {
        self.log.run(self.command(program).args(arguments))
    }

    /// Prepares the tree for commands, until the session is left. Those that need a network have one of `networks`.
    ///
    /// # Errors
    /// If something cannot be mounted or written.
    pub(crate) fn session(&self, networks: Networks) -> crate::Result<Session<'_>> {
        Session::begin(self, networks)
    }
}

/// A directory, whatever the umask.
fn make_dir(path: &Path) -> std::io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o755)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A tree in a temporary directory, with a log beside it.
    pub(crate) fn scratch() -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::create(&dir.path().join("log")).unwrap();
        let root = dir.path().join("tree");
        fs::create_dir(&root).unwrap();
        let tree = Tree::new(root, log, Epoch::new(1_700_000_000).unwrap());
        (dir, tree)
    }

    #[test]
    fn files_are_written_read_and_removed_beneath_the_root() {
        let (dir, tree) = scratch();
        fs::write(dir.path().join("outside"), "host").unwrap();
        symlink("../outside", tree.root().join("link")).unwrap();
        tree.write("/link", "image", 0o640).unwrap();
        assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"host");
        assert_eq!(tree.read("/outside").unwrap(), b"image");
        assert_eq!(tree.path("/outside").unwrap().metadata().unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(tree.remove("/link").unwrap());
        assert!(!tree.remove("/link").unwrap());
        assert!(tree.exists("/outside") && !tree.exists("/link"));
        tree.write("/a/b/c", "deep", 0o600).unwrap();
        assert_eq!(tree.list("/a").unwrap(), ["b"]);
        symlink("/", tree.root().join("a/up")).unwrap();
        assert!(tree.remove("/a").unwrap());
        assert_eq!(tree.text("/outside").unwrap().as_deref(), Some("image"));
        assert_eq!((tree.text("/none").unwrap(), tree.list("/none").unwrap().len()), (None, 0));
    }
}
