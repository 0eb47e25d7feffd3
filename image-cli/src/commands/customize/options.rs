//! Options that do something: each becomes steps, in the order they are written in.
//!
//! ```text
//! command line ─► asked: names and values by their indices ─┐
//! --commands-from-file ─────────────────────────────────────┴─► OPTIONS: name ─► steps ─► held to the rules of recipes
//! ```

use std::path::Path;

use anyhow::{Context, anyhow};
use clap::{Arg, ArgAction, ArgMatches, Command};
use goldimg::Monitor;
use goldimg::golden::recipe::{
    AppendLine, ChangeMode, ChangeOwner, CloudConfig, Delete, Edit, Link, MakeDirectory, Missing, Move, Run,
    Step, Update, User, Write,
};
use goldimg::golden::{Asked as Secret, check_step, load_steps};
use goldimg::nearest::nearest;

use super::{script, values};
use crate::failure::{Advise, USAGE};

/// The heading above them in the help.
const HEADING: &str = "What is done, in the order given";
/// The option that reads others from a file.
const FROM_FILE: &str = "commands-from-file";
/// The option that changes what all updates mean.
const NO_KERNEL: &str = "no-kernel-update";

/// An option as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    name: String,
    value: String,
    /// The line of a file, if it is in one.
    place: Option<String>,
}

/// What steps are made with.
struct Making<'a> {
    /// Of the caller.
    home: Option<&'a Path>,
    /// Whether updates are for kernels, too.
    kernel: bool,
    monitor: Monitor<'a>,
    secrets: Vec<Secret>,
}

