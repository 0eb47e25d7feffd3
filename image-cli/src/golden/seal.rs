//! Sealing: what must not be cloned is removed from the tree.
//!
//! ```text
//! identity   machine-id (empty, but there), D-Bus id, SSH host keys, random seeds, hostname
//! access     keys and passwords that the recipe did not ask for
//! traces     logs, histories, leases, cloud-init's state, names of this machine's resolvers
//! ballast    package lists, packages, caches, temporary files
//! ```
//!
//! The list is that of `goldimg seal` (`crate::seal`). The finished image is read again to prove it. A recipe may keep
//! paths (`seal.keep`), with all beneath them; what its steps wrote or copied was asked for, entry by entry: neither
//! what is beside it nor what came into a folder that a copy made.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::epoch::Epoch;
use super::tree::Tree;
use crate::audit::Expected;
use crate::error::Context;
use crate::name_pattern;
use crate::seal::accounts::lock_others;
use crate::seal::{Action, rules};

/// Removes what must not be cloned, but for what is expected in the image.
///
/// # Errors
/// If something cannot be removed.
pub(crate) fn seal(expected: &Expected, tree: &Tree) -> crate::Result<()> {
    let expected = &by_place(expected, tree)?;
    for rule in rules() {
        let found = matches(tree, &rule.pattern)?;
        if found.is_empty() || !rule.system.fits(|path| crate::Result::<bool>::Ok(tree.exists(path)))? {
            continue;
        }
        for path in found {
            let path = place_of(&path, tree)?;
            match rule.action {
                Action::Remove => remove(&path, rule.unless_asked, expected, tree)?,
                // What it points to has rules of its own, or none.
                _ if tree.link_path(&path)?.is_symlink() => {}
                Action::RemoveContent => {
                    for name in tree.list(&path)? {
                        remove(&path.join(name), rule.unless_asked, expected, tree)?;
                    }
                }
                Action::Truncate => truncate(&path, expected, tree)?,
                Action::Write { .. } => rewrite(&path, rule.action, expected, tree)?,
            }
        }
    }
    if !expected.keep_passwords {
        lock_passwords(&expected.passwords, tree)?;
    }
    if !expected.keeps("/etc/machine-id".as_ref()) {
        // There, and empty: absent or "uninitialized" would make the first boot stop and ask.
        tree.remove("/etc/machine-id")?;
        tree.write("/etc/machine-id", "", 0o444)?;
    }
    if tree.exists("/var/lib/dbus") && !expected.keeps("/var/lib/dbus/machine-id".as_ref()) {
        tree.remove("/var/lib/dbus/machine-id")?;
        link("/etc/machine-id", "/var/lib/dbus/machine-id", tree)?;
    }
    resolvers(expected, tree)
}

/// Where `path` is in the tree when the links of its parents are followed.
fn place_of(path: &Path, tree: &Tree) -> crate::Result<PathBuf> {
    Ok(tree.inside(&tree.link_path(path)?))
}

/// What is expected, with the paths that are kept as they were written and as they are without links.
fn by_place(expected: &Expected, tree: &Tree) -> crate::Result<Expected> {
    let mut expected = expected.clone();
    let places = expected.keep.iter().map(|path| place_of(path, tree));
    let places: Vec<PathBuf> = places.collect::<crate::Result<_>>()?;
    expected.keep.extend(places);
    Ok(expected)
}

/// Removes `path` with all in it, but for what is kept or, if that counts, was asked for.
fn remove(path: &Path, unless_asked: bool, expected: &Expected, tree: &Tree) -> crate::Result<()> {
    if expected.keeps(path) {
        return Ok(());
    }
    let asked = unless_asked && expected.asks_for(path);
    let beneath = if unless_asked { expected.asks_beneath(path) } else { expected.keeps_beneath(path) };
    if !asked && !beneath {
        tree.remove(path)?;
    } else if !tree.link_path(path)?.is_symlink() {
        for name in tree.list(path)? {
            remove(&path.join(name), unless_asked, expected, tree)?;
        }
    }
    Ok(())
}

/// Makes the file `path`, or all files in the folder `path`, empty, but for what is kept.
fn truncate(path: &Path, expected: &Expected, tree: &Tree) -> crate::Result<()> {
    let file = tree.link_path(path)?;
    let meta = file.symlink_metadata().with_context(|| format!("reading {}", file.display()))?;
    if expected.keeps(path) {
        return Ok(());
    }
    if meta.is_dir() {
        for name in tree.list(path)? {
            truncate(&path.join(name), expected, tree)?;
        }
    } else if meta.is_file() && meta.len() > 0 {
        let truncated = fs::File::options().write(true).truncate(true).open(&file);
        truncated.with_context(|| format!("emptying {} in the image", path.display()))?;
    }
    Ok(())
}

