//! `goldimg ls`: what is in a directory of an image.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use goldimg::files::{Owners, Record, permissions};
use goldimg::system::{Step, System};
use image_core::fs::{Node, NodeKind};

use super::inside::{self, Inside, absolute, joined, shown};
use super::listing::Listing;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg ls debian-12.qcow2 /etc
  goldimg ls -lR debian-12.qcow2 /etc/ssh
  goldimg ls -R --json debian-12.qcow2 | jq -r 'select(.mode | startswith(\"4\")) | .path'
  goldimg ls --partition 15 debian-12.qcow2
  goldimg ls --snapshot before-update server.qcow2 /etc

Paths are those of the booted system, with everything that its fstab mounts. Names that begin with a dot are shown. Times are in \
UTC. With --json, each file is one object on a line of its own.")]
pub(crate) struct Args {
    #[command(flatten)]
    image: Inside,
    /// Files and directories in it
    #[arg(value_name = "PATH", default_value = "/")]
    paths: Vec<PathBuf>,
    /// With permissions, links, owner, size, time
    #[arg(short = 'l', long = "long")]
    long: bool,
    /// And what is in directories, and in those
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Directories themselves, not what is in them
    #[arg(short = 'd', long)]
    directory: bool,
    /// Owners as numbers
    #[arg(short = 'n', long)]
    numeric: bool,
    /// With the numbers of inodes
    #[arg(short = 'i', long)]
    inode: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let system = args.image.open(ui)?;
    let owners = Owners::of(system.files());
    let mut listing = Listing::new(ui);
    let mut lines = Lines { args, owners: &owners, system: &system };
    let several = args.paths.len() > 1 || args.recursive;
    for path in &args.paths {
        let start = absolute(path);
        let follow = !args.long || path.to_string_lossy().ends_with('/');
        let found = match inside::find(&system, path, follow) {
            Ok(found) => found,
            Err(error) => {
                listing.missing(&error);
                continue;
            }
        };
        if args.json {
            lines.json(&start, path, &mut listing)?;
            continue;
        }
        let is_directory = found.node.as_ref().is_ok_and(|node| node.kind == NodeKind::Directory);
        if args.directory || !is_directory {
            lines.table(&start, vec![found], true, &mut listing)?;
        } else {
            lines.directories(&start, several, &mut listing)?;
        }
    }
    listing.end()
}

/// Makes lines of files.
struct Lines<'a> {
    args: &'a Args,
    owners: &'a Owners,
    system: &'a System,
}

impl<'a> Lines<'a> {
    /// One object for each file.
    fn json(&mut self, start: &Path, asked: &Path, listing: &mut Listing<'_>) -> anyhow::Result<()> {
        let Args { recursive, directory, .. } = self.args;
        let walk = self.system.walk(start, !directory)?.ok_or_else(|| inside::not_there(asked))?;
        let depth = match (directory, recursive) {
            (true, _) => 0,
            (false, true) => usize::MAX,
            (false, false) => 1,
        };
        for step in walk.no_deeper_than(depth) {
            if listing.is_over()? {
                break;
            }
            let is_start = step.path.is_empty();
            let path = joined(start, &step.path);
            match &step.node {
                // As without JSON, a directory is told by what is in it.
                Ok(node) if is_start && !directory && node.kind == NodeKind::Directory => {}
                Ok(node) => match Record::of(self.system, self.owners, &step, node, &path) {
                    Ok(record) => listing.json(&record)?,
                    Err(error) => listing.unread(&path, &error),
                },
                Err(error) => listing.unread(&path, error),
            }
        }
        Ok(())
    }

    /// What is in the directory `start`, and with `-R` in those beneath it, as ls(1) groups them.
    fn directories(&mut self, start: &Path, headed: bool, listing: &mut Listing<'_>) -> anyhow::Result<()> {
        let mut todo = VecDeque::from([start.to_owned()]);
        // A directory that is in itself is listed once.
        let mut seen = HashSet::new();
        while let Some(folder) = todo.pop_front() {
            if listing.is_over()? {
                break;
            }
            let walk = match self.system.walk(&folder, true) {
                Ok(Some(walk)) => walk,
                Ok(None) => continue,
                Err(error) => {
                    listing.unread(folder.as_os_str().as_encoded_bytes(), &error);
                    continue;
                }
            };
            let (mut inner, mut steps) = (Vec::new(), Vec::new());
            let mut is_new = true;
            for step in walk.no_deeper_than(1) {
                match &step.node {
                    Err(error) => listing.unread(&joined(&folder, &step.path), error),
                    Ok(node) if step.path.is_empty() => {
                        is_new = seen.insert((std::sync::Arc::as_ptr(step.fs).addr(), node.id));
                        if !is_new {
                            break;
                        }
                    }
                    Ok(node) => {
                        if node.kind == NodeKind::Directory {
                            inner.push(absolute(folder.join(os(&step.path)).as_ref()));
                        }
                        steps.push(step);
                    }
                }
            }
            if !is_new {
                let told = goldimg::Error::failed("the directory was listed before: it has two names");
                listing.unread(folder.as_os_str().as_encoded_bytes(), &told);
                continue;
            }
            if headed {
                listing.heading(folder.as_os_str().as_encoded_bytes())?;
            }
            self.table(&folder, steps, false, listing)?;
            if self.args.recursive {
                inner.into_iter().rev().for_each(|folder| todo.push_front(folder));
            }
        }
        Ok(())
    }

    /// One line for each of `steps`, with its path or only its name.
    fn table(
        &self,
        start: &Path,
        steps: Vec<Step<'a>>,
        whole: bool,
        listing: &mut Listing<'_>,
    ) -> anyhow::Result<()> {
        let mut rows = Vec::new();
        for step in steps {
            let path = joined(start, &step.path);
            let row = match &step.node {
                Ok(node) => self.row(&step, node, if whole { &path } else { &step.path }),
                Err(_) => continue,
            };
            match row {
                Ok(row) => rows.push(row),
                Err(error) => listing.unread(&path, &error),
            }
        }
        listing.rows(&rows)
    }

    /// The cells of a file; the last one is its name.
    fn row(&self, step: &Step<'_>, node: &Node, name: &[u8]) -> goldimg::Result<Vec<String>> {
        let mut row = Vec::new();
        if self.args.inode {
            row.push(format!(">{}", node.id.number));
        }
        let mut name = shown(name);
        if self.args.long {
            let numeric = self.args.numeric;
            let owner = |known: Option<&str>, number: u32| match known {
                Some(name) if !numeric => shown(name.as_bytes()),
                _ => number.to_string(),
            };
            row.extend([
                permissions(node),
                format!(">{}", node.links),
                owner(self.owners.user(node.uid), node.uid),
                owner(self.owners.group(node.gid), node.gid),
                match node.device {
                    Some((major, minor)) => format!(">{major}, {minor}"),
                    None => format!(">{}", node.size),
                },
                super::listing::minute(node.modified),
            ]);
            if node.kind == NodeKind::Link {
                name.push_str(&format!(" -> {}", shown(&step.fs.read_link(node)?)));
            }
        }
        row.push(name);
        Ok(row)
    }
}

fn os(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}
