//! `goldimg completions`: shell completions and man pages, from the same description as the command line itself.

use std::process::ExitCode;

use clap::{CommandFactory, ValueEnum};
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
    /// The man page
    Man,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For which shell, or `man` for the man page
    #[arg(value_enum)]
    target: For,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let mut command = Arguments::command();
    let mut text = Vec::new();
    let shell = match args.target {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
        For::Man => {
            clap_mangen::Man::new(command).render(&mut text)?;
            ui.data(&text)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    clap_complete::generate(shell, &mut command, "goldimg", &mut text);
    ui.data(&text)?;
    Ok(ExitCode::SUCCESS)
}