/// Gives the file `path` the text that makes its service ask for one of its own, but for what was asked for.
fn rewrite(path: &Path, action: Action, expected: &Expected, tree: &Tree) -> crate::Result<()> {
    let file = tree.link_path(path)?;
    let is_file = file.symlink_metadata().is_ok_and(|meta| meta.is_file());
    if !is_file || expected.asks_for(path) {
        return Ok(());
    }
    if let Some(text) = action.written(&tree.read(path)?) {
        // In place: owner and mode stay.
        fs::write(&file, text).with_context(|| format!("writing {} in the image", path.display()))?;
    }
    Ok(())
}

/// Names come from the network that the image runs in: never from this machine's.
fn resolvers(expected: &Expected, tree: &Tree) -> crate::Result<()> {
    let file = Path::new("/etc/resolv.conf");
    if expected.asks_for(file) {
        return Ok(());
    }
    if !tree.link_path(file)?.is_symlink() {
        tree.remove(file)?;
        if tree.exists("/lib/systemd/systemd-resolved") {
            link("../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf", tree)?;
        }
    }
    Ok(())
}

fn link(target: &str, inside: &str, tree: &Tree) -> crate::Result<()> {
    let path = tree.link_path(inside)?;
    symlink(target, path).with_context(|| format!("making the link {inside} in the image"))
}

/// What in the tree a pattern means: an absolute path whose names may have `*`.
fn matches(tree: &Tree, pattern: &str) -> crate::Result<Vec<PathBuf>> {
    name_pattern::paths(pattern, |path| Ok(tree.exists(path)), |folder| tree.list(folder))
}

/// Locks every account that has a password, or needs none, but for those that are `kept`.
fn lock_passwords(kept: &BTreeSet<String>, tree: &Tree) -> crate::Result<()> {
    for (file, mode) in [("/etc/shadow", 0o640), ("/etc/gshadow", 0o640), ("/etc/passwd", 0o644)] {
        let Some(text) = tree.text(file)? else { continue };
        // A group of the same name is somebody else.
        let none = BTreeSet::new();
        let kept = if file == "/etc/shadow" { kept } else { &none };
        let locked: String = text.lines().map(|line| format!("{}\n", lock_others(line, kept))).collect();
        if locked != text {
            // In place: the owner and group of the file stay.
            tree.write(file, locked, mode)?;
        }
    }
    Ok(())
}

/// Sets the times of everything newer than `epoch` back to it.
///
/// # Errors
/// If a folder cannot be read, or a time not be set.
pub(crate) fn clamp_times(tree: &Tree, epoch: Epoch) -> crate::Result<()> {
    let mut folders = vec![tree.root().to_owned()];
    let set = |path: &Path| -> std::io::Result<bool> {
        let meta = path.symlink_metadata()?;
        clamp_time(path, &meta, epoch)?;
        Ok(meta.is_dir())
    };
    while let Some(folder) = folders.pop() {
        let doing = || format!("setting the times of {}", folder.display());
        set(&folder).with_context(doing)?;
        for entry in fs::read_dir(&folder).with_context(doing)? {
            let path = entry.with_context(doing)?.path();
            if set(&path).with_context(doing)? {
                folders.push(path);
            }
        }
    }
    Ok(())
}

