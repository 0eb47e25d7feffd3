//! TLS: a stream that others cannot read, whoever makes it so.
//!
//! ```text
//!              one thread reads         TLS session         another one writes
//! socket ─► received ─► take_in ─►  ┌──────────────┐ ◄─ encrypt ◄──────────── bytes
//! bytes  ◄────────── decrypted ◄──  │ behind a lock│ ─► to_send ─► unsent ─► socket
//!                                   └──────────────┘
//! ```
//!
//! A [`TlsSession`] does no I/O: it is TLS without a socket, and which library that is, and whom it trusts, is the caller's
//! affair. Its lock is held for a computation and never while the socket is waited for, so that one thread may wait for
//! bytes while another one sends some. A call reads or writes the socket once: what needs more of it ends with
//! `Interrupted`, so that whoever waits looks at the clock ([`TimeoutStream`]) and goes on.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::socket::{Socket, TimeoutStream};
use super::violation::NotConnected;
use crate::error::Result;

/// The most bytes that are read from the socket, or encrypted, at a time: four of TLS's records.
const CHUNK: usize = 64 << 10;

/// Whom a connection is encrypted for, and with what.
pub trait TlsCredentials: fmt::Debug + Send + Sync {
    /// This side of a new connection.
    ///
    /// # Errors
    /// What the credentials are not good for.
    fn begin(&self) -> io::Result<Box<dyn TlsSession>>;
}

/// One side of an encrypted connection: bytes in, bytes out, no I/O.
pub trait TlsSession: Send {
    /// Whether both sides have not agreed yet: until then nothing is encrypted or decrypted.
    fn is_negotiating(&self) -> bool;

    /// Takes some of what came from the other side, and says how many bytes. Called when there is nothing decrypted left.
    ///
    /// # Errors
    /// What the other side is not trusted for, or does wrong. The connection is of no use afterwards.
    fn take_in(&mut self, received: &[u8]) -> io::Result<usize>;

    /// Moves what was decrypted into `buf`, and says how many bytes; `Some(0)` when the other side ended, `None` until more
    /// is taken in.
    ///
    /// # Errors
    /// The connection is of no use.
    fn decrypted(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>>;

    /// Encrypts some of `bytes`, and says how many.
    ///
    /// # Errors
    /// The connection is of no use.
    fn encrypt(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Moves what is to be sent behind what is in `unsent`.
    ///
    /// # Errors
    /// The connection is of no use.
    fn to_send(&mut self, unsent: &mut Vec<u8>) -> io::Result<()>;
}

/// A connected socket, as it is or encrypted.
pub(super) struct Channel {
    socket: Socket,
    encrypted: Option<Encrypted>,
}

struct Encrypted {
    session: Arc<Mutex<Box<dyn TlsSession>>>,
    received: Received,
    unsent: Vec<u8>,
}

/// What came from the socket and is still to be taken in.
struct Received {
    bytes: Vec<u8>,
    rest: std::ops::Range<usize>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encrypted = self.encrypted.is_some();
        f.debug_struct("Channel")
            .field("socket", &self.socket)
            .field("encrypted", &encrypted)
            .finish_non_exhaustive()
    }
}

impl Channel {
    /// The socket as it is.
    pub(super) fn plain(socket: Socket) -> Self {
        Self { socket, encrypted: None }
    }

    /// From here on encrypted, as both sides agree on within `timeout`.
    pub(super) fn encrypt(self, credentials: &dyn TlsCredentials, timeout: Duration) -> Result<Self> {
        let Self { mut socket, .. } = self;
        let mut session = credentials.begin().map_err(NotConnected::NotEncrypted)?;
        let received = agree(&mut *session, TimeoutStream::new(&mut socket, timeout))
            .map_err(|error| TimeoutStream::<Socket>::failed(timeout, error))?;
        let session = Arc::new(Mutex::new(session));
        Ok(Self { socket, encrypted: Some(Encrypted { session, received, unsent: Vec::new() }) })
    }

