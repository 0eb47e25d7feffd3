//! `goldimg rebase`: another backing file for an image, or none.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use goldimg::printable::printable;
use image_core::block::BlockRead;
use image_core::format::{Differences, Format, Image, NewBacking, OpenOptions, ProtocolNode, rebase};
use image_core::progress::Progress;

use super::image::{WriteArgs, advised};
use super::image_options::look_at;
use crate::failure::{Advise, USAGE};
use crate::interrupt;
use crate::ui::Ui;

/// The command line of `goldimg rebase`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg rebase --allow-backing -b golden-2.qcow2 instance.qcow2
  goldimg rebase --allow-backing -b '' instance.qcow2     it needs no other file any more
  goldimg rebase --allow-backing -c -b '' instance.qcow2  and gets compressed what it had from them
  goldimg rebase -u -b moved/golden.qcow2 instance.qcow2  the same backing file at another place

What the image reads as stays the same, unless -u is given: where the backing files differ, it gets the old content.")]
pub(crate) struct Args {
    #[command(flatten)]
    image: WriteArgs,
    /// The new backing file; a relative name starts at the folder of IMAGE; '' for none
    #[arg(short = 'b', long, value_name = "FILE", value_parser = clap::builder::ValueParser::os_string())]
    backing: OsString,
    /// Its format
    #[arg(short = 'F', long, value_name = "FORMAT")]
    backing_format: Option<Format>,
    /// Change the name only: the new backing file has what the old one had
    #[arg(short = 'u', long = "unchecked")]
    unchecked: bool,
    /// Compress what it gets
    #[arg(short, long, conflicts_with = "unchecked")]
    compress: bool,
    /// Show progress: accepted for the sake of scripts, it is shown anyway
    #[arg(short = 'p', hide = true)]
    show_progress: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    interrupt::listen()?;
    let path = &args.image.path;
    let name = args.backing.as_bytes();
    let new = match (name.is_empty(), args.unchecked, args.backing_format) {
        (true, ..) => None,
        (false, true, format) => {
            let format = format.ok_or_else(|| anyhow::anyhow!("the backing file's format is missing"));
            let format = format.hint(|| super::image_options::FORMAT_HINT).exit_code(USAGE)?;
            Some(NewBacking { name, format: format.name(), read_as: Some(format), node: None })
        }
        (false, false, format) => {
            let format = look_at(path, name, format)?.1;
            Some(NewBacking { name, format: format.name(), read_as: Some(format), node: None })
        }
    };
    let options = args.image.options();
    let unclosed = args.image.unclosed();
    if args.unchecked {
        advised(rebase(&ProtocolNode::open(path)?, options, new, None))?;
    } else {
        let open = OpenOptions {
            format: options.format,
            references: options.references,
            share: options.share,
            parse_filename: None,
            size_from: None,
        };
        let size = advised(Image::open(path, open))?.size();
        let watch = ui.bytes("comparing backing files", size);
        let mut done = |bytes: u64| {
            watch.advance(bytes);
            if watch.is_cancelled() { Err(image_core::Error::cancelled()) } else { Ok(()) }
        };
        advised(rebase(
            &ProtocolNode::open(path)?,
            options,
            new,
            Some(Differences { compress: args.compress, done: &mut done }),
        ))?;
    }
    unclosed.tell(ui);
    let shown = match new {
        Some(_) => format!("its backing file is {}", printable(&args.backing.to_string_lossy())),
        None => "it has no backing file".to_owned(),
    };
    ui.note(&format!("{}: {shown}", printable(&path.display().to_string())));
    Ok(ExitCode::SUCCESS)
}
