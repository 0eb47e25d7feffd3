//! `goldimg completions`: shell completions and man pages, from the same description as the command line itself.

mod manual;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;

use crate::args::Arguments;
use crate::ui::Ui;

/// What is printed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum For {
    /// Bash
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
    /// The man pages
    Man,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg completions bash > ~/.local/share/bash-completion/completions/goldimg
  goldimg completions man --into ~/.local/share/man/man1

`make install` and the Debian package bring all of them.")]
pub(crate) struct Args {
    /// For which shell, or `man` for man pages
    #[arg(value_enum)]
    target: For,
    /// Write into this folder, under the names that are looked for there; `man` writes a page of each subcommand too
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let command = Arguments::command();
    let (shell, name) = match args.target {
        For::Bash => (Shell::Bash, "goldimg"),
        For::Zsh => (Shell::Zsh, "_goldimg"),
        For::Fish => (Shell::Fish, "goldimg.fish"),
        For::Man => return man(command, args.into.as_deref(), ui),
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut offered(command), "goldimg", &mut text);
    match &args.into {
        Some(folder) => write(folder, name, &text)?,
        None => ui.data(&text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What a shell offers of `command`: clap_complete would offer what is hidden from the help, too.
fn offered(mut command: Command) -> Command {
    // Describes the subcommands, whose options are read only then.
    command.build();
    shown(&command)
}

fn shown(built: &Command) -> Command {
    let arguments = built.get_arguments().filter(|argument| !argument.is_hide_set());
    let subcommands = built.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
    // Names of commands live as long as the program. Help and version are among the arguments.
    Command::new(&*built.get_name().to_owned().leak())
        .about(built.get_about().cloned().unwrap_or_default())
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args(arguments.cloned())
        .subcommands(subcommands.map(shown))
}

/// The page of `goldimg`, or into a folder: of each subcommand too.
fn man(command: Command, folder: Option<&Path>, ui: &Ui) -> anyhow::Result<ExitCode> {
    let mut command = command.disable_help_subcommand(true);
    // Describes the subcommands, and gives them the options of all.
    command.build();
    let Some(folder) = folder else {
        ui.data(manual::page(&command)?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    let shown = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
    for each in shown.chain([&command]) {
        write(folder, &format!("{}.1", manual::name(each)), manual::page(each)?.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(folder: &Path, name: &str, text: &[u8]) -> anyhow::Result<()> {
    let path = folder.join(name);
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
    written.with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_shell_offers_what_the_help_does_not_show() {
        let command = || {
            let options = [
                clap::Arg::new("level").long("level").num_args(1),
                clap::Arg::new("old").long("outdated").hide(true).num_args(0),
            ];
            let seen = Command::new("visible").about("Seen").args(options);
            Command::new("goldimg").version("1").subcommands([seen, Command::new("inner").hide(true)])
        };
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut offered(command()), "goldimg", &mut text);
            let text = String::from_utf8(text).unwrap();
            for (word, is_there) in
                [("visible", true), ("level", true), ("inner", false), ("outdated", false)]
            {
                assert_eq!(text.contains(word), is_there, "{shell}: {word}");
            }
        }
    }
}
