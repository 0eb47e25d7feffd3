//! A connection with what was read of it and not yet used: a bounded buffer, heads and bodies taken out of it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use rustix::net::{RecvFlags, recv};

use super::message::{Body, Malformed};

/// The longest head, and what is read at once, in bytes.
pub(super) const BUFFER: usize = 64 << 10;
/// The longest line that begins a chunk.
const CHUNK_LINE: usize = 4 << 10;
/// The most trailers of one body.
const MOST_TRAILERS: usize = 32;

/// What ends an exchange early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The connection that was read from.
    #[error("{0}")]
    Source(io::Error),
    /// The connection that was written to.
    #[error("{0}")]
    Sink(io::Error),
    /// What was read breaks a rule.
    #[error("{0}")]
    Rule(#[from] Malformed),
}

/// One side of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: vec![0; BUFFER].into(), start: 0, end: 0 }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// What was read and not used.
    pub(super) fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn consume(&mut self, length: usize) {
        self.start = self.start.saturating_add(length).min(self.end);
    }

    /// Reads more; 0 at the end.
    fn fill(&mut self) -> Result<usize, Broken> {
        self.fill_with(|stream, space| {
            loop {
                match (&mut &*stream).read(space) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    other => return other,
                }
            }
        })
    }

    /// Reads what is there already; `None` if there is nothing.
    fn fill_now(&mut self) -> Result<Option<usize>, Broken> {
        let now = |stream: &TcpStream, space: &mut [u8]| {
            recv(stream, space, RecvFlags::DONTWAIT).map(|(_, length)| length).map_err(io::Error::from)
        };
        match self.fill_with(now) {
            Ok(length) => Ok(Some(length)),
            Err(Broken::Source(error)) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn fill_with(
        &mut self,
        read: impl FnOnce(&TcpStream, &mut [u8]) -> io::Result<usize>,
    ) -> Result<usize, Broken> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end.saturating_sub(self.start));
        let space = self.buffer.get_mut(self.end..).unwrap_or_default();
        if space.is_empty() {
            return Err(Malformed("a head of more than 64 KiB").into());
        }
        let length = read(&self.stream, space).map_err(Broken::Source)?;
        self.end = self.end.saturating_add(length);
        Ok(length)
    }

    /// Takes what `parse` finds at the beginning, when it is whole; `None` if the connection ends before its first byte.
    pub(super) fn take<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, Malformed>,
    ) -> Result<Option<T>, Broken> {
        loop {
            if let Some((found, length)) = parse(self.pending())? {
                self.consume(length);
                return Ok(Some(found));
            }
            if self.fill()? == 0 {
                return match self.pending().is_empty() {
                    true => Ok(None),
                    false => Err(Broken::Source(ErrorKind::UnexpectedEof.into())),
                };
            }
        }
    }

    /// As [`Wire::take`], of what is there without waiting. Whether the connection has ended comes with it.
    pub(super) fn take_now<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, Malformed>,
    ) -> Result<(Option<T>, bool), Broken> {
        loop {
            if let Some((found, length)) = parse(self.pending())? {
                self.consume(length);
                return Ok((Some(found), false));
            }
            match self.fill_now()? {
                None => return Ok((None, false)),
                Some(0) => return Ok((None, true)),
                Some(_) => {}
            }
        }
    }

    /// Hands a message's body on, as it is.
    pub(super) fn relay(&mut self, body: Body, to: &TcpStream) -> Result<(), Broken> {
        match body {
            Body::Length(length) => self.relay_bytes(length, to),
            Body::Chunked => self.relay_chunks(to),
            Body::Close => loop {
                write(to, self.pending())?;
                self.consume(BUFFER);
                if self.fill()? == 0 {
                    return Ok(());
                }
            },
        }
    }

    fn relay_bytes(&mut self, mut left: u64, to: &TcpStream) -> Result<(), Broken> {
        while left > 0 {
            if self.pending().is_empty() && self.fill()? == 0 {
                return Err(Broken::Source(ErrorKind::UnexpectedEof.into()));
            }
            let ready = self.pending();
            let part = usize::try_from(left).map_or(ready.len(), |left| left.min(ready.len()));
            write(to, ready.get(..part).unwrap_or_default())?;
            self.consume(part);
            left = left.saturating_sub(part as u64);
        }
        Ok(())
    }

    fn relay_chunks(&mut self, to: &TcpStream) -> Result<(), Broken> {
        loop {
            let (size, line) = self.expect(chunk_line)?;
            write(to, &line)?;
            if size == 0 {
                let trailers = self.expect(trailers)?;
                return write(to, &trailers);
            }
            self.relay_bytes(size, to)?;
            self.expect(|bytes| match bytes {
                [b'\r', b'\n', ..] => Ok(Some(((), 2))),
                [] | [b'\r'] => Ok(None),
                _ => Err(Malformed("a chunk that is longer than it says")),
            })?;
            write(to, b"\r\n")?;
        }
    }

    /// As [`Wire::take`]; the end of the connection is an error.
    fn expect<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, Malformed>,
    ) -> Result<T, Broken> {
        self.take(parse)?.ok_or_else(|| Broken::Source(ErrorKind::UnexpectedEof.into()))
    }
}

