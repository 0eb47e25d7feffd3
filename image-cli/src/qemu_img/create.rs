//! `qemu-img create`: a new image, empty or over a backing file.

use super::Call;
use super::failure::Failure;
use super::format_options::{self, FormatOptions, Kind, Lists};
use super::node::{Node, backing_path, check_name};
use super::options::{Opt, flag, long_valued, valued};
use super::{new_file, size};

pub(super) const OPTIONS: &[Opt] = &[
    flag('h', "help"),
    flag('q', "quiet"),
    long_valued("object"),
    valued('f', "format"),
    valued('b', "backing"),
    valued('F', "backing-format"),
    flag('u', "backing-unsafe"),
    valued('o', "options"),
];

/// What is asked for.
#[derive(Debug, Default)]
struct Asked {
    quiet: bool,
    format: Option<String>,
    lists: Lists,
    backing: Option<String>,
    backing_format: Option<String>,
    /// The backing file is not looked at.
    unsafe_backing: bool,
    size: Option<u64>,
}

pub(super) fn run(call: &mut Call) -> Result<u8, Failure> {
    let mut asked = Asked::default();
    while let Some(option) = call.option()? {
        match option.name {
            "quiet" => asked.quiet = true,
            "format" => asked.format = Some(option.value),
            "options" => asked.lists.add(option.value)?,
            "backing" => asked.backing = Some(option.value),
            "backing-format" => asked.backing_format = Some(option.value),
            _ => asked.unsafe_backing = true,
        }
    }
    let names = call.names();
    let format = asked.format.as_deref().unwrap_or("raw");
    if asked.lists.ask_for_help() {
        let kind = Kind::parse(format)?;
        call.print(&format_options::help(kind, !names.is_empty()));
        return Ok(0);
    }
    let Some(name) = names.first() else { return Err(Failure::usage("Expecting image file name")) };
    if let Some(text) = names.get(1) {
        asked.size = Some(size::of_image(text)?);
    }
    if let Some(extra) = names.get(2) {
        return Err(Failure::usage(format!("Unexpected argument: {extra}")));
    }
    let created = Kind::parse(format).and_then(|kind| create(call, &asked, kind, name));
    created.map_err(|failure| failure.context(name))?;
    Ok(0)
}

fn create(call: &Call, asked: &Asked, kind: Kind, name: &str) -> Result<(), Failure> {
    if !name.is_empty() {
        // Nothing is made by description.
        check_name(name).map_err(|failure| match name.starts_with("json:") {
            true => Failure::new("Unknown protocol 'json'"),
            false => failure,
        })?;
    }
    let mut options = FormatOptions::parse(kind, &asked.lists)?;
    if let Some(size) = asked.size {
        if options.text("size").is_some() {
            return Err(Failure::new("The image size must be specified only once"));
        }
        options.set("size", size.to_string());
    }
    let of_backing = [
        ("backing_file", &asked.backing, "Backing file"),
        ("backing_fmt", &asked.backing_format, "Backing file format"),
    ];
    for (option, value, what) in of_backing {
        let Some(value) = value else { continue };
        if !options.has(option) {
            return Err(Failure::new(format!("{what} not supported for file format '{}'", kind.name())));
        }
        options.set(option, value.clone());
    }
    if let Some(backing) = options.text("backing_file").map(str::to_owned) {
        look_at_backing(asked, &mut options, name, &backing)?;
    }
    let size = options.size("size").ok_or_else(|| Failure::new("Image creation needs a size parameter"))?;
    if !asked.quiet {
        call.print(&options.formatting(name));
    }
    new_file::create(name, kind, &options, size)
}

/// Takes the size from the backing file where none is given.
fn look_at_backing(
    asked: &Asked,
    options: &mut FormatOptions,
    name: &str,
    backing: &str,
) -> Result<(), Failure> {
    if backing.is_empty() {
        return Err(Failure::new("Expected backing file name, got empty string"));
    }
    if backing == name {
        return Err(Failure::new(
            "Error: Trying to create an image with the same filename as the backing file",
        ));
    }
    let format = options.text("backing_fmt").map(str::to_owned);
    let undeclared = || Failure::new("Backing file specified without backing format");
    if asked.unsafe_backing {
        return if format.is_some() { Ok(()) } else { Err(undeclared()) };
    }
    let node = Node::backing(&backing_path(name, backing), format.as_deref());
    let member = node.and_then(|node| node.glance());
    let member = member.map_err(|failure| failure.hint("Could not open backing image.\n"))?;
    if format.is_none() {
        return Err(undeclared().hint(&format!("Detected format of {}.\n", member.format)));
    }
    if options.size("size").is_none() {
        options.set("size", member.virtual_size().next_multiple_of(512).to_string());
    }
    Ok(())
}
