//! What a conversion takes of memory: little, whatever the size of the disk.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::support::program::Invocation;
use crate::support::{folder, goldimg, until};

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

/// The most KiB that a program ever kept that says something when its work is done.
///
/// What has ended has no memory to tell of: it is looked at while it waits for somebody to read what it says.
fn peak(program: Invocation) -> u64 {
    let (mut ours, theirs) = UnixStream::pair().expect("two sockets");
    theirs.set_nonblocking(true).expect("a socket");
    while (&theirs).write(&[0; 512]).is_ok() {}
    theirs.set_nonblocking(false).expect("a socket");
    let mut child = program.spawn_into(theirs.into());
    let told = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", child.id())).expect("it runs");
    // The first argument of the system call that it is in: that of `write` to standard output.
    until("it has something to say", || told("syscall").split(' ').nth(1) == Some("0x1"));
    let status = told("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    std::io::copy(&mut ours, &mut std::io::sink()).expect("what it says");
    assert!(child.wait().expect("a child").success());
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
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
                let words = ["convert", "-q", "--json", "--force", "--threads", &threads]
                    .into_iter()
                    .chain(options.iter().copied());
                peak(goldimg(words.chain([from, to])).folder(folder.path()))
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
