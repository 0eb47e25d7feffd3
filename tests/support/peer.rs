//! Other programs that judge what goldimg wrote, or write what it reads.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;

use super::program::{Invocation, Outcome};

/// Set to `required` where a missing peer is a failure (in CI) and not a reason to skip a test.
const STRICTNESS: &str = "GOLDIMG_PEERS";

/// An installed program.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    path: PathBuf,
}

/// The program `name`, or `None` after saying aloud that the test is skipped.
///
/// # Panics
/// Where it is not installed and peers are required.
pub(crate) fn peer(name: &str) -> Option<Peer> {
    // Programs for administrators are not in everyone's PATH.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    if let Some(path) = folders.map(|folder| folder.join(name)).find(|path| path.is_file()) {
        return Some(Peer { path });
    }
    missing(&format!("{name} is not installed (make test installs it)"));
    None
}

/// The program `name` of QEMU, whose words and numbers are those of version 10; else as [`peer`].
///
/// # Panics
/// Where it is older, or not installed, and peers are required.
pub(crate) fn qemu_10(name: &str) -> Option<Peer> {
    let peer = peer(name)?;
    let told = peer.must(["--version"]);
    let version = told.split_whitespace().skip_while(|word| *word != "version").nth(1).unwrap_or_default();
    if version.split('.').next().and_then(|major| major.parse().ok()) >= Some(10) {
        return Some(peer);
    }
    missing(&format!("{name} is {version}, and what is compared is as in 10 (bookworm-backports has it)"));
    None
}

/// Whether this is root, or `None` after saying aloud that the test is skipped: `why` else.
///
/// # Panics
/// Where it is not, and peers are required.
pub(crate) fn administrator(why: &str) -> Option<()> {
    use std::os::unix::fs::MetadataExt;
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !is_root {
        missing(&format!("without being root, {why}"));
    }
    is_root.then_some(())
}

/// Says aloud that the test is skipped, or fails it where peers are required.
fn missing(why: &str) {
    let required = std::env::var_os(STRICTNESS).is_some_and(|value| value == "required");
    assert!(!required, "{why}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Not with `eprintln!`: the test harness would keep it to itself.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

impl Peer {
    /// Where it lies.
    pub(crate) fn path(&self) -> &str {
        self.path.to_str().expect("UTF-8")
    }

    /// Prepares a run of it.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Invocation {
        Invocation::new(&self.path, arguments)
    }

    /// Runs it to its end.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        self.command(arguments).run()
    }

    /// Runs it to its end, which must be a good one, and returns what it printed.
    ///
    /// # Panics
    /// If it ends with another exit code than 0.
    pub(crate) fn must<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        outcome.stdout
    }
}
