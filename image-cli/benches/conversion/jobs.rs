//! The rows of the table: what is converted to what, and by whom.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::data::Data;
use super::measure::{Taken, median, run, system_calls};

/// What follows a conversion.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    /// SHA-256 and SHA-512 of the output.
    Hash,
    /// The output reaches the disk.
    Sync,
}

/// One conversion.
pub(crate) struct Job {
    pub(crate) name: String,
    source: PathBuf,
    /// What both are told, between "convert" and the names.
    options: Vec<&'static str>,
    /// How qemu-img makes the source out of `source` first.
    prepare: Option<Vec<&'static str>>,
    then: Then,
    /// The source is out of the page cache before each run.
    cold: bool,
    /// Where the outputs go.
    folder: PathBuf,
    /// How many times faster it has to be, and is meant to be; 0 where nothing is asked.
    pub(crate) must: f64,
    pub(crate) aim: f64,
}

/// What was measured.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) must: f64,
    pub(crate) aim: f64,
    pub(crate) rounds: usize,
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
    pub(crate) calls: Option<u64>,
}

const PLAIN: &[&str] = &["-O", "qcow2"];
const DEFLATE: &[&str] = &["-c", "-O", "qcow2"];
const ZSTD: &[&str] = &["-c", "-O", "qcow2", "-o", "compression_type=zstd"];
const RAW: &[&str] = &["-O", "raw"];

/// The rows that are wanted, in the making.
struct Jobs<'a> {
    folder: &'a Path,
    list: Vec<Job>,
}

impl Jobs<'_> {
    fn add(&mut self, name: &str, source: &Path, options: &[&'static str], must: f64, aim: f64) -> &mut Job {
        self.list.push(Job {
            name: name.to_owned(),
            source: source.to_owned(),
            options: options.to_vec(),
            prepare: None,
            then: Then::Nothing,
            cold: false,
            folder: self.folder.to_owned(),
            must,
            aim,
        });
        self.list.last_mut().unwrap()
    }

    /// Both ways between raw and qcow2, on the filesystem of `folder`.
    fn plain(&mut self, name: &str, source: &Path, folder: &Path, must: f64, aim: f64) {
        self.add(&format!("{name}: raw → plain qcow2"), source, PLAIN, must, aim).folder = folder.to_owned();
        let back = self.add(&format!("{name}: plain qcow2 → raw"), source, RAW, must, aim);
        back.folder = folder.to_owned();
        back.prepare = Some(PLAIN.to_vec());
    }
}

/// All rows, with outputs in `folder`; `sharing` is a copy of the image in a folder whose filesystem shares blocks.
pub(crate) fn all(data: &Data, folder: &Path, sharing: Option<&Path>) -> Vec<Job> {
    let mut jobs = Jobs { folder, list: Vec::new() };
    for (name, source) in [("image", data.image.as_ref()), ("tree", Some(&data.tree))] {
        let Some(source) = source else { continue };
        jobs.add(&format!("{name}: raw → deflate"), source, DEFLATE, 4.0, 5.0);
        jobs.add(&format!("{name}: raw → zstd"), source, ZSTD, 1.7, 2.3);
        for (codec, options) in [("deflate", DEFLATE), ("zstd", ZSTD)] {
            jobs.add(&format!("{name}: {codec} → raw"), source, RAW, 2.3, 3.0).prepare =
                Some(options.to_vec());
        }
        jobs.plain(name, source, folder, 1.4, 2.0);
    }
    if let Some(source) = sharing {
        jobs.plain("shared blocks", source, source.parent().unwrap(), 15.0, 40.0);
    }
    jobs.add("64 GiB, 1 % data: plain", &data.sparse, PLAIN, 2.2, 3.0);
    jobs.add("64 GiB, 1 % data: zstd", &data.sparse, ZSTD, 2.5, 3.0);
    jobs.add("every second 4 KiB a hole: raw → raw", &data.holes, RAW, 10.0, 25.0);
    jobs.add("every second 4 KiB a hole: plain", &data.holes, PLAIN, 10.0, 25.0);
    jobs.add("every second 4 KiB a hole: zstd", &data.holes, ZSTD, 3.0, 4.5);
    jobs.add("every second 4 KiB a hole: zstd → raw", &data.holes, RAW, 4.0, 6.0).prepare =
        Some(ZSTD.to_vec());
    jobs.add("random: deflate", &data.random, DEFLATE, 3.5, 10.0);
    jobs.add("random: zstd", &data.random, ZSTD, 3.5, 4.3);
    jobs.add("empty 4 GiB: plain", &data.empty, PLAIN, 4.0, 8.0);
    let lived_in = data.image.as_ref().unwrap_or(&data.tree);
    jobs.add("deflate + SHA-256 + SHA-512", lived_in, DEFLATE, 4.0, 4.7).then = Then::Hash;
    jobs.add("zstd + SHA-256 + SHA-512", lived_in, ZSTD, 2.7, 3.2).then = Then::Hash;
    jobs.add("zstd, synced", lived_in, ZSTD, 0.0, 0.0).then = Then::Sync;
    let cold = jobs.list.len();
    jobs.plain("cold", lived_in, folder, 0.0, 0.0);
    jobs.add("cold, 64 GiB, 1 % data: plain", &data.sparse, PLAIN, 0.0, 0.0);
    jobs.add("cold, 64 GiB, 1 % data: zstd", &data.sparse, ZSTD, 0.0, 0.0);
    jobs.list[cold..].iter_mut().for_each(|job| job.cold = true);
    jobs.list
}

