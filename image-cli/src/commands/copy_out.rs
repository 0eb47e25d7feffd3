//! `goldimg copy-out`: files of an image into a folder of this machine.

use std::path::PathBuf;
use std::process::ExitCode;

use goldimg::files::{CopyOptions, copy_out};

use super::inside::{self, Inside, absolute};
use crate::failure::{Advise, FAILED, USAGE};
use crate::interrupt;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(mut_arg("snapshot", |snapshot| snapshot.short('l')))]
#[command(after_help = "\
Examples:
  goldimg copy-out debian-12.qcow2 /etc/ssh /etc/fstab saved/
  goldimg copy-out server.qcow2 / tree/
  sudo goldimg copy-out --archive server.qcow2 /srv backup/

Content, permissions and times are kept, links stay links, holes stay holes. No owner, set-user-ID bit, attribute or device comes out \
without being asked for, and nothing is written outside of DIR, whatever names and links the image has.")]
pub(crate) struct Args {
    #[command(flatten)]
    image: Inside,
    /// Files and directories, and the folder that they come into
    #[arg(value_name = "PATH|DIR", required = true, num_args = 2..)]
    paths: Vec<PathBuf>,
    /// With owners, special bits, attributes and devices
    #[arg(short = 'a', long)]
    archive: bool,
    /// With owners
    #[arg(long)]
    owners: bool,
    /// With extended attributes, access control lists and capabilities
    #[arg(long)]
    attributes: bool,
    /// With set-user-ID, set-group-ID and sticky bits
    #[arg(long)]
    special_bits: bool,
    /// With devices and pipes
    #[arg(long)]
    devices: bool,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let Some((folder, paths)) = args.paths.split_last().filter(|(_, paths)| !paths.is_empty()) else {
        return Err(anyhow::anyhow!("no folder to copy into"))
            .hint(|| "write it last: goldimg copy-out IMAGE PATH… DIR")
            .exit_code(USAGE);
    };
    if !folder.is_dir() {
        return Err(anyhow::anyhow!("{} is no folder", folder.display()))
            .hint(|| format!("mkdir {} makes it", folder.display()))
            .exit_code(USAGE);
    }
    let system = args.image.open(ui)?;
    let mut options = CopyOptions::new();
    options.owners = args.archive || args.owners;
    options.attributes = args.archive || args.attributes;
    options.special_bits = args.archive || args.special_bits;
    options.devices = args.archive || args.devices;
    options.replace = args.force;
    interrupt::listen()?;
    let mut failed = 0;
    for path in paths {
        // Of a link what it points to, if only a slash says so.
        let follow = path.to_string_lossy().ends_with('/');
        let Some(walk) = system.walk(&absolute(path), follow)? else {
            failed += 1;
            ui.warning(&inside::not_there(path).to_string());
            continue;
        };
        let done = copy_out(walk, folder, path.file_name(), options, ui.monitor())?;
        failed += done.failed;
        ui.note(&format!("{} files copied from {}", done.files, path.display()));
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { FAILED.into() })
}
