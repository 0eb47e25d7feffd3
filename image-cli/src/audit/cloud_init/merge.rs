//! cloud-init's settings out of several files, one laid over the other.
//!
//! ```text
//! cloud.cfg.d, the last name first ─► … ─► cloud.cfg      each is merged into what came before, as it says itself (merge_how)
//! ```
//! Without a word, mappings are joined, and of all else the first to say something counts. cloud-init's documentation, "Merging
//! user-data sections"; its `mergers` package.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use serde_json::{Map, Value};

/// `fragments`, in the order of their names, as one.
pub(super) fn merged(fragments: Vec<Value>) -> Value {
    let mut all = Value::Object(Map::new());
    for fragment in fragments.into_iter().rev() {
        let how = How::of(&fragment);
        merge(&mut all, fragment, how);
    }
    all
}

/// How a fragment is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct How {
    /// Whether a mapping's value replaces the one that is there.
    replaces: bool,
    /// Whether lists in mappings are merged, and texts.
    lists: bool,
    texts: bool,
    of_lists: Order,
    /// Whether a text is written behind the one that is there.
    appends_text: bool,
}

/// Where the entries of a list go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Order {
    /// Nowhere.
    #[default]
    Kept,
    Replaced,
    Append,
    Prepend,
}

impl How {
    /// What a fragment says: `list(append)+dict(recurse_array)`, or a list of names and settings.
    fn of(fragment: &Value) -> Self {
        let said = ["merge_how", "merge_type"].iter().find_map(|name| fragment.get(name));
        let mut how = Self::default();
        match said {
            Some(Value::String(text)) => {
                for merger in text.split('+') {
                    let (name, rest) = merger.split_once('(').unwrap_or((merger, ""));
                    let options = rest.trim_end().trim_end_matches(')').split(',').map(str::trim);
                    options.for_each(|option| how.set(name.trim(), option));
                }
            }
            Some(Value::Array(mergers)) => {
                for merger in mergers {
                    let name = merger.get("name").and_then(Value::as_str).unwrap_or_default();
                    let options = merger.get("settings").and_then(Value::as_array);
                    let words = options.into_iter().flatten().filter_map(Value::as_str);
                    words.for_each(|option| how.set(name, option));
                }
            }
            _ => {}
        }
        how
    }

    fn set(&mut self, name: &str, option: &str) {
        match (name, option) {
            ("dict", "replace") => self.replaces = true,
            ("dict", "no_replace") => self.replaces = false,
            ("dict", "recurse_array" | "recurse_list") => self.lists = true,
            ("dict", "recurse_str") => self.texts = true,
            ("list", "append") => self.of_lists = Order::Append,
            ("list", "prepend") => self.of_lists = Order::Prepend,
            ("list", "replace") => self.of_lists = Order::Replaced,
            ("str", "append") => self.appends_text = true,
            _ => {}
        }
    }
}

fn merge(own: &mut Value, new: Value, how: How) {
    let (Value::Object(own), Value::Object(new)) = (own, new) else { return };
    for (key, value) in new {
        match own.get_mut(&key) {
            None => _ = own.insert(key, value),
            Some(there) if how.replaces => *there = value,
            Some(Value::Array(there)) if how.lists => list(there, value, how.of_lists),
            Some(Value::String(there)) if how.texts && how.appends_text => {
                there.push_str(value.as_str().unwrap_or_default());
            }
            Some(there) => merge(there, value, how),
        }
    }
}

fn list(own: &mut Vec<Value>, new: Value, order: Order) {
    let Value::Array(new) = new else { return };
    match order {
        Order::Kept => {}
        Order::Replaced => *own = new,
        Order::Append => own.extend(new),
        Order::Prepend => {
            let old = std::mem::replace(own, new);
            own.extend(old);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(fragments: &[&str]) -> Value {
        merged(fragments.iter().map(|text| serde_saphyr::from_str(text).unwrap()).collect())
    }

    #[test]
    fn the_last_file_to_say_something_counts() {
        let both = of(&["a: {b: 1, c: [1, 2]}\nd: 1\n", "a: {c: [3]}\nd:\n"]);
        assert_eq!(both, json!({"a": {"b": 1, "c": [3]}, "d": null}));
    }

    /// As cloud-init 22.4.2 merges them (`util.mergemanydict`, the last file first).
    #[test]
    fn files_say_how_they_are_merged() {
        for (how, list) in [
            ("merge_how: 'list(append)+dict(recurse_array)+str()'", json!([2, 1])),
            ("merge_how: 'list(prepend)+dict(recurse_array)'", json!([1, 2])),
            ("merge_how: 'dict(replace)+list()+str()'", json!([1])),
            ("merge_how: 'dict()+list(append)'", json!([2])),
            (
                "merge_how: [{name: list, settings: [append]}, {name: dict, settings: [no_replace, recurse_list]}]",
                json!([2, 1]),
            ),
            ("merge_type: 'list(append)+dict(recurse_array)'", json!([2, 1])),
            ("x: 1", json!([2])),
        ] {
            assert_eq!(of(&[&format!("{how}\nl: [1]\n"), "l: [2]\n"])["l"], list, "{how}");
        }
        let texts = of(&["merge_how: 'str(append)+dict(recurse_str)'\nt: b\n", "t: a\n"]);
        assert_eq!(texts["t"], json!("ab"));
    }
}
