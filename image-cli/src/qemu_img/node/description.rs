//! A description of an image: drivers one above the other, each with options.

use std::collections::BTreeMap;

use image_core::format::{Format, Share};
use serde_json::{Map, Value};

use super::json_text;
use super::null::{self, Null};
use super::remote::Remote;
use super::{Layer, Node, layer_of};
use crate::qemu_img::failure::Failure;
use crate::qemu_img::{json, key_values, size};

/// Options of every driver that change nothing of what is read, and whether they are switches.
const GENERIC: [(&str, bool); 10] = [
    ("read-only", true),
    ("auto-read-only", true),
    ("force-share", true),
    ("cache.direct", true),
    ("cache.no-flush", true),
    ("cache.writeback", true),
    ("discard", false),
    ("detect-zeroes", false),
    ("node-name", false),
    ("driver", false),
];

/// The same of the file driver.
const OF_FILE: [&str; 6] = ["filename", "aio", "aio-max-batch", "locking", "drop-cache", "pr-manager"];

/// The same of qcow2.
const OF_QCOW2: [&str; 11] = [
    "lazy-refcounts",
    "pass-discard-request",
    "pass-discard-snapshot",
    "pass-discard-other",
    "discard-no-unref",
    "overlap-check",
    "cache-size",
    "l2-cache-size",
    "l2-cache-entry-size",
    "refcount-cache-size",
    "cache-clean-interval",
];

/// Drivers and options, by dotted keys.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Description {
    options: BTreeMap<String, Value>,
}

impl Description {
    /// `driver=…,file.filename=…`.
    pub(super) fn from_options(text: &str) -> Self {
        let pairs = key_values::parse_noisily(text, Some("file")).into_iter();
        Self { options: pairs.map(|(key, value)| (key, Value::String(value))).collect() }
    }

    /// The text behind `json:`.
    pub(super) fn from_json(text: &str) -> Result<Self, Failure> {
        let value = json_text::parse(text);
        let value = value.map_err(|why| Failure::new(format!("Could not parse the JSON options: {why}")))?;
        let Value::Object(object) = value else { return Err(Failure::new("Invalid JSON object given")) };
        let mut options = BTreeMap::new();
        flatten("", object, &mut options);
        Ok(Self { options })
    }

    /// Sets the format that `-f` asks for.
    pub(super) fn set_driver(&mut self, driver: &str) {
        self.options.insert("driver".to_owned(), Value::String(driver.to_owned()));
    }

    /// The image that is described; `name` is the description as it was given.
    pub(super) fn node(&self, name: &str) -> Result<Node, Failure> {
        if let Some(reference) = self.text("file") {
            let message = format!("Cannot find device='{reference}' nor node-name='{reference}'");
            return Err(Failure::new(message));
        }
        let has_file = self.options.keys().any(|key| key.starts_with("file."));
        let layer = match self.text("driver") {
            None if !has_file => return Err(Failure::new("Must specify either driver or file")),
            None => Layer::Probed,
            Some(driver) => layer_of(&driver)?,
        };
        let (prefix, layer) = match layer {
            Layer::File => ("", layer),
            _ if !has_file => return Err(Failure::new("A block device must be specified for \"file\"")),
            layer => ("file.", self.part(layer)?),
        };
        self.check_switches()?;
        if let Some(null) = self.null(prefix, layer)? {
            return Ok(Node { name: Some(name.to_owned()), share: self.share(), ..null });
        }
        let (export, of_protocol) = self.export(prefix)?;
        let path = match &export {
            Some(export) => export.shown(),
            None => self.file(prefix)?,
        };
        let late = of_protocol.or_else(|| self.unknown_of_format(layer));
        let shown = match self.is_plain(prefix) {
            true => path.clone(),
            false => format!("json:{}", json::compact(&self.nested())),
        };
        let (name, share) = (Some(name.to_owned()), self.share());
        Ok(Node { name, shown, path, export, null: None, layer, share, late })
    }

