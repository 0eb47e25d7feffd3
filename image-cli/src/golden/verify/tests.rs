//! A broken image for each rule: made by mke2fs from a small tree, told by the rule's name.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite, ByteRange, FileDisk, Window};
use image_core::fs::{NewFat, NewFile, make_fat};
use image_core::partition::{NewPartition, kind, write_gpt};
use uuid::{Uuid, uuid};

use super::*;
use crate::golden::recipe::{Write as WriteStep, example};

const MIB: u64 = 1 << 20;
const ROOT: Uuid = uuid!("91ca3c5f-0c30-8479-ab2d-961ceb69f35b");
const HOST: &str = "build-host-7";

/// mke2fs, or nothing after saying aloud that the test is skipped.
fn mke2fs() -> Option<PathBuf> {
    let found =
        ["/usr/sbin/mke2fs", "/sbin/mke2fs"].map(PathBuf::from).into_iter().find(|path| path.is_file());
    let required = std::env::var_os("GOLDIMG_PEERS").is_some_and(|value| value == "required");
    assert!(found.is_some() || !required, "mke2fs is not installed");
    if found.is_none() {
        // Not with `eprintln!`: the test harness would keep it to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED: mke2fs is not installed");
    }
    found
}

/// Files of an image that keeps every rule.
fn sound_tree(root: &Path) {
    let write = |path: &str, content: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let linux = "\tlinux\t/boot/vmlinuz-6 root=UUID=91ca3c5f-0c30-8479-ab2d-961ceb69f35b ro console=tty0 console=ttyS0,115200n8\n";
    write("boot/grub/grub.cfg", format!("{linux}\tinitrd\t/boot/initrd.img-6\n").as_bytes());
    write("boot/vmlinuz-6", b"kernel");
    let modules = ["virtio_pci.ko", "virtio_blk.ko", "sd_mod.ko"];
    write("boot/initrd.img-6", &initrd::tests::archive(&modules));
    write("usr/lib/modules/6/modules.builtin", b"kernel/drivers/scsi/virtio_scsi.ko\n");
    write(
        "etc/fstab",
        format!("UUID={ROOT} / ext4 errors=remount-ro 0 1\nUUID=1234-ABCD /boot/efi vfat nofail 0 2\n")
            .as_bytes(),
    );
    write("etc/machine-id", b"");
    write("etc/passwd", b"root:x:0:0::/root:/bin/sh\n");
    write("etc/shadow", b"root:*:1::::::\ndebian:!:1::::::\n");
    write("etc/gshadow", b"sudo:*::\nusers:::\n");
    write("etc/ssh/sshd_config", b"");
    write("var/log/dpkg.log", b"");
    write("var/lib/apt/lists/lock", b"");
    for folder in [
        "var/lib/dbus",
        "var/lib/systemd",
        "var/lib/cloud/sem",
        "var/cache/apt/archives",
        "tmp",
        "var/tmp",
        "root/.ssh",
    ] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    symlink("/etc/machine-id", root.join("var/lib/dbus/machine-id")).unwrap();
    symlink("../run/systemd/resolve/stub-resolv.conf", root.join("etc/resolv.conf")).unwrap();
}

fn part(number: u32, start: u64, end: u64, kind: Uuid) -> NewPartition {
    let guid = Uuid::from_u128(u128::from(number) + 1);
    NewPartition {
        number,
        range: ByteRange::between(start * MIB, end * MIB),
        kind,
        guid,
        name: String::new(),
    }
}

/// A disk with a root filesystem of `tree`, boot code and EFI programs.
fn image(mke2fs: &Path, tree: &Path, dir: &Path, change: impl FnOnce(&FileDisk)) -> FileDisk {
    let path = dir.join("disk.raw");
    let _ = fs::remove_file(&path);
    let disk = FileDisk::create_new(&path, 32 * MIB).unwrap();
    let parts = [
        part(14, 1, 2, kind::BIOS_BOOT),
        part(15, 2, 10, kind::EFI_SYSTEM),
        part(1, 10, 31, kind::LINUX_ROOT_X86_64),
    ];
    write_gpt(&disk, ROOT, &parts).unwrap();
    disk.write_at(&2048_u64.to_le_bytes(), 0x5c).unwrap();
    disk.write_at(&2049_u64.to_le_bytes(), MIB + 0x1f4).unwrap();
    let esp = Window::new(&disk, parts[1].range).unwrap();
    let options = NewFat { label: "ESP".into(), serial: 0x1234_abcd, seconds: 0, hidden_sectors: 4096 };
    let file = |path: &str, content: &str| NewFile { path: path.into(), content: content.into() };
    let search = format!("search.fs_uuid {ROOT} root\n");
    let files = [
        file("EFI/BOOT/BOOTX64.EFI", "MZ"),
        file("EFI/BOOT/grubx64.efi", "MZ"),
        file("EFI/debian/grub.cfg", &search),
    ];
    make_fat(&esp, &options, &files).unwrap();
    let made = Command::new(mke2fs)
        .args([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-O",
            "^metadata_csum",
            "-b",
            "4096",
            "-U",
            &ROOT.to_string(),
            "-E",
            "offset=10485760",
            "-d",
        ])
        .args([tree, &path])
        .arg((21 * MIB / 4096).to_string())
        .status()
        .unwrap();
    assert!(made.success());
    change(&disk);
    disk
}

