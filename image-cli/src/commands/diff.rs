//! `goldimg diff`: what is different between the files of two images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use goldimg::files::{Archived, Change, DiffOptions, Difference, Owners, Tree, What, diff};
use goldimg::inspect::Inspection;
use goldimg::printable::printable;
use serde::Serialize;

use super::inside::{How, absolute};
use super::listing::Listing;
use crate::failure::Advise;
use crate::ui::Ui;

/// The exit codes of diff(1).
const DIFFERENT: u8 = 1;
const TROUBLE: u8 = 2;

#[derive(Debug, clap::Args)]
#[command(mut_arg("snapshot", |snapshot| snapshot.short('l')))]
#[command(after_help = "\
Examples:
  goldimg diff old.qcow2 new.qcow2
  goldimg diff --only packages old.qcow2 new.qcow2
  goldimg diff --json old.qcow2 new.qcow2 | jq -r 'select(.what == \"added\") | .path'
  goldimg diff --ignore times image.qcow2 tree/
  goldimg diff image.qcow2 rootfs.tar.zst

Compared are files (content, kind, mode, owner, time of change, attributes), packages by version, and partition tables. Each may be \
an image, a folder, or a tar archive (also compressed). With --json, each difference is one object on a line of its own.

Exit code: 0 if nothing is different, 1 if something is, 2 for trouble.")]
pub(crate) struct Args {
    #[command(flatten)]
    how: How,
    /// The first image, a folder, or a tar archive
    #[arg(value_name = "IMAGE|DIR|TAR")]
    one: PathBuf,
    /// The second
    #[arg(value_name = "IMAGE|DIR|TAR")]
    other: PathBuf,
    /// Only what is beneath this path
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: PathBuf,
    /// What does not count (may be given more than once)
    #[arg(long, value_enum, value_name = "WHAT")]
    ignore: Vec<Property>,
    /// Compare only that (may be given more than once)
    #[arg(long, value_enum, value_name = "WHAT")]
    only: Vec<Part>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A property of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Property {
    /// What is in them
    Content,
    /// Permissions
    Modes,
    /// Users and groups
    Owners,
    /// When they were changed
    Times,
    /// Extended attributes
    Attributes,
}

/// What images have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Files
    Files,
    /// Packages
    Packages,
    /// Partition tables
    Partitions,
}

/// Something that is different and is no file.
#[derive(Debug, Serialize)]
struct Other<'a> {
    kind: &'static str,
    name: &'a str,
    what: What,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a str>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    compare(args, ui).exit_code(TROUBLE)
}

