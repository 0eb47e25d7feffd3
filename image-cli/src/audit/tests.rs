//! A broken image for each rule: made by mke2fs from a small tree, told by the rule's name.

mod broken;
mod discovered;
mod firmware;
mod hidden;
mod own;
mod reads;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use image_core::block::{BlockRead, BlockWrite, ByteRange, Extents, FileDisk, Window};
use image_core::format::{Format, Image, OpenOptions};
use image_core::fs::{Ext4, Filesystem, NewFat, NewFile, make_fat};
use image_core::partition::{NewPartition, kind, write_gpt};
use uuid::{Uuid, uuid};

use super::auditor::judge;
use super::header::Facts;
use super::rule::{Judgement, Rule};
use super::*;
use crate::monitor::silent;

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const ROOT: Uuid = uuid!("91ca3c5f-0c30-8479-ab2d-961ceb69f35b");
const HOST: &str = "build-host-7";

/// mke2fs, or nothing after saying aloud that the test is skipped.
pub(crate) fn mke2fs() -> Option<PathBuf> {
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

/// Programs and settings of a system for a cloud.
const CLOUD: &[(&str, &str)] = &[
    ("usr/lib/systemd/systemd", ""),
    ("usr/lib/systemd/systemd-logind", ""),
    ("usr/bin/dbus-daemon", ""),
    ("usr/bin/cloud-init", ""),
    ("usr/bin/growpart", ""),
    ("usr/bin/unattended-upgrade", ""),
    ("usr/sbin/sshd", ""),
    ("usr/sbin/qemu-ga", ""),
    ("usr/lib/cloud-init/ds-identify", ""),
    ("etc/apt/apt.conf.d/20auto", "APT::Periodic::Unattended-Upgrade \"1\";\n"),
    (
        "etc/cloud/cloud.cfg",
        "ssh_pwauth: true\ncloud_init_modules: [growpart, resizefs, users-groups, [ssh, always]]\n\
         system_info: {default_user: {name: debian}}\n",
    ),
    ("etc/cloud/cloud.cfg.d/90.cfg", "ssh_pwauth: 0\ndatasource_list: [ConfigDrive, OpenStack]\n"),
    (
        "usr/lib/modules/6/modules.dep",
        "kernel/fs/isofs/isofs.ko: x\nkernel/sr_mod.ko.xz:\nvirtio_scsi.ko:\nvirtio-rng.ko:\nvirtio_console.ko:\n\
         virtio_net.ko:\nahci.ko:\nata_piix.ko:\ni6300esb.ko:\n",
    ),
];

const UNITS: &[&str] = &["cloud-init.service", "ssh.service", "systemd-timesyncd.service", "fstrim.timer"];

/// Files of an image that keeps every rule.
pub(crate) fn sound_tree(root: &Path) {
    let write = |path: &str, content: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let linux = "\tlinux\t/boot/vmlinuz-6 root=UUID=91ca3c5f-0c30-8479-ab2d-961ceb69f35b ro console=tty0 console=ttyS0,115200n8\n";
    write("boot/grub/grub.cfg", format!("{linux}\tinitrd\t/boot/initrd.img-6\n").as_bytes());
    write("boot/vmlinuz-6", b"kernel");
    for (path, content) in CLOUD {
        write(path, content.as_bytes());
    }
    for unit in UNITS {
        let path = root.join("etc/systemd/system/x.wants").join(unit);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(format!("/usr/lib/systemd/system/{unit}"), path).unwrap();
    }
    symlink("/usr/share/zoneinfo/Etc/UTC", root.join("etc/localtime")).unwrap();
    let modules = ["virtio_pci.ko", "virtio_blk.ko", "sd_mod.ko"];
    write("boot/initrd.img-6", &initrd::tests::archive(&modules));
    write("etc/default/grub", b"GRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS0,115200n8\"\n");
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
    for (path, bits) in [("tmp", 0o1777), ("var/tmp", 0o1777), ("root", 0o700), ("root/.ssh", 0o700)] {
        mode(root, path, bits);
    }
    for path in ["etc/shadow", "etc/gshadow"] {
        mode(root, path, 0o640);
    }
    symlink("/etc/machine-id", root.join("var/lib/dbus/machine-id")).unwrap();
    symlink("../run/systemd/resolve/stub-resolv.conf", root.join("etc/resolv.conf")).unwrap();
}

pub(crate) fn part(number: u32, start: u64, end: u64, kind: Uuid) -> NewPartition {
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
pub(crate) fn image(mke2fs: &Path, tree: &Path, dir: &Path, change: impl FnOnce(&FileDisk)) -> FileDisk {
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
    disk.write_at(b"GRUB", 0x180).unwrap();
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
    // Whoever runs the tests: the files are root's.
    let mut make = match rustix::process::geteuid().is_root() {
        true => Command::new(mke2fs),
        false => Command::new("unshare"),
    };
    if !rustix::process::geteuid().is_root() {
        make.args(["--user", "--map-root-user", "--"]).arg(mke2fs);
    }
    let made = make
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

/// What a recipe for this image would ask for.
fn asked() -> Expected {
    Expected {
        consoles: Some(vec!["tty0".into(), "ttyS0,115200n8".into()]),
        firmware: Some(Firmware { bios: true, uefi: true }),
        build_host: Some(HOST.into()),
        ..Expected::default()
    }
}

fn report_of(disk: &FileDisk, expected: &Expected) -> Report {
    audit(disk.path(), Some(Format::Raw), Profile::Openstack, expected, silent()).unwrap()
}

/// The rules that are broken, or could not be told.
fn broken_rules(disk: &FileDisk, expected: &Expected) -> BTreeSet<&'static str> {
    broken_of(&report_of(disk, expected))
}

fn broken_of(report: &Report) -> BTreeSet<&'static str> {
    report.checks.iter().filter(|check| check.verdict != Verdict::Ok).map(|check| check.name).collect()
}

/// Writes `bytes` where no file is.
fn in_unused(disk: &FileDisk, bytes: &[u8]) {
    let place = ByteRange::between(10 * MIB, 31 * MIB);
    let again = Window::new(FileDisk::open(disk.path()).unwrap(), place).unwrap();
    let ranges = Ext4::open(Arc::new(again)).unwrap().free_ranges().unwrap();
    let window = Window::new(disk, place).unwrap();
    let range = ranges.iter().find(|range| range.len() >= bytes.len() as u64).unwrap();
    window.write_at(bytes, range.offset()).unwrap();
}

pub(crate) type Change = fn(&Path);
pub(super) type Damage = fn(&FileDisk);

pub(crate) fn put(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mode = path.symlink_metadata().ok().filter(fs::Metadata::is_file).map(|found| found.permissions());
    let _ = fs::remove_file(&path);
    fs::write(&path, content).unwrap();
    mode.map_or(Ok(()), |mode| fs::set_permissions(&path, mode)).unwrap();
}

/// Enables a unit, or does not.
fn wanted(root: &Path, unit: &str, target: Option<&str>) {
    let path = root.join("etc/systemd/system/x.wants").join(unit);
    match target {
        Some(target) => symlink(target, path).unwrap(),
        None => fs::remove_file(path).unwrap(),
    }
}

pub(super) fn edit(root: &Path, path: &str, from: &str, to: &str) {
    let text = fs::read_to_string(root.join(path)).unwrap();
    assert!(text.contains(from));
    put(root, path, &text.replace(from, to));
}

fn mode(root: &Path, path: &str, mode: u32) {
    fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
}

/// Changes to a sound tree, and the rules that tell of them.
pub(crate) fn broken_trees<'a>() -> impl Iterator<Item = &'a (&'static str, Change)> {
    broken::TREES.iter().chain(hidden::TREES)
}

/// Rules that another test breaks.
const TRIED_BELOW: &[&str] =
    &["glance-format", "closed", "snapshots", "no-lvm", "root-last", "sector-size", "unmounted"];

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
    // Of the superblock's incompatible features, inline_data.
    ("grub-filesystem", |disk| {
        let (mut bits, at) = ([0; 4], 10 * MIB + 1024 + 0x60);
        disk.read_at(&mut bits, at).unwrap();
        disk.write_at(&(u32::from_le_bytes(bits) | 0x8000).to_le_bytes(), at).unwrap();
    }),
    ("deleted-keys", |disk| in_unused(disk, b"-----BEGIN OPENSSH PRIVATE KEY-----\n")),
    ("unused-space", |disk| in_unused(disk, &vec![1; 2 << 20])),
    // Of the superblock's state, "unmounted cleanly".
    ("root-filesystem deleted-keys unused-space", |disk| {
        disk.write_at(&[0, 0], 10 * MIB + 1024 + 0x3a).unwrap();
    }),
];

