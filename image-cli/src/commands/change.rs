//! Commands that change files in an image: each alone, or several in a script, all or nothing.
//!
//! ```text
//! goldimg rm IMAGE PATH…      ─┐
//! goldimg write IMAGE PATH     ├─► Operation ─► Editor (the engine) ─► finish: through the filesystem's journal
//! goldimg script IMAGE < FILE ─┘      one, or one a line
//! ```

mod operations;
mod script;
mod target;

use std::process::ExitCode;

use anyhow::Context;

use operations::Perform;
pub(crate) use operations::{
    Chmod, Chown, CopyIn, Edit, Link, MakeDirectory, Move, Remove, TarIn, Touch, Truncate, Write,
};
pub(crate) use script::run as run_script;
use target::Target;

use crate::interrupt;
use crate::ui::Ui;

/// An image, and one change.
#[derive(Debug, clap::Args)]
pub(crate) struct One<O: clap::Args> {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    operation: O,
}

/// Makes the change.
pub(crate) fn run<O: clap::Args + Perform>(args: &One<O>, ui: &Ui) -> anyhow::Result<ExitCode> {
    match args.operation.is_by_hand() {
        true => interrupt::leave_to_editor()?,
        false => interrupt::listen()?,
    }
    let path = args.target.path().display().to_string();
    let mut open = args.target.open(ui)?;
    args.operation.perform(open.editor(), ui).with_context(|| format!("changing {path}"))?;
    open.finish().with_context(|| format!("changing {path}"))?;
    Ok(ExitCode::SUCCESS)
}

/// An image, and a script of changes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg script server.qcow2 < changes
  printf '%s\\n' 'mkdir -p /srv/www' 'copy-in site/index.html /srv/www' | goldimg script server.raw

Each line is a command as goldimg has it, without the image: copy-in, tar-in, write, edit, rm, mkdir, mv, ln, chmod, chown, touch, truncate. \
Words are quoted as in a shell; what is behind # is a comment. All of it happens, or nothing does.")]
pub(crate) struct Script {
    #[command(flatten)]
    target: Target,
    /// The commands [default: standard input]
    #[arg(value_name = "FILE")]
    file: Option<std::path::PathBuf>,
}
