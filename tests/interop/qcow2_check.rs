//! Our check and `qemu-img check` on the same images, sound and damaged: the same numbers.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_core::block::FileDisk;
use image_core::qcow2::check::{CheckResult, check};
use image_core::qcow2::{Header, Qcow2};

use crate::support::folder;
use crate::support::peer::{Peer, peer};

/// QEMU's tools, and an image that has a bit of everything.
pub(super) struct Bench {
    pub(super) img: Peer,
    pub(super) io: Peer,
    folder: tempfile::TempDir,
}

pub(super) const COPIED: u64 = 1 << 63;

impl Bench {
    pub(super) fn new() -> Option<Self> {
        Some(Self { img: peer("qemu-img")?, io: peer("qemu-io")?, folder: folder() })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An image with plain, zero and compressed clusters, a snapshot, and a bitmap where there can be one.
    pub(super) fn image(&self, option: &str) -> PathBuf {
        let image = self.path("image.qcow2");
        let path = image.to_str().unwrap();
        self.img.must(["create", "-f", "qcow2", "-o", option, path, "20M"]);
        let write = |commands: &[&str]| {
            let commands = commands.iter().flat_map(|command| ["-c", command]);
            self.io.must(["-f", "qcow2"].into_iter().chain(commands).chain([path]));
        };
        write(&["write -P 1 0 3M", "write -z 4M 1M", "write -P 2 10M 100k"]);
        // QEMU does not compress what is allocated.
        if !option.contains("preallocation") {
            write(&["write -c -P 7 12M 2M"]);
        }
        self.img.must(["snapshot", "-c", "one", path]);
        write(&["write -P 3 1M 200k", "write -P 4 15M 64k"]);
        if !option.contains("0.10") {
            self.img.must(["bitmap", "--add", "-g", "64k", path, "b0"]);
            write(&["write -P 5 16M 64k"]);
        }
        image
    }

    pub(super) fn qemu(&self, image: &Path) -> (i32, CheckResult) {
        let outcome = self.img.run(["check", "--output=json", image.to_str().unwrap()]);
        let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| {
            panic!("{error}\n{}", outcome.snapshot());
        });
        (outcome.code, result_of(&json))
    }

    /// Checks with both and compares; returns the result.
    fn compare(&self, image: &Path, what: &str) -> CheckResult {
        let file = FileDisk::open(image).unwrap();
        let header = Header::read(&file).unwrap();
        let mut told = Vec::new();
        let ours = check(&file, &header, &mut |finding| told.push(finding.to_string())).unwrap();
        let (code, theirs) = self.qemu(image);
        assert_eq!(ours, theirs, "{what}: {told:#?}");
        let expected = match ours {
            CheckResult { check_errors: 1.., .. } => 1,
            CheckResult { corruptions: 1.., .. } => 2,
            CheckResult { leaks: 1.., .. } => 3,
            _ => 0,
        };
        assert_eq!(code, expected, "{what}");
        ours
    }
}

/// The numbers that `qemu-img check --output=json` prints.
pub(super) fn result_of(json: &serde_json::Value) -> CheckResult {
    let number = |name: &str| json[name].as_u64().unwrap_or_default();
    CheckResult {
        check_errors: number("check-errors"),
        corruptions: number("corruptions"),
        leaks: number("leaks"),
        image_end_offset: number("image-end-offset"),
        total_clusters: number("total-clusters"),
        allocated_clusters: number("allocated-clusters"),
        fragmented_clusters: number("fragmented-clusters"),
        compressed_clusters: number("compressed-clusters"),
    }
}

/// The tables of an image as bytes in its file, for damaging it.
pub(super) struct Tables {
    pub(super) file: std::fs::File,
    pub(super) cluster: u64,
}

impl Tables {
    pub(super) fn open(image: &Path) -> Self {
        let file = std::fs::File::options().read(true).write(true).open(image).unwrap();
        let mut bits = [0; 4];
        file.read_exact_at(&mut bits, 20).unwrap();
        Self { file, cluster: 1 << u32::from_be_bytes(bits) }
    }

    pub(super) fn number(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_be_bytes(bytes)
    }

    pub(super) fn put(&self, at: u64, number: u64) {
        self.file.write_all_at(&number.to_be_bytes(), at).unwrap();
    }

    pub(super) fn change(&self, at: u64, change: impl Fn(u64) -> u64) {
        self.put(at, change(self.number(at)));
    }

    pub(super) fn l1(&self) -> u64 {
        self.number(40)
    }

    pub(super) fn l2(&self) -> u64 {
        self.number(self.l1()) & 0x00ff_ffff_ffff_fe00
    }

    /// Where the L2 entry of a guest cluster of the first L2 table stands.
    pub(super) fn l2_entry(&self, guest: u64) -> u64 {
        self.l2() + guest / self.cluster * 8
    }

    pub(super) fn host(&self, guest: u64) -> u64 {
        self.number(self.l2_entry(guest)) & 0x00ff_ffff_ffff_fe00
    }

    /// Sets the 16-bit refcount of the cluster at `host`.
    pub(super) fn put_refcount(&self, host: u64, refcount: u16) {
        let block = self.number(self.number(48));
        self.file.write_all_at(&refcount.to_be_bytes(), block + host / self.cluster * 2).unwrap();
    }
}