#[test]
fn each_rule_tells_of_what_breaks_it_and_of_nothing_else() {
    let Some(mke2fs) = mke2fs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let asked = asked();
    let mut told = BTreeSet::new();
    let mut looked: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let sound: (&str, Change) = ("", |_| ());
    for (case, (rule, change)) in std::iter::once(&sound).chain(broken_trees()).enumerate() {
        let tree = tempfile::tempdir().unwrap();
        sound_tree(tree.path());
        change(tree.path());
        let report = report_of(&image(&mke2fs, tree.path(), dir.path(), |_| ()), &asked);
        for check in &report.checks {
            looked.entry(check.name).or_default().extend(check.looked().iter().cloned());
        }
        let broken = broken_of(&report);
        let expected: BTreeSet<&str> = rule.split_whitespace().collect();
        assert_eq!(broken, expected, "case {case}");
        told.extend(broken);
    }
    let tree = tempfile::tempdir().unwrap();
    sound_tree(tree.path());
    for (rule, change) in BROKEN_DISKS {
        let mut broken = broken_rules(&image(&mke2fs, tree.path(), dir.path(), change), &asked);
        // Of a raw image Glance looks at the same sector.
        let _ = *rule == "protective-mbr" && broken.remove("glance-format");
        assert_eq!(broken, rule.split_whitespace().collect());
        told.extend(broken);
    }
    let rules = RULES.iter().flat_map(|(_, rules)| rules.iter());
    let untold: Vec<_> = rules.map(|rule| rule.name).filter(|name| !told.contains(name)).collect();
    // These are tried below.
    assert_eq!(untold, TRIED_BELOW);
    let unsaid = reads::unsaid(&looked);
    assert!(unsaid.is_empty(), "what rules read and do not say:\n{}", unsaid.join("\n"));
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
    let mut asked = asked();
    let broken = broken_rules(&image(&mke2fs, tree.path(), dir.path(), |_| ()), &asked);
    assert_eq!(broken, BTreeSet::from(["authorized-keys", "logs", "passwords"]));
    asked.keep = vec!["/var/log/kept".into()];
    asked.keep_passwords = true;
    asked.asked_for = ["/root/.ssh/authorized_keys".into()].into();
    assert_eq!(broken_rules(&image(&mke2fs, tree.path(), dir.path(), |_| ()), &asked), BTreeSet::new());
}

