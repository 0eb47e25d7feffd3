//! `goldimg stat`: what is known of files in an image.

use std::path::PathBuf;
use std::process::ExitCode;

use goldimg::files::{Owners, Record, permissions};
use goldimg::printable::printable;

use super::inside::{self, Inside, absolute};
use super::listing::Listing;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(mut_arg("snapshot", |snapshot| snapshot.short('l')))]
#[command(after_help = "\
Examples:
  goldimg stat debian-12.qcow2 /etc/shadow /usr/bin/passwd
  goldimg stat --json debian-12.qcow2 /usr/bin/ping | jq .attributes

A link is told of itself, unless -L follows it. Times are in UTC. With --json, each file is one object on a line of its own.")]
pub(crate) struct Args {
    #[command(flatten)]
    image: Inside,
    /// Files of any kind
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Follow links
    #[arg(short = 'L', long)]
    dereference: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let system = args.image.open(ui)?;
    let owners = Owners::of(system.files());
    let mut listing = Listing::new(ui);
    for (index, path) in args.paths.iter().enumerate() {
        let found = match inside::find(&system, path, args.dereference) {
            Ok(found) => found,
            Err(error) => {
                listing.missing(&error);
                continue;
            }
        };
        let node = match &found.node {
            Ok(node) => node,
            Err(error) => {
                listing.unread(path.as_os_str().as_encoded_bytes(), error);
                continue;
            }
        };
        let path = absolute(path);
        let record = Record::of(&system, &owners, &found, node, path.as_os_str().as_encoded_bytes())?;
        let record = record.with_attributes(&found, node)?;
        match args.json {
            true => listing.json(&record)?,
            false => {
                let gap = if index > 0 { "\n" } else { "" };
                listing.push(&format!("{gap}{}", as_text(&record, &permissions(node))))?;
            }
        }
    }
    listing.end()
}

fn as_text(record: &Record, permissions: &str) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:>10}: {}\n", printable(value)));
    let owner = |number: u32, name: &Option<String>| match name {
        Some(name) => format!("{number} ({name})"),
        None => number.to_string(),
    };
    match &record.target {
        Some(target) => line("path", &format!("{} -> {target}", record.path)),
        None => line("path", &record.path),
    }
    line("type", record.kind);
    line("size", &format!("{} bytes, {} set aside", record.size, record.allocated));
    line("mode", &format!("{} {permissions}", record.mode));
    line("user", &owner(record.uid, &record.user));
    line("group", &owner(record.gid, &record.group));
    line("inode", &format!("{}, {} links, {}", record.inode, record.links, record.volume));
    if let Some(device) = &record.device {
        line("device", device);
    }
    if !record.flags.is_empty() {
        line("flags", &record.flags);
    }
    line("modified", &record.modified);
    line("changed", &record.changed);
    line("accessed", &record.accessed);
    if let Some(created) = &record.created {
        line("created", created);
    }
    for attribute in &record.attributes {
        let value = match (&attribute.text, &attribute.hex) {
            (Some(text), _) => format!("{text:?}"),
            (None, hex) => format!("0x{}", hex.as_deref().unwrap_or_default()),
        };
        line("attribute", &format!("{} = {value}", attribute.name));
    }
    text
}
