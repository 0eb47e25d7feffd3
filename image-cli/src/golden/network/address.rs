//! Where a request wants to go: a host and a port; and the addresses that nobody but this machine may use.

use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::http::Uri;
use ureq::http::uri::Authority;

use super::netlink;

/// A host, as it was named, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address {
    /// In lower case, without a dot at its end, an IPv6 address without brackets.
    host: String,
    port: u16,
}

impl Address {
    /// `host` may be a name or an address, with brackets or without.
    pub(crate) fn new(host: &str, port: u16) -> Self {
        let plain = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = match plain.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => plain.strip_suffix('.').unwrap_or(plain).to_ascii_lowercase(),
        };
        Self { host, port }
    }

    /// Of a URI of http or https, whatever else it names; `None` for others, which need no network or another one.
    pub(crate) fn of_uri(uri: &str) -> Option<Self> {
        let uri: Uri = uri.parse().ok()?;
        let port = match uri.scheme_str()? {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        Self::of_parts(uri.authority()?, port)
    }

    /// Of a URI's authority, without its user; `None` if its port is none.
    pub(super) fn of_parts(authority: &Authority, usual: u16) -> Option<Self> {
        let (_, place) = authority.as_str().rsplit_once('@').unwrap_or(("", authority.as_str()));
        let host = authority.host();
        let port = match place.strip_prefix(host)?.strip_prefix(':') {
            None | Some("") => usual,
            Some(port) => port.parse().ok()?,
        };
        (port != 0 && !host.is_empty()).then(|| Self::new(host, port))
    }

    /// Of `HOST:PORT`.
    pub(super) fn of_authority(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let sound = !host.is_empty() && (bracketed || !host.contains(':')) && !host.contains('@');
        port.parse().ok().filter(|port| sound && *port != 0).map(|port| Self::new(host, port))
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Whether `address` is some other host's: not this machine, nor what only its own network segment answers to (there,
/// clouds tell a machine its secrets), nor several hosts at once.
pub(super) fn is_elsewhere(address: IpAddr) -> bool {
    let plain = match address {
        IpAddr::V4(address) => foreign_v4(address),
        IpAddr::V6(address) => foreign_v6(address),
    };
    plain
        && netlink::leads_away(address).unwrap_or_else(|error| {
            // Without a route there, connecting fails, in better words.
            matches!(error.kind(), ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable)
        })
}

fn foreign_v4(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    !(first == 0
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast())
}

fn foreign_v6(address: Ipv6Addr) -> bool {
    let plain = !(address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unicast_link_local());
    plain && inner_v4(address).is_none_or(|inner| is_elsewhere(inner.into()))
}

/// The IPv4 address that is reached by way of this one: mapped and compatible ones (RFC 4291, 2.5.5), those of
/// translators (RFC 6052) and of 6to4 (RFC 3056).
fn inner_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0 | 0xffff) | (0, 0, 0, 0, 0xffff, 0) | (0x64, 0xff9b, 0, 0, 0, 0) => Some(of(g, h)),
        (0x2002, ..) => Some(of(b, c)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_however_they_are_written() {
        let one = Address::new("Mirror.Example.", 80);
        assert_eq!(Address::of_uri("http://user:secret@mirror.example/debian"), Some(one.clone()));
        assert_eq!(Address::of_uri("http://MIRROR.example:80"), Some(one));
        assert_eq!(Address::of_uri("https://a/x").unwrap().to_string(), "a:443");
        assert_eq!(Address::of_uri("https://[::1]:8080/x").unwrap().to_string(), "[::1]:8080");
        assert_eq!(Address::new("[0:0::1]", 1), Address::new("::1", 1));
        for none in [
            "file:///srv/debian",
            "copy:///x",
            "ftp://a/b",
            "a",
            "",
            "http://",
            "http:///x",
            "http://a:65536/",
        ] {
            assert_eq!(Address::of_uri(none), None, "{none:?}");
        }
    }

    #[test]
    fn an_authority_has_a_host_and_a_port() {
        assert_eq!(Address::of_authority("a.example:443"), Some(Address::new("a.example", 443)));
        assert_eq!(Address::of_authority("[::1]:22"), Some(Address::new("::1", 22)));
        for none in ["a", "a:", ":1", "a:0", "a:65536", "::1:22", "user@a:1", "a:1/x", "a: 1", ""] {
            assert_eq!(Address::of_authority(none), None, "{none:?}");
        }
    }

    /// RFC 6890's registries, as far as they are this machine or its own link.
    #[test]
    fn this_machine_is_found_in_every_spelling() {
        let here = [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "224.0.0.251",
            "239.255.255.250",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:0.0.0.0",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::1",
        ];
        for address in here {
            assert!(!is_elsewhere(address.parse().unwrap()), "{address}");
        }
        for address in ["192.0.2.1", "10.1.2.3", "198.51.100.7", "2001:db8::1", "::ffff:192.0.2.1", "fd00::1"]
        {
            assert!(is_elsewhere(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn addresses_of_this_machines_interfaces_are_this_machine() {
        // A connected datagram socket says from which address it would send. Nothing is sent.
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let Ok(()) = socket.connect("192.0.2.1:9") else { return };
        let own = socket.local_addr().unwrap().ip();
        assert!(!is_elsewhere(own), "{own}");
    }
}
