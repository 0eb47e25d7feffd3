//! Who becomes root without a password (sudoers(5)).

use std::path::{Path, PathBuf};

use super::super::rule::{Finding, Judgement};
use super::super::subject::Subject;
use super::super::view::View;

const FILE: &str = "/etc/sudoers";
/// As many files within files as sudo reads.
const DEPTH: usize = 128;

pub(super) fn passwordless(subject: &Subject<'_>) -> crate::Result<Judgement> {
    const FIX: &str = "take NOPASSWD out: cloud-init gives the cloud's user what it needs at the first boot";
    let mut findings = Vec::new();
    for (path, line) in lines(subject.view)? {
        if frees(&line) && !subject.is_asked_for(&path) {
            findings.push(Finding::new(path.display().to_string(), line, FIX));
        }
    }
    Ok(Judgement::of(findings, "nobody"))
}

/// All lines of the configuration, joined where they go on, with the file that each is in.
fn lines(view: &View) -> crate::Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let mut files = vec![PathBuf::from(FILE)];
    let mut read = 0_usize;
    while let Some(path) = files.pop() {
        read = read.saturating_add(1);
        if read > DEPTH {
            break;
        }
        let text = view.text(&path)?.unwrap_or_default().replace("\\\n", " ");
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("#include" | "@include"), Some(file)) => files.push(beside(file)),
                (Some("#includedir" | "@includedir"), Some(folder)) => {
                    let all = view.matches(&format!("{}/*", beside(folder).display()))?;
                    files.extend(all.into_iter().filter(|path| counts(path)));
                }
                (Some(word), _) if !word.starts_with('#') => found.push((path.clone(), line.to_owned())),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

fn beside(file: &str) -> PathBuf {
    Path::new("/etc").join(file.trim_matches('"'))
}

/// sudo passes over names with a dot, and those of editors.
fn counts(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.contains('.') && !name.ends_with('~')
}

/// Whether a line lets somebody but root do something as another without a password.
fn frees(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let who = words.next().unwrap_or_default();
    if who.starts_with("Defaults") {
        return words.any(|word| word.trim_matches(',') == "!authenticate");
    }
    who != "root" && line.contains("NOPASSWD:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_ask_nobody_are_found() {
        for line in [
            "ann ALL=(ALL) NOPASSWD:ALL",
            "%sudo ALL=(ALL:ALL) NOPASSWD: ALL",
            "Defaults:ann !authenticate",
            "Defaults env_reset, !authenticate",
        ] {
            assert!(frees(line), "{line}");
        }
        for line in [
            "root ALL=(ALL) NOPASSWD: ALL",
            "%sudo ALL=(ALL:ALL) ALL",
            "Defaults env_reset",
            "ann ALL=PASSWD: ALL",
        ] {
            assert!(!frees(line), "{line}");
        }
        assert!(counts(Path::new("/etc/sudoers.d/90-x")) && !counts(Path::new("/etc/sudoers.d/README.md")));
    }
}
