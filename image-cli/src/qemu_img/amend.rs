//! `qemu-img amend`: options of an image that is there.

use std::sync::Arc;

use image_core::block::BlockWrite;
use image_core::format::ProtocolNode;
use image_core::qcow2::write::{Amendment, Version2Rule, amend};
use image_core::qcow2::{Header, Version};

use super::failure::Failure;
use super::format_options::{FormatOptions, Kind, Lists};
use super::node::{Node, Wanted};
use super::options::{Opt, flag, long_flag, long_valued, valued};
use super::progress::Percent;
use super::{Call, cache, words};

pub(super) const OPTIONS: &[Opt] = &[
    flag('h', "help"),
    flag('q', "quiet"),
    flag('p', "progress"),
    long_valued("object"),
    valued('f', "format"),
    valued('t', "cache"),
    valued('o', "options"),
    long_flag("image-opts"),
    long_flag("force"),
];

/// Options that an image has when it is there.
const OF_AMENDMENT: &[&str] = &[
    "backing_file",
    "backing_fmt",
    "compat",
    "data_file",
    "data_file_raw",
    "encrypt.iter-time",
    "lazy_refcounts",
    "refcount_bits",
    "size",
];

pub(super) fn run(call: &mut Call) -> Result<u8, Failure> {
    let (mut wanted, mut lists, mut quiet, mut shown) = (Wanted::default(), Lists::default(), false, false);
    let mut cache_mode = "writeback".to_owned();
    while let Some(option) = call.option()? {
        match option.name {
            "quiet" => quiet = true,
            "progress" => shown = true,
            "cache" => cache_mode = option.value,
            "options" => lists.add(option.value)?,
            // Nothing that needs it is done here.
            "force" => {}
            _ => wanted.take(option),
        }
    }
    if lists.is_empty() {
        return Err(Failure::usage("Must specify options (-o)"));
    }
    if lists.ask_for_help() && wanted.format.as_deref() == Some("qcow2") {
        call.print(include_str!("help/amend-options.txt"));
        return Ok(0);
    }
    let name = call.one_name("").map_err(|_| Failure::new("Expecting one image file name"))?;
    cache::check_target(&cache_mode)?;
    let mut percent = Percent::ready(shown && !quiet);
    let node = Node::parse(&name, &wanted)?;
    let mut member = node.glance()?;
    if node.repair_unclosed(&member)? {
        member = node.glance()?;
    }
    let Some(header) = member.header.clone() else {
        call.talk.say(&node.warning_of_probing());
        return Err(Failure::new("Format driver 'raw' does not support option amendment"));
    };
    node.refuse_corrupt(&member)?;
    drop(member);
    let file = node.file_to_write()?;
    let options = FormatOptions::parse_only(Kind::Qcow2, &lists, OF_AMENDMENT).map_err(|failure| {
        // What is right for a new image is wrong here alone.
        match FormatOptions::parse(Kind::Qcow2, &lists) {
            Ok(_) => failure.hint("This option is only supported for image creation\n"),
            Err(_) => failure,
        }
    })?;
    percent.of(1);
    let done = change(&node, file, &header, &options);
    percent.complete();
    done.map(|()| 0)
}

fn change(node: &Node, file: ProtocolNode, header: &Header, options: &FormatOptions) -> Result<(), Failure> {
    let amendment = amendment(header, options)?;
    if options.text("backing_file").is_some() || options.text("backing_fmt").is_some() {
        return Err(
            Failure::new("Cannot amend the backing file").hint("You can use 'qemu-img rebase' instead.\n")
        );
    }
    check_data_file(header, options)?;
    let file: Arc<dyn BlockWrite> = Arc::new(file);
    let failed = |error: image_core::Error| Failure::new(words::of_chain(&error));
    amend(&file, header, amendment).map_err(|error| match error.cause() {
        Some(Version2Rule::Snapshots) => Failure::new("Internal snapshots prevent downgrade of image"),
        Some(Version2Rule::DataFile) => Failure::new("Cannot downgrade an image with a data file"),
        Some(Version2Rule::ExtendedL2) => {
            Failure::new("Cannot downgrade an image with incompatible features 0x10 set")
        }
        _ => failed(error),
    })?;
    drop(file);
    match options.size("size") {
        Some(size) if size != header.size => {
            let image = node.writer()?;
            image.resize(size).and_then(|()| image.close()).map_err(failed)
        }
        _ => Ok(()),
    }
}

/// What an image says of its data file stays as it is.
fn check_data_file(header: &Header, options: &FormatOptions) -> Result<(), Failure> {
    let raw = options.text("data_file_raw").map(|_| options.is_on("data_file_raw"));
    match (options.text("data_file"), raw) {
        (Some(_), _) if !header.has_data_file() => {
            Err(Failure::new("data-file can only be set for images that use an external data file"))
        }
        (_, Some(true)) if !header.is_data_file_raw() => {
            Err(Failure::new("data-file-raw cannot be set on existing images"))
        }
        (Some(_), _) => Err(Failure::new("the name of a data file is not changed by goldimg")),
        (None, Some(false)) if header.is_data_file_raw() => {
            Err(Failure::new("that a data file is raw is not changed by goldimg"))
        }
        _ => Ok(()),
    }
}

/// What the options ask for, as far as the version that the image will have allows it.
fn amendment(header: &Header, options: &FormatOptions) -> Result<Amendment, Failure> {
    let version = match options.text("compat") {
        None => None,
        Some("0.10" | "v2") => Some(Version::V2),
        Some("1.1" | "v3") => Some(Version::V3),
        Some(level) => return Err(Failure::new(format!("Unknown compatibility level {level}"))),
    };
    let bits = options.size("refcount_bits").map(|bits| bits as u32);
    if bits.is_some_and(|bits| !bits.is_power_of_two() || bits > 64) {
        return Err(Failure::new("Refcount width must be a power of two and may not exceed 64 bits"));
    }
    let lazy = options.text("lazy_refcounts").map(|_| options.is_on("lazy_refcounts"));
    let after = version.unwrap_or(header.version);
    if after == Version::V2 {
        if bits.unwrap_or(header.geometry.refcount_bits()) != 16 {
            return Err(Failure::new(match bits {
                None => "compat=0.10 requires refcount_bits=16",
                Some(_) => {
                    "Refcount widths other than 16 bits require compatibility level 1.1 or above \
                     (use compat=1.1 or greater)"
                }
            }));
        }
        if lazy == Some(true) {
            return Err(Failure::new(
                "Lazy refcounts only supported with compatibility level 1.1 and above \
                 (use compat=1.1 or greater)",
            ));
        }
    }
    Ok(Amendment { version, refcount_bits: bits, lazy_refcounts: lazy })
}
