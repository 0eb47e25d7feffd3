//! Conversions beside `qemu-img convert`, in pairs: wall time, CPU time, memory, system calls and size, as a table, JSON
//! and Markdown; then tables of what has no rival.
//!
//! ```text
//! data ─► jobs ─► for each round: ours, qemu-img, qemu-img -W -m 16 ─► medians ─► table · JSON · docs/benchmarks.md
//! ```
//!
//! `cargo bench -p image-cli --bench conversion [-- FILTER]`. The environment sets `BENCH_DIR` (where data and outputs
//! go; tens of gigabytes of *sparse* files, about 6 GB of blocks), `BENCH_ROUNDS` (11), `BENCH_MINUTES` (9: where it would
//! take longer there are fewer rounds), `BENCH_SIZE` (MiB of each corpus, 256), `BENCH_IMAGE` (a raw image to measure too)
//! and `BENCH_WRITE=1` (writes docs/benchmarks.md and .json).
//!
//! Inputs are read once before, or put out of the page cache before each run where the row says so, outputs removed outside
//! of what is timed, the first round is discarded, nobody syncs but where the row says so. CPU time is the steadier figure on
//! a busy machine; both are shown.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people, which may panic")]

mod data;
mod extras;
mod jobs;
mod measure;
mod report;
mod sharing;

use std::path::PathBuf;
use std::time::{Duration, Instant};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == measure::CHILD) {
        measure::child(&words[1..]);
        return;
    }
    let filter = words.iter().find(|word| !word.starts_with("--")).cloned().unwrap_or_default();
    let number =
        |name: &str, default: usize| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let rounds = number("BENCH_ROUNDS", 11);
    let limit = Duration::from_secs(60 * number("BENCH_MINUTES", 9) as u64);
    let folder = std::env::var_os("BENCH_DIR")
        .map_or_else(|| std::env::temp_dir().join("goldimg-bench"), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    let image = std::env::var_os("BENCH_IMAGE").map(PathBuf::from);
    let data = data::Data::make(&folder, number("BENCH_SIZE", 256) as u64 * 1024 * 1024, image.as_deref());
    let sharing = sharing::Sharing::with(data.image.as_ref().unwrap_or(&data.tree), &folder);
    let left_out =
        sharing.as_ref().err().map(|why| format!("Left out: plain copies where blocks are shared ({why})."));
    if let Some(text) = &left_out {
        println!("{text}");
    }
    let shared = sharing.as_ref().ok().map(|sharing| sharing.image.as_path());
    let mut jobs = jobs::all(&data, &folder, shared);
    jobs.retain(|job| job.name.contains(&filter));
    let started = Instant::now();
    let mut rows = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        let time = limit.saturating_sub(started.elapsed()) / (jobs.len() - index) as u32;
        let row = jobs::measure(job, rounds, time);
        println!("{}", report::line(&row));
        rows.push(row);
    }
    println!("\n{}", report::table(&rows));
    let extras = if filter.is_empty() { extras::all(&data, &folder) } else { String::new() };
    println!("{extras}");
    if std::env::var_os("BENCH_WRITE").is_some() {
        report::write(&rows, left_out.as_deref(), &extras);
    }
}
