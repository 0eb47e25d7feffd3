//! What a client asks and what a server answers: heads of HTTP/1.1 messages (RFC 9112), and how their bodies end.
//!
//! Bytes in, a checked value out; nothing is read or written here. A head is passed on without what concerns one
//! connection only (RFC 9110, 7.6.1). `Via` is left out on purpose: servers compress and cache less when they see it.

use std::io::Write;

use ureq::http::uri::Authority;

use super::super::address::Address;

/// The most headers of one message.
const MOST_HEADERS: usize = 128;
/// What concerns one connection only, whether `Connection` names it or not. Of the framing, the body keeps its own.
const OWN: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "te",
    "upgrade",
];

/// A message that breaks a rule, in words for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// After so many bytes.
    Length(u64),
    /// With a chunk of no bytes, and trailers.
    Chunked,
    /// With the connection. Answers only.
    Close,
}

impl Body {
    pub(super) const NONE: Self = Self::Length(0);
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A connection, for whatever is to be said on it.
    Tunnel(Address),
    /// A resource of a server that speaks plain HTTP: its path.
    Resource(Address, String),
}

impl Target {
    pub(super) fn address(&self) -> &Address {
        match self {
            Self::Tunnel(address) | Self::Resource(address, _) => address,
        }
    }
}

/// A request's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: Target,
    /// Of HTTP/1.x.
    pub(super) minor: u8,
    /// Without those of the client's connection, and without `Host` and `Expect`.
    headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Body,
    /// Whether the client would send another request after this one.
    pub(super) stays: bool,
    /// Whether the client waits for a word before it sends the body.
    pub(super) waits: bool,
}

/// An answer's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    reason: String,
    headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Body,
    /// Whether the server would take another request after this one.
    pub(super) stays: bool,
}

impl Request {
    /// The head at the beginning of `bytes`, and its length; `None` if its end is not there yet.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let mut space = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Request::new(&mut space);
        let length = match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(Malformed("too many headers")),
            Err(_) => return Err(Malformed("not a request of HTTP/1")),
        };
        let (Some(method), Some(path), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(Malformed("not a request of HTTP/1"));
        };
        let target = target(method, path)?;
        let facts = Facts::of(parsed.headers, minor)?;
        let body = match (facts.chunked, facts.length) {
            (Some(_), Some(_)) => return Err(Malformed("both a length and chunks")),
            (Some(true), None) => Body::Chunked,
            (Some(false), None) => return Err(Malformed("a transfer coding that is not known here")),
            (None, length) => Body::Length(length.unwrap_or(0)),
        };
        let headers = facts.passed(parsed.headers, &["host", "expect"]);
        let method = method.to_owned();
        // A client of HTTP/1.0 takes the end of the connection for the end of the answer, whatever else it hopes for.
        let stays = facts.stays && minor == 1;
        let request = Self { method, target, minor, headers, body, stays, waits: facts.waits };
        Ok(Some((request, length)))
    }

    /// Asks for a tunnel.
    pub(super) fn tunnel(to: &Address) -> Self {
        Self {
            method: "CONNECT".into(),
            target: Target::Tunnel(to.clone()),
            minor: 1,
            headers: Vec::new(),
            body: Body::NONE,
            stays: true,
            waits: false,
        }
    }

    /// Whether it may be asked again, and before the answers to others: nothing is changed by it, and it has no body.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.target, Target::Resource(..))
            && self.minor == 1
            && matches!(self.method.as_str(), "GET" | "HEAD")
            && self.body == Body::NONE
    }

    /// The head as the server gets it, or another proxy, with what that wants to know of us.
    pub(super) fn encode(&self, by: Option<Option<&str>>) -> Vec<u8> {
        let mut head = Vec::new();
        let address = self.target.address();
        let host = match address.port() {
            80 => address.to_string().trim_end_matches(":80").to_owned(),
            _ => address.to_string(),
        };
        let path = match (&self.target, by) {
            (Target::Tunnel(address), _) => address.to_string(),
            (Target::Resource(_, path), None) => path.clone(),
            (Target::Resource(_, path), Some(_)) => format!("http://{host}{path}"),
        };
        // Writing into memory does not fail.
        let _ = write!(head, "{} {path} HTTP/1.{}\r\nHost: {host}\r\n", self.method, self.minor);
        if let Some(Some(authorization)) = by {
            let _ = write!(head, "Proxy-Authorization: {authorization}\r\n");
        }
        if self.minor == 0 {
            head.extend(b"Connection: close\r\n");
        }
        encode_headers(&mut head, &self.headers);
        head
    }
}

