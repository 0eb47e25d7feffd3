//! The subcommands, one file each: what they take, and what they call.

pub(crate) mod completions;
pub(crate) mod test;

use std::process::ExitCode;

use clap::Subcommand;

use crate::ui::Ui;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print shell completions
    Completions(completions::Args),
    /// Boot an image as a cloud would, and check it
    Test(test::Args),
}

/// Does it.
pub(crate) fn run(command: Command, ui: &Ui) -> anyhow::Result<ExitCode> {
    match command {
        Command::Completions(args) => completions::run(&args, ui),
        Command::Test(args) => test::run(args, ui),
    }
}
