//! `goldimg commit`: what an image says, put into its backing file.

use std::path::PathBuf;
use std::process::ExitCode;

use goldimg::printable::printable;
use image_core::block::BlockRead;
use image_core::format::{Commit, Image, OpenOptions, ProtocolNode, commit};
use image_core::progress::Progress;

use super::image::{WriteArgs, advised};
use crate::interrupt;
use crate::ui::Ui;

/// The command line of `goldimg commit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg commit --allow-backing overlay.qcow2
  goldimg commit --allow-backing -d -b golden.qcow2 top.qcow2

The backing file is written, and grows if the image is larger: whatever else reads through it changes. The image is \
emptied then, unless -d or -b is given.")]
pub(crate) struct Args {
    #[command(flatten)]
    image: WriteArgs,
    /// Commit to this one of its backing files, past those between
    #[arg(short = 'b', long, value_name = "FILE")]
    base: Option<PathBuf>,
    /// Leave the image as it is
    #[arg(short = 'd', long)]
    keep: bool,
    /// Show progress: accepted for the sake of scripts, it is shown anyway
    #[arg(short = 'p', hide = true)]
    show_progress: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    interrupt::listen()?;
    let path = &args.image.path;
    let options = args.image.options();
    let open = OpenOptions {
        format: options.format,
        references: options.references,
        share: options.share,
        parse_filename: None,
        size_from: None,
    };
    let size = advised(Image::open(path, open))?.size();
    let watch = ui.bytes("committing", size);
    let mut done = |bytes: u64| {
        watch.advance(bytes);
        if watch.is_cancelled() { Err(image_core::Error::cancelled()) } else { Ok(()) }
    };
    let job = Commit { options, base: args.base.clone(), keep: args.keep };
    let unclosed = args.image.unclosed();
    advised(commit(&ProtocolNode::open(path)?, &job, &mut done))?;
    unclosed.tell(ui);
    ui.note(&format!("{}: committed", printable(&path.display().to_string())));
    Ok(ExitCode::SUCCESS)
}
