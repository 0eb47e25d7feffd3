//! What commands in the tree find around them: kernel filesystems, names resolved, services denied.
//!
//! ```text
//! /proc  of this process namespace, /proc/sys read-only       /usr/sbin/policy-rc.d  no service is started
//! /sys   the host's, read-only, without its firmware          /etc/resolv.conf       the host's
//! /dev   null zero full random urandom tty, pts, shm          /run/goldimg/bin       udevadm, modprobe and
//! /run   empty                                                                       sysctl that do nothing
//! ```
//!
//! Nothing of it is in the tree when the session is over. Mounts are private to this process's mount namespace: they
//! end with it, even if it is killed. The firmware is hidden because packages act upon it, and the host's is not the
//! image's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind_recursive, mount_remount, unmount};
use rustix::process::{Pid, Signal, kill_process_group};

use super::Tree;

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Programs that speak to the running kernel, which is not the image's.
const IDLE_PROGRAMS: [&str; 3] = ["udevadm", "modprobe", "sysctl"];
const IDLE: &str = "#!/bin/sh\nexit 0\n";
/// "Forbidden by policy", as invoke-rc.d(8) has it.
const DENY: &str = "#!/bin/sh\nexit 101\n";

/// A tree prepared for commands. Undone by [`Session::leave`], or when dropped.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    tree: &'a Tree,
    /// In the order they were mounted.
    mounts: Vec<PathBuf>,
    replaced: Vec<Replaced>,
}

impl<'a> Session<'a> {
    pub(super) fn begin(tree: &'a Tree) -> anyhow::Result<Self> {
        // Whatever fails on the way is undone by dropping it.
        let mut session = Self { tree, mounts: Vec::new(), replaced: Vec::new() };
        session.mount_proc()?;
        session.mount_sys()?;
        session.mount_dev()?;
        session.mount_run()?;
        session.replace("/usr/sbin/policy-rc.d", DENY.into(), 0o755)?;
        if let Ok(resolvers) = fs::read("/etc/resolv.conf") {
            session.replace("/etc/resolv.conf", resolvers, 0o644)?;
        }
        Ok(session)
    }

