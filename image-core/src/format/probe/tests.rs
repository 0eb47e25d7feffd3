//! Files that are told apart, and disks that only look like something.

use super::*;
use crate::ErrorKind;
use crate::block::{BlockWrite, MemoryDisk};

fn probed(bytes: &[u8]) -> Result<Format> {
    probe(&MemoryDisk::from_bytes(bytes.to_vec()), Probing::Everything)
}

/// The name of what a disk of 1 MiB is taken for that has these bytes at these places; empty for raw.
fn name_of(pieces: &[(u64, &[u8])], probing: Probing) -> &'static str {
    let disk = MemoryDisk::new(1 << 20);
    for (offset, bytes) in pieces {
        disk.write_at(bytes, *offset).unwrap();
    }
    match probe(&disk, probing) {
        Ok(Format::Foreign(kind)) => kind.title(),
        Ok(format) => {
            assert_eq!(format, Format::Raw);
            ""
        }
        Err(error) => error.cause::<UnsupportedFormat>().unwrap().name,
    }
}

fn name(pieces: &[(u64, &[u8])]) -> &'static str {
    name_of(pieces, Probing::Everything)
}

#[test]
fn formats_are_told_apart_by_their_first_bytes() {
    assert_eq!(probed(b"").unwrap(), Format::Raw);
    assert_eq!(probed(b"QFI").unwrap(), Format::Raw);
    assert_eq!(probed(b"QFI\xfb\0\0\0\x03").unwrap(), Format::Qcow2);
    assert_eq!(probed(&[0; 1024]).unwrap(), Format::Raw);
    assert_eq!(probed(b"QFI\xfb\0\0\0\x01").unwrap(), Format::Foreign(Kind::Qcow));
    assert_eq!(probed(b"Bochs Virtual HD Image\0").unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(name(&[(64, b"\x7f\x10\xda\xbe")]), "VDI");
    assert_eq!(name(&[(0, b"WithouFreSpacExt")]), "Parallels");
    assert_eq!(name(&[(0, b"Bochs Virtual HD Image\0")]), "Bochs");
    assert_eq!(probed(b"KDMV").unwrap(), Format::Foreign(Kind::Vmdk));
    assert_eq!(name_of(&[(0, b"KDMV")], Probing::AsQemu), "VMDK");
    let error = probed(b"Bochs Virtual HD Image\0").unwrap_err();
    assert!(format!("{error:?}").contains("it looks like Bochs"));
}

#[test]
fn what_is_compressed_is_no_disk_but_is_one_to_qemu() {
    for (start, expected) in [
        (&b"\x1f\x8b\x08\x08abc"[..], "a gzip file"),
        (b"\xfd7zXZ\0\0", "an xz file"),
        (b"\x28\xb5\x2f\xfd", "a zstd file"),
        (b"\x50\x2a\x4d\x18\x04\0\0\0abcd\x28\xb5\x2f\xfd", "a zstd file"),
        (b"BZh91AY&SY", "a bzip2 file"),
        (b"PK\x03\x04", "a zip file"),
        (b"LUKS\xba\xbe\0\x02", "LUKS"),
    ] {
        assert_eq!(name(&[(0, start)]), expected);
        assert_eq!(name_of(&[(0, start)], Probing::AsQemu), "", "{expected}");
    }
    assert_eq!(name_of(&[(0, b"LUKS\xba\xbe\0\x01")], Probing::AsQemu), "LUKS");
    // Boot code, text, and lengths that lead to nothing.
    for raw in
        [&b"\x1f\x8b\x08\xff"[..], b"BZh9 is how it begins", b"\x50\x2a\x4d\x18\xff\xff\xff\xff", b"\x1f\x8b"]
    {
        assert_eq!(name(&[(0, raw)]), "");
    }
}

/// The checksum of a tar header, where it belongs.
fn summed(mut header: [u8; 512]) -> [u8; 512] {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// A header of ustar with the checksum that belongs to it.
fn tar_header() -> [u8; 512] {
    let mut header = [0; 512];
    header[..8].copy_from_slice(b"disk.raw");
    header[257..265].copy_from_slice(b"ustar\x0000");
    summed(header)
}

/// A header of the seventh edition's tar, with these bytes changed before it is summed.
fn old_tar_header(changes: &[(usize, &[u8])]) -> [u8; 512] {
    let mut header = [0; 512];
    for (at, bytes) in [
        (0, &b"disk.raw"[..]),
        (100, b"0000644\0"),
        (108, b"  1750 \0"),
        (116, b"0001750\0"),
        (124, b"00000001000\0"),
        (136, b"15112345670 "),
    ]
    .iter()
    .chain(changes)
    {
        header[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    summed(header)
}

#[test]
fn a_tar_archive_is_known_by_its_checksum() {
    let header = tar_header();
    assert_eq!(name(&[(0, &header)]), "a tar archive");
    assert_eq!(name(&[(0, &header), (0, b"e")]), "", "another checksum");
    assert_eq!(name(&[(257, b"ustar\x0000")]), "", "a word in boot code");
}

#[test]
fn an_old_tar_archive_is_known_by_all_of_its_header() {
    let old = |changes: &[(usize, &[u8])]| name(&[(0, &old_tar_header(changes))]);
    assert_eq!(old(&[]), "a tar archive");
    assert_eq!(old(&[(156, b"2"), (157, b"elsewhere")]), "a tar archive", "a link");
    assert_eq!(old(&[(116, b"\0\0\0\0\0\0\0\0")]), "a tar archive", "an empty field");
    assert_eq!(name(&[(0, &old_tar_header(&[])), (0, b"e")]), "", "another checksum");
    for (change, why) in [
        ((510, &b"\x55\xaa"[..]), "the sum is right by chance, and it boots"),
        ((0, b"\0"), "no name"),
        ((100, b"\xfa\x31\xc0"), "code where the mode is"),
        ((130, b"9"), "no octal size"),
        ((156, b"\xeb"), "no kind of entry"),
    ] {
        assert_eq!(old(&[change]), "", "{why}");
    }
    assert_eq!(name(&[]), "", "zeroes have the sum of eight blanks");
    assert_eq!(name_of(&[(0, &old_tar_header(&[]))], Probing::AsQemu), "");
}

#[test]
fn archives_of_text_are_known_by_their_numbers() {
    let octal = [b"070707", &b"0"[..].repeat(70)[..]].concat();
    let hexadecimal = [b"070701", &b"0aF9"[..].repeat(26)[..]].concat();
    for archive in [&octal, &hexadecimal] {
        assert_eq!(name(&[(0, archive)]), "a cpio archive");
        assert_eq!(name_of(&[(0, archive)], Probing::AsQemu), "");
        assert_eq!(name(&[(0, archive), (50, b" ")]), "", "no number");
    }
    assert_eq!(name(&[(0, &octal), (0, b"070700")]), "");
    assert_eq!(name(&[(0, b"!<arch>\ndebian-binary")]), "an ar archive");
}

/// The descriptor of a volume of so many blocks.
fn descriptor(blocks: u32) -> Vec<u8> {
    let mut bytes = b"\x01CD001\x01".to_vec();
    bytes.resize(80, 0);
    bytes.extend([blocks.to_le_bytes(), blocks.to_be_bytes()].concat());
    bytes.resize(128, 0);
    bytes.extend([0x00, 0x08, 0x08, 0x00]);
    bytes
}

#[test]
fn a_disc_is_known_and_a_disk_that_was_one_is_not() {
    let table: (u64, &[u8]) = (510, b"\x55\xaa");
    let (whole, small) = (descriptor(512), descriptor(20));
    let disc = "ISO 9660 (a CD or DVD)";
    assert_eq!(name(&[(0x8000, &whole)]), disc);
    assert_eq!(name(&[(0x8000, &small)]), disc);
    assert_eq!(name(&[table, (0x8000, &whole)]), disc, "one that boots from sticks too");
    assert_eq!(name(&[table, (0x8000, &small)]), "", "partitioned anew");
    let mut torn = whole.clone();
    torn[80] = 1;
    assert_eq!(name(&[(0x8000, &torn)]), "");
    assert_eq!(name(&[(0x8001, b"CD001")]), "");
    assert_eq!(name_of(&[(0x8000, &whole)], Probing::AsQemu), "");
}

/// The footer of a fixed VHD with so many bytes in front.
fn footer(content: u64) -> Vec<u8> {
    let mut bytes = b"conectix\0\0\0\x02\0\x01\0\0\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
    bytes.resize(512, 0);
    bytes[40..48].copy_from_slice(&content.to_be_bytes());
    bytes[48..56].copy_from_slice(&content.to_be_bytes());
    bytes[63] = 2;
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    bytes[64..68].copy_from_slice(&(!sum).to_be_bytes());
    bytes
}

#[test]
fn what_ends_a_file_counts_if_it_fits_the_file() {
    const END: u64 = (1 << 20) - 512;
    let footer_of = footer;
    let right = footer_of(END);
    assert_eq!(name(&[(END, &right)]), "VPC (VHD)");
    assert_eq!(name(&[(END + 1, &right[..511])]), "", "it says another size");
    assert_eq!(name(&[(END + 1, &footer_of(END + 1)[..511])]), "VPC (VHD)");
    assert_eq!(name(&[(END, &footer_of(END - 512))]), "", "of a smaller disk, now data");
    assert_eq!(name(&[(END, b"conectix")]), "", "a word");
    assert_eq!(name(&[(END, &right), (END + 100, b"x")]), "", "another checksum");
    assert_eq!(name(&[(END, b"koly\0\0\0\x04\0\0\x02\0")]), "DMG");
    assert_eq!(name(&[(END, b"koly")]), "");
    assert_eq!(name_of(&[(END, &right)], Probing::AsQemu), "");
    // A file of nothing but a footer begins as dynamic ones do.
    assert!(matches!(probed(&right), Ok(Format::Foreign(_))));
}
