//! What is looked into and changed: a system of 20,000 files, as libguestfs wants one, on a disk of 2 GiB that was lived in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const GOLDIMG: &str = env!("CARGO_BIN_EXE_goldimg");
/// Files that stay.
pub(crate) const FILES: usize = 20_000;
/// Files in a folder.
const FOLDER: usize = 200;
/// Bytes of a file, but for those that are deleted.
const SIZE: usize = 4000;
/// What is deleted: so many files of so many bytes.
const GONE: (usize, usize) = (80, 8 << 20);

pub(crate) struct Data {
    pub(crate) folder: PathBuf,
    /// As a plain qcow2, and compressed with deflate.
    pub(crate) plain: PathBuf,
    pub(crate) deflate: PathBuf,
    /// What is copied into an image.
    pub(crate) file: PathBuf,
}

impl Data {
    /// Makes what is not there yet in `folder`.
    pub(crate) fn make(folder: &Path) -> Self {
        let path = |name: &str| folder.join(name);
        let (plain, deflate, file) = (path("system.qcow2"), path("system-deflate.qcow2"), path("site.conf"));
        fs::write(&file, "server { listen 80; }\n".repeat(50)).unwrap();
        if !plain.exists() || !deflate.exists() {
            let raw = raw(folder);
            goldimg(&["convert", "-q", "--force", "-S", "0", "-O", "qcow2"], &[&raw, &plain]);
            goldimg(&["convert", "-q", "--force", "-c", "-O", "qcow2"], &[&raw, &deflate]);
            fs::remove_file(raw).unwrap();
        }
        Self { folder: folder.to_owned(), plain, deflate, file }
    }
}

fn goldimg(words: &[&str], files: &[&Path]) {
    assert!(Command::new(GOLDIMG).args(words).args(files).status().unwrap().success());
}

/// The disk: one filesystem, from which much was deleted.
fn raw(folder: &Path) -> PathBuf {
    let (tree, raw) = (folder.join("system"), folder.join("system.raw"));
    let _ = fs::remove_dir_all(&tree);
    let put = |name: &str, bytes: &[u8]| {
        let path = tree.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    for name in ["bin", "boot", "dev", "proc", "root", "run", "sbin", "sys", "tmp", "usr/bin", "var/log"] {
        fs::create_dir_all(tree.join(name)).unwrap();
    }
    put("etc/fstab", b"/dev/sda / ext4 defaults 0 1\n");
    put("etc/os-release", b"ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n");
    put("etc/debian_version", b"12.0\n");
    put("etc/hostname", b"bench\n");
    put("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n");
    put("var/lib/dpkg/status", b"");
    let mut seed = 1_u64;
    let mut random = |count: usize| -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            bytes.extend(seed.to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    };
    for index in 0..FILES {
        let mut bytes = random(SIZE / 2);
        bytes.resize(SIZE, b' ');
        put(&format!("usr/share/d{}/file-{index}", index / FOLDER), &bytes);
    }
    let (count, size) = GONE;
    for index in 0..count {
        put(&format!("var/cache/gone-{index}"), &random(size));
    }
    let made = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d"])
        .args([&tree, &raw])
        .arg("2G")
        .status()
        .unwrap();
    assert!(made.success());
    fs::remove_dir_all(&tree).unwrap();
    assert!(
        Command::new(GOLDIMG).arg("rm").arg("-rf").arg(&raw).arg("/var/cache").status().unwrap().success()
    );
    raw
}
