//! `goldimg seal`: removes from an image what must not be cloned.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::audit::{Audited, as_json, ended, table};
use super::image::human_size;
use crate::printable::printable;
use crate::seal::{self, Request};
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg seal --plan server.qcow2              what would be done
  goldimg seal -o golden.qcow2 server.qcow2
  goldimg seal --keep /etc/hostname --profile any appliance.raw

Ids, keys, passwords, leases, logs, histories, credentials and caches go; unused space becomes empty. The image needs \
an ext4 root filesystem; it is neither mounted nor booted, no root is needed, and it stays as it was until all is done. \
What --keep names stays; the audit at the end is that of --profile.

Exit code: 0 if the sealed image passes the audit, 1 if a problem is left that sealing does not repair.")]
pub(crate) struct Args {
    #[command(flatten)]
    audited: Audited,
    /// Where the sealed image goes [default: into the image's place, when all is done]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace an output that exists
    #[arg(long)]
    force: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    plan: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let expected = args.audited.expected();
    let Audited { image, format, profile, .. } = &args.audited;
    let request = Request {
        image: image.clone(),
        format: *format,
        output: args.output.clone(),
        force: args.force,
        profile: *profile,
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
    let mut sealed = seal::seal(&request, ui)?;
    sealed.report = args.audited.judged(sealed.report);
    let changes = words(&sealed.changes);
    if sealed.other_names > 0 {
        ui.warning("the image has other names (hard links), under which it is not sealed: ls -i shows them");
    }
    if args.json {
        let audit = as_json(&sealed.report)?;
        ui.json(&json!({ "changes": changes, "stale-bytes": sealed.stale_bytes, "audit": audit }))?;
    } else {
        changes.iter().try_for_each(|change| ui.verdict(&format!("{change}\n")))?;
        ui.verdict(&format!("emptied unused space: {} were in it\n", human_size(sealed.stale_bytes)))?;
        ui.verdict(&table(&sealed.report))?;
    }
    Ok(ended(&sealed.report, ui))
}
