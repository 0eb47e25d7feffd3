//! Audits beside reading every file of a mounted filesystem: wall time, CPU time and memory, as a table and as Markdown.
//!
//! ```text
//! tree of many small files ─► mke2fs -d ─► for each round: goldimg audit · find -type f -exec sha256sum, on a loop mount ─► medians
//! the built image, deflate ─► for each round: goldimg audit
//! ```
//!
//! `cargo bench -p image-cli --bench audit`. The environment sets `BENCH_DIR` (where data go), `BENCH_FILES` (200000), `BENCH_ROUNDS` (5),
//! `BENCH_QCOW2` (a built image; without it its row is left out) and `BENCH_WRITE=1` (writes docs/benchmarks-audit.md). The loop
//! mount needs root; without it that row has no rival.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people, which may panic")]

#[path = "../conversion/measure.rs"]
#[allow(dead_code, reason = "nobody counts system calls here")]
mod measure;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use measure::{Taken, median, run};

const GOLDIMG: &str = env!("CARGO_BIN_EXE_goldimg");
/// Files in a folder.
const FOLDER: usize = 1000;
/// Bytes of a file.
const SIZE: usize = 2000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == measure::CHILD) {
        measure::child(&words[1..]);
        return;
    }
    let number =
        |name: &str, default: usize| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (files, rounds) = (number("BENCH_FILES", 200_000), number("BENCH_ROUNDS", 5));
    let folder = std::env::var_os("BENCH_DIR")
        .map_or_else(|| std::env::temp_dir().join("goldimg-bench"), PathBuf::from);
    fs::create_dir_all(&folder).unwrap();
    let image = many(&folder, files);
    let mut text = String::from(
        "| job | wall s | peer | ratio | CPU s | peer | ratio | MiB | must | aim |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let name =
        format!("audit of {files} files of {SIZE} bytes, beside `find -type f -exec sha256sum {{}} +`");
    row(&mut text, &name, &[audit(&image), hashed(&image)], rounds, ("1×", "0.3×"));
    if let Some(image) = std::env::var_os("BENCH_QCOW2").map(PathBuf::from) {
        row(&mut text, "audit of the built image, a deflate qcow2", &[audit(&image)], rounds, ("0.3 s", "–"));
    }
    println!("{text}");
    if std::env::var_os("BENCH_WRITE").is_some() {
        write(&text);
    }
}

/// An audit, whatever its verdict.
fn audit(image: &Path) -> Vec<String> {
    let words = format!("{GOLDIMG} audit --json {} >/dev/null || true", image.display());
    ["sh", "-c", &words].map(str::to_owned).into()
}

/// Every file of a filesystem, read by the kernel.
fn hashed(image: &Path) -> Vec<String> {
    let script = format!(
        "mount -o loop,ro,noload {} /mnt && find /mnt -xdev -type f -exec sha256sum {{}} + >/dev/null",
        image.display()
    );
    ["unshare", "-m", "sh", "-c", &script].map(str::to_owned).into()
}

/// A filesystem of `count` small texts.
fn many(folder: &Path, count: usize) -> PathBuf {
    let image = folder.join(format!("files-{count}.raw"));
    if image.exists() {
        return image;
    }
    let tree = folder.join("tree");
    let _ = fs::remove_dir_all(&tree);
    fs::create_dir_all(tree.join("etc")).unwrap();
    for index in 0..count {
        let parent = tree.join(format!("srv/{}", index / FOLDER));
        if index.is_multiple_of(FOLDER) {
            fs::create_dir_all(&parent).unwrap();
        }
        let line = format!("{index} is the number of this file\n");
        fs::write(parent.join(format!("file-{index}")), line.repeat(SIZE / line.len())).unwrap();
    }
    let unfinished = image.with_extension("new");
    let inodes = (count + count / FOLDER + 1000).to_string();
    let blocks = format!("{}k", count * 5 + (64 << 10));
    let made = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-N", &inodes, "-d"])
        .args([&tree, &unfinished])
        .arg(blocks)
        .status()
        .unwrap();
    assert!(made.success());
    fs::rename(&unfinished, &image).unwrap();
    fs::remove_dir_all(&tree).unwrap();
    image
}

/// Measures all of `jobs` in turns, ours first; the first round does not count. What cannot be run has no figure.
fn row(text: &mut String, name: &str, jobs: &[Vec<String>], rounds: usize, (must, aim): (&str, &str)) {
    let mut taken: Vec<Vec<Taken>> = vec![Vec::new(); jobs.len()];
    let is_root = rustix::process::geteuid().is_root();
    for round in 0..=rounds {
        for (index, job) in jobs.iter().enumerate().filter(|(index, _)| *index == 0 || is_root) {
            let figures = run(job);
            if round > 0 {
                taken[index].push(figures);
            }
        }
    }
    let figure = |index: usize, of: fn(&Taken) -> f64| {
        taken.get(index).filter(|runs| !runs.is_empty()).map(|runs| median(runs, of))
    };
    let seconds = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
    let ratio = |of: fn(&Taken) -> f64| match (figure(0, of), figure(1, of)) {
        (Some(own), Some(peer)) => format!("{:.2}×", own / peer),
        _ => "–".to_owned(),
    };
    let memory = figure(0, |taken| taken.memory as f64).unwrap_or_default() / 1048576.0;
    let _ = writeln!(
        text,
        "| {name} | {} | {} | {} | {} | {} | {} | {memory:.1} | {must} | {aim} |",
        seconds(figure(0, wall)),
        seconds(figure(1, wall)),
        ratio(wall),
        seconds(figure(0, cpu)),
        seconds(figure(1, cpu)),
        ratio(cpu),
    );
}

/// Writes docs/benchmarks-audit.md.
fn write(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks-audit.md");
    let cores = std::thread::available_parallelism().unwrap();
    let text = format!(
        "# Audits beside reading every file\n\nMade by `make bench`, on {cores} cores: medians of rounds in which the two take turns, after one that does not count. The \
         ratio is our time by the peer's; MiB is the most that an audit has in memory.\n\n{table}"
    );
    fs::write(path, text).unwrap();
}

fn wall(taken: &Taken) -> f64 {
    taken.wall
}

fn cpu(taken: &Taken) -> f64 {
    taken.cpu
}