#[test]
fn what_is_ignored_is_shown_with_its_reason_and_what_is_kept_is_there() {
    let Some(mke2fs) = mke2fs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let tree = tempfile::tempdir().unwrap();
    sound_tree(tree.path());
    put(tree.path(), "root/.bash_history", "ls\n");
    let disk = image(&mke2fs, tree.path(), dir.path(), |_| ());
    let ignored = ["histories", "logs"].map(|rule| (rule.to_owned(), "they are mine".to_owned())).into();
    let report =
        audit(disk.path(), None, Profile::Any, &Expected { ignored, ..Expected::default() }, silent())
            .unwrap();
    let check = |name| report.checks.iter().find(|check| check.name == name).unwrap();
    assert_eq!((check("histories").verdict, check("logs").verdict), (Verdict::Ignored, Verdict::Ok));
    assert_eq!((check("histories").evidence.as_str(), report.passed), ("they are mine", true));
    assert_eq!(check("histories").findings.len(), 1);
    let named =
        |path: &str| Expected { keep: vec![path.into()], named: vec![path.into()], ..Expected::default() };
    audit(disk.path(), None, Profile::Any, &named("/root/.bash_history"), silent()).unwrap();
    let error = audit(disk.path(), None, Profile::Any, &named("/root/bash_history"), silent()).unwrap_err();
    assert_eq!(error.to_string(), "--keep /root/bash_history: there is nothing of that name in the image");
}

