//! Images of several filesystems: what a booted system mounts is looked into, and sealed; what cannot be read is not said to be fine.

use std::fs;
use std::path::Path;
use std::process::Command;

use image_core::block::{BlockWrite, ByteRange, FileDisk};
use image_core::partition::{NewPartition, kind, write_gpt};
use uuid::{Uuid, uuid};

use super::request;
use crate::audit::tests::{MIB, ROOT, mke2fs, part, put, sound_tree};
use crate::audit::{Expected, Profile, Report, Verdict, audit};
use crate::monitor::silent;
use crate::seal::{Request, seal};

const VAR: Uuid = uuid!("0a6dd2ab-30d6-4c8b-8f2e-0d6f3a4a9f11");
/// `/home` of the Discoverable Partitions Specification.
const HOME: Uuid = uuid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915");

/// A disk with `/` of `root`, `/var` by its UUID, `/home` by the type of its partition, and an XFS for `/srv`.
fn disk(mke2fs: &Path, root: &Path, folders: [&Path; 2], path: &Path) -> FileDisk {
    let named = |number, from, to, kind, name: &str| NewPartition {
        name: name.into(),
        ..part(number, from, to, kind)
    };
    let parts = [
        named(1, 1, 22, kind::LINUX_ROOT_X86_64, ""),
        named(2, 22, 32, kind::LINUX_FILESYSTEM, ""),
        named(3, 32, 42, HOME, ""),
        named(4, 42, 52, kind::LINUX_FILESYSTEM, "data"),
    ];
    let text = format!("UUID={VAR} /var ext4 defaults 0 2\nPARTLABEL=data /srv xfs defaults 0 0\n");
    let fstab = fs::read_to_string(root.join("etc/fstab")).unwrap();
    put(root, "etc/fstab", &format!("{fstab}{text}"));
    let disk = FileDisk::create_new(path, 53 * MIB).unwrap();
    write_gpt(&disk, ROOT, &parts).unwrap();
    let trees = [(root, ROOT), (folders[0], VAR), (folders[1], HOME)];
    for ((tree, uuid), part) in trees.iter().zip(&parts) {
        let offset = format!("offset={}", part.range.offset());
        let made = Command::new(mke2fs)
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-U", &uuid.to_string(), "-E", &offset, "-d"])
            .args([tree, path])
            .arg((part.range.len() / 4096).to_string())
            .status()
            .unwrap();
        assert!(made.success());
    }
    // All that is looked at of one that is not read.
    disk.write_at(b"XFSB", parts[3].range.offset()).unwrap();
    disk
}

fn verdict(report: &Report, name: &str) -> Verdict {
    report.checks.iter().find(|check| check.name == name).unwrap().verdict
}

#[test]
fn what_lies_on_other_filesystems_is_looked_into_and_sealed() {
    let Some(mke2fs) = mke2fs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (root, var, home) = (dir.path().join("root"), dir.path().join("var"), dir.path().join("home"));
    sound_tree(&root);
    fs::remove_dir_all(root.join("root")).unwrap();
    std::os::unix::fs::symlink("var/roothome", root.join("root")).unwrap();
    put(&var, "roothome/.bash_history", "ls\n");
    put(&var, "backups/shadow.bak", "root:$y$j9T$x:1::::::\n");
    put(&home, "ann/.ssh/authorized_keys", "ssh-ed25519 AAAA\n");
    let path = dir.path().join("disk.raw");
    disk(&mke2fs, &root, [&var, &home], &path);
    let report = audit(&path, None, Profile::Any, &Expected::default(), silent()).unwrap();
    for rule in ["histories", "passwords", "authorized-keys"] {
        assert_eq!(verdict(&report, rule), Verdict::Problem, "{rule}");
    }
    // `/srv` may have anything, and nothing else is taken away by that.
    let private = report.checks.iter().find(|check| check.name == "private-keys").unwrap();
    assert_eq!(private.verdict, Verdict::NotChecked, "{private:?}");
    assert!(private.evidence.contains("partition 4"), "{private:?}");
    assert_eq!(verdict(&report, "machine-id"), Verdict::Ok);
    let request = Request { profile: Profile::Any, ..request(&path) };
    let sealed = seal(&request, silent()).unwrap();
    for rule in ["histories", "authorized-keys", "machine-id"] {
        assert_eq!(verdict(&sealed.report, rule), Verdict::Ok, "{rule}: {:?}", sealed.changes);
    }
    for (number, range) in
        [(2, ByteRange::between(22 * MIB, 32 * MIB)), (3, ByteRange::between(32 * MIB, 42 * MIB))]
    {
        let copy = dir.path().join(format!("{number}.ext4"));
        let bytes = fs::read(&path).unwrap();
        fs::write(&copy, &bytes[range.offset() as usize..range.end() as usize]).unwrap();
        let judged = Command::new("e2fsck").arg("-fn").arg(&copy).output().unwrap();
        assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
    }
}