pub(super) fn write(mut to: &TcpStream, bytes: &[u8]) -> Result<(), Broken> {
    to.write_all(bytes).map_err(Broken::Sink)
}

/// What a parser found, and how many bytes it takes; nothing if there are too few.
pub(crate) type Found<T> = Result<Option<(T, usize)>, Malformed>;

/// The line before a chunk: its size, and the line itself.
fn chunk_line(bytes: &[u8]) -> Found<(u64, Vec<u8>)> {
    let wrong = Malformed("a chunk without a size");
    match httparse::parse_chunk_size(bytes) {
        Ok(httparse::Status::Complete((length, size))) => {
            Ok(Some(((size, bytes.get(..length).unwrap_or_default().to_vec()), length)))
        }
        Ok(httparse::Status::Partial) if bytes.len() < CHUNK_LINE => Ok(None),
        _ => Err(wrong),
    }
}

/// What stands behind the last chunk, to the empty line.
fn trailers(bytes: &[u8]) -> Found<Vec<u8>> {
    let mut space = [httparse::EMPTY_HEADER; MOST_TRAILERS];
    match httparse::parse_headers(bytes, &mut space) {
        Ok(httparse::Status::Complete((length, _))) => {
            Ok(Some((bytes.get(..length).unwrap_or_default().to_vec(), length)))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(Malformed("trailers that are none")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What comes out behind a relay of `body`, and what stays in the buffer.
    fn relayed(body: Body, sent: &[u8]) -> (Result<(), Broken>, Vec<u8>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (source, from) = (connect(), listener.accept().unwrap().0);
        let (sink, mut out) = (connect(), listener.accept().unwrap().0);
        let sent = sent.to_vec();
        let sender = thread::spawn(move || {
            // In small pieces: whatever can be cut, is.
            for piece in sent.chunks(3) {
                (&source).write_all(piece).unwrap();
            }
        });
        let mut wire = Wire::new(from);
        let result = wire.relay(body, &sink);
        drop(sink);
        let mut got = Vec::new();
        out.read_to_end(&mut got).unwrap();
        sender.join().unwrap();
        let rest = wire.pending().to_vec();
        (result, got, rest)
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        let (result, got, _) = relayed(Body::Length(5), b"helloHTTP/1.1 200");
        result.unwrap();
        assert_eq!(got, b"hello");
        let chunks = b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: 1\r\n\r\n";
        let (result, got, _) = relayed(Body::Chunked, &[chunks.as_slice(), b"HTTP/1.1"].concat());
        result.unwrap();
        assert_eq!(got, chunks);
        let (result, got, rest) = relayed(Body::Close, b"whatever");
        result.unwrap();
        assert_eq!((got.as_slice(), rest.as_slice()), (b"whatever".as_slice(), b"".as_slice()));
    }

    #[test]
    fn a_body_that_is_cut_off_is_not_taken_for_a_whole_one() {
        for (body, sent) in [
            (Body::Length(6), b"hello".as_slice()),
            (Body::Chunked, b"5\r\nhell"),
            (Body::Chunked, b"5\r\nhello\r\n"),
            (Body::Chunked, b"5\r\nhello\r\n0\r\n"),
            (Body::Chunked, b"5\r\nhelloo\r\n0\r\n\r\n"),
            (Body::Chunked, b"5\r\nhello0\r\n\r\n"),
            (Body::Chunked, b"x\r\n"),
            (Body::Chunked, b"fffffffffffffffff\r\n"),
        ] {
            assert!(relayed(body, sent).0.is_err(), "{body:?} {sent:?}");
        }
        let long = [b"5;".as_slice(), &[b'x'; CHUNK_LINE]].concat();
        assert!(matches!(relayed(Body::Chunked, &long).0, Err(Broken::Rule(_))));
    }

    #[test]
    fn a_head_without_an_end_is_refused_when_the_buffer_is_full() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let source = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut wire = Wire::new(listener.accept().unwrap().0);
        let sender = thread::spawn(move || {
            let _ = (&source).write_all(&[b'a'; 2 * BUFFER]);
        });
        let error = wire.take(|_| Ok(None::<((), usize)>)).unwrap_err();
        assert!(matches!(error, Broken::Rule(_)), "{error:?}");
        drop(wire);
        sender.join().unwrap();
    }
}
