//! What a new server is given: a name, a key, and user data; as a NoCloud seed (`openstack.rs` has what clouds give).
//!
//! ```text
//! cidata ┬ meta-data   instance-id, local-hostname, public-keys (JSON, which is YAML)
//!        └ user-data   a script that reports on the second serial port (inside.sh)
//! ```
//! cloud-init's documentation, "NoCloud", "Source 2: drive with labeled filesystem".

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use image_core::fs::iso9660;
use serde_json::json;

use crate::error::{Context, Result, bail};
use crate::programs::Program;

/// A fresh key, in a folder that only we can read.
#[derive(Debug)]
pub(super) struct Key {
    /// The private key's file.
    pub(super) path: PathBuf,
    /// The public key, as `authorized_keys` has it.
    public: String,
    comment: String,
}

impl Key {
    pub(super) fn generate(folder: &Path, name: &str, programs: &OsStr) -> Result<Self> {
        let path = folder.join(name);
        let comment = format!("{name}-{}", &random_uuid()?[..8]);
        let mut command = Program::SshKeygen.command(programs);
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", &comment, "-f"]).arg(&path).stdin(Stdio::null());
        let output = command.output().map_err(|error| Program::SshKeygen.not_started(error))?;
        if !output.status.success() {
            bail!("ssh-keygen made no key: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let public = fs::read_to_string(path.with_extension("pub")).context("reading the new public key")?;
        Ok(Self { path, public: public.trim().to_owned(), comment })
    }

    pub(super) fn public(&self) -> &str {
        &self.public
    }

    /// The user data: a script that reports on the second serial port, after at most `wait_seconds` for the boot's end.
    pub(super) fn reporting_script(&self, wait_seconds: u64) -> String {
        include_str!("inside.sh").replace("@KEY@", &self.comment).replace("@WAIT@", &wait_seconds.to_string())
    }
}

/// A new server, as the cloud knows it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) uuid: String,
    pub(super) hostname: String,
}

impl Server {
    pub(super) fn new() -> Result<Self> {
        let uuid = random_uuid()?;
        let hostname = format!("trial-{}", &uuid[..8]);
        Ok(Self { uuid, hostname })
    }

    /// The seed's bytes. In the guest, `wait_seconds` is how long the report waits for the boot to end.
    pub(super) fn no_cloud(&self, key: &Key, wait_seconds: u64) -> Result<Vec<u8>> {
        let meta_data = json!({
            "instance-id": self.uuid,
            "local-hostname": self.hostname,
            "public-keys": { "trial": key.public },
        });
        let user_data = key.reporting_script(wait_seconds);
        let meta_data = serde_json::to_vec_pretty(&meta_data)?;
        let files = [("meta-data", meta_data.as_slice()), ("user-data", user_data.as_bytes())];
        Ok(iso9660::image("cidata", &files)?)
    }
}

/// A random identity, from the kernel (random(4), /proc/sys/kernel/random/uuid).
pub(super) fn random_uuid() -> Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").context("asking the kernel for a UUID")?;
    let uuid = text.trim();
    if uuid.len() != 36 || !uuid.is_ascii() {
        bail!("{uuid:?} is no UUID");
    }
    Ok(uuid.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::trial) fn key() -> Key {
        Key { path: PathBuf::new(), public: "ssh-ed25519 AAAA trial-1".into(), comment: "trial-1".into() }
    }

    #[test]
    fn a_seed_tells_the_server_who_it_is() {
        let key = key();
        let server = Server::new().unwrap();
        let seed = server.no_cloud(&key, 77).unwrap();
        let has = |text: &str| seed.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(has("\"trial\": \"ssh-ed25519 AAAA trial-1\""));
        assert!(has(&format!("\"local-hostname\": \"{}\"", server.hostname)));
        assert!(has(&format!("\"instance-id\": \"{}\"", server.uuid)));
        assert!(has("timeout 77 cloud-init") && has("^ssh-ed25519 .*trial-1'"));
        assert!(!has("@WAIT@") && !has("@KEY@"));
        assert_ne!(server.uuid, Server::new().unwrap().uuid);
    }
}
