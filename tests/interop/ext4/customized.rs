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

/// A system that can run a shell: its programs are this machine's. And files for the steps to change.
const SYSTEM: &str = r#"
set_attribute() {
  python3 -c 'import os, sys; [os.setxattr(path, sys.argv[1], sys.argv[2].encode()) for path in sys.argv[3:]]' "$@"
}
for program in /bin/sh /bin/rm /bin/mv /bin/ln /bin/cp /bin/chmod /bin/chown /bin/mkdir /bin/touch; do
  cp -L --parents $program $M
  for library in $(ldd $program | grep -o '/[^ ]*'); do cp -L --parents $library $M; done
done
mkdir -p $M/etc $M/work/directory $M/work/gone/deep $M/usr/sbin
printf 'root:x:0:0::/root:/bin/sh\n' > $M/etc/passwd
echo 'nameserver 192.0.2.1' > $M/etc/resolv.conf
echo one > $M/work/one; ln $M/work/one $M/work/uno
echo two > $M/work/two; set_attribute user.own 1 $M/work/two
echo three > $M/work/three
echo four > $M/work/four; ln $M/work/four $M/work/vier
echo x > $M/work/gone/deep/x
echo y > $M/work/kind
mknod $M/work/null c 1 3
set_attribute security.selinux system_u:object_r:etc_t:s0 $M/work $M/work/one $M/work/two $M/work/three
for file in $M/etc/* $M/work/* $M/work $M/etc $M/usr/sbin; do touch -h -d '2001-02-03 04:05:06.000000007' $file; done"#;

const STEPS: &str = "\
chmod 640 /work/two
ln /work/two /work/deux
echo more >> /work/one
rm -r /work/gone /work/kind
mkdir /work/kind
mv /work/directory /work/moved
echo new > /work/new
chown 33:33 /work/new
ln -s new /work/link
rm /work/vier
cp /work/three /work/other
mv /work/other /work/three
touch /work/touched
rm /work/touched
chown -R 0:0 /etc
";

fn lines(judge: &Judge, image: &Path) -> BTreeMap<String, String> {
    judge.tell_image(image, "ro")
}

/// Customizes `image` into `new`, with `words`.
fn customize(image: &Path, new: &Path, words: &[&str]) -> Outcome {
    let mut all: Vec<&str> = vec!["customize", "-f", "raw", "--cache-dir", "/var/tmp", "--network", "none"];
    all.extend(words);
    let (image, new) = (image.to_str().unwrap(), new.to_str().unwrap());
    all.extend([image, "-o", new]);
    goldimg(all).run()
}

fn fact<'a>(line: &'a str, name: &str) -> &'a str {
    line.split(' ').find_map(|fact| fact.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
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

    let names = |lines: &BTreeMap<String, String>| lines.keys().cloned().collect::<BTreeSet<_>>();
    let (old, now) = (names(&before), names(&after));
    let gone: Vec<_> = old.difference(&now).map(String::as_str).collect();
    assert_eq!(gone, ["work/directory", "work/gone", "work/gone/deep", "work/gone/deep/x", "work/vier"]);
    let came: Vec<_> = now.difference(&old).map(String::as_str).collect();
    assert_eq!(came, ["work/deux", "work/link", "work/moved", "work/new"]);
    let differ: Vec<_> = old.intersection(&now).filter(|path| before[*path] != after[*path]).collect();
    assert_eq!(
        differ,
        ["work", "work/four", "work/kind", "work/one", "work/three", "work/two", "work/uno"],
        "all else is as it was"
    );
    say(old.len() - differ.len() - gone.len(), "beside a customized image");

    let of = |path: &str, name: &str| fact(&after[path], name).to_owned();
    // A change of rights alone leaves the file the one that it was.
    assert_eq!(of("work/two", "inode"), fact(&before["work/two"], "inode"));
    assert_eq!((of("work/two", "mode"), of("work/two", "links")), ("640".into(), "2".into()));
    assert_eq!(of("work/deux", "inode"), of("work/two", "inode"));
    assert_eq!(of("work/two", "content"), fact(&before["work/two"], "content"));
    // Both names of a file have what was written by one of them.
    assert_eq!(of("work/one", "inode"), of("work/uno", "inode"));
    assert_ne!(of("work/one", "content"), fact(&before["work/one"], "content"));
    assert_eq!((of("work/four", "links"), of("work/new", "owner")), ("1".into(), "33:33".into()));
    assert!(after["work/kind"].starts_with("Directory ") && after["work/link"].starts_with("Link "));
    // Labels are those that were there, and of what is new those of the directory.
    let label = |path: &str| after[path].split(' ').find(|fact| fact.contains("security.selinux"));
    for path in ["work/one", "work/two", "work/three", "work/new", "work/moved", "work/kind"] {
        assert_eq!(label(path), label("work"), "{path}");
        assert!(label(path).is_some(), "{path}");
    }
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
    let large = format!("{}:/work", large.display());
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
    assert_eq!(fact(&lines(&judge, &new)["work/large"], "size"), (200 << 20).to_string());
}
