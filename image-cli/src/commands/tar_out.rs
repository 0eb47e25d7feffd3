//! `goldimg tar-out`: files of an image as an archive.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use goldimg::files::tar_out;
use goldimg::printable::printable;
use image_core::new_file::{Existing, NewFile};

use super::inside::{self, Inside, absolute};
use crate::interrupt;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(mut_arg("snapshot", |snapshot| snapshot.short('l')))]
#[command(after_help = "\
Examples:
  goldimg tar-out debian-12.qcow2 / tree.tar
  goldimg tar-out debian-12.qcow2 /etc - | zstd > etc.tar.zst
  sudo tar -x --xattrs --xattrs-include='*' --acls -f tree.tar -C tree

Owners, modes, times to the nanosecond, attributes, capabilities, access control lists, hard links, sparse files and devices are kept \
(pax format; GNU tar and bsdtar restore them). The same files make the same bytes.")]
pub(crate) struct Args {
    #[command(flatten)]
    image: Inside,
    /// The directory that is packed [default: /], and the archive; - is standard output
    #[arg(value_name = "PATH|FILE", required = true, num_args = 1..=2)]
    words: Vec<PathBuf>,
    /// Replace the archive if it is there
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let (path, target) = match args.words.as_slice() {
        [path, target] => (path.as_path(), target.as_path()),
        [target] => (Path::new("/"), target.as_path()),
        _ => anyhow::bail!("no archive is named"),
    };
    let system = args.image.open(ui)?;
    let walk = system.walk(&absolute(path), true)?.ok_or_else(|| inside::not_there(path))?;
    interrupt::listen()?;
    let monitor = ui.monitor();
    let packed = if target == Path::new("-") {
        let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
        tar_out(walk, &mut out, monitor.cancel())?
    } else {
        let existing = if args.force { Existing::Replace } else { Existing::Refuse };
        let new = NewFile::at(target, existing)?;
        let mut out = BufWriter::with_capacity(1 << 20, new.writer()?);
        let packed = tar_out(walk, &mut out, monitor.cancel())?;
        out.flush().with_context(|| format!("writing {}", target.display()))?;
        new.keep()?;
        packed
    };
    for path in &packed.left_out {
        ui.warning(&format!("{}: left out: archives have no sockets", printable(path)));
    }
    ui.note(&format!("{} files packed", packed.files));
    Ok(ExitCode::SUCCESS)
}
