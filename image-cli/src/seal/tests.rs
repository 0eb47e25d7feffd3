//! Images that need it are sealed: whatever an audit says that sealing repairs, it repairs, and nothing else changes.

mod services;
mod volumes;

use std::fs;
use std::path::Path;

use image_core::block::{BlockRead, BlockWrite, ByteRange, FileDisk, Window, ZeroMode};
use image_core::fs::{NewFat, NewFile, make_fat};

use super::*;
use crate::audit::Verdict;
use crate::audit::tests::{broken_trees, image as disk_of, mke2fs, put, sound_tree};
use crate::monitor::silent;

fn request(image: &Path) -> Request {
    Request {
        image: image.to_owned(),
        format: Some(Format::Raw),
        output: None,
        force: false,
        profile: Profile::Openstack,
        expected: Expected::default(),
        variables: Variables::default(),
        chosen: Chosen::default(),
    }
}

/// The rules that sealing is said to repair, and that the report tells of.
fn repairable(report: &Report) -> Vec<&'static str> {
    let told = report.checks.iter().filter(|check| check.verdict != Verdict::Ok);
    let by_sealing =
        told.filter(|check| check.findings.iter().any(|finding| finding.fix.starts_with("goldimg seal")));
    by_sealing.map(|check| check.name).collect()
}

