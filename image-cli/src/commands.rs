//! The subcommands, one file each: what they take, and what they call.

pub(crate) mod completions;
pub(crate) mod convert;

use std::process::ExitCode;

use clap::Subcommand;

use crate::ui::Ui;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Convert a disk image: raw and qcow2, compressed or not
    Convert(convert::Args),
    /// Print shell completions
    Completions(completions::Args),
}

/// Does it.
pub(crate) fn run(command: Command, ui: &Ui) -> anyhow::Result<ExitCode> {
    match command {
        Command::Convert(args) => convert::run(&args, ui),
        Command::Completions(args) => completions::run(&args, ui),
    }
}
