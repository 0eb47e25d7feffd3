//! Programs that end with this one: what runs a guest, and what logs in to it.

use std::ffi::OsStr;
use std::io;
use std::process::Command;

use super::find;
use crate::error::{Advise, ErrorKind, Result, err};

/// A program of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Qemu,
    Ssh,
    SshKeygen,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-system-x86_64",
            Self::Ssh => "ssh",
            Self::SshKeygen => "ssh-keygen",
        }
    }

    /// Its package in Debian and Ubuntu.
    fn package(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-system-x86",
            Self::Ssh | Self::SshKeygen => "openssh-client",
        }
    }

    /// A command, looked for in the folders of `path`, that the kernel ends when this program is gone, however that came about, and that cannot gain
    /// privileges.
    pub(crate) fn command(self, path: &OsStr) -> Command {
        let mut command = Command::new("setpriv");
        // Nothing of the caller's is in sight of what a guest may break into, nor tells these programs what to do.
        command.env_clear().env("PATH", path).env("LANG", "C.UTF-8");
        // In its own process group, so that Ctrl-C reaches it through us and in good order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.args(["--pdeathsig", "KILL", "--no-new-privs", "--", self.name()]);
        command
    }

    /// Fails with the package's name if the program is not there.
    pub(crate) fn check(self, path: &OsStr) -> Result<()> {
        for (program, package) in [("setpriv", "util-linux"), (self.name(), self.package())] {
            if find(program, path).is_none() {
                return not_installed(program, package);
            }
        }
        Ok(())
    }

    /// What a failure to start it means.
    pub(crate) fn not_started(self, error: io::Error) -> crate::Error {
        crate::Error::from(error).context(format!("starting {}", self.name()))
    }
}

/// The error of something that a package brings.
pub(crate) fn not_installed<T>(what: &str, package: &str) -> Result<T> {
    Err(err!("{what} is not installed"))
        .of_kind(ErrorKind::Missing)
        .hint(|| format!("sudo apt-get install {package}"))
}
