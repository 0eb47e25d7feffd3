//! Large content put into filesystems in place: with holes, in thousands of pieces, into block maps; and attributes, links and
//! directories up to their limits. The kernel tells what came of it.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange, ExtentKind, FileDisk};
use image_core::fs::{Ext4, Ext4Writer, Ownership, Refusal};

use super::changed::assert_clean;
use super::operations::{TIME, content, disk};
use super::witness::{Judge, say};
use crate::support::folder;

fn own(mode: u16) -> Ownership {
    Ownership::root(mode, TIME)
}

fn refusal<T>(result: image_core::Result<T>) -> Option<Refusal> {
    result.err().and_then(|error| error.cause().copied())
}

/// A file of 90 MB of which a part is stored.
fn sparse(path: &Path) -> FileDisk {
    let file = std::fs::File::create(path).unwrap();
    file.set_len(90_000_123).unwrap();
    for (at, len) in [(0, 1), (70_000, 9_000_000), (20_000_000, 40_000_000), (90_000_000, 123)] {
        file.write_all_at(&content(at as usize % 251, len), at).unwrap();
    }
    file.sync_all().unwrap();
    FileDisk::open(path).unwrap()
}

/// Leaves free only every other block of a file.
fn fragment(judge: &Judge, image: &Path) {
    let script = "import os,sys\nb=int(sys.argv[2])\nf=open(sys.argv[1]+'/comb','wb')\nn=0\n\
                  try:\n  while True:\n    f.write(bytes([7])*b*256); f.flush(); n+=256\nexcept OSError: pass\n\
                  os.close(f.fileno())\n";
    let program = image.with_extension("py");
    std::fs::write(&program, script).unwrap();
    let run = format!(
        "python3 {} $M $(stat -fc %S $M) || true; sync; \
         python3 -c \"import os,sys;p=sys.argv[1]+'/comb';b=os.statvfs(p).f_bsize;n=os.stat(p).st_size//b;\
import ctypes;l=ctypes.CDLL(None,use_errno=True);fd=os.open(p,os.O_RDWR);\
[l.fallocate(fd,3,ctypes.c_long(i*b),ctypes.c_long(b)) for i in range(0,n,2)]\" $M",
        program.display()
    );
    judge.with_mount(image, "rw", &run);
}

fn pour(judge: &Judge, image: &Path, is_fragmented: bool) {
    let source_path = image.with_extension("source");
    let source = sparse(&source_path);
    if is_fragmented {
        fragment(judge, image);
    }
    let mut files = Ext4Writer::open(disk(image), TIME).unwrap();
    let root = files.files().root().unwrap().number;
    let inode = files.create_file(root, b"large", &own(0o644)).unwrap();
    files.write_content(inode, &source).unwrap();
    assert!(files.held_len() < 8 << 20, "{} bytes are held", files.held_len());
    files.commit_journaled().or_else(|_| files.commit()).unwrap();
    assert_clean(image, "poured");
    let judged = |image: &Path, expected: &[u8]| {
        let fs = Ext4::open(disk(image) as Arc<dyn BlockRead>).unwrap();
        let inode = fs.resolve(b"large", false).unwrap().unwrap();
        assert!(fs.read(&inode, u64::MAX).unwrap() == expected);
        fs.extents(&inode, ByteRange::whole(inode.size)).unwrap()
    };
    if is_fragmented {
        let pieces = judge.debugfs.must(["-R", "ex large", image.to_str().unwrap()]).lines().count();
        assert!(pieces > 10_000, "it lies in {pieces} pieces");
    }
    let mut expected = std::fs::read(&source_path).unwrap();
    let extents = judged(image, &expected);
    let holes: u64 = extents
        .iter()
        .filter(|extent| extent.kind != ExtentKind::Data)
        .map(|extent| extent.range.len())
        .sum();
    assert!(holes > 38_000_000, "{holes} bytes are holes");
    // Over it, behind it, and cut; each in place.
    let mut files = Ext4Writer::open(disk(image), TIME).unwrap();
    files.write_range(inode, 10_000_001, &mut &content(3, 5_000_000)[..]).unwrap();
    files.append_content(inode, &mut &content(4, 777)[..]).unwrap();
    files.set_len(inode, 90_000_500).unwrap();
    files.commit_journaled().or_else(|_| files.commit()).unwrap();
    expected[10_000_001..15_000_001].copy_from_slice(&content(3, 5_000_000));
    expected.extend(&content(4, 777)[..377]);
    judged(image, &expected);
    assert_clean(image, "written over");
    judge.compare(image);
    let mut files = Ext4Writer::open(disk(image), TIME).unwrap();
    files.set_len(inode, 5).unwrap();
    files.set_len(inode, 50_000).unwrap();
    files.commit_journaled().or_else(|_| files.commit()).unwrap();
    expected.truncate(5);
    expected.resize(50_000, 0);
    judged(image, &expected);
    assert_clean(image, "cut");
    judge.compare(image);
}