    /// The disk that is not there whose options begin with `prefix`, if it is one.
    fn null(&self, prefix: &str, layer: Layer) -> Result<Option<Node>, Failure> {
        let driver = self.text(&format!("{prefix}driver"));
        let Some(driver) = driver.as_deref().and_then(Null::driver) else { return Ok(None) };
        let options = self.own_options(prefix);
        let null = Null::from_options(driver, &options)?;
        let late = match Null::unknown(options.keys().copied()) {
            Some(key) => {
                Some(format!("Block protocol '{}' doesn't support the option '{key}'", driver.name()))
            }
            None => self.unknown_of_format(layer),
        };
        // What does not matter for what is read is not shown.
        let mut shown: BTreeMap<String, Value> = self.options.clone();
        shown.retain(|key, _| match key.strip_prefix(prefix) {
            Some(key) => key == "driver" || null::SHOWN.contains(&key),
            None => matches!(key.as_str(), "driver" | "offset" | "size"),
        });
        let child =
            |(key, value): (&String, &Value)| Some((key.strip_prefix(prefix)?.to_owned(), value.clone()));
        let child = Self { options: shown.iter().filter_map(child).collect() };
        let path = match child.options.len() {
            1 => driver.file_name().to_owned(),
            _ => format!("json:{}", json::compact(&child.nested())),
        };
        let whole = prefix.is_empty() || matches!(layer, Layer::Probed | Layer::Format(_));
        if !prefix.is_empty() {
            shown.entry("driver".to_owned()).or_insert_with(|| "raw".into());
        }
        let all = match whole && child.options.len() == 1 {
            true => path.clone(),
            false => format!("json:{}", json::compact(&Self { options: shown }.nested())),
        };
        Ok(Some(Node { shown: all, late, ..Node::of_null(null, path, layer) }))
    }

    /// The options that begin with `prefix` and are a driver's own.
    fn own_options(&self, prefix: &str) -> BTreeMap<&str, String> {
        self.options
            .keys()
            .filter_map(|key| Some((key.strip_prefix(prefix)?, self.text(key)?)))
            .filter(|(key, _)| !GENERIC.iter().any(|(name, _)| name == key))
            .collect()
    }

    /// The export whose options begin with `prefix`, if it is one, and what is wrong with an option.
    fn export(&self, prefix: &str) -> Result<(Option<Remote>, Option<String>), Failure> {
        if self.text(&format!("{prefix}driver")).is_none_or(|driver| driver != "nbd") {
            return Ok((None, None));
        }
        let options = self.own_options(prefix);
        let unknown = Remote::unknown(options.keys().copied())
            .map(|key| format!("Block protocol 'nbd' doesn't support the option '{key}'"));
        Ok((Some(Remote::from_options(&options)?), unknown))
    }