#[test]
fn sound_images_of_every_kind_have_the_same_numbers() {
    let Some(bench) = Bench::new() else { return };
    for option in [
        "compat=1.1",
        "compat=0.10",
        "cluster_size=512",
        "cluster_size=4k,refcount_bits=64",
        "cluster_size=2M",
        "extended_l2=on",
        "compression_type=zstd",
        "preallocation=metadata",
        "refcount_bits=8",
        "refcount_bits=32",
    ] {
        let result = bench.compare(&bench.image(option), option);
        assert!(result.is_clean() && result.allocated_clusters > 0, "{option}: {result:?}");
    }
    // Too narrow for snapshots of clusters that share sectors.
    for option in ["refcount_bits=1", "refcount_bits=2", "refcount_bits=4"] {
        let image = bench.path("narrow.qcow2");
        let path = image.to_str().unwrap();
        bench.img.must(["create", "-f", "qcow2", "-o", option, path, "5G"]);
        bench.io.must(["-f", "qcow2", "-c", "write -P 1 0 3M", "-c", "write 4G 1M", path]);
        bench.compare(&image, option);
    }
    let data = bench.path("data.qcow2");
    let path = data.to_str().unwrap();
    let option = format!("data_file={}", bench.path("data.raw").display());
    bench.img.must(["create", "-f", "qcow2", "-o", &option, path, "5M"]);
    bench.io.must(["-f", "qcow2", "-c", "write -P 1 0 3M", path]);
    bench.compare(&data, "data file");
}

/// A way to damage an image, and its name.
type Damage = (&'static str, fn(&Tables));

#[test]
fn damage_is_counted_as_qemu_counts_it() {
    let Some(bench) = Bench::new() else { return };
    let damages: [Damage; 16] = [
        ("a leak", |tables| tables.put_refcount(tables.host(15 << 20), 2)),
        ("refcount 0 in use", |tables| tables.put_refcount(tables.host(15 << 20), 0)),
        ("a cluster nobody has", |tables| tables.put(tables.l2_entry(15 << 20), 0)),
        ("copied missing", |tables| tables.change(tables.l2_entry(15 << 20), |entry| entry & !COPIED)),
        ("copied though shared", |tables| tables.change(tables.l2_entry(0), |entry| entry | COPIED)),
        ("copied missing in L1", |tables| tables.change(tables.l1(), |entry| entry & !COPIED)),
        ("two guests, one cluster", |tables| {
            tables.put(tables.l2_entry(15 << 20), tables.number(tables.l2_entry(0)));
        }),
        ("data in the L1 table", |tables| tables.put(tables.l2_entry(15 << 20), tables.l1() | COPIED)),
        ("data in the header's cluster's neighbour", |tables| {
            tables.put(tables.l2_entry(15 << 20), tables.cluster | COPIED);
        }),
        ("past the end", |tables| tables.put(tables.l2_entry(15 << 20), 1 << 40 | COPIED)),
        ("reserved bits in L2", |tables| tables.change(tables.l2_entry(0), |entry| entry | 1 << 58)),
        ("reserved bits in L1", |tables| tables.change(tables.l1(), |entry| entry | 1 << 60)),
        ("compressed and copied", |tables| {
            tables.change(tables.l2_entry(12 << 20), |entry| entry | COPIED);
        }),
        ("compressed past the end", |tables| {
            tables.put(tables.l2_entry(12 << 20), 1 << 62 | 1 << 45 | 5);
        }),
        ("no refcount block", |tables| tables.put(tables.number(48), 0)),
        ("a refcount block in use", |tables| {
            tables.put(tables.l2_entry(15 << 20), tables.number(tables.number(48)) | COPIED);
        }),
    ];
    for (what, damage) in damages {
        let image = bench.image("compat=1.1");
        damage(&Tables::open(&image));
        let result = bench.compare(&image, what);
        assert!(!result.is_clean(), "{what}");
    }
}

#[test]
fn a_file_cut_short_is_corrupt_for_the_check_and_an_error_for_the_reader() {
    let Some(bench) = Bench::new() else { return };
    let image = bench.image("compat=0.10");
    let tables = Tables::open(&image);
    let guest = 15 << 20;
    tables.file.set_len(tables.host(guest) + 512).unwrap();
    let file = Arc::new(FileDisk::open(&image).unwrap());
    let header = Header::read(&*file).unwrap();
    let disk = Qcow2::new(file, header, None, None).unwrap();
    let error = image_core::block::BlockRead::read_at(&disk, &mut [0; 4096], guest).unwrap_err();
    assert!(format!("{error:?}").contains("guest offset 0xf00000: the cluster at"), "{error:?}");
    // QEMU takes zeroes for what is missing, and allows less than a cluster of it.
    tables.file.set_len(tables.host(guest) - tables.cluster).unwrap();
    let file = FileDisk::open(&image).unwrap();
    let result = check(&file, &Header::read(&file).unwrap(), &mut |_| {}).unwrap();
    assert!(result.corruptions > 0);
}

#[test]
fn metadata_are_never_read_as_data() {
    let Some(bench) = Bench::new() else { return };
    let guest = 15 << 20;
    let damages: [Damage; 3] = [
        ("overlaps the L1 table", |tables| tables.put(tables.l2_entry(15 << 20), tables.l1() | COPIED)),
        ("overlaps the L2 table", |tables| tables.put(tables.l2_entry(15 << 20), tables.l2() | COPIED)),
        ("overlaps the refcount table", |tables| {
            tables.put(tables.l2_entry(15 << 20), tables.number(48) | COPIED);
        }),
    ];
    for (what, damage) in damages {
        let image = bench.image("compat=1.1");
        damage(&Tables::open(&image));
        let file = Arc::new(FileDisk::open(&image).unwrap());
        let header = Header::read(&*file).unwrap();
        let disk = Qcow2::new(file, header, None, None).unwrap();
        let error = image_core::block::BlockRead::read_at(&disk, &mut [0; 4096], guest).unwrap_err();
        let text = format!("{error:?}");
        assert!(text.starts_with("guest offset 0xf00000: the cluster at") && text.contains(what), "{text}");
    }
}
