//! Addresses: where a redirect leads, and whether it may be followed (RFC 9110, 15.4; RFC 3986, 5.2).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crate::error::{bail, err};

/// Where `location` leads from `url`.
///
/// # Errors
/// If it leads from HTTPS to HTTP, or is no address of either.
pub(super) fn redirected(url: &str, location: &str) -> crate::Result<String> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| err!("{url} is no address"))?;
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let location = location.split('#').next().unwrap_or_default();
    let is_absolute = location.split_once("://").is_some_and(|(scheme, _)| !scheme.contains(['/', '?']));
    let target = if is_absolute {
        location.to_owned()
    } else if let Some(other) = location.strip_prefix("//") {
        format!("{scheme}://{other}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{host}{folder}/{location}")
    };
    let (new, rest) = target.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    match (scheme.to_ascii_lowercase().as_str(), new.to_ascii_lowercase().as_str()) {
        ("https", "https") | ("http", "http" | "https") => {}
        ("https", "http") => bail!("the server redirects from https to http, to {authority}"),
        _ => bail!("the server redirects to {new}://, which is not followed"),
    }
    let is_plain = target.bytes().all(|byte| byte.is_ascii_graphic());
    match authority.is_empty() || authority.contains('@') || !is_plain {
        true => Err(err!("the server redirects to what is no address")),
        false => Ok(target),
    }
}

/// Whether both are of one server: scheme, host and port are the same.
pub(super) fn is_same_server(one: &str, other: &str) -> bool {
    let server = |url: &str| {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        Some((scheme.to_ascii_lowercase(), authority.to_ascii_lowercase()))
    };
    server(one).is_some_and(|own| Some(own) == server(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_where_it_leads_and_never_to_less() {
        let to = |url: &str, location: &str| redirected(url, location).ok();
        let base = "https://a.example/b/c.qcow2?x=1";
        for (location, target) in [
            ("https://b.example/d", Some("https://b.example/d")),
            ("HTTPS://b.example", Some("HTTPS://b.example")),
            ("//b.example/d", Some("https://b.example/d")),
            ("/d?y=2#z", Some("https://a.example/d?y=2")),
            ("d", Some("https://a.example/b/d")),
            ("?u=https://b.example/", Some("https://a.example/b/?u=https://b.example/")),
            ("http://a.example/b", None),
            ("file:///etc/passwd", None),
            ("https://ann:secret@b.example/", None),
            ("https:///b", None),
            ("https://b.example/a b", None),
        ] {
            assert_eq!(to(base, location).as_deref(), target, "{location}");
        }
        assert_eq!(to("http://a", "https://b").as_deref(), Some("https://b"));
        assert_eq!(to("http://a", "b").as_deref(), Some("http://a/b"));
    }

    #[test]
    fn servers_are_told_apart_by_port_and_scheme() {
        assert!(is_same_server("https://a.example/b", "HTTPS://A.example?c"));
        assert!(!is_same_server("https://a.example/", "http://a.example/"));
        assert!(!is_same_server("https://a.example/", "https://a.example:444/"));
    }
}
