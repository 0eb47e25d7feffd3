//! Where an export is: how that is written, as QEMU reads it.
//!
//! ```text
//! nbd://host[:port][/export]              nbd:host:port[:exportname=export]
//! nbd+tcp://host[:port][/export]
//! nbd+unix://[/export]?socket=path        nbd:unix:path[:exportname=export]
//! ```
//!
//! Source of the first column: NetworkBlockDevice/nbd, `doc/uri.md`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::wire::MAX_STRING_LEN;
use crate::error::{Error, ErrorKind};

/// The port of servers that say none.
const PORT: u16 = 10_809;
/// In front of an export's name, in the second column.
const EXPORT_NAME: &str = ":exportname=";

/// An export of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The server.
    pub server: Server,
    /// The export's name; empty for the one that a server offers by itself.
    pub export: String,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// At a port of a host.
    Tcp {
        /// The host's name or address.
        host: String,
        /// The port.
        port: u16,
    },
    /// At a socket of this machine.
    Unix(PathBuf),
}

/// Why a text is no address of an export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what it is; the fields are those of the message")]
pub enum AddressRule {
    #[error("{scheme} asks for an encrypted connection, which is not offered here")]
    Encryption { scheme: String },
    #[error("{text:?} does not begin with nbd:")]
    Scheme { text: String },
    #[error("{text:?} is not of the form nbd://host[:port][/export] or nbd+unix://[/export]?socket=path")]
    Url { text: String },
    #[error("no server is named")]
    NoServer,
    #[error("{text:?} is not of the form host:port")]
    HostAndPort { text: String },
    #[error("the name of the export has {len} bytes, and {MAX_STRING_LEN} are the most")]
    ExportName { len: usize },
}

impl From<AddressRule> for Error {
    fn from(rule: AddressRule) -> Self {
        let kind = match rule {
            AddressRule::Encryption { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, rule)
    }
}

impl Address {
    /// Whether `text` is meant as one, right or wrong, and not as the path of a file.
    pub fn is_meant_by(text: &str) -> bool {
        text.split_once(':').is_some_and(|(scheme, _)| {
            matches!(scheme, "nbd" | "nbd+tcp" | "nbd+unix" | "nbds" | "nbds+tcp" | "nbds+unix")
        })
    }

    /// The export called `export` of `server`.
    ///
    /// # Errors
    /// [`AddressRule::ExportName`].
    pub fn new(server: Server, export: String) -> Result<Self, AddressRule> {
        match export.len() {
            len if len > MAX_STRING_LEN => Err(AddressRule::ExportName { len }),
            _ => Ok(Self { server, export }),
        }
    }

    fn from_url(text: &str) -> Option<Result<Self, AddressRule>> {
        let (scheme, rest) = text.split_once("://")?;
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let export = decoded(path.strip_prefix('/').unwrap_or(path))?;
        let server = match scheme {
            "nbd+unix" if authority.is_empty() => {
                let path = query.strip_prefix("socket=").filter(|path| !path.contains('&'))?;
                Server::Unix(decoded(path)?.into())
            }
            "nbd" | "nbd+tcp" if query.is_empty() => {
                let (host, port) = host_and_port(authority)?;
                let port = port.map_or(Some(PORT), |port| port.parse().ok())?;
                Server::Tcp { host: decoded(host)?, port }
            }
            _ => return None,
        };
        Some(Self::new(server, export))
    }

    fn from_words(text: &str) -> Result<Self, AddressRule> {
        let (text, export) = text.split_once(EXPORT_NAME).unwrap_or((text, ""));
        let server = match text.strip_prefix("nbd:") {
            None => return Err(AddressRule::Scheme { text: text.to_owned() }),
            Some("") => return Err(AddressRule::NoServer),
            Some(place) => place,
        };
        let server = match server.strip_prefix("unix:") {
            Some(path) => Server::Unix(path.into()),
            None => server.parse()?,
        };
        Self::new(server, export.to_owned())
    }
}

impl FromStr for Address {
    type Err = AddressRule;

