//! `qemu-img dd`: some blocks of an image into a new one.
//!
//! `count` is not counted from `skip` on, as dd(1) does, but from the first block: what is copied lies between the two.

use image_core::block::{BlockRead, BlockWrite, ByteRange, DdRange, MemoryDisk, Window};
use image_core::convert::{DiskSink, Options, convert};
use image_core::qcow2::{NewImage, Qcow2Sink};

use super::failure::Failure;
use super::format_options::{FormatOptions, Kind, Lists};
use super::new_file::{self, NewFile};
use super::node::{Node, Wanted, check_name};
use super::options::{Opt, flag, long_flag, long_valued, valued};
use super::{Call, size, words};

pub(super) const OPTIONS: &[Opt] = &[
    flag('h', "help"),
    long_valued("object"),
    valued('f', "format"),
    valued('O', "output-format"),
    long_flag("image-opts"),
    flag('U', "force-share"),
];

/// Images have whole ones.
const SECTOR: u64 = 512;

/// The operands, understood.
struct Operands {
    input: Option<String>,
    output: Option<String>,
    block_len: u64,
    skip: u64,
    count: Option<u64>,
}

impl Operands {
    fn parse(words: &[String]) -> Result<Self, Failure> {
        let mut operands = Self { input: None, output: None, block_len: 512, skip: 0, count: None };
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                _ if name.len() == word.len() => return Err(unrecognized(name)),
                "if" => operands.input = Some(value.to_owned()),
                "of" => operands.output = Some(value.to_owned()),
                "bs" => operands.block_len = size::argument_within("bs", value, 1, i32::MAX as u64)?,
                "count" => operands.count = Some(blocks("count", value)?),
                "skip" => operands.skip = blocks("skip", value)?,
                _ => return Err(unrecognized(name)),
            }
        }
        Ok(operands)
    }
}

fn blocks(what: &str, value: &str) -> Result<u64, Failure> {
    size::integer(what, value, 0, i64::MAX as u64)
}

fn unrecognized(name: &str) -> Failure {
    Failure::new(format!("unrecognized operand {name}"))
}

pub(super) fn run(call: &mut Call) -> Result<u8, Failure> {
    let (mut wanted, mut format) = (Wanted::default(), "raw".to_owned());
    while let Some(option) = call.option()? {
        match option.name {
            "output-format" => format = option.value,
            _ => wanted.take(option),
        }
    }
    let operands = Operands::parse(&call.names())?;
    let (Some(input), Some(output)) = (&operands.input, &operands.output) else {
        return Err(Failure::new("Must specify both input and output files"));
    };
    let source = Node::parse(input, &wanted)?.disk()?;
    let kind = Kind::parse(&format).map_err(|_| Failure::new("Unknown file format"))?;
    if !output.is_empty() {
        check_name(output)?;
    }
    // A file's end within a sector is none.
    let size = source.size().next_multiple_of(SECTOR);
    let until = operands.count.map_or(u64::MAX, |count| count.saturating_mul(operands.block_len));
    let until = until.min(size);
    let excerpt = DdRange { block_len: operands.block_len, skip: operands.skip, count: None };
    let range = excerpt.range(until);
    let target = Target::create(output, kind, range.map_or(0, |range| range.len()))?;
    let Some(range) = range else {
        call.talk.report(&format!("{input}: cannot skip to specified offset"));
        return target.write(&MemoryDisk::new(0));
    };
    let end = range.end().min(source.size());
    let part = Window::new(source, ByteRange::between(range.offset().min(end), end));
    target.write(&part.map_err(failed)?)
}

/// The new image.
enum Target {
    Raw(NewFile),
    Qcow2(NewFile, NewImage),
}

impl Target {
    /// Makes the file `name`, for `size` bytes.
    fn create(name: &str, kind: Kind, size: u64) -> Result<Self, Failure> {
        let failed =
            |failure: Failure| failure.context(&format!("{name}: error while creating output image"));
        let options = FormatOptions::parse(kind, &Lists::default())?;
        if kind != Kind::Qcow2 {
            return new_file::create_raw(name, kind, &options, size).map(Self::Raw).map_err(failed);
        }
        let new = NewFile::at(name).map_err(failed)?;
        let image = options.new_image(size, false).map_err(|fault| failed(Failure::new(fault)))?;
        Ok(Self::Qcow2(new, image))
    }

    /// Writes `source` into it. What holds nothing but zeroes stays a hole, unlike with QEMU.
    fn write(self, source: &dyn BlockRead) -> Result<u8, Failure> {
        let options = Options::default();
        let new = match self {
            Self::Raw(new) => {
                let mut sink = DiskSink::new(&**new.disk(), new.zeroes());
                convert(source, &mut sink, &options).map_err(failed)?;
                new
            }
            Self::Qcow2(new, image) => {
                let mut sink = Qcow2Sink::new(&**new.disk(), image).map_err(failed)?;
                convert(source, &mut sink, &options).map_err(failed)?;
                new
            }
        };
        new.disk().flush().and_then(|()| new.keep()).map_err(failed)?;
        Ok(0)
    }
}

fn failed(error: image_core::Error) -> Failure {
    Failure::new(format!("error while copying: {}", words::of_chain(&error)))
}
