//! A transport that listens when it can no longer speak.
//!
//! Glance refuses a large body early (401, 409, 413 …): it answers and closes while the client still sends. The
//! client's write then fails, but the answer lies in its receive buffer. This transport, put around the finished
//! connection (inside TLS), reads it before the failure is reported.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport, time};

use super::exchange::Answer;

/// How long an answer is waited for after sending has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer to a refused body is a status and a sentence.
const LIMIT: usize = 64 * 1024;

/// What was received after the last failed write.
#[derive(Clone, Default)]
pub(crate) struct EarlyResponse(Arc<Mutex<Vec<u8>>>);

impl EarlyResponse {
    /// Forgets what an earlier request received.
    pub(crate) fn clear(&self) {
        self.put(Vec::new());
    }

    /// The answer in what was received, if it is one.
    pub(crate) fn answer(&self) -> Option<Answer> {
        parse(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, bytes: Vec<u8>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
    }
}

impl fmt::Debug for EarlyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EarlyResponse")
    }
}

impl<In: Transport> Connector<In> for EarlyResponse {
    type Out = Listening<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Listening<In>>, Error> {
        Ok(chained.map(|inner| Listening { inner, heard: self.clone() }))
    }
}

/// A connection that keeps what the peer said when sending fails.
#[derive(Debug)]
pub(crate) struct Listening<T> {
    inner: T,
    heard: EarlyResponse,
}

impl<T: Transport> Listening<T> {
    fn listen(&mut self, reason: NextTimeout) {
        let timeout = NextTimeout { after: time::Duration::Exact(PATIENCE), ..reason };
        while self.inner.buffers().input().len() < LIMIT && parse(self.inner.buffers().input()).is_none() {
            match self.inner.await_input(timeout) {
                Ok(true) => {}
                Ok(false) | Err(_) => break,
            }
        }
        self.heard.put(self.inner.buffers().input().to_vec());
    }
}

impl<T: Transport> Transport for Listening<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let sent = self.inner.transmit_output(amount, timeout);
        if matches!(sent, Err(Error::Io(_) | Error::Timeout(_))) {
            self.listen(timeout);
        }
        sent
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// A whole answer with a `Content-Length` (RFC 9112, section 6), or as much as came of one without.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_len) = response.parse(bytes).ok()? else { return None };
    let status = response.code.filter(|code| *code >= 200)?;
    let headers: Vec<(String, String)> = response
        .headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    let body = bytes.get(head_len..)?;
    let answer = Answer { status, headers, body: body.to_vec() };
    let announced = answer.header("content-length").and_then(|len| len.trim().parse::<usize>().ok());
    match announced {
        Some(len) if body.len() < len && bytes.len() < LIMIT => None,
        _ => Some(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_recognised_when_it_is_whole() {
        assert!(parse(b"HTTP/1.1 409 Conflict\r\nContent-Le").is_none());
        assert!(parse(b"HTTP/1.1 409 Conflict\r\nContent-Length: 5\r\n\r\nabc").is_none());
        let answer = parse(b"HTTP/1.1 409 Conflict\r\nContent-Length: 5\r\n\r\nabcde").unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (409, b"abcde".as_slice()));
        assert!(parse(b"HTTP/1.1 100 Continue\r\n\r\n").is_none());
        assert!(parse(b"\x16\x03\x01garbage").is_none());
    }
}