    fn from_str(text: &str) -> Result<Self, AddressRule> {
        let scheme = text.split(':').next().unwrap_or_default();
        if scheme.starts_with("nbds") {
            return Err(AddressRule::Encryption { scheme: scheme.to_owned() });
        }
        if text.contains("://") {
            let wrong = || AddressRule::Url { text: text.to_owned() };
            return Self::from_url(text).unwrap_or_else(|| Err(wrong()));
        }
        Self::from_words(text)
    }
}

impl FromStr for Server {
    type Err = AddressRule;

    /// Reads `host:port`.
    fn from_str(text: &str) -> Result<Self, AddressRule> {
        let wrong = || AddressRule::HostAndPort { text: text.to_owned() };
        let (host, port) = host_and_port(text).ok_or_else(wrong)?;
        let port = port.and_then(|port| port.parse().ok()).ok_or_else(wrong)?;
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

/// As QEMU shows it: nothing is escaped.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Server::Unix(path) => {
                let slash = if self.export.is_empty() { "" } else { "/" };
                write!(f, "nbd+unix://{slash}{}?socket={}", self.export, path.display())
            }
            server @ Server::Tcp { .. } if self.export.is_empty() => write!(f, "nbd://{server}"),
            server @ Server::Tcp { .. } => write!(f, "nbd://{server}/{}", self.export),
        }
    }
}

/// A path, or a host and a port.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl Server {
    /// The socket of this machine, if it is one.
    pub fn socket_path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp { .. } => None,
        }
    }
}

/// The host, without the brackets of an IPv6 address, and the port, if there is one.
fn host_and_port(text: &str) -> Option<(&str, Option<&str>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    if host.is_empty() {
        return None;
    }
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port))),
        None => rest.is_empty().then_some((host, None)),
    }
}

/// Without `%41` for A; `None` for what is no such sequence, or no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        let plain = code.bytes().all(|byte| byte.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(code, 16).ok().filter(|byte| plain && *byte != 0)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match text.parse::<Address>() {
            Ok(address) => address.to_string(),
            Err(rule) => format!("{rule:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn addresses_are_read_as_qemu_reads_them() {
        for (text, expected) in [
            ("nbd://host", "nbd://host:10809"),
            ("nbd://host/", "nbd://host:10809"),
            ("nbd://host:1234/disk%2fone", "nbd://host:1234/disk/one"),
            ("nbd://host:1234//x", "nbd://host:1234//x"),
            ("nbd+tcp://127.0.0.1:1/a/b", "nbd://127.0.0.1:1/a/b"),
            ("nbd://[::1]:5/x", "nbd://[::1]:5/x"),
            ("nbd+unix:///?socket=/run/s", "nbd+unix://?socket=/run/s"),
            ("nbd+unix:///disk?socket=/run/a%20b", "nbd+unix:///disk?socket=/run/a b"),
            ("nbd:host:1234", "nbd://host:1234"),
            ("nbd:host:1234:exportname=a:b", "nbd://host:1234/a:b"),
            ("nbd:unix:/run/s:exportname=x", "nbd+unix:///x?socket=/run/s"),
            ("nbd:unix:", "nbd+unix://?socket="),
            ("nbd:", "NoServer"),
            ("nbd:host", "HostAndPort"),
            ("nbd:host:http", "HostAndPort"),
            ("nbd:host:65536", "HostAndPort"),
            ("nbd://", "Url"),
            ("nbd:///x", "Url"),
            ("nbd://host:port", "Url"),
            ("nbd://host/%4", "Url"),
            ("nbd://host/%+4", "Url"),
            ("nbd://host/a%00", "Url"),
            ("nbd://host/a?b=c", "Url"),
            ("nbd+unix:///x", "Url"),
            ("nbd+unix://host/x?socket=s", "Url"),
            ("nbd+unix:///x?socket=s&y=z", "Url"),
            ("nbd+unix:///x?sucket=s", "Url"),
            ("http://host/", "Url"),
            ("disk.raw", "Scheme"),
            ("nbds://host/x", "Encryption"),
            ("nbds+unix:///x?socket=s", "Encryption"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        let long = format!("nbd://host/{}", "x".repeat(MAX_STRING_LEN + 1));
        assert_eq!(shown(&long), "ExportName");
        assert!(Address::is_meant_by("nbd:x") && Address::is_meant_by("nbds://x"));
        assert!(!Address::is_meant_by("./nbd:x") && !Address::is_meant_by("nbd"));
    }
}