#[test]
fn whatever_is_said_to_be_repaired_by_sealing_is() {
    let Some(mke2fs) = mke2fs() else { return };
    let mut repaired = std::collections::BTreeSet::new();
    for (names, change) in broken_trees() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tempfile::tempdir().unwrap();
        sound_tree(tree.path());
        change(tree.path());
        let disk = disk_of(&mke2fs, tree.path(), dir.path(), |_| ());
        let request = request(disk.path());
        let before =
            audit::audit(disk.path(), request.format, request.profile, &request.expected, silent()).unwrap();
        let broken = repairable(&before);
        if broken.is_empty() {
            continue;
        }
        let sealed = seal(&request, silent()).unwrap();
        assert_eq!(repairable(&sealed.report), Vec::<&str>::new(), "{names}: {:?}", sealed.changes);
        assert!(!sealed.changes.is_empty(), "{names}");
        // The file beside it and the work folder are gone.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        repaired.extend(broken);
    }
    // Those of a whole disk are below.
    let expected = [
        "authorized-keys",
        "cloud-init-state",
        "crash-dumps",
        "credentials",
        "dbus-id",
        "histories",
        "host-keys",
        "hostname",
        "logs",
        "machine-id",
        "mail",
        "network-state",
        "package-leftovers",
        "passwords",
        "random-seed",
        "resolv-conf",
        "service-ids",
        "service-secrets",
        "temporary-files",
    ];
    assert_eq!(repaired.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn the_rest_of_the_disk_stays_and_what_was_removed_cannot_be_recovered() {
    let Some(mke2fs) = mke2fs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let tree = tempfile::tempdir().unwrap();
    sound_tree(tree.path());
    put(
        tree.path(),
        "etc/ssh/ssh_host_rsa_key",
        &format!("-----BEGIN PRIVATE KEY-----\n{}", "A".repeat(9000)),
    );
    put(tree.path(), "var/tmp/a name/with 'marks' #", "x");
    put(tree.path(), "etc/hostname", "kept\n");
    let disk = disk_of(&mke2fs, tree.path(), dir.path(), |disk| {
        // Not unmounted: what is to be replayed is, before anything is changed.
        disk.write_at(&[0, 0], (10 << 20) + 1024 + 0x3a).unwrap();
    });
    let before = fs::read(disk.path()).unwrap();
    assert!(before.windows(11).any(|window| window == b"PRIVATE KEY"));
    let mut request = request(disk.path());
    request.output = Some(dir.path().join("sealed.raw"));
    request.expected.keep = vec!["/etc/hostname".into()];
    let sealed = seal(&request, silent()).unwrap();
    assert!(sealed.stale_bytes >= 9000, "{}", sealed.stale_bytes);
    assert!(fs::read(disk.path()).unwrap() == before, "the image itself was changed");
    let after = fs::read(dir.path().join("sealed.raw")).unwrap();
    let root = (10 << 20)..(31 << 20);
    assert_eq!(after.len(), before.len());
    assert!(after[..root.start] == before[..root.start] && after[root.end..] == before[root.end..]);
    assert!(!after.windows(11).any(|window| window == b"PRIVATE KEY"));
    let (_, view) = open(&self::Request { image: dir.path().join("sealed.raw"), ..request }).unwrap();
    let read = |path: &str| view.root().read(path.as_ref(), 1 << 20).unwrap();
    assert_eq!(read("/etc/hostname").unwrap(), b"kept\n");
    assert_eq!(read("/boot/vmlinuz-6").unwrap(), b"kernel");
    assert!(view.root().list("/var/tmp".as_ref()).unwrap().unwrap().is_empty());
}

#[test]
fn a_random_seed_goes_from_the_efi_system_partition() {
    let Some(mke2fs) = mke2fs() else { return };
    let (dir, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sound_tree(tree.path());
    let place = ByteRange::between(2 << 20, 10 << 20);
    let disk = disk_of(&mke2fs, tree.path(), dir.path(), |disk| {
        let seed = NewFile { path: "loader/random-seed".into(), content: b"seed of one machine".into() };
        let other = NewFile { path: "loader/loader.conf".into(), content: b"timeout 0".into() };
        let options = NewFat { label: "ESP".into(), serial: 1, seconds: 0, hidden_sectors: 4096 };
        disk.write_zeroes(place, ZeroMode::Punch).unwrap();
        make_fat(&Window::new(disk, place).unwrap(), &options, &[seed, other]).unwrap();
    });
    let request = request(disk.path());
    let audit =
        || audit::audit(disk.path(), request.format, request.profile, &request.expected, silent()).unwrap();
    assert!(repairable(&audit()).contains(&"random-seed"));
    let sealed = seal(&request, silent()).unwrap();
    assert_eq!(repairable(&sealed.report), Vec::<&str>::new(), "{:?}", sealed.changes);
    let bytes = fs::read(disk.path()).unwrap();
    assert!(!bytes.windows(19).any(|window| window == b"seed of one machine"));
    let esp = Window::new(FileDisk::open(disk.path()).unwrap(), place).unwrap();
    let files = image_core::fs::open(Arc::new(esp)).unwrap();
    let left = image_core::fs::Files::list(&files, "/loader".as_ref()).unwrap().unwrap();
    assert_eq!(left.iter().map(|entry| &entry.name).collect::<Vec<_>>(), ["loader.conf"]);
}

#[test]
fn names_of_any_byte_go_and_an_image_with_nothing_to_seal_stays_byte_for_byte() {
    let Some(mke2fs) = mke2fs() else { return };
    let (dir, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sound_tree(tree.path());
    for name in ["x\ndump /etc/shadow x", "a \"name\" with '`$ \\", "\u{1}\u{7f}"] {
        put(tree.path(), &format!("var/tmp/{name}"), "x");
    }
    let disk = disk_of(&mke2fs, tree.path(), dir.path(), |_| ());
    let sealed = seal(&request(disk.path()), silent()).unwrap();
    let in_tmp = sealed.changes.iter().filter(|change| change.path().starts_with("/var/tmp")).count();
    assert_eq!(in_tmp, 5, "{:?}", sealed.changes);
    let (before, when) = (fs::read(disk.path()).unwrap(), fs::metadata(disk.path()).unwrap().ino());
    let again = seal(&request(disk.path()), silent()).unwrap();
    assert!(again.changes.is_empty(), "{:?}", again.changes);
    assert_eq!(again.stale_bytes, 0);
    assert_eq!(fs::metadata(disk.path()).unwrap().ino(), when, "it was written anew");
    assert!(fs::read(disk.path()).unwrap() == before);
}

#[test]
fn a_secret_goes_with_all_its_names_and_other_files_keep_those_that_nobody_named() {
    let Some(mke2fs) = mke2fs() else { return };
    let (dir, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sound_tree(tree.path());
    put(tree.path(), "etc/ssh/ssh_host_rsa_key", "-----BEGIN OPENSSH PRIVATE KEY-----");
    put(tree.path(), "var/tmp/kept", "kept");
    fs::create_dir_all(tree.path().join("srv")).unwrap();
    for (from, to) in [("etc/ssh/ssh_host_rsa_key", "srv/copy"), ("var/tmp/kept", "srv/kept")] {
        fs::hard_link(tree.path().join(from), tree.path().join(to)).unwrap();
    }
    let disk = disk_of(&mke2fs, tree.path(), dir.path(), |_| ());
    let sealed = seal(&request(disk.path()), silent()).unwrap();
    assert!(sealed.changes.contains(&Change::Remove("/srv/copy".into())), "{:?}", sealed.changes);
    assert_eq!(
        sealed.notes.iter().filter(|note| note.contains("/srv/kept")).count(),
        1,
        "{:?}",
        sealed.notes
    );
    let (_, view) = open(&request(disk.path())).unwrap();
    assert!(view.root().metadata("/srv/copy".as_ref()).unwrap().is_none());
    assert_eq!(view.root().read("/srv/kept".as_ref(), 9).unwrap().unwrap(), b"kept");
}

#[test]
fn gaps_and_swap_files_are_emptied_and_boot_code_stays() {
    let Some(mke2fs) = mke2fs() else { return };
    let (dir, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sound_tree(tree.path());
    let mut swap = vec![0; 1 << 20];
    swap[4086..4096].copy_from_slice(b"SWAPSPACE2");
    swap[0x41c..0x420].copy_from_slice(b"swap");
    swap[700_000..700_010].copy_from_slice(b"SECRET-ONE");
    fs::write(tree.path().join("swapfile"), &swap).unwrap();
    let fstab = fs::read_to_string(tree.path().join("etc/fstab")).unwrap();
    put(tree.path(), "etc/fstab", &format!("{fstab}/swapfile none swap sw 0 0\n"));
    let disk = disk_of(&mke2fs, tree.path(), dir.path(), |disk| {
        disk.write_at(b"SECRET-TWO", (31 << 20) + 777).unwrap();
        disk.write_at(b"LOADER", 40 << 10).unwrap();
    });
    let before = fs::read(disk.path()).unwrap();
    seal(&request(disk.path()), silent()).unwrap();
    let after = fs::read(disk.path()).unwrap();
    for secret in [b"SECRET-ONE", b"SECRET-TWO"] {
        assert!(before.windows(10).any(|window| window == secret));
        assert!(!after.windows(10).any(|window| window == secret), "{}", String::from_utf8_lossy(secret));
    }
    // Tables, what is before the first partition, and the BIOS boot partition.
    assert!(
        before[..2 << 20] == after[..2 << 20]
            && before[before.len() - 33 * 512..] == after[after.len() - 33 * 512..]
    );
    let (_, view) = open(&request(disk.path())).unwrap();
    let left = view.root().read("/swapfile".as_ref(), 2 << 20).unwrap().unwrap();
    assert!(left[..4096] == swap[..4096] && left[4096..].iter().all(|byte| *byte == 0));
}

#[test]
fn what_is_left_out_stays() {
    let Some(mke2fs) = mke2fs() else { return };
    let (dir, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sound_tree(tree.path());
    put(tree.path(), "var/log/app.log", "log\n");
    put(tree.path(), "var/tmp/x", "x");
    let disk = disk_of(&mke2fs, tree.path(), dir.path(), |_| ());
    let mut request = request(disk.path());
    request.chosen = Chosen::new(&[], &["logfiles".to_owned()]).unwrap();
    request.output = Some(dir.path().join("sealed.raw"));
    let sealed = seal(&request, silent()).unwrap();
    assert!(sealed.changes.contains(&Change::Remove("/var/tmp/x".into())), "{:?}", sealed.changes);
    assert!(
        !sealed.changes.iter().any(|change| change.path().starts_with("/var/log")),
        "{:?}",
        sealed.changes
    );
    let (_, view) = open(&self::Request { image: dir.path().join("sealed.raw"), ..request }).unwrap();
    assert_eq!(view.root().read("/var/log/app.log".as_ref(), 9).unwrap().unwrap(), b"log\n");
}

#[test]
fn behind_a_folder_that_is_a_link_nothing_is_emptied_and_that_is_told() {
    let Some(mke2fs) = mke2fs() else { return };
    let (dir, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sound_tree(tree.path());
    let links = [
        ("var/log", "/data/log"),
        ("var/tmp", "../data"),
        ("var/cache/apk", "/usr/share/packages"),
        ("var/lib/cloud", "../../srv"),
    ];
    for (link, target) in links {
        let _ = fs::remove_dir_all(tree.path().join(link));
        fs::create_dir_all(tree.path().join(link).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, tree.path().join(link)).unwrap();
    }
    let kept = ["data/log/app/x", "data/other", "usr/share/packages/x", "srv/instances/x"];
    kept.iter().for_each(|file| put(tree.path(), file, "x"));
    let disk = disk_of(&mke2fs, tree.path(), dir.path(), |_| ());
    let sealed = seal(&request(disk.path()), silent()).unwrap();
    for rule in ["logs", "temporary-files", "package-leftovers", "cloud-init-state"] {
        let check = sealed.report.checks.iter().find(|check| check.name == rule).unwrap();
        assert!(check.findings.iter().any(|finding| finding.fix.contains("is a link")), "{rule}");
    }
    assert_eq!(repairable(&sealed.report), Vec::<&str>::new());
    let (_, view) = open(&request(disk.path())).unwrap();
    for file in kept {
        assert!(view.root().read(format!("/{file}").as_ref(), 9).unwrap().is_some(), "{file}");
    }
}

/// What is left of an image whose sealing fails: all of it, and nothing beside it.
fn fails(disk: &FileDisk, folder: &Path, words: &str) {
    let mut before = vec![0; disk.size() as usize];
    disk.read_at(&mut before, 0).unwrap();
    let error = format!("{:#}", seal(&request(disk.path()), silent()).unwrap_err());
    assert!(error.contains(words), "{error}");
    assert!(fs::read(disk.path()).unwrap() == before);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
}

#[test]
fn a_failure_leaves_the_image_as_it_was() {
    let Some(mke2fs) = mke2fs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let tree = tempfile::tempdir().unwrap();
    sound_tree(tree.path());
    // A folder that is in its place and nowhere: what was in it is lost.
    let disk = disk_of(&mke2fs, tree.path(), dir.path(), |_| ());
    let part = disk.path().display().to_string() + "?offset=10485760";
    let request = "clri /usr/lib";
    let status =
        std::process::Command::new("/usr/sbin/debugfs").args(["-w", "-R", request, &part]).output().unwrap();
    assert!(status.status.success());
    fails(&disk, dir.path(), "is inconsistent: ");
}
