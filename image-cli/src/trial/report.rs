//! What a guest says of itself on its second serial port; the other end is `inside.sh`.
//!
//! Untrusted, as everything from a guest: bounded, and printed escaped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What `inside.sh` says first.
const GREETING: &str = "hello";
/// More than any report has.
const LIMIT: u64 = 1 << 20;

/// A command's words and exit code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) exit: i32,
    pub(super) text: String,
}

/// The facts of a whole report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Report {
    facts: BTreeMap<String, Fact>,
}

/// What was said so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    /// The user data run: they wait for the end of the boot, or are at their report.
    Something,
    All(Report),
}

impl Report {
    /// What is in a file so far.
    pub(super) fn read(path: &Path) -> io::Result<Said> {
        let mut bytes = Vec::new();
        File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let greets = || text.lines().any(|line| line.trim_matches('\r') == GREETING);
        Ok(match Self::parse(&text) {
            Some(report) => Said::All(report),
            None if greets() => Said::Something,
            None => Said::Nothing,
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut report = Self::default();
        let mut current: Option<&mut Fact> = None;
        let mut lines = text.lines().map(|line| line.trim_matches('\r'));
        lines.find(|line| *line == "begin")?;
        for line in lines {
            if let Some(said) = line.strip_prefix("| ").or_else(|| line.strip_prefix('|')) {
                if let Some(fact) = &mut current {
                    fact.text.push_str(said);
                    fact.text.push('\n');
                }
            } else if let Some((name, exit)) =
                line.strip_prefix("fact ").and_then(|rest| rest.rsplit_once(' '))
            {
                let fact = report.facts.entry(name.to_owned()).or_default();
                fact.exit = exit.parse().unwrap_or(-1);
                current = Some(fact);
            } else if line == "end" {
                return Some(report);
            }
        }
        None
    }

    /// A fact; one that is missing is empty and failed.
    pub(super) fn fact(&self, name: &str) -> Fact {
        self.facts.get(name).cloned().unwrap_or(Fact { exit: -1, text: String::new() })
    }

    /// A fact's text, without white space around it.
    pub(super) fn text(&self, name: &str) -> &str {
        self.facts.get(name).map_or("", |fact| fact.text.trim())
    }

    /// The value behind a word at a line's beginning.
    pub(super) fn number(&self, name: &str, word: &str) -> Option<u64> {
        let mut words = self.text(name).lines().filter_map(|line| line.split_once(' '));
        words.find(|(first, _)| *first == word)?.1.trim().parse().ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A report as a guest would send it.
    pub(in crate::trial) fn report(facts: &[(&str, i32, &str)]) -> Report {
        let mut text = "begin\r\n".to_owned();
        for (name, exit, said) in facts {
            text.push_str(&format!("fact {name} {exit}\r\n"));
            text.extend(said.lines().map(|line| format!("| {line}\r\n")));
        }
        Report::parse(&(text + "end\r\n")).expect("a whole report")
    }

    #[test]
    fn a_guest_that_only_greets_has_not_reported() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let said = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            Report::read(file.path()).unwrap()
        };
        assert_eq!(said("UEFI says hello\r\n"), Said::Nothing);
        assert_eq!(said("UEFI\r\nhello\r\n"), Said::Something);
        assert_eq!(said("hello\nbegin\nfact kernel 0\n"), Said::Something);
        assert!(matches!(said("hello\nbegin\nfact kernel 0\nend\n"), Said::All(_)));
    }

    #[test]
    fn a_report_counts_when_it_is_whole() {
        let text = "UEFI\r\n\rGRUB, blind\n\rbegin\nfact kernel 0\n| 6.1.0\nfact root-disk 1\n| start 2048\n| size x\n|\n";
        assert_eq!(Report::parse(text), None);
        let report = Report::parse(&format!("{text}end\n")).unwrap();
        assert_eq!(report.fact("kernel"), Fact { exit: 0, text: "6.1.0\n".into() });
        assert_eq!(report.text("kernel"), "6.1.0");
        assert_eq!(report.number("root-disk", "start"), Some(2048));
        assert_eq!(report.number("root-disk", "size"), None);
        assert_eq!(report.fact("nothing").exit, -1);
        assert_eq!(report.text("nothing"), "");
    }
}
