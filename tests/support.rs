//! What every test here stands on: the program under test, peers, and an outcome as one text.
//!
//! ```text
//! goldimg(["plan", "r.toml"]).folder(dir).run() ─► Outcome { code, stdout, stderr } ─► snapshot()
//! peer("qemu-img")?.run(["check", "a.qcow2"])   ─► Outcome
//! ```

pub(crate) mod archive;
mod built;
pub(crate) mod certificates;
pub(crate) mod kernel;
pub(crate) mod peer;
pub(crate) mod program;
pub(crate) mod random;
pub(crate) mod server;

pub(crate) use program::goldimg;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What has not happened after this long never will, on a machine that is ten times slower than any and has ten times as
/// much to do: a test waits for a thing itself, and this only ends one that hangs.
const HANGS: Duration = Duration::from_secs(45 * 60);
/// How often it is looked whether something has happened.
const LOOK: Duration = Duration::from_millis(10);

/// The top of the source tree.
pub(crate) fn project() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the tests lie in a folder of the project").to_owned()
}

/// Waits until something is so.
///
/// # Panics
/// If it hangs.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < HANGS, "waited in vain until {what}");
        std::thread::sleep(LOOK);
    }
}

/// A new folder, gone at the end of the test.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("goldimg-test-").tempdir().expect("a temporary folder")
}
