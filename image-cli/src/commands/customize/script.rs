//! Options in a file, one a line, as virt-customize(1) reads them: a name without dashes, and behind it the value as it is.

use std::path::Path;

use anyhow::{Context, anyhow};

use crate::failure::{Advise, USAGE};

/// The options of the file `path`: name and value, with the line each is in.
///
/// # Errors
/// If it cannot be read.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<(usize, String, String)>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading the options in {}", path.display()))
        .exit_code(USAGE)?;
    parse(&text).with_context(|| path.display().to_string()).exit_code(USAGE)
}

/// Lines that end in a backslash go on in the next one.
fn parse(text: &str) -> anyhow::Result<Vec<(usize, String, String)>> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        while let Some(begun) = line.strip_suffix('\\') {
            let (_, next) = lines.next().with_context(|| format!("line {}: nothing follows", index + 1))?;
            line = format!("{begun}{next}");
        }
        let (name, value) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        let name = name.strip_prefix("--").unwrap_or(name);
        if name.contains('=') {
            let error = anyhow!("line {}: {name:?} is no option", index + 1);
            return Err(error).hint(|| "a space is between an option and its value");
        }
        found.push((index + 1, name.to_owned(), value.trim_start().to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_option_and_its_value_as_it_is() {
        let text =
            "# first\n\ninstall a,b\n  run-command echo 'a  b' # c \\\n  && true\n--update\nwrite /a:b c\n";
        let found = parse(text).unwrap();
        let expected = [
            (3, "install", "a,b"),
            (4, "run-command", "echo 'a  b' # c   && true"),
            (6, "update", ""),
            (7, "write", "/a:b c"),
        ];
        let expected = expected.map(|(line, name, value)| (line, name.to_owned(), value.to_owned()));
        assert_eq!(found, expected);
        assert!(parse("install=a\n").is_err());
        assert_eq!(parse("install \\").unwrap_err().to_string(), "line 1: nothing follows");
    }
}
