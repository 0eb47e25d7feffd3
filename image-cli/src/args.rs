//! The command line: global options, and a subcommand with arguments of its own (in `commands/`).

use clap::{Args, Parser, ValueEnum};

use crate::commands::Command;

/// Builds, converts, checks, boots and uploads golden disk images.
#[derive(Debug, Parser)]
#[command(name = "goldimg", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Started under the name qemu-img (or as `goldimg qemu-img …`) it takes qemu-img's options."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) talk: Talk,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How much is said on standard error.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Talk {
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// How progress is shown on standard error
    #[arg(long, global = true, value_enum, default_value_t, value_name = "HOW")]
    pub(crate) progress: ProgressMode,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// A bar on a terminal, plain lines to a pipe
    #[default]
    Auto,
    /// Plain lines
    Plain,
    /// One JSON object a line
    Json,
    /// None
    None,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
