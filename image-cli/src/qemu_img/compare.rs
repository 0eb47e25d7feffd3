//! `qemu-img compare`: whether two images hold the same.

use image_core::Error;
use image_core::block::BlockRead;
use image_core::compare::{BLOCK, Failed, Options, Side, compare, first_difference_of_maps};

use super::failure::Failure;
use super::node::{Node, Wanted};
use super::options::{Opt, flag, long_flag, long_valued, valued};
use super::progress::Percent;
use super::{Call, cache, words};

pub(super) const OPTIONS: &[Opt] = &[
    flag('h', "help"),
    flag('q', "quiet"),
    long_valued("object"),
    valued('T', "cache"),
    long_flag("image-opts"),
    valued('f', "a-format"),
    long_valued("left-format"),
    valued('F', "b-format"),
    long_valued("right-format"),
    flag('U', "force-share"),
    flag('s', "strict"),
    flag('p', "progress"),
];

/// The exit code of images that differ.
const DIFFERENT: u8 = 1;
/// The exit code of a comparison that did not begin.
const NOT_BEGUN: u8 = 2;
/// The exit code where an image did not say what it has.
const NOT_MAPPED: u8 = 3;
/// The exit code where an image could not be read.
const NOT_READ: u8 = 4;

/// What was asked for.
#[derive(Default)]
struct Asked {
    one: Wanted,
    other: Wanted,
    strict: bool,
    quiet: bool,
    progress: bool,
    cache: Option<String>,
}

pub(super) fn run(call: &mut Call) -> Result<u8, Failure> {
    // Whatever is wrong before the comparison has a code of its own, but for the command line itself.
    begin(call).map_err(|failure| match failure.code == DIFFERENT && !failure.names_help {
        true => Failure { code: NOT_BEGUN, ..failure },
        false => failure,
    })
}

fn begin(call: &mut Call) -> Result<u8, Failure> {
    let mut asked = Asked::default();
    while let Some(option) = call.option()? {
        match option.name {
            "a-format" | "left-format" => asked.one.format = Some(option.value),
            "b-format" | "right-format" => asked.other.format = Some(option.value),
            "image-opts" => (asked.one.image_opts, asked.other.image_opts) = (true, true),
            "force-share" => (asked.one.force_share, asked.other.force_share) = (true, true),
            "strict" => asked.strict = true,
            "cache" => asked.cache = Some(option.value),
            "quiet" => asked.quiet = true,
            _ => asked.progress = true,
        }
    }
    let Ok([one, other]) = <[String; 2]>::try_from(call.names()) else {
        return Err(Failure::usage("Expecting two image file names"));
    };
    let mut progress = Percent::ready(asked.progress && !asked.quiet);
    if let Some(cache) = &asked.cache {
        cache::check_source(cache)?;
    }
    let disks = [Node::parse(&one, &asked.one)?.disk()?, Node::parse(&other, &asked.other)?.disk()?];
    progress.of(disks[0].size().max(disks[1].size()));
    let verdict = judge(&asked, &disks, [&one, &other], &progress);
    if let Ok((same, lines)) = &verdict
        && !asked.quiet
    {
        if *same {
            progress.complete();
        }
        call.print(lines);
    }
    verdict.map(|(same, _)| if same { 0 } else { DIFFERENT })
}

/// Whether they are the same, and what is said about it.
fn judge(
    asked: &Asked,
    disks: &[Box<dyn BlockRead>; 2],
    names: [&str; 2],
    progress: &Percent,
) -> Result<(bool, String), Failure> {
    let [one, other] = [&*disks[0], &*disks[1]];
    let (shorter, same_size) = (one.size().min(other.size()), one.size() == other.size());
    if asked.strict && !same_size {
        return Ok((false, "Strict mode: Image size mismatch!\n".to_owned()));
    }
    let failed = |error| failed(&error, names);
    let options = Options { most: 0, progress, ..Options::default() };
    let found = compare(one, other, &options).map_err(failed)?;
    let first = found.first.map(|byte| byte / BLOCK * BLOCK);
    if asked.strict
        && let Some(at) =
            first_difference_of_maps(one, other, first.map_or(u64::MAX, |first| first + 1)).map_err(failed)?
    {
        return Ok((false, format!("Strict mode: Offset {at} block status mismatch!\n")));
    }
    let mut lines = String::new();
    if !same_size && first.is_none_or(|first| first >= shorter) {
        lines.push_str("Warning: Image size mismatch!\n");
    }
    lines.push_str(&match first {
        Some(first) => format!("Content mismatch at offset {first}!\n"),
        None => "Images are identical.\n".to_owned(),
    });
    Ok((first.is_none(), lines))
}

fn failed(error: &Error, names: [&str; 2]) -> Failure {
    let Some(failed) = error.cause::<Failed>() else {
        return Failure { code: NOT_MAPPED, ..Failure::new(words::of_chain(error)) };
    };
    let (offset, name) = (failed.offset, names[usize::from(failed.side == Side::Other)]);
    if failed.reading {
        let why = words::of_chain(error);
        let message = format!("Error while reading offset {offset} of {name}: {why}");
        return Failure { code: NOT_READ, ..Failure::new(message) };
    }
    Failure { code: NOT_MAPPED, ..Failure::new(format!("Sector allocation test failed for {name}")) }
}
