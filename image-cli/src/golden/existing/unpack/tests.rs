//! Archives, friendly and hostile, unpacked into a folder.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::monitor::silent;

/// An entry of a tar archive (ustar) of this kind: its path, where it leads, its mode and content.
pub(in crate::golden::existing) fn entry(
    kind: u8,
    path: &str,
    link: &str,
    mode: u32,
    content: &[u8],
) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, path.as_bytes());
    put(100, format!("{mode:07o}\0").as_bytes());
    // This test may not be root.
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    put(
        108,
        format!("{uid:07o}\0{gid:07o}\0{:011o}\0{:011o}\0        ", content.len(), 1_000_000_000).as_bytes(),
    );
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = header.to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub(in crate::golden::existing) fn file(path: &str, content: &str) -> Vec<u8> {
    entry(b'0', path, "", 0o644, content.as_bytes())
}

fn folder(path: &str) -> Vec<u8> {
    entry(b'5', path, "", 0o755, b"")
}

/// A folder with a tree in it, and a file beside that which nothing may reach.
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("outside"), "safe").unwrap();
    let root = dir.path().join("tree");
    fs::create_dir(&root).unwrap();
    (dir, root)
}

fn unpacked(root: &Path, archives: &[Vec<Vec<u8>>], meaning: Meaning) -> crate::Result<()> {
    let mut unpacking = Unpacking::into(root, silent())?;
    archives.iter().try_for_each(|entries| unpacking.add(&mut entries.concat().as_slice(), meaning))
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn files_have_what_the_archive_says_of_them() {
    let (_dir, root) = place();
    let archive = vec![
        entry(b'5', "./", "", 0o750, b""),
        folder("usr/lib/"),
        entry(b'2', "lib", "usr/lib", 0o777, b""),
        // Through a link of the tree, and in folders that no entry makes.
        entry(b'0', "lib/program", "", 0o4755, b"code"),
        file("a/b/c", "deep"),
        entry(b'1', "usr/lib/other", "lib/program", 0o644, b""),
        entry(b'6', "run/pipe", "", 0o600, b""),
        entry(b'3', "dev/null", "", 0o666, b""),
    ];
    unpacked(&root, &[archive], Meaning::Whole).unwrap();
    let program = root.join("usr/lib/program").metadata().unwrap();
    assert_eq!((program.mode() & 0o7777, program.nlink(), program.mtime()), (0o4755, 2, 1_000_000_000));
    assert_eq!(root.metadata().unwrap().permissions().mode() & 0o7777, 0o750);
    assert_eq!(fs::read(root.join("a/b/c")).unwrap(), b"deep");
    assert_eq!(fs::read_link(root.join("lib")).unwrap(), Path::new("usr/lib"));
    assert_eq!(root.join("usr/lib").metadata().unwrap().mtime(), 1_000_000_000);
    assert_eq!(names_in(&root.join("dev")), [""; 0], "a system makes its devices");
    assert_eq!(root.join("run/pipe").metadata().unwrap().mode() & 0o170_000, 0o010_000);
}

#[test]
fn nothing_outside_of_the_tree_is_reached() {
    for hostile in [
        vec![file("../outside", "x")],
        vec![file("a/../../outside", "x")],
        vec![entry(b'1', "a", "../outside", 0o644, b"")],
    ] {
        let (dir, root) = place();
        let told = format!("{:#}", unpacked(&root, &[hostile], Meaning::Whole).unwrap_err());
        assert!(told.contains("leads up"), "{told}");
        assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"safe");
    }
    // Links of the tree lead nowhere but into the tree.
    for target in ["..", "../..", "/", "../../../../../../../../../../tmp"] {
        let (dir, root) = place();
        let archive =
            vec![entry(b'2', "up", target, 0o777, b""), file("up/outside", "x"), file("up/tmp/y", "y")];
        let _ = unpacked(&root, &[archive], Meaning::Whole);
        assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"safe", "{target}");
        assert!(!Path::new("/tmp/tmp/y").exists());
    }
    // A link in a file's place is replaced, and never written through.
    let (dir, root) = place();
    let absolute = dir.path().join("outside");
    let archive = vec![
        entry(b'2', "link", absolute.to_str().unwrap(), 0o777, b""),
        file("link", "own"),
        entry(b'2', "folder", dir.path().to_str().unwrap(), 0o777, b""),
        folder("folder/"),
        file("folder/outside", "own"),
    ];
    unpacked(&root, &[archive], Meaning::Whole).unwrap();
    assert_eq!(fs::read(&absolute).unwrap(), b"safe");
    assert_eq!(fs::read(root.join("link")).unwrap(), b"own");
    assert_eq!(fs::read(root.join("folder/outside")).unwrap(), b"own");
    assert!(root.join("folder").symlink_metadata().unwrap().is_dir());
    // What was there before, through which removing must not reach either.
    let (dir, root) = place();
    symlink(dir.path(), root.join("elsewhere")).unwrap();
    unpacked(&root, &[vec![file("elsewhere/.wh.outside", ""), file(".wh.elsewhere", "")]], Meaning::Layer)
        .unwrap();
    assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"safe");
    assert_eq!(names_in(&root), [""; 0]);
}

