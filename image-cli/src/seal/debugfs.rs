//! debugfs: changes the files of an ext filesystem in a file, unprivileged (debugfs(8), of e2fsprogs).
//!
//! ```text
//! Change ─► a line of a script, each path in quotes ─► debugfs -w -f ─► nothing is believed: the files are read again
//! ```
//!
//! Names come from an image and could be commands: debugfs can write files of the host. So a name with a quote or a
//! control character, or one that no line of a script holds, is refused.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};

use super::plan::Change;
use crate::failure::Advise;
use crate::programs;

/// Longer paths than Linux has. A line of a script may have 8191 bytes.
const PATH_LIMIT: usize = 4096;
/// A regular file that all may read and nobody writes.
const READ_ONLY: &str = "0100444";

/// A program of e2fsprogs, ready to be called.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", programs::path()).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Makes `changes` in the filesystem in the file `disk`; scripts are written into the folder `work`.
///
/// # Errors
/// If a path cannot be told to debugfs, or that cannot be called. Whether the changes were made is to be read.
pub(super) fn change(disk: &Path, work: &Path, changes: &[Change]) -> anyhow::Result<()> {
    // What a file is made from.
    let empty = work.join("empty");
    fs::write(&empty, "").context("writing a file for debugfs")?;
    let mut script = Vec::new();
    for change in changes {
        lines(change, &empty, &mut script)?;
    }
    run(disk, work, &script)
}

/// Sets the size of a file, in bytes.
///
/// # Errors
/// As for [`change`].
pub(super) fn set_size(disk: &Path, work: &Path, file: &Path, size: usize) -> anyhow::Result<()> {
    let mut script = b"sif ".to_vec();
    script.extend(quoted(file)?);
    script.extend(format!(" size {size}\n").as_bytes());
    run(disk, work, &script)
}

/// The numbers of the blocks of a small file, in its order.
///
/// # Errors
/// As for [`change`], or if there is no such file.
pub(super) fn blocks(disk: &Path, file: &Path) -> anyhow::Result<Vec<u64>> {
    let mut request = b"blocks ".to_vec();
    request.extend(quoted(file)?);
    let said = program("debugfs").arg("-R").arg(std::ffi::OsStr::from_bytes(&request)).arg(disk).output();
    let said = String::from_utf8_lossy(&said.context("starting debugfs")?.stdout).into_owned();
    let numbers: Result<Vec<u64>, _> = said.split_whitespace().map(str::parse).collect();
    numbers.with_context(|| format!("debugfs says {:?} of the blocks of {}", said.trim(), file.display()))
}

/// Lets e2fsck look at the filesystem in the file `disk`, and with `repair` do what is safe without asking.
///
/// # Errors
/// If it finds what it does not repair, with what it says.
pub(super) fn check(disk: &Path, repair: bool) -> anyhow::Result<()> {
    let how = if repair { "-fp" } else { "-fn" };
    let output = program("e2fsck").arg(how).arg(disk).output().context("starting e2fsck")?;
    // 1 is "errors were corrected" (e2fsck(8)).
    if output.status.code() == Some(0) || (repair && output.status.code() == Some(1)) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> =
        said.lines().filter(|line| !line.is_empty() && !line.starts_with("Pass ")).take(10).collect();
    let said =
        crate::printable::printable(&lines.join("; ").replace(&disk.display().to_string(), "the filesystem"));
    Err(anyhow!("e2fsck finds: {said}"))
        .hint(|| "repair a raw copy (goldimg convert -O raw) with e2fsck, and seal that")
}

fn run(disk: &Path, work: &Path, script: &[u8]) -> anyhow::Result<()> {
    if script.is_empty() {
        return Ok(());
    }
    let path = work.join("script");
    fs::write(&path, script).context("writing a script for debugfs")?;
    let output =
        program("debugfs").arg("-w").arg("-f").arg(&path).arg(disk).output().context("starting debugfs")?;
    if !output.status.success() {
        bail!("debugfs: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The lines of a script for `change`.
fn lines(change: &Change, empty: &Path, script: &mut Vec<u8>) -> anyhow::Result<()> {
    let path = quoted(change.path())?;
    let mut line = |words: &[&[u8]]| {
        script.extend(words.join(&b' '));
        script.push(b'\n');
    };
    match change {
        Change::Remove(_) => line(&[b"rm", &path]),
        Change::RemoveFolder(_) => line(&[b"rmdir", &path]),
        Change::Empty(_) => {
            line(&[b"punch", &path, b"0"]);
            line(&[b"sif", &path, b"size", b"0"]);
        }
        // What is in its blocks is written without debugfs.
        Change::Rewrite(..) => {}
        Change::Create(whole) => {
            let (folder, name) = parts(whole)?;
            line(&[b"cd", &folder]);
            line(&[b"write", &quoted(empty)?, &name]);
            line(&[b"sif", &path, b"mode", READ_ONLY.as_bytes()]);
            line(&[b"sif", &path, b"uid", b"0"]);
            line(&[b"sif", &path, b"gid", b"0"]);
        }
        Change::Link(whole, target) => {
            let (folder, name) = parts(whole)?;
            line(&[b"cd", &folder]);
            line(&[b"symlink", &name, target.as_bytes()]);
        }
    }
    Ok(())
}

/// The folder of a path and the name in it, in quotes: new names are made in the current folder.
fn parts(path: &Path) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => Ok((quoted(folder)?, quoted(name.as_ref())?)),
        _ => bail!("{} has no name", path.display()),
    }
}

/// A path as one word of a script.
fn quoted(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = path.as_os_str().as_bytes();
    let is_safe = |byte: &u8| *byte >= b' ' && *byte != 0x7f && *byte != b'"';
    if bytes.len() > PATH_LIMIT || !bytes.iter().all(is_safe) {
        bail!("{:?} is a name that debugfs cannot be told: rename it", path.display().to_string());
    }
    Ok([b"\"", bytes, b"\""].concat())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn no_name_is_a_command() {
        for name in ["/tmp/x\ndump /etc/shadow /root/x", "/tmp/\"x\" y", "/tmp/\r", "/tmp/\u{7f}"] {
            assert!(quoted(Path::new(name)).is_err(), "{name:?}");
        }
        assert!(quoted(Path::new(&"/x".repeat(3000))).is_err());
        assert_eq!(quoted(Path::new("/tmp/a b'#<2>")).unwrap(), b"\"/tmp/a b'#<2>\"");
        assert_eq!(quoted(Path::new(OsStr::from_bytes(b"/\xff"))).unwrap(), b"\"/\xff\"");
    }

    #[test]
    fn a_change_is_a_line_or_a_few() {
        let mut script = Vec::new();
        for change in
            [Change::Remove("/a".into()), Change::Empty("/b c".into()), Change::Link("/d/e".into(), "/f")]
        {
            lines(&change, Path::new("/scratch/empty"), &mut script).unwrap();
        }
        let text = String::from_utf8(script).unwrap();
        assert_eq!(text, "rm \"/a\"\npunch \"/b c\" 0\nsif \"/b c\" size 0\ncd \"/d\"\nsymlink \"e\" /f\n");
    }
}