impl Job {
    /// The command lines of the three contenders, which write `target`.
    fn command_lines(&self, source: &Path, target: &Path) -> [Vec<String>; 3] {
        let from = if self.prepare.is_some() { "qcow2" } else { "raw" };
        let (source, target) = (source.to_str().unwrap(), target.to_str().unwrap());
        let line = |program: &[&str]| -> Vec<String> {
            let names = ["-f", from, source, target];
            let words = program.iter().chain(&self.options).chain(&names);
            words.map(|word| (*word).to_owned()).collect()
        };
        let mut own = line(&[env!("CARGO_BIN_EXE_goldimg"), "convert", "-q"]);
        let after = match self.then {
            Then::Nothing => "",
            Then::Hash => {
                own.extend(["--hash".to_owned(), "sha256,sha512".to_owned()]);
                " && sha256sum {} && sha512sum {}"
            }
            Then::Sync => {
                own.push("--sync".to_owned());
                " && sync {}"
            }
        };
        let theirs = |program: &[&str]| {
            let words = line(program);
            if after.is_empty() {
                return words;
            }
            vec!["sh".to_owned(), "-c".to_owned(), words.join(" ") + &after.replace("{}", target)]
        };
        [own, theirs(&["qemu-img", "convert"]), theirs(&["qemu-img", "convert", "-W", "-m", "16"])]
    }

    /// The source, made first where the job starts from an image.
    fn prepared(&self) -> PathBuf {
        let Some(options) = &self.prepare else { return self.source.clone() };
        let prepared = self.folder.join("prepared.qcow2");
        let mut program = Command::new("qemu-img");
        program.args(["convert", "-W", "-m", "16"]).args(options).arg(&self.source).arg(&prepared);
        assert!(program.status().unwrap().success());
        prepared
    }
}

/// Puts `file` out of the page cache.
fn forget(file: &Path) {
    let file = fs::File::open(file).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

/// Runs `job` up to so many times after a first one that does not count, each round all three one after the other; fewer
/// times, but once, where they would take longer than `time`.
pub(crate) fn measure(job: &Job, rounds: usize, time: Duration) -> Row {
    let started = Instant::now();
    let source = job.prepared();
    let target = job.folder.join("target");
    // A run that was stopped may have left one.
    let remove = || drop(fs::remove_file(&target));
    remove();
    let lines = job.command_lines(&source, &target);
    let mut runs: [Vec<Taken>; 3] = Default::default();
    let mut sizes = [(0, 0); 3];
    let mut calls = [None; 3];
    for (index, line) in lines.iter().enumerate() {
        calls[index] = system_calls(line);
        remove();
    }
    for round in 0..=rounds {
        for (index, line) in lines.iter().enumerate() {
            if job.cold {
                forget(&source);
            }
            let taken = run(line);
            if round > 0 {
                runs[index].push(taken);
            }
            let metadata = fs::metadata(&target).unwrap();
            sizes[index] = (metadata.len(), metadata.blocks() * 512);
            remove();
        }
        let each = started.elapsed() / (round as u32 + 2);
        if round > 0 && started.elapsed() + each > time {
            break;
        }
    }
    let figures = |index: usize| Figures {
        wall: median(&runs[index], |taken| taken.wall),
        cpu: median(&runs[index], |taken| taken.cpu),
        memory: median(&runs[index], |taken| taken.memory as f64),
        size: sizes[index].0,
        allocated: sizes[index].1,
        calls: calls[index],
    };
    Row {
        name: job.name.clone(),
        must: job.must,
        aim: job.aim,
        rounds: runs[0].len(),
        ours: figures(0),
        plain: figures(1),
        tuned: figures(2),
    }
}
