//! What UEFI starts, and what that starts.

use image_core::block::ZeroMode;

use super::*;

/// An EFI system partition with these files in place of those that it has.
fn with_esp(disk: &FileDisk, files: &[(&str, &[u8])]) {
    let esp = Window::new(disk, ByteRange::between(2 * MIB, 10 * MIB)).unwrap();
    esp.write_zeroes(ByteRange::between(0, 8 * MIB), ZeroMode::Punch).unwrap();
    let options = NewFat { label: "ESP".into(), serial: 0x1234_abcd, seconds: 0, hidden_sectors: 4096 };
    let file = |(path, content): &(&str, &[u8])| NewFile { path: (*path).into(), content: content.to_vec() };
    make_fat(&esp, &options, &files.iter().map(file).collect::<Vec<_>>()).unwrap();
}

#[test]
fn a_shim_needs_what_it_starts() {
    let Some(mke2fs) = mke2fs() else { return };
    let (dir, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sound_tree(tree.path());
    let shim: &[u8] = b"MZ .sbat sbat,1,x\nshim,4,UEFI shim,shim,1,x\n";
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let list = utf16("\u{feff}shimx64.efi,debian,,This is the boot entry\n");
    let elsewhere = utf16("../BOOT/fbx64.efi,debian,,\n");
    let boot = ("EFI/BOOT/BOOTX64.EFI", shim);
    let [grub, fallback, own] = ["EFI/BOOT/grubx64.efi", "EFI/BOOT/fbx64.efi", "EFI/debian/shimx64.efi"]
        .map(|path| (path, &b"MZ"[..]));
    let csv = |bytes| ("EFI/debian/BOOTX64.CSV", bytes);
    for (files, is_broken) in [
        (vec![boot, grub], false),
        (vec![boot], true),
        (vec![("EFI/BOOT/BOOTX64.EFI", &b"MZ another program"[..])], false),
        (vec![boot, grub, fallback], true),
        (vec![boot, fallback, csv(&list[..])], true),
        (vec![boot, fallback, csv(&elsewhere[..])], true),
        (vec![boot, fallback, own, csv(&list[..])], false),
    ] {
        let disk = image(&mke2fs, tree.path(), dir.path(), |disk| with_esp(disk, &files));
        let names: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
        let broken = broken_rules(&disk, &Expected::default());
        assert_eq!(broken.contains("boot-uefi"), is_broken, "{names:?}: {broken:?}");
    }
}
