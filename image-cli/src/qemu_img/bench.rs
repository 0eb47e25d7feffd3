//! `qemu-img bench`: how fast an image takes requests.

use std::num::{NonZeroU64, NonZeroUsize};

use image_core::bench::{Requests, Workload};
use image_core::format::{Format, ImageWriter, Share, WriteOptions};

use super::failure::Failure;
use super::node::{Node, Wanted};
use super::options::{Given, Opt, flag, long_flag, long_valued, valued};
use super::{Call, cache, say, size, words};

pub(super) const OPTIONS: &[Opt] = &[
    flag('h', "help"),
    valued('f', "format"),
    long_flag("image-opts"),
    valued('t', "cache"),
    valued('c', "count"),
    valued('d', "depth"),
    valued('o', "offset"),
    valued('s', "buffer-size"),
    valued('S', "step-size"),
    valued('i', "aio"),
    flag('n', "native"),
    flag('w', "write"),
    long_valued("pattern"),
    long_valued("flush-interval"),
    long_flag("no-drain"),
    flag('U', "force-share"),
    flag('q', "quiet").only_in_full(),
];

/// The largest number of most options.
const INT_MAX: u64 = i32::MAX as u64;

/// What was asked for.
struct Asked {
    wanted: Wanted,
    count: u64,
    depth: u64,
    len: u64,
    offset: u64,
    step: u64,
    write: bool,
    pattern: u8,
    flush_every: u64,
    drain: bool,
    native: bool,
    direct: bool,
}

impl Asked {
    fn take(&mut self, option: Given) -> Result<(), Failure> {
        let value = option.value.as_str();
        let number = |what, least| size::integer(what, value, least, INT_MAX);
        let bytes = |what, least| size::argument_within(what, value, least, INT_MAX);
        match option.name {
            "count" => self.count = number("request count", 1)?,
            "depth" => self.depth = number("queue depth", 1)?,
            "buffer-size" => self.len = bytes("buffer size", 1)?,
            "step-size" => self.step = bytes("step size", 0)?,
            "flush-interval" => self.flush_every = number("flush interval", 0)?,
            "offset" => self.offset = size::argument("offset", value)?,
            "pattern" => self.pattern = size::integer("pattern byte", value, 0, 255)? as u8,
            "cache" => {
                cache::check_source(value).map_err(|_| Failure::new("Invalid cache mode"))?;
                self.direct = matches!(value, "none" | "off" | "directsync");
            }
            "aio" if matches!(value, "threads" | "native" | "io_uring") => self.native |= value == "native",
            "aio" => return Err(Failure::new(format!("Invalid aio option: {value}"))),
            "native" => self.native = true,
            "write" => self.write = true,
            "no-drain" => self.drain = false,
            "quiet" => {}
            _ => self.wanted.take(option),
        }
        Ok(())
    }
}

pub(super) fn run(call: &mut Call) -> Result<u8, Failure> {
    let mut asked = Asked {
        wanted: Wanted::default(),
        count: 75_000,
        depth: 64,
        len: 4096,
        offset: 0,
        step: 0,
        write: false,
        pattern: 0,
        flush_every: 0,
        drain: true,
        native: false,
        direct: false,
    };
    while let Some(option) = call.option()? {
        asked.take(option)?;
    }
    let name = call.one_name("Expecting one image file name")?;
    if !asked.write && asked.flush_every > 0 {
        return Err(Failure::new("--flush-interval is only available in write tests"));
    }
    if asked.flush_every > 0 && asked.flush_every < asked.depth {
        return Err(Failure::new("Flush interval can't be smaller than depth"));
    }
    let node = Node::parse(&name, &asked.wanted)?;
    if asked.write {
        node.check_writable()?;
    }
    if asked.native && !asked.direct {
        let why = "aio=native was specified, but it requires cache.direct=on, which was not specified.";
        return Err(node.failed(why));
    }
    begin(call, &asked, &node)
}

fn begin(call: &Call, asked: &Asked, node: &Node) -> Result<u8, Failure> {
    let step = if asked.step == 0 { asked.len } else { asked.step };
    let workload = Workload {
        count: asked.count,
        depth: NonZeroUsize::new(asked.depth as usize).unwrap_or(NonZeroUsize::MIN),
        len: asked.len as usize,
        offset: asked.offset,
        step,
    };
    let mut lines = format!(
        "Sending {} {} requests, {} bytes each, {} in parallel (starting at offset {}, step size {step})\n",
        asked.count,
        if asked.write { "write" } else { "read" },
        asked.len,
        asked.depth,
        asked.offset,
    );
    if asked.flush_every > 0 {
        lines.push_str(&format!("Sending flush every {} requests\n", asked.flush_every));
    }
    let failed = |error: image_core::Error| {
        let past_the_end = error.cause::<std::io::Error>().is_none();
        let why = if past_the_end { "Input/output error".to_owned() } else { words::of_chain(&error) };
        Failure::new(why).context("Failed request")
    };
    let took = if asked.write {
        let image = writer(node)?;
        call.print(&lines);
        let flush_every = NonZeroU64::new(asked.flush_every);
        let deed = Requests::Write { disk: &image, pattern: asked.pattern, flush_every, drain: asked.drain };
        let took = workload.run(deed, &()).map_err(failed)?;
        image.close().map_err(failed)?;
        took
    } else {
        let disk = node.disk()?;
        call.print(&lines);
        workload.run(Requests::Read(&*disk), &()).map_err(failed)?
    };
    call.print(&format!("Run completed in {:.3} seconds.\n", took.as_secs_f64()));
    Ok(0)
}

/// Opens the image to write, and warns where its format was only guessed.
fn writer(node: &Node) -> Result<ImageWriter, Failure> {
    node.refuse_part()?;
    node.repair_unclosed(&node.glance()?)?;
    let options = WriteOptions { share: Share::default(), ..node.write_options() };
    let image = ImageWriter::open_node(node.medium_to_write()?, options);
    let image = image.map_err(|error| node.failed_to_open(&error))?;
    if image.format() == Format::Raw {
        say(&node.warning_of_probing());
    }
    Ok(image)
}
