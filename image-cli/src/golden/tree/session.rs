//! What commands in the tree find around them: kernel filesystems, names resolved, services denied.
//!
//! ```text
//! /proc  made by the sandbox                                 /usr/sbin/policy-rc.d  no service is started
//! /sys   its usual folders, empty and read-only               /etc/resolv.conf       the network's
//! /dev   null zero full random urandom tty, pts, shm          /run/goldimg/bin       udevadm, modprobe and
//! /run   empty                                                                       sysctl that do nothing
//! ```
//!
//! Nothing of it is in the tree when the session is over. Mounts are private to this process's mount namespace: they
//! end with it, even if it is killed.

use std::ffi::CString;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind_recursive, unmount};

use super::Tree;
use crate::error::Context;
use crate::golden::log::{Program, Running};
use crate::golden::network::Networks;
use crate::golden::recipe::Access;
use crate::golden::sandbox::{BOOT_ID, Confined, add_flags};

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// What programs look for in an empty /sys.
const SYS: [&str; 9] =
    ["block", "bus", "class/net", "dev", "devices", "firmware", "fs/cgroup", "kernel", "module"];
/// The same boot id for all builds: a version 4 UUID like the kernel's, which nobody should keep.
const NO_BOOT: &str = "00000000-0000-4000-8000-000000000000";
/// Programs that speak to the running kernel, which is not the image's.
const IDLE_PROGRAMS: [&str; 3] = ["udevadm", "modprobe", "sysctl"];
const POLICY: &str = "/usr/sbin/policy-rc.d";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Read after the build's other settings of apt.
const APT_PROXY: &str = "/etc/apt/apt.conf.d/01goldimg-proxy";
/// For apt of a tree that is an image's already; in the tree of a build, bootstrapping writes what is needed.
const APT_SETTINGS: &str = "/etc/apt/apt.conf.d/00goldimg";
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
    networks: Networks,
}

impl<'a> Session<'a> {
    /// Folders that something is mounted upon.
    pub(crate) const FOLDERS: [&'static str; 4] = ["/dev", "/proc", "/run", "/sys"];
    /// Files of the tree that others stand in for.
    pub(crate) const REPLACED: [&'static str; 4] = [POLICY, RESOLV_CONF, APT_PROXY, APT_SETTINGS];

    pub(super) fn begin(tree: &'a Tree, networks: Networks) -> crate::Result<Self> {
        // Whatever fails on the way is undone by dropping it.
        let mut session = Self { tree, mounts: Vec::new(), replaced: Vec::new(), networks };
        session.tree.make_dir("/proc")?;
        session.mount_sys()?;
        session.mount_dev()?;
        session.mount_run()?;
        session.replace(POLICY, DENY.into(), 0o755)?;
        let network = session.networks.of(session.networks.usual())?;
        let (resolvers, proxy) = (network.resolv_conf(), network.proxy());
        session.replace(RESOLV_CONF, resolvers.into(), 0o644)?;
        if let Some(proxy) = proxy {
            session.replace(APT_PROXY, apt_proxy(&proxy).into(), 0o644)?;
        }
        Ok(session)
    }

    /// The tree.
    pub(crate) fn tree(&self) -> &'a Tree {
        self.tree
    }

    /// What the user should know of the network of steps with so much access.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn notice(&self, access: Access) -> crate::Result<Option<String>> {
        Ok(self.networks.of(access)?.notice())
    }

