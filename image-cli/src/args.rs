//! The command line: global options, and a subcommand with arguments of its own (in `commands/`).

use clap::{ArgMatches, Args, FromArgMatches, Parser, ValueEnum};

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
    /// Say nothing but errors, warnings and data: no progress, no notes, and no verdict, which the exit code is
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

/// The arguments of a subcommand, described when that is the one: describing all of them takes as long as converting a
/// small image.
#[derive(Debug)]
pub(crate) struct Later<A>(pub(crate) A);

impl<A: Args> Args for Later<A> {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.defer(|command| {
            // What the subcommand was called in the list of all stays.
            let about = command.get_about().cloned().unwrap_or_default();
            A::augment_args(command).about(about).long_about(None::<&str>)
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        A::augment_args_for_update(command)
    }
}

impl<A: Args> FromArgMatches for Later<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        A::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
