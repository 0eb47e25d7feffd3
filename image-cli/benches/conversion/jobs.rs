//! The rows of the table: what is converted to what, and by whom.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::data::Data;
use super::measure::{Taken, median, run};

/// One conversion.
pub(crate) struct Job {
    pub(crate) name: String,
    source: PathBuf,
    /// What both are told, between "convert" and the names.
    options: Vec<&'static str>,
    /// How qemu-img makes the source out of `source` first.
    prepare: Option<Vec<&'static str>>,
    /// How many times faster it has to be, and is meant to be.
    pub(crate) must: f64,
    pub(crate) aim: f64,
}

/// What was measured.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) must: f64,
    pub(crate) aim: f64,
    pub(crate) ours: Figures,
    pub(crate) plain: Figures,
    pub(crate) tuned: Figures,
}

/// Medians, and the bytes of the output.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    pub(crate) memory: f64,
    pub(crate) size: u64,
    pub(crate) allocated: u64,
}

const PLAIN: [&str; 2] = ["-O", "qcow2"];
const DEFLATE: [&str; 3] = ["-c", "-O", "qcow2"];
const ZSTD: [&str; 5] = ["-c", "-O", "qcow2", "-o", "compression_type=zstd"];
const RAW: [&str; 2] = ["-O", "raw"];

/// All rows.
pub(crate) fn all(data: &Data) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut add =
        |name: &str, source: &Path, options: &[&'static str], prepare: Option<&[&'static str]>, must, aim| {
            let (options, prepare) = (options.to_vec(), prepare.map(<[_]>::to_vec));
            jobs.push(Job { name: name.to_owned(), source: source.to_owned(), options, prepare, must, aim });
        };
    for (name, source) in [("tree", Some(&data.tree)), ("image", data.image.as_ref())] {
        let Some(source) = source else { continue };
        add(&format!("{name}: raw → deflate"), source, &DEFLATE, None, 4.0, 5.0);
        add(&format!("{name}: raw → zstd"), source, &ZSTD, None, 1.7, 2.3);
        add(&format!("{name}: deflate → raw"), source, &RAW, Some(&DEFLATE), 2.3, 3.0);
        add(&format!("{name}: zstd → raw"), source, &RAW, Some(&ZSTD), 2.3, 3.0);
        add(&format!("{name}: raw → plain qcow2"), source, &PLAIN, None, 1.4, 2.0);
        add(&format!("{name}: plain qcow2 → raw"), source, &RAW, Some(&PLAIN), 1.4, 2.0);
    }
    add("64 GiB, 1 % data: plain", &data.sparse, &PLAIN, None, 2.2, 3.0);
    add("64 GiB, 1 % data: zstd", &data.sparse, &ZSTD, None, 2.5, 3.0);
    add("every second 4 KiB a hole: raw → raw", &data.holes, &RAW, None, 10.0, 25.0);
    add("every second 4 KiB a hole: plain", &data.holes, &PLAIN, None, 10.0, 25.0);
    add("every second 4 KiB a hole: zstd", &data.holes, &ZSTD, None, 3.0, 4.5);
    add("every second 4 KiB a hole: zstd → raw", &data.holes, &RAW, Some(&ZSTD), 4.0, 6.0);
    add("random: deflate", &data.random, &DEFLATE, None, 3.5, 10.0);
    add("random: zstd", &data.random, &ZSTD, None, 3.5, 4.3);
    add("empty 4 GiB: plain", &data.empty, &PLAIN, None, 4.0, 8.0);
    jobs
}

/// Runs `job` so many times after a first one that does not count, each round all three one after the other.
pub(crate) fn measure(job: &Job, folder: &Path, rounds: usize) -> Row {
    let source = match &job.prepare {
        None => job.source.clone(),
        Some(options) => {
            let prepared = folder.join("prepared.qcow2");
            let status =
                Command::new("qemu-img").arg("convert").args(options).args([&job.source, &prepared]).status();
            assert!(status.unwrap().success());
            prepared
        }
    };
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let words = |program: &[&str], target: &Path| {
        let given = program.iter().chain(&job.options).map(|word| (*word).to_owned());
        let from = if job.prepare.is_some() { "qcow2" } else { "raw" };
        given.chain(["-f".to_owned(), from.to_owned(), text(&source), text(target)]).collect::<Vec<_>>()
    };
    let contenders: [&[&str]; 3] = [
        &[env!("CARGO_BIN_EXE_goldimg"), "convert", "-q"],
        &["qemu-img", "convert"],
        &["qemu-img", "convert", "-W", "-m", "16"],
    ];
    let target = folder.join("target");
    let mut runs: [Vec<Taken>; 3] = Default::default();
    let mut sizes = [(0, 0); 3];
    for round in 0..=rounds {
        for (index, program) in contenders.iter().enumerate() {
            let taken = run(&words(program, &target));
            if round > 0 {
                runs[index].push(taken);
            }
            let metadata = fs::metadata(&target).unwrap();
            sizes[index] = (metadata.len(), metadata.blocks() * 512);
            fs::remove_file(&target).unwrap();
        }
    }
    let figures = |index: usize| Figures {
        wall: median(&runs[index], |taken| taken.wall),
        cpu: median(&runs[index], |taken| taken.cpu),
        memory: median(&runs[index], |taken| taken.memory as f64),
        size: sizes[index].0,
        allocated: sizes[index].1,
    };
    Row {
        name: job.name.clone(),
        must: job.must,
        aim: job.aim,
        ours: figures(0),
        plain: figures(1),
        tuned: figures(2),
    }
}
