//! `qemu-img resize`.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::prepared::Prepared;
use super::{Row, bitmap, mapped_otherwise, same, table_with};
use crate::support::goldimg;

const ROWS: &[Row] = &[
    same("resize disk.qcow2 200M"),
    same("resize -f qcow2 disk.qcow2 +1M && info disk.qcow2"),
    same("resize --shrink disk.qcow2 1M"),
    same("resize --shrink disk.qcow2 -512k"),
    same("resize disk.qcow2 1M"),
    same("resize --shrink disk.qcow2 -500G"),
    same("resize disk.qcow2 0"),
    same("resize disk.qcow2 +0"),
    same("resize disk.qcow2 foo"),
    same("resize disk.qcow2 +foo"),
    same("resize disk.qcow2 99E"),
    same("resize -q disk.qcow2 300M"),
    same("resize v2.qcow2 300M"),
    same("resize overlay.qcow2 300M"),
    same("resize subclusters.qcow2 300M"),
    same("resize packed.qcow2 300M"),
    same("resize disk.raw 300M"),
    same("resize -f raw disk.raw 300M"),
    same("resize -f raw disk.raw 1000"),
    same("resize -f raw --shrink disk.raw 1000"),
    same("resize --preallocation=foo disk.qcow2 300M"),
    same("resize --preallocation=full -f raw disk.raw +1M"),
    same("resize --preallocation=metadata -f raw disk.raw +1M"),
    mapped_otherwise("resize --preallocation=metadata empty.qcow2 +1M"),
    same("resize --shrink --preallocation=full disk.qcow2 1M"),
    same("resize nofile 1M"),
    same("resize disk.qcow2"),
    same("resize"),
    same("resize a b c"),
    same("resize -x"),
    same("resize --image-opts driver=qcow2,file.filename=disk.qcow2 300M"),
    same("resize --image-opts -f raw disk.qcow2 300M"),
    same("resize states.qcow2 8M"),
    same("resize --shrink states.qcow2 1M"),
    same("resize marked.qcow2 8M"),
    same("resize marked.qcow2 +512"),
    same("resize marked.qcow2 8M && bitmap --add --merge m marked.qcow2 n"),
    same("resize --shrink marked.qcow2 1M"),
    same("resize --shrink marked.qcow2 1088k && resize marked.qcow2 4M"),
    same("resize torn.qcow2 8M"),
    same("resize --shrink torn.qcow2 1M"),
];

#[test]
fn sizes_change_as_with_theirs() {
    table_with(ROWS, bitmap::prepare);
}

/// What an image is before it grows: options, size in KiB, commands that fill it, and by how much it grows, in KiB.
const GROWN: &[(&str, u64, &[&str], u64)] = &[
    ("cluster_size=64k", 2000, &[], 16),
    ("cluster_size=64k", 2000, &[], 700),
    ("cluster_size=512k", 2000, &[], 80),
    ("cluster_size=4k", 2000, &[], 700),
    ("cluster_size=64k,preallocation=metadata", 2000, &[], 80),
    ("cluster_size=64k,preallocation=falloc", 2000, &[], 48),
    ("cluster_size=4k,preallocation=full", 2000, &[], 80),
    ("cluster_size=64k,extended_l2=on", 2000, &[], 700),
    ("cluster_size=64k,compat=0.10", 2000, &[], 700),
    ("cluster_size=64k,lazy_refcounts=on", 2000, &["write -q 0 2000k"], 700),
    ("cluster_size=64k", 2000, &["write -q -P 9 0 2000k", "discard -q 320k 500k"], 3000),
    ("cluster_size=4k", 2000, &["write -q -P 9 0 2000k", "discard -q 320k 500k"], 3000),
    // The L1 table grows.
    ("cluster_size=512", 100, &[], 2048),
    ("cluster_size=4k", 1024, &["write -q -P 9 1020k 4k"], 10240),
    ("cluster_size=64k", 512_000, &["write -q -P 9 100M 64k"], 102_400),
    // The refcount table grows.
    ("cluster_size=512,refcount_bits=64", 100, &[], 4096),
];

#[test]
fn what_is_set_aside_is_enough_for_all_that_is_new() {
    let Some(prepared) = Prepared::new() else { return };
    for &(options, size, fill, more) in GROWN {
        for mode in ["metadata", "falloc", "full"] {
            let shown = format!("{options} {size}k +{more}k {mode}");
            let grown = ["theirs.qcow2", "ours.qcow2"].map(|image| {
                prepared.img(&format!("create -q -f qcow2 -o {options} {image} {size}k"));
                fill.iter().for_each(|command| prepared.io(image, command));
                let words = ["resize", "-q", &format!("--preallocation={mode}"), image, &format!("+{more}k")];
                let run = match image {
                    "theirs.qcow2" => prepared.img.command(words),
                    _ => goldimg(["qemu-img"].iter().chain(&words)),
                };
                let run = run.folder(prepared.path()).run();
                assert_eq!(run.code, 0, "{shown}: {}", run.snapshot());
                seen(&prepared, image, (size << 10, more << 10))
            });
            let [theirs, ours] = grown;
            assert!(ours.content == theirs.content && ours.check == theirs.check, "{shown}");
            let grew = (ours.len_after - ours.len, ours.stored_after.saturating_sub(ours.stored));
            // The file is sparse where only places are set aside.
            assert!(grew.0 == 0 && (mode == "metadata" || grew.1 == 0), "{shown}: by {grew:?}");
            // Where refcounts of clusters so small run out in the middle, theirs leaves gaps.
            let compact = mode == "metadata" && options.contains("512,");
            // What is not used of the last subclusters theirs leaves out.
            let whole = mode == "metadata" && options.contains("extended_l2");
            let expected = if whole { theirs.len.next_multiple_of(65536) } else { theirs.len };
            // Two clusters of refcounts lie elsewhere where the refcount table has to move.
            let moved = if options.contains("refcount_bits=64") { 2 * 512 } else { 0 };
            assert!(
                ours.len == expected || compact && ours.len <= theirs.len + moved,
                "{shown}: {} {}",
                ours.len,
                theirs.len
            );
        }
    }
}

struct Seen {
    len: u64,
    stored: u64,
    len_after: u64,
    stored_after: u64,
    /// What it reads as before anything is written to what is new.
    content: Vec<u8>,
    check: i32,
}

/// Writes all that is new of an image that has grown.
fn seen(prepared: &Prepared, image: &str, (size, more): (u64, u64)) -> Seen {
    let path = prepared.path().join(image);
    let on_host = |path: &Path| {
        File::open(path).and_then(|file| file.sync_all()).expect("it is written out");
        let metadata = path.metadata().expect("an image");
        (metadata.len(), metadata.blocks())
    };
    let (len, stored) = on_host(&path);
    prepared.img(&format!("convert -O raw {image} content"));
    let content = std::fs::read(prepared.path().join("content")).expect("content");
    prepared.io(image, &format!("write -q -P 5 {size} {more}"));
    let (len_after, stored_after) = on_host(&path);
    let check = prepared.img.command(["check", "-q", image]).folder(prepared.path()).run().code;
    Seen { len, stored, len_after, stored_after, content, check }
}
