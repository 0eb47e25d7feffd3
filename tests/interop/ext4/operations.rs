//! Every change that a filesystem takes, in long random rows: made here, and by the kernel on a mount of a copy. Both must take and
//! refuse the same, e2fsck must find nothing after each row, and the kernel must tell of both filesystems the same.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use image_core::block::{BlockWrite, FileDisk};
use image_core::fs::{Ext4Writer, NewTimes, NodeKind, Ownership, Refusal, SpecialFile, Time, WalkEntry};

use super::changed::assert_clean;
use super::witness::{Judge, assert_same, say};
use crate::support::folder;
use crate::support::project;
use crate::support::random::Random;

pub(super) const TIME: Time = Time { seconds: 1_700_000_000, nanoseconds: 5 };
const ROUNDS: u64 = 3;
const SOME: [&str; 4] = ["kinds", "times", "attributes", "stored"];
/// Flags that are set and taken: nodump, noatime.
const FLAGS: u32 = 0xc0;
/// Flags that may differ: an index, extents or else content in the inode.
const OTHER_FLAGS: u32 = 0x1008_1000;

pub(super) fn disk(image: &Path) -> Arc<dyn BlockWrite> {
    Arc::new(FileDisk::open_writable(image).expect("the image"))
}

/// One operation.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Make { mode: u16, uid: u32, gid: u32 },
    Directory { mode: u16, uid: u32, gid: u32 },
    Symlink { target: Vec<u8>, uid: u32, gid: u32 },
    Node { what: SpecialFile, mode: u16, uid: u32, gid: u32 },
    Link(Vec<u8>),
    Rename(Vec<u8>),
    Remove,
    Tree,
    Mode(u16),
    Owner(u32, u32),
    Times(i64, i64),
    Flags(u32),
    Set(Vec<u8>, Vec<u8>),
    Take(Vec<u8>),
    Write { offset: u64, seed: usize, len: usize },
    Append { seed: usize, len: usize },
    Replace { seed: usize, len: usize },
    Truncate(u64),
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text");
        text
    })
}

pub(super) fn content(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|index| (seed + index * 7 + (index >> 8)) as u8).collect()
}

/// A line for act.py.
fn line(path: &[u8], act: &Act) -> String {
    let (what, words) = match act {
        Act::Make { mode, uid, gid } => ("make", format!("{mode:o}\t{uid}\t{gid}")),
        Act::Directory { mode, uid, gid } => ("mkdir", format!("{mode:o}\t{uid}\t{gid}")),
        Act::Symlink { target, uid, gid } => ("symlink", format!("{}\t{uid}\t{gid}", hex(target))),
        Act::Node { what, mode, uid, gid } => {
            let kind = match what {
                SpecialFile::CharacterDevice(major, minor) => format!("char\t{major}\t{minor}"),
                SpecialFile::BlockDevice(major, minor) => format!("block\t{major}\t{minor}"),
                SpecialFile::Pipe => "pipe\t0\t0".into(),
                SpecialFile::Socket => "socket\t0\t0".into(),
            };
            ("mknod", format!("{kind}\t{mode:o}\t{uid}\t{gid}"))
        }
        Act::Link(to) => ("link", hex(to)),
        Act::Rename(to) => ("rename", hex(to)),
        Act::Remove => return format!("remove\t{}\n", hex(path)),
        Act::Tree => return format!("tree\t{}\n", hex(path)),
        Act::Mode(mode) => ("chmod", format!("{mode:o}")),
        Act::Owner(uid, gid) => ("chown", format!("{uid}\t{gid}")),
        Act::Times(accessed, modified) => ("times", format!("{accessed}\t{modified}")),
        Act::Flags(flags) => ("chattr", format!("{FLAGS}\t{flags}")),
        Act::Set(name, value) => ("set", format!("{}\t{}", hex(name), hex(value))),
        Act::Take(name) => ("take", hex(name)),
        Act::Write { offset, seed, len } => ("write", format!("{offset}\t{seed}\t{len}")),
        Act::Append { seed, len } => ("append", format!("{seed}\t{len}")),
        Act::Replace { seed, len } => ("replace", format!("{seed}\t{len}")),
        Act::Truncate(size) => ("truncate", size.to_string()),
    };
    format!("{what}\t{}\t{words}\n", hex(path))
}

