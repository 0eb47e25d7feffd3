//! `qemu-img bench`: what is refused, in their words. How long a run takes is nobody's word.

use super::{Row, same, table};
use crate::support::{folder, goldimg};

const ROWS: &[Row] = &[
    same("bench"),
    same("bench disk.raw disk.raw"),
    same("bench nofile"),
    same("bench -f foo disk.raw"),
    same("bench -c x disk.raw"),
    same("bench -c 0 disk.raw"),
    same("bench -c 1k disk.raw"),
    same("bench -d 08 disk.raw"),
    same("bench --flush-interval 1k disk.raw"),
    same("bench --pattern 1k disk.raw"),
    same("bench -s -1k disk.raw"),
    same("bench -s -1 disk.raw"),
    same("bench --count=-1 disk.raw"),
    same("bench -d 0 disk.raw"),
    same("bench -d x disk.raw"),
    same("bench -s 0 disk.raw"),
    same("bench --buffer-size 4G disk.raw"),
    same("bench -S x disk.raw"),
    same("bench -o x disk.raw"),
    same("bench -i foo disk.raw"),
    same("bench -n disk.raw"),
    same("bench -t foo disk.raw"),
    same("bench --pattern 300 disk.raw"),
    same("bench --flush-interval x disk.raw"),
    same("bench --flush-interval 2 disk.raw"),
    same("bench -w --flush-interval 2 -d 4 disk.raw"),
    same("bench -c 3 -o 100M disk.raw"),
    same("bench -c 4 -s 3M disk.raw"),
    same("bench --image-opts -f raw disk.raw"),
    same("bench -x"),
];

#[test]
fn wrong_benchmarks_are_theirs() {
    table(ROWS);
}

#[test]
fn a_run_says_what_it_did() {
    let folder = folder();
    std::fs::write(folder.path().join("disk.raw"), vec![1; 1 << 20]).expect("room");
    let words = ["qemu-img", "bench", "-f", "raw", "-w", "--pattern", "5", "-c", "16", "-s", "4k", "-d", "2"];
    let run = goldimg(words.iter().chain(&["--flush-interval", "4", "disk.raw"])).folder(folder.path()).run();
    assert_eq!(run.code, 0, "{}", run.snapshot());
    let lines: Vec<&str> = run.stdout.lines().collect();
    let sent =
        "Sending 16 write requests, 4096 bytes each, 2 in parallel (starting at offset 0, step size 4096)";
    assert_eq!(lines[..2], [sent, "Sending flush every 4 requests"]);
    assert!(lines[2].starts_with("Run completed in 0.") && lines[2].ends_with(" seconds."), "{}", lines[2]);
    let bytes = std::fs::read(folder.path().join("disk.raw")).expect("a file");
    assert!(bytes[..65536].iter().all(|&byte| byte == 5) && bytes[65536..].iter().all(|&byte| byte == 1));
}
