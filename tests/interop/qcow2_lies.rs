//! Images that lie: each is an error that names its place, found with few reads and little memory, by every command.

use std::fs;
use std::path::Path;

use crate::support::goldimg;
use crate::support::{folder, program::Invocation};

const CLUSTER: usize = 65536;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// Where the tables of [`sound`] are.
const REFCOUNT_TABLE: u64 = 0x10000;
const L1: u64 = 0x30000;
const L2: u64 = 0x40000;
/// The bytes that a lie may cost: what is read of a file, and what memory is taken, in KiB.
const MEMORY_KIB: u64 = 64 << 10;

/// A number at an offset, big-endian, of so many bytes.
type Patch = (u64, u64, usize);

/// Header, refcount table, refcount block, L1 table, L2 table, a cluster of data: 2 TiB, of which 64 KiB are stored.
fn sound() -> Vec<u8> {
    let mut bytes = vec![0; 6 * CLUSTER];
    let header: [Patch; 11] = [
        (0, 0x5146_49fb, 4),
        (4, 3, 4),
        (20, 16, 4),
        (24, 4096 << 29, 8),
        (36, 4096, 4),
        (40, L1, 8),
        (48, REFCOUNT_TABLE, 8),
        (56, 1, 4),
        (96, 4, 4),
        (100, 104, 4),
        (REFCOUNT_TABLE, 0x20000, 8),
    ];
    patch(&mut bytes, &header);
    for cluster in 0..6 {
        patch(&mut bytes, &[(0x20000 + cluster * 2, 1, 2)]);
    }
    patch(&mut bytes, &[(L1, L2 | COPIED, 8), (L2, 0x50000 | COPIED, 8)]);
    bytes[5 * CLUSTER..].fill(b'x');
    bytes
}

fn patch(bytes: &mut [u8], patches: &[Patch]) {
    for &(offset, number, len) in patches {
        let at = offset as usize;
        bytes[at..at + len].copy_from_slice(&number.to_be_bytes()[8 - len..]);
    }
}

/// What is wrong, and what is said about it.
struct Lie {
    name: &'static str,
    patches: Vec<Patch>,
    /// In the message of every command that reads the guest's content.
    told: &'static str,
    /// Whether the header itself is the lie, which every command then tells.
    in_header: bool,
}

fn lies() -> Vec<Lie> {
    let of_content = |name, patches, told| Lie { name, patches, told, in_header: false };
    let of_header = |name, patches, told| Lie { name, patches, told, in_header: true };
    vec![
        of_content(
            "all L1 entries share one L2 table",
            (0..4096).map(|index| (L1 + index * 8, L2 | COPIED, 8)).collect(),
            "guest offset 0x0: the L2 table at 0x40000 also maps guest offset 0x20000000",
        ),
        of_content(
            "a cluster past the end of the file",
            vec![(L2 + 24, 1 << 40 | COPIED, 8)],
            "guest offset 0x30000: the cluster at 0x10000000000 ends past the end",
        ),
        of_content(
            "a cluster that is the header's neighbour, the refcount table",
            vec![(L2, REFCOUNT_TABLE | COPIED, 8)],
            "guest offset 0x0: the cluster at 0x10000 overlaps the refcount table",
        ),
        of_content(
            "a cluster that is the L1 table",
            vec![(L2 + 8, L1 | COPIED, 8)],
            "guest offset 0x10000: the cluster at 0x30000 overlaps the L1 table",
        ),
        of_content(
            "a cluster that is its own L2 table",
            vec![(L2 + 8, L2 | COPIED, 8)],
            "guest offset 0x10000: the cluster at 0x40000 overlaps the L2 table",
        ),
        of_content(
            "an L2 table past the end of the file",
            vec![(L1 + 8, 1 << 40 | COPIED, 8)],
            "guest offset 0x20000000: the L2 table at 0x10000000000 ends past the end",
        ),
        of_content(
            "an L2 table that is the refcount table",
            vec![(L1 + 8, REFCOUNT_TABLE | COPIED, 8)],
            "guest offset 0x20000000: the L2 table at 0x10000 overlaps the refcount table",
        ),
        of_content(
            "a compressed cluster past the end",
            vec![(L2 + 8, COMPRESSED | 1 << 40, 8)],
            "guest offset 0x10000: the cluster at 0x10000000000 ends past the end",
        ),
        of_content(
            "a compressed cluster in the L1 table",
            vec![(L2 + 8, COMPRESSED | L1, 8)],
            "guest offset 0x10000: the cluster at 0x30000 overlaps the L1 table",
        ),
        of_content(
            "an entry with reserved bits",
            vec![(L2 + 8, 0x50000 | COPIED | 6, 8)],
            "guest offset 0x10000: L2 entry",
        ),
        of_header(
            "a disk that its L1 table cannot map",
            vec![(24, 1 << 50, 8)],
            "a virtual size of 0x4000000000000 needs",
        ),
        of_header("a disk of 2^63 bytes", vec![(24, (1 << 63) - 512, 8)], "a virtual size of"),
        of_header("an L1 table longer than the file", vec![(36, 4 << 20, 4)], "the L1 table"),
        of_header("an L1 table longer than any", vec![(36, 0xffff_ffff, 4)], "the L1 table"),
        of_header("a refcount table longer than the file", vec![(56, 128, 4)], "the refcount table"),
        of_header("snapshots past the end of the file", vec![(60, 1000, 4), (64, 1 << 40, 8)], "snapshot"),
        of_header(
            "a header longer than its cluster",
            vec![(100, 0xffff_fff8, 4)],
            "the file ends within the header",
        ),
    ]
}

