//! The table for people, and for programs.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::jobs::{Figures, Row};

/// How many times less time than the better of the two ways to call qemu-img.
fn ratio(row: &Row, figure: impl Fn(&Figures) -> f64) -> f64 {
    figure(&row.plain).min(figure(&row.tuned)) / figure(&row.ours)
}

/// A row while it is measured.
pub(crate) fn line(row: &Row) -> String {
    let (wall, cpu) = (ratio(row, |figures| figures.wall), ratio(row, |figures| figures.cpu));
    let verdict = if wall.min(cpu) >= row.aim {
        "aim"
    } else if wall.min(cpu) >= row.must {
        "must"
    } else {
        "MISSED"
    };
    format!("{:<40} wall {wall:>5.2}×  CPU {cpu:>5.2}×  {verdict}", row.name)
}

/// All rows, as Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| job | wall s: ours, qemu-img, -W -m 16 | CPU s: ours, qemu-img, -W -m 16 | wall | CPU | must | aim | \
         size, of qemu-img's | MiB: ours, qemu-img |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let (ours, plain, tuned) = (&row.ours, &row.plain, &row.tuned);
        let of = |figures: &Figures| if figures.size == ours.size { figures.allocated } else { figures.size };
        let (own, least) = (of(ours).max(1), of(plain).min(of(tuned)).max(1));
        let (own, least) =
            if plain.size == ours.size { (ours.allocated, plain.allocated.max(1)) } else { (own, least) };
        let _ = writeln!(
            text,
            "| {} | {:.3}, {:.3}, {:.3} | {:.3}, {:.3}, {:.3} | {:.2}× | {:.2}× | {}× | {}× | {:.2} % | {:.1}, {:.1} |",
            row.name,
            ours.wall,
            plain.wall,
            tuned.wall,
            ours.cpu,
            plain.cpu,
            tuned.cpu,
            ratio(row, |figures| figures.wall),
            ratio(row, |figures| figures.cpu),
            row.must,
            row.aim,
            own as f64 * 100.0 / least as f64,
            ours.memory / 1048576.0,
            plain.memory / 1048576.0,
        );
    }
    text
}

/// Writes docs/benchmarks.md and docs/benchmarks.json.
pub(crate) fn write(rows: &[Row], rounds: usize) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs");
    fs::create_dir_all(&docs).unwrap();
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap();
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1))
        .unwrap_or("?")
        .to_owned();
    let cores = std::thread::available_parallelism().unwrap();
    let machine = format!(
        "{cores} cores of {cpu}, Linux {}, {}, {}",
        said("uname", &["-r"]),
        said("qemu-img", &["--version"]),
        said(env!("CARGO_BIN_EXE_goldimg"), &["--version"]),
    );
    let text = format!(
        "# Conversions beside qemu-img\n\nMade by `make bench`: {machine}. Medians of {rounds} rounds in which the three \
         take turns, after one that does not count; ratios are against the better of `qemu-img convert` and \
         `qemu-img convert -W -m 16`. Sizes are file sizes, or allocated bytes where the files are equally long.\n\n{}",
        table(rows)
    );
    fs::write(docs.join("benchmarks.md"), text).unwrap();
    let figures = |figures: &Figures| {
        serde_json::json!({
            "wall_s": figures.wall, "cpu_s": figures.cpu, "memory_bytes": figures.memory,
            "size": figures.size, "allocated": figures.allocated,
        })
    };
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "job": row.name, "must": row.must, "aim": row.aim, "goldimg": figures(&row.ours),
                "qemu_img": figures(&row.plain), "qemu_img_W_m16": figures(&row.tuned),
            })
        })
        .collect();
    let json = serde_json::json!({ "machine": machine, "rounds": rounds, "rows": rows });
    fs::write(docs.join("benchmarks.json"), serde_json::to_string_pretty(&json).unwrap() + "\n").unwrap();
}
