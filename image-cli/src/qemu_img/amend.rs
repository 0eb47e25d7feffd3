//! `qemu-img amend`: options of an image that is there.

use std::sync::Arc;

use image_core::block::BlockWrite;
use image_core::format::Medium;
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
    valued('f', "format"),
    long_flag("image-opts"),
    valued('t', "cache"),
    long_flag("force"),
    valued('o', "options"),
    long_valued("object"),
];

/// Options that only a new image has.
const OF_CREATION: [&str; 5] =
    ["cluster_size", "compression_type", "extended_l2", "preallocation", "encryption"];

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
    wanted.check()?;
    cache::check_target(&cache_mode)?;
    let node = Node::parse(&name, &wanted)?;
    let member = node.member()?;
    let Some(header) = member.header.clone() else {
        call.talk.say(&node.warning_of_probing());
        return Err(Failure::new("Format driver 'raw' does not support option amendment"));
    };
    drop(member);
    let file = node.file_to_write()?;
    let options = FormatOptions::parse(Kind::Qcow2, &lists)?;
    let percent = Percent::start(shown && !quiet, 1);
    let done = change(&node, file, &header, &options);
    percent.complete();
    percent.end();
    done.map(|()| 0)
}

fn change(node: &Node, file: Medium, header: &Header, options: &FormatOptions) -> Result<(), Failure> {
    if let Some(name) = OF_CREATION.into_iter().find(|name| options.text(name).is_some()) {
        return Err(Failure::new(format!("Invalid parameter '{name}'"))
            .hint("This option is only supported for image creation\n"));
    }
    if options.text("backing_file").is_some() || options.text("backing_fmt").is_some() {
        return Err(
            Failure::new("Cannot amend the backing file").hint("You can use 'qemu-img rebase' instead.\n")
        );
    }
    let amendment = amendment(header, options)?;
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
    let lazy = options.text("lazy_refcounts").map(|value| value == "on");
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
