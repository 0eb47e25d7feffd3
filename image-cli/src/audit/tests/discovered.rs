//! Images without GRUB and without an fstab: systemd-boot's entries and unified kernel images, in an EFI system partition that systemd
//! mounts, and a root filesystem that it finds by the type of its partition.

use super::*;
use crate::audit::unified::tests::program;
use crate::audit::view::View;

const GENERATOR: &str = "usr/lib/systemd/system-generators/systemd-gpt-auto-generator";
const WORDS: &str = "console=tty0 console=ttyS0,115200n8";

/// A tree with neither menu nor kernel, as makers of images for systemd-boot leave it.
fn tree_without_menu() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    sound_tree(tree.path());
    fs::remove_dir_all(tree.path().join("boot")).unwrap();
    for path in ["etc/fstab", "etc/default/grub"] {
        fs::remove_file(tree.path().join(path)).unwrap();
    }
    for folder in ["boot", "efi"] {
        fs::create_dir(tree.path().join(folder)).unwrap();
    }
    put(tree.path(), "etc/kernel/cmdline", WORDS);
    tree
}

/// What is broken where the EFI system partition has `files`, and the root partition is of the type `root`.
fn broken_with(files: &[(&str, Vec<u8>)], root: Uuid) -> Option<BTreeSet<&'static str>> {
    let (dir, tree) = (tempfile::tempdir().unwrap(), tree_without_menu());
    let loader = ("EFI/BOOT/BOOTX64.EFI", b"MZ".to_vec());
    let disk = image(&mke2fs()?, tree.path(), dir.path(), |disk| {
        let parts = [part(15, 2, 10, kind::EFI_SYSTEM), part(1, 10, 31, root)];
        write_gpt(disk, ROOT, &parts).unwrap();
        disk.write_at(&[0; 440], 0).unwrap();
        disk.write_at(&vec![0; 9 * MIB as usize], MIB).unwrap();
        let esp = Window::new(disk, parts[0].range).unwrap();
        let options = NewFat { label: "ESP".into(), serial: 0x1234_abcd, seconds: 0, hidden_sectors: 4096 };
        let files = files.iter().chain([&loader]);
        let files: Vec<NewFile> =
            files.map(|(path, content)| NewFile { path: (*path).into(), content: content.clone() }).collect();
        make_fat(&esp, &options, &files).unwrap();
    });
    Some(broken_rules(&disk, &Expected::default()))
}

/// An entry with these words, the kernel, and two initrds that have all it takes together.
fn entry(words: &str, generator: &str) -> Vec<(&'static str, Vec<u8>)> {
    let text = format!("linux /x/linux\ninitrd /x/initrd\ninitrd /x/modules\noptions {words}\n");
    vec![
        ("loader/entries/x.conf", text.into_bytes()),
        ("x/linux", b"kernel".to_vec()),
        ("x/initrd", initrd::tests::archive(&["init", generator])),
        (
            "x/modules",
            initrd::tests::archive(&["usr/lib/modules/6/virtio_pci.ko", "virtio_blk.ko", "sd_mod.ko"]),
        ),
    ]
}

/// The same as one program.
fn unified(words: &str, generator: &str) -> Vec<(&'static str, Vec<u8>)> {
    let modules = ["usr/lib/modules/6/virtio_pci.ko", "virtio_blk.ko", "sd_mod.ko", generator];
    let initrd = initrd::tests::archive(&modules);
    let sections: [(&str, &[u8]); 3] =
        [(".linux", b"kernel"), (".cmdline", words.as_bytes()), (".initrd", &initrd)];
    vec![("EFI/Linux/x.efi", program(&sections))]
}

#[test]
fn a_root_that_systemd_finds_needs_no_name() {
    let unnamed = BTreeSet::from(["fstab", "root-uuid"]);
    for make in [entry, unified] {
        let broken = |words: &str, generator, root| broken_with(&make(words, generator), root);
        let Some(found) = broken(WORDS, GENERATOR, kind::LINUX_ROOT_X86_64) else { return };
        assert_eq!(found, BTreeSet::new());
        let off = format!("{WORDS} systemd.gpt_auto=no");
        for (words, generator, root) in [
            (WORDS, "init", kind::LINUX_ROOT_X86_64),
            (WORDS, GENERATOR, kind::LINUX_FILESYSTEM),
            (off.as_str(), GENERATOR, kind::LINUX_ROOT_X86_64),
        ] {
            assert_eq!(broken(words, generator, root).as_ref(), Some(&unnamed), "{words} {generator} {root}");
        }
        // Part 1 has the UUID 2.
        let hash = "0000000000000000000000000000000200000000000000000000000000000003";
        let verity =
            |hash: &str| broken(&format!("{WORDS} rw roothash={hash}"), "init", kind::LINUX_ROOT_X86_64);
        assert_eq!(verity(hash), Some(BTreeSet::new()));
        assert_eq!(verity(&hash.replace('2', "4")), Some(BTreeSet::from(["root-uuid"])));
        let silent = broken("quiet", GENERATOR, kind::LINUX_ROOT_X86_64);
        assert_eq!(silent, Some(BTreeSet::from(["boot-messages", "console", "console-last"])));
    }
}

#[test]
fn initrds_of_one_entry_are_there_together() {
    let mut files = entry(WORDS, GENERATOR);
    files[3].1 = initrd::tests::archive(&["virtio_blk.ko", "sd_mod.ko"]);
    assert!(
        broken_with(&files, kind::LINUX_ROOT_X86_64)
            .is_none_or(|found| found == BTreeSet::from(["initrd-virtio"]))
    );
    let files = unified(&format!("{WORDS} root=UUID={ROOT} rw"), "init");
    assert!(broken_with(&files, kind::LINUX_FILESYSTEM).is_none_or(|found| found.is_empty()));
}

#[test]
fn the_efi_system_partition_is_where_the_system_mounts_it() {
    let Some(mke2fs) = mke2fs() else { return };
    let folder_of = |folders: &[&str], fstab: &str| {
        let (dir, tree) = (tempfile::tempdir().unwrap(), tree_without_menu());
        folders.iter().for_each(|folder| fs::create_dir_all(tree.path().join(folder)).unwrap());
        put(tree.path(), "etc/fstab", fstab);
        let view = View::open(Arc::new(image(&mke2fs, tree.path(), dir.path(), |_| ()))).unwrap();
        let folder = view.esp().unwrap();
        assert!(view.exists(format!("{folder}/EFI/BOOT/BOOTX64.EFI")).unwrap(), "{folder}");
        assert_eq!(view.exists("/boot/efi/EFI/BOOT").unwrap(), folder == "/boot/efi");
        folder
    };
    assert_eq!(folder_of(&[], ""), "/boot");
    assert_eq!(folder_of(&["boot/grub"], ""), "/efi");
    assert_eq!(folder_of(&["boot/efi"], ""), "/boot/efi");
    assert_eq!(folder_of(&["boot/efi"], "UUID=1234-ABCD /efi vfat umask=0077 0 1\n"), "/efi");
    assert_eq!(
        folder_of(&["boot/efi"], "PARTUUID=00000000-0000-0000-0000-000000000010 /boot vfat\n"),
        "/boot"
    );
}