    /// The tree.
    pub(crate) fn tree(&self) -> &'a Tree {
        self.tree
    }

    /// Shows this machine's folder `source` at `inside` until the session is over.
    ///
    /// # Errors
    /// If it cannot be mounted.
    pub(crate) fn show(&mut self, source: &Path, inside: &str) -> anyhow::Result<()> {
        let target = self.tree.make_dir(inside)?;
        self.bind(source, target)
    }

    /// Opens a shell in the tree, on the terminal, and waits for its end.
    ///
    /// # Errors
    /// If there is no terminal, or no shell in the tree.
    pub(crate) fn shell(&self) -> anyhow::Result<()> {
        let terminal = || fs::File::options().read(true).write(true).open("/dev/tty");
        let doing = "opening a shell in the image: there must be a terminal";
        let shell = if self.tree.exists("/bin/bash") { "/bin/bash" } else { "/bin/sh" };
        let mut command = self.tree.command(shell);
        command.env("TERM", std::env::var_os("TERM").unwrap_or_else(|| "dumb".into()));
        command.stdin(terminal().context(doing)?).stdout(terminal()?).stderr(terminal()?);
        let mut child = command.spawn().context("opening a shell in the image")?;
        // However it ends: a last command that failed is not the build's failure.
        child.wait().context("waiting for the shell in the image")?;
        self.end_leftovers();
        Ok(())
    }

    /// Ends what commands left running.
    pub(crate) fn end_leftovers(&self) {
        // Only as the first process of a namespace of our own is "all other processes" what we started.
        if std::process::id() == 1 {
            // kill(-1): fails if there are none, which is as well.
            let _ = kill_process_group(Pid::INIT, Signal::KILL);
        }
    }

    /// Takes everything back.
    ///
    /// # Errors
    /// If something cannot be unmounted or put back.
    pub(crate) fn leave(mut self) -> anyhow::Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> anyhow::Result<()> {
        self.end_leftovers();
        let mut result = Ok(());
        while let Some(replaced) = self.replaced.pop() {
            result = result.and(replaced.put_back(self.tree));
        }
        while let Some(target) = self.mounts.pop() {
            let unmounted = unmount(&target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
            result = result.and(unmounted.with_context(|| format!("unmounting {}", target.display())));
        }
        result
    }

    fn mount_proc(&mut self) -> anyhow::Result<()> {
        let target = self.tree.make_dir("/proc")?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        match mount("proc", &target, "proc", flags, None) {
            Ok(()) => self.mounts.push(target),
            // In a container whose own /proc is partly hidden.
            Err(Errno::PERM) => self.bind("/proc".as_ref(), target)?,
            Err(error) => return Err(error).context("mounting /proc in the image"),
        }
        let sys = self.tree.path("/proc/sys")?;
        self.bind(&sys.clone(), sys.clone())?;
        read_only(&sys)
    }

    fn mount_sys(&mut self) -> anyhow::Result<()> {
        let target = self.tree.make_dir("/sys")?;
        self.bind("/sys".as_ref(), target.clone())?;
        read_only(&target)?;
        let firmware = self.tree.path("/sys/firmware")?;
        if firmware.is_dir() {
            self.mount_tmpfs(firmware, c"mode=755,size=4k")?;
        }
        Ok(())
    }

    fn mount_dev(&mut self) -> anyhow::Result<()> {
        let dev = self.tree.make_dir("/dev")?;
        self.mount_tmpfs(dev.clone(), c"mode=755,size=1m")?;
        for name in DEVICES {
            let node = dev.join(name);
            fs::write(&node, "").with_context(|| format!("making {}", node.display()))?;
            self.bind(&Path::new("/dev").join(name), node)?;
        }
        for (name, target) in DEVICE_LINKS {
            symlink(target, dev.join(name)).with_context(|| format!("making /dev/{name} in the image"))?;
        }
        let pts = self.tree.make_dir("/dev/pts")?;
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        mount("devpts", &pts, "devpts", flags, c"newinstance,ptmxmode=0666,mode=0620")
            .context("mounting /dev/pts in the image")?;
        self.mounts.push(pts);
        let shm = self.tree.make_dir("/dev/shm")?;
        self.mount_tmpfs(shm, c"mode=1777")
    }

    fn mount_run(&mut self) -> anyhow::Result<()> {
        let run = self.tree.make_dir("/run")?;
        self.mount_tmpfs(run, c"mode=755")?;
        let lock = self.tree.make_dir("/run/lock")?;
        fs::set_permissions(&lock, fs::Permissions::from_mode(0o1777))
            .with_context(|| format!("making {}", lock.display()))?;
        for program in IDLE_PROGRAMS {
            self.tree.write(format!("/run/goldimg/bin/{program}"), IDLE, 0o755)?;
        }
        Ok(())
    }

    fn mount_tmpfs(&mut self, target: PathBuf, options: &std::ffi::CStr) -> anyhow::Result<()> {
        mount("tmpfs", &target, "tmpfs", MountFlags::NOSUID, options)
            .with_context(|| format!("mounting a memory filesystem at {}", target.display()))?;
        self.mounts.push(target);
        Ok(())
    }

    /// Shows the host's `source` at `target`, with what is mounted beneath it: a part alone would show what those
    /// mounts hide, which a user namespace may not.
    fn bind(&mut self, source: &Path, target: PathBuf) -> anyhow::Result<()> {
        let doing = || format!("showing {} at {}", source.display(), target.display());
        mount_bind_recursive(source, &target).with_context(doing)?;
        self.mounts.push(target);
        Ok(())
    }

    /// Puts `content` at `inside` until the session is over.
    fn replace(&mut self, inside: &'static str, content: Vec<u8>, mode: u32) -> anyhow::Result<()> {
        let path = self.tree.link_path(inside)?;
        let before = Before::look(&path).with_context(|| format!("reading {inside} in the image"))?;
        self.tree.remove(inside)?;
        self.tree.write(inside, &content, mode)?;
        self.replaced.push(Replaced { inside, content, before });
        Ok(())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // Where this matters, `leave` was called and told of errors; the namespace's end undoes the mounts.
        let _ = self.undo();
    }
}

