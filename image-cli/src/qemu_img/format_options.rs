//! The options of a format (`-o`): which there are, what their values must be, how they are listed and shown.
//!
//! ```text
//! -o a=1 -o b=2 ─► checked list ─► values with their types ─► NewImage
//!                                  └─► "Formatting 'x', fmt=qcow2 a=1 b=2"
//! ```

mod image;
mod measured;
mod table;

use std::fmt::Write;

use super::failure::Failure;
use super::{key_values, size};
pub(super) use table::Kind;
use table::{OF_DEVICE, OF_FILE, OF_QCOW2, OF_RAW, OptionOfFormat, Type};

/// What follows a list that no file name went with.
const NO_FILE: &str = "\nThe protocol level may support further options.\n\
                       Specify the target filename to include those options.\n";

/// The lists of `-o`, joined.
#[derive(Debug, Default)]
pub(super) struct Lists(Vec<String>);

impl Lists {
    /// Adds the value of an `-o`.
    pub(super) fn add(&mut self, list: String) -> Result<(), Failure> {
        let doubled = list.len() - list.trim_end_matches(',').len();
        if list.is_empty() || list.starts_with(',') || doubled % 2 == 1 {
            return Err(Failure::new(format!("Invalid option list: {list}")));
        }
        self.0.push(list);
        Ok(())
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether help is asked for.
    pub(super) fn ask_for_help(&self) -> bool {
        self.0.iter().any(|list| key_values::asks_for_help(list))
    }

    fn pairs(&self) -> Vec<(String, String)> {
        key_values::parse(&self.0.join(","), None)
    }
}

/// Options and their values.
#[derive(Debug)]
pub(super) struct FormatOptions {
    kind: Kind,
    values: Vec<(&'static OptionOfFormat, String)>,
}

impl FormatOptions {
    /// Those of `lists` for an image of `kind`; each must exist and have a value of its type.
    pub(super) fn parse(kind: Kind, lists: &Lists) -> Result<Self, Failure> {
        Self::parse_if(kind, lists, |_| true)
    }

    /// The same, where there are no others than `known`.
    pub(super) fn parse_only(kind: Kind, lists: &Lists, known: &[&str]) -> Result<Self, Failure> {
        Self::parse_if(kind, lists, |name| known.contains(&name))
    }

    fn parse_if(kind: Kind, lists: &Lists, known: impl Fn(&str) -> bool) -> Result<Self, Failure> {
        let mut options = Self { kind, values: Vec::new() };
        for (name, value) in lists.pairs() {
            let Some(option) = options.find(&name).filter(|_| known(&name)) else {
                return Err(Failure::new(format!("Invalid parameter '{name}'")));
            };
            check(option, &value)?;
            options.put(option, value);
        }
        Ok(options)
    }

    fn find(&self, name: &str) -> Option<&'static OptionOfFormat> {
        options_of(self.kind, true).find(|option| option.name == name)
    }

    fn put(&mut self, option: &'static OptionOfFormat, value: String) {
        self.values.retain(|(there, _)| there.name != option.name);
        self.values.push((option, value));
    }

    /// Whether the format has an option of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Sets an option of the format.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        if let Some(option) = self.find(name) {
            self.put(option, value.into());
        }
    }

    /// The value of an option, if it was given.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(option, _)| option.name == name).map(|(_, value)| value.as_str())
    }

    /// The same, as a number of bytes.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        size::parse(self.text(name)?).ok()
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| matches!(value, "on" | "true" | "yes" | "y"))
    }

    /// What `create` says before it begins.
    pub(super) fn formatting(&self, name: &str) -> String {
        let mut text = format!("Formatting '{name}', fmt={}", self.kind.name());
        for option in options_of(self.kind, true) {
            let Some(value) = self.text(option.name).or(option.default) else { continue };
            let _ = match (option.of_type, size::parse(value)) {
                (Type::Size, Ok(bytes)) | (Type::Number, Ok(bytes)) => {
                    write!(text, " {}={bytes}", option.name)
                }
                _ => write!(text, " {}={}", option.name, value.replace(',', ",,")),
            };
        }
        text.push('\n');
        text
    }
}

/// The answer to `-o help`: with what files have to add, if one was named.
pub(super) fn help(kind: Kind, with_file: bool) -> String {
    let mut options: Vec<&OptionOfFormat> = options_of(kind, with_file).collect();
    options.sort_by_key(|option| option.name);
    let mut text = match with_file {
        true => "Supported options:\n".to_owned(),
        false => format!("Supported {} options:\n", kind.name()),
    };
    for option in options {
        let of_type = match option.of_type {
            Type::Text => "str",
            Type::Size => "size",
            Type::Switch => "bool (on/off)",
            Type::Number => "num",
        };
        let _ = writeln!(text, "  {:<22} - {}", format!("{}=<{of_type}>", option.name), option.help);
    }
    if !with_file {
        text.push_str(NO_FILE);
    }
    text
}

/// The options of a format in the order in which they are shown, with those that the file below it has.
fn options_of(kind: Kind, with_file: bool) -> impl Iterator<Item = &'static OptionOfFormat> {
    let own: &[OptionOfFormat] = match kind {
        Kind::Raw => OF_RAW,
        Kind::Qcow2 => OF_QCOW2,
        Kind::File => &[],
        Kind::Device => OF_DEVICE,
    };
    let below: &[OptionOfFormat] =
        if kind == Kind::File || with_file && kind != Kind::Device { OF_FILE } else { &[] };
    own.iter().chain(below.iter().filter(|option| own.iter().all(|known| known.name != option.name)))
}

fn check(option: &OptionOfFormat, value: &str) -> Result<(), Failure> {
    let name = option.name;
    match option.of_type {
        Type::Text => Ok(()),
        Type::Switch if matches!(value, "on" | "off" | "true" | "false" | "yes" | "no" | "y" | "n") => Ok(()),
        Type::Switch => Err(Failure::new(format!("Parameter '{name}' expects 'on' or 'off'"))),
        Type::Size => size::of_parameter(name, value).map(drop),
        Type::Number => {
            let digits = value.trim_start_matches(['-', '+']);
            let hexadecimal = digits.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16).is_ok());
            let decimal = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
            match (hexadecimal, decimal) {
                (Some(true), _) => Ok(()),
                (_, true) if digits.parse::<u64>().is_ok() => Ok(()),
                (_, true) => {
                    Err(Failure::new(format!("Value '{value}' is too large for parameter '{name}'")))
                }
                _ => Err(Failure::new(format!("Parameter '{name}' expects a number"))),
            }
        }
    }
}
