//! Files of an image changed by commands: the kernel sees what was asked for, e2fsck finds nothing, and what fails changes nothing.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::changed::assert_clean;
use super::copied::{run, text};
use super::witness::Judge;
use crate::support::folder;
use crate::support::peer::peer;

/// A system with a few files, raw.
struct Bench {
    dir: TempDir,
    image: PathBuf,
    judge: Judge,
}

impl Bench {
    fn new(words: &[&str]) -> Option<Self> {
        let judge = Judge::find()?;
        let dir = folder();
        let image = dir.path().join("image.raw");
        judge.make(&image, "64M", words);
        judge.with_mount(
            &image,
            "rw",
            "mkdir -p $M/etc/app $M/srv/shared; printf 'root:x:0:0::/root:/bin/sh\\nweb:x:33:34::/srv:/bin/sh\\n' > $M/etc/passwd; \
             printf 'root:x:0:\\nwww:x:34:\\n' > $M/etc/group; printf 'Port 22\\n#Root yes\\n' > $M/etc/app/conf; \
             chmod 0640 $M/etc/app/conf; chown 33:34 $M/etc/app/conf; chgrp 34 $M/srv/shared; chmod 2775 $M/srv/shared; \
             python3 -c \"import os; os.setxattr('$M/etc/app', 'security.selinux', b'system_u:object_r:etc_t:s0')\"",
        );
        Some(Self { dir, image, judge })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What a shell says of the mounted image, which e2fsck finds clean.
    fn see(&self, image: &Path, words: &str) -> String {
        assert_clean(image, words);
        self.judge.with_mount(image, "ro", &format!("cd $M; {words}; cd /"))
    }
}

#[test]
fn each_command_does_what_its_namesake_does() {
    let Some(bench) = Bench::new(&["-t", "ext4"]) else { return };
    let image = text(&bench.image);
    let site = bench.path("site");
    std::fs::create_dir_all(site.join("inner")).unwrap();
    std::fs::write(site.join("inner/page"), "hello").unwrap();
    std::fs::write(site.join("empty"), "").unwrap();
    std::fs::write(site.join("tool"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(site.join("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink("inner/page", site.join("link")).unwrap();
    let inner = site.join("inner");
    let steps: [&[&str]; 15] = [
        &["copy-in", image, text(&site), "/srv"],
        &["copy-in", "--owner", "web:www", image, text(&inner), "/srv/shared"],
        &["write", "--content", "one", image, "/etc/app/new"],
        &["write", "--append", "--content", "two", image, "/etc/app/new"],
        &["edit", image, "/etc/app/conf", "-e", "s/^#?(Root) .*/\\1 no/", "-e", "s/22/2222/"],
        &["mkdir", "-p", "-m", "750", image, "/var/lib/deep/er"],
        &["mv", image, "/srv/site/empty", "/var/lib/deep/moved"],
        &["mv", image, "/srv/site/tool", "/var/lib/deep"],
        &["ln", "-s", image, "/etc/app/conf", "/etc/conf"],
        &["ln", image, "/srv/site/inner/page", "/srv/second"],
        &["chmod", "-R", image, "go-rwx", "/srv/site/inner"],
        &["chown", image, "web:34", "/etc/app/new"],
        &["touch", "--date", "2020-02-02T02:02:02.5Z", image, "/etc/app/new"],
        &["truncate", "-s", "1M", image, "/var/big"],
        &["rm", "-r", image, "/srv/site/link"],
    ];
    for words in steps {
        run(words.iter().copied()).succeeds();
    }
    let told = bench.see(
        &bench.image,
        "cat etc/app/new etc/app/conf srv/second; stat -c '%n %A %u:%g %h %s' etc/app/conf etc/app/new \
         srv/shared/inner srv/shared/inner/page srv/site srv/site/inner srv/second var/lib/deep/moved var/lib/deep/tool \
         var/lib/deep/er var/big; readlink etc/conf; stat -c '%.Y' etc/app/new; \
         python3 -c \"import os; print(os.getxattr('etc/app/new', 'security.selinux').decode())\"; ls srv/site",
    );
    assert_eq!(
        told,
        "one\ntwo\nPort 2222\nRoot no\nhelloetc/app/conf -rw-r----- 33:34 1 18\netc/app/new -rw-r--r-- 33:34 1 8\n\
         srv/shared/inner drwxr-sr-x 33:34 2 1024\nsrv/shared/inner/page -rw-r--r-- 33:34 1 5\nsrv/site drwxr-xr-x 0:0 3 1024\n\
         srv/site/inner drwx------ 0:0 2 1024\nsrv/second -rw------- 0:0 2 5\nvar/lib/deep/moved -rw-r--r-- 0:0 1 0\n\
         var/lib/deep/tool -rwxr-xr-x 0:0 1 10\nvar/lib/deep/er drwxr-x--- 0:0 2 1024\nvar/big -rw-r--r-- 0:0 1 1048576\n\
         /etc/app/conf\n1580608922.500000000\nsystem_u:object_r:etc_t:s0\ninner\n"
    );
}

#[test]
fn what_a_directory_hands_down_is_what_the_kernel_hands_down() {
    let Some(bench) = Bench::new(&["-t", "ext4"]) else { return };
    if peer("setfacl").is_none() {
        return;
    }
    let image = text(&bench.image);
    bench.judge.with_mount(
        &bench.image,
        "rw",
        "cd $M; umask 022; mkdir theirs ours theirs/plain ours/plain; \
         setfacl -d -m u:7:rwx,g:8:r-x,o::--- theirs ours; setfacl -d -m u::rwx,g::r-x,o::--- theirs/plain ours/plain; \
         for d in theirs ours; do mkdir $d/changed; touch $d/bits; setfacl -m u:7:rwx,g:8:rx $d/bits; done; cd theirs; \
         printf new >file; mkdir folder; printf new >plain/file; printf new >folder/file; printf new >own; chmod 0751 own; \
         chmod 0700 bits; chmod g-w changed; cd /",
    );
    for words in [
        &["write", "--content", "new", image, "/ours/file"][..],
        &["mkdir", image, "/ours/folder"],
        &["write", "--content", "new", image, "/ours/plain/file"],
        &["write", "--content", "new", image, "/ours/folder/file"],
        &["write", "--content", "new", image, "/ours/own"],
        &["chmod", image, "0751", "/ours/own"],
        &["chmod", image, "0700", "/ours/bits"],
        &["chmod", image, "g-w", "/ours/changed"],
    ] {
        run(words.iter().copied()).succeeds();
    }
    let of = |folder: &str| {
        let words =
            format!("(cd {folder}; getfacl -R -n -p . 2>/dev/null; find . -printf '%P %M\\n' | sort)");
        bench.see(&bench.image, &words)
    };
    let (theirs, ours) = (of("theirs"), of("ours"));
    assert!(theirs.contains("user:7:rwx") && theirs.contains("mask::r-x"), "{theirs}");
    assert_eq!(theirs, ours);
}

#[test]
fn what_is_new_has_the_label_of_the_policy() {
    let Some(bench) = Bench::new(&["-t", "ext4"]) else { return };
    let image = text(&bench.image);
    let contexts = "/.* system_u:object_r:default_t:s0\n/srv/web(/.*)? system_u:object_r:www_t:s0\n\
                    /srv/web/tool -- system_u:object_r:tool_t:s0\n/srv/none <<none>>\n/home/[^/]+/x -d system_u:object_r:home_t:s0\n";
    for (path, content) in [
        ("/etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=own\n"),
        ("/etc/selinux/own/contexts/files/file_contexts", contexts),
        ("/etc/selinux/own/contexts/files/file_contexts.subs_dist", "/data /srv\n"),
    ] {
        run(["mkdir", "-p", image, path.rsplit_once('/').expect("a folder").0]).succeeds();
        run(["write", "--content", content, image, path]).succeeds();
    }
    let made = [
        ("/srv/web", "www_t"),
        ("/srv/web/tool", "tool_t"),
        ("/srv/web/other", "www_t"),
        ("/data/web/tool", "tool_t"),
        ("/home/ann/x", "home_t"),
        ("/home/ann/y", "default_t"),
    ];
    for folder in ["/srv/web", "/data/web", "/home/ann/x"] {
        run(["mkdir", "-p", image, folder]).succeeds();
    }
    for file in ["/srv/web/tool", "/srv/web/other", "/data/web/tool", "/home/ann/y"] {
        run(["write", "--content", "", image, file]).succeeds();
    }
    // libselinux says the same of each.
    if let Some(matchpathcon) = peer("matchpathcon") {
        let list = bench.path("file_contexts");
        std::fs::write(&list, contexts).unwrap();
        for (path, kind) in made.iter().filter(|(path, _)| !path.starts_with("/data")) {
            let mode = if path.ends_with("/web") || path.ends_with("/x") { "dir" } else { "file" };
            let told = matchpathcon.must(["-n", "-f", text(&list), "-m", mode, path]);
            assert!(told.contains(kind), "{path}: {told}");
        }
    }
    for (path, kind) in made {
        let label = format!("python3 -c \"import os; print(os.getxattr('.{path}', 'security.selinux'))\"");
        let told = bench.see(&bench.image, &label);
        assert_eq!(told, format!("b'system_u:object_r:{kind}:s0\\x00'\n"), "{path}");
    }
}

#[test]
fn a_script_is_done_as_a_whole_or_not_at_all() {
    let Some(bench) = Bench::new(&["-t", "ext4"]) else { return };
    let image = text(&bench.image);
    let script = bench.path("script");
    let before = std::fs::read(&bench.image).unwrap();
    std::fs::write(&script, "mkdir /opt/x # not there\n").unwrap();
    std::fs::write(&script, "mkdir /opt\nwrite --content 'a b' /opt/file\nrm /opt/none\n").unwrap();
    let told = run(["script", image, text(&script)]);
    assert_eq!(told.code, 1, "{}", told.snapshot());
    assert!(told.stderr.contains("script:3: nothing was changed"), "{}", told.stderr);
    // Bytes that nobody reads may be others.
    assert_eq!(bench.see(&bench.image, "ls"), "etc\nlost+found\nsrv\n");
    std::fs::write(&script, "mkdir /opt\nwrites /x\n").unwrap();
    let told = run(["script", image, text(&script)]);
    assert!(told.code == 64 && told.stderr.contains("script:2"), "{}", told.snapshot());
    std::fs::write(
        &script,
        "mkdir /opt\nwrite --content 'a b' /opt/file\nmv /opt/file /opt/other\nrm -rf /srv /none\n",
    )
    .unwrap();
    run(["script", image, text(&script)]).succeeds();
    assert_eq!(bench.see(&bench.image, "ls; cat opt/other"), "etc\nlost+found\nopt\na b\n");
    assert!(std::fs::read(&bench.image).unwrap() != before);
}

#[test]
fn images_of_both_formats_and_without_a_journal_are_changed() {
    let Some(bench) = Bench::new(&["-t", "ext4"]) else { return };
    let qcow2 = bench.path("image.qcow2");
    run(["convert", "-c", "-O", "qcow2", text(&bench.image), text(&qcow2)]).succeeds();
    run(["write", "--content", "in place", text(&qcow2), "/etc/new"]).succeeds();
    run(["check", text(&qcow2)]).succeeds();
    assert_eq!(run(["cat", text(&qcow2), "/etc/new"]).succeeds().stdout, "in place\n");
    let raw = bench.path("back.raw");
    run(["convert", "-O", "raw", text(&qcow2), text(&raw)]).succeeds();
    assert_eq!(bench.see(&raw, "cat etc/new"), "in place\n");
    // A copy leaves the image as it is.
    let copy = bench.path("copy.qcow2");
    let before = std::fs::read(&qcow2).unwrap();
    run(["rm", "-o", text(&copy), text(&qcow2), "/etc/new"]).succeeds();
    assert!(std::fs::read(&qcow2).unwrap() == before);
    let told = run(["cat", text(&copy), "/etc/new"]);
    assert_eq!(told.code, 1, "{}", told.snapshot());
    run(["check", text(&copy)]).succeeds();
    // Without a journal only a copy can be all or nothing.
    let Some(bench) = Bench::new(&["-t", "ext2"]) else { return };
    let before = std::fs::read(&bench.image).unwrap();
    let told = run(["mkdir", text(&bench.image), "/opt"]);
    assert!(told.code == 1 && told.stderr.contains("-o NEW writes a changed copy"), "{}", told.snapshot());
    assert!(std::fs::read(&bench.image).unwrap() == before);
    let copy = bench.path("copy.raw");
    run(["mkdir", "-o", text(&copy), text(&bench.image), "/opt"]).succeeds();
    assert_eq!(bench.see(&copy, "ls"), "etc\nlost+found\nopt\nsrv\n");
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let Some(bench) = Bench::new(&["-t", "ext4"]) else { return };
    let image = text(&bench.image);
    let before = std::fs::read(&bench.image).unwrap();
    let large = bench.path("large");
    std::fs::File::create(&large).unwrap();
    let zeroes = vec![7; 80 << 20];
    std::fs::write(&large, zeroes).unwrap();
    for (words, said) in [
        (&["rm", image, "/none"][..], "/none: there is no such file in the image"),
        (&["rm", image, "/etc"], "-r removes it with all that is in it"),
        (&["rm", "-r", image, "/"], "a filesystem is mounted there"),
        (&["mkdir", image, "/etc"], "/etc: it is there already"),
        (&["mkdir", image, "/a/b"], "there is no directory /a in the image"),
        (&["write", "--content", "x", image, "/etc"], "it is no regular file"),
        (&["mv", image, "/etc", "/etc/app"], "a directory cannot be moved into itself"),
        (&["chown", image, "nobody", "/etc"], "the image has no user \"nobody\""),
        (&["copy-in", image, "/dev/null", "/etc"], "is neither file, folder nor link"),
        (&["copy-in", image, text(&large), "/none"], "there is no such directory in the image"),
        (&["edit", image, "/etc/passwd", "-e", "s/a"], "is no substitution"),
        (&["ln", "-f", image, "/etc/passwd", "/etc/passwd"], "are the same file"),
        (&["rm", image, "/etc/\u{1b}[31mred"], "/etc/\\u{1b}[31mred: there is no such file"),
        (&["ls", "--volume", "none", image], "it has no volume \"none\""),
    ] {
        let told = run(words.iter().copied());
        assert!(told.code != 0 && told.stderr.contains(said), "{}", told.snapshot());
    }
    assert!(std::fs::read(&bench.image).unwrap() == before);
    let told = run(["copy-in", image, text(&large), "/etc"]);
    assert!(told.code == 1 && told.stderr.contains("no room left"), "{}", told.snapshot());
    assert_eq!(bench.see(&bench.image, "ls etc"), "app\ngroup\npasswd\n");
}

/// A disk with an MBR: a system on an ext4 whose fstab mounts the second partition, made with `words`, at /var.
fn two_filesystems(judge: &Judge, dir: &Path, words: &[&str]) -> Option<PathBuf> {
    const MIB: usize = 1 << 20;
    let disk = dir.join("disk.raw");
    let (root, var) = (dir.join("root"), dir.join("var"));
    judge.make(&root, "32M", &["-t", "ext4"]);
    judge.make(&var, "32M", words);
    judge.with_mount(
        &root,
        "rw",
        "mkdir $M/etc $M/var; printf 'PARTUUID=12345678-02 /var auto defaults 0 2\\n' > $M/etc/fstab; touch $M/var/hidden",
    );
    judge.with_mount(&var, "rw", "mkdir $M/log; echo told > $M/log/messages");
    let mut bytes = vec![0; 66 * MIB];
    bytes[MIB..33 * MIB].copy_from_slice(&std::fs::read(&root).unwrap());
    bytes[33 * MIB..65 * MIB].copy_from_slice(&std::fs::read(&var).unwrap());
    std::fs::write(&disk, &bytes).unwrap();
    let table = "label: dos\nlabel-id: 0x12345678\nstart=2048, size=65536\nstart=67584, size=65536\n";
    let script = format!("printf '{table}' | sfdisk -q --no-reread {}", text(&disk));
    peer("sfdisk")?;
    peer("sh")?.must(["-c", &script]);
    Some(disk)
}

#[test]
fn several_filesystems_are_one_tree_and_change_together() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let Some(disk) = two_filesystems(&judge, dir.path(), &["-t", "ext4"]) else { return };
    let image = text(&disk);
    assert_eq!(run(["cat", image, "/var/log/messages"]).succeeds().stdout, "told\n");
    let found = run(["find", image, "/var"]).succeeds().stdout;
    assert_eq!(found, "/var\n/var/log\n/var/log/messages\n/var/lost+found\n");
    // What is mounted somewhere has to find its place again.
    for words in [&["rm", "-r", image, "/var"][..], &["mv", image, "/var", "/old"]] {
        let told = run(words.iter().copied());
        assert!(
            told.code == 1 && told.stderr.contains("/var: a filesystem is mounted"),
            "{}",
            told.snapshot()
        );
    }
    let script = dir.path().join("script");
    std::fs::write(&script, "write --content one /etc/new\nwrite --content two /var/log/new\nwrite --content x /var/log/messages\n").unwrap();
    run(["script", image, text(&script)]).succeeds();
    assert_eq!(
        run(["cat", image, "/etc/new", "/var/log/new", "/var/log/messages"]).succeeds().stdout,
        "one\ntwo\nx\n"
    );
    // One that cannot be read is an error of its own, and not a directory with what it hides.
    let mut bytes = std::fs::read(&disk).unwrap();
    bytes[(33 << 20) + 1024 + 0x18] ^= 0xff;
    std::fs::write(&disk, &bytes).unwrap();
    for words in [&["find", image, "/"][..], &["ls", "-R", image, "/"]] {
        let told = run(words.iter().copied());
        assert!(told.code == 1 && told.stderr.contains("/var"), "{}", told.snapshot());
        assert!(!told.stdout.contains("hidden") && told.stdout.contains("fstab"), "{}", told.snapshot());
    }
    let told = run(["tar-out", image, "/", "-"]);
    assert!(told.code == 1 && told.stderr.contains("packing var"), "{}", told.snapshot());
    // A change that one of them cannot take whole is made in none.
    let Some(disk) = two_filesystems(&judge, dir.path(), &["-t", "ext2"]) else { return };
    let before = std::fs::read(&disk).unwrap();
    let told = run(["script", text(&disk), text(&script)]);
    assert!(told.code == 1 && told.stderr.contains("-o NEW"), "{}", told.snapshot());
    let after = std::fs::read(&disk).unwrap();
    assert_eq!(run(["ls", text(&disk), "/etc"]).succeeds().stdout, "fstab\n");
    assert_eq!(before.len(), after.len());
}

#[test]
fn a_directory_that_is_in_itself_is_told_of_once() {
    let Some(bench) = Bench::new(&["-t", "ext4"]) else { return };
    let image = text(&bench.image);
    bench.judge.debugfs.must(["-w", "-R", "link /etc /etc/app/loop", image]);
    for words in [&["ls", "-R", image, "/etc"][..], &["find", image, "/etc"]] {
        let told = run(words.iter().copied());
        assert!(told.code == 1 && told.stderr.contains("it has two names"), "{}", told.snapshot());
        assert!(told.stdout.lines().count() < 20, "{}", told.snapshot());
    }
}