#[test]
fn ext4_large_content_is_put_in_place() {
    let Some(judge) = Judge::find() else { return };
    for (size, words, is_fragmented) in [
        ("200M", &["-t", "ext4"][..], false),
        ("160M", &["-t", "ext4", "-b", "1024"], true),
        ("200M", &["-t", "ext3", "-b", "1024"], false),
        ("200M", &["-t", "ext2", "-b", "4096"], false),
        ("300M", &["-t", "ext4", "-O", "bigalloc", "-C", "65536"], false),
    ] {
        let dir = folder();
        let image = dir.path().join("image");
        judge.make(&image, size, words);
        pour(&judge, &image, is_fragmented);
        say(1, &format!("poured: {}", words.join(" ")));
    }
}

#[test]
fn ext4_attributes_of_every_length_are_set_and_taken() {
    let Some(judge) = Judge::find() else { return };
    for words in [
        &["-t", "ext4"][..],
        &["-t", "ext4", "-O", "ea_inode"],
        &["-t", "ext4", "-b", "1024", "-I", "128", "-O", "^ea_inode"],
        &["-t", "ext4", "-O", "ea_inode,bigalloc,^metadata_csum"],
    ] {
        let dir = folder();
        let image = dir.path().join("image");
        judge.make(&image, "200M", words);
        judge.fill_image(&image, "rw", &["attributes"]);
        let mut files = Ext4Writer::open(disk(&image), TIME).unwrap();
        let root = files.files().root().unwrap().number;
        let mut set = 0;
        for len in [0, 1, 30, 100, 500, 900, 3000, 4000, 20_000, 65_536] {
            let inode = files.create_file(root, format!("value-{len}").as_bytes(), &own(0o644)).unwrap();
            for name in ["user.first", "user.second"] {
                match files.set_attribute(inode, name.as_bytes(), &content(len, len)) {
                    Ok(()) => set += 1,
                    done => assert_eq!(refusal(done), Some(Refusal::NoRoomForAttribute), "{len} {words:?}"),
                }
            }
            files.set_attribute(inode, b"user.first", b"other").unwrap();
            assert_eq!(refusal(files.remove_attribute(inode, b"user.none")), Some(Refusal::NotFound));
        }
        // Of four files that share a block, one gets another value and one has none any more.
        for (index, value) in [(0, Some(&b"own"[..])), (1, None)] {
            let path = format!("attributes/shared-{index}");
            let inode = files.files().resolve(path.as_bytes(), false).unwrap().unwrap().number;
            match value {
                Some(value) => files.set_attribute(inode, b"user.shared", value).unwrap(),
                None if files
                    .files()
                    .attribute(&files.files().inode(inode).unwrap(), "user.shared")
                    .unwrap()
                    .is_some() =>
                {
                    files.remove_attribute(inode, b"user.shared").unwrap();
                }
                None => {}
            }
        }
        // Those with every kind of value, one after the other, lose them; each second one goes.
        let folder = files.files().resolve(b"attributes", false).unwrap().unwrap();
        let entries: Vec<_> = files.files().read_directory(&folder).map(Result::unwrap).collect();
        for (index, entry) in entries.iter().enumerate() {
            let inode = files.files().inode(entry.inode).unwrap();
            for attribute in files.files().attributes(&inode).unwrap() {
                if index % 3 == 0 {
                    files.remove_attribute(entry.inode, &attribute.name).unwrap();
                } else if index % 3 == 1 {
                    files.set_attribute(entry.inode, &attribute.name, &attribute.value).unwrap();
                }
            }
        }
        files.commit_journaled().unwrap();
        assert_eq!(files.files().check().unwrap(), []);
        assert_clean(&image, &words.join(" "));
        judge.compare(&image);
        say(set, &format!("attributes: {}", words.join(" ")));
    }
}

