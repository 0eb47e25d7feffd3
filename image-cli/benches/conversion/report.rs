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

/// Both figures reach what is asked, or not.
fn verdict(row: &Row) -> &'static str {
    let least = ratio(row, |figures| figures.wall).min(ratio(row, |figures| figures.cpu));
    match least {
        _ if row.aim == 0.0 => "",
        least if least >= row.aim => "aim",
        least if least >= row.must => "must",
        _ => "missed",
    }
}

/// A row while it is measured.
pub(crate) fn line(row: &Row) -> String {
    let (wall, cpu) = (ratio(row, |figures| figures.wall), ratio(row, |figures| figures.cpu));
    format!("{:<40} wall {wall:>5.2}×  CPU {cpu:>5.2}×  {}", row.name, verdict(row))
}

/// Our size by the least of theirs: of the files, or of their blocks where the files are equally long.
fn size_ratio(row: &Row) -> f64 {
    let (ours, plain, tuned) = (&row.ours, &row.plain, &row.tuned);
    let (own, least) = if plain.size == ours.size {
        (ours.allocated, plain.allocated.min(tuned.allocated))
    } else {
        (ours.size, plain.size.min(tuned.size))
    };
    own.max(1) as f64 / least.max(1) as f64
}

/// All rows, as Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| job | wall | CPU | must | aim | | size | wall s | qemu-img | -W -m 16 | CPU s | qemu-img | -W -m 16 | MiB | qemu-img | \
         calls | qemu-img |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let times = |asked: f64| if asked == 0.0 { "–".to_owned() } else { format!("{asked}×") };
    let calls = |figures: &Figures| figures.calls.map_or("–".to_owned(), |calls| calls.to_string());
    for row in rows {
        let (ours, plain, tuned) = (&row.ours, &row.plain, &row.tuned);
        let _ = writeln!(
            text,
            "| {} | {:.2}× | {:.2}× | {} | {} | {} | {:.2} % | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {:.1} | {:.1} | {} | {} |",
            row.name,
            ratio(row, |figures| figures.wall),
            ratio(row, |figures| figures.cpu),
            times(row.must),
            times(row.aim),
            verdict(row),
            size_ratio(row) * 100.0,
            ours.wall,
            plain.wall,
            tuned.wall,
            ours.cpu,
            plain.cpu,
            tuned.cpu,
            ours.memory / 1048576.0,
            plain.memory / 1048576.0,
            calls(ours),
            calls(plain),
        );
    }
    text
}

/// Writes docs/benchmarks.md and docs/benchmarks.json.
pub(crate) fn write(rows: &[Row], left_out: Option<&str>, extras: &str) {
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
        "# Conversions beside qemu-img\n\nMade by `make bench`: {machine}. Medians of rounds in which the three take turns, \
         after one that does not count; ratios are against the better of `qemu-img convert` and `qemu-img convert -W -m 16`. \
         `tree` is files of /usr, `image` the built image. Sizes are of files, or of their blocks where the files are equally \
         long, against the smaller of qemu-img's. Calls are system calls. Nobody syncs but where the row says so; \
         a `cold` source is put out of the page cache before each run; `sha256sum` \
         and `sha512sum` follow qemu-img where digests are asked for.\n\n{}\n{}\n\n{extras}{}",
        table(rows),
        left_out.unwrap_or_default(),
        include_str!("limits.md"),
    );
    fs::write(docs.join("benchmarks.md"), text).unwrap();
    let figures = |figures: &Figures| {
        serde_json::json!({
            "wall_s": figures.wall, "cpu_s": figures.cpu, "memory_bytes": figures.memory,
            "size": figures.size, "allocated": figures.allocated, "system_calls": figures.calls,
        })
    };
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "job": row.name, "must": row.must, "aim": row.aim, "rounds": row.rounds, "verdict": verdict(row),
                "size_ratio": size_ratio(row), "goldimg": figures(&row.ours),
                "qemu_img": figures(&row.plain), "qemu_img_W_m16": figures(&row.tuned),
            })
        })
        .collect();
    let json = serde_json::json!({ "machine": machine, "left_out": left_out, "rows": rows });
    fs::write(docs.join("benchmarks.json"), serde_json::to_string_pretty(&json).unwrap() + "\n").unwrap();
}
