//! `goldimg snapshot`: the internal snapshots of a qcow2 image, listed, taken, gone back to, deleted.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use goldimg::facts;
use goldimg::printable::printable;
use image_core::format::{Format, FormatNode};
use image_core::qcow2::Header;
use image_core::qcow2::snapshot::{self, Snapshot};
use image_core::qcow2::write::{NewSnapshot, apply_snapshot, create_snapshot, delete_snapshot};

use super::image::{ImageArgs, Unclosed, human_size, unless_shared};
use super::info;
use crate::failure::Advise;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  goldimg snapshot disk.qcow2\n  goldimg snapshot -c before-upgrade disk.qcow2\n  \
    goldimg snapshot -a before-upgrade disk.qcow2\n\nA snapshot is named by its id or, if no id is like that, by its name. \
    Each change happens at one moment: a crash leaves the image as it was, or as it is after."
)]
pub(crate) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    action: Action,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Action {
    /// List the snapshots (the default)
    #[arg(short, long)]
    list: bool,
    /// Take a snapshot of the disk as it is
    #[arg(short, long, value_name = "NAME")]
    create: Option<String>,
    /// Make the disk what it was when this snapshot was taken
    #[arg(short, long, value_name = "SNAPSHOT")]
    apply: Option<String>,
    /// Delete this snapshot
    #[arg(short, long, value_name = "SNAPSHOT")]
    delete: Option<String>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let image = Image { path: &args.image.path, format: args.image.format };
    let Action { create, apply, delete, .. } = &args.action;
    let unclosed = Unclosed::look(image.path, image.format);
    match (create, apply, delete) {
        (Some(name), ..) if name.is_empty() => return Err(anyhow!("a snapshot needs a name")),
        (Some(name), ..) => {
            let new = NewSnapshot { name: name.clone().into_bytes(), date: now() };
            let (member, header) = image.open_writable()?;
            create_snapshot(&member.file, &header, new).with_context(|| image.name())?;
        }
        (_, Some(name), _) => {
            let (member, header) = image.open_writable()?;
            let index = image.find(&member, &header, name)?;
            apply_snapshot(&member.file, &header, index).with_context(|| image.name())?;
        }
        (_, _, Some(name)) => {
            let (member, header) = image.open_writable()?;
            let index = image.find(&member, &header, name)?;
            delete_snapshot(&member.file, &header, index).with_context(|| image.name())?;
        }
        _ => return list(&image, args, ui).map(|()| ExitCode::SUCCESS),
    }
    unclosed.tell(ui);
    Ok(ExitCode::SUCCESS)
}

/// An image by name.
struct Image<'a> {
    path: &'a PathBuf,
    format: Option<Format>,
}

impl Image<'_> {
    fn name(&self) -> String {
        printable(&self.path.display().to_string())
    }

    fn open_writable(&self) -> anyhow::Result<(FormatNode, Header)> {
        let mut member = FormatNode::open_writable(self.path, self.format)?;
        let header = member.header.take();
        let header =
            header.ok_or_else(|| anyhow!("{}: a {} image has no snapshots", self.name(), member.format));
        Ok((member, header.hint(|| format!("goldimg convert -O qcow2 {} OUTPUT", self.name()))?))
    }

    /// The place of a snapshot in the table.
    fn find(&self, member: &FormatNode, header: &Header, name: &str) -> anyhow::Result<usize> {
        let (snapshots, _) = snapshot::list(&member.file, header)?;
        let found = snapshot::find(&snapshots, name.as_bytes());
        let index = found.and_then(|found| snapshots.iter().position(|one| one == found));
        index
            .ok_or_else(|| anyhow!("{}: there is no snapshot {:?}", self.name(), printable(name)))
            .hint(|| format!("goldimg snapshot -l {}", self.name()))
    }
}

/// Seconds since 1970, as far as the format has room for them, and nanoseconds.
fn now() -> (u32, u32) {
    let now = jiff::Timestamp::now();
    (u32::try_from(now.as_second()).unwrap_or(u32::MAX), now.subsec_nanosecond().unsigned_abs())
}

fn list(image: &Image<'_>, args: &Args, ui: &Ui) -> anyhow::Result<()> {
    let member = unless_shared(FormatNode::open(image.path, args.image.options()))?;
    let snapshots = match &member.header {
        Some(header) => snapshot::list(&member.file, header)?.0,
        None => Vec::new(),
    };
    if args.image.wants_json() {
        let values: Vec<_> = snapshots.iter().map(facts::of_snapshot).collect();
        ui.json(&values)?;
        return Ok(());
    }
    for snapshot in &snapshots {
        ui.line(&line(snapshot, member.virtual_size()))?;
    }
    Ok(())
}

fn line(snapshot: &Snapshot, disk_size: u64) -> String {
    let size = snapshot.disk_size.filter(|&size| size != disk_size);
    let size = size.map_or_else(String::new, |size| format!(", disk of {}", human_size(size)));
    format!("{}{size}", info::snapshot_line(snapshot))
}