fn broken_rules(disk: FileDisk, recipe: &Recipe) -> BTreeSet<&'static str> {
    let view = View::open(Arc::new(disk)).unwrap();
    let subject = Subject { view: &view, recipe, build_host: HOST };
    subject.violations().unwrap().into_iter().map(|violation| violation.rule.name).collect()
}

type Change = fn(&Path);
type Damage = fn(&FileDisk);

fn put(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&path);
    fs::write(path, content).unwrap();
}

fn edit(root: &Path, path: &str, from: &str, to: &str) {
    let text = fs::read_to_string(root.join(path)).unwrap();
    assert!(text.contains(from));
    put(root, path, &text.replace(from, to));
}

/// Which rule tells of which change to a sound tree.
const BROKEN_TREES: &[(&str, Change)] = &[
    ("root-uuid", |root| edit(root, "boot/grub/grub.cfg", "UUID=91ca3c5f", "UUID=00000000")),
    ("root-uuid", |root| {
        edit(root, "boot/grub/grub.cfg", "UUID=91ca3c5f-0c30-8479-ab2d-961ceb69f35b", "/dev/loop0p1")
    }),
    ("kernel-files", |root| fs::remove_file(root.join("boot/vmlinuz-6")).unwrap()),
    ("console", |root| edit(root, "boot/grub/grub.cfg", " console=ttyS0,115200n8", "")),
    ("initrd-virtio", |root| put(root, "usr/lib/modules/6/modules.builtin", "")),
    ("initrd-virtio", |root| put(root, "boot/initrd.img-6", "no archive")),
    ("fstab", |root| edit(root, "etc/fstab", "1234-ABCD", "1234-ABCE")),
    ("fstab", |root| put(root, "etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n")),
    ("machine-id", |root| put(root, "etc/machine-id", "0123456789abcdef0123456789abcdef\n")),
    ("machine-id", |root| fs::remove_file(root.join("etc/machine-id")).unwrap()),
    ("dbus-id", |root| put(root, "var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n")),
    ("host-keys", |root| put(root, "etc/ssh/ssh_host_ed25519_key", "key")),
    ("random-seed", |root| put(root, "var/lib/systemd/random-seed", "seed")),
    ("build-host", |root| put(root, "etc/deep/er/config", "server build-host-7\n")),
    ("resolv-conf", |root| put(root, "etc/resolv.conf", "nameserver 192.0.2.1\n")),
    ("network-state", |root| put(root, "var/lib/dhcp/dhclient.eth0.leases", "")),
    ("cloud-init-state", |root| put(root, "var/lib/cloud/sem/config_scripts", "")),
    ("apt-leftovers", |root| put(root, "var/lib/apt/lists/example_dists_InRelease", "x")),
    ("apt-leftovers", |root| put(root, "var/cache/apt/archives/x_1_all.deb", "x")),
    ("logs", |root| put(root, "var/log/journal/0/system.journal", "x")),
    ("temporary-files", |root| put(root, "var/tmp/x", "")),
    ("passwords", |root| put(root, "etc/shadow", "root:$y$j9T$x:1::::::\n")),
    ("passwords", |root| put(root, "etc/shadow", "root::1::::::\n")),
    ("authorized-keys", |root| put(root, "root/.ssh/authorized_keys", "ssh-ed25519 AAAA\n")),
    ("authorized-keys", |root| put(root, "home/x/.ssh/authorized_keys2", "ssh-ed25519 AAAA\n")),
    ("histories", |root| put(root, "root/.bash_history", "ls\n")),
];

