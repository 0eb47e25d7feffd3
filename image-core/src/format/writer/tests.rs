//! Opening for writing: who is refused, what the first sector may become, and what another size leaves.

use super::super::{Image, OpenOptions, ProbeRule, ReferenceRule};
use super::*;
use crate::ErrorKind;
use crate::block::FileDisk;
use crate::convert::Sink;
use crate::qcow2::{NewImage, Qcow2Sink};

fn new_qcow2(path: &Path, size: u64) {
    let file = FileDisk::create_new(path, 0).unwrap();
    Qcow2Sink::new(file, NewImage::new(size).unwrap()).unwrap().finish().unwrap();
}

fn as_format(format: Format) -> WriteOptions {
    WriteOptions { format: Some(format), ..WriteOptions::default() }
}

#[test]
fn an_image_that_is_a_plausible_disk_is_written_only_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    for (offset, bytes) in [(0x1fe, &b"\x55\xaa"[..]), (0x200, b"EFI PART"), (0x438, b"\x53\xef")] {
        let _ = std::fs::remove_file(&path);
        new_qcow2(&path, 1 << 20);
        assert!(ImageWriter::open(&path, WriteOptions::default()).is_ok());
        FileDisk::open_writable(&path).unwrap().write_at(bytes, offset).unwrap();
        let error = ImageWriter::open(&path, WriteOptions::default()).unwrap_err();
        assert!(
            matches!(error.cause(), Some(ProbeRule::Ambiguous { offset: at, .. }) if *at == offset),
            "{error:?}"
        );
        assert_eq!(error.kind(), ErrorKind::Refused);
        for format in [Format::Raw, Format::Qcow2] {
            assert_eq!(ImageWriter::open(&path, as_format(format)).unwrap().format(), format);
        }
        // Reading does no harm.
        assert!(Image::open(&path, OpenOptions::default()).is_ok());
    }
}

#[test]
fn a_disk_that_was_taken_for_raw_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    std::fs::write(&path, [0; 4096]).unwrap();
    let assumed = ImageWriter::open(&path, WriteOptions::default()).unwrap();
    for (bytes, offset) in [(&b"QFI\xfb\0\0\0\x03"[..], 0), (b"\x7f\x10\xda\xbe", 64), (b"VMDK\x01KDMV", 0)] {
        let written = assumed.write_at(bytes, offset);
        let rule = written.as_ref().err().and_then(|error| error.cause::<ProbeRule>());
        assert_eq!(rule.is_some(), bytes[0] != b'V', "{written:?}");
    }
    // In two steps it is refused as well.
    assumed.write_at(b"FI\xfb", 1).unwrap();
    assert!(assumed.write_at(b"Q", 0).is_err());
    assumed.write_at(b"QFI\xfb", 512).unwrap();
    assumed.close().unwrap();
    let told = ImageWriter::open(&path, as_format(Format::Raw)).unwrap();
    told.write_at(b"Q", 0).unwrap();
}

#[test]
fn nobody_else_writes_meanwhile_and_who_reads_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    new_qcow2(&path, 1 << 20);
    let writer = ImageWriter::open(&path, WriteOptions::default()).unwrap();
    let read = |share| Image::open(&path, OpenOptions { share, ..OpenOptions::default() }).map(drop);
    assert_eq!(read(Share::Readers).unwrap_err().kind(), ErrorKind::InUse);
    assert_eq!(read(Share::RawWriters).unwrap_err().kind(), ErrorKind::InUse);
    read(Share::Writers).unwrap();
    let error = ImageWriter::open(&path, WriteOptions::default()).unwrap_err();
    assert!(format!("{error:?}").contains("it is in use"), "{error:?}");
    writer.close().unwrap();
    read(Share::Readers).unwrap();
    // Looks at a raw image and its writer do not see each other; who needs it as it is does.
    let writer = ImageWriter::open(&path, as_format(Format::Raw)).unwrap();
    let raw = |share| {
        Image::open(&path, OpenOptions { format: Some(Format::Raw), share, ..OpenOptions::default() })
    };
    raw(Share::RawWriters).unwrap();
    assert_eq!(raw(Share::Readers).unwrap_err().kind(), ErrorKind::InUse);
    drop(writer);
    let reader = raw(Share::Readers).unwrap();
    assert!(ImageWriter::open(&path, WriteOptions::default()).is_err());
    drop(reader);
    ImageWriter::open(&path, WriteOptions::default()).unwrap();
}

#[test]
fn what_an_image_names_is_opened_only_if_allowed_and_its_data_file_for_writing() {
    use crate::qcow2::Header;
    use crate::qcow2::extension::Extension;
    use crate::qcow2::layout::INCOMPATIBLE_DATA_FILE;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    new_qcow2(&path, 1 << 20);
    let file = FileDisk::open_writable(&path).unwrap();
    let mut header = Header::read(&file).unwrap();
    header.features.incompatible |= INCOMPATIBLE_DATA_FILE;
    header.extensions.insert(0, Extension::DataFile(b"data".to_vec()));
    header.backing_name = Some(b"base".to_vec());
    header.extensions.insert(0, Extension::BackingFormat(b"raw".to_vec()));
    file.write_at(&header.to_bytes().unwrap(), 0).unwrap();
    drop(file);
    FileDisk::create_new(folder.path().join("data"), 1 << 20).unwrap();
    let base = FileDisk::create_new(folder.path().join("base"), 1 << 20).unwrap();
    base.write_at(&[7; 1 << 20], 0).unwrap();
    let error = ImageWriter::open(&path, WriteOptions::default()).unwrap_err();
    assert!(matches!(error.cause(), Some(ReferenceRule::NotAllowed { .. })), "{error:?}");
    let allowed = WriteOptions { references: References::AllowBeneath, ..WriteOptions::default() };
    let writer = ImageWriter::open(&path, allowed).unwrap();
    writer.write_at(&[5; 512], 65_536).unwrap();
    writer.close().unwrap();
    let data = std::fs::read(folder.path().join("data")).unwrap();
    assert_eq!((data[65_535], data[65_536], data[66_048], data[131_071], data[131_072]), (0, 5, 7, 7, 0));
}
