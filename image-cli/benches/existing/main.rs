//! Existing images beside libguestfs: wall time, CPU time, memory and size of what is written, as a table and as Markdown.
//!
//! ```text
//! tree of 20,000 files and as much that is deleted ─► mke2fs -d ─► 2 GiB ─► for each round: goldimg · virt-*, guestfish ─► medians
//! ```
//!
//! `cargo bench -p image-cli --bench existing [-- FILTER]`. The environment sets `BENCH_DIR` (where data and outputs go, about 4 GB), `BENCH_ROUNDS`
//! (3), and `BENCH_WRITE=1` (writes docs/benchmarks-existing.md). libguestfs starts its virtual machine itself, with KVM where that
//! works and emulated else; where it does not start at all the rows have no rival, and it is said why.
//!
//! What is changed in place is a copy that is made anew before each run, outside of what is timed; the first round does not count.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people, which may panic")]

mod data;
mod jobs;
#[path = "../conversion/measure.rs"]
#[allow(dead_code, reason = "nobody counts system calls here")]
mod measure;
mod report;
mod rival;

use std::path::PathBuf;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == measure::CHILD) {
        measure::child(&words[1..]);
        return;
    }
    let filter = words.iter().find(|word| !word.starts_with("--")).cloned().unwrap_or_default();
    let rounds = std::env::var("BENCH_ROUNDS").map_or(3, |text| text.parse().unwrap());
    let folder = std::env::var_os("BENCH_DIR")
        .map_or_else(|| std::env::temp_dir().join("goldimg-bench"), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    let data = data::Data::make(&folder);
    let rival = rival::Rival::find(&folder);
    println!("{}", rival.told());
    let mut rows = Vec::new();
    for job in jobs::all(&data).into_iter().filter(|job| job.name.contains(&filter)) {
        let row = jobs::measure(&job, rounds, &rival);
        println!("{}", report::line(&row));
        rows.push(row);
    }
    println!("\n{}", report::table(&rows));
    if std::env::var_os("BENCH_WRITE").is_some() {
        report::write(&rows, rounds, &rival);
    }
}
