//! Archives of cpio, as the kernel unpacks them into its first root filesystem.
//!
//! ```text
//! "070701" │ inode mode uid gid links mtime size major minor rmajor rminor name-length 0 │ name, 0 │ pad 4 │ data │ pad 4
//! ```
//!
//! Linux kernel documentation, "initramfs buffer format". Everything is root's, and of 1970.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeSet;
use std::io::{Read, Write};

use crate::error::{Context, bail};

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;
/// The name of what is behind the last file.
const TRAILER: &str = "TRAILER!!!";

/// An archive that is being written.
#[derive(Debug)]
pub(super) struct Archive<W> {
    out: W,
    written: u64,
    inode: u32,
    folders: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, written: 0, inode: 0, folders: BTreeSet::new() }
    }

    /// The folder `name`, and those that it is in; once.
    pub(super) fn folder(&mut self, name: &str) -> crate::Result<()> {
        if name.is_empty() || !self.folders.insert(name.to_owned()) {
            return Ok(());
        }
        self.parents(name)?;
        self.header(name, DIRECTORY, 0, (0, 0))
    }

    /// The file `name` with the `len` bytes of `content`, that can be run.
    ///
    /// # Errors
    /// If it has less, or more than cpio counts.
    pub(super) fn file(&mut self, name: &str, len: u64, content: impl Read) -> crate::Result<()> {
        self.parents(name)?;
        let Ok(size) = u32::try_from(len) else { bail!("{name} is too large for an initrd") };
        self.header(name, FILE, size, (0, 0))?;
        let copied = std::io::copy(&mut content.take(len), &mut self.out).context("writing the initrd")?;
        if copied != len {
            bail!("{name} ends early");
        }
        self.written = self.written.saturating_add(copied);
        self.pad()
    }

    /// The character device `name`.
    pub(super) fn device(&mut self, name: &str, number: (u32, u32)) -> crate::Result<()> {
        self.parents(name)?;
        self.header(name, CHARACTER_DEVICE, 0, number)
    }

    /// Ends it: how many bytes it has.
    pub(super) fn end(mut self) -> crate::Result<u64> {
        self.inode = 0;
        self.header(TRAILER, 0, 0, (0, 0))?;
        self.out.flush().context("writing the initrd")?;
        Ok(self.written)
    }

    fn parents(&mut self, name: &str) -> crate::Result<()> {
        match name.rsplit_once('/') {
            Some((folder, _)) => self.folder(folder),
            None => Ok(()),
        }
    }

    fn header(&mut self, name: &str, mode: u32, size: u32, device: (u32, u32)) -> crate::Result<()> {
        let inode = self.inode;
        self.inode = self.inode.saturating_add(1);
        let name_len = name.len().saturating_add(1) as u32;
        let numbers = [inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_len, 0];
        let mut bytes = b"070701".to_vec();
        for number in numbers {
            bytes.extend(format!("{number:08x}").bytes());
        }
        bytes.extend(name.bytes());
        bytes.push(0);
        self.put(&bytes)?;
        self.pad()
    }

    fn pad(&mut self) -> crate::Result<()> {
        let missing = self.written.next_multiple_of(4).saturating_sub(self.written);
        self.put([0; 3].get(..missing as usize).unwrap_or_default())
    }

    fn put(&mut self, bytes: &[u8]) -> crate::Result<()> {
        self.out.write_all(bytes).context("writing the initrd")?;
        self.written = self.written.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn other_programs_read_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.cpio");
        let mut archive = Archive::new(std::fs::File::create(&path).unwrap());
        archive.file("usr/lib/a.so", 5, &b"hello world"[..]).unwrap();
        archive.file("usr/lib/b", 0, &b""[..]).unwrap();
        archive.folder("usr/lib").unwrap();
        archive.device("dev/console", (5, 1)).unwrap();
        assert_eq!(archive.end().unwrap(), path.metadata().unwrap().len());
        let Ok(listed) = Command::new("bsdtar").arg("-tvf").arg(&path).env("TZ", "UTC").output() else {
            return;
        };
        let listed = String::from_utf8(listed.stdout).unwrap();
        let seen: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
        let shown: Vec<String> =
            seen.iter().map(|words| format!("{} {}", words[0], words.last().unwrap())).collect();
        assert_eq!(
            shown,
            [
                "drwxr-xr-x usr",
                "drwxr-xr-x usr/lib",
                "-rwxr-xr-x usr/lib/a.so",
                "-rwxr-xr-x usr/lib/b",
                "drwxr-xr-x dev",
                "crw------- dev/console"
            ]
        );
        assert!(listed.contains("5,1"), "{listed}");
        let content = Command::new("bsdtar").arg("-xOf").arg(&path).arg("usr/lib/a.so").output().unwrap();
        assert_eq!(content.stdout, b"hello");
    }

    #[test]
    fn what_ends_early_is_told() {
        let mut archive = Archive::new(Vec::new());
        assert!(archive.file("a", 5, &b"four"[..]).is_err());
        assert!(Archive::new(Vec::new()).file("a", 1 << 32, std::io::repeat(0)).is_err());
    }
}
