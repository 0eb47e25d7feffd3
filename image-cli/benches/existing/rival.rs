//! libguestfs as it starts on this machine.

use std::path::Path;
use std::process::Command;

/// Words of the environment under which its virtual machine starts.
type Settings = Vec<(&'static str, String)>;

pub(crate) struct Rival {
    /// `None` where it does not start.
    settings: Option<Settings>,
    told: String,
}

impl Rival {
    /// Starts its virtual machine once: with KVM if that works, emulated else.
    pub(crate) fn find(folder: &Path) -> Self {
        let own = |emulated: bool| -> Settings {
            let folder = folder.to_str().unwrap().to_owned();
            let mut settings = vec![("LIBGUESTFS_BACKEND", "direct".to_owned()), ("TMPDIR", folder.clone())];
            settings.push(("LIBGUESTFS_CACHEDIR", folder));
            settings.extend(emulated.then(|| ("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg".to_owned())));
            settings
        };
        let mut why = String::new();
        for (emulated, how) in [(false, "with KVM"), (true, "emulated, for KVM does not work here")] {
            // Without KVM it is emulated unless that is said, too.
            let how = if Path::new("/dev/kvm").exists() { how } else { "emulated, for there is no KVM" };
            let settings = own(emulated);
            let mut command = Command::new("guestfish");
            command.args(["-a", "/dev/null", "run"]).envs(settings.iter().map(|(name, value)| (name, value)));
            match command.output() {
                Ok(output) if output.status.success() => {
                    let versions = ["guestfish", "virt-sparsify"].map(version).join(", ");
                    return Self { settings: Some(settings), told: format!("{versions}, {how}") };
                }
                Ok(output) => why = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " "),
                Err(error) => why = error.to_string(),
            }
        }
        Self { settings: None, told: format!("libguestfs does not start here: {why}") }
    }

    /// What it is and how it runs, or why not.
    pub(crate) fn told(&self) -> &str {
        &self.told
    }

    /// `words` under its settings; `None` where it does not start.
    pub(crate) fn line(&self, words: &[String]) -> Option<Vec<String>> {
        let settings = self.settings.as_ref()?.iter().map(|(name, value)| format!("{name}={value}"));
        Some(["env".to_owned()].into_iter().chain(settings).chain(words.iter().cloned()).collect())
    }
}

fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    output.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
