//! A build that is killed, whichever of its processes, leaves no process and no mount.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use super::build;
use crate::support::{folder, until};

/// A build in the middle of its first stage.
struct Running {
    folder: tempfile::TempDir,
    outer: Child,
}

/// Starts a build and waits until packages are being unpacked.
fn running() -> Running {
    let folder = folder();
    let work = folder.path().join("work");
    fs::create_dir(&work).expect("a folder for work directories");
    let outer = build(folder.path(), "killed", "", &["--work-dir", work.to_str().expect("UTF-8")]).start();
    let running = Running { folder, outer };
    until("packages are unpacked", || {
        // Inside its namespaces, with mounts of its own.
        running.work().is_some_and(|work| work.join("tree/usr/bin").exists()) && running.processes().len() > 2
    });
    running
}

/// Signals a process that this test started.
fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill runs");
    assert!(status.success(), "kill {signal} {pid}");
}

impl Running {
    /// The work directory, if there is one.
    fn work(&self) -> Option<PathBuf> {
        fs::read_dir(self.folder.path().join("work")).ok()?.flatten().next().map(|entry| entry.path())
    }

    /// Everything that runs for this build: it says so in its arguments, or its mounts are seen.
    fn processes(&self) -> Vec<u32> {
        let ours = |folder: &Path| {
            let mark = self.folder.path().to_string_lossy().into_owned();
            let mentions =
                |name| fs::read(folder.join(name)).is_ok_and(|text| contains(&text, mark.as_bytes()));
            mentions("cmdline") || mentions("mountinfo")
        };
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        let processes =
            entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
        processes.filter(|(_, folder)| ours(folder)).map(|(pid, _)| pid).collect()
    }

    /// The first process of the build's namespace: the child of outer's child.
    fn inner(&self) -> u32 {
        let child = |pid: u32| -> u32 {
            let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
                .expect("children of a process");
            text.split_whitespace().next().expect("a child").parse().expect("a number")
        };
        child(child(self.outer.id()))
    }

    /// Waits until all is over, and answers with what outer said.
    fn end(self) -> (tempfile::TempDir, Output) {
        let Self { folder, outer } = self;
        let output = outer.wait_with_output().expect("an end");
        (folder, output)
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

#[test]
fn ctrl_c_stops_and_cleans_up() {
    let running = running();
    kill("-INT", running.outer.id());
    let (folder, output) = running.end();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("stopped on request"), "{said}");
    assert_eq!(fs::read_dir(folder.path().join("work")).expect("work").count(), 0, "{said}");
}

#[test]
fn a_killed_inner_process_takes_all_others_with_it() {
    let running = running();
    let pid = running.inner();
    kill("-KILL", pid);
    let (folder, output) = running.end();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the build was killed"), "{said}");
    assert_eq!(fs::read_dir(folder.path().join("work")).expect("work").count(), 0, "{said}");
}

#[test]
fn a_killed_outer_process_leaves_its_work_directory_to_the_next_build() {
    let mut running = running();
    kill("-KILL", running.outer.id());
    running.outer.wait().expect("an end");
    until("all processes are gone, and all mounts with them", || running.processes().is_empty());
    let work = running.work().expect("a work directory");
    let kept = running.folder.path().join("work/goldimg-Abc123");
    fs::create_dir(&kept).expect("a folder");
    fs::write(kept.join("file"), "somebody's").expect("a file");
    // The next build removes it, whoever owns its files, and nothing else.
    let parent = running.folder.path().join("work");
    let next = build(
        running.folder.path(),
        "next",
        "[[steps]]\nrun = \"exit 7\"\n",
        &["--work-dir", parent.to_str().expect("UTF-8")],
    )
    .run();
    assert_eq!(next.code, 1, "{}", next.snapshot());
    let told = format!("removed {}, which a build that was killed left behind", work.display());
    assert!(next.stderr.contains(&told), "{}", next.snapshot());
    let left: Vec<PathBuf> =
        fs::read_dir(&parent).expect("work").flatten().map(|entry| entry.path()).collect();
    assert_eq!(left, [kept], "{}", next.snapshot());
}
