//! The proxies that this machine reaches the world through: apt's, and those of `http_proxy` and its kin.
//!
//! ```text
//! archives   apt's own (Acquire::http::Proxy, also for single hosts), else as the others, as apt does it
//! others     https_proxy or http_proxy, else all_proxy
//! no_proxy   both: these are reached directly
//! ```
//!
//! A proxy's password is for the proxy alone: nothing shows it, least of all to a step.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ureq::http::Uri;

use super::address::Address;
use crate::error::{Advise, err};

/// A proxy to go through.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) address: Address,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)
    }
}

/// Whether what is asked for is plain HTTP or something within a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// Which proxy is for what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// apt's for all hosts: `None` inside is a direct connection.
    apt: BTreeMap<Scheme, Option<Proxy>>,
    /// apt's for single hosts.
    apt_hosts: BTreeMap<(Scheme, String), Option<Proxy>>,
    variables: BTreeMap<Scheme, Proxy>,
    exempt: Vec<String>,
}

impl Upstream {
    /// `apt` is what `apt-config dump Acquire::http::Proxy Acquire::https::Proxy` says, `variables` the environment of
    /// the caller, or the part of it whose names end in `_proxy`.
    ///
    /// # Errors
    /// If one of them is of a kind that is not spoken here. Its password is not in the error.
    pub(crate) fn new(
        apt: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> crate::Result<Self> {
        let mut upstream = Self::default();
        for (name, value) in apt.lines().filter_map(setting) {
            upstream.add_of_apt(name, value)?;
        }
        let variables: BTreeMap<String, String> =
            variables.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        // Small letters first, as programs look for them.
        let find = |name: &str| {
            let names = [name.to_owned(), name.to_ascii_uppercase()];
            names.into_iter().find_map(|name| variables.get(&name).map(|value| (name, value)))
        };
        for (scheme, name) in [(Scheme::Http, "http_proxy"), (Scheme::Https, "https_proxy")] {
            if let Some((name, value)) = find(name).or_else(|| find("all_proxy")) {
                upstream.variables.insert(scheme, proxy(&name, value)?);
            }
        }
        if let Some((_, list)) = find("no_proxy") {
            let words = list.split([',', ' ']).map(|word| word.trim().to_ascii_lowercase());
            upstream.exempt = words.filter(|word| !word.is_empty()).collect();
        }
        Ok(upstream)
    }

    fn add_of_apt(&mut self, name: &str, value: &str) -> crate::Result<()> {
        let (scheme, rest) = match name.to_ascii_lowercase() {
            name if name.starts_with("acquire::http::proxy") => {
                (Scheme::Http, name.split_at(20).1.to_owned())
            }
            name if name.starts_with("acquire::https::proxy") => {
                (Scheme::Https, name.split_at(21).1.to_owned())
            }
            _ => return Ok(()),
        };
        let host = match rest.strip_prefix("::") {
            Some(host) => Some(Address::new(host, 0).host().to_owned()),
            None if rest.is_empty() => None,
            // Another setting whose name begins so.
            None => return Ok(()),
        };
        let value = match value {
            "" => return Ok(()),
            "DIRECT" | "false" => None,
            value => Some(proxy(name, value)?),
        };
        match host {
            Some(host) => self.apt_hosts.insert((scheme, host), value),
            None => self.apt.insert(scheme, value),
        };
        Ok(())
    }

    /// The proxy on the way to `address`, an archive or not.
    pub(super) fn on_the_way_to(&self, address: &Address, scheme: Scheme, archive: bool) -> Option<&Proxy> {
        if self.is_exempt(address) {
            return None;
        }
        // What is not said for https is as for http (apt-transport-https(1)).
        let schemes: &[Scheme] = match scheme {
            Scheme::Http => &[Scheme::Http],
            Scheme::Https => &[Scheme::Https, Scheme::Http],
        };
        let of_host = || schemes.iter().find_map(|s| self.apt_hosts.get(&(*s, address.host().to_owned())));
        let of_apt = || of_host().or_else(|| schemes.iter().find_map(|scheme| self.apt.get(scheme)));
        match archive.then(of_apt).flatten() {
            Some(said) => said.as_ref(),
            None => self.variables.get(&scheme),
        }
    }

    /// Whether others than archives are reached by way of a proxy, which a step could not do by itself.
    pub(super) fn is_needed(&self) -> bool {
        !self.variables.is_empty()
    }

    /// Whether no_proxy names it: `*`, a name with all beneath it, an address, or a range of them.
    fn is_exempt(&self, address: &Address) -> bool {
        let own: Option<IpAddr> = address.host().parse().ok();
        self.exempt.iter().any(|word| {
            let (word, port) = match Address::of_authority(word) {
                Some(named) => (named.host().to_owned(), Some(named.port())),
                None => (word.clone(), None),
            };
            let domain = word.trim_start_matches("*.").trim_matches('.');
            let beneath = || {
                let before = address.host().strip_suffix(domain);
                before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            };
            let fits = match (word.as_str(), own) {
                ("*", _) => true,
                (word, Some(own)) => contains(word, own),
                _ => !domain.is_empty() && beneath(),
            };
            fits && port.is_none_or(|port| port == address.port())
        })
    }
}

/// Whether `address` is `range`, or in it: `10.0.0.0/8`.
fn contains(range: &str, address: IpAddr) -> bool {
    let (first, bits) = range.split_once('/').unwrap_or((range, "128"));
    let first = first.trim_start_matches('[').trim_end_matches(']');
    let (Ok(first), Ok(bits)) = (first.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    let (first, own, width) = match (first, address) {
        (IpAddr::V4(first), IpAddr::V4(own)) => {
            (u128::from(first.to_bits()), u128::from(own.to_bits()), 32_u32)
        }
        (IpAddr::V6(first), IpAddr::V6(own)) => (first.to_bits(), own.to_bits(), 128),
        _ => return false,
    };
    let free = width.saturating_sub(bits);
    // Shifted by the whole width, nothing is left to differ.
    (first ^ own).checked_shr(free).unwrap_or(0) == 0
}

/// A line of apt-config: `NAME "VALUE";`.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.trim().split_once(' ')?;
    Some((name, value.trim().strip_prefix('"')?.strip_suffix("\";")?))
}

/// The proxy that `value` names, which is said by the setting or variable `name`.
fn proxy(name: &str, value: &str) -> crate::Result<Proxy> {
    parsed(value)
        .map_err(|problem| err!("{name} of this machine {problem}"))
        .hint(|| format!("set {name} to something like http://HOST:PORT, or to nothing"))
}

fn parsed(value: &str) -> Result<Proxy, String> {
    let whole = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let wrong = || "does not name a proxy".to_owned();
    let uri: Uri = whole.parse().map_err(|_| wrong())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(wrong()) };
    if scheme != "http" {
        return Err(format!(
            "names a proxy of kind {scheme}, and only those of kind http are spoken to here"
        ));
    }
    let address = Address::of_parts(authority, 80).ok_or_else(wrong)?;
    let authorization = authority.as_str().rsplit_once('@').map(|(user, _)| {
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        let both = [decoded(user), b":".to_vec(), decoded(password)].concat();
        format!("Basic {}", STANDARD.encode(both))
    });
    Ok(Proxy { address, authorization })
}

