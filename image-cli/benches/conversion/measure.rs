//! Running a program and knowing what it took: a process of its own waits for it, so that the figures are of it alone.

use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// The first argument of the process that waits.
pub(crate) const CHILD: &str = "--measure-child";

/// Counting system calls makes a program many times slower: after so many seconds it is given up.
const COUNTING_LIMIT: &str = "15";

/// Where cargo has programs look for libraries first: each library would be looked for in four folders that have none, which
/// takes a program of many libraries longer to start than it does for its user.
const CARGOS_OWN: &str = "LD_LIBRARY_PATH";

/// What a run took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Taken {
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Seconds of CPU, the kernel's included.
    pub(crate) cpu: f64,
    /// The most memory it had, in bytes.
    pub(crate) memory: u64,
}

/// Runs `words` and returns what it took.
pub(crate) fn run(words: &[String]) -> Taken {
    let own = std::env::current_exe().unwrap();
    let output = Command::new(own).arg(CHILD).args(words).env_remove(CARGOS_OWN).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    Taken { wall: numbers[0], cpu: numbers[1], memory: numbers[2] as u64 }
}

/// Runs `words` in this process's only child, and prints what it took.
pub(crate) fn child(words: &[String]) {
    let started = Instant::now();
    let output = Command::new(&words[0]).args(&words[1..]).output().unwrap();
    let wall = started.elapsed().as_secs_f64();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let cpu = (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6;
    println!("{wall} {cpu} {}", usage.max_rss() * 1024);
}

/// How many system calls `words` makes, by perf or else strace; `None` where neither can tell in time.
pub(crate) fn system_calls(words: &[String]) -> Option<u64> {
    let say = |counter: &[&str]| {
        let mut command = Command::new("timeout");
        command.arg(COUNTING_LIMIT).args(counter).args(words).env_remove(CARGOS_OWN).stdin(Stdio::null());
        let output = command.output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let perf = say(&["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter"]);
    if let Some(count) = perf.as_deref().and_then(|text| text.split(',').next()?.trim().parse().ok()) {
        return Some(count);
    }
    let strace = say(&["strace", "-f", "-c", "-U", "calls"])?;
    strace.lines().rev().find_map(|line| line.split_whitespace().next()?.parse().ok())
}

/// The median of what `figure` takes from each run.
pub(crate) fn median(runs: &[Taken], figure: impl Fn(&Taken) -> f64) -> f64 {
    let mut figures: Vec<f64> = runs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len().is_multiple_of(2) {
        (figures[middle - 1] + figures[middle]) / 2.0
    } else {
        figures[middle]
    }
}
