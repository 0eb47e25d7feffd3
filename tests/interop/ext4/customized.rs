//! An image with files of every kind, customized: what the steps did is there, and all else is as it was in every line that the kernel
//! tells.
//!
//! ```text
//! image ─► mounted: walk.py ─► goldimg customize ─► mounted: walk.py ─► only the paths of the steps differ
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::witness::Judge;
use super::{SOME, say};
use crate::support::peer::peer;
use crate::support::program::Outcome;
use crate::support::{folder, goldimg};

/// What the kernel tells of each path.
type Facts = BTreeMap<String, String>;

/// A system that can run a shell: its programs are this machine's. And files for the steps to change.
pub(crate) const SYSTEM: &str = r#"
set_attribute() {
  python3 -c 'import os, sys; [os.setxattr(path, sys.argv[1], sys.argv[2].encode()) for path in sys.argv[3:]]' "$@"
}
for program in /bin/sh /bin/rm /bin/mv /bin/ln /bin/cp /bin/chmod /bin/chown /bin/mkdir /bin/touch; do
  cp -L --parents $program $M
  for library in $(ldd $program | grep -o '/[^ ]*'); do cp -L --parents $library $M; done
done
mkdir -p $M/etc $M/files/directory $M/files/gone/deep $M/usr/sbin
printf 'root:x:0:0::/root:/bin/sh\n' > $M/etc/passwd
echo 'nameserver 192.0.2.1' > $M/etc/resolv.conf
echo one > $M/files/one; ln $M/files/one $M/files/uno
echo two > $M/files/two; set_attribute user.own 1 $M/files/two
echo three > $M/files/three
echo four > $M/files/four; ln $M/files/four $M/files/vier
echo five > $M/files/five; ln $M/files/five $M/files/cinq
echo six > $M/files/six; ln $M/files/six $M/files/sechs
echo seven > $M/files/seven; cp -p $M/files/seven $M/files/sept
echo x > $M/files/gone/deep/x
echo y > $M/files/kind
mknod $M/files/null c 1 3
set_attribute security.selinux system_u:object_r:etc_t:s0 $M/files $M/files/one $M/files/two $M/files/three
for file in $M/etc/* $M/files/* $M/files $M/etc $M/usr/sbin; do touch -h -d '2001-02-03 04:05:06.000000007' $file; done"#;

pub(crate) const STEPS: &str = "\
chmod 640 /files/two
ln /files/two /files/deux
echo more >> /files/one
rm -r /files/gone /files/kind
mkdir /files/kind
mv /files/directory /files/moved
echo new > /files/new
chown 33:33 /files/new
ln -s new /files/link
rm /files/vier
cp /files/three /files/other
mv /files/other /files/three
touch /files/touched
rm /files/touched
chown -R 0:0 /etc
cp -p /files/five /files/t; mv /files/t /files/five; chmod 4700 /files/cinq
mv /files/sechs /files/six2
ln -f /files/seven /files/sept
";

fn lines(judge: &Judge, image: &Path) -> Facts {
    judge.tell_image(image, "ro")
}

/// Customizes `image` into `new`, with `words`.
pub(crate) fn customize(image: &Path, new: &Path, words: &[&str]) -> Outcome {
    let mut all: Vec<&str> = vec!["customize", "-f", "raw", "--cache-dir", "/var/tmp", "--network", "none"];
    all.extend(words);
    let [image, new] = [image, new].map(|path| path.to_str().expect("UTF-8"));
    all.extend([image, "-o", new]);
    goldimg(all).run()
}

fn fact<'a>(line: &'a str, name: &str) -> &'a str {
    line.split(' ').find_map(|fact| fact.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
}

/// Makes sure that what the kernel tells `after` the [`STEPS`] is what they did, and all else is as it was `before`.
pub(crate) fn judge_steps(before: &Facts, after: &Facts) {
    let names = |lines: &Facts| lines.keys().cloned().collect::<BTreeSet<_>>();
    let (old, now) = (names(before), names(after));
    let gone: Vec<_> = old.difference(&now).map(String::as_str).collect();
    let expected = [
        "files/directory",
        "files/gone",
        "files/gone/deep",
        "files/gone/deep/x",
        "files/sechs",
        "files/vier",
    ];
    assert_eq!(gone, expected);
    let came: Vec<_> = now.difference(&old).map(String::as_str).collect();
    assert_eq!(came, ["files/deux", "files/link", "files/moved", "files/new", "files/six2"]);
    let differ: Vec<_> = old.intersection(&now).filter(|path| before[*path] != after[*path]).collect();
    let expected =
        ["", "/cinq", "/five", "/four", "/kind", "/one", "/sept", "/seven", "/six", "/three", "/two", "/uno"];
    assert_eq!(differ, expected.map(|path| format!("files{path}")).each_ref(), "all else is as it was");
    say(old.len() - differ.len() - gone.len(), "beside a customized image");

    let of = |path: &str, name: &str| fact(&after[path], name).to_owned();
    assert_eq!((of("files/two", "mode"), of("files/two", "links")), ("640".into(), "2".into()));
    assert_eq!(of("files/deux", "inode"), of("files/two", "inode"));
    assert_eq!(of("files/two", "content"), fact(&before["files/two"], "content"));
    // Both names of a file have what was written by one of them.
    assert_eq!(of("files/one", "inode"), of("files/uno", "inode"));
    assert_ne!(of("files/one", "content"), fact(&before["files/one"], "content"));
    // Names of one file are names of several afterwards, and the reverse.
    assert_eq!((of("files/five", "mode"), of("files/five", "links")), ("644".into(), "1".into()));
    assert_eq!((of("files/cinq", "mode"), of("files/cinq", "links")), ("4700".into(), "1".into()));
    assert_eq!((of("files/six", "inode"), of("files/six", "links")), (of("files/six2", "inode"), "2".into()));
    assert_eq!(
        (of("files/seven", "inode"), of("files/sept", "links")),
        (of("files/sept", "inode"), "2".into())
    );
    assert_eq!((of("files/four", "links"), of("files/new", "owner")), ("1".into(), "33:33".into()));
    assert!(after["files/kind"].starts_with("Directory ") && after["files/link"].starts_with("Link "));
    // Labels are those that were there, and of what is new those of the directory.
    let label = |path: &str| after[path].split(' ').find(|fact| fact.contains("security.selinux"));
    for path in ["files/one", "files/two", "files/three", "files/new", "files/moved", "files/kind"] {
        assert_eq!(label(path), label("files"), "{path}");
        assert!(label(path).is_some(), "{path}");
    }
}

#[test]
fn what_steps_do_not_change_stays_in_every_line_that_the_kernel_tells() {
    let (Some(judge), Some(e2fsck)) = (Judge::find(), peer("e2fsck")) else { return };
    let dir = folder();
    let (image, new) = (dir.path().join("image"), dir.path().join("new.raw"));
    judge.make(&image, "500M", &["-t", "ext4", "-b", "4096"]);
    judge.fill_image(&image, "rw", &SOME);
    judge.with_mount(&image, "rw", SYSTEM);
    let before = lines(&judge, &image);
    let script = dir.path().join("steps");
    std::fs::write(&script, STEPS).unwrap();
    let done = customize(&image, &new, &["--no-seal", "--run", script.to_str().unwrap()]);
    assert_eq!(done.code, 0, "{}", done.snapshot());
    e2fsck.must(["-fn".as_ref(), new.as_os_str()]);
    let after = lines(&judge, &new);

    judge_steps(&before, &after);
    // A change of rights alone leaves the file the one that it was.
    assert_eq!(fact(&after["files/two"], "inode"), fact(&before["files/two"], "inode"));
}

#[test]
fn what_is_mounted_where_is_what_the_image_said_before_the_steps() {
    let (Some(judge), Some(sfdisk)) = (Judge::find(), peer("sfdisk")) else { return };
    let dir = folder();
    let [image, new, table] = ["image", "new.raw", "table"].map(|name| dir.path().join(name));
    std::fs::File::create(&image).unwrap().set_len(200 << 20).unwrap();
    std::fs::write(&table, "label: gpt\nstart=1MiB, size=120MiB\nstart=125MiB, size=70MiB\n").unwrap();
    let script = format!("sfdisk -q {} < {}", image.display(), table.display());
    peer("sh").expect("a shell").must(["-c", &script]);
    sfdisk.must(["--verify".as_ref(), image.as_os_str()]);
    let place = |start: u64, size: u64| format!("rw,offset={},sizelimit={}", start << 20, size << 20);
    let (root, boot) = (place(1, 120), place(125, 70));
    for (start, blocks) in [(1_u64, "122880"), (125, "71680")] {
        let offset = format!("offset={}", start << 20);
        judge.make(&image, blocks, &["-t", "ext4", "-b", "1024", "-E", &offset]);
    }
    judge.with_mount(&image, &root, SYSTEM);
    judge.with_mount(&image, &root, "mkdir $M/boot; echo '/dev/vda2 /boot ext4 defaults 0 2' > $M/etc/fstab");
    judge.with_mount(&image, &boot, "echo old > $M/old");
    let step = ["--no-seal", "--run-command", "rm /etc/fstab; echo new > /boot/new; echo newer > /boot/old"];
    let done = customize(&image, &new, &step);
    assert_eq!(done.code, 0, "{}", done.snapshot());
    assert_eq!(judge.with_mount(&new, &boot, "cat $M/new $M/old"), "new\nnewer\n");
    assert_eq!(judge.with_mount(&new, &root, "ls $M/boot"), "");
    // Without being asked, a disk keeps its size.
    assert_eq!(std::fs::metadata(&new).unwrap().len(), 200 << 20);
}

#[test]
fn what_would_be_lost_in_place_is_not_done() {
    let (Some(judge), Some(qemu_img)) = (Judge::find(), peer("qemu-img")) else { return };
    let dir = folder();
    let [raw, image] = ["raw", "image.qcow2"].map(|name| dir.path().join(name));
    judge.make(&raw, "60M", &["-t", "ext4", "-b", "4096"]);
    judge.with_mount(&raw, "rw", SYSTEM);
    let [raw, image] = [&raw, &image].map(|path| path.to_str().unwrap());
    qemu_img.must(["convert", "-f", "raw", "-O", "qcow2", raw, image]);
    qemu_img.must(["snapshot", "-c", "first", image]);
    let before = std::fs::read(image).unwrap();
    let words = ["customize", "--cache-dir", "/var/tmp", "--no-seal", "--mkdir", "/new", "--in-place", image];
    let refused = goldimg(words).run();
    assert_eq!(refused.code, 1, "{}", refused.snapshot());
    assert!(refused.stderr.contains("1 internal snapshots, which would be lost"), "{}", refused.snapshot());
    assert!(std::fs::read(image).unwrap() == before);
    qemu_img.must(["snapshot", "-d", "first", image]);
    let done = goldimg(words).run();
    assert_eq!(done.code, 0, "{}", done.snapshot());
    qemu_img.must(["check", image]);
    let listed = goldimg(["ls", image, "/"]).run();
    assert!(listed.stdout.lines().any(|line| line == "new"), "{}", listed.snapshot());
}

#[test]
fn a_step_that_fails_or_has_no_room_leaves_nothing_behind() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let (image, new) = (dir.path().join("image"), dir.path().join("new.raw"));
    judge.make(&image, "100M", &["-t", "ext4", "-b", "4096"]);
    judge.with_mount(&image, "rw", SYSTEM);
    let failed = customize(&image, &new, &["--no-seal", "--run-command", "echo oh; exit 3"]);
    assert_eq!(failed.code, 1, "{}", failed.snapshot());
    assert!(failed.stderr.contains("exit status: 3"), "{}", failed.snapshot());
    assert!(!new.exists());
    let large = dir.path().join("large");
    std::fs::write(&large, vec![7; 200 << 20]).unwrap();
    let large = format!("{}:/files", large.display());
    let full = customize(&image, &new, &["--no-seal", "--copy-in", &large]);
    assert_eq!(full.code, 1, "{}", full.snapshot());
    assert!(full.stderr.contains("--size"), "{}", full.snapshot());
    assert!(!new.exists());
    // With more room it is there.
    let grown =
        customize(&image, &new, &["--no-seal", "--copy-in", &large, "--size", "+300M", "--grow-root"]);
    assert_eq!(grown.code, 0, "{}", grown.snapshot());
    peer("e2fsck").expect("e2fsck").must(["-fn".as_ref(), new.as_os_str()]);
    assert_eq!(std::fs::metadata(&new).unwrap().len(), 400 << 20);
    assert_eq!(fact(&lines(&judge, &new)["files/large"], "size"), (200 << 20).to_string());
}
