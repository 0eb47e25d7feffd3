//! Requests and replies: many threads over one connection, without a thread of its own.
//!
//! ```text
//! thread A   request 7 ─►                reads a head: 7 ─► payload into A's buffer ─► turn free
//! thread B   request 8 ─►  waits ───────────────────────────────────────► reads a head: 9 ─► turn for 9, waits …
//! thread C   request 9 ─►  waits ──────────────────────────────────────────────────────────► payload into C's buffer
//! ```
//!
//! One thread at a time reads, whose turn it is. It reads a head; if that is of another thread's request, it hands the
//! turn with the head to that thread. So bytes go from the socket into the buffer that they are for, in whatever order
//! the server replies. Nobody reads while nobody waits, and whoever sent a request waits: the server can always get rid
//! of its replies. The first thing that goes wrong ends the connection for all.

use std::collections::BTreeMap;
use std::io::{BufReader, IoSlice, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zerocopy::IntoBytes;

use super::handshake::ExportInfo;
use super::reply::{self, Content, HEADER_LEN, Received, ReplyHeader};
use super::socket::{Socket, TimeoutStream};
use super::tls::Channel;
use super::violation::{NotConnected, ServerError, Violation};
use super::wire::{CMD_BLOCK_STATUS, CMD_DISC, CMD_READ, Hole, REQUEST, Request};
use crate::block::ByteRange;
use crate::error::{Error, Result};

/// The most failures in one reply.
const MAX_FAILURES: usize = 16;
/// Heads and small payloads are read ahead as far as this; larger ones go straight to where they belong.
const READ_AHEAD: usize = 4096;

/// A connection on which an export was agreed.
#[derive(Debug)]
pub(super) struct Session {
    export_info: ExportInfo,
    timeout: Duration,
    /// To end it.
    socket: Socket,
    outgoing: Mutex<TimeoutStream<Channel>>,
    /// Of the thread whose turn it is.
    incoming: Mutex<BufReader<TimeoutStream<Channel>>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next_cookie: u64,
    turn: Turn,
    /// Who waits for a reply, by the request's cookie.
    waiting: BTreeMap<u64, Waiter>,
    /// Why there is no connection any more.
    broken: Option<String>,
}

/// A thread with a request.
#[derive(Debug, Default)]
struct Waiter {
    condition: Arc<Condvar>,
    /// Whether it sleeps. One that still sends must not be the only one that is woken: the server may take nothing more
    /// until somebody reads.
    asleep: bool,
}

/// Whose turn it is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Free,
    Taken,
    /// The request's thread, for which this was read.
    Handed(u64, ReplyHeader),
}

/// What is made of a reply.
enum Purpose<'a> {
    Nothing,
    Bytes { buf: &'a mut [u8], received: Received },
    Status { asked: ByteRange, told: Vec<(ByteRange, u32)> },
}

/// A request without its cookie.
struct Ask<'a> {
    command: u16,
    flags: u16,
    offset: u64,
    len: u32,
    payload: &'a [u8],
}

impl Session {
    /// Over `channel`, on which `export_info` was agreed; a reply has to begin and to end within `timeout`.
    pub(super) fn new(channel: Channel, export_info: ExportInfo, timeout: Duration) -> Result<Self> {
        let (incoming, outgoing, socket) = channel.split()?;
        Ok(Self {
            export_info,
            timeout,
            outgoing: Mutex::new(TimeoutStream::new(outgoing, timeout)),
            incoming: Mutex::new(BufReader::with_capacity(READ_AHEAD, TimeoutStream::new(incoming, timeout))),
            socket,
            state: Mutex::new(State {
                next_cookie: 1,
                turn: Turn::Free,
                waiting: BTreeMap::new(),
                broken: None,
            }),
        })
    }

    pub(super) fn export_info(&self) -> &ExportInfo {
        &self.export_info
    }