/// Sets the times of `path`, which is described by `meta`, back to `epoch` if it was modified later.
pub(crate) fn clamp_time(path: &Path, meta: &fs::Metadata, epoch: Epoch) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let latest = epoch.time().seconds;
    if (meta.mtime(), meta.mtime_nsec()) > (latest, 0) {
        let time = Timespec { tv_sec: latest, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::golden::tree::tests::scratch;

    fn fill(tree: &Tree) {
        for (path, content) in [
            ("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
            ("/var/lib/dbus/machine-id", "0123\n"),
            ("/etc/ssh/ssh_host_ed25519_key", "secret"),
            ("/etc/ssh/ssh_host_ed25519_key.pub", "public"),
            ("/etc/ssh/sshd_config", "Port 22\n"),
            ("/etc/hostname", "builder\n"),
            ("/etc/resolv.conf", "nameserver 192.0.2.1\n"),
            ("/etc/.resolv.conf.systemd-resolved.bak", "nameserver 192.0.2.1\n"),
            ("/etc/resolvconf/resolv.conf.d/original", "nameserver 192.0.2.1\n"),
            ("/var/lib/systemd/random-seed", "seed"),
            ("/var/lib/apt/lists/archive_Packages", "list"),
            ("/var/lib/apt/lists/partial/x", "list"),
            ("/var/cache/apt/archives/a.deb", "deb"),
            ("/var/log/dpkg.log", "log"),
            ("/var/log/nginx/access.log", "log"),
            ("/var/lib/cloud/instance/x", "state"),
            ("/root/.bash_history", "history"),
            ("/root/.bashrc", "rc"),
            ("/root/.ssh/authorized_keys", "ssh-ed25519 AAAA"),
            ("/home/ann/.ssh/authorized_keys", "ssh-ed25519 AAAA"),
            ("/tmp/x/y", "temporary"),
            ("/etc/shadow", "root:$y$secret:1:0:99999:7:::\nann:!:1::::::\n"),
        ] {
            tree.write(path, content, 0o600).unwrap();
        }
    }

    #[test]
    fn what_must_not_be_cloned_is_gone_and_all_else_stays() {
        let (_dir, tree) = scratch();
        fill(&tree);
        seal(&Expected::default(), &tree).unwrap();
        for gone in [
            "/etc/ssh/ssh_host_ed25519_key",
            "/etc/ssh/ssh_host_ed25519_key.pub",
            "/etc/hostname",
            "/etc/resolv.conf",
            "/etc/.resolv.conf.systemd-resolved.bak",
            "/etc/resolvconf/resolv.conf.d/original",
            "/var/lib/systemd/random-seed",
            "/var/lib/apt/lists/archive_Packages",
            "/var/lib/apt/lists/partial",
            "/var/cache/apt/archives",
            "/var/log/dpkg.log",
            "/var/lib/cloud/instance",
            "/root/.bash_history",
            "/root/.ssh/authorized_keys",
            "/home/ann/.ssh/authorized_keys",
            "/tmp/x",
        ] {
            assert!(!tree.exists(gone), "{gone}");
        }
        assert_eq!(tree.read("/etc/machine-id").unwrap(), b"");
        assert_eq!(
            fs::read_link(tree.root().join("var/lib/dbus/machine-id")).unwrap(),
            Path::new("/etc/machine-id")
        );
        assert_eq!(tree.read("/var/log/nginx/access.log").unwrap(), b"");
        for (kept, content) in [("/etc/ssh/sshd_config", "Port 22\n"), ("/root/.bashrc", "rc")] {
            assert_eq!(tree.text(kept).unwrap().as_deref(), Some(content), "{kept}");
        }
        let shadow = tree.text("/etc/shadow").unwrap().unwrap();
        assert_eq!(shadow, "root:*:1:0:99999:7:::\nann:!:1::::::\n");
    }

    #[test]
    fn what_the_recipe_keeps_or_asks_for_stays() {
        let (_dir, tree) = scratch();
        fill(&tree);
        let keep = ["/etc/machine-id", "/var/lib/apt/lists/partial", "/root/.bash_history"];
        let expected = Expected {
            keep: keep.map(PathBuf::from).into(),
            keep_passwords: true,
            asked_for: ["/root/.ssh/authorized_keys".into()].into(),
            ..Expected::default()
        };
        seal(&expected, &tree).unwrap();
        for kept in ["/var/lib/apt/lists/partial/x", "/root/.bash_history", "/root/.ssh/authorized_keys"] {
            assert!(tree.exists(kept), "{kept}");
        }
        assert!(!tree.exists("/var/lib/apt/lists/archive_Packages"));
        assert!(!tree.exists("/home/ann/.ssh/authorized_keys"));
        assert!(tree.text("/etc/machine-id").unwrap().unwrap().starts_with("0123"));
        assert!(tree.text("/etc/shadow").unwrap().unwrap().contains("$y$secret"));
    }

    #[test]
    fn a_password_that_was_asked_for_stays_and_no_other() {
        let (_dir, tree) = scratch();
        let shadow = "root:$y$secret:1::::::\nann:$y$hers:1::::::\n";
        tree.write("/etc/shadow", shadow, 0o640).unwrap();
        // A group of that name is somebody else.
        tree.write("/etc/gshadow", "ann:$6$group::\n", 0o640).unwrap();
        let expected = Expected { passwords: ["ann".to_owned()].into(), ..Expected::default() };
        seal(&expected, &tree).unwrap();
        assert_eq!(tree.read("/etc/shadow").unwrap(), b"root:*:1::::::\nann:$y$hers:1::::::\n");
        assert_eq!(tree.read("/etc/gshadow").unwrap(), b"ann:*::\n");
    }

    #[test]
    fn each_machine_gets_names_of_its_own_in_the_way_of_its_system() {
        let name = "InitiatorName=iqn.1993-08.org.debian:01:0123\n";
        let path = "/etc/iscsi/initiatorname.iscsi";
        let sealed = |checks: bool, expected: &Expected| {
            let (_dir, tree) = scratch();
            tree.write(path, name, 0o600).unwrap();
            if checks {
                tree.write("/usr/lib/open-iscsi/startup-checks.sh", "", 0o755).unwrap();
                symlink("usr/lib", tree.root().join("lib")).unwrap();
            }
            seal(expected, &tree).unwrap();
            let mode =
                fs::metadata(tree.root().join(&path[1..])).map(|meta| meta.permissions().mode() & 0o777);
            (tree.text(path).unwrap(), mode.ok())
        };
        let (text, mode) = sealed(true, &Expected::default());
        assert!(text.is_some_and(|text| text.contains("\nGenerateName=yes\n") && !text.contains("iqn")));
        assert_eq!(mode, Some(0o600));
        assert_eq!(sealed(false, &Expected::default()), (None, None));
        let asked = Expected { asked_for: [path.into()].into(), ..Expected::default() };
        for checks in [true, false] {
            assert_eq!(sealed(checks, &asked), (Some(name.into()), Some(0o600)));
        }
    }

    #[test]
    fn what_was_asked_for_is_that_alone() {
        let (_dir, tree) = scratch();
        fill(&tree);
        // A copy put a file into /etc, one into /root/.cache, and made a folder there; others came in beside them.
        for (path, content) in [
            ("/etc/motd", "x"),
            ("/root/.cache/copied/file", "x"),
            ("/root/.cache/copied/later", "x"),
            ("/root/.cache/other/file", "x"),
            ("/home/ann/.cache/kept/deep/file", "x"),
            ("/home/ann/.cache/kept/other", "x"),
        ] {
            tree.write(path, content, 0o644).unwrap();
        }
        tree.write("/etc/netplan/50-cloud-init.yaml", "network: {}", 0o600).unwrap();
        let asked = [
            "/etc/motd",
            "/root/.cache/copied",
            "/root/.cache/copied/file",
            "/etc/netplan/50-cloud-init.yaml",
        ];
        let expected = Expected {
            asked_for: asked.map(PathBuf::from).into(),
            keep: vec!["/home/ann/.cache/kept/deep".into()],
            ..Expected::default()
        };
        seal(&expected, &tree).unwrap();
        for stays in ["/etc/motd", "/root/.cache/copied/file", "/home/ann/.cache/kept/deep/file"] {
            assert!(tree.exists(stays), "{stays}");
        }
        assert!(tree.exists("/etc/netplan/50-cloud-init.yaml"));
        for gone in [
            "/etc/hostname",
            "/etc/resolv.conf",
            "/root/.ssh/authorized_keys",
            "/root/.bash_history",
            "/root/.cache/copied/later",
            "/root/.cache/other",
            "/home/ann/.cache/kept/other",
        ] {
            assert!(!tree.exists(gone), "{gone}");
        }
    }

    #[test]
    fn groups_without_password_stay_as_they_are() {
        let (_dir, tree) = scratch();
        tree.write("/etc/gshadow", "root:*::\nstaff:!::ann\n", 0o640).unwrap();
        tree.write("/etc/passwd", "root::0:0:root:/root:/bin/sh\n", 0o644).unwrap();
        lock_passwords(&BTreeSet::new(), &tree).unwrap();
        assert_eq!(tree.text("/etc/gshadow").unwrap().unwrap(), "root:*::\nstaff:!::ann\n");
        assert_eq!(tree.text("/etc/passwd").unwrap().unwrap(), "root:*:0:0:root:/root:/bin/sh\n");
    }

    #[test]
    fn links_in_the_tree_lead_nowhere_outside() {
        let (dir, tree) = scratch();
        fs::create_dir_all(dir.path().join("host")).unwrap();
        fs::write(dir.path().join("host/precious"), "x").unwrap();
        symlink(dir.path().join("host"), tree.root().join("tmp")).unwrap();
        tree.write("/var/log/x", "", 0o600).unwrap();
        symlink(dir.path().join("host/precious"), tree.root().join("var/log/link")).unwrap();
        seal(&Expected::default(), &tree).unwrap();
        assert_eq!(fs::read(dir.path().join("host/precious")).unwrap(), b"x");
    }

    #[test]
    fn no_time_is_later_than_the_builds() {
        let (dir, tree) = scratch();
        tree.write("/old", "", 0o600).unwrap();
        tree.write("/new/file", "", 0o600).unwrap();
        symlink("/nowhere", tree.root().join("new/link")).unwrap();
        let outside = fs::File::create(dir.path().join("outside")).unwrap();
        symlink(dir.path().join("outside"), tree.root().join("new/out")).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        fs::File::open(tree.root().join("old")).unwrap().set_modified(old).unwrap();
        let before = outside.metadata().unwrap().modified().unwrap();
        clamp_times(&tree, tree.epoch()).unwrap();
        let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(tree.epoch().seconds());
        let time = |name: &str| tree.root().join(name).symlink_metadata().unwrap().modified().unwrap();
        for name in ["", "new", "new/file", "new/link", "new/out"] {
            assert_eq!(time(name), epoch, "{name}");
        }
        assert_eq!(time("old"), old);
        assert_eq!(outside.metadata().unwrap().modified().unwrap(), before);
    }
}
