//! The folder that every row starts from.

use std::path::{Path, PathBuf};

use crate::support::folder;
use crate::support::peer::{Peer, peer, qemu_10};

/// Images of many kinds, made by qemu-img and qemu-io.
pub(super) struct Prepared {
    pub(super) img: Peer,
    pub(super) io: Peer,
    folder: tempfile::TempDir,
}

impl Prepared {
    /// Makes them; `None` where qemu-img is not installed.
    pub(super) fn new() -> Option<Self> {
        let prepared = Self { img: qemu_10("qemu-img")?, io: peer("qemu-io")?, folder: folder() };
        prepared.make();
        Some(prepared)
    }

    /// Where they are.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs qemu-img in the folder.
    pub(super) fn img(&self, words: &str) {
        run(&self.img, &split(words), self.path());
    }

    /// Runs qemu-io in the folder: the file, then one command.
    pub(super) fn io(&self, file: &str, command: &str) {
        run(&self.io, &["-c".to_owned(), command.to_owned(), file.to_owned()], self.path());
    }

    /// Writes a file.
    pub(super) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).expect("a new file");
        path
    }

    /// Changes bytes of a file.
    pub(super) fn patch(&self, name: &str, offset: u64, bytes: &[u8]) {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::options().write(true).open(self.path().join(name)).expect("a file");
        file.write_all_at(bytes, offset).expect("a write");
    }

    /// A number of a file.
    pub(super) fn number(&self, name: &str, offset: u64) -> u64 {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::open(self.path().join(name)).expect("a file");
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, offset).expect("a number");
        u64::from_be_bytes(bytes)
    }

    fn make(&self) {
        // Data, zeroes and holes at both ends of each.
        self.img("create -q -f raw disk.raw 4M");
        self.io("disk.raw", "write -P 1 0 300k");
        self.io("disk.raw", "write -P 2 1M 64k");
        self.io("disk.raw", "write -P 3 4095k 1k");
        self.img("convert -f raw -O qcow2 disk.raw disk.qcow2");
        self.img("create -q -f qcow2 empty.qcow2 10M");
        self.img("convert -c -f raw -O qcow2 disk.raw packed.qcow2");
        self.img("convert -f raw -O qcow2 -o compat=0.10 disk.raw v2.qcow2");
        self.img("convert -f raw -O qcow2 -o extended_l2=on,cluster_size=16k disk.raw subclusters.qcow2");
        self.img("create -q -f qcow2 -b disk.qcow2 -F qcow2 overlay.qcow2");
        self.io("overlay.qcow2", "write -P 9 192k 64k");
        self.io("overlay.qcow2", "write -z 1M 64k");
        self.img("create -q -f qcow2 -b overlay.qcow2 -F qcow2 top.qcow2 6M");
        self.io("top.qcow2", "write -P 7 5M 4k");
        std::fs::create_dir(self.path().join("sub")).expect("a folder");
        self.img("create -q -f qcow2 -b ../disk.raw -F raw sub/out.qcow2");
        self.img("create -q -f qcow2 sub/base.qcow2 1M");
        self.img("create -q -f qcow2 -b base.qcow2 -F qcow2 sub/in.qcow2");
        self.img("convert -f raw -O qcow2 disk.raw states.qcow2");
        self.img("snapshot -c first states.qcow2");
        self.io("states.qcow2", "write -P 8 2M 64k");
        self.img("snapshot -c second states.qcow2");
        self.img("bitmap --add -g 64k states.qcow2 b0");
        self.img("bitmap --add --disable states.qcow2 b1");
        self.img("create -q -f qcow2 -o data_file=outside.data,data_file_raw=on outside.qcow2 1M");
        self.file("text", b"no image, but text\n");
    }
}

fn run(peer: &Peer, words: &[String], folder: &Path) {
    let outcome = peer.command(words).folder(folder).run();
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
}

/// Words between spaces; single quotes hold them together, and "´" stands for one.
pub(super) fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            '´' => word.get_or_insert_default().push('\''),
            c => word.get_or_insert_default().push(c),
        }
    }
    assert!(!quoted, "a quote is open: {line}");
    words.extend(word);
    words
}
