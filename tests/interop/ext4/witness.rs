//! A filesystem as the kernel's own mount tells it and as ours does: one line for each file, compared.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange, ExtentKind, FileDisk};
use image_core::digest::{Algorithm, Hasher};
use image_core::fs::{Ext4, Inode, NodeKind, Time};

use crate::support::peer::{Peer, peer};
use crate::support::program::Outcome;
use crate::support::project;

/// What is hashed as a whole; of larger files only what is stored.
const WHOLE: u64 = 64 << 20;
/// The flags that a kernel tells.
const SHOWN_FLAGS: u32 = 0x725b_dfff;
/// The flag of content in an inode.
const INLINE_DATA: u32 = 0x1000_0000;

/// The programs that make, fill, mount and tell.
pub(super) struct Judge {
    mke2fs: Peer,
    unshare: Peer,
    pub(super) debugfs: Peer,
}

impl Judge {
    /// `None` where one of them is missing, or mounting is not allowed.
    pub(super) fn find() -> Option<Self> {
        crate::support::peer::administrator("the kernel mounts nothing")?;
        // What the scripts call.
        for name in ["python3", "mount", "setfacl", "fallocate"] {
            peer(name)?;
        }
        Some(Self { mke2fs: peer("mke2fs")?, unshare: peer("unshare")?, debugfs: peer("debugfs")? })
    }

    /// Makes a filesystem of `size` (as mke2fs takes it) in the file `image`.
    pub(super) fn make(&self, image: &Path, size: &str, words: &[&str]) {
        let image = image.to_str().expect("UTF-8");
        let start = ["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        self.mke2fs.must([&start[..], words, &[image, size]].concat());
    }

    /// Has the kernel mount `image` with `options` at `$M`, runs `script` as a shell does, and takes it away again. Nobody else
    /// sees the mount: who copies it into a namespace of his own would keep it from ending.
    fn mounted(&self, image: &Path, options: &str, script: &str) -> Outcome {
        let place = image.with_extension("mounted");
        fs::create_dir_all(&place).expect("a folder");
        let [image, place] = [image, &place].map(|path| path.to_str().expect("UTF-8"));
        let script = format!(
            "set -eu; M={place}; mount -t ext4 -o loop,noatime,{options} {image} $M; {script}; umount $M"
        );
        self.unshare.run(["--mount", "--propagation", "private", "sh", "-c", &script])
    }

    /// As `mounted`, which must end well; what it printed.
    pub(super) fn with_mount(&self, image: &Path, options: &str, script: &str) -> String {
        let outcome = self.mounted(image, options, script);
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        outcome.stdout
    }

    /// Whether the kernel mounts `image`, which is written then.
    pub(super) fn mounts(&self, image: &Path) -> bool {
        self.mounted(image, "rw", ":").code == 0
    }

    /// Fills `folder` with these sets of files.
    pub(super) fn fill(&self, folder: &Path, words: &[&str]) {
        peer("sh").expect("a shell").must(["-c", &fill(folder.to_str().expect("UTF-8"), words)]);
    }

    /// Mounts `image`, fills it, and takes it away again.
    pub(super) fn fill_image(&self, image: &Path, options: &str, words: &[&str]) {
        self.with_mount(image, options, &fill("$M", words));
    }

    /// What the kernel tells of `folder`: a line for each path.
    pub(super) fn tell(&self, folder: &Path) -> BTreeMap<String, String> {
        let said = peer("python3").expect("Python").must([Path::new(&script("walk.py")), folder]);
        said.lines().map(split).collect()
    }

    /// What the kernel tells of `image`, mounted with `options`.
    pub(super) fn tell_image(&self, image: &Path, options: &str) -> BTreeMap<String, String> {
        let said = self.with_mount(image, options, &format!("python3 {} $M", script("walk.py")));
        said.lines().map(split).collect()
    }

    /// Holds every line that the kernel tells of a copy of `image` against ours. Answers with how many there are.
    pub(super) fn compare(&self, image: &Path) -> usize {
        self.compare_mounted(image, "ro")
    }

    /// As [`compare`](Self::compare), with a journal that the kernel plays.
    pub(super) fn compare_played(&self, image: &Path) -> usize {
        self.compare_mounted(image, "rw")
    }

    fn compare_mounted(&self, image: &Path, options: &str) -> usize {
        let copy = image.with_extension("copy");
        fs::copy(image, &copy).expect("a copy");
        let theirs = self.tell_image(&copy, options);
        fs::remove_file(&copy).expect("the copy");
        let ours = ours(image);
        assert_same(&theirs, &ours);
        ours.len()
    }
}

/// Says how many files of what were the same: shown with `--no-capture`, and where the test fails later.
pub(in super::super) fn say(count: usize, what: &str) {
    let _ = writeln!(std::io::stdout(), "{count} files are the same: {what}");
}

pub(in super::super) fn script(name: &str) -> String {
    let path = project().join("tests/interop/ext4").join(name);
    path.to_str().expect("UTF-8").to_owned()
}

/// The command that fills `folder` with these sets of files.
pub(in super::super) fn fill(folder: &str, words: &[&str]) -> String {
    format!("python3 {} {folder} {}", script("fill.py"), words.join(" "))
}

fn split(line: &str) -> (String, String) {
    let (path, facts) = line.split_once(' ').expect("a line has facts");
    (path.to_owned(), facts.to_owned())
}

/// Fails with the first lines that differ.
pub(in super::super) fn assert_same(theirs: &BTreeMap<String, String>, ours: &BTreeMap<String, String>) {
    let mut differences = Vec::new();
    for path in theirs.keys().chain(ours.keys().filter(|path| !theirs.contains_key(*path))) {
        if theirs.get(path) != ours.get(path) {
            differences.push(format!(
                "{path}\n  kernel {:?}\n  ours   {:?}",
                theirs.get(path),
                ours.get(path)
            ));
        }
    }
    let count = differences.len();
    assert!(count == 0, "{count} of {} differ:\n{}", theirs.len(), differences[..count.min(12)].join("\n"));
}

/// What our reader tells of `image`.
pub(super) fn ours(image: &Path) -> BTreeMap<String, String> {
    let ext4 = Ext4::open(Arc::new(FileDisk::open(image).expect("the image"))).expect("a filesystem");
    let root = ext4.root().expect("the root");
    let mut lines = BTreeMap::from([(".".to_owned(), facts(&ext4, &root))]);
    for step in ext4.walk(root) {
        let step = step.expect("a name");
        let inode = ext4.inode(step.inode).expect("an inode");
        assert_eq!(inode.kind, step.kind, "{}", text(&step.path));
        // The way by the names finds the same.
        if lines.len().is_multiple_of(97) {
            let found = ext4.resolve(&step.path, false).expect("a path").expect("it is there");
            assert_eq!(found, inode);
        }
        assert!(
            lines.insert(text(&step.path), facts(&ext4, &inode)).is_none(),
            "twice: {}",
            text(&step.path)
        );
    }
    lines
}

pub(in super::super) fn text(bytes: &[u8]) -> String {
    let letters = bytes.iter().map(|byte| match byte {
        33..=126 if *byte != b'\\' => char::from(*byte).to_string(),
        other => format!("\\x{other:02x}"),
    });
    letters.collect()
}

fn sha256(pieces: impl IntoIterator<Item = Vec<u8>>) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for piece in pieces {
        hasher.update(&piece);
    }
    hasher.finish().hex
}

