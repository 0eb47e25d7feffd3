//! What becomes of a file that is replaced: links stay, rights stay, and what cannot be replaced is told before the work.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use crate::support::peer::{Peer, peer};
use crate::support::program::Outcome;
use crate::support::{folder, goldimg};

fn run(folder: &Path, line: &str) -> Outcome {
    goldimg(line.split(' ')).folder(folder).run()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").mode() & 0o7777
}

/// A folder with a source, and a file in another one with a link to it.
fn linked(name: &str) -> tempfile::TempDir {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a.raw"), vec![7; 300_000]).expect("room");
    fs::create_dir(path("store")).expect("a folder");
    fs::write(path("store/real"), "old").expect("room");
    fs::set_permissions(path("store/real"), fs::Permissions::from_mode(0o600)).expect("a mode");
    symlink("store/real", path(name)).expect("a link");
    folder
}

/// Whether the link is as it was, and what it names has the mode it had.
fn check(folder: &Path, link: &str, outcome: &Outcome) {
    assert_eq!(
        fs::read_link(folder.join(link)).expect("a link"),
        Path::new("store/real"),
        "{}",
        outcome.snapshot()
    );
    assert_eq!(mode(&folder.join("store/real")), 0o600, "{}", outcome.snapshot());
    assert_eq!(names(&folder.join("store")), ["real"], "{}", outcome.snapshot());
}

#[test]
fn every_command_that_replaces_a_file_keeps_the_link_to_it_and_its_rights() {
    for line in [
        "convert -q --force a.raw b.qcow2",
        "convert -q --force --sync a.raw b.qcow2",
        "dd -q --force if=a.raw of=b.qcow2",
        "create -q --force b.qcow2 1M",
    ] {
        let folder = linked("b.qcow2");
        let refused = run(folder.path(), &line.replace("--force ", ""));
        assert!(refused.code == 1 && refused.stderr.contains("real exists"), "{}", refused.snapshot());
        assert_eq!(fs::read(folder.path().join("store/real")).expect("a file"), b"old");
        let outcome = run(folder.path(), line);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{}", outcome.snapshot());
        check(folder.path(), "b.qcow2", &outcome);
        assert!(fs::read(folder.path().join("b.qcow2")).expect("an image").starts_with(b"QFI\xfb"), "{line}");
    }
}

#[test]
fn an_image_is_sealed_where_a_link_leads_and_told_of_where_other_names_do() {
    let Some(mke2fs) = peer("mke2fs") else { return };
    let folder = linked("disk.raw");
    let real = folder.path().join("store/real");
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("etc")).expect("a folder");
    fs::write(tree.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").expect("room");
    fs::remove_file(&real).expect("it was there");
    let make = || {
        mke2fs.must([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-d",
            &tree.display().to_string(),
            &real.display().to_string(),
            "16M",
        ])
    };
    make();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).expect("a mode");
    let sealed = run(folder.path(), "seal -q --profile any disk.raw");
    // It does not boot, which sealing does not repair.
    assert_eq!(sealed.code, 1, "{}", sealed.snapshot());
    check(folder.path(), "disk.raw", &sealed);
    let is_sealed =
        |path: &Path| !fs::read(path).expect("an image").windows(12).any(|word| word == b"0123456789ab");
    assert!(is_sealed(&real), "{}", sealed.snapshot());
    fs::hard_link(&real, folder.path().join("other")).expect("a link");
    // One with nothing to seal is not replaced.
    make();
    let warned = run(folder.path(), "seal -q --profile any disk.raw");
    assert!(warned.stderr.contains("warning: the image has other names"), "{}", warned.snapshot());
}

#[test]
fn lists_and_attributes_stay_and_what_the_folder_gives_does_not_come() {
    let (Some(setfacl), Some(getfacl), Some(python)) = (peer("setfacl"), peer("getfacl"), peer("python3"))
    else {
        return;
    };
    let folder = linked("b.qcow2");
    let real = folder.path().join("store/real").display().to_string();
    let store = folder.path().join("store").display().to_string();
    if setfacl.run(["-m", "u:65534:r--,m::r--", &real]).code != 0 {
        return;
    }
    let attribute = |script: &str| {
        let outcome = python.run(["-c", &format!("import os; {script}"), &real]);
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        outcome.stdout
    };
    attribute("import sys; os.setxattr(sys.argv[1], 'user.origin', b'here')");
    let list = |path: &str| getfacl.must(["-n", "-p", path]);
    let before = list(&real);
    assert!(before.contains("user:65534:r--"), "{before}");
    for line in ["convert -q --force a.raw b.qcow2", "create -q --force b.qcow2 1M"] {
        let outcome = run(folder.path(), line);
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        assert_eq!(list(&real), before, "{line}");
        assert_eq!(attribute("import sys; print(os.getxattr(sys.argv[1], 'user.origin'))").trim(), "b'here'");
    }
    // A list that the folder gives to each new file.
    setfacl.must(["-b", &real]);
    fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).expect("a mode");
    setfacl.must(["-d", "-m", "u:65534:rw-", &store]);
    let before = list(&real);
    assert_eq!(run(folder.path(), "convert -q --force a.raw b.qcow2").code, 0);
    assert_eq!(list(&real), before);
}