fn compare(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let (one, other) = trees(args, ui)?;
    let wanted = |part: Part| args.only.is_empty() || args.only.contains(&part);
    let mut differences = Differences { args, listing: Listing::new(ui), count: 0 };
    if let (Tree::Image(one, _), Tree::Image(other, _)) = (&one, &other) {
        let (one, other) = (Inspection::of(one)?, Inspection::of(other)?);
        if wanted(Part::Partitions) {
            differences.tables("partition", &partitions(&one), &partitions(&other))?;
        }
        if wanted(Part::Packages) {
            differences.tables("package", &packages(&one), &packages(&other))?;
        }
    }
    if wanted(Part::Files) {
        let counts = |property| !args.ignore.contains(&property);
        let mut options = DiffOptions::new();
        options.content = counts(Property::Content);
        options.modes = counts(Property::Modes);
        options.owners = counts(Property::Owners);
        options.times = counts(Property::Times);
        options.attributes = counts(Property::Attributes);
        let monitor = ui.monitor();
        let mut failed = None;
        let start = absolute(&args.path);
        diff(&one, &other, options, monitor.cancel(), &mut |mut difference| {
            let inside = difference.path.trim_start_matches('/').to_owned();
            difference.path = match inside.is_empty() {
                true => start.display().to_string(),
                false => start.join(inside).display().to_string(),
            };
            if let Err(error) = differences.file(&difference) {
                failed.get_or_insert(error);
            }
            Ok(())
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    let count = differences.count;
    differences.listing.end()?;
    Ok(if count == 0 { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}

/// Both. Names in archives' access control lists are those of the image beside it, or of this machine.
fn trees(args: &Args, ui: &Ui) -> anyhow::Result<(Tree, Tree)> {
    let [one, other] = [&args.one, &args.other];
    let is_archive = |path: &Path| -> anyhow::Result<bool> {
        Ok(!path.is_dir() && args.how.is_probed() && Archived::is_one(path)?)
    };
    let here = |path| std::fs::read_to_string(path).unwrap_or_default();
    let here = Owners::from_texts(&here("/etc/passwd"), &here("/etc/group"));
    Ok(match (is_archive(one)?, is_archive(other)?) {
        (false, false) => (tree(args, one, ui)?, tree(args, other, ui)?),
        (false, true) => {
            let one = tree(args, one, ui)?;
            let other = archive(args, other, owners(&one, here), ui)?;
            (one, other)
        }
        (true, false) => {
            let other = tree(args, other, ui)?;
            (archive(args, one, owners(&other, here), ui)?, other)
        }
        (true, true) => (archive(args, one, here.clone(), ui)?, archive(args, other, here, ui)?),
    })
}

/// The names of `tree`, completed by those of this machine.
fn owners(tree: &Tree, here: Owners) -> Owners {
    match tree {
        Tree::Image(system, _) => Owners::of(system.files()).completed_by(here),
        _ => here,
    }
}

fn archive(args: &Args, path: &Path, owners: Owners, ui: &Ui) -> anyhow::Result<Tree> {
    let archive = Archived::open(path, &std::env::temp_dir(), owners, ui.monitor())?;
    Ok(Tree::Archive(archive, absolute(&args.path)))
}

fn tree(args: &Args, path: &Path, ui: &Ui) -> anyhow::Result<Tree> {
    let start = absolute(&args.path);
    if path.is_dir() {
        let inside = start.strip_prefix("/").unwrap_or(&start);
        return Ok(Tree::Folder(path.join(inside)));
    }
    Ok(Tree::Image(Box::new(args.how.open(path, ui)?), start))
}

/// Versions by name and architecture; of a package that is there several times, all of them.
fn packages(found: &Inspection) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for package in found.system.iter().flat_map(|system| &system.packages) {
        let versions = all.entry(format!("{} ({})", package.name, package.architecture)).or_default();
        if !versions.is_empty() {
            versions.push_str(", ");
        }
        versions.push_str(&package.version);
    }
    all
}

/// What tables say, by what it is.
fn partitions(found: &Inspection) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([("disk".to_owned(), format!("{} bytes", found.size))]);
    if let Some(table) = &found.table {
        all.insert("table".to_owned(), format!("{} {}", table.scheme, table.id));
        for partition in &table.partitions {
            let words = [
                format!("{} bytes at {}", partition.size, partition.start),
                format!("type {}", partition.kind),
                partition.guid.clone().unwrap_or_default(),
                partition.name.clone(),
            ];
            all.insert(partition.number.to_string(), words.join(" ").trim_end().to_owned());
        }
    }
    for volume in &found.volumes {
        let uuid = volume.uuid.as_deref().unwrap_or("no UUID");
        all.insert(
            format!("{}: filesystem", volume.name),
            format!("{} {uuid} {}", volume.kind, volume.label),
        );
    }
    all
}

struct Differences<'a> {
    args: &'a Args,
    listing: Listing<'a>,
    count: u64,
}

impl Differences<'_> {
    fn tables(
        &mut self,
        kind: &'static str,
        one: &BTreeMap<String, String>,
        other: &BTreeMap<String, String>,
    ) -> anyhow::Result<()> {
        for name in one.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
            let (before, after) = (one.get(name).map(String::as_str), other.get(name).map(String::as_str));
            let what = match (before, after) {
                (before, after) if before == after => continue,
                (None, _) => What::Added,
                (_, None) => What::Removed,
                _ => What::Changed,
            };
            self.count += 1;
            if self.args.json {
                self.listing.json(&Other { kind, name, what, before, after })?;
                continue;
            }
            let value = match (before, after) {
                (Some(before), Some(after)) => format!("{before} → {after}"),
                (one, other) => one.or(other).unwrap_or_default().to_owned(),
            };
            self.listing.push(&format!(
                "{} {kind} {}: {}\n",
                sign(what),
                printable(name),
                printable(&value)
            ))?;
        }
        Ok(())
    }

    fn file(&mut self, difference: &Difference) -> anyhow::Result<()> {
        self.count += 1;
        if self.args.json {
            #[derive(Serialize)]
            struct File<'a> {
                kind: &'static str,
                #[serde(flatten)]
                difference: &'a Difference,
            }
            return self.listing.json(&File { kind: "file", difference });
        }
        let changes: Vec<String> = difference.changes.iter().map(words).collect();
        let colon = if changes.is_empty() { "" } else { ": " };
        let (sign, path) = (sign(difference.what), printable(&difference.path));
        self.listing.push(&format!("{sign} {path}{colon}{}\n", printable(&changes.join(", "))))
    }
}

fn sign(what: What) -> char {
    match what {
        What::Added => '+',
        What::Removed => '-',
        What::Changed => '~',
    }
}

fn words(change: &Change) -> String {
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => format!("{} {before} → {after}", change.property),
        (Some(before), None) => format!("{} {before} → none", change.property),
        (None, Some(after)) => format!("{} none → {after}", change.property),
        (None, None) => change.property.clone(),
    }
}
