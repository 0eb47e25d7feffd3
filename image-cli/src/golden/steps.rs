//! The steps of a recipe, done to the tree in their order.
//!
//! ```text
//! install, remove ─► apt-get in the tree          copy, write ─► files beneath the tree's root
//! run             ─► the script as /run/goldimg/step, by its #! line or /bin/sh -eu
//! ```
//!
//! What a step leaves running ends with its sandbox.

mod owner;

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

use super::bootstrap::ARCHIVES;
use super::bootstrap::local::for_apt;
use super::recipe::{Copy, Run, Step, Write};
use super::tree::{Session, Tree};
use crate::failure::Advise;
use owner::Ids;

/// Where a script is while it runs.
const SCRIPT: &str = "/run/goldimg/step";

/// What a step does, in a line for people.
pub(crate) fn title(step: &Step) -> String {
    let text = match step {
        Step::Install(packages) => format!("install {}", packages.join(" ")),
        Step::Remove(packages) => format!("remove {}", packages.join(" ")),
        Step::Copy(copy) => format!("copy {} to {}", copy.from.display(), copy.to),
        Step::Write(write) => format!("write {}", write.path),
        Step::Run(run) => {
            let words = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
            format!("run {}", run.script.lines().find(words).unwrap_or_default().trim())
        }
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Does one step. `folder` is the recipe's.
///
/// # Errors
/// If it fails, in the words of what failed.
pub(crate) fn run(step: &Step, folder: &Path, session: &Session<'_>) -> anyhow::Result<()> {
    let tree = session.tree();
    match step {
        Step::Install(packages) => {
            if !tree.exists("/var/lib/apt/lists/lock") {
                apt(session, &["update"], &[])?;
            }
            let packages = for_apt(packages, Path::new(ARCHIVES));
            apt(session, &["install", "--no-install-recommends"], &packages)?;
        }
        Step::Remove(packages) => apt(session, &["purge", "--autoremove"], packages)?,
        Step::Copy(copy) => self::copy(copy, folder, tree)?,
        Step::Write(write) => self::write(write, tree)?,
        Step::Run(run) => script(run, session)?,
    }
    Ok(())
}

fn apt(session: &Session<'_>, what: &[&str], packages: &[String]) -> anyhow::Result<()> {
    session.resolving(None, |access| {
        let mut command = session.command("apt-get", access)?;
        // Kernels get their initramfs once, after the last step.
        command.env("INITRD", "No").args(["-q", "-y"]).args(what);
        if !packages.is_empty() {
            command.arg("--").args(packages);
        }
        session.tree().log().run(&mut command)
    })
}

fn script(run: &Run, session: &Session<'_>) -> anyhow::Result<()> {
    let tree = session.tree();
    tree.write(SCRIPT, &run.script, 0o700)?;
    let result = session.resolving(run.network, |access| {
        let mut command = if run.script.starts_with("#!") {
            session.command(SCRIPT, access)?
        } else {
            let mut shell = session.command("/bin/sh", access)?;
            shell.args(["-eu", SCRIPT]);
            shell
        };
        command.envs(&run.environment);
        let limit = run.timeout.map(|seconds| Duration::from_secs(seconds.into()));
        tree.log().run_for(&mut command, limit)
    });
    if run.timeout.is_some() {
        result.hint(
            || "where it ran out of time, give it more with `timeout`; what it said last is in the log",
        )?;
    } else {
        result?;
    }
    tree.remove(SCRIPT)?;
    Ok(())
}

fn write(write: &Write, tree: &Tree) -> anyhow::Result<()> {
    let ids = Ids::find(&write.owner, tree)?;
    let mut content = match write.append {
        true => tree.text(&write.path)?.unwrap_or_default(),
        false => String::new(),
    };
    content.push_str(&write.content);
    tree.write(&write.path, content, write.mode)?;
    let path = tree.path(&write.path)?;
    own(&path, &ids, Some(write.mode)).with_context(|| format!("writing {} in the image", write.path))
}

fn copy(copy: &Copy, folder: &Path, tree: &Tree) -> anyhow::Result<()> {
    let doing = || format!("copying {} to {} in the image", copy.from.display(), copy.to);
    let source = beneath(folder, &copy.from)?;
    let ids = Ids::find(&copy.owner, tree)?;
    let into = PathBuf::from(&copy.to);
    // As cp does: a file goes into a folder that exists.
    let named = copy.to.ends_with('/') || tree.path(&into)?.is_dir();
    let target = match source.file_name() {
        Some(name) if named && !source.is_dir() => into.join(name),
        _ => into,
    };
    if let Some(parent) = target.parent() {
        tree.make_dir(parent)?;
    }
    copy_entry(&source, &target, &ids, copy.mode, tree).with_context(doing)
}

/// Where `from` is, which must be in `folder` in the end, whatever links lead to.
fn beneath(folder: &Path, from: &Path) -> anyhow::Result<PathBuf> {
    let folder = folder.canonicalize().with_context(|| format!("opening {}", folder.display()))?;
    let doing = || format!("opening {} beside the recipe", from.display());
    let source = folder.join(from).canonicalize().with_context(doing)?;
    if !source.starts_with(&folder) {
        bail!("{} leads out of the recipe's folder, to {}", from.display(), source.display());
    }
    Ok(source)
}

fn copy_entry(source: &Path, target: &Path, ids: &Ids, mode: Option<u32>, tree: &Tree) -> anyhow::Result<()> {
    crate::interrupt::check()?;
    let meta = source.symlink_metadata()?;
    if meta.is_dir() {
        let path = tree.make_dir(target)?;
        own(&path, ids, Some(meta.permissions().mode()))?;
        let mut names = fs::read_dir(source)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<std::io::Result<Vec<_>>>()?;
        names.sort();
        return names
            .into_iter()
            .try_for_each(|name| copy_entry(&source.join(&name), &target.join(&name), ids, mode, tree));
    }
    let path = tree.link_path(target)?;
    tree.remove(target)?;
    if meta.is_symlink() {
        symlink(fs::read_link(source)?, &path)?;
        own(&path, ids, None)?;
    } else if meta.is_file() {
        fs::copy(source, &path)?;
        own(&path, ids, Some(mode.unwrap_or(meta.permissions().mode())))?;
    } else {
        return Err(anyhow!("{} is neither a file nor a folder nor a link", source.display()));
    }
    Ok(())
}

fn own(path: &Path, ids: &Ids, mode: Option<u32>) -> std::io::Result<()> {
    // An unprivileged test may not give files away, and need not to itself.
    lchown(path, Some(ids.user), Some(ids.group))?;
    match mode {
        // After the owner: changing that clears the set-user-id bit.
        Some(mode) => fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::recipe::Owner;
    use crate::golden::tree::tests::scratch;

    /// This process's own ids, so that any user can run these tests.
    fn me() -> Owner {
        Owner {
            user: rustix::process::getuid().as_raw().to_string(),
            group: rustix::process::getgid().as_raw().to_string(),
        }
    }

    #[test]
    fn folders_are_merged_and_links_stay_links() {
        let (dir, tree) = scratch();
        let from = dir.path().join("recipe/files/app");
        fs::create_dir_all(from.join("bin")).unwrap();
        fs::write(from.join("bin/run"), "new").unwrap();
        fs::set_permissions(from.join("bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        tree.write("/opt/app/bin/other", "kept", 0o644).unwrap();
        // What is a link in the image is replaced, not written through.
        fs::write(dir.path().join("outside"), "host").unwrap();
        symlink(dir.path().join("outside"), tree.root().join("opt/app/bin/run")).unwrap();
        let step = Copy { from: "files/app".into(), to: "/opt/app".into(), owner: me(), mode: None };
        copy(&step, &dir.path().join("recipe"), &tree).unwrap();
        assert_eq!(tree.read("/opt/app/bin/run").unwrap(), b"new");
        assert_eq!(tree.read("/opt/app/bin/other").unwrap(), b"kept");
        assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"host");
        assert_eq!(fs::read_link(tree.root().join("opt/app/link")).unwrap(), Path::new("/etc/passwd"));
        let mode = tree.path("/opt/app/bin/run").unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
        // A file goes into a folder, or becomes what it is to be called.
        let step = |to: &str| Copy {
            from: "files/app/bin/run".into(),
            to: to.into(),
            owner: me(),
            mode: Some(0o600),
        };
        copy(&step("/srv/"), &dir.path().join("recipe"), &tree).unwrap();
        copy(&step("/srv/renamed"), &dir.path().join("recipe"), &tree).unwrap();
        assert_eq!(tree.list("/srv").unwrap(), ["renamed", "run"]);
    }

    #[test]
    fn nothing_is_copied_from_outside_the_recipes_folder() {
        let (dir, tree) = scratch();
        fs::create_dir(dir.path().join("recipe")).unwrap();
        fs::write(dir.path().join("secret"), "").unwrap();
        symlink("../secret", dir.path().join("recipe/link")).unwrap();
        for from in ["../secret", "link", "/etc/passwd"] {
            let step = Copy { from: from.into(), to: "/x".into(), owner: me(), mode: None };
            let error = copy(&step, &dir.path().join("recipe"), &tree).unwrap_err();
            assert!(error.to_string().contains("leads out of the recipe's folder"), "{error}");
        }
    }

    #[test]
    fn text_is_written_anew_or_behind_what_is_there() {
        let (_dir, tree) = scratch();
        let step = |content: &str, append| Write {
            path: "/etc/motd".into(),
            content: content.into(),
            owner: me(),
            mode: 0o640,
            append,
        };
        write(&step("one\n", true), &tree).unwrap();
        write(&step("two\n", true), &tree).unwrap();
        assert_eq!(tree.read("/etc/motd").unwrap(), b"one\ntwo\n");
        write(&step("three\n", false), &tree).unwrap();
        assert_eq!(tree.read("/etc/motd").unwrap(), b"three\n");
    }

    #[test]
    fn titles_are_one_short_line() {
        assert_eq!(title(&Step::Install(vec!["a".into(), "b".into()])), "install a b");
        let run = Run { script: "#!/bin/sh\n\n# why\necho hello\nexit".into(), ..Run::default() };
        assert_eq!(title(&Step::Run(run)), "run echo hello");
        let many = title(&Step::Install(vec!["ä".repeat(80)]));
        assert_eq!(many.chars().count(), 61);
    }
}