    /// `program` in the tree, with so much access to the network.
    ///
    /// # Errors
    /// If such a network cannot be made.
    pub(crate) fn command(&self, program: &str, access: Access) -> crate::Result<Confined<'_>> {
        let network = self.networks.of(access)?;
        let mut command = self.tree.command(program);
        command.envs(network.environment()).network(network.namespace());
        Ok(command)
    }

    /// Does `work` while names are resolved as with so much access to the network.
    ///
    /// # Errors
    /// Those of `work`, and if a file cannot be written.
    pub(crate) fn resolving<T>(
        &self,
        access: Option<Access>,
        work: impl FnOnce(Access) -> crate::Result<T>,
    ) -> crate::Result<T> {
        let usual = self.networks.usual();
        let access = access.unwrap_or(usual);
        // Wherever a package has led the link to meanwhile; systemd-resolved's leads to nothing before it runs.
        let before = match self.tree.text(RESOLV_CONF)? {
            Some(text) => text,
            None => {
                let text = self.networks.of(usual)?.resolv_conf();
                self.tree.write(RESOLV_CONF, &text, 0o644)?;
                text
            }
        };
        if access == usual {
            return work(access);
        }
        let meanwhile = self.networks.of(access)?.resolv_conf();
        self.tree.write(RESOLV_CONF, &meanwhile, 0o644)?;
        let result = work(access);
        if self.tree.text(RESOLV_CONF)?.is_some_and(|text| text == meanwhile) {
            self.tree.write(RESOLV_CONF, before, 0o644)?;
        }
        result
    }

    /// Shows this machine's folder `source` at `inside` until the session is over. What is written there goes into the
    /// new folder `layer`, so that `source` stays as it is.
    ///
    /// # Errors
    /// If a folder cannot be made, or mounted.
    pub(crate) fn show(&mut self, source: &Path, inside: &str, layer: &Path) -> crate::Result<()> {
        let target = self.tree.make_dir(inside)?;
        let doing = || format!("showing {} at {inside} in the image", source.display());
        let (upper, scratch) = (layer.join("upper"), layer.join("work"));
        for folder in [&upper, &scratch] {
            fs::create_dir_all(folder).with_context(doing)?;
        }
        let options = CString::new(overlay_options(source, &upper, &scratch)).with_context(doing)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("overlay", &target, "overlay", flags, options.as_c_str()).with_context(doing)?;
        self.mounts.push(target);
        Ok(())
    }

    /// Has apt and dpkg of the tree, if it has them, write without a sync after every file, and ask nothing.
    ///
    /// # Errors
    /// If the settings cannot be written.
    pub(crate) fn settle_packages(&mut self, settings: &[&str]) -> crate::Result<()> {
        match self.tree.exists("/etc/apt/apt.conf.d") {
            true => self.replace(APT_SETTINGS, settings.join("\n").into(), 0o644),
            false => Ok(()),
        }
    }

    /// Opens a shell in the tree, on the terminal (of the kind that `TERM` says), and waits for its end.
    ///
    /// # Errors
    /// If there is no terminal, or no shell in the tree.
    pub(crate) fn shell(&self, terminal: Option<&OsStr>) -> crate::Result<()> {
        let shell = if self.tree.exists("/bin/bash") { "/bin/bash" } else { "/bin/sh" };
        let (status, verdict) = self.resolving(None, |access| {
            let mut command = self.command(shell, access)?;
            command.env("TERM", terminal.unwrap_or(OsStr::new("dumb"))).on_terminal();
            let Running { mut child, verdict } = command.spawn(Stdio::null(), Stdio::null())?;
            let status = child.wait().context("waiting for the shell in the image")?;
            Ok((status, verdict))
        })?;
        // However it ends: a last command that failed is not the build's failure.
        verdict.map_or(Ok(status), |verdict| verdict(status))?;
        Ok(())
    }

    /// Takes everything back.
    ///
    /// # Errors
    /// If something cannot be unmounted or put back.
    pub(crate) fn leave(mut self) -> crate::Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> crate::Result<()> {
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

    /// An empty one: the machine's own tells of its disks and firmware, and packages act upon both.
    fn mount_sys(&mut self) -> crate::Result<()> {
        let target = self.tree.make_dir("/sys")?;
        self.mount_tmpfs(target.clone(), c"mode=755,size=64k")?;
        for folder in SYS {
            self.tree.make_dir(Path::new("/sys").join(folder))?;
        }
        add_flags(&target, MountFlags::RDONLY)
    }

    fn mount_dev(&mut self) -> crate::Result<()> {
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

    fn mount_run(&mut self) -> crate::Result<()> {
        let run = self.tree.make_dir("/run")?;
        self.mount_tmpfs(run, c"mode=755")?;
        let lock = self.tree.make_dir("/run/lock")?;
        fs::set_permissions(&lock, fs::Permissions::from_mode(0o1777))
            .with_context(|| format!("making {}", lock.display()))?;
        self.tree.write(Path::new("/").join(BOOT_ID), format!("{NO_BOOT}\n"), 0o444)?;
        for program in IDLE_PROGRAMS {
            self.tree.write(format!("/run/goldimg/bin/{program}"), IDLE, 0o755)?;
        }
        Ok(())
    }

    fn mount_tmpfs(&mut self, target: PathBuf, options: &std::ffi::CStr) -> crate::Result<()> {
        // Device nodes of a step's own do nothing; those of the session are mounts of their own.
        mount("tmpfs", &target, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options)
            .with_context(|| format!("mounting a memory filesystem at {}", target.display()))?;
        self.mounts.push(target);
        Ok(())
    }

    /// Shows the host's `source` at `target`, with what is mounted beneath it: a part alone would show what those
    /// mounts hide, which a user namespace may not.
    fn bind(&mut self, source: &Path, target: PathBuf) -> crate::Result<()> {
        let doing = || format!("showing {} at {}", source.display(), target.display());
        mount_bind_recursive(source, &target).with_context(doing)?;
        self.mounts.push(target);
        Ok(())
    }

    /// Puts `content` at `inside` until the session is over.
    fn replace(&mut self, inside: &'static str, content: Vec<u8>, mode: u32) -> crate::Result<()> {
        let path = self.tree.link_path(inside)?;
        let before = Before::look(&path).with_context(|| format!("reading {inside} in the image"))?;
        let modified = modified(&path);
        self.tree.remove(inside)?;
        self.tree.write(inside, &content, mode)?;
        let times = modified.zip(self::modified(&path));
        self.replaced.push(Replaced { inside, content, before, times });
        Ok(())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // Where this matters, `leave` was called and told of errors; the namespace's end undoes the mounts.
        let _ = self.undo();
    }
}

/// apt's settings for `proxy`: what it fetches goes that way whatever else a step can reach, for archives and proxies
/// may be known to this machine only.
fn apt_proxy(proxy: &str) -> String {
    ["http", "https"].map(|scheme| format!("Acquire::{scheme}::Proxy \"{proxy}\";\n")).concat()
}

/// Options of an overlay that a user namespace may mount, too (overlayfs.rst, "User xattr").
fn overlay_options(lower: &Path, upper: &Path, scratch: &Path) -> Vec<u8> {
    let mut options = b"userxattr".to_vec();
    for (name, path) in [("lowerdir", lower), ("upperdir", upper), ("workdir", scratch)] {
        options.extend_from_slice(format!(",{name}=").as_bytes());
        for byte in path.as_os_str().as_bytes() {
            if b",:\\".contains(byte) {
                options.push(b'\\');
            }
            options.push(*byte);
        }
    }
    options
}

/// A file in the tree that is another one for the duration.
#[derive(Debug)]
struct Replaced {
    inside: &'static str,
    content: Vec<u8>,
    before: Before,
    /// When its folder was changed before, and then by this.
    times: Option<(SystemTime, SystemTime)>,
}

/// When the folder of `path` was changed last.
fn modified(path: &Path) -> Option<SystemTime> {
    path.parent()?.symlink_metadata().ok()?.modified().ok()
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
    fn put_back(self, tree: &Tree) -> crate::Result<()> {
        let path = tree.link_path(self.inside)?;
        let ours = Before::look(&path);
        if !matches!(ours, Ok(Before::File(content, _)) if content == self.content) {
            return Ok(());
        }
        // A folder that nobody else has changed meanwhile gets its time back.
        let time = self.times.filter(|(_, after)| modified(&path) == Some(*after)).map(|(before, _)| before);
        tree.remove(self.inside)?;
        let doing = || format!("putting {} of the image back", self.inside);
        match self.before {
            Before::Absent => {}
            Before::File(content, mode) => tree.write(self.inside, content, mode)?,
            Before::Link(target) => symlink(target, &path).with_context(doing)?,
        }
        match path.parent().zip(time) {
            Some((folder, time)) => {
                fs::File::open(folder).and_then(|folder| folder.set_modified(time)).with_context(doing)
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::network::Upstream;
    use crate::golden::tree::tests::scratch;

    /// A session without mounts, which need a namespace.
    fn session(tree: &Tree) -> Session<'_> {
        let networks =
            Networks::new(Access::None, Vec::new(), Upstream::default(), std::ffi::OsString::new());
        Session { tree, mounts: Vec::new(), replaced: Vec::new(), networks }
    }

    #[test]
    fn replaced_files_come_back_as_they_were() {
        let (_dir, tree) = scratch();
        tree.write("/etc/file", "old", 0o600).unwrap();
        symlink("/run/none", tree.root().join("etc/link")).unwrap();
        let time = modified(&tree.root().join("etc/file"));
        let mut session = session(&tree);
        for inside in ["/etc/file", "/etc/link", "/etc/absent"] {
            session.replace(inside, b"new".into(), 0o644).unwrap();
            assert_eq!(tree.read(inside).unwrap(), b"new");
        }
        session.leave().unwrap();
        assert_eq!(modified(&tree.root().join("etc/file")), time);
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