/// `%40` → `@`; what is not so written stays as it is.
fn decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.extend(before.bytes());
        match after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(b'%');
                rest = after;
            }
        }
    }
    decoded.extend(rest.bytes());
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(apt: &str, variables: &[(&str, &str)]) -> crate::Result<Upstream> {
        Upstream::new(apt, variables.iter().map(|(name, value)| (name.to_string(), value.to_string())))
    }

    fn way(upstream: &Upstream, uri: &str, archive: bool) -> Option<String> {
        let scheme = if uri.starts_with("https") { Scheme::Https } else { Scheme::Http };
        let way = upstream.on_the_way_to(&Address::of_uri(uri).unwrap(), scheme, archive);
        way.map(|proxy| proxy.address.to_string())
    }

    #[test]
    fn apts_proxy_is_for_archives_and_the_environments_for_all() {
        let apt = "Acquire::http::Proxy \"http://cache.example:3142/\";\n\
                   Acquire::http::Proxy::own.example \"DIRECT\";\n\
                   Acquire::https::Proxy \"\";\nAcquire::http::Proxy-Auto-Detect \"/x\";\n";
        let both =
            upstream(apt, &[("http_proxy", "http://out.example:8080"), ("no_proxy", "in.example")]).unwrap();
        assert_eq!(way(&both, "http://a/", true).as_deref(), Some("cache.example:3142"));
        assert_eq!(way(&both, "https://a/", true).as_deref(), Some("cache.example:3142"));
        assert_eq!(way(&both, "http://own.example/", true), None);
        assert_eq!(way(&both, "http://x.in.example/", true), None);
        assert_eq!(way(&both, "http://a/", false).as_deref(), Some("out.example:8080"));
        assert_eq!(way(&both, "https://a/", false), None);
        let variables =
            upstream("", &[("https_proxy", "out:1"), ("ALL_PROXY", "all:2"), ("HTTPS_PROXY", "no:3")]);
        let variables = variables.unwrap();
        assert_eq!(way(&variables, "https://a/", true).as_deref(), Some("out:1"));
        assert_eq!(way(&variables, "http://a/", false).as_deref(), Some("all:2"));
        assert_eq!(upstream("", &[("http_proxy", "")]).unwrap(), Upstream::default());
    }

    #[test]
    fn no_proxy_names_hosts_domains_ports_and_ranges() {
        let exempt = |list: &str, uri: &str| {
            let upstream = upstream("", &[("http_proxy", "p:1"), ("no_proxy", list)]).unwrap();
            way(&upstream, uri, false).is_none()
        };
        assert!(exempt("*", "http://a.example/"));
        for list in ["example", ".example", "*.example", "b, A.example", "a.example:80", ".Example."] {
            assert!(exempt(list, "http://a.example/"), "{list}");
        }
        for list in ["ample", "a.example:81", "b.a.example", "10.0.0.0/8", ".", "", "*.*"] {
            assert!(!exempt(list, "http://a.example/"), "{list}");
        }
        for list in ["10.0.0.0/8", "10.1.2.3", "10.1.2.3:80", "0.0.0.0/0", "10.1.2.3/32"] {
            assert!(exempt(list, "http://10.1.2.3/"), "{list}");
        }
        for list in ["10.0.0.0/16", "10.1.2.4", "2.3", "::/0", "10.1.2.3/x", "10.1.2.4/32"] {
            assert!(!exempt(list, "http://10.1.2.3/"), "{list}");
        }
        assert!(exempt("fd00::/8", "http://[fd12::1]/") && exempt("::1", "http://[::1]/"));
        assert!(!exempt("fd00::/8", "http://[fe12::1]/"));
    }

    #[test]
    fn a_password_is_for_the_proxy_and_in_no_error() {
        let upstream = upstream("", &[("http_proxy", "http://m%40e:s%3Acr%zz@proxy.example:8080/")]).unwrap();
        let proxy = upstream.variables[&Scheme::Http].clone();
        assert_eq!(proxy.authorization.as_deref(), Some("Basic bUBlOnM6Y3Ileno="));
        assert!(!format!("{upstream:?}").contains("bUBl"));
        for value in
            ["socks5h://me:hunter2@a:1", "https://me:hunter2@a", "http://me:hunter2@", "http://me:hunter2 @a"]
        {
            let error = self::upstream("", &[("https_proxy", value)]).unwrap_err();
            let told = crate::error::rendered(&error);
            assert!(
                told.starts_with("https_proxy of this machine ") && told.contains("\n\nhint: set "),
                "{told}"
            );
            assert!(!format!("{error:?}{told}").contains("hunter2"), "{error:?}");
        }
    }
}
