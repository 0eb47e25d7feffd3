//! A request, its answer, and what may come between them.

use std::io::Read;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::secret::Secret;
use crate::error::err;

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A header's value.
#[derive(Debug, Clone)]
pub(crate) enum HeaderText {
    Plain(String),
    Secret(Secret),
}

impl HeaderText {
    /// As it is sent.
    pub(super) fn expose(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.expose(),
        }
    }
}

/// A request that can be sent again.
///
/// Not `Debug`: its body may hold a secret.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) verb: Verb,
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, HeaderText)>,
    pub(crate) body: Option<Value>,
    /// What is shown of the body where it holds a secret.
    pub(crate) shown_body: Option<Value>,
    /// The secret in the body.
    pub(crate) body_secret: Option<Secret>,
}

impl Request {
    pub(crate) fn new(verb: Verb, url: impl Into<String>) -> Self {
        Self { verb, url: url.into(), headers: Vec::new(), body: None, shown_body: None, body_secret: None }
    }

    /// With a JSON body.
    #[must_use]
    pub(crate) fn json(self, body: Value) -> Self {
        self.json_as("application/json", body)
    }

    /// With a JSON body of a media type of its own.
    #[must_use]
    pub(crate) fn json_as(mut self, media_type: &str, body: Value) -> Self {
        self.body = Some(body);
        self.header("Content-Type", media_type)
    }

    /// With one more header.
    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, HeaderText::Plain(value.into())));
        self
    }

    /// With a header that is never shown.
    #[must_use]
    pub(crate) fn secret_header(mut self, name: &'static str, value: &Secret) -> Self {
        self.headers.push((name, HeaderText::Secret(value.clone())));
        self
    }

    /// With a JSON body that holds `secret`; `shown` is shown of it.
    #[must_use]
    pub(crate) fn secret_json(self, body: Value, shown: Value, secret: &Secret) -> Self {
        Self { shown_body: Some(shown), body_secret: Some(secret.clone()), ..self.json(body) }
    }

    /// Without headers that must not be seen: for another server.
    #[must_use]
    pub(crate) fn without_secrets(mut self) -> Self {
        self.headers.retain(|(_, value)| matches!(value, HeaderText::Plain(_)));
        self
    }

    /// Everything in it that must not be seen.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let in_headers = self.headers.iter().filter_map(|(_, value)| match value {
            HeaderText::Secret(secret) => Some(secret),
            HeaderText::Plain(_) => None,
        });
        in_headers.chain(&self.body_secret)
    }
}

/// What the server said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the same request may well succeed a little later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self.status, 429 | 500 | 502 | 503 | 504)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> crate::Result<T> {
        serde_json::from_slice(&self.body)
            .map_err(|error| err!("the answer is not the JSON it should be: {error}"))
    }

    /// A refusal without the request's secrets: servers and proxies like to repeat what they were sent.
    #[must_use]
    pub(crate) fn hiding_secrets_of(mut self, request: &Request) -> Self {
        if !self.is_success() {
            let said = String::from_utf8_lossy(&self.body).into_owned();
            self.body = request.secrets().fold(said, |said, secret| secret.hidden_in(&said)).into_bytes();
        }
        self
    }

    /// What the server says is wrong, in one line: Keystone and Nova answer in JSON, Glance in HTML.
    pub(crate) fn message(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let told = serde_json::from_str::<Value>(&text).ok().and_then(|value| {
            let error = value.get("error").unwrap_or(&value);
            Some(error.get("message")?.as_str()?.to_owned())
        });
        let words = told.unwrap_or_else(|| without_tags(&text));
        let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = line.strip_prefix(&format!("{} ", self.status)).unwrap_or(&line);
        let line: String = line.chars().filter(|c| !c.is_control()).take(MESSAGE_LIMIT).collect();
        if line.is_empty() {
            format!("HTTP {}", self.status)
        } else {
            format!("HTTP {}: {line}", self.status)
        }
    }
}

/// Enough for a sentence or two of a server that talks too much.
const MESSAGE_LIMIT: usize = 400;

/// The text of an HTML page, without its title, which repeats the heading.
fn without_tags(html: &str) -> String {
    let body = html.split_once("</title>").map_or(html, |(_, rest)| rest);
    let mut text = String::new();
    let mut inside = false;
    for c in body.chars() {
        match c {
            '<' => inside = true,
            '>' if inside => {
                inside = false;
                text.push(' ');
            }
            _ if !inside => text.push(c),
            _ => {}
        }
    }
    for (entity, plain) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#39;", "'")] {
        text = text.replace(entity, plain);
    }
    text.replace("&amp;", "&")
}

/// No answer came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// The connection failed before or while it was used.
    #[error("the connection to {host} failed")]
    Connection {
        host: String,
        #[source]
        source: ureq::Error,
    },
    /// The two sides do not agree on encryption or trust: trying again does not help.
    #[error("no trusted connection to {host}")]
    Untrusted {
        host: String,
        #[source]
        source: ureq::Error,
    },
    /// The request itself is impossible.
    #[error("the request to {host} cannot be made")]
    Impossible {
        host: String,
        #[source]
        source: ureq::Error,
    },
}

impl From<Lost> for crate::Error {
    fn from(lost: Lost) -> Self {
        Self::new(crate::ErrorKind::Io, lost)
    }
}

impl Lost {
    /// Whether the same request may well succeed a little later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Connection { .. })
    }
}

/// A body that is sent as it is read.
pub(crate) struct Stream<'a> {
    pub(crate) reader: &'a mut dyn Read,
    /// In bytes; without it the body is sent in chunks.
    pub(crate) len: Option<u64>,
}

/// Where requests go.
pub(crate) trait Exchange {
    /// Sends a request, and `stream` as its body where there is one. Every status is an answer.
    ///
    /// # Errors
    /// [`Lost`] where no answer came.
    fn send(&self, request: &Request, stream: Option<Stream<'_>>) -> Result<Answer, Lost>;

    /// Whether nothing is really sent.
    fn is_dry_run(&self) -> bool {
        false
    }

    /// Waits before the next try.
    fn pause(&self, duration: std::time::Duration) {
        std::thread::sleep(duration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, headers: Vec::new(), body: body.as_bytes().to_vec() }
    }

    #[test]
    fn messages_are_one_line_whatever_the_server_speaks() {
        let html = "<html>\n <head>\n  <title>415 Unsupported Media Type</title>\n </head>\n <body>\n  \
                    <h1>415 Unsupported Media Type</h1>\n  Image &quot;a&quot; is <b>bad</b><br /><br />\n\n\n </body>\n</html>";
        assert_eq!(answer(415, html).message(), "HTTP 415: Unsupported Media Type Image \"a\" is bad");
        let json = r#"{"error":{"code":401,"message":"The request you have made requires authentication."}}"#;
        assert_eq!(
            answer(401, json).message(),
            "HTTP 401: The request you have made requires authentication."
        );
        assert_eq!(answer(502, "").message(), "HTTP 502");
        assert_eq!(answer(500, "\x1b[31mred").message(), "HTTP 500: [31mred");
        assert!(answer(500, &"x".repeat(100_000)).message().len() < 500);
    }
}
