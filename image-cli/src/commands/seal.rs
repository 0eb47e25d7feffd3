//! `goldimg seal`: removes from an image what must not be cloned.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use goldimg::printable::printable;
use goldimg::seal::{self, Chosen, OPERATIONS, Request};
use serde_json::json;

use super::audit::{Audited, as_json, ended, table};
use super::image::human_size;
use crate::interrupt;
use crate::ui::Ui;

/// The option that only says what there is.
const LIST: &str = "list";

/// Which of the two is asked for.
#[derive(Debug)]
pub(crate) enum Args {
    /// What sealing does.
    List,
    /// To do it.
    Seal(Box<Sealing>),
}

impl clap::Args for Args {
    fn augment_args(command: Command) -> Command {
        let list = Arg::new(LIST).long(LIST).action(ArgAction::SetTrue).exclusive(true);
        Sealing::augment_args(command)
            .arg(list.help("Say what sealing does, by names for --enable and --disable"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Args {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.get_flag(LIST) {
            true => Ok(Self::List),
            false => Sealing::from_arg_matches(matches).map(|args| Self::Seal(Box::new(args))),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// How an image is sealed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg seal --plan server.qcow2              what would be done
  goldimg seal -o golden.qcow2 server.qcow2
  goldimg seal --keep /etc/hostname --profile any appliance.raw

--list names what is done; --enable and --disable choose from it. \
Ids, keys, passwords, leases, logs, histories, credentials and caches go; unused space becomes empty. The image needs \
a root filesystem of ext4, XFS or Btrfs; XFS and Btrfs are changed by its own kernel in a QEMU. No root is needed, and \
the image stays as it was until all is done. \
What --keep names stays; the audit at the end is that of --profile.

SOURCE_DATE_EPOCH sets the times of what is changed: the same image then becomes the same bytes. An image with nothing \
to seal stays as it is, byte for byte.

Exit code: 0 if the sealed image passes the audit, 1 if a problem is left that sealing does not repair.")]
pub(crate) struct Sealing {
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
    /// Do only this of it (may be given more than once)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    enable: Vec<String>,
    /// Leave this of it out (may be given more than once)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    disable: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    match args {
        Args::List => list(ui),
        Args::Seal(args) => seal(*args, ui),
    }
}

fn list(ui: &Ui) -> anyhow::Result<ExitCode> {
    for operation in OPERATIONS {
        ui.line(&format!("{:<22}{}", operation.name, operation.what))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn seal(args: Sealing, ui: &Ui) -> anyhow::Result<ExitCode> {
    let expected = args.audited.expected();
    let chosen = Chosen::new(&args.enable, &args.disable)?;
    let Audited { image, format, profile, .. } = &args.audited;
    let mut request = Request::new(image);
    request.format = *format;
    request.output.clone_from(&args.output);
    request.force = args.force;
    request.profile = profile.0;
    request.expected = expected;
    request.chosen = chosen;
    request.variables = std::env::vars_os().collect();
    let words = |changes: &[seal::Change]| -> Vec<String> {
        changes.iter().map(|change| printable(&change.to_string())).collect()
    };
    if args.plan {
        let plan = seal::plan(&request)?;
        let changes = words(&plan.changes);
        match args.json {
            true => ui.json(&json!({ "changes": changes, "notes": plan.notes }))?,
            false => {
                changes.iter().try_for_each(|change| ui.line(change))?;
                plan.notes.iter().for_each(|note| ui.warning(&printable(note)));
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    interrupt::listen()?;
    let mut sealed = seal::seal(&request, ui.monitor())?;
    sealed.report = args.audited.judged(sealed.report);
    let changes = words(&sealed.changes);
    if sealed.other_names > 0 {
        ui.warning("the image has other names (hard links), under which it is not sealed: ls -i shows them");
    }
    if args.json {
        let audit = as_json(&sealed.report)?;
        ui.json(&json!({ "changes": changes, "notes": sealed.notes, "stale-bytes": sealed.stale_bytes, "audit": audit }))?;
    } else {
        changes.iter().try_for_each(|change| ui.verdict(&format!("{change}\n")))?;
        sealed.notes.iter().try_for_each(|note| ui.verdict(&format!("note: {}\n", printable(note))))?;
        ui.verdict(&format!("emptied unused space: {} were in it\n", human_size(sealed.stale_bytes)))?;
        ui.verdict(&table(&sealed.report))?;
    }
    Ok(ended(&sealed.report, ui))
}