fn nanoseconds(time: Time) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds)
}

fn facts(ext4: &Ext4, inode: &Inode) -> String {
    // A kernel counts content in an inode as if it had sectors.
    let is_inside = inode.kind == NodeKind::File && inode.flags & INLINE_DATA != 0;
    let sectors = inode.sectors + if is_inside { inode.size.div_ceil(512) } else { 0 };
    let mut out = vec![
        format!(
            "{:?} mode={:o} owner={}:{} size={}",
            inode.kind, inode.mode, inode.uid, inode.gid, inode.size
        ),
        format!("links={} inode={} sectors={sectors}", inode.links, inode.number),
        format!("accessed={}", nanoseconds(inode.accessed)),
        format!("modified={} changed={}", nanoseconds(inode.modified), nanoseconds(inode.changed)),
    ];
    if let Some((major, minor)) = inode.device {
        out.push(format!("device={major}:{minor}"));
    }
    if inode.kind == NodeKind::Link {
        let target = ext4.read_link(inode).map_or_else(|_| "E126".into(), |target| text(&target));
        out.push(format!("target={target}"));
    }
    let mut attributes = ext4.attributes(inode).expect("attributes");
    attributes.sort_by(|one, other| one.name.cmp(&other.name));
    for attribute in attributes {
        let (name, len) = (text(&attribute.name), attribute.value.len());
        out.push(format!("attribute={name}:{len}:{}", &sha256([attribute.value])[..16]));
    }
    let is_closed = inode.kind == NodeKind::File && inode.is_encrypted();
    if matches!(inode.kind, NodeKind::File | NodeKind::Directory) && !is_closed {
        out.push(format!("flags={:x} generation={}", inode.flags & SHOWN_FLAGS, inode.generation));
    }
    if is_closed {
        out.push("content=E126".to_owned());
    } else if inode.kind == NodeKind::File {
        out.push(content(ext4, inode));
    }
    out.join(" ")
}

fn content(ext4: &Ext4, inode: &Inode) -> String {
    let content = ext4.content(inode.clone());
    let extents = content.extents(ByteRange::whole(inode.size)).expect("extents");
    assert_eq!(extents.range(), ByteRange::whole(inode.size));
    let stored: Vec<ByteRange> =
        extents.iter().filter(|extent| extent.kind == ExtentKind::Data).map(|extent| extent.range).collect();
    let listed: Vec<String> =
        stored.iter().map(|range| format!("{}+{}", range.offset(), range.len())).collect();
    let whole = [ByteRange::whole(inode.size)];
    let read = if inode.size <= WHOLE { &whole[..] } else { &stored[..] };
    let pieces = read.iter().flat_map(|range| {
        (range.offset()..range.end()).step_by(1 << 20).map(|at| {
            let mut piece = vec![0; (range.end() - at).min(1 << 20) as usize];
            content.read_at(&mut piece, at).expect("content");
            piece
        })
    });
    let listed = &sha256([listed.join(",").into_bytes()])[..16];
    format!("stored={listed}:{} content={}", stored.len(), sha256(pieces))
}
