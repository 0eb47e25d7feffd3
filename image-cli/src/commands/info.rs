//! `goldimg info`: what an image is, read from its header; nothing it names is opened unless asked for.

use std::process::ExitCode;

use clap::Args as ClapArgs;
use goldimg::facts;
use goldimg::inspect::{PartitionFacts, Table};
use goldimg::printable::printable;
use image_core::block::BlockRead;
use image_core::foreign;
use image_core::format::{Format, FormatNode, OpenOptions};
use image_core::fs::{Signature, detect};
use image_core::partition::PartitionTable;
use image_core::qcow2::bitmap::{self, Bitmap};
use image_core::qcow2::snapshot::{self, Snapshot};
use image_core::qcow2::{Compression, Header, Version};
use serde_json::{Map, Value, json};

use super::image::{ImageArgs, SizeFrom, human_size, unless_shared};
use crate::ui::Ui;

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  goldimg info disk.qcow2\n  goldimg info --json disk.qcow2 | jq '.\"virtual-size\"'\n  \
    goldimg info --backing-chain overlay.qcow2"
)]
pub(crate) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// What the size of a VHD is from [default: as the program has it that made it]
    #[arg(long, value_enum, value_name = "WHAT")]
    size_from: Option<SizeFrom>,
    /// Show the backing files too, as far as they are beneath the image's folder
    #[arg(long)]
    backing_chain: bool,
}

/// An image and what is in it.
struct Known {
    member: FormatNode,
    snapshots: Vec<Snapshot>,
    bitmaps: Vec<Bitmap>,
    content: Option<Content>,
}

/// What the bytes of a raw image are: its header says nothing.
enum Content {
    Table(PartitionTable, Vec<Option<Signature>>),
    Filesystem(Signature),
}

impl Content {
    /// What is on `disk`; `None` for what is not known here.
    fn of(disk: &dyn BlockRead) -> image_core::Result<Option<Self>> {
        let Some(table) = PartitionTable::read(disk)? else {
            return Ok(detect(disk)?.map(Self::Filesystem));
        };
        let signatures = table.partitions.iter().map(|partition| detect(&partition.window(disk)?));
        let signatures = signatures.collect::<Result<_, _>>()?;
        Ok(Some(Self::Table(table, signatures)))
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let labelled = |own: &Signature| match own.label.as_str() {
            "" => own.kind.to_string(),
            label => format!("{} {:?}", own.kind, printable(label)),
        };
        let (table, signatures) = match self {
            Self::Filesystem(own) => return vec![("content", labelled(own))],
            Self::Table(table, signatures) => (Table::of(table), signatures),
        };
        let (scheme, sector) = (table.scheme.to_ascii_uppercase(), table.sector_size);
        let mut lines = vec![("partitions", format!("{scheme} {}, sectors of {sector} bytes", table.id))];
        for (partition, signature) in table.partitions.iter().zip(signatures) {
            let PartitionFacts { number, start, size, .. } = partition;
            let kind = partition.type_name.unwrap_or(&partition.kind);
            let content = signature.as_ref().map_or_else(String::new, |own| format!(", {}", labelled(own)));
            let name = match partition.name.as_str() {
                "" => String::new(),
                name => format!(" {:?}", printable(name)),
            };
            lines.push((
                "",
                format!("{number}: {kind}{name}, {} from {start} on{content}", human_size(*size)),
            ));
        }
        lines.extend(table.defects.iter().map(|defect| ("defect", defect.clone())));
        lines
    }

    fn json(&self) -> (&'static str, Value) {
        let facts =
            |own: &Signature| json!({ "type": own.kind.to_string(), "label": own.label, "uuid": own.uuid });
        match self {
            Self::Filesystem(own) => ("filesystem", facts(own)),
            Self::Table(table, signatures) => {
                let mut value = json!(Table::of(table));
                let partitions = value["partitions"].as_array_mut().into_iter().flatten();
                for (partition, own) in partitions.zip(signatures) {
                    partition["filesystem"] = json!(own.as_ref().map(facts));
                }
                ("partition-table", value)
            }
        }
    }
}

