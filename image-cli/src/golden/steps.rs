//! The steps of a recipe, done to the tree in their order.
//!
//! ```text
//! install, remove ─► apt-get in the tree          copy, write ─► files beneath the tree's root
//! run             ─► the script as /run/goldimg/step, by its #! line or /bin/sh -eu
//! ```
//!
//! What a step leaves running ends with its sandbox.

pub(super) mod copy;
mod owner;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bootstrap::ARCHIVES;
use super::bootstrap::local::for_apt;
use super::log::OutOfTime;
use super::recipe::{Run, Step};
use super::secrets::Secrets;
use super::tree::Session;
use crate::error::Advise;

/// Where a script is while it runs.
const SCRIPT: &str = "/run/goldimg/step";

/// What a step does, in a line for people, with what it has and others have not.
pub(crate) fn title(step: &Step) -> String {
    let text = match step {
        Step::Install(packages) => format!("install {}", packages.join(" ")),
        Step::Remove(packages) => format!("remove {}", packages.join(" ")),
        Step::Copy(copy) => format!("copy {} to {}", copy.from.display(), copy.to),
        Step::Write(write) => format!("write {}", write.path),
        Step::Run(run) => {
            let words = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
            format!("run {}", run.script.lines().find(words).unwrap_or_default().trim())
        }
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut title = match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    if let Step::Run(Run { network, secrets, .. }) = step {
        title.extend(network.map(|access| format!(" (network: {access})")));
        if !secrets.is_empty() {
            title.push_str(&format!(" (secrets: {})", secrets.join(", ")));
        }
    }
    title
}

/// Does one step. `folder` is the recipe's. Answers with what it put into the image by name.
///
/// # Errors
/// If it fails, in the words of what failed.
pub(crate) fn run(
    step: &Step,
    folder: &Path,
    secrets: &Secrets,
    session: &Session<'_>,
) -> crate::Result<Vec<PathBuf>> {
    let mut put = Vec::new();
    let tree = session.tree();
    match step {
        Step::Install(packages) => {
            if !tree.exists("/var/lib/apt/lists/lock") {
                // An archive that cannot be asked is told here, and not as a package that there is not.
                apt(session, &["-o", "APT::Update::Error-Mode=any", "update"], &[])?;
            }
            let packages = for_apt(packages, Path::new(ARCHIVES));
            apt(session, &["install", "--no-install-recommends"], &packages)?;
        }
        Step::Remove(packages) => apt(session, &["purge", "--autoremove"], packages)?,
        Step::Copy(copy) => put = copy::copy(copy, folder, tree)?,
        Step::Write(write) => put = write::write(write, tree)?,
        Step::Run(run) => script(run, secrets, session)?,
    }
    Ok(put)
}

fn apt(session: &Session<'_>, what: &[&str], packages: &[String]) -> crate::Result<()> {
    session.resolving(None, |access| {
        let mut command = session.command("apt-get", access)?;
        // Kernels get their initramfs once, after the last step.
        command.env("INITRD", "No").args(["-q", "-y"]).args(what);
        if !packages.is_empty() {
            command.arg("--").args(packages);
        }
        session.tree().log().run(&mut command)
    })
}

fn script(run: &Run, secrets: &Secrets, session: &Session<'_>) -> crate::Result<()> {
    let tree = session.tree();
    tree.write(SCRIPT, &run.script, 0o700)?;
    let result = session.resolving(run.network, |access| {
        let mut command = if run.script.starts_with("#!") {
            session.command(SCRIPT, access)?
        } else {
            let mut shell = session.command("/bin/sh", access)?;
            shell.args(["-eu", SCRIPT]);
            shell
        };
        command.envs(&run.environment).secrets(secrets.only(&run.secrets));
        let limit = run.timeout.map(|seconds| Duration::from_secs(seconds.into()));
        tree.log().run_for(&mut command, limit)
    });
    match result.map_err(hinted) {
        Err(error) if error.cause::<OutOfTime>().is_some() => {
            return Err(error).hint(|| "give it more time with `timeout`; what it said last is in the log");
        }
        done => done?,
    }
    tree.remove(SCRIPT)?;
    Ok(())
}

/// What chattr(1) says where it may not: a step has no right to, and mke2fs would leave the flags out.
const CHATTR_REFUSED: &str = "while setting flags on ";

/// Adds what to do where a script wanted to make a file immutable.
fn hinted(error: crate::Error) -> crate::Error {
    if !format!("{error:#}").contains(CHATTR_REFUSED) {
        return error;
    }
    const HINT: &str = "let systemd do it at boot: a line `h /path - - - - +i` in /etc/tmpfiles.d/own.conf";
    Err::<(), _>(error).hint(|| HINT).map_or_else(|error| error, |()| unreachable!("it was an error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_one_short_line() {
        assert_eq!(title(&Step::Install(vec!["a".into(), "b".into()])), "install a b");
        let run = Run { script: "#!/bin/sh\n\n# why\necho hello\nexit".into(), ..Run::default() };
        assert_eq!(title(&Step::Run(run)), "run echo hello");
        let run = Run { script: "true".into(), secrets: vec!["a".into(), "b".into()], ..Run::default() };
        assert_eq!(title(&Step::Run(run)), "run true (secrets: a, b)");
        let many = title(&Step::Install(vec!["ä".repeat(80)]));
        assert_eq!(many.chars().count(), 61);
    }
}
