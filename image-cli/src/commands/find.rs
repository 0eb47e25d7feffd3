//! `goldimg find`: files of an image by what they are.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use goldimg::files::{Criteria, Owners, Record, SizeBound};
use goldimg::size::Size;
use goldimg::system::System;
use image_core::fs::{NodeKind, Time};

use super::inside::{self, Inside, absolute, joined, known, shown};
use super::listing::Listing;
use crate::failure::Advise;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(mut_arg("snapshot", |snapshot| snapshot.short('l')))]
#[command(after_help = "\
Examples:
  goldimg find debian-12.qcow2 /etc --name '*.conf' --type f
  goldimg find debian-12.qcow2 --perm /6000
  goldimg find debian-12.qcow2 /var --size +10M --newer 2026-11-01
  goldimg find --json debian-12.qcow2 /home --user 1000

All that is said has to be so; of several --name (or --type) one. Links are not followed. With --json, each file is one object on a \
line of its own.")]
pub(crate) struct Args {
    #[command(flatten)]
    image: Inside,
    /// From there on
    #[arg(value_name = "PATH", default_value = "/")]
    start: PathBuf,
    /// Its name fits: * ? [a-z] (may be given more than once)
    #[arg(long, value_name = "GLOB")]
    name: Vec<String>,
    /// As --name, whatever the case of letters
    #[arg(long, value_name = "GLOB")]
    iname: Vec<String>,
    /// Its path fits, in which * stands for / too (may be given more than once)
    #[arg(long = "path", value_name = "GLOB")]
    path_pattern: Vec<String>,
    /// Its kind (may be given more than once)
    #[arg(long = "type", value_name = "KIND", value_enum)]
    kinds: Vec<Kind>,
    /// Changed after this: a date, or a path in the image
    #[arg(long, value_name = "TIME|PATH")]
    newer: Option<String>,
    /// Changed before this: a date, or a path in the image
    #[arg(long, value_name = "TIME|PATH")]
    older: Option<String>,
    /// Its size: more (+10M), less (-10M), or exactly as many bytes
    #[arg(long, value_name = "[+-]SIZE", value_parser = size_bound, allow_hyphen_values = true)]
    size: Option<SizeBound>,
    /// Whose it is: a name of the image's, or a number
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Which group's it is: a name of the image's, or a number
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// It has all of these permission bits (4000), or one of them (/6000)
    #[arg(long, value_name = "[/]BITS", value_parser = permission_bits)]
    perm: Option<Bits>,
    /// No deeper than so many directories below PATH
    #[arg(long, value_name = "LEVELS")]
    maxdepth: Option<usize>,
    /// End each path with a zero, and show it as it is
    #[arg(short = '0', long, conflicts_with = "json")]
    print0: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A kind, by the letter that find(1) has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Regular file
    #[value(name = "f")]
    File,
    /// Directory
    #[value(name = "d")]
    Directory,
    /// Symbolic link
    #[value(name = "l")]
    Link,
    /// Character device
    #[value(name = "c")]
    CharacterDevice,
    /// Block device
    #[value(name = "b")]
    BlockDevice,
    /// Named pipe
    #[value(name = "p")]
    Pipe,
    /// Socket
    #[value(name = "s")]
    Socket,
}

impl From<Kind> for NodeKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::File => Self::File,
            Kind::Directory => Self::Directory,
            Kind::Link => Self::Link,
            Kind::CharacterDevice => Self::CharacterDevice,
            Kind::BlockDevice => Self::BlockDevice,
            Kind::Pipe => Self::Pipe,
            Kind::Socket => Self::Socket,
        }
    }
}

/// Permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bits {
    All(u32),
    Any(u32),
}

fn permission_bits(text: &str) -> Result<Bits, String> {
    let digits = text.strip_prefix(['/', '-']).unwrap_or(text);
    let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| *bits <= 0o7777);
    let bits = bits.ok_or("write permission bits as up to four octal digits, like 4000 or /022")?;
    Ok(if text.starts_with('/') { Bits::Any(bits) } else { Bits::All(bits) })
}

