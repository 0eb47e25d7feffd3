//! What sshd is told: its configuration, with the files that it includes (sshd_config(5)).
//!
//! ```text
//! -o words of its unit ─► sshd_config ─► Include: the files where the line is, in the order of their names
//!                         │
//!                         ├─ before any Match: the first to say a thing counts
//!                         └─ in a Match block, to the end of its file: for some connections, and then first of all
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::path::{Path, PathBuf};

use super::view::View;

/// Where distributions have it: the administrator's, and the distribution's own.
const FILES: [&str; 2] = ["/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config"];
/// Where words for its command line are.
const WORDS: [&str; 2] = ["/etc/default/ssh", "/etc/sysconfig/sshd"];
/// As many files within files as sshd reads.
const DEPTH: usize = 16;

/// All that sshd is told.
#[derive(Debug, Default)]
pub(super) struct Sshd {
    lines: Vec<Line>,
}

/// A line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// In lower case, by today's name.
    keyword: String,
    pub(super) arguments: Vec<String>,
    /// The file that it is in.
    pub(super) place: PathBuf,
    /// For whom it counts, if not for all.
    pub(super) condition: Option<String>,
}

impl Line {
    /// Its first argument, in lower case.
    pub(super) fn value(&self) -> String {
        self.arguments.first().map(|argument| argument.to_ascii_lowercase()).unwrap_or_default()
    }

    /// As people write it, with the condition.
    pub(super) fn told(&self, keyword: &str) -> String {
        let text = format!("{keyword} {}", self.arguments.join(" "));
        match &self.condition {
            Some(condition) => format!("{text} (Match {condition})"),
            None => text,
        }
    }
}

impl Sshd {
    /// Of `view`; `None` without a file of it.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(super) fn read(view: &View) -> crate::Result<Option<Self>> {
        let Some(path) = view.first_of(&FILES)? else { return Ok(None) };
        let mut sshd = Self::default();
        for place in WORDS {
            let text = view.text(place)?.unwrap_or_default();
            sshd.lines.extend(options(&text).filter_map(|text| line(&text, Path::new(place), None)));
        }
        sshd.read_file(view, Path::new(&path), None, 0)?;
        Ok(Some(sshd))
    }

    fn read_file(
        &mut self,
        view: &View,
        path: &Path,
        condition: Option<&str>,
        depth: usize,
    ) -> crate::Result<()> {
        // A block ends with the file that it is in.
        let mut condition = condition.map(str::to_owned);
        for text in view.text(path)?.unwrap_or_default().lines() {
            let Some(line) = line(text, path, condition.as_deref()) else { continue };
            match line.keyword.as_str() {
                "match" => condition = Some(line.arguments.join(" ")),
                "include" if depth < DEPTH => {
                    for pattern in line.arguments {
                        let pattern = match pattern.starts_with('/') {
                            true => pattern,
                            false => format!("/etc/ssh/{pattern}"),
                        };
                        for included in view.matches(&pattern)? {
                            self.read_file(view, &included, condition.as_deref(), depth.saturating_add(1))?;
                        }
                    }
                }
                _ => self.lines.push(line),
            }
        }
        Ok(())
    }

    /// The line that says `keyword` to all: the first one.
    pub(super) fn first(&self, keyword: &str) -> Option<&Line> {
        self.of(keyword).find(|line| line.condition.is_none())
    }

    /// The lines that may say `keyword` to somebody: the first for all, and each in a `Match` block.
    pub(super) fn effective(&self, keyword: &str) -> impl Iterator<Item = &Line> {
        let blocks = self.of(keyword).filter(|line| line.condition.is_some());
        self.first(keyword).into_iter().chain(blocks)
    }

    fn of(&self, keyword: &str) -> impl Iterator<Item = &Line> {
        let keyword = keyword.to_ascii_lowercase();
        self.lines.iter().filter(move |line| line.keyword == keyword)
    }
}

/// Takes a line apart; `None` for one that says nothing.
fn line(text: &str, place: &Path, condition: Option<&str>) -> Option<Line> {
    let text = text.trim_start();
    let end = text.find(|c: char| c.is_whitespace() || c == '=' || c == '"').unwrap_or(text.len());
    let (keyword, rest) = text.split_at(end);
    if keyword.is_empty() || keyword.starts_with('#') {
        return None;
    }
    let rest = rest.trim_start();
    let arguments = words(rest.strip_prefix('=').unwrap_or(rest));
    let keyword = match keyword.to_ascii_lowercase().as_str() {
        // Its older names.
        "challengeresponseauthentication" | "skeyauthentication" => "kbdinteractiveauthentication".to_owned(),
        "pubkeyacceptedkeytypes" => "pubkeyacceptedalgorithms".to_owned(),
        other => other.to_owned(),
    };
    let condition = condition.map(str::to_owned);
    Some(Line { keyword, arguments, place: place.to_owned(), condition })
}

/// Words between blanks, some of them in quotes; `#` begins a comment.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = behind.trim_start();
    }
    words
}

/// The settings among the words for a command line in a file of shell variables: `-o KEY=VALUE`.
fn options(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(|line| {
        let all: Vec<&str> = line.split(|c: char| c.is_whitespace() || "\"'".contains(c)).collect();
        let mut found = Vec::new();
        let mut before = "";
        for word in all {
            // `SSHD_OPTS=-o` is one word, too.
            let is_option = before == "-o" || before.ends_with("=-o");
            let attached = word.strip_prefix("-o").filter(|rest| rest.contains('='));
            if let Some(setting) = attached.or(is_option.then_some(word)) {
                found.push(setting.replacen('=', " ", 1));
            }
            if !word.is_empty() {
                before = word;
            }
        }
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Line> {
        text.lines().filter_map(|text| line(text, Path::new("x"), None)).collect()
    }

    #[test]
    fn lines_are_taken_apart_as_sshd_does() {
        let lines =
            all("#PasswordAuthentication yes\n passwordauthentication=No # why\n\nAllowUsers \"a b\" c\nX\n");
        assert_eq!(lines.len(), 3);
        assert_eq!((lines[0].keyword.as_str(), lines[0].value().as_str()), ("passwordauthentication", "no"));
        assert_eq!(lines[0].arguments, ["No"]);
        assert_eq!(lines[1].arguments, ["a b", "c"]);
        assert_eq!(lines[2].value(), "");
        assert_eq!(all("ChallengeResponseAuthentication yes")[0].keyword, "kbdinteractiveauthentication");
    }

    #[test]
    fn the_first_one_counts_and_every_block() {
        let block = |text, condition| line(text, Path::new("x"), condition).unwrap();
        let sshd = Sshd {
            lines: vec![
                block("PermitRootLogin yes", Some("User a")),
                block("PermitRootLogin no", None),
                block("PermitRootLogin yes", None),
            ],
        };
        assert_eq!(sshd.first("permitrootlogin").unwrap().value(), "no");
        let values: Vec<String> =
            sshd.effective("PermitRootLogin").map(|line| line.told("PermitRootLogin")).collect();
        assert_eq!(values, ["PermitRootLogin no", "PermitRootLogin yes (Match User a)"]);
    }

    #[test]
    fn words_of_the_command_line_are_settings_too() {
        let text = "# -oX=y\nSSHD_OPTS='-o PasswordAuthentication=yes -4 -oPermitRootLogin=yes'\nA=-o B=c\n";
        let found: Vec<String> = options(text).collect();
        assert_eq!(found, ["PasswordAuthentication yes", "PermitRootLogin yes", "B c"]);
    }
}