/// Which rule tells of which change to a sound disk.
const BROKEN_DISKS: &[(&str, Damage)] = &[
    ("partition-table", |disk| disk.write_at(&[0; 512], 32 * MIB - 512).unwrap()),
    ("protective-mbr", |disk| disk.write_at(&[1], 0x1be + 2).unwrap()),
    ("boot-bios", |disk| disk.write_at(&4096_u64.to_le_bytes(), 0x5c).unwrap()),
    ("boot-bios", |disk| disk.write_at(&[0; 512], MIB).unwrap()),
    ("boot-uefi", |disk| {
        // The programs' first bytes: the only sectors of the FAT that begin so.
        for at in (2 * MIB..10 * MIB).step_by(512) {
            let mut bytes = [0; 2];
            disk.read_at(&mut bytes, at).unwrap();
            if &bytes == b"MZ" {
                disk.write_at(b"ZM", at).unwrap();
            }
        }
    }),
    // Of the superblock's state, "unmounted cleanly".
    ("root-filesystem", |disk| disk.write_at(&[0, 0], 10 * MIB + 1024 + 0x3a).unwrap()),
];

#[test]
fn each_rule_tells_of_what_breaks_it_and_of_nothing_else() {
    let Some(mke2fs) = mke2fs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let recipe = example();
    let mut told = BTreeSet::new();
    let sound: Change = |_| ();
    for (rule, change) in std::iter::once(&("", sound)).chain(BROKEN_TREES) {
        let tree = tempfile::tempdir().unwrap();
        sound_tree(tree.path());
        change(tree.path());
        let broken = broken_rules(image(&mke2fs, tree.path(), dir.path(), |_| ()), &recipe);
        let expected: BTreeSet<&str> = Some(*rule).filter(|rule| !rule.is_empty()).into_iter().collect();
        assert_eq!(broken, expected);
        told.extend(broken);
    }
    let tree = tempfile::tempdir().unwrap();
    sound_tree(tree.path());
    for (rule, change) in BROKEN_DISKS {
        let broken = broken_rules(image(&mke2fs, tree.path(), dir.path(), change), &recipe);
        assert_eq!(broken, BTreeSet::from([*rule]));
        told.extend(broken);
    }
    let untold: Vec<_> =
        RULES.iter().copied().flatten().map(|rule| rule.name).filter(|name| !told.contains(name)).collect();
    // A table whose last partition is another one is tried below.
    assert_eq!(untold, ["root-last"]);
}

#[test]
fn what_the_recipe_asks_for_is_no_violation() {
    let Some(mke2fs) = mke2fs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let tree = tempfile::tempdir().unwrap();
    sound_tree(tree.path());
    put(tree.path(), "root/.ssh/authorized_keys", "ssh-ed25519 AAAA\n");
    put(tree.path(), "etc/shadow", "root:$y$j9T$x:1::::::\n");
    put(tree.path(), "var/log/kept/log", "x");
    let mut recipe = example();
    let broken = broken_rules(image(&mke2fs, tree.path(), dir.path(), |_| ()), &recipe);
    assert_eq!(broken, BTreeSet::from(["authorized-keys", "logs", "passwords"]));
    recipe.seal.keep = vec!["/var/log/kept".into()];
    recipe.seal.keep_passwords = true;
    recipe.steps = vec![Step::Write(WriteStep {
        path: "/root/.ssh/authorized_keys".into(),
        content: String::new(),
        owner: crate::golden::recipe::Owner::default(),
        mode: 0o600,
        append: false,
    })];
    assert_eq!(broken_rules(image(&mke2fs, tree.path(), dir.path(), |_| ()), &recipe), BTreeSet::new());
}

#[test]
fn a_partition_behind_the_root_is_told() {
    let Some(mke2fs) = mke2fs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let tree = tempfile::tempdir().unwrap();
    sound_tree(tree.path());
    let disk = image(&mke2fs, tree.path(), dir.path(), |disk| {
        disk.resize(34 * MIB).unwrap();
        let parts = [
            part(14, 1, 2, kind::BIOS_BOOT),
            part(15, 2, 10, kind::EFI_SYSTEM),
            part(1, 10, 31, kind::LINUX_ROOT_X86_64),
            part(2, 31, 33, kind::LINUX_SWAP),
        ];
        write_gpt(disk, ROOT, &parts).unwrap();
        disk.write_at(&2048_u64.to_le_bytes(), 0x5c).unwrap();
    });
    assert_eq!(broken_rules(disk, &example()), BTreeSet::from(["root-last"]));
}