impl Known {
    fn of(member: FormatNode) -> image_core::Result<Self> {
        let (snapshots, bitmaps) = match &member.header {
            Some(header) => (snapshot::list(&member.file, header)?.0, bitmap::list(&member.file, header)?),
            None => (Vec::new(), Vec::new()),
        };
        // Of what cannot be made out, that it is so is no news of the image: `inspect` tells why.
        let content = match member.format {
            Format::Raw => Content::of(&member.file).unwrap_or_default(),
            _ => None,
        };
        Ok(Self { member, snapshots, bitmaps, content })
    }

    fn path(&self) -> String {
        self.member.file.path().display().to_string()
    }
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let size_from = args.size_from.map(Into::into);
    let (path, options) = (&args.image.path, OpenOptions { size_from, ..args.image.options() });
    let members = unless_shared(match args.backing_chain {
        true => FormatNode::backing_chain(path, options),
        false => FormatNode::open(path, options).map(|member| vec![member]),
    })?;
    let known: Vec<Known> = members.into_iter().map(Known::of).collect::<Result<_, _>>()?;
    for one in &known {
        warn(one, ui);
    }
    if args.image.wants_json() {
        let values: Vec<Value> = known.iter().map(as_json).collect::<Result<_, _>>()?;
        match <[Value; 1]>::try_from(values) {
            Ok([value]) if !args.backing_chain => ui.json(&value)?,
            Ok(values) => ui.json(&values)?,
            Err(values) => ui.json(&values)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let texts: Vec<String> = known.iter().map(as_text).collect::<Result<_, _>>()?;
    ui.line(&texts.join("\n\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn warn(known: &Known, ui: &Ui) {
    let Some(header) = &known.member.header else { return };
    let path = printable(&known.path());
    if header.is_corrupt() {
        ui.warning(&format!("{path} is marked as corrupt: it can be read, and must not be written"));
    }
    if header.is_dirty() {
        ui.warning(&format!("{path} was not closed: its refcounts may be out of date"));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shown(bytes: &[u8]) -> String {
    printable(&text(bytes))
}

fn as_text(known: &Known) -> image_core::Result<String> {
    let member = &known.member;
    let mut lines: Vec<(&str, String)> = vec![("image", printable(&known.path()))];
    let probed = if member.probed { "" } else { ", as told" };
    let size = member.virtual_size();
    let version = match member.header.as_ref().map(|header| header.version) {
        Some(Version::V2) => " version 2 (compat 0.10)",
        Some(Version::V3) => " version 3 (compat 1.1)",
        None => "",
    };
    lines.push(("format", format!("{}{version}{probed}", member.format)));
    lines.push(("virtual size", format!("{} ({size} bytes)", human_size(size))));
    let on_disk = member.file.allocated_size()?.map(|bytes| format!(", {} on disk", human_size(bytes)));
    lines.push(("file size", human_size(member.file.size()) + &on_disk.unwrap_or_default()));
    if let Some(header) = &member.header {
        header_lines(header, &mut lines);
    }
    if let Some(header) = &member.foreign {
        foreign_lines(header, &mut lines);
    }
    lines.extend(known.content.iter().flat_map(Content::lines));
    for snapshot in &known.snapshots {
        lines.push(("snapshot", snapshot_line(snapshot)));
    }
    for bitmap in &known.bitmaps {
        let states = facts::flags(bitmap).join(", ");
        let granularity =
            1_u64.checked_shl(bitmap.granularity_bits.into()).map_or_else(String::new, human_size);
        lines.push((
            "bitmap",
            format!(
                "{}: {granularity} a bit{}{states}",
                shown(&bitmap.name),
                if states.is_empty() { "" } else { ", " }
            ),
        ));
    }
    let lines: Vec<String> =
        lines.into_iter().map(|(name, value)| format!("{:<14}{value}", title(name))).collect();
    Ok(lines.join("\n"))
}

/// What stands before a line; nothing before one that belongs to the line above it.
fn title(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("{name}:") }
}

fn foreign_lines(header: &foreign::Header, lines: &mut Vec<(&'static str, String)>) {
    if let Some(variant) = header.variant() {
        lines.push(("kind", printable(variant)));
    }
    if let Some(size) = header.block_size() {
        lines.push(("blocks", human_size(size)));
    }
    for name in header.extent_names() {
        lines.push(("extent", shown(name)));
    }
    if let Some(parent) = header.parent() {
        lines.push(("parent", shown(&parent.name)));
    }
    lines.extend(header.notes().into_iter().map(|note| ("note", note)));
}

fn header_lines(header: &Header, lines: &mut Vec<(&'static str, String)>) {
    let geometry = header.geometry;
    let compression = match header.compression {
        Compression::Deflate => "deflate",
        Compression::Zstd => "zstd",
    };
    let subclusters = match geometry.extended_l2() {
        true => format!(", subclusters of {}", human_size(geometry.subcluster_size())),
        false => String::new(),
    };
    let clusters = human_size(geometry.cluster_size());
    lines.push(("clusters", format!("{clusters}, compressed ones with {compression}{subclusters}")));
    let lazy = if header.has_lazy_refcounts() { ", lazy" } else { "" };
    lines.push(("refcounts", format!("{} bits{lazy}", geometry.refcount_bits())));
    if let Some(name) = &header.backing_name {
        let format = header.backing_format().map_or("format not recorded".to_owned(), shown);
        lines.push(("backing file", format!("{} ({format})", shown(name))));
    }
    if header.has_data_file() {
        let raw = if header.is_data_file_raw() { " (raw)" } else { "" };
        lines
            .push(("data file", format!("{}{raw}", header.data_file_name().map_or_else(String::new, shown))));
    }
}

/// A snapshot in a line of text.
pub(super) fn snapshot_line(snapshot: &Snapshot) -> String {
    let date = jiff::Timestamp::from_second(snapshot.date.0.into());
    let date = date.map_or_else(|_| "?".to_owned(), |date| date.to_string());
    let state = match snapshot.vm_state_size {
        0 => String::new(),
        size => format!(", VM state {}", human_size(size)),
    };
    format!("{} {}, {date}{state}", shown(&snapshot.id), shown(&snapshot.name))
}

/// The keys of `qemu-img info --output=json`, and `file-size`, `format-probed`, `partition-table`, `filesystem` of our own.
fn as_json(known: &Known) -> image_core::Result<Value> {
    let member = &known.member;
    let on_disk = member.file.allocated_size()?;
    let protocol = if member.file.is_export() { "nbd" } else { "file" };
    let file = json!({
        "children": [],
        "virtual-size": member.file.size().next_multiple_of(512),
        "filename": known.path(),
        "format": protocol,
        "actual-size": on_disk,
        "format-specific": { "type": protocol, "data": {} },
        "dirty-flag": false,
    });
    let mut value = Map::new();
    let mut put = |key: &str, item: Value| value.insert(key.to_owned(), item);
    put("children", json!([{ "name": "file", "info": file }]));
    put("virtual-size", json!(member.virtual_size()));
    put("filename", json!(known.path()));
    put("format", json!(member.format.to_string()));
    put("format-probed", json!(member.probed));
    put("actual-size", json!(on_disk));
    put("file-size", json!(member.file.size()));
    put("dirty-flag", json!(member.header.as_ref().is_some_and(Header::is_dirty)));
    if let Some((key, content)) = known.content.as_ref().map(Content::json) {
        put(key, content);
    }
    if let Some(header) = &member.header {
        put("cluster-size", json!(header.geometry.cluster_size()));
        put("format-specific", json!({ "type": "qcow2", "data": facts::of_qcow2(header, &known.bitmaps) }));
        if let Some(name) = &header.backing_name {
            put("backing-filename", json!(text(name)));
            let full = member.backing_path().unwrap_or_default();
            put("full-backing-filename", json!(full.display().to_string()));
        }
        if let Some(format) = header.backing_format() {
            put("backing-filename-format", json!(text(format)));
        }
        if !known.snapshots.is_empty() {
            put("snapshots", known.snapshots.iter().map(facts::of_snapshot).collect());
        }
    }
    if let Some(header) = &member.foreign {
        if let Some(size) = header.block_size() {
            put("cluster-size", json!(size));
        }
        let extents: Vec<String> = header.extent_names().into_iter().map(text).collect();
        let data = json!({ "variant": header.variant(), "extents": extents, "notes": header.notes() });
        put("format-specific", json!({ "type": header.kind().name(), "data": data }));
        if let Some(parent) = header.parent() {
            put("backing-filename", json!(text(&parent.name)));
        }
    }
    Ok(Value::Object(value))
}
