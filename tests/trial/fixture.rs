//! A disk of 64 MiB that boots in seconds and behaves as a cloud image does, or misbehaves as it is told.
//!
//! ```text
//! sector 0      boot.img, and a table of two partitions
//!        1      core.img: GRUB with the command line in it
//! 1 MiB         FAT: EFI/BOOT/BOOTX64.EFI (GRUB), vmlinuz, initrd
//! 56 MiB … end  root, made at the boot; the table takes the disk for larger by what `goldimg test` adds
//! ```
//!
//! Made of Debian's packages of GRUB, BusyBox, dropbear and its kernel for clouds, fetched by apt and unpacked
//! without being installed; `init.sh` plays systemd and cloud-init.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::support::kernel::kernel;
use crate::support::peer::peer;

/// The size of the disk, and by how much `goldimg test` makes it larger.
const DISK_SIZE: u64 = 64 << 20;
const GROWN_BY: u64 = 2 << 30;
const FAT_START: u64 = 1 << 20;
const ROOT_START: u64 = 56 << 20;

const PACKAGES: [&str; 12] = [
    "busybox",
    "dropbear-bin",
    "grub-common",
    "grub-efi-amd64-bin",
    "grub-pc-bin",
    "libc6",
    "libcrypt1",
    "libdevmapper1.02.1",
    "libgmp10",
    "libtomcrypt1",
    "libtommath1",
    "zlib1g",
];
/// Of the kernel, in the order in which they need each other.
const MODULES: [&str; 20] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "cdrom",
    "isofs",
    "scsi_common",
    "scsi_mod",
    "sd_mod",
    "sr_mod",
    "virtio_scsi",
    "libata",
    "ata_piix",
    "evdev",
    "button",
];

/// What the boot loader does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Loader {
    /// Starts the kernel with the initrd, and these words.
    Boots(&'static str),
    /// Starts the kernel without an initrd: it finds no root.
    Panics,
    /// Stops at its prompt.
    Stops,
}

/// The unpacked packages and the initrd.
#[derive(Debug)]
struct Parts {
    tree: PathBuf,
    kernel: PathBuf,
    initrd: PathBuf,
}

/// Makes a disk at `path`; `false` after saying aloud that something is missing.
pub(super) fn make(path: &Path, loader: Loader) -> bool {
    static PARTS: OnceLock<Option<Parts>> = OnceLock::new();
    let Some(parts) = PARTS.get_or_init(parts) else { return false };
    let folder = path.with_extension("parts");
    fs::create_dir_all(&folder).expect("a folder");
    let words = match loader {
        Loader::Boots(words) => {
            format!("linux /vmlinuz console=ttyS0 no_timer_check {words}\ninitrd /initrd\nboot\n")
        }
        Loader::Panics => {
            "linux /vmlinuz console=ttyS0 no_timer_check root=/dev/none panic=0\nboot\n".to_owned()
        }
        Loader::Stops => String::new(),
    };
    let config = folder.join("early.cfg");
    fs::write(&config, format!("search.file /vmlinuz root\n{words}")).expect("a file");
    let core = folder.join("core.img");
    let efi = folder.join("bootx64.efi");
    let bios = ["biosdisk", "part_msdos", "fat", "search_fs_file", "linux", "boot", "normal"];
    mkimage(parts, "i386-pc", &config, &core, &bios);
    mkimage(parts, "x86_64-efi", &config, &efi, &bios[1..]);
    let disk = File::create(path).expect("a disk");
    disk.set_len(DISK_SIZE).expect("a sparse file");
    let boot = fs::read(parts.tree.join("usr/lib/grub/i386-pc/boot.img")).expect("GRUB's first sector");
    write_boot_code(&disk, boot, fs::read(&core).expect("GRUB's core"));
    fill_fat(
        path,
        &[(&efi, "::/EFI/BOOT/BOOTX64.EFI"), (&parts.kernel, "::/vmlinuz"), (&parts.initrd, "::/initrd")],
    );
    true
}

