//! QEMU's text about an image. Names that come from the image are made fit for a terminal.

use std::fmt::Write;

use goldimg::printable::printable;
use serde_json::Value;

use super::facts::{Facts, OfQcow2};
use crate::qemu_img::{json, size, snapshot_list};

/// All of it, with a line break at the end.
pub(super) fn of(facts: &Facts) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name}: {value}");
    };
    let sized = |bytes: u64| format!("{} ({bytes} bytes)", size::for_people(bytes));
    line("image", &printable(&facts.name));
    line("file format", facts.format);
    line("virtual size", &sized(facts.virtual_size));
    let disk_size = facts.disk_size.map_or_else(|| "unavailable".to_owned(), size::for_people);
    line("disk size", &disk_size);
    if let Some(qcow2) = &facts.qcow2 {
        text.push_str(&of_qcow2(qcow2));
    }
    if facts.format != facts.protocol {
        let _ = write!(
            text,
            "Child node '/file':\n    filename: {}\n    protocol type: {}\n    file length: {}\n    disk size: {}\n",
            printable(&facts.path),
            facts.protocol,
            sized(facts.file_size),
            disk_size,
        );
    }
    text
}

fn of_qcow2(qcow2: &OfQcow2) -> String {
    let mut text = format!("cluster_size: {}\n", qcow2.cluster_size);
    if qcow2.dirty {
        text.push_str("cleanly shut down: no\n");
    }
    if let Some(backing) = &qcow2.backing {
        let _ = write!(text, "backing file: {}", printable(&backing.name));
        match &backing.full_name {
            None => text.push_str(" (cannot determine actual path)"),
            Some(full_name) if *full_name != backing.name => {
                let _ = write!(text, " (actual path: {})", printable(full_name));
            }
            Some(_) => {}
        }
        text.push('\n');
        if let Some(format) = &backing.format {
            let _ = writeln!(text, "backing file format: {}", printable(format));
        }
    }
    if !qcow2.snapshots.is_empty() {
        text.push_str("Snapshot list:\n");
        text.push_str(&snapshot_list::of(&qcow2.snapshots));
    }
    text.push_str("Format specific information:\n");
    dump(&mut text, &qcow2.specific, 1);
    text
}

/// A value with all that is in it, one line each.
fn dump(text: &mut String, value: &Value, level: usize) {
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(object) => {
            json::entries(object).into_iter().map(|(key, value)| (key.replace('-', " "), value)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, item)| (format!("[{index}]"), item)).collect()
        }
        _ => return,
    };
    let indent = "    ".repeat(level);
    for (key, value) in entries {
        let shown = match value {
            Value::String(string) => format!(" {}", printable(string)),
            Value::Object(_) | Value::Array(_) => String::new(),
            other => format!(" {other}"),
        };
        let _ = writeln!(text, "{indent}{key}:{shown}");
        dump(text, value, level + 1);
    }
}