#[test]
#[ignore = "make test-filesystems runs it: it takes minutes"]
fn ext4_links_and_directories_end_where_they_must() {
    let Some(judge) = Judge::find() else { return };
    for (features, takes_more) in [("^dir_nlink", false), ("dir_nlink", true)] {
        let dir = folder();
        let image = dir.path().join("image");
        judge.make(&image, "400M", &["-t", "ext4", "-b", "1024", "-N", "66000", "-O", features]);
        let mut files = Ext4Writer::open(disk(&image), TIME).unwrap();
        let root = files.files().root().unwrap().number;
        let many = files.make_directory(root, b"many", &own(0o755)).unwrap();
        let inode = files.create_file(root, b"file", &own(0o644)).unwrap();
        for index in 1..65_000 {
            files.make_link(many, format!("l{index}").as_bytes(), inode).unwrap();
        }
        assert_eq!(refusal(files.make_link(many, b"more", inode)), Some(Refusal::TooManyLinks));
        for index in 2..65_000 {
            files.make_directory(many, format!("d{index}").as_bytes(), &own(0o755)).unwrap();
        }
        let more = files.make_directory(many, b"more", &own(0o755));
        assert_eq!(more.is_ok(), takes_more);
        // Moves that rename(2) refuses.
        let [a, b] = [&b"a"[..], b"b"].map(|name| files.make_directory(root, name, &own(0o755)).unwrap());
        let inner = files.make_directory(a, b"inner", &own(0o755)).unwrap();
        files.create_file(b, b"file", &own(0o644)).unwrap();
        assert_eq!(refusal(files.rename(root, b"a", inner, b"x")), Some(Refusal::IntoItself));
        assert_eq!(refusal(files.rename(root, b"a", a, b"x")), Some(Refusal::IntoItself));
        assert_eq!(refusal(files.rename(root, b"a", root, b"b")), Some(Refusal::NotEmpty));
        assert_eq!(refusal(files.rename(root, b"a", root, b"file")), Some(Refusal::NotADirectory));
        assert_eq!(refusal(files.rename(root, b"file", root, b"a")), Some(Refusal::IsADirectory));
        assert_eq!(refusal(files.rename(root, b"none", root, b"a")), Some(Refusal::NotFound));
        assert_eq!(refusal(files.make_link(root, b"x", a)), Some(Refusal::IsADirectory));
        assert_eq!(refusal(files.create_file(root, b"a", &own(0))), Some(Refusal::Exists));
        files.rename(a, b"inner", root, b"inner").unwrap();
        files.rename(root, b"inner", root, b"a").unwrap();
        files.commit().unwrap();
        assert_clean(&image, features);
        let count = judge.compare(&image);
        say(count, features);
    }
}

/// Of more ids than one leaf of a quota file has room for, those far apart too.
#[test]
fn ext4_quotas_are_counted_for_owners_that_are_new() {
    let Some(judge) = Judge::find() else { return };
    for words in [
        &["-O", "quota,project", "-E", "quotatype=usrquota:grpquota:prjquota"][..],
        &["-b", "1024", "-O", "quota"],
    ] {
        let dir = folder();
        let image = dir.path().join("image");
        judge.make(&image, "64M", &[&["-t", "ext4"], words].concat());
        let mut files = Ext4Writer::open(disk(&image), TIME).unwrap();
        let root = files.files().root().unwrap().number;
        for index in 0..60_u32 {
            let id = [index, index << 8, index << 16, u32::MAX - 1 - index][index as usize % 4];
            let own = Ownership { uid: id, gid: id / 2, ..own(0o644) };
            let inode = files.create_file(root, format!("f{index}").as_bytes(), &own).unwrap();
            files.write_range(inode, 0, &mut &content(5, 3000 + index as usize * 100)[..]).unwrap();
            if index % 3 == 0 {
                files.set_owner(inode, Some(id ^ 0x1000), None).unwrap();
            }
            if index % 20 == 19 {
                files.remove(root, format!("f{}", index - 5).as_bytes()).unwrap();
                files.commit_journaled().unwrap();
                assert_clean(&image, &format!("{index} {words:?}"));
            }
        }
    }
}

/// Where there is no room, that is said by its name, and nothing is written.
#[test]
fn ext4_without_room_stays_as_it_is() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let image = dir.path().join("image");
    judge.make(&image, "8M", &["-t", "ext4", "-b", "1024", "-N", "64"]);
    let mut files = Ext4Writer::open(disk(&image), TIME).unwrap();
    let root = files.files().root().unwrap().number;
    let inode = files.create_file(root, b"large", &own(0o644)).unwrap();
    let done = files.write_range(inode, 0, &mut std::io::Read::take(std::io::repeat(7), 9 << 20));
    assert_eq!(refusal(done), Some(Refusal::NoSpace));
    assert!(files.commit_journaled().is_err() && files.commit().is_err());
    assert_clean(&image, "nothing was written");
    let mut files = Ext4Writer::open(disk(&image), TIME).unwrap();
    let full =
        (0..80).find_map(|index| refusal(files.create_file(root, format!("{index}").as_bytes(), &own(0))));
    assert_eq!(full, Some(Refusal::NoInodes));
    files.commit_journaled().unwrap();
    assert_clean(&image, "all inodes are in use");
}
