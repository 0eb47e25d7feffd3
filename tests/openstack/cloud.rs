//! A real Keystone and a real Glance, running for one test; and files to upload.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::program::{Invocation, Outcome};
use crate::support::{folder, goldimg, project};

/// The services, in a folder of their own. They end with this value.
pub(super) struct Cloud {
    dir: tempfile::TempDir,
    python: PathBuf,
}

/// The script that starts and stops them.
fn services(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(project().join("tests/openstack/services"));
    command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null());
    command.output().expect("the script that starts the services runs")
}

/// Starts the services, or says aloud that the test is skipped where they cannot be installed.
pub(super) fn start(variables: &[(&str, &str)]) -> Option<Cloud> {
    let prepared = services(&["python"], &[]);
    if !prepared.status.success() {
        let reason = String::from_utf8_lossy(&prepared.stderr).into_owned();
        let required = std::env::var_os("GOLDIMG_PEERS").is_some_and(|value| value == "required");
        assert!(!required, "Keystone and Glance cannot be prepared: {reason}");
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let _ =
            writeln!(std::io::stderr(), "SKIPPED {test}: Keystone and Glance cannot be prepared: {reason}");
        return None;
    }
    let python = PathBuf::from(String::from_utf8_lossy(&prepared.stdout).trim());
    let cloud = Cloud { dir: folder(), python };
    let started = services(&["up", &cloud.dir.path().to_string_lossy()], variables);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    Some(cloud)
}

impl Drop for Cloud {
    fn drop(&mut self) {
        services(&["down", &self.dir.path().to_string_lossy()], &[]);
    }
}

impl Cloud {
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the services said of themselves: addresses and identifiers.
    pub(super) fn fact(&self, name: &str) -> String {
        let text = fs::read_to_string(self.dir().join("endpoints.json")).expect("endpoints.json");
        let facts: Value = serde_json::from_str(&text).expect("JSON");
        facts[name].as_str().unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    }

    /// goldimg as a user of `cloud`, with nothing of this machine's user.
    pub(super) fn goldimg(&self, cloud: &str, arguments: &[&str]) -> Invocation {
        // Words of a command come first, the cloud behind them. No audit passes the images of these tests.
        let unseen: &[&str] = if arguments.first() == Some(&"upload") { &["--audit", "off"] } else { &[] };
        let words = arguments.iter().chain(unseen).copied().chain(["--cloud", cloud]);
        goldimg(words)
            .folder(self.dir())
            .env("HOME", self.dir())
            .env("XDG_CONFIG_HOME", self.dir())
            .env("OS_CLIENT_CONFIG_FILE", self.dir().join("clouds.yaml"))
            .env("NO_PROXY", "127.0.0.1")
            .env("RUST_BACKTRACE", "0")
    }

    /// Uploads, which must go well, and returns what `--json` says.
    pub(super) fn upload(&self, cloud: &str, image: &Path, more: &[&str]) -> Value {
        let image = image.to_string_lossy();
        let mut words = vec!["upload", &image, "--json"];
        words.extend(more);
        let outcome = self.goldimg(cloud, &words).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {}", outcome.stdout))
    }

    /// Uploads, which must fail, and returns what was said.
    pub(super) fn refused(&self, cloud: &str, image: &Path, more: &[&str]) -> Outcome {
        let image = image.to_string_lossy();
        let mut words = vec!["upload", &image];
        words.extend(more);
        let outcome = self.goldimg(cloud, &words).run();
        assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
        assert_eq!(outcome.stdout, "");
        outcome
    }

    /// The images of a cloud's project, as goldimg lists them.
    pub(super) fn images(&self, cloud: &str) -> Vec<Value> {
        let outcome = self.goldimg(cloud, &["images", "--json"]).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        serde_json::from_str(&outcome.stdout).expect("a list")
    }

    /// The openstack command, which must succeed.
    pub(super) fn openstack(&self, cloud: &str, arguments: &[&str]) -> String {
        let program = self.python.with_file_name("openstack");
        let outcome = Invocation::new(&program, ["--os-cloud", cloud].iter().chain(arguments))
            .env("OS_CLIENT_CONFIG_FILE", self.dir().join("clouds.yaml"))
            .env("HOME", self.dir())
            .env("PYTHONWARNINGS", "ignore")
            .env("NO_PROXY", "127.0.0.1")
            .run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        outcome.stdout
    }

    /// Fails unless the openstack command downloads exactly `file`.
    pub(super) fn assert_downloads(&self, id: &str, file: &Path) {
        let copy = self.dir().join("downloaded");
        self.openstack("demo", &["image", "save", "--file", &copy.to_string_lossy(), id]);
        assert!(fs::read(&copy).expect("a download") == fs::read(file).expect("the file"), "{id} differs");
        fs::remove_file(copy).expect("the download can be removed");
    }
}

/// A raw disk that looks random, of `len` bytes: other bytes for another `seed`.
pub(super) fn raw_image(path: &Path, len: usize, seed: u64) -> PathBuf {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // Xorshift (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    // Its first sector is no partition table by accident.
    bytes[510..512].fill(0);
    fs::write(path, bytes).expect("an image can be written");
    path.to_owned()
}
