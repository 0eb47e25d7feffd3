//! `goldimg seal`: removes from an image what must not be cloned.

use std::path::PathBuf;
use std::process::ExitCode;

use image_core::format::Format;
use serde_json::json;

use super::audit::{as_json, table};
use super::image::human_size;
use crate::audit::{Expected, Profile};
use crate::failure::FAILED;
use crate::printable::printable;
use crate::seal::{self, Request};
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg seal --plan server.qcow2              what would be done
  goldimg seal -o golden.qcow2 server.qcow2
  goldimg seal --keep /etc/hostname --profile any appliance.raw

Ids, keys, passwords, leases, logs, histories, credentials and caches go; unused space becomes empty. The image needs
an ext4 root filesystem; it is neither mounted nor booted, no root is needed, and it stays as it was until all is done.

Exit code: 0 if the sealed image passes the audit, 1 if a problem is left that sealing does not repair.")]
pub(crate) struct Args {
    /// The image; it is replaced when all is done, unless -o is given
    image: PathBuf,
    /// The format: raw or qcow2 (probed if not given)
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Where the sealed image goes
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace an output that exists
    #[arg(long)]
    force: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    plan: bool,
    /// For whom it is: what the audit in the end looks after
    #[arg(long, value_enum, default_value_t = Profile::Openstack)]
    profile: Profile,
    /// A path in the image that stays (may be given more than once)
    #[arg(long, value_name = "PATH")]
    keep: Vec<PathBuf>,
    /// Passwords stay
    #[arg(long)]
    keep_passwords: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let expected = Expected { keep: args.keep, keep_passwords: args.keep_passwords, ..Expected::default() };
    let request = Request {
        image: args.image,
        format: args.format,
        output: args.output,
        force: args.force,
        profile: args.profile,
        expected,
    };
    let words = |changes: &[seal::Change]| -> Vec<String> {
        changes.iter().map(|change| printable(&change.to_string())).collect()
    };
    if args.plan {
        let changes = words(&seal::plan(&request)?.changes);
        match args.json {
            true => ui.json(&json!({ "changes": changes }))?,
            false => changes.iter().try_for_each(|change| ui.line(change))?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let sealed = seal::seal(&request, ui)?;
    let changes = words(&sealed.changes);
    if args.json {
        let audit = as_json(&sealed.report)?;
        ui.json(&json!({ "changes": changes, "stale-bytes": sealed.stale_bytes, "audit": audit }))?;
    } else {
        changes.iter().try_for_each(|change| ui.line(change))?;
        ui.line(&format!("emptied unused space: {} were in it", human_size(sealed.stale_bytes)))?;
        ui.data(table(&sealed.report).as_bytes())?;
    }
    Ok(if sealed.report.passed { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