#[test]
fn a_layer_takes_away_what_layers_below_brought() {
    let below = || {
        vec![folder("etc"), file("etc/a", "1"), file("etc/b", "1"), file("etc/d/deep", "1"), file("f", "1")]
    };
    let (_dir, root) = place();
    let above = vec![file("etc/.wh.a", ""), file("etc/b", "2"), file(".wh.f", ""), file("etc/.wh.none", "")];
    unpacked(&root, &[below(), above], Meaning::Layer).unwrap();
    assert_eq!(names_in(&root.join("etc")), ["b", "d"]);
    assert_eq!(
        (fs::read(root.join("etc/b")).unwrap(), names_in(&root)),
        (b"2".to_vec(), vec!["etc".to_owned()])
    );
    // All of a folder, but for what the same layer brings, in whatever order.
    for above in [
        vec![file("etc/.wh..wh..opq", ""), file("etc/b", "2"), file("etc/d/own", "2")],
        vec![file("etc/b", "2"), file("etc/d/own", "2"), file("etc/.wh..wh..opq", "")],
    ] {
        let (_dir, root) = place();
        unpacked(&root, &[below(), above], Meaning::Layer).unwrap();
        assert_eq!(names_in(&root.join("etc")), ["b", "d"]);
        assert_eq!(names_in(&root.join("etc/d")), ["own"]);
        assert_eq!(fs::read(root.join("f")).unwrap(), b"1");
    }
    // A folder takes a file's place, and a file a folder's with all in it.
    let (_dir, root) = place();
    unpacked(&root, &[below(), vec![folder("f"), file("etc", "2")]], Meaning::Layer).unwrap();
    assert!(root.join("f").is_dir() && root.join("etc").is_file());
    // In an archive that is no layer, a name is a name.
    let (_dir, root) = place();
    unpacked(&root, &[below(), vec![file("etc/.wh.a", "")]], Meaning::Whole).unwrap();
    assert_eq!(names_in(&root.join("etc")), [".wh.a", "a", "b", "d"]);
    for wrong in ["etc/.wh.", "etc/.wh..", "etc/.wh..."] {
        let (_dir, root) = place();
        let told = unpacked(&root, &[below(), vec![file(wrong, "")]], Meaning::Layer).unwrap_err();
        assert!(format!("{told:#}").contains("no name"), "{told:#}");
        assert_eq!(names_in(&root.join("etc")).len(), 3);
    }
}

#[test]
fn what_is_no_archive_or_ends_early_is_said_to_be() {
    let (_dir, root) = place();
    let whole = file("a", &"x".repeat(2000));
    // All content is there, and neither its padding nor an end.
    unpacked(&root, &[vec![whole[..2512].to_vec()]], Meaning::Whole).unwrap();
    assert_eq!(fs::metadata(root.join("a")).unwrap().len(), 2000);
    for wrong in [&whole[..100], &whole[..1000], &whole[..2511], &[b'x'; 1024]] {
        let mut unpacking = Unpacking::into(&root, silent()).unwrap();
        assert!(unpacking.add(&mut { wrong }, Meaning::Whole).is_err());
    }
}
