//! The table for people.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::jobs::{Figures, Row};
use super::rival::Rival;

/// How many times less than the rival.
fn ratio(row: &Row, figure: impl Fn(&Figures) -> f64) -> Option<f64> {
    Some(figure(row.theirs.as_ref()?) / figure(&row.ours))
}

/// By wall time.
fn verdict(row: &Row) -> &'static str {
    match ratio(row, |figures| figures.wall) {
        None => "",
        Some(times) if times >= row.aim => "aim",
        Some(times) if times >= row.must => "must",
        Some(_) => "missed",
    }
}

fn times(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.1}×"))
}

/// A row while it is measured.
pub(crate) fn line(row: &Row) -> String {
    let (wall, cpu) = (ratio(row, |figures| figures.wall), ratio(row, |figures| figures.cpu));
    format!("{}: wall {}, CPU {}  {}", row.name, times(wall), times(cpu), verdict(row))
}

/// All rows, as Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| job | wall | CPU | must | aim | | wall s | libguestfs | CPU s | libguestfs | MiB | libguestfs | written MiB | libguestfs |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mebibytes = |bytes: f64| bytes / 1048576.0;
    for row in rows {
        let all = [Some(&row.ours), row.theirs.as_ref()];
        let both = |figure: &dyn Fn(&Figures) -> Option<String>| {
            all.map(|own| own.and_then(figure).unwrap_or("–".to_owned())).join(" | ")
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {}× | {}× | {} | {} | {} | {} | {} |",
            row.name,
            times(ratio(row, |figures| figures.wall)),
            times(ratio(row, |figures| figures.cpu)),
            row.must,
            row.aim,
            verdict(row),
            both(&|own| Some(format!("{:.4}", own.wall))),
            both(&|own| Some(format!("{:.4}", own.cpu))),
            both(&|own| Some(format!("{:.1}", mebibytes(own.memory)))),
            both(&|own| own.allocated.map(|bytes| format!("{:.1}", mebibytes(bytes as f64)))),
        );
    }
    text
}

/// Writes docs/benchmarks-existing.md.
pub(crate) fn write(rows: &[Row], rounds: usize, rival: &Rival) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks-existing.md");
    let cores = std::thread::available_parallelism().unwrap();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let text = format!(
        "# Existing images beside libguestfs\n\nMade by `make bench`, on {cores} cores, Linux {}: {}. Medians of {rounds} rounds in which the two take turns, after one that does not \
         count; both start from nothing each time, and read from the page cache. The image is a disk of 2 GiB with 20,000 files of 4000 bytes, from which 640 MiB were deleted. \
         MiB is the most that one process has in memory (of libguestfs, QEMU's with its guest); written is what the file has on disk afterwards.\n\n{}\n\
         Installing a package beside `virt-customize --install` is not measured yet.\n",
        kernel.trim(),
        rival.told(),
        table(rows),
    );
    fs::write(path, text).unwrap();
}
