//! `qemu-img rebase`: another backing file, or none.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use image_core::format::{Differences, NewBacking, ProtocolNode, rebase};
use image_core::progress::Progress;
use image_core::qcow2::Unsupported;

use super::failure::Failure;
use super::node::{Node, Wanted, backing_path};
use super::options::{Opt, flag, long_flag, long_valued, valued};
use super::progress::Percent;
use super::{Call, bytes, cache, drivers, words};

pub(super) const OPTIONS: &[Opt] = &[
    flag('h', "help"),
    flag('q', "quiet"),
    flag('p', "progress"),
    long_valued("object"),
    long_flag("image-opts"),
    flag('U', "force-share"),
    valued('f', "format"),
    valued('t', "cache"),
    flag('c', "compress"),
    valued('b', "backing"),
    valued('F', "backing-format"),
    valued('T', "backing-cache"),
    flag('u', "backing-unsafe"),
];

pub(super) fn run(call: &mut Call) -> Result<u8, Failure> {
    let mut wanted = Wanted::default();
    let (mut quiet, mut shown, mut by_name, mut compress) = (false, false, false, false);
    let (mut backing, mut format) = (None, None);
    let mut modes = ["writeback".to_owned(), "writeback".to_owned()];
    while let Some(option) = call.option()? {
        match option.name {
            "quiet" => quiet = true,
            "progress" => shown = true,
            "backing-unsafe" => by_name = true,
            "backing" => backing = Some(option.value),
            "backing-format" => format = Some(option.value),
            "cache" => modes[0] = option.value,
            "backing-cache" => modes[1] = option.value,
            "compress" => compress = true,
            _ => wanted.take(option),
        }
    }
    let name = call.one_name("Expecting one image file name")?;
    if backing.is_none() && !by_name {
        return Err(Failure::usage("Must specify backing file (-b) or use unsafe mode (-u)"));
    }
    let mut percent = Percent::start(shown && !quiet);
    cache::check_target(&modes[0])?;
    cache::check_source(&modes[1])?;
    let node = Node::parse(&name, &Wanted { force_share: false, ..wanted.clone() })?;
    let (size, is_raw) = look_at(call, &node, by_name, compress)?;
    let new = backing.as_deref().filter(|name| !name.is_empty());
    let medium = new.map(|name| look(&node, name, format.as_deref(), by_name)).transpose()?.flatten();
    let read_as = format.as_deref().and_then(drivers::format_of);
    percent.of(size);
    let changing = |why: &str| {
        percent.complete();
        let name = backing.as_deref().unwrap_or("(null)");
        Failure::new(format!("Could not change the backing file to '{name}': {why}"))
    };
    let name = new.map(bytes::of_text);
    let new = match &name {
        Some(name) => {
            let format = format.as_deref().ok_or_else(|| changing("backing format must be specified"))?;
            Some(NewBacking { name, format: drivers::recorded(format), read_as, node: medium.as_ref() })
        }
        None => None,
    };
    if is_raw {
        return Err(changing("Operation not supported"));
    }
    let options = node.write_options();
    let mut done = |bytes: u64| {
        percent.advance(bytes);
        Ok(())
    };
    let stored = (!by_name).then_some(Differences { compress, done: &mut done });
    rebase(&node.medium()?, options, new, stored).map_err(|error| failed(&node, &error))?;
    percent.complete();
    Ok(0)
}

fn failed(node: &Node, error: &image_core::Error) -> Failure {
    match error.cause() {
        Some(Unsupported::CompressedInDataFile { .. }) => {
            Failure::new("Error while writing to COW image: Operation not supported")
        }
        _ => node.failed(words::of_chain(error)),
    }
}

/// The size of what gets another backing file, and whether it is raw, which it cannot be.
fn look_at(call: &Call, node: &Node, by_name: bool, compress: bool) -> Result<(u64, bool), Failure> {
    // While nothing here holds a lock that would be in the way.
    node.repair_unclosed(&node.glance()?)?;
    let member = node.member()?;
    node.refuse_corrupt(&member)?;
    let (size, is_raw) = (member.virtual_size(), member.header.is_none());
    drop(member);
    if is_raw {
        call.talk.say(&node.warning_of_probing());
    }
    if compress && is_raw {
        return Err(Failure::new("Compression not supported for this file format"));
    }
    if !by_name && !is_raw {
        // Beforehand, in the words for what cannot be opened.
        drop(node.disk()?);
    }
    Ok((size, is_raw))
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// Looks at the new backing file, unless only its name matters, and at its format, if that was given; returns what it lies
/// in, if its name does not tell that.
fn look(
    node: &Node,
    name: &str,
    format: Option<&str>,
    by_name: bool,
) -> Result<Option<ProtocolNode>, Failure> {
    if let Some(format) = format.filter(|format| !drivers::is_known(format)) {
        return Err(Failure::new(format!("Invalid format name: '{format}'")));
    }
    if by_name {
        return Ok(None);
    }
    let path = backing_path(node.path(), name);
    if is_same_file(&bytes::path(&path), &node.file_path()) {
        // It is open for writing.
        let why = format!("Could not open new backing file '{name}': Failed to get shared \"write\" lock");
        return Err(Failure::new(why).hint(&format!("Is another process using the image [{path}]?\n")));
    }
    let opened = Node::backing(&path, format)
        .and_then(|backing| backing.disk().and_then(|_| backing.medium_of_description(&path)));
    opened.map_err(|failure| failure.context(&format!("Could not open new backing file '{name}'")))
}
