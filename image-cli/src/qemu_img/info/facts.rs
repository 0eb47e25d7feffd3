//! What is known of an image, and QEMU's JSON of it.

use std::os::unix::ffi::OsStrExt;

use goldimg::facts;
use image_core::block::BlockRead;
use image_core::format::{FormatNode, ProtocolNode};
use image_core::qcow2::Header;
use image_core::qcow2::bitmap;
use image_core::qcow2::snapshot::{self, Snapshot};
use serde_json::{Map, Value, json};

use crate::qemu_img::failure::Failure;
use crate::qemu_img::node::{Layer, Node, backing_path};
use crate::qemu_img::{bytes, words};

/// Raw images are counted in units of so many bytes.
const SECTOR: u64 = 512;

/// What is known of an image.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) path: String,
    /// "raw", "qcow2", or "file" where the file itself is looked at.
    pub(super) format: &'static str,
    pub(super) virtual_size: u64,
    /// The length of the file in bytes, in whole sectors.
    pub(super) file_size: u64,
    /// Not known of an export.
    pub(super) disk_size: Option<u64>,
    pub(super) protocol: &'static str,
    pub(super) qcow2: Option<OfQcow2>,
}

/// What is known of a qcow2 image besides.
#[derive(Debug)]
pub(super) struct OfQcow2 {
    pub(super) cluster_size: u64,
    pub(super) dirty: bool,
    pub(super) backing: Option<Backing>,
    pub(super) snapshots: Vec<Snapshot>,
    /// What no other format has, by QEMU's keys.
    pub(super) specific: Value,
}

/// What an image says of its backing file.
#[derive(Debug)]
pub(super) struct Backing {
    pub(super) name: String,
    pub(super) full_name: Option<String>,
    pub(super) format: Option<String>,
}

impl Facts {
    /// Of the image that was named.
    pub(super) fn of(member: &FormatNode, node: &Node) -> Result<Self, Failure> {
        let facts = Self::with_name(member, node.shown().to_owned())
            .map_err(|error| node.failed(words::of_opening(&error)))?;
        let file_size = facts.file_size;
        match node.layer() {
            Layer::File => Ok(Self { format: facts.protocol, ..facts }),
            Layer::Part { offset, size } => {
                Ok(Self { virtual_size: node.part(offset, size, file_size)?, ..facts })
            }
            Layer::Probed | Layer::Format(_) => Ok(facts),
        }
    }

    /// Of an image that the one with the facts `above` names.
    pub(super) fn of_backing(member: &FormatNode, above: &Self) -> Result<Self, Failure> {
        let name = Node::shown_backing(&above.backing_name().unwrap_or_default());
        let failed =
            |error| Failure::new(words::of_opening(&error)).context(&format!("Could not open '{name}'"));
        let facts = Self::with_name(member, name.clone()).map_err(failed)?;
        // A driver for what an image lies in, and no format.
        let backing = above.qcow2.as_ref().and_then(|qcow2| qcow2.backing.as_ref());
        let recorded = backing.and_then(|backing| backing.format.as_deref());
        let is_protocol = recorded.is_some_and(|format| !matches!(format, "raw" | "qcow2"));
        Ok(if is_protocol { Self { format: facts.protocol, ..facts } } else { facts })
    }

    /// Where its backing file is, as far as it is one.
    pub(super) fn backing_name(&self) -> Option<String> {
        self.qcow2.as_ref()?.backing.as_ref()?.full_name.clone()
    }

    fn with_name(member: &FormatNode, name: String) -> image_core::Result<Self> {
        let file_size = member.file.size().next_multiple_of(SECTOR);
        let qcow2 = match &member.header {
            Some(header) => Some(OfQcow2::of(member, header, &name)?),
            None => None,
        };
        Ok(Self {
            path: if is_description(&name) {
                bytes::to_text(member.file.path().as_os_str().as_bytes())
            } else {
                name.clone()
            },
            name,
            format: member.format.name(),
            virtual_size: member.virtual_size().next_multiple_of(SECTOR),
            file_size,
            // A device has its storage, and nothing of it is a file's.
            disk_size: match member.file.is_block_device() {
                true => Some(0),
                false => member.file.allocated_size()?,
            },
            protocol: protocol(&member.file),
            qcow2,
        })
    }

    /// As QEMU prints it.
    pub(super) fn to_json(&self) -> Value {
        let is_file = self.format == self.protocol;
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        put("children", Value::Array(Vec::new()));
        put("virtual-size", json!(self.virtual_size));
        put("filename", json!(self.name));
        put("format", json!(self.format));
        let has_more = self.disk_size.is_some() && !self.protocol.starts_with("null-");
        if let Some(size) = self.disk_size {
            put("actual-size", json!(size));
        }
        if has_more {
            put("dirty-flag", json!(false));
        }
        if is_file {
            if has_more {
                put("format-specific", json!({ "type": self.protocol, "data": {} }));
            }
        } else {
            put("children", json!([{ "name": "file", "info": self.file().to_json() }]));
        }
        if let Some(qcow2) = &self.qcow2 {
            put("cluster-size", json!(qcow2.cluster_size));
            put("dirty-flag", json!(qcow2.dirty));
            put("format-specific", json!({ "type": "qcow2", "data": qcow2.specific }));
            if let Some(backing) = &qcow2.backing {
                put("backing-filename", json!(backing.name));
                if let Some(full_name) = &backing.full_name {
                    put("full-backing-filename", json!(full_name));
                }
                if let Some(format) = &backing.format {
                    put("backing-filename-format", json!(format));
                }
            }
            if !qcow2.snapshots.is_empty() {
                put("snapshots", qcow2.snapshots.iter().map(facts::of_snapshot).collect());
            }
        }
        Value::Object(object)
    }

    /// The file below.
    fn file(&self) -> Self {
        Self {
            name: self.path.clone(),
            path: self.path.clone(),
            format: self.protocol,
            virtual_size: self.file_size,
            qcow2: None,
            ..*self
        }
    }
}

/// The driver of what an image lies in.
fn protocol(medium: &ProtocolNode) -> &'static str {
    if let Some(driver) = medium.null_driver() {
        return driver.name();
    }
    match medium {
        export if export.is_export() => "nbd",
        device if device.is_block_device() => "host_device",
        _ => "file",
    }
}

impl OfQcow2 {
    fn of(member: &FormatNode, header: &Header, image: &str) -> image_core::Result<Self> {
        let bitmaps = bitmap::list(&member.file, header)?;
        let backing = header.backing_name.as_ref().map(|name| {
            let name = text(name);
            let full_name = backing_path(image, &name);
            // There is no folder around an export.
            let known = !member.file.is_export() || full_name == name;
            let full_name = known.then_some(full_name);
            Backing { name, full_name, format: header.backing_format().map(text) }
        });
        Ok(Self {
            cluster_size: header.geometry.cluster_size(),
            dirty: header.is_dirty(),
            backing,
            snapshots: snapshot::list(&member.file, header)?.0,
            specific: facts::of_qcow2(header, &bitmaps),
        })
    }
}

/// Whether it is no path but a description of drivers.
fn is_description(name: &str) -> bool {
    name.starts_with("json:")
}

fn text(bytes: &[u8]) -> String {
    bytes::to_text(bytes)
}
