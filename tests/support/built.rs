//! The program to test, where nobody says which: the one beside the tests, built anew where what it is made of is younger.
//!
//! ```text
//! test ─► once in a process ─► one process at a time ─► younger? ─► cargo build, as for all tests ─► its new time
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use super::project;

/// The program to test.
const PROGRAM: &str = "GOLDIMG";

/// What the program is made of.
const INPUTS: [&str; 5] = ["Cargo.lock", "Cargo.toml", "image-cli", "image-core", "packages/run.txt"];

/// The program that `GOLDIMG` names, else one that is as the sources are.
///
/// # Panics
/// If there is none and none can be built.
pub(super) fn program() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os(PROGRAM) {
        Some(path) => fs::canonicalize(&path).unwrap_or_else(|error| panic!("{PROGRAM}={path:?}: {error}")),
        None => beside_the_tests(),
    })
}

fn beside_the_tests() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test.ancestors().nth(2).expect("a test lies in target/PROFILE/deps");
    let path = folder.join("goldimg");
    // Nobody starts a program that another process is about to replace. The lock ends with the file's owner.
    let lock = File::create(folder.join(".goldimg-tests.lock")).expect("a file to lock");
    lock.lock().expect("a lock");
    if built(&path).is_none_or(|built| built < youngest_input()) {
        build(folder, &path);
    }
    assert!(path.is_file(), "cargo built no {}", path.display());
    path
}

fn built(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn youngest_input() -> SystemTime {
    let mut youngest = SystemTime::UNIX_EPOCH;
    let mut ahead = INPUTS.map(|input| project().join(input)).to_vec();
    while let Some(path) = ahead.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder of sources");
            ahead.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else {
            youngest = youngest.max(built(&path).unwrap_or(youngest));
        }
    }
    youngest
}

/// The words are those of the build that the tests come from: others would have other features, and all be compiled again.
fn build(folder: &Path, path: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--locked", "--workspace", "--bins", "--tests"]).current_dir(project());
    if !folder.ends_with("debug") {
        command.arg("--profile").arg(folder.file_name().expect("a profile's name"));
    }
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "building goldimg failed:\n{}", String::from_utf8_lossy(&output.stderr));
    // Cargo leaves a fresh program's time alone: then it is as young as its sources, whatever their times say. Opened for
    // writing, it could not be started meanwhile ("Text file busy").
    let now = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
    now.expect("the program's time can be set");
}
