//! Paths inside the tree, as the system in it will see them.
//!
//! A link in the tree that says `/etc/x` means the tree's `/etc/x`, and `..` leads no further up than the tree's
//! root: no content of a tree makes this program read or write a file of the host. Nothing else may change the tree
//! meanwhile: steps run one after the other, and what they leave running is ended.

use std::path::{Path, PathBuf};

use crate::error::{Context, err};
pub(super) use crate::links::Last;
use crate::links::{self, LINKS_MAX};

/// Where `inside`, a path in the tree at `root`, is on this machine. It, or the end of it, need not exist.
pub(super) fn resolve(root: &Path, inside: &Path, last: Last) -> crate::Result<PathBuf> {
    let link = |inside: &Path| {
        let path = on_machine(root, inside);
        match path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_symlink()) {
            true => std::fs::read_link(&path)
                .map(Some)
                .with_context(|| format!("reading the link {}", path.display())),
            false => Ok(None),
        }
    };
    let found = links::resolve(inside, last, link)?.ok_or_else(|| {
        err!("{} in the image leads through more than {LINKS_MAX} symbolic links", inside.display())
    })?;
    Ok(on_machine(root, &found))
}

/// Where `inside`, without links, is on this machine.
fn on_machine(root: &Path, inside: &Path) -> PathBuf {
    let names = inside.strip_prefix("/").unwrap_or(inside);
    if names.as_os_str().is_empty() { root.to_owned() } else { root.join(names) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/cloud")).unwrap();
        std::fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
        std::fs::write(dir.path().join("etc/hosts"), "").unwrap();
        dir
    }

    #[track_caller]
    fn check(dir: &tempfile::TempDir, inside: &str, expected: &str) {
        let found = resolve(dir.path(), Path::new(inside), Last::Follow).unwrap();
        assert_eq!(found, dir.path().join(expected), "{inside}");
    }

    #[test]
    fn plain_paths_are_beneath_the_root() {
        let dir = tree();
        check(&dir, "/etc/hosts", "etc/hosts");
        check(&dir, "etc/./hosts", "etc/hosts");
        check(&dir, "/", "");
        check(&dir, "/new/deep/file", "new/deep/file");
        check(&dir, "/etc/hosts/below-a-file", "etc/hosts/below-a-file");
    }

    #[test]
    fn nothing_leads_out() {
        let dir = tree();
        check(&dir, "/../../../etc/hosts", "etc/hosts");
        check(&dir, "/etc/../../../../etc/hosts", "etc/hosts");
        symlink("/etc", dir.path().join("absolute")).unwrap();
        check(&dir, "/absolute/hosts", "etc/hosts");
        symlink("../../../../../etc/shadow", dir.path().join("etc/up")).unwrap();
        check(&dir, "/etc/up", "etc/shadow");
        symlink("/", dir.path().join("usr/lib/root")).unwrap();
        check(&dir, "/usr/lib/root/root", "root");
        check(&dir, "/usr/lib/root/../etc/hosts", "etc/hosts");
        symlink("/absolute/up/../../etc", dir.path().join("chain")).unwrap();
        check(&dir, "/chain/hosts", "etc/hosts");
        symlink("/run/systemd/resolve/stub-resolv.conf", dir.path().join("etc/resolv.conf")).unwrap();
        check(&dir, "/etc/resolv.conf", "run/systemd/resolve/stub-resolv.conf");
    }

    #[test]
    fn parents_of_a_link_are_those_of_its_target() {
        let dir = tree();
        symlink("/usr/lib", dir.path().join("etc/lib")).unwrap();
        check(&dir, "/etc/lib/../share", "usr/share");
    }

    #[test]
    fn the_last_link_can_be_meant_itself() {
        let dir = tree();
        symlink("/etc", dir.path().join("absolute")).unwrap();
        symlink("/etc/shadow", dir.path().join("etc/link")).unwrap();
        let found = resolve(dir.path(), Path::new("/absolute/link"), Last::Keep).unwrap();
        assert_eq!(found, dir.path().join("etc/link"));
    }

    #[test]
    fn loops_end() {
        let dir = tree();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        let error = resolve(dir.path(), Path::new("/a/x"), Last::Follow).unwrap_err();
        assert!(error.to_string().contains("more than 40 symbolic links"), "{error}");
    }
}
