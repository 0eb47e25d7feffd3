//! `goldimg cat`: what is in files of an image, on standard output.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use goldimg::system::System;
use image_core::fs::NodeKind;

use super::inside::{self, Inside, shown};
use crate::failure::{self, FAILED};
use crate::interrupt;
use crate::ui::Ui;

/// Files are read in such pieces, in bytes.
const PIECE: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
#[command(mut_arg("snapshot", |snapshot| snapshot.short('l')))]
#[command(after_help = "\
Examples:
  goldimg cat debian-12.qcow2 /etc/os-release
  goldimg cat debian-12.qcow2 /var/log/cloud-init.log | tail
  goldimg cat -l before-update server.qcow2 /etc/fstab

Links are followed as the booted system would. What is in the file goes to standard output byte for byte.")]
pub(crate) struct Args {
    #[command(flatten)]
    image: Inside,
    /// The files, one behind the other
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let system = args.image.open(ui)?;
    let mut failed = false;
    for path in &args.paths {
        match print(&system, path, ui) {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) if interrupt::requested() => interrupt::check()?,
            Err(error) if args.paths.len() == 1 => return Err(error),
            // The others are printed all the same.
            Err(error) => {
                failed = true;
                ui.warning(&failure::render(&error));
            }
        }
    }
    Ok(if failed { FAILED.into() } else { ExitCode::SUCCESS })
}

/// Prints the file at `path`; whether anybody reads on.
fn print(system: &System, path: &Path, ui: &Ui) -> anyhow::Result<bool> {
    let name = shown(path.as_os_str().as_bytes());
    let found = inside::find(system, path, true)?;
    let node = found.node?;
    if node.kind != NodeKind::File {
        return Err(anyhow::anyhow!("{name}: it is no regular file"));
    }
    let doing = || format!("reading {name}");
    let content = found.fs.content(&node).with_context(doing)?;
    let mut bytes = vec![0; node.size.min(PIECE) as usize];
    let mut at = 0;
    while at < node.size {
        interrupt::check()?;
        let piece = bytes.len().min((node.size - at) as usize);
        let piece = &mut bytes[..piece];
        content.read_at(piece, at).with_context(doing)?;
        if !ui.data_wanted(piece)? {
            return Ok(false);
        }
        at += piece.len() as u64;
    }
    Ok(true)
}
