//! The steps of a recipe, done to the tree in their order.
//!
//! ```text
//! install, remove, update ─► the tree's package manager (packages.rs)
//! run                     ─► the script as /run/goldimg/step, by its #! line or /bin/sh -eu
//! copy, write, edit, …    ─► files beneath the tree's root (copy.rs, write.rs, files.rs)
//! password, user, ssh-key ─► the tree's useradd and chpasswd, and its files (accounts.rs)
//! all others              ─► files that the system reads (settings.rs, first_boot.rs, kernel_arguments.rs, cloud.rs)
//! ```
//!
//! What a step leaves running ends with its sandbox.

mod accounts;
mod cloud;
pub(super) mod copy;
mod files;
mod first_boot;
mod kernel_arguments;
mod owner;
mod packages;
mod settings;
mod text;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::log::OutOfTime;
use super::recipe::{Credential, Password, Run, Step, Update};
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
        Step::Run(run) => format!("run {}", first_words(&run.script)),
        Step::Update(Update { kernel: true }) => "bring all packages up to date".into(),
        Step::Update(Update { kernel: false }) => "bring all packages but kernels up to date".into(),
        Step::Edit(edit) => format!("edit {}", edit.path),
        Step::AppendLine(own) => format!("add a line to {}", own.path),
        Step::Delete(delete) => format!("delete {}", delete.paths.join(" ")),
        Step::MakeDirectory(folder) => format!("make the folder {}", folder.path),
        Step::ChangeMode(change) => format!("change the mode of {} to {}", change.path, change.mode),
        Step::ChangeOwner(change) => {
            let owner = &change.owner;
            format!("change the owner of {} to {}:{}", change.path, owner.user, owner.group)
        }
        Step::Move(own) => format!("move {} to {}", own.from, own.to),
        Step::Link(link) => format!("link {} to {}", link.path, link.target),
        Step::Touch(paths) => format!("touch {}", paths.join(" ")),
        Step::Truncate(paths) => format!("empty {}", paths.join(" ")),
        Step::Hostname(name) => format!("set the host's name to {name}"),
        Step::Timezone(zone) => format!("set the time zone to {zone}"),
        Step::Locale(locale) => format!("set the locale to {locale}"),
        Step::Password(Password { user, credential }) => match credential {
            Credential::Secret(_) | Credential::Hash(_) => format!("set the password of {user}"),
            Credential::Locked => format!("lock the password of {user}"),
            Credential::Disabled => format!("take away the password of {user}"),
        },
        Step::User(user) => format!("make the account {}", user.name),
        Step::SshKey(key) => format!("add an SSH key for {}", key.user),
        Step::FirstBoot(script) => format!("run at the first boot {}", first_words(script)),
        Step::KernelArgument(words) => format!("change the kernel's command line: {}", words.join(" ")),
        Step::CloudInitConfig(config) => format!("configure cloud-init: {}", config.name),
        Step::Datasources(sources) => format!("set cloud-init's sources of data: {}", sources.join(" ")),
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut title = match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    if let Step::Run(Run { network: Some(access), .. }) = step {
        title.push_str(&format!(" (network: {access})"));
    }
    if !step.secrets().is_empty() {
        title.push_str(&format!(" (secrets: {})", step.secrets().join(", ")));
    }
    title
}

/// Step number `index`, from 0, as a build and its plan name it.
pub(crate) fn heading(index: usize, step: &Step) -> String {
    format!("step {}: {}", index.saturating_add(1), title(step))
}

/// The first line of a script that says something.
fn first_words(script: &str) -> &str {
    let words = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    script.lines().find(words).unwrap_or_default().trim()
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
    let tree = session.tree();
    let none = |()| Vec::new();
    match step {
        Step::Install(packages) => packages::install(packages, session).map(none),
        Step::Remove(packages) => packages::remove(packages, session).map(none),
        Step::Update(update) => packages::update(*update, session).map(none),
        Step::Run(run) => script(run, secrets, session).map(none),
        Step::Copy(copy) => copy::copy(copy, folder, tree),
        Step::Write(write) => write::write(write, tree),
        Step::Edit(edit) => files::edit(edit, tree),
        Step::AppendLine(own) => files::append_line(own, tree),
        Step::Delete(delete) => files::delete(delete, tree).map(none),
        Step::MakeDirectory(own) => files::make_directory(own, tree),
        Step::ChangeMode(change) => files::change_mode(change, tree).map(none),
        Step::ChangeOwner(change) => files::change_owner(change, tree).map(none),
        Step::Move(own) => files::rename(own, tree),
        Step::Link(link) => files::link(link, tree),
        Step::Touch(paths) => files::touch(paths, tree),
        Step::Truncate(paths) => files::truncate(paths, tree).map(none),
        Step::Hostname(name) => settings::hostname(name, tree),
        Step::Timezone(zone) => settings::timezone(zone, tree),
        Step::Locale(locale) => settings::locale(locale, tree),
        Step::Password(password) => accounts::password(password, secrets, tree).map(none),
        Step::User(user) => accounts::user(user, tree),
        Step::SshKey(key) => accounts::ssh_key(key, tree),
        Step::FirstBoot(script) => first_boot::first_boot(script, tree),
        Step::KernelArgument(words) => kernel_arguments::kernel_arguments(words, tree),
        Step::CloudInitConfig(config) => cloud::config(config, tree),
        Step::Datasources(sources) => cloud::datasources(sources, tree),
    }
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
