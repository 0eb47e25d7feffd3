//! Filesystems that goldimg itself only reads, changed by a kernel in a guest: what the kernel of this machine tells afterwards is what was
//! asked for.
//!
//! ```text
//! ext4, filled by the kernel ─┬─ goldimg tar-out ─► archive ─► example `unpack` ─► XFS, Btrfs ─┬─ mounted: walk.py ─┐
//!                             └─ mounted: walk.py ─────────────────────────────────────────────┼────────────────────┴─► line by line
//!                                                                                             └─ xfs_repair, btrfs check
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ext4::customized::{STEPS, SYSTEM, customize, judge_steps};
use super::ext4::{assert_same, fill, say, script};
use crate::library::example;
use crate::support::kernel::{Kernel, kernel};
use crate::support::peer::{Peer, administrator, peer};
use crate::support::{folder, goldimg, project};

/// Where the partition begins, and how large it is, in bytes.
const START: u64 = 1 << 20;
const SIZE: u64 = 450 << 20;
/// How modules are packed here, each in another way.
const PACKED: [(&str, &str, &str); 4] = [
    ("xz", "xz --check=crc32", "virtio_blk"),
    ("zst", "zstd -q --rm", "virtio_pci"),
    ("zst", "zstd -q --rm", "xfs"),
    ("xz", "xz", "btrfs"),
];
/// Any ordinary user.
const NOBODY: &str = "65534";

type Facts = BTreeMap<String, String>;

/// What makes images, and judges them.
struct Judge {
    kernel: Kernel,
    unshare: Peer,
    folder: tempfile::TempDir,
}