#[test]
fn a_rule_that_looks_nowhere_tells_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    FileDisk::create_new(&path, 4 * MIB).unwrap().write_at(b"XFSB", 0).unwrap();
    let facts = Facts::of(&Image::open(&path, OpenOptions::default()).unwrap()).unwrap();
    let view = View::open(Arc::new(FileDisk::open(&path).unwrap())).unwrap();
    let subject = Subject { facts: &facts, view: &view, expected: &Expected::default(), monitor: silent() };
    let blind = Rule::must("blind", "", "", |_| Ok(Judgement::kept("all is well"))).of_disk();
    let (judgement, looked) = judge(&subject, blind.needs, &blind.check);
    let check = Check::new("", &blind, judgement, looked);
    assert_eq!((check.verdict, check.evidence.as_str()), (Verdict::NotChecked, "nothing was looked at"));
    let seeing = Rule::must("seeing", "", "", |subject| {
        Ok(Judgement::kept(format!("{} partitions", subject.view.partitions().len())))
    })
    .of_disk();
    let (judgement, looked) = judge(&subject, seeing.needs, &seeing.check);
    assert_eq!(Check::new("", &seeing, judgement, looked).verdict, Verdict::Ok);
}

#[test]
fn swap_space_gaps_and_what_nothing_mounts_are_looked_into() {
    let Some(mke2fs) = mke2fs() else { return };
    let (dir, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sound_tree(tree.path());
    let with = |change: &dyn Fn(&FileDisk)| {
        let disk = image(&mke2fs, tree.path(), dir.path(), |disk| {
            disk.resize(48 * MIB).unwrap();
            let parts = [
                part(14, 1, 2, kind::BIOS_BOOT),
                part(15, 2, 10, kind::EFI_SYSTEM),
                part(1, 10, 31, kind::LINUX_ROOT_X86_64),
                part(2, 32, 36, kind::LINUX_SWAP),
                part(3, 38, 42, kind::LINUX_FILESYSTEM),
            ];
            write_gpt(disk, ROOT, &parts).unwrap();
            disk.write_at(&2048_u64.to_le_bytes(), 0x5c).unwrap();
            disk.write_at(b"SWAPSPACE2", 32 * MIB + 4086).unwrap();
            change(disk);
        });
        broken_rules(&disk, &asked())
    };
    let usual = BTreeSet::from(["no-swap", "root-last"]);
    let and = |more: &'static str| usual.iter().copied().chain([more]).collect::<BTreeSet<&str>>();
    assert_eq!(with(&|_| ()), usual);
    let key = b"-----BEGIN PRIVATE KEY-----\n";
    for (place, what) in [(33 * MIB, "swap"), (37 * MIB, "between partitions"), (44 * MIB, "behind the last")]
    {
        assert_eq!(with(&|disk| disk.write_at(key, place).unwrap()), and("deleted-keys"), "{what}");
        let much = vec![1; 1 << 20];
        assert_eq!(with(&|disk| disk.write_at(&much, place).unwrap()), and("unused-space"), "{what}");
    }
    // Something that is no filesystem.
    assert_eq!(with(&|disk| disk.write_at(b"something", 39 * MIB - 100).unwrap()), and("unmounted"));
    // A filesystem with a key in it.
    let other = tempfile::tempdir().unwrap();
    put(other.path(), "key", &hidden::key());
    let found = with(&|disk| {
        let made = Command::new(&mke2fs)
            .args(["-q", "-F", "-t", "ext4", "-E", &format!("offset={}", 38 * MIB), "-d"])
            .args([other.path(), disk.path()])
            .arg("4096k")
            .status()
            .unwrap();
        assert!(made.success());
    });
    assert_eq!(found, and("unmounted").into_iter().chain(["private-keys"]).collect());
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
    assert_eq!(broken_rules(&disk, &asked()), BTreeSet::from(["no-swap", "root-last"]));
}

/// A disk, and how many bytes of it were read.
struct Counting(FileDisk, AtomicU64);

impl BlockRead for Counting {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> image_core::Result<()> {
        self.1.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.0.read_at(buf, offset)
    }

    fn extents(&self, range: ByteRange) -> image_core::Result<Extents> {
        self.0.extents(range)
    }
}

#[test]
fn unused_space_is_read_once_for_both_of_its_rules() {
    let Some(mke2fs) = mke2fs() else { return };
    let (dir, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sound_tree(tree.path());
    let disk = image(&mke2fs, tree.path(), dir.path(), |disk| in_unused(disk, &vec![1; 2 << 20]));
    let facts = Facts::of(&Image::open(disk.path(), OpenOptions::default()).unwrap()).unwrap();
    let counting = Arc::new(Counting(disk, AtomicU64::new(0)));
    let view = View::open(Arc::clone(&counting) as _).unwrap();
    let subject = Subject { facts: &facts, view: &view, expected: &Expected::default(), monitor: silent() };
    let (_, rules) = RULES.iter().find(|(group, _)| *group == "unused space").unwrap();
    let read = |rule: &Rule| {
        let before = counting.1.load(Ordering::Relaxed);
        assert!(!matches!(judge(&subject, rule.needs, &rule.check).0, Judgement::Open(_)));
        counting.1.load(Ordering::Relaxed) - before
    };
    let read: Vec<u64> = rules.iter().map(read).collect();
    assert!(read.len() == 2 && read[0] >= 2 << 20 && read[1] == 0, "{read:?}");
}

/// What comes of a disk without a partition table, with `bytes` at `offset`.
fn checks_of(bytes: &[u8], offset: u64) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    FileDisk::create_new(&path, 4 * MIB).unwrap().write_at(bytes, offset).unwrap();
    audit(&path, Some(Format::Raw), Profile::Openstack, &Expected::default(), silent()).unwrap()
}

#[test]
fn what_cannot_be_read_is_not_said_to_be_fine() {
    let report = checks_of(b"XFSB", 0);
    assert!(!report.passed);
    let files = report.checks.iter().filter(|check| check.group == "services");
    for check in files {
        assert_eq!(check.verdict, Verdict::NotChecked, "{}", check.name);
        assert_eq!(check.evidence, "the disk: it is of version 0, older than 4");
    }
    assert_eq!(report.count(Verdict::Problem), 0);
}

#[test]
fn logical_volumes_are_told() {
    let mut label = *b"LABELONE\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0LVM2 001";
    let problems = |report: &Report| {
        let checks = report.checks.iter().filter(|check| check.verdict == Verdict::Problem);
        checks.map(|check| check.name).collect::<Vec<_>>()
    };
    assert_eq!(problems(&checks_of(&label, 512)), ["no-lvm"]);
    label[0] = 0;
    assert_eq!(problems(&checks_of(&label, 512)), Vec::<&str>::new());
}

/// The table of docs/audit.md.
fn documented() -> String {
    let mut text = String::new();
    for (group, rules) in RULES {
        text += &format!("\n## {}{}\n\n", group[..1].to_uppercase(), &group[1..]);
        text +=
            "| rule | what holds | weight | for | from | looks at |\n| --- | --- | --- | --- | --- | --- |\n";
        for rule in *rules {
            let weight = match rule.weight {
                rule::Weight::Must => "must",
                rule::Weight::Should => "should",
            };
            let profile = match rule.profile {
                Profile::Any => "any cloud",
                Profile::Openstack => "OpenStack",
            };
            text += &format!(
                "| `{}` | {} | {weight} | {profile} | {} | {} |\n",
                rule.name,
                rule.requirement,
                rule.source,
                reads::in_words(&rule.reads.concat())
            );
        }
    }
    text
}

/// Holds the part of a guide in docs/ that is made against what the program says; writes it, if that is asked for.
pub(crate) fn table_in_docs(guide: &str, documented: &str) {
    const BEGIN: &str = "<!-- made by `DOCS_WRITE=1 cargo test the_table_for_people` -->\n";
    const END: &str = "\n<!-- end of what is made -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(guide);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    if std::env::var_os("DOCS_WRITE").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{documented}{END}{after}")).unwrap();
        return;
    }
    assert!(table == documented, "docs/{guide} is old: DOCS_WRITE=1 cargo test the_table_for_people");
}

#[test]
fn the_table_for_people_is_that_of_the_program() {
    table_in_docs("audit.md", &documented());
}