/// An option, and what becomes of its value.
struct Kind {
    name: &'static str,
    /// What the value is called; empty where there is none.
    value: &'static str,
    help: &'static str,
    make: fn(&str, &mut Making<'_>) -> anyhow::Result<Vec<Step>>,
}

/// Makes one step.
macro_rules! kinds {
    ($($name:literal $value:literal $help:literal $make:expr;)*) => {
        &[$(Kind { name: $name, value: $value, help: $help, make: $make }),*]
    };
}

/// All of them, as the help shows them.
const OPTIONS: &[Kind] = kinds! {
    "install" "P[,P…]" "Install packages, by the image's own package manager"
        |text, _| packages(text).map(|names| vec![Step::Install(names)]);
    "remove" "P[,P…]" "Remove packages"
        |text, _| packages(text).map(|names| vec![Step::Remove(names)]);
    "update" "" "Bring all packages up to date"
        |_, making| Ok(vec![Step::Update(Update { kernel: making.kernel })]);
    "no-kernel-update" "" "Leave kernels out of every --update" |_, _| Ok(Vec::new());
    "run" "FILE" "Run this script in the image, by its #! line or /bin/sh -eu"
        |text, _| Ok(vec![Step::Run(Run { script: values::file(text)?, ..Run::default() })]);
    "run-command" "COMMAND" "Run this in the image, by /bin/sh -eu"
        |text, _| Ok(vec![Step::Run(Run { script: text.to_owned(), ..Run::default() })]);
    "copy-in" "SOURCE:DIR" "Copy a file or folder of this machine into a folder of the image"
        |text, _| Ok(vec![Step::Copy(values::copy_in(text)?)]);
    "write" "PATH:TEXT" "Write a file: this text, and nothing behind it" |text, _| {
        let (path, content) = values::behind_path(text, "PATH:TEXT")?;
        let (path, content) = (path.to_owned(), content.to_owned());
        Ok(vec![Step::Write(Write { path, content, owner: None, mode: None, append: false })])
    };
    "append-line" "PATH:LINE" "Add a line to a file" |text, _| {
        let (path, line) = values::behind_path(text, "PATH:LINE")?;
        Ok(vec![Step::AppendLine(AppendLine { path: path.to_owned(), line: line.to_owned() })])
    };
    "edit" "PATH:EXPR" "Change a text, as sed -E does: s/PATTERN/REPLACEMENT/, with g or i behind it" |text, _| {
        let (path, expression) = values::behind_path(text, "PATH:EXPR")?;
        Ok(vec![Step::Edit(Edit { path: path.to_owned(), expressions: vec![expression.to_owned()] })])
    };
    "delete" "PATH" "Remove files and folders; names may have *, and something must be there"
        |text, _| Ok(vec![Step::Delete(Delete { paths: vec![text.to_owned()], missing: Missing::Fail })]);
    "mkdir" "PATH" "Make a folder, and its parents"
        |text, _| Ok(vec![Step::MakeDirectory(MakeDirectory { path: text.to_owned(), owner: None, mode: None })]);
    "chmod" "MODE:PATH" "Change permissions: 0640, or u+x,go-w" |text, _| {
        let (mode, path) = values::before_path(text, "MODE:PATH")?;
        Ok(vec![Step::ChangeMode(ChangeMode { path: path.to_owned(), mode: mode.to_owned() })])
    };
    "chown" "USER[:GROUP]:PATH" "Change the owner; the group is called as the user where none is said" |text, _| {
        let (owner, path) = values::before_path(text, "USER[:GROUP]:PATH")?;
        let (path, owner) = (path.to_owned(), values::owner(owner));
        Ok(vec![Step::ChangeOwner(ChangeOwner { path, owner, recursive: false })])
    };
    "move" "FROM:TO" "Move something, into a folder or over a file" |text, _| {
        let (from, to) = values::before_path(text, "FROM:TO")?;
        Ok(vec![Step::Move(Move { from: from.to_owned(), to: to.to_owned() })])
    };
    "link" "TARGET:LINK" "Make a symbolic link" |text, _| {
        let (target, path) = values::before_path(text, "TARGET:LINK")?;
        Ok(vec![Step::Link(Link { target: target.to_owned(), path: path.to_owned(), hard: false })])
    };
    "touch" "PATH" "Make an empty file, or give one the date of today" |text, _| Ok(vec![Step::Touch(vec![text.to_owned()])]);
    "truncate" "PATH" "Make a file empty" |text, _| Ok(vec![Step::Truncate(vec![text.to_owned()])]);
    "hostname" "NAME" "Set the host's name" |text, _| Ok(vec![Step::Hostname(text.to_owned())]);
    "timezone" "ZONE" "Set the time zone, such as Europe/Berlin" |text, _| Ok(vec![Step::Timezone(text.to_owned())]);
    "locale" "LOCALE" "Set the language, such as de_DE.UTF-8" |text, _| Ok(vec![Step::Locale(text.to_owned())]);
    "root-password" "SPEC" "Set the password of root" |text, making| password("root", text, making);
    "password" "USER:SPEC" "Set the password of an account" |text, making| {
        let (user, spec) = text.split_once(':').with_context(|| "no SPEC follows the user".to_owned())?;
        password(user, spec, making)
    };
    "user" "NAME" "Make an account" |text, _| Ok(vec![Step::User(User { name: text.to_owned(), ..User::default() })]);
    "ssh-inject" "USER[:file:FILE|:string:KEY]" "Let a key log in to an account: one that is named, or your own"
        |text, making| Ok(vec![Step::SshKey(values::ssh_key(text, making.home)?)]);
    "firstboot" "FILE" "Run this script once, when the image is booted first"
        |text, _| Ok(vec![Step::FirstBoot(values::file(text)?)]);
    "firstboot-command" "COMMAND" "Run this once, when the image is booted first"
        |text, _| Ok(vec![Step::FirstBoot(text.to_owned())]);
    "cloud-init-config" "FILE" "Add a file to cloud-init's configuration; its name ends in .cfg" |text, _| {
        let name = Path::new(text).file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        Ok(vec![Step::CloudInitConfig(CloudConfig { name, content: values::file(text)? })])
    };
    "datasources" "A[,B…]" "Say where cloud-init looks for its data, in this order"
        |text, _| Ok(vec![Step::Datasources(values::words(text))]);
    "kernel-argument" "WORD" "Add a word to the kernel's command line; behind a - one that goes"
        |text, _| Ok(vec![Step::KernelArgument(vec![text.to_owned()])]);
    "steps" "FILE" "Do the [[steps]] in this file, as recipes have them"
        |text, making| Ok(load_steps(Path::new(text), making.monitor)?);
    "commands-from-file" "FILE" "Do what is in this file, an option a line" |_, _| Ok(Vec::new());
};

fn packages(text: &str) -> anyhow::Result<Vec<String>> {
    let names = values::words(text);
    match names.iter().find(|name| name.contains('/')) {
        None => Ok(names),
        Some(file) => Err(anyhow!("{file} is a file, and packages are named"))
            .hint(|| "--copy-in FILE:/root, and --run-command with the image's own package manager"),
    }
}

fn password(user: &str, spec: &str, making: &mut Making<'_>) -> anyhow::Result<Vec<Step>> {
    let (password, secret) = values::password(user, spec)?;
    making.secrets.extend(secret);
    Ok(vec![Step::Password(password)])
}

/// `command`, with all of them.
pub(super) fn augment(command: Command) -> Command {
    let option = |kind: &Kind| {
        let arg = Arg::new(kind.name).long(kind.name).help(kind.help).help_heading(HEADING);
        let arg = arg.action(ArgAction::Append);
        match kind.value {
            "" => arg.num_args(0).default_missing_value(""),
            value => arg.value_name(value).num_args(1).allow_hyphen_values(true),
        }
    };
    command.args(OPTIONS.iter().map(option))
}

/// Those that were given, in their order.
pub(super) fn asked(matches: &ArgMatches) -> Vec<Asked> {
    let mut found = Vec::new();
    for Kind { name, .. } in OPTIONS {
        let values = matches.get_many::<String>(name).into_iter().flatten();
        let indices = matches.indices_of(name).into_iter().flatten();
        found.extend(indices.zip(values).map(|(index, value)| {
            (index, Asked { name: (*name).to_owned(), value: value.to_owned(), place: None })
        }));
    }
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, asked)| asked).collect()
}