/// Gives a disk as large as its table takes it for a root filesystem with these empty files, which is there until the
/// boot; `false` after saying aloud that something is missing.
pub(super) fn fill_root(path: &Path, files: &[&str]) -> bool {
    let Some(mke2fs) = peer("mke2fs") else { return false };
    let tree = path.with_extension("root");
    for file in files {
        let file = tree.join(file);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, "").expect("a file");
    }
    File::options()
        .write(true)
        .open(path)
        .and_then(|disk| disk.set_len(DISK_SIZE + GROWN_BY))
        .expect("a disk");
    let (at, size) =
        (format!("offset={ROOT_START}"), format!("{}k", (DISK_SIZE + GROWN_BY - ROOT_START) >> 10));
    mke2fs.must(["-q", "-F", "-t", "ext4", "-d", text(&tree), "-E", &at, text(path), &size]);
    true
}

fn mkimage(parts: &Parts, platform: &str, config: &Path, output: &Path, modules: &[&str]) {
    let program = parts.tree.join("usr/bin/grub-mkimage");
    let libraries = parts.tree.join("lib/x86_64-linux-gnu");
    let modules_folder = parts.tree.join("usr/lib/grub").join(platform);
    let mut arguments = vec!["-O", platform, "-p", "/", "-c", text(config), "-o", text(output)];
    arguments.extend(["-d", text(&modules_folder)]);
    arguments.extend(modules);
    let outcome =
        crate::support::program::Invocation::new(&program, arguments).env("LD_LIBRARY_PATH", libraries).run();
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
}

