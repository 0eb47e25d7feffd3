//! Labels of SELinux, as an image's own policy has them for its files.
//!
//! ```text
//! /etc/selinux/config ─► /etc/selinux/TYPE/contexts/files/file_contexts{,.homedirs,.local}    pattern, kind of file, label
//!                                                        file_contexts.subs{,_dist}           one path is labelled as another
//! path ─► as another ─► the last pattern that fits; those without special characters count most ─► label, or none
//! ```
//! file_contexts(5), selabel_file(5); the order is that of libselinux's `label_file.c`.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::path::Path;
use std::sync::OnceLock;

use image_core::fs::{Files, NodeKind};
use regex::bytes::{Regex, RegexBuilder};

use crate::error::Context;

/// No file of a policy is larger, in bytes.
const FILE_MAX: u64 = 16 << 20;
/// A pattern that becomes larger is none of a policy's, in bytes.
const PATTERN_MAX: usize = 4 << 20;
/// What stands for no label.
const NONE: &[u8] = b"<<none>>";

/// The labels of a policy.
pub(crate) struct Policy {
    /// The last one that fits counts.
    specifications: Vec<Specification>,
    /// Prefixes of paths and what stands for them: the administrator's, then the distribution's.
    substitutions: [Vec<(Vec<u8>, Vec<u8>)>; 2],
}

struct Specification {
    pattern: String,
    /// What every path that fits begins with.
    begin: Vec<u8>,
    /// Whether nothing else fits.
    is_exact: bool,
    /// For what it is; `None` for everything.
    kind: Option<NodeKind>,
    label: Vec<u8>,
    compiled: OnceLock<Option<Regex>>,
}

impl Policy {
    /// The policy that is set in `files`; `None` if none is, or SELinux is switched off.
    ///
    /// # Errors
    /// If its files cannot be read.
    pub(crate) fn of(files: &dyn Files) -> crate::Result<Option<Self>> {
        Self::read(&|path| files.read(path.as_ref(), FILE_MAX).with_context(|| format!("reading {path}")))
    }

    /// The same, of what `read` gives for the path of a file.
    fn read(read: &dyn Fn(&str) -> crate::Result<Option<Vec<u8>>>) -> crate::Result<Option<Self>> {
        let Some(config) = read("/etc/selinux/config")? else { return Ok(None) };
        let config = String::from_utf8_lossy(&config).into_owned();
        let value = |key: &str| {
            config.lines().rev().find_map(|line| Some(line.trim().strip_prefix(key)?.trim().to_owned()))
        };
        let Some(kind) = value("SELINUXTYPE=").filter(|kind| is_name(kind)) else { return Ok(None) };
        if value("SELINUX=").is_some_and(|mode| mode.eq_ignore_ascii_case("disabled")) {
            return Ok(None);
        }
        let base = format!("/etc/selinux/{kind}/contexts/files/file_contexts");
        let Some(text) = read(&base)? else { return Ok(None) };
        let mut specifications: Vec<Specification> = lines(&text).filter_map(Specification::of).collect();
        for more in ["homedirs", "local"] {
            let text = read(&format!("{base}.{more}"))?.unwrap_or_default();
            specifications.extend(lines(&text).filter_map(Specification::of));
        }
        specifications.sort_by_key(|own| own.is_exact);
        let mut substitutions = [Vec::new(), Vec::new()];
        for (own, name) in substitutions.iter_mut().zip(["subs", "subs_dist"]) {
            let text = read(&format!("{base}.{name}"))?.unwrap_or_default();
            own.extend(lines(&text).filter_map(|line| {
                let mut words = line.split_whitespace().map(|word| word.as_bytes().to_vec());
                words.next().zip(words.next())
            }));
        }
        Ok(Some(Self { specifications, substitutions }))
    }

    /// The label of `path`, which is of `kind`, with the zero at its end that the kernel keeps; `None` if the policy has none for it.
    pub(crate) fn label(&self, path: &Path, kind: NodeKind) -> Option<Vec<u8>> {
        use std::os::unix::ffi::OsStrExt;
        let mut path = path.as_os_str().as_bytes().to_vec();
        for substitutions in &self.substitutions {
            let other = substitutions.iter().find_map(|(from, to)| {
                let rest = path.strip_prefix(from.as_slice())?;
                (rest.is_empty() || rest.starts_with(b"/")).then(|| [to, rest].concat())
            });
            path = other.unwrap_or(path);
        }
        for own in self.specifications.iter().rev() {
            if own.kind.is_none_or(|own| own == kind) && path.starts_with(&own.begin) {
                // Where one is not understood, nobody knows whether it is the one that fits.
                if own.fits(&path)? {
                    return (own.label != NONE).then(|| [own.label.as_slice(), b"\0"].concat());
                }
            }
        }
        None
    }
}

impl Specification {
    /// What `line` says; `None` for what is malformed.
    fn of(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (pattern, kind, label) = match words.as_slice() {
            [pattern, label] => (pattern, None, label),
            [pattern, kind, label] => (pattern, Some(kind_of(kind)?), label),
            _ => return None,
        };
        let (begin, is_exact) = literal(pattern);
        Some(Self {
            pattern: (*pattern).to_owned(),
            begin,
            is_exact,
            kind,
            label: label.as_bytes().to_vec(),
            compiled: OnceLock::new(),
        })
    }