/// What they mean, and the secrets of which passwords are made. `home` is the caller's.
///
/// # Errors
/// With the option that cannot be done, and exit code 64.
pub(super) fn steps(
    asked: &[Asked],
    home: Option<&Path>,
    monitor: Monitor<'_>,
) -> anyhow::Result<(Vec<Step>, Vec<Secret>)> {
    let mut all = Vec::new();
    for one in asked {
        match one.name == FROM_FILE {
            true => all.extend(from_file(&one.value)?),
            false => all.push(one.clone()),
        }
    }
    let kernel = !all.iter().any(|one| one.name == NO_KERNEL);
    let mut making = Making { home, kernel, monitor, secrets: Vec::new() };
    let mut steps = Vec::new();
    for one in &all {
        steps.extend(made(one, &mut making).with_context(|| one.shown()).exit_code(USAGE)?);
    }
    Ok((steps, making.secrets))
}

fn made(asked: &Asked, making: &mut Making<'_>) -> anyhow::Result<Vec<Step>> {
    let kind = OPTIONS.iter().find(|kind| kind.name == asked.name).context("it is not known")?;
    let steps = (kind.make)(&asked.value, making)?;
    steps.iter().try_for_each(|step| check_step(step, Path::new("/")))?;
    Ok(steps)
}

/// The options of a file.
fn from_file(path: &str) -> anyhow::Result<Vec<Asked>> {
    let mut found = Vec::new();
    for (line, name, value) in script::read(Path::new(path))? {
        let place = format!("{path}:{line}");
        let known = OPTIONS.iter().filter(|kind| kind.name != FROM_FILE);
        let kind = known.clone().find(|kind| kind.name == name);
        let problem = match kind {
            None => {
                let near = nearest(&name, known.map(|kind| kind.name));
                let near = near.map(|near| format!(": did you mean {near}?")).unwrap_or_default();
                Some(format!("{place}: there is no option {name:?}{near}"))
            }
            Some(kind) if kind.value.is_empty() && !value.is_empty() => {
                Some(format!("{place}: {name} takes no value"))
            }
            Some(kind) if !kind.value.is_empty() && value.is_empty() => {
                Some(format!("{place}: {name} needs {}", kind.value))
            }
            Some(_) => None,
        };
        if let Some(problem) = problem {
            return Err(anyhow!(problem)).exit_code(USAGE);
        }
        found.push(Asked { name, value, place: Some(place) });
    }
    Ok(found)
}

impl Asked {
    /// For people; not with what may be a password.
    fn shown(&self) -> String {
        let place = self.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
        match self.name.ends_with("password") || self.value.is_empty() {
            true => format!("{place}--{}", self.name),
            false => format!("{place}--{} {}", self.name, self.value),
        }
    }
}

#[cfg(test)]
mod tests;