/// Runs goldimg with as little memory as a lie may cost.
fn bounded(folder: &Path, words: &str) -> crate::support::program::Outcome {
    let program = goldimg([""; 0]).path();
    let script = format!("ulimit -d {MEMORY_KIB}; exec {} {words}", program.display());
    Invocation::new(Path::new("/bin/sh"), ["-c", &script]).folder(folder).run()
}

const COMMANDS: [&str; 7] = [
    "info lie.qcow2",
    "map --json lie.qcow2",
    "compare lie.qcow2 sound.qcow2",
    "convert -q -O qcow2 --force lie.qcow2 out.qcow2",
    "convert -q -c -O qcow2 --force lie.qcow2 out.qcow2",
    "measure -O qcow2 lie.qcow2",
    "check lie.qcow2",
];

#[test]
fn every_command_tells_a_lie_with_its_place() {
    let folder = folder();
    fs::write(folder.path().join("sound.qcow2"), sound()).unwrap();
    for lie in lies() {
        let mut bytes = sound();
        patch(&mut bytes, &lie.patches);
        fs::write(folder.path().join("lie.qcow2"), bytes).unwrap();
        for command in COMMANDS {
            let outcome = bounded(folder.path(), command);
            let said = format!("{}: {}", lie.name, outcome.snapshot());
            assert!((0..64).contains(&outcome.code), "{said}");
            let reads = !(command.starts_with("info") || command.starts_with("check"));
            // A look at the header says nothing of the content; a check goes on and says more.
            if lie.in_header || reads {
                assert_ne!(outcome.code, 0, "{said}");
                // Where the refcounts alone have no place a check goes on, and tells it as one of its findings.
                let goes_on = command.starts_with("check") && outcome.code == 2;
                let told = if goes_on { &outcome.stdout } else { &outcome.stderr };
                assert!(told.contains(lie.told), "{said}");
            } else if command.starts_with("check") {
                assert_eq!(outcome.code, 2, "{said}");
            }
        }
    }
}

#[test]
fn the_sound_image_is_sound() {
    let folder = folder();
    fs::write(folder.path().join("lie.qcow2"), sound()).unwrap();
    fs::write(folder.path().join("sound.qcow2"), sound()).unwrap();
    for command in COMMANDS {
        let outcome = bounded(folder.path(), command);
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    }
    // Nor is memory taken for what is only claimed by a file that is mostly a hole.
    let file = fs::File::options().write(true).open(folder.path().join("lie.qcow2")).unwrap();
    file.set_len(1 << 42).unwrap();
    let outcome = bounded(folder.path(), "map --json lie.qcow2");
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
}

#[test]
fn few_bytes_are_read_to_find_a_lie() {
    for lie in lies() {
        let mut bytes = sound();
        patch(&mut bytes, &lie.patches);
        let counted = counting::Counting::new(bytes);
        counting::look_at(&counted);
        assert!(counted.bytes() < 4 << 20, "{}: {} bytes were read", lie.name, counted.bytes());
    }
}

/// What looking costs.
mod counting {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use image_core::Result;
    use image_core::block::{BlockRead, MemoryDisk};
    use image_core::map::Map;
    use image_core::qcow2::check::check;
    use image_core::qcow2::{Header, Qcow2, snapshot};

    /// A file that counts what is read of it.
    pub(super) struct Counting {
        file: MemoryDisk,
        read: Arc<AtomicU64>,
    }

    impl Counting {
        pub(super) fn new(bytes: Vec<u8>) -> Self {
            Self { file: MemoryDisk::from_bytes(bytes), read: Arc::default() }
        }

        pub(super) fn bytes(&self) -> u64 {
            self.read.load(Ordering::Relaxed)
        }
    }

    impl BlockRead for Counting {
        fn size(&self) -> u64 {
            self.file.size()
        }

        fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
            self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
            self.file.read_at(buf, offset)
        }
    }

    /// Reads the header, checks, and maps up to the first error.
    pub(super) fn look_at(file: &Counting) {
        let Ok(header) = Header::read(file) else { return };
        let _ = snapshot::list(file, &header);
        let _ = check(file, &header, &mut |_| ());
        let again = Counting { file: MemoryDisk::from_bytes(file.file.to_bytes()), read: file.read.clone() };
        let Ok(image) = Qcow2::new(Arc::new(again), header, None, None) else { return };
        assert!(Map::new(&image).any(|stretch| stretch.is_err()), "the lie is not told");
    }
}
