//! The rows: what is done, by whom.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::data::{Data, FILES, GOLDIMG};
use super::measure::{Taken, median, run};
use super::rival::Rival;

/// In a command line: what is written, or the copy that is changed.
const TARGET: &str = "TARGET";

/// One thing that both do.
pub(crate) struct Job {
    pub(crate) name: String,
    /// What becomes the target before each run.
    copied: Option<PathBuf>,
    target: PathBuf,
    ours: Vec<String>,
    theirs: Vec<String>,
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
    pub(crate) theirs: Option<Figures>,
}

/// Medians, and the bytes on disk of what was written.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    pub(crate) memory: f64,
    pub(crate) allocated: Option<u64>,
}

/// All rows.
pub(crate) fn all(data: &Data) -> Vec<Job> {
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let (plain, deflate, file) = (text(&data.plain), text(&data.deflate), text(&data.file));
    let job = |name: &str, ours: &str, theirs: &str, must: f64, aim: f64| {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let target = data.folder.join("target.qcow2");
        let ours = words(&format!("{GOLDIMG} {ours}"));
        Job { name: name.to_owned(), copied: None, target, ours, theirs: words(theirs), must, aim }
    };
    let one = "/usr/share/d50/file-10000";
    let mut jobs = vec![
        job(
            "read one file of a 2 GiB deflate qcow2: `cat`, `virt-cat`",
            &format!("cat {deflate} {one}"),
            &format!("virt-cat -a {deflate} {one}"),
            300.0,
            1000.0,
        ),
        job(
            "the same, told what to mount: `cat`, `virt-cat -m`",
            &format!("cat {deflate} {one}"),
            &format!("virt-cat -a {deflate} -m /dev/sda {one}"),
            300.0,
            1000.0,
        ),
        job(
            "put one file into it, in place: `copy-in`, `virt-customize --copy-in`",
            &format!("copy-in {TARGET} {file} /etc"),
            &format!("virt-customize -q -a {TARGET} --copy-in {file}:/etc"),
            300.0,
            1000.0,
        ),
        job(
            &format!("list {FILES} files with metadata: `ls -lR`, `virt-ls -lR`"),
            &format!("ls -lR {deflate} /"),
            &format!("virt-ls -a {deflate} -m /dev/sda -lR --times --uids /"),
            20.0,
            100.0,
        ),
        job(
            &format!("archive {FILES} files: `tar-out`, `guestfish tar-out`"),
            &format!("tar-out {deflate} / -"),
            &format!("guestfish --ro -a {deflate} -m /dev/sda tar-out / -"),
            20.0,
            100.0,
        ),
        job(
            "a new image without what is unused: `sparsify -o`, `virt-sparsify`",
            &format!("sparsify -q --force {plain} -o {TARGET}"),
            &format!("virt-sparsify -q {plain} {TARGET}"),
            10.0,
            30.0,
        ),
        job(
            "the same in place: `sparsify --in-place`, `virt-sparsify --in-place`",
            &format!("sparsify -q --in-place {TARGET}"),
            &format!("virt-sparsify -q --in-place {TARGET}"),
            10.0,
            30.0,
        ),
    ];
    for index in [2, 6] {
        jobs[index].copied = Some(data.plain.clone());
    }
    jobs
}

/// Runs `job` so many times after a first one that does not count, each round both one after the other.
pub(crate) fn measure(job: &Job, rounds: usize, rival: &Rival) -> Row {
    let named = |words: &[String]| -> Vec<String> {
        words.iter().map(|word| word.replace(TARGET, job.target.to_str().unwrap())).collect()
    };
    let lines = [Some(named(&job.ours)), rival.line(&named(&job.theirs))];
    let mut runs: [Vec<Taken>; 2] = Default::default();
    let mut allocated = [None; 2];
    for round in 0..=rounds {
        for (index, line) in lines.iter().enumerate() {
            let Some(line) = line else { continue };
            // A run that was stopped may have left one.
            let _ = fs::remove_file(&job.target);
            if let Some(source) = &job.copied {
                fs::copy(source, &job.target).unwrap();
                // Who syncs what it changes does not wait for the copy.
                fs::File::open(&job.target).unwrap().sync_all().unwrap();
            }
            let taken = run(line);
            if round > 0 {
                runs[index].push(taken);
            }
            allocated[index] = fs::metadata(&job.target).ok().map(|target| target.blocks() * 512);
        }
    }
    let _ = fs::remove_file(&job.target);
    let figures = |index: usize| Figures {
        wall: median(&runs[index], |taken| taken.wall),
        cpu: median(&runs[index], |taken| taken.cpu),
        memory: median(&runs[index], |taken| taken.memory as f64),
        allocated: allocated[index],
    };
    let theirs = (!runs[1].is_empty()).then(|| figures(1));
    Row { name: job.name.clone(), must: job.must, aim: job.aim, ours: figures(0), theirs }
}