/// The inode of the folder of `path`, and its name in there.
fn place<'a>(files: &Ext4Writer, path: &'a [u8]) -> image_core::Result<(u32, &'a [u8])> {
    let (folder, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b""[..], path),
    };
    let folder = files.files().resolve(folder, false)?;
    Ok((folder.ok_or(Refusal::NotFound)?.number, name))
}

fn owner(mode: u16, uid: u32, gid: u32) -> Ownership {
    Ownership { uid, gid, ..Ownership::root(mode, TIME) }
}

fn time(nanoseconds: i64) -> Option<Time> {
    Some(Time {
        seconds: nanoseconds.div_euclid(1_000_000_000),
        nanoseconds: nanoseconds.rem_euclid(1_000_000_000) as u32,
    })
}

/// Does it here.
pub(super) fn act(files: &mut Ext4Writer, path: &[u8], act: &Act) -> image_core::Result<()> {
    let (folder, name) = place(files, path)?;
    let own = |files: &Ext4Writer| -> image_core::Result<u32> {
        Ok(files.files().resolve(path, false)?.ok_or(Refusal::NotFound)?.number)
    };
    match act {
        Act::Make { mode, uid, gid } => files.create_file(folder, name, &owner(*mode, *uid, *gid)).map(drop),
        Act::Directory { mode, uid, gid } => {
            files.make_directory(folder, name, &owner(*mode, *uid, *gid)).map(drop)
        }
        Act::Symlink { target, uid, gid } => {
            files.make_symlink(folder, name, target, &owner(0, *uid, *gid)).map(drop)
        }
        Act::Node { what, mode, uid, gid } => {
            files.make_node(folder, name, *what, &owner(*mode, *uid, *gid)).map(drop)
        }
        Act::Link(to) => {
            let (to_folder, to_name) = place(files, to)?;
            files.make_link(to_folder, to_name, own(files)?)
        }
        Act::Rename(to) => {
            let (to_folder, to_name) = place(files, to)?;
            files.rename(folder, name, to_folder, to_name)
        }
        Act::Remove => files.remove(folder, name),
        Act::Tree => files.remove_tree(folder, name),
        Act::Mode(mode) => {
            let inode = files.files().inode(own(files)?)?;
            if inode.kind == NodeKind::Link {
                return Err(Refusal::NotFound.into());
            }
            files.set_mode(inode.number, *mode)
        }
        Act::Owner(uid, gid) => files.set_owner(own(files)?, Some(*uid), Some(*gid)),
        Act::Times(accessed, modified) => {
            let times = NewTimes { accessed: time(*accessed), modified: time(*modified), created: None };
            files.set_times(own(files)?, times)
        }
        Act::Flags(flags) => {
            let inode = files.files().inode(own(files)?)?;
            if !matches!(inode.kind, NodeKind::File | NodeKind::Directory) {
                return Err(Refusal::NotFound.into());
            }
            files.set_flags(inode.number, inode.flags & !FLAGS | flags)
        }
        Act::Set(name, value) => files.set_attribute(own(files)?, name, value),
        Act::Take(name) => files.remove_attribute(own(files)?, name),
        Act::Write { offset, seed, len } => {
            files.write_range(own(files)?, *offset, &mut &content(*seed, *len)[..]).map(drop)
        }
        Act::Append { seed, len } => {
            files.append_content(own(files)?, &mut &content(*seed, *len)[..]).map(drop)
        }
        Act::Replace { seed, len } => files.write(own(files)?, &content(*seed, *len)),
        Act::Truncate(size) => files.set_len(own(files)?, *size),
    }
}

