//! New images beside those of `qemu-img create`: the same length, the same facts, the same map, and sound for its check.

use std::path::Path;

use crate::support::peer::{Peer, peer, qemu_10};
use crate::support::{folder, goldimg};

/// What qemu-img says of an image: facts, check, and where it is mapped.
fn judged(img: &Peer, path: &Path) -> (serde_json::Value, serde_json::Value, u64) {
    let json = |command: &str| -> serde_json::Value {
        // QEMU looks for a data file where it is started, not beside the image.
        let run = img.command([command, "--output=json", path.to_str().unwrap()]);
        serde_json::from_str(&run.folder(path.parent().unwrap()).run().stdout).unwrap()
    };
    let mut info = json("info");
    let facts = info.as_object_mut().unwrap();
    for key in ["filename", "actual-size", "children", "full-backing-filename"] {
        facts.remove(key);
    }
    if let Some(data) = info.pointer_mut("/format-specific/data").and_then(|data| data.as_object_mut()) {
        data.remove("data-file");
    }
    let mut check = json("check");
    let numbers = check.as_object_mut().unwrap();
    for key in ["filename", "fragmented-clusters"] {
        numbers.remove(key);
    }
    (info, check, std::fs::metadata(path).unwrap().len())
}

#[test]
fn new_images_are_as_those_of_qemu_img() {
    let Some(img) = qemu_10("qemu-img") else { return };
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    img.must(["create", "-f", "raw", path("base").to_str().unwrap(), "20M"]);
    let kinds = [
        "compat=1.1",
        "compat=0.10",
        "cluster_size=512",
        "cluster_size=2M",
        "refcount_bits=1",
        "refcount_bits=64",
        "extended_l2=on,cluster_size=128k",
        "lazy_refcounts=on",
        "compression_type=zstd",
        "data_file=DATA",
        "data_file=DATA,data_file_raw=on",
        "preallocation=metadata",
        "preallocation=metadata,cluster_size=4k",
        "preallocation=falloc,extended_l2=on",
        "preallocation=full,cluster_size=2M",
        "preallocation=metadata,data_file=DATA",
        "preallocation=falloc,refcount_bits=64",
    ];
    for kind in kinds {
        for backed in [false, true] {
            let conflicts =
                kind.contains("raw=on") || kind.contains("preallocation") && !kind.contains("extended");
            if backed && conflicts {
                continue;
            }
            let made = |name: &str| {
                let _ = std::fs::remove_file(path(&format!("{name}-data")));
                let _ = std::fs::remove_file(path(name));
                let options = kind.replace("DATA", &format!("{name}-data"));
                let words = ["create", "-q", "-f", "qcow2", "-o", &options].map(str::to_owned);
                let backing = ["-b", "base", "-F", "raw"].map(str::to_owned);
                let last =
                    if backed { vec![name.to_owned()] } else { vec![name.to_owned(), "20M".to_owned()] };
                let backing = if backed { &backing[..] } else { &[] };
                [&words[..], backing, &last[..]].concat()
            };
            let outcome = goldimg(made("ours")).folder(folder.path()).run();
            assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{}", outcome.snapshot());
            let outcome = img.command(made("theirs")).folder(folder.path()).run();
            assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
            assert_eq!(
                judged(&img, &path("ours")),
                judged(&img, &path("theirs")),
                "{kind}, backed: {backed}"
            );
            let compare = ["compare", "-f", "qcow2", "-F", "qcow2", "ours", "theirs"];
            let outcome = img.command(compare).folder(folder.path()).run();
            assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
            let len = |name: &str| std::fs::metadata(path(name)).map(|metadata| metadata.len()).ok();
            assert_eq!(len("ours-data"), len("theirs-data"), "{kind}");
        }
    }
}

#[test]
fn what_is_resized_is_sound_and_keeps_its_content() {
    let (Some(img), Some(io)) = (qemu_10("qemu-img"), peer("qemu-io")) else { return };
    let folder = folder();
    let names = ["a", "b", "base", "a-data", "b-data"].map(|name| folder.path().join(name));
    let [ours, theirs, base, ..] = names.each_ref().map(|path| path.to_str().unwrap());
    for kind in [
        "cluster_size=64k",
        "cluster_size=512",
        "compat=0.10",
        "extended_l2=on",
        "data_file=DATA",
        "data_file=DATA,data_file_raw=on",
        "base",
    ] {
        for path in &names {
            let _ = std::fs::remove_file(path);
        }
        img.must(["create", "-q", "-f", "raw", base, "30M"]);
        io.must(["-f", "raw", "-c", "write -P 9 0 30M", base]);
        for (image, program) in [(ours, None), (theirs, Some(&img))] {
            let options = kind.replace("DATA", &format!("{image}-data"));
            match kind {
                "base" => img.must(["create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", image, "20M"]),
                _ => img.must(["create", "-q", "-f", "qcow2", "-o", &options, image, "20M"]),
            };
            io.must(["-f", "qcow2", "-c", "write -P 1 0 3M", "-c", "write -P 2 12M 8M", image]);
            for size in ["+9M", "25M", "13M", "600M", "40M"] {
                let outcome = match program {
                    Some(program) => program.run(["resize", "-q", "--shrink", "-f", "qcow2", image, size]),
                    None => {
                        goldimg(["resize", "-q", "--shrink", "--allow-backing", "-f", "qcow2", image, size])
                            .run()
                    }
                };
                assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
            }
            io.must(["-f", "qcow2", "-c", "read -P 0 13M 27M", "-c", "read -P 2 12M 1M", image]);
            img.must(["check", "-q", image]);
        }
        img.must(["compare", "-f", "qcow2", "-F", "qcow2", ours, theirs]);
        let len = |path: &str| std::fs::metadata(format!("{path}-data")).map(|metadata| metadata.len()).ok();
        assert_eq!(len(ours), len(theirs), "{kind}");
    }
}