impl Response {
    /// The head at the beginning of `bytes`, which answers a request of `method`, and its length; `None` if its end is
    /// not there yet.
    pub(super) fn parse(bytes: &[u8], method: &str) -> Result<Option<(Self, usize)>, Malformed> {
        let mut space = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Response::new(&mut space);
        let mut rules = httparse::ParserConfig::default();
        rules.allow_spaces_after_header_name_in_responses(true);
        let length = match rules.parse_response(&mut parsed, bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Malformed("the server's answer is not HTTP/1")),
        };
        let (Some(status), Some(minor)) = (parsed.code, parsed.version) else {
            return Err(Malformed("the server's answer is not HTTP/1"));
        };
        let facts = Facts::of(parsed.headers, minor)?;
        // RFC 9112, 6.3.
        let body = match (facts.chunked, facts.length) {
            _ if method == "HEAD" || matches!(status, 100..200 | 204 | 304) => Body::NONE,
            (Some(true), None) => Body::Chunked,
            (Some(_), _) => Body::Close,
            (None, Some(length)) => Body::Length(length),
            (None, None) => Body::Close,
        };
        let stays = facts.stays && body != Body::Close;
        let headers = facts.passed(parsed.headers, &[]);
        let reason = parsed.reason.unwrap_or_default().to_owned();
        Ok(Some((Self { status, reason, headers, body, stays }, length)))
    }

    /// An answer of our own.
    pub(super) fn own(status: u16, reason: &str, text: &str) -> (Self, Vec<u8>) {
        let body = format!("goldimg: {text}\n").into_bytes();
        let length = body.len() as u64;
        let headers = vec![
            ("Content-Type".to_owned(), b"text/plain; charset=utf-8".to_vec()),
            ("Content-Length".to_owned(), length.to_string().into_bytes()),
        ];
        let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        let reason = reason.chars().map(plain).collect();
        (Self { status, reason, headers, body: Body::Length(length), stays: true }, body)
    }

    /// The head as the client gets it; `stays` is whether it may ask more afterwards.
    pub(super) fn encode(&self, stays: bool) -> Vec<u8> {
        let mut head = Vec::new();
        // Writing into memory does not fail.
        let _ = write!(head, "HTTP/1.1 {:03} {}\r\n", self.status, self.reason);
        if !stays && self.status >= 200 {
            head.extend(b"Connection: close\r\n");
        }
        encode_headers(&mut head, &self.headers);
        head
    }
}

fn encode_headers(head: &mut Vec<u8>, headers: &[(String, Vec<u8>)]) {
    for (name, value) in headers {
        head.extend(name.as_bytes());
        head.extend(b": ");
        head.extend(value);
        head.extend(b"\r\n");
    }
    head.extend(b"\r\n");
}

/// What a request line asks for.
fn target(method: &str, path: &str) -> Result<Target, Malformed> {
    if method == "CONNECT" {
        let address = Address::of_authority(path).ok_or(Malformed("CONNECT wants HOST:PORT"))?;
        return Ok(Target::Tunnel(address));
    }
    let refused = Malformed("this is a proxy: it wants http://HOST/PATH, and CONNECT for everything else");
    let (scheme, rest) = path.split_at_checked("http://".len()).ok_or(refused.clone())?;
    if !scheme.eq_ignore_ascii_case("http://") {
        return Err(refused);
    }
    // The path is the server's affair, and stays as it is.
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(Malformed("user names belong into Authorization"));
    }
    let authority: Authority = authority.parse().map_err(|_| refused.clone())?;
    let address = Address::of_parts(&authority, 80).ok_or(refused)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(Target::Resource(address, format!("{slash}{path}")))
}

/// What a head says of its connection and its body.
struct Facts {
    /// Whether the last transfer coding is chunks; `None` without any.
    chunked: Option<bool>,
    length: Option<u64>,
    stays: bool,
    waits: bool,
    /// What `Connection` names, in lower case.
    named: Vec<String>,
}

impl Facts {
    fn of(headers: &[httparse::Header<'_>], minor: u8) -> Result<Self, Malformed> {
        let mut codings = Vec::new();
        let mut named = Vec::new();
        let mut length = None;
        let mut waits = false;
        for header in headers {
            let words = || {
                let text = String::from_utf8_lossy(header.value).to_ascii_lowercase();
                let words = text.split(',').map(|word| word.trim().to_owned());
                words.filter(|word| !word.is_empty()).collect::<Vec<_>>()
            };
            match header.name.to_ascii_lowercase().as_str() {
                "connection" | "proxy-connection" => named.extend(words()),
                "transfer-encoding" => codings.extend(words()),
                "expect" => waits = true,
                "content-length" => {
                    for word in words() {
                        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
                        let one = word.parse::<u64>().ok().filter(|_| digits);
                        let one = one.ok_or(Malformed("a length that is not a number"))?;
                        if length.is_some_and(|other| other != one) {
                            return Err(Malformed("two lengths"));
                        }
                        length = Some(one);
                    }
                }
                _ => {}
            }
        }
        let says = |word: &str| named.iter().any(|name| name == word);
        let stays = if minor == 0 { says("keep-alive") && !says("close") } else { !says("close") };
        let chunked = codings.last().map(|last| last == "chunked");
        Ok(Self { chunked, length, stays, waits, named })
    }

    /// The headers that are passed on, but `without` these.
    fn passed(&self, headers: &[httparse::Header<'_>], without: &[&str]) -> Vec<(String, Vec<u8>)> {
        let kept = headers.iter().filter(|header| {
            let name = header.name.to_ascii_lowercase();
            // A length beside chunks is wrong, and must not reach somebody who believes it (RFC 9112, 6.3).
            let framing = name == "content-length" && self.chunked.is_some();
            let named = self.named.contains(&name)
                && !matches!(name.as_str(), "content-length" | "transfer-encoding");
            !(OWN.contains(&name.as_str()) || without.contains(&name.as_str()) || named || framing)
        });
        kept.map(|header| (header.name.to_owned(), header.value.to_vec())).collect()
    }
}

#[cfg(test)]
mod tests;