/// GRUB's own layout: the first sector knows where the core begins, the core's first one where it goes on.
fn write_boot_code(disk: &File, mut boot: Vec<u8>, mut core: Vec<u8>) {
    let sectors = core.len().div_ceil(512) as u16;
    boot[0x5c..0x64].copy_from_slice(&1u64.to_le_bytes());
    boot[0x64] = 0xff;
    core[0x1f4..0x1fc].copy_from_slice(&2u64.to_le_bytes());
    core[0x1fc..0x1fe].copy_from_slice(&(sectors - 1).to_le_bytes());
    core[0x1fe..0x200].copy_from_slice(&0x820u16.to_le_bytes());
    // For floppy disks there is code in the table's place.
    boot[0x1b8..].fill(0);
    let parts = [(0xef, FAT_START, ROOT_START), (0x83, ROOT_START, DISK_SIZE + GROWN_BY)];
    for (index, (kind, start, end)) in parts.into_iter().enumerate() {
        let entry = &mut boot[0x1be + 16 * index..][..16];
        entry[4] = kind;
        entry[8..12].copy_from_slice(&((start / 512) as u32).to_le_bytes());
        entry[12..16].copy_from_slice(&(((end - start) / 512) as u32).to_le_bytes());
    }
    boot[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert!(core.len() < FAT_START as usize - 512, "GRUB's core fits before the first partition");
    disk.write_all_at(&boot, 0)
        .and_then(|()| disk.write_all_at(&core, 512))
        .expect("a disk that can be written");
}

fn fill_fat(disk: &Path, files: &[(&Path, &str)]) {
    let at = format!("{}@@{FAT_START}", text(disk));
    let tool = |name: &str, arguments: &[&str]| {
        if let Some(tool) = peer(name) {
            tool.must(["-i", at.as_str()].iter().chain(arguments));
        }
    };
    let sectors = ((ROOT_START - FAT_START) / 512).to_string();
    tool("mformat", &["-T", &sectors, "-h", "64", "-s", "32", "-H", "2048", "::"]);
    tool("mmd", &["::/EFI", "::/EFI/BOOT"]);
    for (from, to) in files {
        tool("mcopy", &[text(from), to]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

/// Fetches and unpacks what is not there yet.
fn parts() -> Option<Parts> {
    let (apt, unpack) = (peer("apt-get")?, peer("dpkg-deb")?);
    for tool in ["mformat", "mmd", "mcopy"] {
        peer(tool)?;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trial-fixture");
    let (tree, packages) = (folder.join("tree"), folder.join("packages"));
    // Once everything is there, the packages that it is made of.
    let whole = folder.join("whole");
    if fs::read_to_string(&whole).ok() != Some(PACKAGES.join(" ")) {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&packages).expect("a folder");
        let wanted = ["download"].into_iter().chain(PACKAGES);
        let outcome = apt.command(wanted).folder(&packages).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        for package in entries(&packages) {
            unpack.must(["-x", text(&package), text(&tree)]);
        }
        fs::write(&whole, PACKAGES.join(" ")).expect("a file");
    }
    let kernel = kernel()?;
    let initrd = make_initrd(&folder, &tree, &kernel.modules);
    Some(Parts { kernel: kernel.image, tree, initrd })
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = entries(folder);
    let own = entries.iter().find(|path| path.file_name().is_some_and(|file| file == name)).cloned();
    own.or_else(|| {
        entries.iter().filter(|path| path.is_dir() && !path.is_symlink()).find_map(|path| find(path, name))
    })
}

fn make_initrd(folder: &Path, tree: &Path, modules: &Path) -> PathBuf {
    let root = folder.join("initrd.d");
    let _ = fs::remove_dir_all(&root);
    let put = |from: PathBuf, to: &str| {
        let to = root.join(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    };
    let script = |to: &str, content: &str| {
        fs::write(root.join(to), content).expect("a file");
        fs::set_permissions(root.join(to), fs::Permissions::from_mode(0o755)).expect("a mode");
    };
    put(tree.join("bin/busybox"), "bin/busybox");
    symlink("busybox", root.join("bin/sh")).expect("a link");
    put(tree.join("usr/sbin/dropbear"), "usr/sbin/dropbear");
    put(tree.join("usr/bin/dropbearkey"), "usr/bin/dropbearkey");
    for library in ["ld-linux-x86-64.so.2", "libc.so.6", "libcrypt.so.1", "libgmp.so.10", "libtomcrypt.so.1"]
        .into_iter()
        .chain(["libtommath.so.1", "libz.so.1", "libresolv.so.2"])
    {
        let found = find(tree, library).unwrap_or_else(|| panic!("no {library}"));
        put(fs::canonicalize(found).expect("a library"), &format!("lib/x86_64-linux-gnu/{library}"));
    }
    let loader = "ld-linux-x86-64.so.2";
    put(root.join("lib/x86_64-linux-gnu").join(loader), &format!("lib64/{loader}"));
    for module in MODULES {
        let found = find(modules, &format!("{module}.ko")).unwrap_or_else(|| panic!("no module {module}"));
        put(found, &format!("lib/modules/{module}.ko"));
    }
    fs::write(root.join("modules"), MODULES.join("\n")).expect("a file");
    script("init", include_str!("init.sh"));
    script("bin/getent", "#!/bin/sh\ncat /etc/passwd\n");
    script("bin/cloud-init", "#!/bin/sh\necho 'status: done'\n");
    let times = "InactiveExitTimestampMonotonic=2000000\nActiveEnterTimestampMonotonic=3000000";
    let answers = format!(
        "is-active) echo active ;;\nis-system-running) echo running ;;\n\
         show) echo 'Id=systemd-networkd-wait-online.service\n{times}' ;;"
    );
    script("bin/systemctl", &format!("#!/bin/sh\ncase $1 in\n{answers}\nesac\n"));
    let lease = "ip addr add \"$ip/$mask\" dev \"$interface\"";
    script("bin/udhcpc-script", &format!("#!/bin/sh\n[ \"$1\" != bound ] || {lease}\n"));
    let initrd = folder.join("initrd");
    let pack = "cd \"$1\" && find . | \"$2\" cpio -o -H newc >\"$3\" 2>/dev/null";
    let shell = peer("sh").expect("a shell");
    shell.must(["-c", pack, "sh", text(&root), text(&tree.join("bin/busybox")), text(&initrd)]);
    initrd
}