fn size_bound(text: &str) -> Result<SizeBound, String> {
    let size = |text: &str| text.parse::<Size>().map(|size| size.0).map_err(|error| error.to_string());
    match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(more), _) => size(more).map(SizeBound::Above),
        (None, Some(less)) => size(less).map(SizeBound::Below),
        (None, None) => size(text).map(SizeBound::Equal),
    }
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let system = args.image.open(ui)?;
    let owners = Owners::of(system.files());
    let criteria = criteria(args, &system, &owners)?;
    let start = absolute(&args.start);
    let walk = system.walk(&start, args.start.to_string_lossy().ends_with('/'))?;
    let walk = walk.ok_or_else(|| inside::not_there(&args.start))?;
    let mut listing = Listing::new(ui);
    for step in walk.no_deeper_than(args.maxdepth.unwrap_or(usize::MAX)) {
        if listing.is_over()? {
            break;
        }
        let path = joined(&start, &step.path);
        let node = match &step.node {
            Ok(node) if criteria.fit(&path, node) => node,
            Ok(_) => continue,
            Err(error) => {
                listing.unread(&path, error);
                continue;
            }
        };
        if args.json {
            match Record::of(&system, &owners, &step, node, &path) {
                Ok(record) => listing.json(&record)?,
                Err(error) => listing.unread(&path, &error),
            }
        } else if args.print0 {
            listing.bytes(&[&path, b"\0".as_slice()].concat())?;
        } else {
            listing.push(&format!("{}\n", shown(&path)))?;
        }
    }
    listing.end()
}

fn criteria(args: &Args, system: &System, owners: &Owners) -> anyhow::Result<Criteria> {
    let (all_bits, any_bits) = match args.perm {
        None => (0, 0),
        Some(Bits::All(bits)) => (bits, 0),
        Some(Bits::Any(bits)) => (0, bits),
    };
    Ok(Criteria {
        names: args.name.clone(),
        names_in_any_case: args.iname.clone(),
        paths: args.path_pattern.clone(),
        kinds: args.kinds.iter().copied().map(Into::into).collect(),
        newer: args.newer.as_deref().map(|text| moment(system, text)).transpose()?,
        older: args.older.as_deref().map(|text| moment(system, text)).transpose()?,
        size: args.size,
        uid: args.user.as_deref().map(|name| known("user", name, owners.uid(name))).transpose()?,
        gid: args.group.as_deref().map(|name| known("group", name, owners.gid(name))).transpose()?,
        all_bits,
        any_bits,
    })
}

/// When `text` is: a date, a moment (RFC 3339), or when the file of that path in the image was changed.
fn moment(system: &System, text: &str) -> anyhow::Result<Time> {
    if text.starts_with('/') {
        let found = inside::find(system, text.as_ref(), true)?;
        return Ok(found.node?.modified);
    }
    moment_of(text)
        .map_err(|why| anyhow::anyhow!("{why}"))
        .hint(|| "write 2026-11-30, 2026-11-30T12:00:00Z, or a path in the image that begins with /")
}

/// When `text` is: a date, in UTC, or a moment (RFC 3339).
pub(super) fn moment_of(text: &str) -> Result<Time, String> {
    let of_date = || -> Result<jiff::Timestamp, jiff::Error> {
        let date: jiff::civil::DateTime = text.parse()?;
        Ok(date.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp())
    };
    let stamp: jiff::Timestamp =
        text.parse().or_else(|_| of_date()).map_err(|_| format!("{text:?} is no time"))?;
    let nanoseconds = stamp.as_nanosecond();
    Ok(Time {
        seconds: nanoseconds.div_euclid(1_000_000_000) as i64,
        nanoseconds: nanoseconds.rem_euclid(1_000_000_000) as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_bits_are_written_as_for_find() {
        assert_eq!(size_bound("+1M"), Ok(SizeBound::Above(1 << 20)));
        assert_eq!(size_bound("-1K"), Ok(SizeBound::Below(1024)));
        assert_eq!(size_bound("7"), Ok(SizeBound::Equal(7)));
        assert!(size_bound("+x").is_err());
        assert_eq!(permission_bits("4000"), Ok(Bits::All(0o4000)));
        assert_eq!(permission_bits("-4000"), Ok(Bits::All(0o4000)));
        assert_eq!(permission_bits("/022"), Ok(Bits::Any(0o022)));
        assert!(permission_bits("888").is_err() && permission_bits("17777").is_err());
    }
}
