//! `qemu-img commit`: what an image says, put into its backing file.

use std::path::PathBuf;

use image_core::format::{Commit, commit};
use image_core::nbd::Refusal;
use image_core::progress::Progress;

use super::failure::Failure;
use super::node::{Node, Wanted, backing_path, has_protocol};
use super::options::{Opt, flag, long_flag, long_valued, valued};
use super::progress::Percent;
use super::{Call, bytes, cache, size};

pub(super) const OPTIONS: &[Opt] = &[
    flag('h', "help"),
    flag('q', "quiet"),
    long_valued("object"),
    valued('f', "format"),
    long_flag("image-opts"),
    valued('t', "cache"),
    flag('d', "drop"),
    valued('b', "base"),
    flag('p', "progress"),
    valued('r', "rate"),
];

pub(super) fn run(call: &mut Call) -> Result<u8, Failure> {
    let (mut wanted, mut quiet, mut shown) = (Wanted::default(), false, false);
    let (mut base, mut keep, mut cache_mode) = (None, false, "writeback".to_owned());
    while let Some(option) = call.option()? {
        match option.name {
            "quiet" => quiet = true,
            "progress" => shown = true,
            "drop" => keep = true,
            "base" => base = Some(option.value),
            "cache" => cache_mode = option.value,
            // The rate itself has no effect: what is committed is on this machine.
            "rate" => drop(size::argument("rate limit", &option.value)?),
            _ => wanted.take(option),
        }
    }
    let name = call.one_name("Expecting one image file name")?;
    cache::check_target(&cache_mode)?;
    let shown = shown && !quiet;
    let node = Node::parse(&name, &wanted)?;
    node.check_writable()?;
    // While nothing here holds a lock that would be in the way.
    node.repair_unclosed(&node.glance()?)?;
    let member = node.member()?;
    node.refuse_corrupt(&member)?;
    // Beforehand, in the words for what cannot be opened.
    drop(node.disk()?);
    let named = member.header.as_ref().is_some_and(|header| header.backing_name.is_some());
    if member.header.is_none() {
        drop(node.medium_to_write()?);
        call.talk.say(&node.warning_of_probing());
    }
    let mut percent = Percent::start(shown);
    let base = match base {
        Some(base) => Some(find(&node, &base, &name)?),
        None if named => None,
        None => return Err(Failure::new("Image does not have a backing file")),
    };
    percent.of(member.virtual_size());
    drop(member);
    let options = node.write_options();
    let mut done = |bytes: u64| {
        percent.advance(bytes);
        Ok(())
    };
    let job = Commit { options, base, keep };
    let committed = commit(&node.medium()?, &job, &mut done);
    committed.map_err(|error| match (error.cause(), node.other_in_use(&error)) {
        (Some(Refusal::ReadOnly), _) => Failure::new("Can't reopen read-only NBD mount as read/write"),
        (_, Some(base)) => node.failed_beneath(&error, &base),
        _ => node.failed_to_open(&error),
    })?;
    percent.complete();
    drop(percent);
    if !quiet {
        call.print("Image committed.\n");
    }
    Ok(0)
}

/// The path of the backing file that is called `base`: a name with a protocol as an image of the chain has it, or a path,
/// which may begin at the folder of any of them.
fn find(node: &Node, base: &str, image: &str) -> Result<PathBuf, Failure> {
    let chain =
        node.member()?.with_backing_chain(node.options()).map_err(|error| node.failed_to_open(&error))?;
    let real = |path: &str| std::fs::canonicalize(bytes::path(path)).ok();
    let mut above = node.path().to_owned();
    for member in &chain {
        let Some(name) = member.header.as_ref().and_then(|header| header.backing_name.as_ref()) else {
            break;
        };
        let name = bytes::to_text(name);
        let path = backing_path(&above, &name);
        let found = match has_protocol(base) || has_protocol(&name) {
            true => name == base || path == base,
            false => real(&backing_path(&above, base)).is_some_and(|base| real(&path) == Some(base)),
        };
        if found {
            return Ok(bytes::path(&path));
        }
        above = path;
    }
    Err(Failure::new(format!("Did not find '{base}' in the backing chain of '{image}'")))
}