    /// Fills `buf` from `offset` on. No more than the largest payload.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let range = ByteRange::new(offset, buf.len() as u64)?;
        let ask = Ask { command: CMD_READ, flags: 0, offset, len: buf.len() as u32, payload: &[] };
        let mut purpose = Purpose::Bytes { buf, received: Received::nothing_of(range) };
        self.transact(&ask, &mut purpose)
    }

    /// Has the server do `command` with a range, and with the bytes of `payload`.
    pub(super) fn command(&self, command: u16, flags: u16, range: ByteRange, payload: &[u8]) -> Result<()> {
        let ask = Ask { command, flags, offset: range.offset(), len: range.len() as u32, payload };
        self.transact(&ask, &mut Purpose::Nothing)
    }

    /// What the start of `asked` is, flags and all; at least of one byte.
    pub(super) fn status(&self, asked: ByteRange) -> Result<Vec<(ByteRange, u32)>> {
        let (offset, len) = (asked.offset(), asked.len() as u32);
        let ask = Ask { command: CMD_BLOCK_STATUS, flags: 0, offset, len, payload: &[] };
        let mut purpose = Purpose::Status { asked, told: Vec::new() };
        self.transact(&ask, &mut purpose)?;
        match purpose {
            Purpose::Status { told, .. } => Ok(told),
            _ => Ok(Vec::new()),
        }
    }

    fn transact(&self, ask: &Ask<'_>, purpose: &mut Purpose<'_>) -> Result<()> {
        let cookie = self.enlist()?;
        let replied = self.send(cookie, ask).and_then(|()| self.receive(cookie, purpose));
        match replied {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error.into()),
            Err(error) => {
                // What another thread met first is why this one has no connection.
                Err(self.end(&error).map_or(error, |why| NotConnected::Before { why }.into()))
            }
        }
    }

    /// A thread that panics while it holds a lock here leaves nothing half done: each section is a few assignments.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new request's cookie.
    fn enlist(&self) -> Result<u64> {
        let mut state = self.state();
        if let Some(why) = &state.broken {
            return Err(NotConnected::Before { why: why.clone() }.into());
        }
        let cookie = state.next_cookie;
        state.next_cookie = cookie.wrapping_add(1);
        state.waiting.insert(cookie, Waiter::default());
        Ok(cookie)
    }

    /// No more requests, and no more waiting. Returns why, if that was so already.
    fn end(&self, why: &Error) -> Option<String> {
        let mut state = self.state();
        if let Some(before) = &state.broken {
            return Some(before.clone());
        }
        state.broken = Some(one_line(why));
        state.waiting.values().for_each(|waiter| waiter.condition.notify_all());
        self.socket.shut_down();
        None
    }

    fn send(&self, cookie: u64, ask: &Ask<'_>) -> Result<()> {
        let request = Request {
            magic: REQUEST.into(),
            flags: ask.flags.into(),
            command: ask.command.into(),
            cookie: cookie.into(),
            offset: ask.offset.into(),
            len: ask.len.into(),
        };
        let mut parts = [IoSlice::new(request.as_bytes()), IoSlice::new(ask.payload)];
        let mut parts = &mut parts[..];
        let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        outgoing.begin();
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match outgoing.write_vectored(parts) {
                Ok(0) => return Err(NotConnected::Closed.into()),
                Ok(written) => IoSlice::advance_slices(&mut parts, written),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        outgoing.flush().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: std::io::Error) -> Error {
        TimeoutStream::<Socket>::failed(self.timeout, error)
    }

    /// Reads the whole reply to a request, in turns with the others.
    fn receive(&self, cookie: u64, purpose: &mut Purpose<'_>) -> Result<Option<ServerError>> {
        let mut errors = Vec::new();
        let mut handed = self.wait_for_turn(cookie)?;
        loop {
            let header = match handed.take() {
                Some(header) => header,
                None => match self.next_header(cookie)? {
                    Some(header) => header,
                    None => {
                        handed = self.wait_for_turn(cookie)?;
                        continue;
                    }
                },
            };
            let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
            let mut reading = Reading { stream: &mut incoming, session: self };
            if reading.part(header, purpose, &mut errors)? {
                break;
            }
        }
        self.pass_on(cookie);
        if !errors.is_empty() {
            return Ok(Some(errors.swap_remove(0)));
        }
        purpose.check()?;
        Ok(None)
    }

    /// Returns when it is this thread's turn; with the head, if another thread read it.
    fn wait_for_turn(&self, cookie: u64) -> Result<Option<ReplyHeader>> {
        let mut state = self.state();
        loop {
            if let Some(why) = &state.broken {
                return Err(NotConnected::Before { why: why.clone() }.into());
            }
            let header = match state.turn {
                Turn::Free => Some(None),
                Turn::Handed(to, header) if to == cookie => Some(Some(header)),
                Turn::Taken | Turn::Handed(..) => None,
            };
            let waiter = state.waiting.entry(cookie).or_default();
            waiter.asleep = header.is_none();
            if let Some(header) = header {
                state.turn = Turn::Taken;
                return Ok(header);
            }
            let condition = Arc::clone(&waiter.condition);
            state = condition.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Reads a head; `None`, and the turn is handed over, if it is another's.
    fn next_header(&self, cookie: u64) -> Result<Option<ReplyHeader>> {
        let mut bytes = [0; HEADER_LEN];
        {
            let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
            incoming.get_mut().begin();
            incoming.read_exact(&mut bytes).map_err(|error| self.failed(error))?;
        }
        let (header, of) = ReplyHeader::from_bytes(bytes)?;
        if of == cookie {
            return Ok(Some(header));
        }
        let mut state = self.state();
        let Some(other) = state.waiting.get(&of) else {
            return Err(Violation::Cookie { cookie: of }.into());
        };
        other.condition.notify_one();
        state.turn = Turn::Handed(of, header);
        Ok(None)
    }

    /// The request is done; somebody else's turn begins.
    fn pass_on(&self, cookie: u64) {
        let mut state = self.state();
        state.waiting.remove(&cookie);
        state.turn = Turn::Free;
        if let Some(next) = state.waiting.values().find(|waiter| waiter.asleep) {
            next.condition.notify_one();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.state().broken.is_none() {
            // The server finds out anyway, if it does not hear this.
            let ask = Ask { command: CMD_DISC, flags: 0, offset: 0, len: 0, payload: &[] };
            let _ = self.send(0, &ask);
        }
        self.socket.shut_down();
    }
}

/// The stream in the hands of the thread whose turn it is.
struct Reading<'a> {
    stream: &'a mut BufReader<TimeoutStream<Channel>>,
    session: &'a Session,
}

impl Reading<'_> {
    fn exactly<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<()> {
        self.stream.read_exact(buf).map_err(|error| self.session.failed(error))
    }

    fn payload(&mut self, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads what follows a head. Returns whether the reply is complete.
    fn part(
        &mut self,
        header: ReplyHeader,
        purpose: &mut Purpose<'_>,
        errors: &mut Vec<ServerError>,
    ) -> Result<bool> {
        match header {
            ReplyHeader::Simple { error: 0 } => self.simple(purpose).map(|()| true),
            ReplyHeader::Simple { error } => {
                errors.push(ServerError::new(error, String::new()));
                Ok(true)
            }
            ReplyHeader::Chunk { .. } if !self.session.export_info.structured => {
                Err(Violation::NotAgreed.into())
            }
            ReplyHeader::Chunk { kind, done } => {
                let len = u32::from_be_bytes(self.exactly()?);
                let content = Content::of(kind, done, len)?;
                self.chunk(kind, content, purpose, errors)?;
                Ok(done)
            }
        }
    }

    fn simple(&mut self, purpose: &mut Purpose<'_>) -> Result<()> {
        match purpose {
            Purpose::Nothing => Ok(()),
            Purpose::Bytes { .. } | Purpose::Status { .. } if self.session.export_info.structured => {
                Err(Violation::NotInChunks.into())
            }
            Purpose::Bytes { buf, received } => {
                received.take_all()?;
                self.fill(buf)
            }
            Purpose::Status { .. } => Err(Violation::NoStatus.into()),
        }
    }

    fn chunk(
        &mut self,
        kind: u16,
        content: Content,
        purpose: &mut Purpose<'_>,
        errors: &mut Vec<ServerError>,
    ) -> Result<()> {
        match (content, purpose) {
            (Content::Nothing, _) => {}
            (Content::Error { len }, _) => {
                errors.push(reply::failure(kind, &self.payload(len)?)?);
                if errors.len() > MAX_FAILURES {
                    return Err(Violation::EndlessFailures { most: MAX_FAILURES }.into());
                }
            }
            (Content::Data { len }, Purpose::Bytes { buf, received }) => {
                let offset = u64::from_be_bytes(self.exactly()?);
                let place = received.take(offset, len)?;
                self.fill(&mut buf[place])?;
            }
            (Content::Hole, Purpose::Bytes { buf, received }) => {
                let (offset, len) = reply::hole(self.exactly::<{ size_of::<Hole>() }>()?);
                buf[received.take(offset, len)?].fill(0);
            }
            (Content::Status { len }, Purpose::Status { asked, told }) if told.is_empty() => {
                let payload = self.payload(len)?;
                let context = self.session.export_info.context.unwrap_or_default();
                *told = reply::status(&payload, context, *asked)?;
            }
            _ => return Err(Violation::ChunkKind { kind }.into()),
        }
        Ok(())
    }
}

impl Purpose<'_> {
    /// Whether the reply has all that it is for.
    fn check(&self) -> Result<(), Violation> {
        match self {
            Self::Nothing => Ok(()),
            Self::Bytes { received, .. } => received.check(),
            Self::Status { told, .. } if told.is_empty() => Err(Violation::NoStatus),
            Self::Status { .. } => Ok(()),
        }
    }
}

/// The error with its causes.
fn one_line(error: &Error) -> String {
    let mut text = error.to_string();
    let mut link = std::error::Error::source(error);
    while let Some(cause) = link {
        text.push_str(&format!(": {cause}"));
        link = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
