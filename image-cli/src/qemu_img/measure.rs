//! `qemu-img measure`: how large the file of a new image would be.

use image_core::block::BlockRead;
use image_core::measure::{self, Content, Measured};
use image_core::qcow2::{Version, bitmap};
use image_core::{Error, ErrorKind};
use serde_json::json;

use super::failure::Failure;
use super::format_options::{FormatOptions, Kind, Lists};
use super::node::{Node, Wanted};
use super::options::{Given, Opt, flag, long_flag, long_valued, valued};
use super::{Call, Output, json, size, snapshot_disk, words};

pub(super) const OPTIONS: &[Opt] = &[
    flag('h', "help"),
    valued('O', "target-format"),
    valued('f', "format"),
    long_flag("image-opts"),
    valued('o', "options"),
    valued('l', "snapshot"),
    long_valued("object"),
    long_valued("output"),
    long_valued("size"),
    flag('U', "force-share"),
];

/// What is asked for.
#[derive(Default)]
struct Asked {
    wanted: Wanted,
    target_format: Option<String>,
    lists: Lists,
    snapshot: Option<snapshot_disk::Wanted>,
    output: Output,
    size: Option<u64>,
}

impl Asked {
    fn take(&mut self, option: Given) -> Result<(), Failure> {
        match option.name {
            "target-format" => self.target_format = Some(option.value),
            "options" => self.lists.add(option.value)?,
            "snapshot" => self.snapshot = Some(snapshot_disk::Wanted::parse(&option.value)?),
            "output" => self.output = Output::parse(&option.value)?,
            "size" => self.size = Some(size::of_image(&option.value)?),
            _ => self.wanted.take(option),
        }
        Ok(())
    }

    /// Whether there is a name or a size, and what goes with it.
    fn check(&self, names: &[String]) -> Result<(), Failure> {
        let of_file = self.wanted.image_opts || self.wanted.format.is_some() || self.snapshot.is_some();
        let mistake = match (names.len(), self.size) {
            (0, _) if of_file => "--image-opts, -f, and -l require a filename argument.",
            (0, None) => "Either --size N or one filename must be specified.",
            (1, Some(_)) => "--size N cannot be used together with a filename.",
            (0 | 1, _) => return Ok(()),
            _ => "At most one filename argument is allowed.",
        };
        Err(Failure::new(mistake))
    }
}

/// An image to be copied.
struct Source {
    disk: Box<dyn BlockRead>,
    /// Its bitmaps, if it can have any.
    bitmaps: Option<Vec<bitmap::Bitmap>>,
}

impl Source {
    fn open(name: &str, asked: &Asked) -> Result<Self, Failure> {
        let node = Node::parse(name, &asked.wanted)?;
        let member = node.member()?;
        let disk = match &asked.snapshot {
            Some(snapshot) => snapshot_disk::open(&node, snapshot)?,
            None => node.disk()?,
        };
        let header = member.header.as_ref().filter(|header| header.version != Version::V2);
        let bitmaps = header.map(|header| bitmap::list(&member.file, header)).transpose();
        Ok(Self { disk, bitmaps: bitmaps.map_err(|error| node.failed_to_open(&error))? })
    }
}

pub(super) fn run(call: &mut Call) -> Result<u8, Failure> {
    let mut asked = Asked::default();
    while let Some(option) = call.option()? {
        asked.take(option)?;
    }
    let names = call.names();
    asked.check(&names)?;
    let source = names.first().map(|name| Source::open(name, &asked)).transpose()?;
    let kind = Kind::parse(asked.target_format.as_deref().unwrap_or("raw"))?;
    let options = FormatOptions::parse(kind, &asked.lists).map_err(|failure| {
        call.talk.fail(failure, "");
        Failure::new(format!("Invalid options for file format '{}'", kind.name()))
    })?;
    let content = match &source {
        Some(source) => Content::Of(&*source.disk),
        None => Content::Empty(asked.size.unwrap_or_default()),
    };
    let (measured, bitmaps) = match kind {
        Kind::Raw => (measure::raw(content), None),
        Kind::File | Kind::Device => {
            let message = format!("Block driver '{}' does not support size measurement", kind.name());
            return Err(Failure::new(message));
        }
        Kind::Qcow2 => {
            let (target, may_have_bitmaps) = options.measured().map_err(Failure::new)?;
            let measured = measure::qcow2(target, content);
            let list = source.as_ref().and_then(|source| source.bitmaps.as_deref().zip(Some(&source.disk)));
            let bitmaps = list.filter(|_| may_have_bitmaps);
            let bitmaps = bitmaps.map(|(list, disk)| measure::bitmaps(target.geometry, disk.size(), list));
            (measured.map_err(|error| why(&error))?, bitmaps)
        }
    };
    call.print(&shown(asked.output, measured, bitmaps));
    Ok(0)
}

fn why(error: &Error) -> Failure {
    Failure::new(match error.kind() {
        ErrorKind::Unsupported => "The image size is too large (try using a larger cluster size)".to_owned(),
        _ => words::of_chain(error),
    })
}

fn shown(output: Output, measured: Measured, bitmaps: Option<u64>) -> String {
    let Measured { required, fully_allocated } = measured;
    match output {
        Output::Json => {
            let mut value = json!({ "required": required, "fully-allocated": fully_allocated });
            if let (Some(bytes), Some(fields)) = (bitmaps, value.as_object_mut()) {
                fields.insert("bitmaps".to_owned(), json!(bytes));
            }
            json::pretty(&value)
        }
        Output::Human => {
            let line = bitmaps.map(|bytes| format!("bitmaps size: {bytes}\n")).unwrap_or_default();
            format!("required size: {required}\nfully allocated size: {fully_allocated}\n{line}")
        }
    }
}