    /// The path of the file whose options begin with `prefix`.
    fn file(&self, prefix: &str) -> Result<String, Failure> {
        if let Some(driver) = self.text(&format!("{prefix}driver")).filter(|_| !prefix.is_empty()) {
            match layer_of(&driver)? {
                Layer::File => {}
                _ => {
                    let message = format!("a '{driver}' inside of another format is not opened by goldimg");
                    return Err(Failure::new(message));
                }
            }
        }
        let options = self.options.keys().filter_map(|key| key.strip_prefix(prefix));
        let known = |key: &&str| OF_FILE.contains(key) || GENERIC.iter().any(|(name, _)| name == key);
        let unknown = options.filter(|key| prefix.is_empty() || !key.is_empty()).find(|key| !known(key));
        let path = self.text(&format!("{prefix}filename")).filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| Failure::new("The 'file' block driver requires a file name"))?;
        match unknown {
            Some(key) => {
                Err(Failure::new(format!("Block protocol 'file' doesn't support the option '{key}'")))
            }
            None => Ok(path),
        }
    }

    /// A raw image with an offset or a size is a part of its file.
    fn part(&self, layer: Layer) -> Result<Layer, Failure> {
        let number = |key: &str| {
            let Some(text) = self.text(key) else { return Ok(None) };
            size::of_parameter(key, &text).map(Some)
        };
        match (layer, number("offset")?, number("size")?) {
            (Layer::Format(Format::Raw), None, None) => Ok(layer),
            (Layer::Format(Format::Raw), offset, size) => {
                Ok(Layer::Part { offset: offset.unwrap_or(0), size })
            }
            (layer, ..) => Ok(layer),
        }
    }

    /// What others may do with it meanwhile.
    fn share(&self) -> Share {
        let forced = self.text("force-share").is_some_and(|value| matches!(value.as_str(), "on" | "true"));
        if forced { Share::Writers } else { Share::RawWriters }
    }

    fn check_switches(&self) -> Result<(), Failure> {
        for (name, _) in GENERIC.iter().filter(|(_, switch)| *switch) {
            if self.text(name).is_some_and(|value| !matches!(value.as_str(), "on" | "off" | "true" | "false"))
            {
                return Err(Failure::new(format!("Parameter '{name}' expects 'on' or 'off'")));
            }
        }
        let has_other =
            |name: &str, known: &[&str]| self.text(name).filter(|value| !known.contains(&value.as_str()));
        if has_other("discard", &["on", "off", "unmap", "ignore"]).is_some() {
            return Err(Failure::new("Invalid discard option"));
        }
        if let Some(value) = has_other("detect-zeroes", &["on", "off", "unmap"]) {
            return Err(Failure::new(format!("invalid parameter value: {value}")));
        }
        Ok(())
    }

    /// An option that the format does not have.
    fn unknown_of_format(&self, layer: Layer) -> Option<String> {
        let own: &[&str] = match layer {
            Layer::File => return None,
            Layer::Probed | Layer::Format(Format::Qcow2) => &OF_QCOW2,
            Layer::Format(_) | Layer::Part { .. } => &["offset", "size"],
        };
        let known = |key: &&String| {
            let dotted =
                own.iter().any(|name| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')));
            let generic = GENERIC.iter().any(|(name, _)| name == key);
            key.starts_with("file.") || own.contains(&key.as_str()) || dotted || generic
        };
        let unknown = self.options.keys().find(|key| !known(key))?;
        let driver = self.text("driver").unwrap_or_else(|| "qcow2".to_owned());
        Some(format!("Block format '{driver}' does not support the option '{unknown}'"))
    }

    /// Whether the file's name says it all.
    fn is_plain(&self, prefix: &str) -> bool {
        self.options.keys().all(|key| {
            let inner = key.strip_prefix(prefix).unwrap_or(key);
            !matches!(key.as_str(), "offset" | "size") || inner == "filename"
        })
    }

    fn nested(&self) -> Value {
        let mut top = Map::new();
        for (key, value) in &self.options {
            let mut object = &mut top;
            let mut parts = key.split('.').peekable();
            while let Some(part) = parts.next() {
                if parts.peek().is_none() {
                    object.insert(part.to_owned(), value.clone());
                    break;
                }
                let inner = object.entry(part).or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(inner) = inner else { break };
                object = inner;
            }
        }
        if let Some(Value::Object(file)) = top.get_mut("file") {
            file.entry("driver").or_insert_with(|| Value::String("file".to_owned()));
        }
        Value::Object(top)
    }

    fn text(&self, key: &str) -> Option<String> {
        match self.options.get(key)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

fn flatten(prefix: &str, object: Map<String, Value>, options: &mut BTreeMap<String, Value>) {
    for (key, value) in object {
        let key = format!("{prefix}{key}");
        match value {
            Value::Object(inner) => flatten(&format!("{key}."), inner, options),
            Value::Array(list) => {
                let items = list.into_iter().enumerate().map(|(index, item)| (index.to_string(), item));
                flatten(&format!("{key}."), items.collect(), options);
            }
            // Nothing is as good as not there.
            Value::Null => {}
            value => {
                options.insert(key, value);
            }
        }
    }
}