#[test]
fn what_cannot_be_in_a_place_is_told_before_the_work() {
    let folder = folder();
    // Reading it would be refused too, and later.
    fs::write(folder.path().join("a.raw"), vec![7; 4096]).expect("room");
    fs::create_dir(folder.path().join("d.raw")).expect("a folder");
    let long = format!("convert --force a.raw {}.raw", "n".repeat(300));
    for (line, told) in [
        ("convert --force a.raw d.raw", "d.raw is a folder"),
        ("convert --force a.raw new.raw/", "new.raw/ is a folder"),
        ("convert --force a.raw a.raw/b.raw", "Not a directory"),
        ("convert --force a.raw no/b.raw", "making a file in no"),
        ("convert --force a.raw /dev/null", "/dev/null is neither a file nor a block device"),
        (&long, "File name too long"),
        ("create --force d.raw 1M", "d.raw is a folder"),
    ] {
        let outcome = run(folder.path(), line);
        assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
        assert!(outcome.stderr.contains(told), "{}", outcome.snapshot());
        assert!(!outcome.stderr.contains("renaming"), "{}", outcome.snapshot());
    }
    assert_eq!(names(folder.path()), ["a.raw", "d.raw"]);
}

/// Runs a shell's script as root of a mount namespace of its own, where that can be had.
fn in_namespace(folder: &Path, script: &str) -> Option<Outcome> {
    let unshare: Peer = peer("unshare")?;
    let program = goldimg([""]).path();
    let words = ["--user", "--map-root-user", "--mount", "sh", "-c", script];
    let probe = unshare.run(["--user", "--map-root-user", "--mount", "mount", "--bind", "/tmp", "/tmp"]);
    if probe.code != 0 {
        return None;
    }
    let words = words.iter().map(|word| word.as_ref()).chain([program.as_os_str()]);
    Some(unshare.command(words).folder(folder).run())
}

#[test]
fn a_file_that_is_mounted_is_known_before_the_work_and_written_in_place_if_it_is_empty() {
    let folder = linked("b.qcow2");
    fs::write(folder.path().join("outer"), "old").expect("room");
    fs::write(folder.path().join("c.raw"), "").expect("room");
    let script = "mount --bind outer c.raw && \"$0\" convert --force a.raw c.raw; echo $?; cat outer; : > outer; \
                  \"$0\" convert -q --force a.raw c.raw && cmp a.raw outer && echo written; \
                  : > outer; \"$0\" convert -q --force -f qcow2 a.raw c.raw; test -e c.raw && ! test -s outer && echo empty";
    let Some(outcome) = in_namespace(folder.path(), script) else { return };
    assert!(outcome.stdout.starts_with("1\nold"), "{}", outcome.snapshot());
    assert!(
        outcome.stderr.contains("c.raw is a mount point: what is mounted there"),
        "{}",
        outcome.snapshot()
    );
    assert!(
        outcome.stderr.contains("hint: write to another place; or empty it (truncate -s 0 c.raw)"),
        "{}",
        outcome.snapshot()
    );
    assert!(outcome.stdout.ends_with("written\nempty\n"), "{}", outcome.snapshot());
    assert_eq!(names(folder.path()), ["a.raw", "b.qcow2", "c.raw", "outer", "store"]);
}

/// As qemu-img 10: it empties what it finds, and leaves it.
#[test]
fn as_qemu_img_a_target_that_was_there_stays_on_a_full_disk() {
    let Some(qemu_img) = peer("qemu-img") else { return };
    let folder = folder();
    let noise: Vec<u8> =
        (0..1_000_000_u32).flat_map(|at| at.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    fs::write(folder.path().join("a.raw"), noise).expect("room");
    fs::create_dir(folder.path().join("small")).expect("a folder");
    let script = |program: &str| {
        format!(
            "mount -t tmpfs -o size=1m tmpfs small && echo old > small/real && chmod 600 small/real && \
             ln -s real small/link && ln -s nothing small/dangling && echo old > small/prepared && \
             for name in link prepared dangling new; do \
                 {program} convert -f raw -O qcow2 a.raw small/$name >/dev/null 2>&1; echo $name $?; rm -f small/nothing; \
                 : > small/real; test -e small/prepared && : > small/prepared; done; \
             ls small; stat -c %a small/real; readlink small/link small/dangling"
        )
    };
    let ours = in_namespace(folder.path(), &script("\"$0\" qemu-img"));
    let theirs = in_namespace(folder.path(), &script("qemu-img"));
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return };
    let told = |outcome: &Outcome| outcome.stdout.replace("new\n", "");
    assert_eq!(told(&ours), told(&theirs), "{qemu_img:?}: {}\n{}", ours.snapshot(), theirs.snapshot());
    assert!(ours.stdout.contains("\ndangling\nlink\n"), "{}", ours.snapshot());
    assert!(ours.stdout.contains("\nprepared\nreal\n600\n"), "{}", ours.snapshot());
}