impl Judge {
    fn find() -> Option<Self> {
        administrator("the kernel mounts nothing")?;
        // What the scripts call, and what is asked whether it is clean.
        for name in [
            "python3",
            "depmod",
            "setfacl",
            "chattr",
            "zstd",
            "xz",
            "mke2fs",
            "sfdisk",
            "mkfs.xfs",
            "mkfs.btrfs",
            "qemu-system-x86_64",
        ] {
            peer(name)?;
        }
        Some(Self { kernel: kernel()?, unshare: peer("unshare")?, folder: folder() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Mounts the filesystem `image` at `$M`, runs `script` as a shell does, and takes it away again; what it printed.
    fn mounted(&self, image: &Path, options: &str, script: &str) -> String {
        let (image, place) = (image.display(), self.path("mounted"));
        fs::create_dir_all(&place).expect("a folder");
        let place = place.display();
        let script =
            format!("set -eu; M={place}; mount -o loop,noatime,{options} {image} $M\n{script}\numount -R $M");
        self.unshare.must(["--mount", "--propagation", "private", "sh", "-c", &script])
    }

    /// What the kernel tells of a filesystem, mounted by `options` (and then by `more`).
    fn tell(&self, image: &Path, options: &str, more: &str) -> Facts {
        let blocks = project().join("tests/interop/guest/blocks.py");
        let asked =
            format!("{more}\npython3 {} $M\necho\npython3 {} $M", script("walk.py"), blocks.display());
        let said = self.mounted(image, options, &asked);
        let (files, large) = said.split_once("\n\n").expect("two lists");
        let split =
            |line: &str| line.split_once(' ').map(|(path, facts)| (path.to_owned(), facts.to_owned()));
        let mut facts: Facts = files.lines().filter_map(split).collect();
        for (path, digest) in large.lines().filter_map(split) {
            let own = facts.get_mut(&path).expect("a file");
            *own = format!("{own} blocks={digest}");
        }
        facts
    }

    /// The script that puts a small system into `$R`: a kernel with packed modules, and files to be changed.
    fn system(&self) -> String {
        let Kernel { version, image, modules } = &self.kernel;
        let (image, modules) = (image.display(), modules.display());
        let mut script = format!(
            "mkdir -p $R/boot $R/usr/lib/modules $R/etc $R/var/lib/old/deep $R/srv $R/was-folder/a/b; ln -s usr/lib $R/lib; \
             cp {image} $R/boot/; cp -r {modules} $R/usr/lib/modules/; "
        );
        for (ending, program, module) in PACKED {
            script.push_str(&format!(
                "f=$(find $R/usr/lib/modules -name {module}.ko); {program} $f; test -f $f.{ending}; "
            ));
        }
        script.push_str(&format!(
            "depmod -b $R {version}; echo one >$R/etc/one; ln $R/etc/one $R/etc/other-name; echo two >$R/etc/two; \
             ln -s two $R/etc/link; echo x >$R/var/lib/old/deep/x; ln -s / $R/var/lib/old/up; chattr +i $R/var/lib/old/deep/x; \
             setfacl -m d:u:7:rwx $R/srv; python3 -c 'import os, sys; os.setxattr(sys.argv[1], \"user.old\", b\"1\")' $R/srv; echo f >$R/was-folder/a/b/f; echo file >$R/new; \
             echo fixed >$R/etc/fixed; chattr +i $R/etc/fixed; : >$R/etc/fstab; sync; "
        ));
        script
    }

    /// The script that puts a system into `$M` that can run a shell besides, and files of every kind.
    fn system_that_runs(&self) -> String {
        let fill = fill("$M", &["kinds", "times", "attributes", "stored"]);
        let system = self.system();
        format!("R=$M; {system}\nchattr -i $M/etc/fixed; {SYSTEM}\nchattr +i $M/etc/fixed\n{fill}")
    }

    /// The archive of what is to come, and what the kernel tells of it.
    fn archive(&self) -> (PathBuf, Facts) {
        let (image, archive) = (self.path("source.ext4"), self.path("changes.tar"));
        let name = image.to_str().expect("UTF-8");
        peer("mke2fs").expect("mke2fs").must(["-q", "-F", "-t", "ext4", "-I", "512", name, "400M"]);
        let sets = ["kinds", "times", "attributes", "stored"];
        let own = "rmdir $M/lost+found; mkdir $M/srv $M/etc; chmod 1750 $M/new $M/srv; \
                   echo changed >$M/etc/one; echo fixed again >$M/etc/fixed; echo f >$M/was-folder; echo s >$M/srv/plain; \
                   truncate -s 3G $M/srv/sparse; echo end >>$M/srv/sparse; chown 7:8 $M/etc/one; chmod 4711 $M/etc/one; \
                   python3 -c 'import os, sys; os.setxattr(sys.argv[1], \"security.capability\", bytes([0, 0, 0, 2, 0, 4] + [0] * 14))' $M/srv/plain; \
                   touch -d '2001-02-03 04:05:06.789012345' $M/etc $M/new $M/srv $M";
        self.mounted(&image, "rw", &format!("{}; {own}", fill("$M/new", &sets)));
        let facts = self.tell(&image, "ro", "");
        let outcome = goldimg(["tar-out", name, "/", archive.to_str().expect("UTF-8")]).run();
        // Sockets are left out.
        assert!(outcome.code == 0 || outcome.stderr.contains("socket"), "{}", outcome.snapshot());
        (archive, facts)
    }

    /// A disk with the filesystem `part` in its only partition.
    fn disk(&self, part: &Path) -> PathBuf {
        let disk = self.path("disk.raw");
        let file = File::create(&disk).expect("a disk");
        file.set_len(START + SIZE + START).expect("a disk");
        let table = format!("label: gpt\nstart={}, size={}, type=linux", START / 512, SIZE / 512);
        peer("sh").expect("a shell").must([
            "-c",
            "echo \"$1\" | sfdisk -q \"$2\"",
            "sh",
            &table,
            disk.to_str().expect("UTF-8"),
        ]);
        self.copy(part, &disk, "seek=1");
        disk
    }

    /// The bytes of `from` in `to`, with `place` for where one of them begins, in MiB.
    fn copy(&self, from: &Path, to: &Path, place: &str) {
        let (from, to) = (format!("if={}", from.display()), format!("of={}", to.display()));
        let words = [from.as_str(), to.as_str(), "bs=1M", "conv=sparse,notrunc", "status=none", place];
        peer("dd").expect("dd").must(words);
    }

    /// Takes the filesystem out of a disk again, into `part`.
    fn take_out(&self, disk: &Path, part: &Path) {
        File::create(part).and_then(|file| file.set_len(SIZE)).expect("a file");
        self.copy(disk, part, "skip=1");
        // What is behind the partition is the table's backup.
        File::options().write(true).open(part).and_then(|file| file.set_len(SIZE)).expect("a file");
    }

    /// The example, as an ordinary user if `is_root` is not so.
    fn unpack(&self, is_root: bool, disk: &Path, archive: &Path, changes: &[&str]) -> (bool, String) {
        let mut own = example("unpack");
        let work = self.path("work");
        fs::create_dir_all(&work).expect("a folder");
        let program = self.path("unpack");
        if !is_root {
            // Where the program lies, others may not look.
            fs::copy(own.get_program(), &program).expect("a copy");
            let open = ["-R", NOBODY, disk.to_str().expect("UTF-8"), work.to_str().expect("UTF-8")];
            peer("chown").expect("chown").must(open);
            peer("chmod").expect("chmod").must(["755", self.folder.path().to_str().expect("UTF-8")]);
            own = Command::new("setpriv");
            own.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"]).arg(&program);
        }
        let said = own.arg(disk).arg(archive).args(changes).env("TMPDIR", &work).output().expect("it starts");
        let text = [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert_eq!(fs::read_dir(&work).expect("a folder").count(), 0, "something stays: {text:?}");
        (said.status.success(), text.concat().trim().to_owned())
    }
}

/// XFS that the script makes a system of: what judges it, and its file; `None` where something is missing. Other programs are asked for by then.
fn xfs(script: impl FnOnce(&Judge) -> String) -> Option<(Judge, PathBuf)> {
    let judge_of = Judge::find()?;
    peer("xfs_repair")?;
    let part = judge_of.path("part");
    File::create(&part).and_then(|file| file.set_len(SIZE)).expect("a file");
    peer("mkfs.xfs")?.must(["-q", "-f", part.to_str().expect("UTF-8")]);
    judge_of.mounted(&part, "rw", &script(&judge_of));
    Some((judge_of, part))
}

/// The same of Btrfs, with the system in the subvolume `@`, and a file in another one.
fn btrfs(script: impl FnOnce(&Judge) -> String) -> Option<(Judge, PathBuf)> {
    let judge_of = Judge::find()?;
    peer("btrfs")?;
    let part = judge_of.path("part");
    let name = part.to_str().expect("UTF-8");
    File::create(&part).and_then(|file| file.set_len(SIZE)).expect("a file");
    peer("mkfs.btrfs")?.must(["-q", name]);
    let make = format!(
        "btrfs -q subvolume create $M/@ >/dev/null; btrfs -q subvolume create $M/other >/dev/null; echo o >$M/other/stays; \
         umount $M; mount -o loop,subvol=@ {name} $M; {}\n\
         echo \"UUID=$(blkid -o value -s UUID {name}) / btrfs subvol=@ 0 0\" >$M/etc/fstab",
        script(&judge_of)
    );
    judge_of.mounted(&part, "rw", &make);
    Some((judge_of, part))
}

/// Has the filesystems' own programs look at `part`, and at what is in the other subvolume.
fn judge_btrfs(judge_of: &Judge, part: &Path) {
    peer("btrfs").expect("a judge").must(["check", part.to_str().expect("UTF-8")]);
    assert_eq!(judge_of.mounted(part, "ro,subvol=other", "cat $M/stays"), "o\n");
}

fn judge_xfs(part: &Path) {
    peer("xfs_repair").expect("a judge").must(["-n", part.to_str().expect("UTF-8")]);
}

/// What two filesystems have in common to tell of a file.
fn common(facts: &str) -> String {
    let own = [
        "inode=",
        "sectors=",
        "accessed=",
        "changed=",
        "flags=",
        "generation=",
        "stored=",
        // What XFS shows access control lists as besides.
        "attribute=trusted.SGI_ACL_",
    ];
    let is_directory = facts.starts_with("Directory");
    let kept = facts.split(' ').filter(|fact| {
        let is_own = own.iter().any(|own| fact.starts_with(own));
        let is_of_a_part = fact.starts_with("content=") && facts.contains(" blocks=");
        !is_own
            && !is_of_a_part
            && !(is_directory && (fact.starts_with("size=") || fact.starts_with("links=")))
    });
    kept.collect::<Vec<_>>().join(" ")
}

fn sectors(facts: &Facts, path: &str) -> u64 {
    let own = facts[path].split(' ').find_map(|fact| fact.strip_prefix("sectors="));
    own.and_then(|own| own.parse().ok()).expect("a number")
}

/// Whether `path` is at `folder` or beneath it.
fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Compares what is there with what was there `before` and what `came`, all as the kernel tells it.
fn judge(before: &Facts, came: &Facts, after: &Facts, what: &str) {
    let came: Facts = came.iter().filter(|(_, facts)| !facts.starts_with("Socket")).map(owned).collect();
    let gone = ["var/lib/old", "was-folder", "new", "srv/none"];
    let is_touched = |path: &str| {
        came.contains_key(path) || gone.iter().any(|gone| is_in(path, gone)) || path == "var/lib"
    };
    // What nobody asked for is as it was, down to its inode; but another name of what was replaced has one name less.
    let untouched = |facts: &Facts| -> Facts {
        facts.iter().filter(|(path, _)| !is_touched(path) && *path != "etc/other-name").map(owned).collect()
    };
    assert_same(&untouched(before), &untouched(after));
    assert!(untouched(after).len() > 300, "{}", untouched(after).len());
    let part = |facts: &Facts| -> Facts {
        let asked = facts.iter().filter(|(path, _)| is_touched(path) && *path != "var/lib");
        asked.map(|(path, facts)| (path.clone(), common(facts))).collect()
    };
    assert_same(&part(&came), &part(after));
    assert!(part(after).len() > 100, "{}", part(after).len());
    assert!(after["etc/other-name"].contains("links=1 ") && !after.contains_key("var/lib/old"));
    assert!(sectors(after, "srv/sparse") < 4096, "{}", after["srv/sparse"]);
    say(after.len(), what);
}

fn owned((path, facts): (&String, &String)) -> (String, String) {
    (path.clone(), facts.clone())
}

#[test]
fn a_guest_changes_xfs_and_tells_what_it_cannot() {
    let Some(judge_of) = Judge::find() else { return };
    let (Some(mkfs), Some(repair)) = (peer("mkfs.xfs"), peer("xfs_repair")) else { return };
    let part = judge_of.path("part");
    let name = part.to_str().expect("UTF-8");
    File::create(&part).and_then(|file| file.set_len(SIZE)).expect("a file");
    mkfs.must(["-q", "-f", name]);
    judge_of.mounted(&part, "rw", &format!("R=$M; {}", judge_of.system()));
    let before = judge_of.tell(&part, "ro", "");
    let (archive, came) = judge_of.archive();
    let disk = judge_of.disk(&part);
    let removed = ["0=/", "-/var/lib/old", "-/etc/none", "-/srv/none/at/all"];
    let (is_done, said) = judge_of.unpack(true, &disk, &archive, &removed);
    assert!(is_done, "{said}");
    assert!(said.starts_with("4 removed, ") && said.contains(&judge_of.kernel.version), "{said}");
    judge_of.take_out(&disk, &part);
    repair.must(["-n", name]);
    judge(&before, &came, &judge_of.tell(&part, "ro", ""), &format!("XFS: {said}"));
    // What a guest fails at is told, with its place.
    let fails = |archive: &Path, changes: &[&str], words: &str| {
        let (is_done, said) = judge_of.unpack(true, &disk, archive, changes);
        assert!(!is_done && said.contains(words), "{said}");
        say(1, &said);
    };
    fails(&archive, &["0=/", "memory=96"], "what its console said last:");
    fails(&archive, &["0=/,no-such-option"], "mounting /: Invalid argument");
    fails(&archive, &["0=/", "-/lib/modules"], "removing /lib/modules: a link or a file is in its way");
    let tar = judge_of.path("large.tar");
    let make = "mkdir -p \"$1/srv\"; yes | head -c 450M >\"$1/srv/large\"; tar -C \"$1\" -cf \"$2\" ./srv/large; rm -r \"$1\"";
    let [large, tar_name] =
        [judge_of.path("large"), tar.clone()].map(|path| path.to_str().expect("UTF-8").to_owned());
    peer("sh").expect("a shell").must(["-c", make, "sh", &large, &tar_name]);
    fails(&tar, &["0=/"], "unpacking /srv/large: No space left on device");
    File::create(&tar).and_then(|mut file| file.write_all(&[7; 1024])).expect("a file");
    fails(&tar, &["0=/"], "reading the archive: it is no tar archive");
}

#[test]
fn a_guest_of_an_ordinary_user_changes_subvolumes_of_btrfs() {
    let Some(judge_of) = Judge::find() else { return };
    let (Some(mkfs), Some(btrfs)) = (peer("mkfs.btrfs"), peer("btrfs")) else { return };
    let part = judge_of.path("part");
    let name = part.to_str().expect("UTF-8");
    File::create(&part).and_then(|file| file.set_len(SIZE)).expect("a file");
    mkfs.must(["-q", name]);
    let make =
        "btrfs -q subvolume create $M/@ >/dev/null; btrfs -q subvolume create $M/@new >/dev/null; R=$M/@";
    let fstab = "u=$(blkid -o value -s UUID $D); rm $R/new; mkdir $R/new; \
                 echo \"UUID=$u / btrfs subvol=@ 0 0\nUUID=$u /new btrfs subvol=@new 0 0\" >$R/etc/fstab; echo n >$M/@new/stays";
    judge_of.mounted(&part, "rw", &format!("D={name}; {make}; {} {fstab}", judge_of.system()));
    let more = format!("mount -o loop,ro,noatime,subvol=@new {name} $M/new;");
    let before = judge_of.tell(&part, "ro,subvol=@", &more);
    let (archive, mut came) = judge_of.archive();
    let disk = judge_of.disk(&part);
    let changes = [
        "0=/new,noatime,subvol=@new",
        "0=/,subvol=@,compress=zstd,x-systemd.growfs",
        "-/var/lib/old",
        "-/etc/none",
    ];
    let (is_done, said) = judge_of.unpack(false, &disk, &archive, &changes);
    assert!(is_done, "{said}");
    assert!(said.starts_with("4 removed, "), "{said}");
    judge_of.take_out(&disk, &part);
    btrfs.must(["check", name]);
    let after = judge_of.tell(&part, "ro,subvol=@", &more);
    assert_eq!(before["new/stays"], after["new/stays"]);
    came.insert("new/stays".to_owned(), after["new/stays"].clone());
    judge(&before, &came, &after, &format!("Btrfs: {said}"));
    let (is_done, said) =
        judge_of.unpack(false, &disk, &archive, &["0=/,subvol=@", "0=/new,subvol=@new", "-/new"]);
    assert!(!is_done && said.contains("removing /new: a volume is mounted there"), "{said}");
}

/// Makes sure that customizing the filesystem in `part` (mounted by `options`) changes what the steps do and nothing else.
fn customized(judge_of: &Judge, part: &Path, options: &str) {
    let before = judge_of.tell(part, &format!("ro,{options}"), "");
    let (disk, new, steps) = (judge_of.disk(part), judge_of.path("new.raw"), judge_of.path("steps"));
    fs::write(&steps, STEPS).expect("a file");
    let done = customize(&disk, &new, &["--no-seal", "--run", steps.to_str().expect("UTF-8")]);
    assert_eq!(done.code, 0, "{}", done.snapshot());
    assert!(done.stderr.contains("the image's own kernel writes /"), "{}", done.snapshot());
    judge_of.take_out(&new, part);
    judge_steps(&before, &judge_of.tell(part, &format!("ro,{options}"), ""));
}

#[test]
fn steps_change_xfs_and_all_else_stays() {
    let Some((judge_of, part)) = xfs(Judge::system_that_runs) else { return };
    customized(&judge_of, &part, "noatime");
    judge_xfs(&part);
}

#[test]
fn steps_change_a_subvolume_of_btrfs_and_all_else_stays() {
    let Some((judge_of, part)) = btrfs(Judge::system_that_runs) else { return };
    customized(&judge_of, &part, "subvol=@");
    judge_btrfs(&judge_of, &part);
}

/// What of a machine is in a system that was lived in; `$M` has one already.
const LIVED_IN: &str = r#"
mkdir -p $M/root $M/etc/ssh $M/srv/own $M/var/log/journal
printf 'root:x:0:0::/root:/bin/sh\n' >$M/etc/passwd
printf 'root:$6$a$b:19000:0:99999:7:::\nman:*:1::::::\n' >$M/etc/shadow; chown 0:42 $M/etc/shadow; chmod 640 $M/etc/shadow
python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.own", b"1")' $M/etc/shadow
(echo '-----BEGIN OPENSSH PRIVATE KEY-----'; yes SECRET-OF-ONE-MACHINE | head -n 400; echo '-----END OPENSSH PRIVATE KEY-----') >$M/etc/ssh/ssh_host_rsa_key
ln $M/etc/ssh/ssh_host_rsa_key $M/srv/own/key
yes SECRET-OF-ONE-MACHINE | head -n 9 >$M/root/.bash_history
yes SECRET-OF-ONE-MACHINE | head -n 90000 >$M/var/log/syslog
(echo '-----BEGIN OPENSSH PRIVATE KEY-----'; yes SECRET-OF-ONE-MACHINE | head -n 90000) >$M/srv/own/deleted
rm -f $M/etc/machine-id; echo 0123456789abcdef0123456789abcdef >$M/etc/machine-id; ln $M/etc/machine-id $M/srv/own/id
find $M -xdev ! -type l ! -path '*/etc/fixed' ! -path '*/old/deep/x' -exec touch -d '2001-02-03 04:05:06' {} +
sync -f $M; rm $M/srv/own/deleted"#;

/// What an audit says of unused space and of the root filesystem of the raw image `disk`.
fn verdicts(disk: &str) -> [String; 3] {
    let done = goldimg(["audit", "--profile", "any", "-f", "raw", "--json", disk]).run();
    let report: serde_json::Value = serde_json::from_str(&done.stdout).expect("a report");
    let checks = report["checks"].as_array().expect("checks");
    ["deleted-keys", "unused-space", "root-filesystem"].map(|name| {
        let check = checks.iter().find(|check| check["name"] == name).expect("a check");
        check["verdict"].as_str().expect("a verdict").to_owned()
    })
}

/// Seals the filesystem in `part` (mounted by `options`): what goes is gone, and nothing else is another.
fn sealed(judge_of: &Judge, part: &Path, options: &str) {
    let options = format!("ro,{options}");
    let before = judge_of.tell(part, &options, "");
    let (disk, new) = (judge_of.disk(part), judge_of.path("new.raw"));
    let [disk, name] = [&disk, &new].map(|path| path.to_str().expect("UTF-8"));
    assert_eq!(verdicts(disk), ["problem", "recommendation", "ok"]);
    let words = ["seal", "--profile", "any", "-f", "raw", "-o", name, disk];
    let done = goldimg(words).env("SOURCE_DATE_EPOCH", "1700000000").run();
    assert!(done.stderr.contains("the image's own kernel changes /"), "{}", done.snapshot());
    assert!(new.exists(), "{}", done.snapshot());
    let bytes = fs::read(&new).expect("an image");
    assert!(!bytes.windows(21).any(|window| window == b"SECRET-OF-ONE-MACHINE"), "{}", done.snapshot());
    assert_eq!(verdicts(name), ["ok"; 3], "{}", done.snapshot());
    judge_of.take_out(&new, part);
    let after = judge_of.tell(part, &options, "");
    let is_gone = |path: &&String| !after.contains_key(*path);
    let gone: Vec<&str> = before.keys().filter(is_gone).map(String::as_str).collect();
    assert_eq!(
        gone,
        ["etc/ssh/ssh_host_rsa_key", "root/.bash_history", "srv/own/key"],
        "{}",
        done.snapshot()
    );
    assert!(after.keys().all(|path| before.contains_key(path)), "something is new");
    let differs = |path: &&String| after.contains_key(*path) && before[*path] != after[*path];
    let differ: Vec<&str> = before.keys().filter(differs).map(String::as_str).collect();
    // Directories have other times, files with other content are new ones.
    let expected =
        ["etc/machine-id", "etc/shadow", "etc/ssh", "root", "srv/own", "srv/own/id", "var/log/syslog"];
    // What is made anew in a directory changes that, too.
    let own: Vec<&str> = differ.iter().copied().filter(|path| !["etc", "var/log"].contains(path)).collect();
    assert_eq!(own, expected);
    for folder in ["etc/ssh", "root", "srv/own"] {
        assert!(after[folder].contains("modified=1700000000000000000 "), "{folder}: {}", after[folder]);
    }
    let of = |facts: &Facts, path: &str, name: &str| {
        let own = facts[path].split(' ').find_map(|fact| fact.strip_prefix(name));
        own.unwrap_or_default().to_owned()
    };
    assert_eq!(
        (of(&after, "etc/machine-id", "size="), of(&after, "etc/machine-id", "links=")),
        ("0".into(), "2".into())
    );
    assert_eq!(of(&after, "etc/machine-id", "inode="), of(&after, "srv/own/id", "inode="));
    for fact in ["mode=", "owner=", "links=", "attribute="] {
        assert_eq!(of(&before, "etc/shadow", fact), of(&after, "etc/shadow", fact));
    }
    let shadow = judge_of.mounted(part, &options, "cat $M/etc/shadow");
    assert_eq!(shadow, "root:*:19000:0:99999:7:::\nman:*:1::::::\n");
    // Nothing is left to be done: byte for byte.
    let again = goldimg(["seal", "--profile", "any", "-f", "raw", name]).run();
    assert!(fs::read(&new).expect("an image") == bytes, "{}", again.snapshot());
    say(after.len(), "beside a sealed image");
}

/// The script that puts a system into `$M` that was lived in.
fn lived_in(judge_of: &Judge) -> String {
    format!("R=$M; {}\n{LIVED_IN}", judge_of.system())
}

#[test]
fn sealing_xfs_changes_what_it_says_and_all_else_stays() {
    let Some((judge_of, part)) = xfs(lived_in) else { return };
    sealed(&judge_of, &part, "noatime");
    judge_xfs(&part);
}

#[test]
fn sealing_a_subvolume_of_btrfs_changes_what_it_says_and_all_else_stays() {
    let Some((judge_of, part)) = btrfs(lived_in) else { return };
    sealed(&judge_of, &part, "subvol=@");
    judge_btrfs(&judge_of, &part);
}