/// What may happen next, among `paths`.
pub(super) fn any(random: &mut Random, paths: &[(Vec<u8>, NodeKind)], round: u64) -> (Vec<u8>, Act) {
    let pick = |random: &mut Random| paths[random.below(paths.len())].0.clone();
    let folder = |random: &mut Random| {
        let folders: Vec<&Vec<u8>> =
            paths.iter().filter(|(_, kind)| *kind == NodeKind::Directory).map(|(path, _)| path).collect();
        folders[random.below(folders.len())].clone()
    };
    let fresh = |random: &mut Random| {
        let name = format!("new-{round}-{}-{}", random.next(), "n".repeat(random.below(120)));
        let mut path = folder(random);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend(name.into_bytes());
        path
    };
    let (uid, gid) = (random.below(3) as u32, random.below(3) as u32);
    let mode = (random.next() % 0o10000) as u16;
    let (seed, len) = (random.below(200), up_to(random, &[300, 9000, 150_000]));
    let act = match random.below(26) {
        0 | 1 => return (fresh(random), Act::Make { mode, uid, gid }),
        2 | 3 => return (fresh(random), Act::Directory { mode, uid, gid }),
        4 => {
            let target = vec![b't'; 1 + up_to(random, &[58, 900])];
            return (fresh(random), Act::Symlink { target, uid, gid });
        }
        5 => {
            let what = [
                SpecialFile::CharacterDevice(5, 1),
                SpecialFile::BlockDevice(259, 65_537),
                SpecialFile::Pipe,
                SpecialFile::Socket,
            ][random.below(4)];
            return (fresh(random), Act::Node { what, mode, uid, gid });
        }
        6 => Act::Link(fresh(random)),
        7 | 8 => Act::Rename(fresh(random)),
        9 => Act::Rename(pick(random)),
        10 => Act::Remove,
        11 if random.below(4) == 0 => Act::Tree,
        11 | 12 => Act::Mode(mode),
        13 => Act::Owner(uid, gid),
        14 => {
            let mut time =
                || random.below(1_500_000_000) as i64 * 1_000_000_000 + random.below(1_000_000_000) as i64;
            Act::Times(time(), time())
        }
        15 => Act::Flags(random.below(4) as u32 * 0x40),
        16 | 17 => Act::Set(attribute(random), vec![seed as u8; random.below(120)]),
        18 => Act::Take(attribute(random)),
        19 => Act::Set(b"system.posix_acl_access".to_vec(), access_list(random)),
        20 | 21 => Act::Write { offset: up_to(random, &[3000, 200_000, 3_000_000]) as u64, seed, len },
        22 => Act::Append { seed, len },
        23 | 24 => Act::Replace { seed, len },
        _ => Act::Truncate(up_to(random, &[100, 9000, 200_000]) as u64),
    };
    (pick(random), act)
}

/// Less than one of `limits`.
fn up_to(random: &mut Random, limits: &[usize]) -> usize {
    let limit = limits[random.below(limits.len())];
    random.below(limit)
}

fn attribute(random: &mut Random) -> Vec<u8> {
    ["user.one", "user.a-longer-name", "trusted.two", "security.three"][random.below(4)].into()
}

