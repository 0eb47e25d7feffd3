//! What a conversion takes of memory: little, whatever the size of the disk.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use crate::support::{folder, goldimg};

const MIB: u64 = 1024;
/// KiB that a conversion may keep, and more for each thread.
const LIMIT: u64 = 16 * MIB;
const LIMIT_PER_THREAD: u64 = 4 * MIB;
/// KiB by which a disk a thousand times as large may differ: pages that one run touches and another does not.
const SLACK: u64 = 2 * MIB;

/// A sparse disk of `size` bytes with 48 MiB of lines in it, in runs of 1 MiB.
fn disk(path: &Path, size: u64) {
    let line =
        |number: usize| format!("{number:x} {} is what stands here\n", number.wrapping_mul(0x9e37_79b1));
    let text: String = (0..30_000).map(line).collect();
    let file = fs::File::create(path).expect("a new file");
    file.set_len(size).expect("a sparse file");
    for run in 0..48 {
        let at = size / 48 * run / 4096 * 4096;
        file.write_all_at(&text.as_bytes()[run as usize..1 << 20], at).expect("room");
    }
}

/// The most KiB that `child` ever kept, as last seen before its end.
fn peak(mut child: Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let told = |text: String| {
        text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok())
    };
    // What has ended, and is not waited for, has no memory to tell of.
    while let Some(now) = fs::read_to_string(&status).ok().and_then(told) {
        peak = now;
        std::thread::sleep(Duration::from_micros(200));
    }
    assert!(child.wait().expect("a child").success());
    peak
}

#[test]
fn a_conversion_keeps_little_whatever_the_size_of_the_disk() {
    let folder = folder();
    disk(&folder.path().join("small.raw"), 1 << 30);
    disk(&folder.path().join("large.raw"), 1 << 40);
    for threads in [1, 4] {
        for options in [&["-O", "qcow2"][..], &["-c"], &["-c", "-o", "compression_type=zstd"]] {
            let convert = |from: &str, to: &str, options: &[&str]| {
                let threads = threads.to_string();
                let words = ["convert", "-q", "--force", "--threads", &threads]
                    .into_iter()
                    .chain(options.iter().copied());
                peak(goldimg(words.chain([from, to])).folder(folder.path()).spawn())
            };
            let small = convert("small.raw", "small.qcow2", options);
            let large = convert("large.raw", "large.qcow2", options);
            let back = convert("large.qcow2", "back.raw", &["-O", "raw"]);
            let said = format!("{threads} threads, {options:?}: {small}, {large} and back {back} KiB");
            println!("{said}");
            assert!(small.max(large).max(back) <= LIMIT + threads * LIMIT_PER_THREAD, "{said}");
            // With more threads there are more or fewer batches under way from run to run.
            assert!(threads > 1 || large <= small + SLACK, "{said}");
        }
    }
}
