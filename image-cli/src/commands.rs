//! The subcommands, one file each: what they take, and what they call.

pub(crate) mod completions;

use std::process::ExitCode;

use clap::Subcommand;

use crate::ui::Ui;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print shell completions
    Completions(completions::Args),
}

/// Does it.
pub(crate) fn run(command: Command, ui: &Ui) -> anyhow::Result<ExitCode> {
    match command {
        Command::Completions(args) => completions::run(&args, ui),
    }
}
