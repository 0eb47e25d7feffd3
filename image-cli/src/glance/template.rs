//! Names of images made from parts: `{name}`, `{version}`, `{date}`.

use crate::error::{Advise, bail, err};

/// What a template can name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    /// `YYYYMMDD`, UTC.
    pub(crate) date: String,
}

/// The longest name Glance takes, in characters.
const NAME_LIMIT: usize = 255;

/// Fills a template. `{{` and `}}` stand for braces.
///
/// # Errors
/// Where it names something unknown, or the name would be empty or too long for Glance.
pub(crate) fn fill(template: &str, parts: &Parts) -> crate::Result<String> {
    filled(template, parts).invalid()
}

fn filled(template: &str, parts: &Parts) -> crate::Result<String> {
    let mut name = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        name.push_str(before);
        if let Some(after) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
            name.extend(brace.chars().next());
            rest = after;
            continue;
        }
        let Some((key, after)) = brace.strip_prefix('{').and_then(|inside| inside.split_once('}')) else {
            return Err(err!("the template {template:?} has a brace without its partner"))
                .hint(|| "a brace itself is written twice: {{ or }}");
        };
        name.push_str(part(key, parts)?);
        rest = after;
    }
    name.push_str(rest);
    let name = name.trim().to_owned();
    if name.is_empty() {
        bail!("the template {template:?} gives an empty name");
    }
    if name.chars().count() > NAME_LIMIT {
        bail!("the name is longer than the {NAME_LIMIT} characters that Glance takes");
    }
    Ok(name)
}

fn part<'a>(key: &str, parts: &'a Parts) -> crate::Result<&'a str> {
    match (key, &parts.version) {
        ("name", _) => Ok(&parts.name),
        ("date", _) => Ok(&parts.date),
        ("version", Some(version)) => Ok(version),
        ("version", None) => Err(err!("the template names {{version}}, but none is known"))
            .hint(|| "give it with --image-version, or keep the build's manifest beside the image"),
        _ => Err(err!("{{{key}}} means nothing in a name")).hint(|| "{name}, {version} and {date} do"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_filled_in_and_mistakes_are_said() {
        let parts = Parts { name: "Debian 12".into(), version: Some("1.2".into()), date: "20261123".into() };
        let ok = |template: &str| filled(template, &parts).unwrap();
        assert_eq!(ok("{name}"), "Debian 12");
        assert_eq!(ok("{name} {version} ({date})"), "Debian 12 1.2 (20261123)");
        assert_eq!(ok("{{{name}}}"), "{Debian 12}");
        assert_eq!(ok("plain"), "plain");
        for wrong in ["{nam}", "{name", "name}", "", "  ", "{}", &"x".repeat(256)] {
            assert!(filled(wrong, &parts).is_err(), "{wrong:?}");
        }
        assert_eq!(ok(&"ü".repeat(255)).chars().count(), 255);
        let unversioned = Parts { version: None, ..parts };
        assert!(filled("{version}", &unversioned).unwrap_err().to_string().contains("none is known"));
    }
}
