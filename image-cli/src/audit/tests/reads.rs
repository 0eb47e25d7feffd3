//! Each rule looks where its line says that it looks, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::name_pattern::fits;

/// Whether whoever looks at `pattern` comes to `place`: on the way to it, there, or beneath it.
fn covers(pattern: &str, place: &str) -> bool {
    let (Some(pattern), Some(place)) = (pattern.strip_prefix('/'), place.strip_prefix('/')) else {
        return pattern == place;
    };
    let (whole, folder) = (pattern.trim_end_matches('/'), pattern.ends_with('/') || pattern.is_empty());
    let (patterns, names): (Vec<&str>, Vec<&str>) = (whole.split('/').collect(), place.split('/').collect());
    let same = patterns.iter().zip(&names).all(|(pattern, name)| fits(pattern, name.as_ref()));
    place.is_empty() || whole.is_empty() || same && (names.len() <= patterns.len() || folder)
}

/// A pattern that begins with `~`, in every home of the test.
fn in_homes(pattern: &str) -> Vec<String> {
    match pattern.strip_prefix('~') {
        Some(rest) => ["/root", "/home/*", "/srv/backup"].map(|home| format!("{home}{rest}")).into(),
        None => vec![pattern.to_owned()],
    }
}

/// Places for people.
pub(super) fn in_words(places: &[&str]) -> String {
    let is_path = |place: &str| place.starts_with(['/', '~']);
    let word = |place: &&str| if is_path(place) { format!("`{place}`") } else { (*place).to_owned() };
    places.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// What of `looked` no line speaks of, by rule.
pub(super) fn unsaid(looked: &BTreeMap<&'static str, BTreeSet<String>>) -> Vec<String> {
    let rules = RULES.iter().flat_map(|(_, rules)| rules.iter());
    let mut unsaid = Vec::new();
    for rule in rules {
        // Homes are known from there, and where filesystems are mounted.
        let always = ["/etc/passwd", "/home", "what was asked for"];
        // What the files of the test name themselves.
        let named = ["/srv/keys/root", "/srv/log", "/usr/share/packages", "/swapfile"];
        let reads = rule.reads.concat();
        let listed = IDENTITIES.iter().flat_map(|identity| {
            let system = match identity.system {
                System::With(path) | System::Without(path) => Some(path),
                System::Any => None,
            };
            [identity.pattern].into_iter().chain(system)
        });
        let listed: Vec<&str> =
            if reads.contains(&identities::LISTED) { listed.collect() } else { Vec::new() };
        let patterns: Vec<String> = reads
            .iter()
            .chain(&always)
            .chain(&named)
            .chain(&listed)
            .flat_map(|pattern| in_homes(pattern))
            .collect();
        let places = looked.get(rule.name).into_iter().flatten();
        let others: Vec<&str> = places
            .map(String::as_str)
            .filter(|place| {
                !place.ends_with(" more") && !patterns.iter().any(|pattern| covers(pattern, place))
            })
            .collect();
        if !others.is_empty() {
            unsaid.push(format!("{}: {}", rule.name, others.join(" ")));
        }
    }
    unsaid
}

#[test]
fn a_place_is_on_the_way_there_or_beneath() {
    for (pattern, place) in [
        ("/etc/passwd", "/etc/passwd"),
        ("/etc/ssh/ssh_host_*", "/etc/ssh"),
        ("/etc/ssh/ssh_host_*", "/etc/ssh/ssh_host_rsa_key"),
        ("/var/log/", "/var/log/apt/history.log"),
        ("/", "/any/thing"),
        ("the disk", "the disk"),
    ] {
        assert!(covers(pattern, place), "{pattern} {place}");
    }
    for (pattern, place) in [
        ("/etc/passwd", "/etc/shadow"),
        ("/etc/ssh/ssh_host_*", "/etc/ssh/sshd_config"),
        ("/etc/ssh/sshd_config", "/etc/ssh/sshd_config/x"),
        ("/var/log/", "/var/lib"),
        ("the disk", "/"),
    ] {
        assert!(!covers(pattern, place), "{pattern} {place}");
    }
}
