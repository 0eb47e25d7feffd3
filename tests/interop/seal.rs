//! What sealing changed in an ext4 filesystem, read by the programs of those who maintain ext4.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::support::{folder, goldimg, peer};

/// Files of a system that served.
fn tree(root: &Path) {
    for (path, content) in [
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("etc/shadow", "root:$y$j9T$abc:1:0:99999:7:::\nann::2:0:::::\n"),
        ("etc/ssh/ssh_host_rsa_key", "-----BEGIN OPENSSH PRIVATE KEY-----\n"),
        ("etc/fstab", "LABEL=root / ext4 defaults 0 1\n"),
        ("root/.aws/credentials", "key\n"),
        ("var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("var/log/app/deep.log", "log\n"),
        ("var/tmp/a folder/with a 'name' #1", "x"),
        ("srv/kept", "kept\n"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::set_permissions(root.join("etc/shadow"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(root.join("srv/kept"), root.join("var/tmp/kept")).unwrap();
    symlink("/srv/kept", root.join("var/tmp/link")).unwrap();
}

/// The number of a file's inode, its mode and its links, by debugfs.
fn stat(debugfs: &peer::Peer, image: &str, path: &str) -> Vec<String> {
    let said = debugfs.must(["-R", &format!("stat {path}"), image]);
    let after = |name: &str| {
        let rest = said.split(name).nth(1).unwrap_or_default();
        rest.split_whitespace().next().unwrap_or_default().to_owned()
    };
    vec![after("Inode:"), after("Mode:"), after("Links:"), after("Size:")]
}

#[test]
fn other_programs_see_a_sealed_filesystem_and_nothing_else_changed() {
    let peers = ["mke2fs", "debugfs", "e2fsck", "qemu-img"].map(peer::peer);
    let [Some(mke2fs), Some(debugfs), Some(e2fsck), Some(qemu_img)] = peers else { return };
    let folder = folder();
    let root = folder.path().join("tree");
    tree(&root);
    let raw = folder.path().join("disk.raw").display().to_string();
    let image = folder.path().join("disk.qcow2").display().to_string();
    let root = root.display().to_string();
    mke2fs.must(["-q", "-F", "-t", "ext4", "-b", "1024", "-L", "root", "-d", &root, &raw, "16M"]);
    let before = ["/etc/shadow", "/etc/machine-id", "/srv/kept"].map(|path| stat(&debugfs, &raw, path));
    qemu_img.must(["convert", "-c", "-O", "qcow2", &raw, &image]);
    let packed = fs::metadata(&image).unwrap().len();

    let planned = goldimg(["seal", "--plan", &image]).run();
    assert_eq!(planned.code, 0, "{}", planned.snapshot());
    assert_eq!(goldimg(["seal", "--plan", "-q", &image]).run().stdout, planned.stdout);
    let other = folder.path().join("quiet.qcow2").display().to_string();
    let quiet = goldimg(["seal", "-q", "-o", &other, &image]).run();
    assert_eq!((quiet.code, quiet.stdout.as_str()), (1, ""), "{}", quiet.snapshot());
    assert!(
        quiet.stderr.starts_with("error: ") && quiet.stderr.contains(" problems, "),
        "{}",
        quiet.snapshot()
    );
    fs::remove_file(other).unwrap();
    let sealed = goldimg(["seal", "--json", "--profile", "any", "--keep", "/var/log/app", &image]).run();
    // It does not boot, which sealing does not repair.
    assert_eq!(sealed.code, 1, "{}", sealed.snapshot());
    let report: serde_json::Value = serde_json::from_str(&sealed.stdout).unwrap();
    let changes: Vec<&str> =
        report["changes"].as_array().unwrap().iter().filter_map(|one| one.as_str()).collect();
    assert_eq!(
        changes,
        planned.stdout.lines().filter(|line| !line.contains("/var/log/app")).collect::<Vec<_>>()
    );
    for change in [
        "remove /etc/ssh/ssh_host_rsa_key",
        "remove /var/tmp/a folder/with a 'name' #1",
        "remove /root/.aws/credentials",
        "lock passwords in /etc/shadow",
        "empty /etc/machine-id",
        "make /var/lib/dbus/machine-id a link to /etc/machine-id",
    ] {
        assert!(changes.contains(&change), "{change}: {changes:#?}");
    }

    let notes = report["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note.as_str().unwrap().contains("/srv/kept")), "{notes:?}");

    // As packed as before, in the same format.
    qemu_img.must(["check", &image]);
    let size = fs::metadata(&image).unwrap().len();
    assert!(size <= packed + packed / 4, "{size} bytes, {packed} before");
    qemu_img.must(["convert", "-O", "raw", &image, &raw]);
    let judged = e2fsck.run(["-fn", &raw]);
    assert_eq!(judged.code, 0, "{}", judged.snapshot());
    assert_eq!(debugfs.must(["-R", "cat /etc/shadow", &raw]), "root:*:1:0:99999:7:::\nann:*:2:0:::::\n");
    let after = ["/etc/shadow", "/etc/machine-id", "/srv/kept"].map(|path| stat(&debugfs, &raw, path));
    // Inode and mode are as they were; of two names of one file one is gone.
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(before[..2], after[..2], "{index}");
    }
    assert_eq!((before[2][2].as_str(), after[2][2].as_str()), ("2", "1"));
    assert_eq!(after[1][3], "0");
    assert_eq!(debugfs.must(["-R", "cat /srv/kept", &raw]), "kept\n");
    assert_eq!(debugfs.must(["-R", "cat /var/log/app/deep.log", &raw]), "log\n");
    assert!(!fs::read(&raw).unwrap().windows(11).any(|window| window == b"PRIVATE KEY"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "something is left beside the image");
}

#[test]
fn a_date_makes_sealing_reproducible_and_no_program_of_the_machine_is_called() {
    let Some(mke2fs) = peer::peer("mke2fs") else { return };
    let folder = folder();
    let root = folder.path().join("tree");
    tree(&root);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let raw = path("disk.raw");
    mke2fs.must(["-q", "-F", "-t", "ext4", "-b", "4096", "-d", &root.display().to_string(), &raw, "32M"]);
    for (name, date) in [("one", "1700000000"), ("same", "1700000000"), ("other", "1700000001")] {
        let words = ["seal", "--profile", "any", "-o", &path(name), &raw];
        let sealed = goldimg(words).env("SOURCE_DATE_EPOCH", date).env("PATH", "/nowhere").run();
        // It does not boot, which sealing does not repair.
        assert_eq!(sealed.code, 1, "{}", sealed.snapshot());
    }
    let [one, same, other] = ["one", "same", "other"].map(|name| fs::read(path(name)).unwrap());
    assert!(one == same && one != other);
    let wrong = goldimg(["seal", "-o", &path("wrong"), &raw]).env("SOURCE_DATE_EPOCH", "soon").run();
    assert_eq!(wrong.code, 64, "{}", wrong.snapshot());
    let listed = goldimg(["seal", "--list"]).run();
    assert!(listed.code == 0 && listed.stdout.contains("\nssh-hostkeys "), "{}", listed.snapshot());
    let slip = goldimg(["seal", "--enable", "ssh-hostkey", &raw]).run();
    assert!(slip.code == 64 && slip.stderr.contains("did you mean ssh-hostkeys?"), "{}", slip.snapshot());
}

#[test]
fn what_cannot_be_sealed_is_told_and_nothing_changes() {
    let folder = folder();
    let image = folder.path().join("disk.raw");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    let other = folder.path().join("other.raw");
    fs::write(&other, "other").unwrap();
    let path = |path: &Path| path.display().to_string();
    let exists = goldimg(["seal", &path(&image), "-o", &path(&other)]).run();
    assert_eq!(exists.code, 1, "{}", exists.snapshot());
    assert_eq!(fs::read(&other).unwrap(), b"other");
    let empty = goldimg(["seal", &path(&image)]).run();
    assert_eq!(empty.code, 1, "{}", empty.snapshot());
    assert!(empty.stderr.contains("no filesystem"), "{}", empty.stderr);
    let audited = goldimg(["audit", &path(&image)]).run();
    assert_eq!(audited.code, 1, "{}", audited.snapshot());
}
