//! `qemu-img map`: where the bytes of an image come from.

use image_core::block::{BlockRead, ByteRange, MapEntry};
use image_core::map::Map;

use super::failure::Failure;
use super::node::{Layer, Node, Wanted, backing_path};
use super::options::{Opt, flag, long_flag, long_valued, valued};
use super::whole_sectors::WholeSectors;
use super::{Call, Output, bytes, size, words};

pub(super) const OPTIONS: &[Opt] = &[
    flag('h', "help"),
    valued('f', "format"),
    long_valued("output"),
    long_valued("object"),
    long_flag("image-opts"),
    flag('U', "force-share"),
    valued('s', "start-offset"),
    valued('l', "max-length"),
];

/// Lines are printed when there are so many bytes of them.
const PIECE: usize = 64 * 1024;

pub(super) fn run(call: &mut Call) -> Result<u8, Failure> {
    let (mut wanted, mut output) = (Wanted::default(), Output::default());
    let (mut start, mut len) = (0, u64::MAX);
    while let Some(option) = call.option()? {
        match option.name {
            "output" => output = Output::parse(&option.value)?,
            "start-offset" => start = size::argument("start offset", &option.value)?,
            "max-length" => len = size::argument("max length", &option.value)?,
            _ => wanted.take(option),
        }
    }
    let name = call.one_name("Expecting one image file name")?;
    let node = Node::parse(&name, &wanted)?;
    let disk = WholeSectors(node.disk()?);
    let range = ByteRange::between(start, start.saturating_add(len).min(disk.size()));
    let mut printer = Printer { call, output, names: names(&node)?, text: String::new(), entries: 0 };
    printer.head();
    for stretch in Map::of(&disk, range) {
        let failed = |error| Failure::new(words::of_chain(&error)).context("Failed to read image metadata");
        printer.entry(&stretch.map_err(failed)?)?;
    }
    printer.tail(start);
    Ok(0)
}

/// The names of the files that have the bytes, by depth: those of the images, or of their data files.
fn names(node: &Node) -> Result<Vec<String>, Failure> {
    let mut above = node.shown().to_owned();
    if matches!(node.layer(), Layer::File | Layer::Part { .. }) {
        return Ok(vec![above]);
    }
    let members =
        node.member()?.with_backing_chain(node.options()).map_err(|error| node.failed_to_open(&error))?;
    let mut names = Vec::new();
    for member in members {
        let header = member.header.as_ref();
        let text = |name: &[u8]| bytes::to_text(name);
        let data_file = header.and_then(|header| header.data_file_name()).map(text);
        let below = header.and_then(|header| header.backing_name.as_deref()).map(text);
        let below = below.map(|name| Node::shown_backing(&backing_path(&above, &name))).unwrap_or_default();
        names.push(data_file.unwrap_or(above));
        above = below;
    }
    Ok(names)
}

struct Printer<'a> {
    call: &'a Call,
    output: Output,
    names: Vec<String>,
    text: String,
    entries: u64,
}

impl Printer<'_> {
    fn head(&mut self) {
        match self.output {
            Output::Human => {
                self.text = format!("{:<16}{:<16}{:<16}{}\n", "Offset", "Length", "Mapped to", "File");
            }
            Output::Json => self.text.push('['),
        }
    }

    fn entry(&mut self, stretch: &MapEntry) -> Result<(), Failure> {
        if self.text.len() > PIECE {
            self.print();
        }
        match self.output {
            Output::Json => {
                if self.entries > 0 {
                    self.text.push_str(",\n");
                }
                self.text.push_str(&as_json(stretch));
            }
            Output::Human if stretch.data && stretch.host.is_none() => {
                self.print();
                return Err(Failure::new("File contains external, encrypted or compressed clusters."));
            }
            Output::Human if stretch.data && !stretch.zero => {
                let hex = |number: u64| if number == 0 { "0".to_owned() } else { format!("{number:#x}") };
                let host = stretch.host.as_ref().map_or(0, |host| host.offset);
                let (start, len) = (hex(stretch.range.offset()), hex(stretch.range.len()));
                let file = self.names.get(stretch.depth as usize).map_or("", String::as_str);
                self.text.push_str(&format!("{start:<16}{len:<16}{:<16}{file}\n", hex(host)));
            }
            Output::Human => {}
        }
        self.entries += 1;
        Ok(())
    }

    fn tail(mut self, start: u64) {
        if self.output == Output::Json {
            if self.entries == 0 {
                let nothing = MapEntry::nothing(ByteRange::between(start, start));
                self.text.push_str(&as_json(&nothing));
            }
            self.text.push_str("]\n");
        }
        self.print();
    }

    fn print(&mut self) {
        self.call.print(&self.text);
        self.text.clear();
    }
}

fn as_json(stretch: &MapEntry) -> String {
    let MapEntry { range, depth, present, zero, data, compressed, host } = stretch;
    let (start, len) = (range.offset(), range.len());
    let offset = host.as_ref().map(|host| format!(", \"offset\": {}", host.offset)).unwrap_or_default();
    format!(
        "{{ \"start\": {start}, \"length\": {len}, \"depth\": {depth}, \"present\": {present}, \"zero\": {zero}, \
         \"data\": {data}, \"compressed\": {compressed}{offset}}}"
    )
}
