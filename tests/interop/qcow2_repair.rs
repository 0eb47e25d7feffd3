//! Our repair and `qemu-img check -r` on copies of the same damaged images: the same numbers, the same guest content.
//!
//! Where an image has bitmaps and snapshots, QEMU 10.0's repair forgets the snapshots and frees what they alone had; ours
//! keeps them.

use std::os::unix::fs::FileExt;
use std::path::Path;

use image_core::block::FileDisk;
use image_core::qcow2::Header;
use image_core::qcow2::check::CheckResult;
use image_core::qcow2::repair::{Repair, Repaired, repair};

use super::qcow2_check::{Bench, COPIED, Tables, result_of};
use crate::support::goldimg;

/// A way to damage an image, and its name.
type Damage = (&'static str, fn(&Tables));

/// What a repair may do, and how QEMU calls it.
const MODES: [(Repair, &str); 2] = [(Repair::Leaks, "leaks"), (Repair::All, "all")];

fn damages() -> Vec<Damage> {
    vec![
        ("nothing", |_| {}),
        ("a leak", |tables| tables.put_refcount(tables.host(15 << 20), 2)),
        ("more leaks", |tables| {
            for cluster in 0..16 {
                tables.put(tables.l2_entry((16 << 20) + cluster * tables.cluster), 0);
            }
            tables.put(tables.l2_entry(15 << 20), 0);
        }),
        ("copied missing", |tables| tables.change(tables.l2_entry(15 << 20), |entry| entry & !COPIED)),
        ("copied though shared", |tables| tables.change(tables.l2_entry(0), |entry| entry | COPIED)),
        ("copied missing in L1", |tables| tables.change(tables.l1(), |entry| entry & !COPIED)),
        ("two guests, one cluster", |tables| {
            tables.put(tables.l2_entry(15 << 20), tables.number(tables.l2_entry(0)));
        }),
        ("two guests, one cluster, both copied", |tables| {
            tables.put(tables.l2_entry(15 << 20), tables.number(tables.l2_entry(1 << 20)));
        }),
        ("refcount 1 for what is shared", |tables| tables.put_refcount(tables.host(0), 1)),
        ("a leak and a missing reference", |tables| {
            tables.put_refcount(tables.host(0), 1);
            tables.put_refcount(tables.host(15 << 20), 7);
        }),
        ("refcount 0 in use", |tables| tables.put_refcount(tables.host(15 << 20), 0)),
        ("no refcount block", |tables| tables.put(tables.number(48), 0)),
        ("reserved bits in the refcount table", |tables| tables.change(tables.number(48), |entry| entry | 8)),
        ("a refcount block in use", |tables| {
            tables.put(tables.l2_entry(15 << 20), tables.number(tables.number(48)) | COPIED);
        }),
        ("dirty", |tables| tables.change(72, |features| features | 1)),
        ("dirty with leaks", |tables| {
            tables.change(72, |features| features | 1);
            tables.put_refcount(tables.host(15 << 20), 3);
        }),
        ("marked corrupt", |tables| tables.change(72, |features| features | 2)),
        ("marked corrupt with refcounts lost", |tables| {
            tables.change(72, |features| features | 3);
            tables.put(tables.number(48), 0);
        }),
        ("zeroes at a misplaced cluster of version 3", |tables| {
            tables.put(tables.l2_entry(17 << 20), 0x5_1200 | 1 | COPIED);
            tables.change(tables.l2_entry(4 << 20), |entry| entry | 0x200);
        }),
        ("a short snapshot of version 3", |tables| {
            let at = tables.number(64);
            tables.file.write_all_at(&[0; 4], at + 36).unwrap();
            tables.file.write_all_at(b"1one", at + 40).unwrap();
        }),
        ("the refcount table past the end", |tables| tables.put(48, 1 << 40)),
        ("no refcount table", |tables| tables.file.write_all_at(&[0; 4], 56).unwrap()),
        ("past the end", |tables| tables.put(tables.l2_entry(15 << 20), 1 << 40 | COPIED)),
        ("reserved bits in L2", |tables| tables.change(tables.l2_entry(0), |entry| entry | 1 << 58)),
        ("compressed and copied", |tables| {
            tables.change(tables.l2_entry(12 << 20), |entry| entry | COPIED);
        }),
    ]
}

/// Repairs as QEMU does; `None` where it gives up.
fn qemu(bench: &Bench, image: &Path, mode: &str) -> (i32, Option<Repaired>) {
    let outcome = bench.img.run(["check", "-r", mode, "--output=json", image.to_str().unwrap()]);
    let json = serde_json::from_str::<serde_json::Value>(&outcome.stdout).ok();
    let repaired = json.map(|json| Repaired {
        leaks_fixed: json["leaks-fixed"].as_u64().unwrap_or_default(),
        corruptions_fixed: json["corruptions-fixed"].as_u64().unwrap_or_default(),
        left: result_of(&json),
    });
    (outcome.code, repaired)
}

fn ours(image: &Path, mode: Repair) -> (Option<Repaired>, Vec<String>) {
    let file = FileDisk::open_writable(image).unwrap();
    let mut told = Vec::new();
    let repaired = repair(&file, mode, &mut |step| told.push(format!("{step:?}")));
    if let Err(error) = &repaired {
        told.push(error.to_string());
    }
    (repaired.ok(), told)
}

#[test]
fn damage_is_repaired_as_qemu_repairs_it() {
    let Some(bench) = Bench::new() else { return };
    for (option, sound) in [("compat=1.1", "sound3"), ("compat=0.10", "sound2")] {
        let sound_image = bench.path(sound);
        std::fs::rename(bench.image(option), &sound_image).unwrap();
        if option != "compat=0.10" {
            bench.img.must(["bitmap", "--remove", sound_image.to_str().unwrap(), "b0"]);
        }
        for (what, damage) in damages() {
            let of_version_3 = ["dirty", "marked", "version 3"].into_iter().any(|word| what.contains(word));
            if option == "compat=0.10" && of_version_3 {
                continue;
            }
            for (mode, name) in MODES {
                let what = format!("{option}, {what}, {name}");
                let (one, other) = (bench.path("ours.qcow2"), bench.path("theirs.qcow2"));
                for image in [&one, &other] {
                    std::fs::copy(&sound_image, image).unwrap();
                    damage(&Tables::open(image));
                }
                compare(&bench, (&one, &other), (mode, name), &what);
            }
        }
    }
}

fn compare(bench: &Bench, (one, other): (&Path, &Path), (mode, name): (Repair, &str), what: &str) {
    let (our, told) = ours(one, mode);
    let (code, their) = qemu(bench, other, name);
    let (Some(our), Some(their)) = (our, their) else {
        // QEMU gives up on refcount blocks that it cannot load.
        assert!(code == 1 && their.is_none(), "{what}: {their:?} {told:#?}");
        if let Some(our) = our {
            assert!(our.left.is_clean() && bench.qemu(one) == (0, our.left), "{what}: {told:#?}");
        }
        return;
    };
    let numbers = |repaired: Repaired| {
        let Repaired { leaks_fixed, corruptions_fixed, left } = repaired;
        // Where new refcounts end up is for each to choose.
        (leaks_fixed, corruptions_fixed, CheckResult { image_end_offset: 0, ..left })
    };
    assert_eq!(numbers(our), numbers(their), "{what}: {told:#?}");
    assert_eq!(bench.qemu(one).1.image_end_offset, our.left.image_end_offset, "{what}");
    let ((our_code, our_check), (their_code, their_check)) = (bench.qemu(one), bench.qemu(other));
    assert_eq!(our_code, their_code, "{what}: {our_check:?} {their_check:?}");
    let marks = |image: &Path| {
        let header = Header::read(&FileDisk::open(image).unwrap()).unwrap();
        (header.is_dirty(), header.is_corrupt())
    };
    assert_eq!(marks(one), marks(other), "{what}");
    if our.left.is_clean() {
        bench.img.must(["compare", "-f", "qcow2", one.to_str().unwrap(), other.to_str().unwrap()]);
    }
}

#[test]
fn a_refcount_table_at_an_impossible_place_is_made_anew() {
    let Some(bench) = Bench::new() else { return };
    let sound = bench.image("compat=1.1");
    let damages: [Damage; 5] = [
        ("over the header", |tables| tables.put(48, 0)),
        ("over the L1 table", |tables| tables.put(48, tables.l1())),
        ("over an L2 table", |tables| tables.put(48, tables.l2())),
        ("misplaced", |tables| tables.change(48, |place| place + 512)),
        ("too long", |tables| tables.file.write_all_at(&[0, 0, 1, 0], 56).unwrap()),
    ];
    let image = bench.path("damaged.qcow2");
    for (what, damage) in damages {
        std::fs::copy(&sound, &image).unwrap();
        damage(&Tables::open(&image));
        for command in [&["check", "-r", "all"][..], &["qemu-img", "check", "-r", "all"]] {
            let outcome = goldimg(command.iter().copied().chain([image.to_str().unwrap()])).run();
            assert_eq!(outcome.code, 0, "{what}: {}", outcome.snapshot());
        }
        let (code, result) = bench.qemu(&image);
        assert!(code == 0 && result.is_clean(), "{what}: {result:?}");
        bench.img.must(["compare", sound.to_str().unwrap(), image.to_str().unwrap()]);
    }
}

#[test]
fn bitmaps_and_snapshots_survive_a_repair() {
    let Some(bench) = Bench::new() else { return };
    let image = bench.image("compat=1.1");
    let path = image.to_str().unwrap();
    let about = |image: &Path| {
        let snapshots = bench.img.must(["snapshot", "-l", image.to_str().unwrap()]);
        let info = bench.img.must(["info", "--output=json", image.to_str().unwrap()]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        (snapshots, info["format-specific"].clone())
    };
    let before = about(&image);
    for mode in [Repair::Leaks, Repair::All] {
        Tables::open(&image).put_refcount(Tables::open(&image).host(15 << 20), 2);
        let (repaired, told) = ours(&image, mode);
        let repaired = repaired.unwrap();
        assert!(repaired.leaks_fixed == 1 && repaired.left.is_clean(), "{told:#?}");
        assert_eq!(about(&image), before);
    }
    // A refcount block past the end, which QEMU would make the file grow for.
    let (tables, len) = (Tables::open(&image), std::fs::metadata(&image).unwrap().len());
    tables.put(tables.number(48) + 8, 1 << 32);
    let (repaired, told) = ours(&image, Repair::All);
    let repaired = repaired.unwrap();
    assert!(repaired.corruptions_fixed == 1 && repaired.left.is_clean(), "{told:#?}");
    assert!(std::fs::metadata(&image).unwrap().len() <= len + 2 * tables.cluster);
    // All refcounts lost.
    let tables = Tables::open(&image);
    tables.put(tables.number(48), 0);
    let (repaired, told) = ours(&image, Repair::All);
    assert!(repaired.unwrap().left.is_clean(), "{told:#?}");
    assert_eq!(about(&image), before);
    bench.img.must(["check", path]);
    bench.io.must(["-f", "qcow2", "-c", "write -P 9 0 16M", path]);
    bench.img.must(["check", path]);
}