    /// Whether `path` fits; `None` if the pattern is not understood here.
    fn fits(&self, path: &[u8]) -> Option<bool> {
        if self.is_exact {
            return Some(self.begin == path);
        }
        let compile = || {
            let mut builder = RegexBuilder::new(&format!("^{}$", self.pattern));
            builder.unicode(false).dot_matches_new_line(true).size_limit(PATTERN_MAX).build().ok()
        };
        Some(self.compiled.get_or_init(compile).as_ref()?.is_match(path))
    }
}

/// Lines with something in them.
fn lines(text: &[u8]) -> impl Iterator<Item = &str> {
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Whether it is a name of one folder.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text != "." && text != ".." && !text.contains('/')
}

fn kind_of(word: &str) -> Option<NodeKind> {
    Some(match word {
        "--" => NodeKind::File,
        "-d" => NodeKind::Directory,
        "-l" => NodeKind::Link,
        "-c" => NodeKind::CharacterDevice,
        "-b" => NodeKind::BlockDevice,
        "-p" => NodeKind::Pipe,
        "-s" => NodeKind::Socket,
        _ => return None,
    })
}

/// What every path that fits `pattern` begins with, and whether that is all of it.
fn literal(pattern: &str) -> (Vec<u8>, bool) {
    let mut found = Vec::new();
    let mut bytes = pattern.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next() {
                // A class or the like.
                Some(escaped) if escaped.is_ascii_alphanumeric() => return (found, false),
                escaped => found.extend(escaped),
            },
            // How often what is before it is there.
            b'?' | b'*' | b'+' | b'{' => {
                found.pop();
                return (without_choice(pattern, found), false);
            }
            b'.' | b'^' | b'$' | b'[' | b'(' | b'|' => return (without_choice(pattern, found), false),
            byte => found.push(byte),
        }
    }
    (found, true)
}

/// Nothing, where one of several patterns fits.
fn without_choice(pattern: &str, begin: Vec<u8>) -> Vec<u8> {
    let mut depth = 0_usize;
    for byte in pattern.bytes() {
        match byte {
            b'(' => depth = depth.saturating_add(1),
            b')' => depth = depth.saturating_sub(1),
            b'|' if depth == 0 => return Vec::new(),
            _ => {}
        }
    }
    begin
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use image_core::fs::NodeKind::{Directory, File, Link};

    use super::*;

    const CONTEXTS: &str = "\
# comment
/.*\tsystem_u:object_r:default_t:s0
/etc/.*  system_u:object_r:etc_t:s0
/etc/shadow.* -- system_u:object_r:shadow_t:s0
/etc/exact system_u:object_r:exact_t:s0
/etc/ex[a]ct system_u:object_r:later_t:s0
/var/www(/.*)? system_u:object_r:www_t:s0
/var/run/.* <<none>>
/opt/a\\.b -d system_u:object_r:dot_t:s0
";

    #[test]
    fn the_last_pattern_that_fits_counts() {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        let policy = |files: &BTreeMap<String, String>| {
            Policy::read(&|path| Ok(files.get(path).map(|text| text.as_bytes().to_vec()))).unwrap()
        };
        let folder = "/etc/selinux/own/contexts/files/file_contexts";
        assert!(policy(&files).is_none());
        let config = "SELINUX=permissive\n#SELINUXTYPE=none\nSELINUXTYPE=own\n";
        files.insert("/etc/selinux/config".into(), config.into());
        assert!(policy(&files).is_none());
        files.insert(folder.into(), CONTEXTS.into());
        let local = "/etc/local(/.*)? system_u:object_r:local_t:s0\n";
        files.insert(format!("{folder}.local"), local.into());
        files.insert(format!("{folder}.subs_dist"), "/run /var/run\n/srv/web /var/www\n".into());
        let known = policy(&files).unwrap();
        let of = |path: &str, kind| {
            let label = known.label(path.as_ref(), kind)?;
            Some(String::from_utf8(label).unwrap().split(':').nth(2).unwrap().to_owned())
        };
        for (path, kind, expected) in [
            ("/usr", Directory, "default_t"),
            ("/etc/passwd", File, "etc_t"),
            ("/etc/shadow-", File, "shadow_t"),
            ("/etc/shadow", Link, "etc_t"),
            ("/etc/exact", File, "exact_t"),
            ("/etc/local/a", File, "local_t"),
            ("/var/www", Directory, "www_t"),
            ("/var/www/a b", File, "www_t"),
            ("/var/wwwx", File, "default_t"),
            ("/srv/web/x", File, "www_t"),
            ("/srv/website", File, "default_t"),
            ("/opt/a.b", Directory, "dot_t"),
            ("/opt/axb", Directory, "default_t"),
        ] {
            assert_eq!(of(path, kind).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(of("/run/x", File), None);
        assert!(known.label("/usr".as_ref(), Directory).unwrap().ends_with(b":s0\0"));
        // What is not understood stands in the way of what is before it.
        let ahead = "/etc/(?=x).* system_u:object_r:ahead_t:s0\n";
        files.insert(format!("{folder}.local"), ahead.into());
        let known = policy(&files).unwrap();
        assert_eq!(known.label("/etc/passwd".as_ref(), File), None);
        assert!(known.label("/usr".as_ref(), File).is_some());
        files.insert("/etc/selinux/config".into(), "SELINUX=disabled\nSELINUXTYPE=own\n".into());
        assert!(policy(&files).is_none());
    }
}
