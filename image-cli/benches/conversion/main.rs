//! Conversions beside `qemu-img convert`, in pairs: wall time, CPU time, memory and size, as a table, JSON and Markdown.
//!
//! ```text
//! data ─► jobs ─► for each round: ours, qemu-img, qemu-img -W -m 16 ─► medians ─► table · JSON · docs/benchmarks.md
//! ```
//!
//! `cargo bench -p image-cli --bench conversion [-- FILTER]`. The environment sets `BENCH_DIR` (where data and outputs
//! go; tens of gigabytes of *sparse* files, about 6 GB of blocks), `BENCH_ROUNDS` (5), `BENCH_SIZE` (MiB of each
//! corpus, 512), `BENCH_IMAGE` (a raw image to measure too) and `BENCH_WRITE=1` (writes docs/benchmarks.md and .json).
//!
//! Inputs are read once before, outputs removed outside of what is timed, the first round is discarded, nobody syncs.
//! CPU time is the steadier figure on a busy machine; both are shown.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people, which may panic")]

mod data;
mod jobs;
mod measure;
mod report;

use std::path::PathBuf;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == measure::CHILD) {
        measure::child(&words[1..]);
        return;
    }
    let filter = words.iter().find(|word| !word.starts_with("--")).cloned().unwrap_or_default();
    let number =
        |name: &str, default: usize| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let rounds = number("BENCH_ROUNDS", 5);
    let folder = std::env::var_os("BENCH_DIR")
        .map_or_else(|| std::env::temp_dir().join("goldimg-bench"), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    let image = std::env::var_os("BENCH_IMAGE").map(PathBuf::from);
    let data = data::Data::make(&folder, number("BENCH_SIZE", 512) as u64 * 1024 * 1024, image.as_deref());
    let mut rows = Vec::new();
    for job in jobs::all(&data).into_iter().filter(|job| job.name.contains(&filter)) {
        let row = jobs::measure(&job, &folder, rounds);
        println!("{}", report::line(&row));
        rows.push(row);
    }
    println!("\n{}", report::table(&rows));
    if std::env::var_os("BENCH_WRITE").is_some() {
        report::write(&rows, rounds);
    }
}
