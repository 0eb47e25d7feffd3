//! What every test here stands on: the program under test, peers, and an outcome as one text.
//!
//! ```text
//! goldimg(["plan", "r.toml"]).folder(dir).run() ─► Outcome { code, stdout, stderr } ─► snapshot()
//! peer("qemu-img")?.run(["check", "a.qcow2"])   ─► Outcome
//! ```

pub(crate) mod certificates;
pub(crate) mod peer;
pub(crate) mod program;
pub(crate) mod server;

pub(crate) use program::goldimg;

use std::path::{Path, PathBuf};

/// The top of the source tree.
pub(crate) fn project() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the tests lie in a folder of the project").to_owned()
}

/// A new folder, gone at the end of the test.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("goldimg-test-").tempdir().expect("a temporary folder")
}
