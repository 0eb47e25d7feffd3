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

    /// The columns of a help that is not for a terminal.
    const WIDTH: usize = 100;

    /// What is no list is filled to the width of whoever reads it, so it must not be broken here.
    #[test]
    fn every_help_is_filled_evenly() {
        let mut command = super::Arguments::command();
        command.build();
        for each in command.get_subcommands().chain([&command]) {
            let name = each.get_name();
            let below = each.get_after_help().map(ToString::to_string).unwrap_or_default();
            for paragraph in below.split("\n\n") {
                let mut lines = paragraph.lines();
                if paragraph.contains(":\n  ") {
                    assert!(lines.all(|line| line.chars().count() <= WIDTH), "{name}: {paragraph}");
                } else {
                    assert_eq!(lines.count().max(1), 1, "{name}: {paragraph}");
                }
            }
            for argument in each.get_arguments() {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                let is_odd = ["default: ", "probed", ". "]
                    .iter()
                    .any(|odd| help.replace("[default: ", "").contains(odd));
                assert!(
                    !help.is_empty() && !help.ends_with('.') && !help.contains('\n') && !is_odd,
                    "{name}: {help}"
                );
            }
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
