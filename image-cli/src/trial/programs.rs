//! The programs that a trial starts, and the packages that have them.

use std::io;
use std::process::Command;

use anyhow::{Result, anyhow};

use crate::failure::Advise;

/// A program of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
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

    /// A command that the kernel ends when this program is gone, however that came about, and that cannot gain
    /// privileges.
    pub(super) fn command(self) -> Command {
        let mut command = Command::new("setpriv");
        // In its own process group, so that Ctrl-C reaches it through us and in good order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.args(["--pdeathsig", "KILL", "--no-new-privs", "--", self.name()]);
        command
    }

    /// Fails with the package's name if the program is not there.
    pub(super) fn check(self) -> Result<()> {
        for (program, package) in [("setpriv", "util-linux"), (self.name(), self.package())] {
            let there = std::env::var_os("PATH").is_some_and(|path| {
                std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
            });
            if !there {
                return missing(program, package);
            }
        }
        Ok(())
    }

    /// What a failure to start it means.
    pub(super) fn not_started(self, error: io::Error) -> anyhow::Error {
        anyhow::Error::from(error).context(format!("starting {}", self.name()))
    }
}

/// The error of something that a package brings.
pub(super) fn missing<T>(what: &str, package: &str) -> Result<T> {
    Err(anyhow!("{what} is not installed")).hint(|| format!("sudo apt-get install {package}"))
}