fn access_list(random: &mut Random) -> Vec<u8> {
    let entries: &[(u16, u32)] = match random.below(2) {
        0 => &[(1, u32::MAX), (4, u32::MAX), (0x20, u32::MAX)],
        _ => &[(1, u32::MAX), (2, 7), (4, u32::MAX), (8, 9), (0x10, u32::MAX), (0x20, u32::MAX)],
    };
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend((random.below(8) as u16).to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

/// Every path but those that are not to be touched.
pub(super) fn paths(files: &Ext4Writer) -> Vec<(Vec<u8>, NodeKind)> {
    let root = files.files().root().unwrap();
    let steps: Vec<WalkEntry> = files.files().walk(root).collect::<Result<_, _>>().unwrap();
    let is_left = |path: &[u8]| {
        path.starts_with(b"lost+found")
            || path.starts_with(b"attributes/")
            || path.starts_with(b"stored/sparse")
    };
    let mut paths: Vec<(Vec<u8>, NodeKind)> = vec![(Vec::new(), NodeKind::Directory)];
    paths.extend(steps.into_iter().filter(|step| !is_left(&step.path)).map(|step| (step.path, step.kind)));
    paths
}

/// What two kernels must tell alike: no inode numbers, no sizes of folders, and times of today are all the same.
fn comparable(lines: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let now = i128::from(TIME.seconds) * 1_000_000_000;
    lines
        .into_iter()
        .map(|(path, facts)| {
            let is_folder = facts.starts_with("Directory");
            let words = facts.split(' ').filter_map(|word| {
                let (key, value) = word.split_once('=').unwrap_or((word, ""));
                Some(match key {
                    "inode" | "sectors" | "generation" | "stored" => return None,
                    "size" if is_folder => return None,
                    "accessed" | "modified" | "changed" => {
                        let value: i128 = value.parse().expect("a time");
                        let is_now = value >= now && value < now + (1 << 58);
                        if is_now { format!("{key}=now") } else { word.to_owned() }
                    }
                    "flags" => {
                        let flags = u32::from_str_radix(value, 16).expect("flags");
                        format!("flags={:x}", flags & !OTHER_FLAGS)
                    }
                    _ => word.to_owned(),
                })
            });
            (path, words.collect::<Vec<_>>().join(" "))
        })
        .collect()
}

/// Does a row of `count` random operations to `image` and to `twin`.
fn row(judge: &Judge, image: &Path, twin: &Path, round: u64, count: usize) -> usize {
    let mut random = Random((round + 3).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut files = Ext4Writer::open(disk(image), TIME).expect("it is opened for changes");
    let mut list = String::new();
    let mut ours = Vec::new();
    let mut known = paths(&files);
    for step in 0..count {
        if step % 25 == 24 {
            known = paths(&files);
        }
        let (path, what) = any(&mut random, &known, round);
        if path.is_empty() && matches!(what, Act::Rename(_) | Act::Remove | Act::Tree | Act::Link(_)) {
            continue;
        }
        list.push_str(&line(&path, &what));
        let done = act(&mut files, &path, &what);
        ours.push((path, what, done.err().map(|error| format!("{error:?}"))));
    }
    match files.journal_room().unwrap() {
        Some(_) => match files.commit_journaled() {
            Err(error) if matches!(error.cause(), Some(Refusal::JournalTooSmall { .. })) => {
                files.commit().unwrap();
            }
            done => done.unwrap(),
        },
        None => {
            assert_eq!(files.commit_journaled().unwrap_err().cause(), Some(&Refusal::NoJournal));
            files.commit().unwrap();
        }
    }
    let script = image.with_extension("list");
    std::fs::write(&script, list).unwrap();
    let program = project().join("tests/interop/ext4/act.py");
    let run = format!("python3 {} $M {}", program.display(), script.display());
    let theirs = judge.with_mount(twin, "rw,nodev", &run);
    let theirs: Vec<&str> = theirs.lines().collect();
    assert_eq!(theirs.len(), ours.len());
    for ((path, what, refused), theirs) in ours.iter().zip(theirs) {
        let path = String::from_utf8_lossy(path);
        assert_eq!(refused.is_none(), theirs == "ok", "{path}: {what:?}: {refused:?}, the kernel: {theirs}");
    }
    assert_clean(image, &format!("round {round}"));
    assert_eq!(files.files().check().unwrap(), []);
    let tell = |image: &Path| comparable(judge.tell_image(image, "ro"));
    assert_same(&tell(twin), &tell(image));
    ours.iter().filter(|(_, _, refused)| refused.is_none()).count()
}

fn rows(combinations: &[(&str, &[&str])], files: &[&str]) {
    let Some(judge) = Judge::find() else { return };
    for (size, words) in combinations {
        let dir = folder();
        let (image, twin) = (dir.path().join("image"), dir.path().join("twin"));
        judge.make(&image, size, words);
        judge.fill_image(&image, "rw", files);
        // What a directory hands down of access control is the caller's affair.
        judge.with_mount(&image, "rw", "setfacl -R -k $M");
        std::fs::copy(&image, &twin).unwrap();
        let done: usize = (0..ROUNDS).map(|round| row(&judge, &image, &twin, round, 400)).sum();
        say(done, &format!("operations: {}", words.join(" ")));
        assert!(done > 600, "{done}: {words:?}");
        // Our reader tells what the kernel tells.
        judge.compare(&image);
    }
}

#[test]
fn ext4_as_distributions_make_it_takes_every_operation() {
    rows(
        &[
            ("200M", &["-t", "ext4", "-b", "4096"]),
            ("200M", &["-t", "ext4", "-b", "1024", "-O", "orphan_file,mmp,large_dir"]),
            ("100M", &["-t", "ext4", "-b", "2048", "-I", "128"]),
        ],
        &SOME,
    );
}

#[test]
#[ignore = "make test-filesystems runs it: it takes minutes"]
fn ext4_without_extents_or_checksums_takes_every_operation() {
    let bare = "^has_journal,^flex_bg,^dir_nlink,^extra_isize,^huge_file,^filetype,^dir_index,^metadata_csum";
    rows(
        &[
            ("200M", &["-t", "ext4", "-O", "^extent,^64bit", "-b", "4096"]),
            ("200M", &["-t", "ext4", "-O", "^metadata_csum,^64bit,uninit_bg", "-b", "4096"]),
            ("200M", &["-t", "ext4", "-O", bare]),
            ("200M", &["-t", "ext3", "-b", "1024"]),
            ("200M", &["-t", "ext2", "-b", "1024", "-I", "128"]),
            ("100M", &["-t", "ext2", "-r", "0", "-O", "none", "-b", "1024"]),
        ],
        &SOME,
    );
}

#[test]
#[ignore = "make test-filesystems runs it: it takes minutes"]
fn ext4_with_content_in_inodes_takes_every_operation() {
    let features = "inline_data,ea_inode";
    rows(
        &[
            ("300M", &["-t", "ext4", "-O", features, "-b", "4096"]),
            ("200M", &["-t", "ext4", "-O", features, "-b", "1024", "-I", "512"]),
            ("200M", &["-t", "ext4", "-O", "inline_data,^metadata_csum,^64bit"]),
        ],
        &SOME,
    );
}

#[test]
#[ignore = "make test-filesystems runs it: it takes minutes"]
fn ext4_with_groups_laid_out_otherwise_takes_every_operation() {
    let meta = ["-O", "meta_bg,^resize_inode", "-b", "1024", "-g", "512"];
    let clusters = ["-O", "bigalloc,meta_bg,^resize_inode", "-b", "1024", "-C", "8192", "-g", "4096"];
    rows(
        &[
            ("300M", &["-t", "ext4", "-O", "bigalloc", "-C", "65536", "-b", "4096"]),
            ("200M", &[&["-t", "ext4"], &meta[..]].concat()),
            ("200M", &[&["-t", "ext4"], &clusters[..]].concat()),
            ("200M", &["-t", "ext4", "-O", "sparse_super2,^resize_inode", "-b", "4096", "-g", "2048"]),
            ("200M", &["-t", "ext4", "-O", "^flex_bg,^resize_inode", "-g", "1024", "-N", "20000"]),
        ],
        &SOME,
    );
}

/// A directory of 20,000 names that grew here has an index as one that the kernel made.
#[test]
fn ext4_directories_that_grow_get_an_index() {
    let Some(judge) = Judge::find() else { return };
    for words in [&["-t", "ext4", "-b", "1024"][..], &["-t", "ext4", "-O", "^metadata_csum"], &["-t", "ext3"]]
    {
        let dir = folder();
        let image = dir.path().join("image");
        judge.make(&image, "100M", &[words, &["-N", "30000"]].concat());
        let mut files = Ext4Writer::open(disk(&image), TIME).unwrap();
        let root = files.files().root().unwrap().number;
        let folder = files.make_directory(root, b"grows", &owner(0o755, 0, 0)).unwrap();
        for index in 0..20_000 {
            files.create_file(folder, format!("name-{index}").as_bytes(), &owner(0o644, 0, 0)).unwrap();
        }
        for index in (0..20_000).step_by(3) {
            let (name, to) = (format!("name-{index}"), format!("renamed-{index}"));
            files.rename(folder, name.as_bytes(), folder, to.as_bytes()).unwrap();
        }
        files.commit().unwrap();
        assert_ne!(files.files().inode(folder).unwrap().flags & 0x1000, 0, "no index");
        assert_eq!(files.files().check().unwrap(), []);
        assert_clean(&image, "grown");
        let count = judge.compare(&image);
        assert_eq!(count, 20_000 + 3);
    }
}
