//! Paths of another system by a pattern: names in which `*` stands for any characters, or none.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Whether `pattern` stands for `name`.
pub(crate) fn fits(pattern: &str, name: &OsStr) -> bool {
    let (mut parts, name) = (pattern.split('*').map(str::as_bytes), name.as_encoded_bytes());
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else { return first == name };
    let Some(rest) = name.strip_prefix(first) else { return false };
    let behind = |rest: &'_ [u8], part: &[u8]| {
        let at = (0..=rest.len()).find(|at| rest.get(*at..).is_some_and(|rest| rest.starts_with(part)))?;
        Some(at.saturating_add(part.len()))
    };
    let rest = parts.try_fold(rest, |rest, part| rest.get(behind(rest, part)?..));
    rest.is_some_and(|rest| rest.ends_with(last))
}

/// The paths that `pattern`, an absolute one, stands for, in the order of names. `is_there` tells whether there is anything at a
/// path, `names` what is in a folder.
///
/// # Errors
/// Those of `is_there` and `names`.
pub(crate) fn paths(
    pattern: &str,
    is_there: impl Fn(&Path) -> crate::Result<bool>,
    names: impl Fn(&Path) -> crate::Result<Vec<OsString>>,
) -> crate::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for folder in found {
            if part.contains('*') {
                let names = names(&folder)?;
                next.extend(names.iter().filter(|name| fits(part, name)).map(|name| folder.join(name)));
            } else if is_there(&folder.join(part))? {
                next.push(folder.join(part));
            }
        }
        found = next;
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything_however_many_they_are() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.d", false),
            ("*.conf*", "a.conf.d", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("**", "x", true),
            ("x", "x", true),
            ("x", "xy", false),
            ("ü*", "üb", true),
        ] {
            assert_eq!(fits(pattern, OsStr::new(name)), expected, "{pattern} {name}");
        }
    }
}
