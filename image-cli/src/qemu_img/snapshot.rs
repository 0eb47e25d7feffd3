//! `qemu-img snapshot`: the internal snapshots of an image, listed, taken, gone back to, deleted.

use image_core::format::FormatNode;
use image_core::qcow2::Header;
use image_core::qcow2::snapshot::{self, Snapshot};
use image_core::qcow2::write::{NewSnapshot, apply_snapshot, create_snapshot, delete_snapshot};
use image_core::{Error, ErrorKind};

use super::failure::Failure;
use super::node::{Node, Wanted};
use super::options::{Opt, flag, long_flag, long_valued, valued};
use super::{Call, bytes, snapshot_list, words};

pub(super) const OPTIONS: &[Opt] = &[
    flag('h', "help"),
    flag('q', "quiet"),
    long_valued("object"),
    valued('f', "format"),
    long_flag("image-opts"),
    flag('U', "force-share"),
    flag('l', "list"),
    valued('a', "apply"),
    valued('c', "create"),
    valued('d', "delete"),
];

/// What is asked for.
enum Action {
    List,
    Create(String),
    Apply(String),
    Delete(String),
}

pub(super) fn run(call: &mut Call) -> Result<u8, Failure> {
    let (mut wanted, mut action) = (Wanted::default(), None);
    while let Some(option) = call.option()? {
        let asked = match option.name {
            "list" => Action::List,
            "create" => Action::Create(option.value),
            "apply" => Action::Apply(option.value),
            "delete" => Action::Delete(option.value),
            "quiet" => continue,
            _ => {
                wanted.take(option);
                continue;
            }
        };
        if action.replace(asked).is_some() {
            return Err(Failure::usage("Cannot mix '-l', '-a', '-c', '-d'"));
        }
    }
    let name = call.one_name("Expecting one image file name")?;
    let node = Node::parse(&name, &wanted)?;
    let action = action.unwrap_or(Action::List);
    if let Action::List = action {
        return list(call, &node.member()?, &node);
    }
    let image = node.member_to_write(call)?;
    if let (Action::Apply(_), None) = (&action, &image.header) {
        // It is opened twice by them.
        call.talk.say(&node.warning_of_probing());
    }
    match action {
        Action::Create(name) => create(&image, &name),
        Action::Apply(name) => apply(&image, &name),
        Action::Delete(name) => delete(&image, &name),
        Action::List => Ok(()),
    }?;
    Ok(0)
}

fn list(call: &Call, member: &FormatNode, node: &Node) -> Result<u8, Failure> {
    let snapshots = match &member.header {
        Some(header) => snapshots_of(member, header).map_err(|error| node.failed_to_open(&error))?,
        None => Vec::new(),
    };
    if !snapshots.is_empty() {
        call.print(&format!("Snapshot list:\n{}", snapshot_list::of(&snapshots)));
    }
    Ok(0)
}

fn snapshots_of(member: &FormatNode, header: &Header) -> image_core::Result<Vec<Snapshot>> {
    Ok(snapshot::list(&member.file, header)?.0)
}

/// QEMU's words for a change that is not made: those of the system's errors that it answers with.
fn why(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Unsupported if format!("{error:?}").contains("refcounts of") => {
            "Invalid argument".to_owned()
        }
        ErrorKind::Unsupported => "Operation not supported".to_owned(),
        _ => words::of_opening(error),
    }
}

fn create(image: &FormatNode, name: &str) -> Result<(), Failure> {
    let failed = |why: &str| Failure::new(format!("Could not create snapshot '{name}': {why}"));
    let header = image.header.as_ref().ok_or_else(|| failed("Operation not supported"))?;
    let now = jiff::Timestamp::now();
    let date = (u32::try_from(now.as_second()).unwrap_or(u32::MAX), now.subsec_nanosecond().unsigned_abs());
    let new = NewSnapshot { name: bytes::of_text(name), date };
    create_snapshot(&image.file, header, new).map(drop).map_err(|error| failed(&why(&error)))
}

fn apply(image: &FormatNode, name: &str) -> Result<(), Failure> {
    let failed = |why: &str| Failure::new(format!("Could not apply snapshot '{name}': {why}"));
    let header = image.header.as_ref().ok_or_else(|| failed("Block driver does not support snapshots"))?;
    if header.bitmaps().is_some() {
        return Err(failed("Device has active dirty bitmaps"));
    }
    let snapshots = snapshots_of(image, header).map_err(|error| failed(&why(&error)))?;
    let found = snapshot::find(&snapshots, &bytes::of_text(name));
    let index = found.and_then(|found| snapshots.iter().position(|one| one == found));
    let index = index.ok_or_else(|| failed("Failed to load snapshot: No such file or directory"))?;
    apply_snapshot(&image.file, header, index).map(drop).map_err(|error| failed(&why(&error)))
}

/// Only names are looked for, not ids.
fn delete(image: &FormatNode, name: &str) -> Result<(), Failure> {
    let failed = |why: &str| Failure::new(format!("Could not delete snapshot '{name}': {why}"));
    let not_found = || failed("snapshot not found");
    let header = image.header.as_ref().ok_or_else(not_found)?;
    let snapshots = snapshots_of(image, header).map_err(|error| failed(&why(&error)))?;
    let index = snapshots.iter().position(|snapshot| snapshot.name == bytes::of_text(name));
    delete_snapshot(&image.file, header, index.ok_or_else(not_found)?)
        .map(drop)
        .map_err(|error| failed(&why(&error)))
}
