//! Keys with which an account is logged in to: `~/.ssh/authorized_keys` (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use super::super::owner::Ids;
use super::super::text::{put, text};
use crate::error::{Advise, Context, err};
use crate::golden::tree::Tree;

/// Adds `keys`, lines, to those of `user`, and answers with what lets them in: sshd believes no file or folder that others may write.
///
/// # Errors
/// If there is no such account, or it has no home.
pub(super) fn add(user: &str, keys: &str, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    let (home, ids) = account(user, tree)?;
    let home_place = tree.path(&home)?;
    if !home_place.is_dir() {
        return Err(err!("the home of {user}, {home}, is not in the image")).hint(|| {
            format!(
                "a step before this one: mkdir = {{ path = \"{home}\", owner = \"{user}\", mode = \"0700\" }}"
            )
        });
    }
    let folder = format!("{}/.ssh", home.trim_end_matches('/'));
    let path = format!("{folder}/authorized_keys");
    let mut written = Vec::new();
    if !tree.path(&folder)?.is_dir() {
        let place = tree.make_dir(&folder)?;
        give(&place, ids, 0o700).with_context(|| format!("making {folder} in the image"))?;
        written.push(tree.inside(&place));
    }
    let before = text(&path, tree)?;
    let mut lines: Vec<&str> = before.as_deref().unwrap_or_default().lines().collect();
    for key in keys.lines().map(str::trim).filter(|key| !key.is_empty()) {
        if !lines.contains(&key) {
            lines.push(key);
        }
    }
    let files = put(&path, &(lines.join("\n") + "\n"), 0o600, tree)?;
    if before.is_none() {
        give(&tree.path(&path)?, ids, 0o600).with_context(|| format!("writing {path} in the image"))?;
    }
    written.extend(files);
    Ok(written)
}

fn give(place: &Path, ids: Ids, mode: u32) -> std::io::Result<()> {
    let meta = place.symlink_metadata()?;
    if (meta.uid(), meta.gid()) != (ids.user, ids.group) {
        lchown(place, Some(ids.user), Some(ids.group))?;
    }
    fs::set_permissions(place, fs::Permissions::from_mode(mode))
}

/// Home and ids of an account (passwd(5)).
fn account(user: &str, tree: &Tree) -> crate::Result<(String, Ids)> {
    let accounts = text("/etc/passwd", tree)?.unwrap_or_default();
    let found = accounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        let ids = Ids { user: uid.parse().ok()?, group: gid.parse().ok()? };
        (name == user && home.starts_with('/')).then(|| (home.to_owned(), ids))
    });
    found
        .ok_or_else(|| err!("the image has no account {user:?} (in /etc/passwd)"))
        .hint(|| format!("a step before this one: user = {{ name = \"{user}\" }}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::tree::tests::scratch;

    #[test]
    fn keys_are_added_once_and_nobody_else_may_write_them() {
        let (_dir, tree) = scratch();
        let told = crate::error::rendered(&add("ann", "ssh-ed25519 AAAA ann", &tree).unwrap_err());
        assert!(told.contains("no account \"ann\"") && told.contains("user = { name = \"ann\" }"), "{told}");
        let root = tree.root().metadata().unwrap();
        let passwd = format!("ann:x:{}:{}::/home/ann:/bin/sh\n", root.uid(), root.gid());
        tree.write("/etc/passwd", passwd, 0o644).unwrap();
        assert!(add("ann", "x", &tree).unwrap_err().to_string().contains("/home/ann, is not in the image"));
        tree.make_dir("/home/ann").unwrap();
        let put = add("ann", "ssh-ed25519 AAAA ann\n", &tree).unwrap();
        let file = PathBuf::from("/home/ann/.ssh/authorized_keys");
        assert_eq!(put, [PathBuf::from("/home/ann/.ssh"), file.clone()]);
        let mode = |path: &Path| tree.path(path).unwrap().metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&put[0]), mode(&put[1])), (0o700, 0o600));
        assert_eq!(
            add("ann", "ssh-ed25519 AAAA ann\nssh-ed25519 BBBB ann", &tree).unwrap(),
            std::slice::from_ref(&file)
        );
        let text = tree.text(&file).unwrap().unwrap();
        assert_eq!(text, "ssh-ed25519 AAAA ann\nssh-ed25519 BBBB ann\n");
    }

    #[test]
    fn a_home_that_is_a_link_stays_in_the_image() {
        let (dir, tree) = scratch();
        let root = tree.root().metadata().unwrap();
        fs::create_dir(dir.path().join("host")).unwrap();
        let home = dir.path().join("host").display().to_string();
        tree.write("/etc/passwd", format!("ann:x:{}:{}::/home/ann:/bin/sh\n", root.uid(), root.gid()), 0o644)
            .unwrap();
        tree.make_dir("/home").unwrap();
        std::os::unix::fs::symlink(&home, tree.root().join("home/ann")).unwrap();
        assert!(add("ann", "ssh-ed25519 AAAA ann", &tree).is_err());
        tree.make_dir(&home).unwrap();
        add("ann", "ssh-ed25519 AAAA ann", &tree).unwrap();
        assert!(!dir.path().join("host/.ssh").exists());
    }
}