/// Makes the mount at `target` read-only.
fn read_only(target: &Path) -> anyhow::Result<()> {
    // A user namespace may not take away what the host's mount has: these are the usual flags of /proc and /sys.
    let flags = MountFlags::BIND
        | MountFlags::RDONLY
        | MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC
        | MountFlags::RELATIME;
    mount_remount(target, flags, c"").with_context(|| format!("making {} read-only", target.display()))
}

/// A file in the tree that is another one for the duration.
#[derive(Debug)]
struct Replaced {
    inside: &'static str,
    content: Vec<u8>,
    before: Before,
}

#[derive(Debug)]
enum Before {
    Absent,
    Link(PathBuf),
    File(Vec<u8>, u32),
}

impl Before {
    fn look(path: &Path) -> std::io::Result<Self> {
        match path.symlink_metadata() {
            Ok(meta) if meta.is_symlink() => Ok(Self::Link(fs::read_link(path)?)),
            Ok(meta) => Ok(Self::File(fs::read(path)?, meta.permissions().mode() & 0o7777)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::Absent),
            Err(error) => Err(error),
        }
    }
}

impl Replaced {
    /// Puts back what was there before, unless a command has put something of its own there meanwhile.
    fn put_back(self, tree: &Tree) -> anyhow::Result<()> {
        let path = tree.link_path(self.inside)?;
        let ours = Before::look(&path);
        if !matches!(ours, Ok(Before::File(content, _)) if content == self.content) {
            return Ok(());
        }
        tree.remove(self.inside)?;
        match self.before {
            Before::Absent => Ok(()),
            Before::File(content, mode) => tree.write(self.inside, content, mode),
            Before::Link(target) => {
                symlink(target, &path).with_context(|| format!("putting {} of the image back", self.inside))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::tree::tests::scratch;

    /// A session without mounts, which need a namespace.
    fn session(tree: &Tree) -> Session<'_> {
        Session { tree, mounts: Vec::new(), replaced: Vec::new() }
    }

    #[test]
    fn replaced_files_come_back_as_they_were() {
        let (_dir, tree) = scratch();
        tree.write("/etc/file", "old", 0o600).unwrap();
        symlink("/run/none", tree.root().join("etc/link")).unwrap();
        let mut session = session(&tree);
        for inside in ["/etc/file", "/etc/link", "/etc/absent"] {
            session.replace(inside, b"new".into(), 0o644).unwrap();
            assert_eq!(tree.read(inside).unwrap(), b"new");
        }
        session.leave().unwrap();
        assert_eq!(tree.read("/etc/file").unwrap(), b"old");
        let mode = tree.path("/etc/file").unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(fs::read_link(tree.root().join("etc/link")).unwrap(), Path::new("/run/none"));
        assert!(!tree.exists("/etc/absent"));
    }

    #[test]
    fn what_a_command_put_there_itself_stays() {
        let (_dir, tree) = scratch();
        tree.write("/etc/resolv.conf", "old", 0o644).unwrap();
        let mut session = session(&tree);
        session.replace("/etc/resolv.conf", b"host".into(), 0o644).unwrap();
        tree.remove("/etc/resolv.conf").unwrap();
        symlink("/run/stub", tree.root().join("etc/resolv.conf")).unwrap();
        drop(session);
        assert_eq!(fs::read_link(tree.root().join("etc/resolv.conf")).unwrap(), Path::new("/run/stub"));
    }
}