    /// One to read and one to write, and the socket to end both. Nothing must be unsent.
    pub(super) fn split(self) -> io::Result<(Self, Self, Socket)> {
        let (other, socket) = (self.socket.try_clone()?, self.socket.try_clone()?);
        let encrypted = self.encrypted.as_ref().map(|encrypted| Encrypted {
            session: Arc::clone(&encrypted.session),
            received: Received::nothing(),
            unsent: Vec::new(),
        });
        Ok((self, Self { socket: other, encrypted }, socket))
    }

    /// Reads and writes end after `timeout`.
    pub(super) fn prepare(&self, timeout: Duration) -> io::Result<()> {
        self.socket.prepare(timeout)
    }
}

/// Negotiates; returns what came behind it.
fn agree<T: Read + Write>(session: &mut dyn TlsSession, mut stream: T) -> io::Result<Received> {
    let (mut received, mut unsent) = (Received::nothing(), Vec::new());
    loop {
        session.to_send(&mut unsent)?;
        stream.write_all(&unsent)?;
        unsent.clear();
        if !session.is_negotiating() {
            return Ok(received);
        }
        if received.rest.is_empty() && received.read_from(&mut stream)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Err(error) = received.give_to(session) {
            // The other side may be told why, and need not hear it.
            let _ = session.to_send(&mut unsent).and_then(|()| stream.write_all(&unsent));
            return Err(error);
        }
    }
}

impl Received {
    fn nothing() -> Self {
        Self { bytes: Vec::new(), rest: 0..0 }
    }

    /// Reads from `stream`, once, where nothing is left.
    fn read_from(&mut self, mut stream: impl Read) -> io::Result<usize> {
        self.bytes.resize(CHUNK, 0);
        let len = stream.read(&mut self.bytes)?;
        self.rest = 0..len;
        Ok(len)
    }

    fn give_to(&mut self, session: &mut dyn TlsSession) -> io::Result<()> {
        match session.take_in(&self.bytes[self.rest.clone()])? {
            0 => Err(io::Error::new(io::ErrorKind::InvalidData, "nothing can be taken in")),
            taken => {
                self.rest.start += taken;
                Ok(())
            }
        }
    }
}

/// A thread that panics while it holds the lock ends the connection by that: what comes next cannot be decrypted.
fn locked(session: &Mutex<Box<dyn TlsSession>>) -> MutexGuard<'_, Box<dyn TlsSession>> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Encrypted {
    /// What can be had without the socket.
    fn decrypt(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let mut session = locked(&self.session);
        loop {
            if let Some(len) = session.decrypted(buf)? {
                return Ok(Some(len));
            }
            if self.received.rest.is_empty() {
                return Ok(None);
            }
            self.received.give_to(&mut **session)?;
        }
    }

    /// Encrypts some of `bufs`, and says how many bytes.
    fn encrypt(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = locked(&self.session);
        let mut all = 0;
        for buf in bufs {
            let len = buf.len().min(CHUNK - all);
            let taken = session.encrypt(&buf[..len])?;
            all += taken;
            if taken < buf.len() {
                break;
            }
        }
        session.to_send(&mut self.unsent)?;
        Ok(all)
    }

    /// Writes what is encrypted, once; whether that was all.
    fn send(&mut self, socket: &mut Socket) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            let written = socket.write(&self.unsent)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.unsent.drain(..written);
        }
        Ok(self.unsent.is_empty())
    }
}

impl Read for Channel {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(encrypted) = &mut self.encrypted else { return self.socket.read(buf) };
        if buf.is_empty() {
            return Ok(0);
        }
        if let Some(len) = encrypted.decrypt(buf)? {
            return Ok(len);
        }
        if encrypted.received.read_from(&mut self.socket)? == 0 {
            return Ok(0);
        }
        encrypted.decrypt(buf)?.ok_or_else(|| io::ErrorKind::Interrupted.into())
    }
}

impl Write for Channel {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(encrypted) = &mut self.encrypted else { return self.socket.write_vectored(bufs) };
        if !encrypted.send(&mut self.socket)? {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = encrypted.encrypt(bufs)?;
        encrypted.send(&mut self.socket)?;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(encrypted) = &mut self.encrypted else { return Ok(()) };
        match encrypted.send(&mut self.socket)? {
            true => Ok(()),
            false => Err(io::ErrorKind::Interrupted.into()),
        }
    }
}

#[cfg(test)]
mod tests;
