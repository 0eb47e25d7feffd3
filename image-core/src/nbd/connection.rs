//! The connection to an export: made, and made anew where it breaks and the caller wants that.
//!
//! ```text
//! socket ─► greeting ─► (STARTTLS, TLS) ─► what is agreed ─► session
//! ```
//!
//! A request whose connection broke is done again over the next one: reading, writing and zeroing come to the same when
//! they are done twice. What the server said of the export must be what it said before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::address::Address;
use super::handshake::{ExportInfo, ExportRequest, greet, negotiate, start_tls};
use super::session::Session;
use super::socket::Socket;
use super::tls::{Channel, TlsCredentials};
use super::violation::{NotConnected, Refusal};
use super::wire::{ALLOCATION, ALLOCATION_DEPTH};
use crate::error::{Doing, Error, Result};

/// How long is waited before connecting is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a server may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To accept a connection, and for each step of the negotiation.
    pub connect: Duration,
    /// To begin a reply while one is due, and to complete each part of one.
    pub reply: Duration,
}

/// A flush of a slow disk takes its time.
impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(20), reply: Duration::from_secs(120) }
    }
}

/// How an export is connected to.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// How long its server may take.
    pub timeouts: Timeouts,
    /// What the connection is encrypted with. A server that does not is refused then.
    pub credentials: Option<Arc<dyn TlsCredentials>>,
    /// What block status is to tell of, by the name of its context, in place of holes and zeroes. A server that does not
    /// know it is refused.
    pub context: Option<String>,
    /// How long connecting is tried again where there is no server.
    pub open_for: Duration,
    /// How long connecting is tried again where a request has no connection any more.
    pub reconnect_for: Duration,
}

/// An export, connected.
#[derive(Debug)]
pub(super) struct Connection {
    address: Address,
    options: ExportOptions,
    export_info: ExportInfo,
    session: Mutex<Arc<Session>>,
}

impl Connection {
    pub(super) fn open(address: &Address, options: &ExportOptions) -> Result<Self> {
        let until = Instant::now() + options.open_for;
        let session = again_until(until, || connect(address, options))?;
        Ok(Self {
            address: address.clone(),
            options: options.clone(),
            export_info: *session.export_info(),
            session: Mutex::new(Arc::new(session)),
        })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn export_info(&self) -> &ExportInfo {
        &self.export_info
    }

    /// Whether block status tells of what the caller named.
    pub(super) fn has_own_context(&self) -> bool {
        self.options.context.is_some()
    }

    /// Whether it tells how deep in a chain something is allocated.
    pub(super) fn is_about_depth(&self) -> bool {
        self.options.context.as_deref() == Some(ALLOCATION_DEPTH)
    }

    /// Does `work`; over a new connection once more where there is none any more.
    pub(super) fn with_session<T>(&self, mut work: impl FnMut(&Session) -> Result<T>) -> Result<T> {
        let mut until = None;
        loop {
            let session = Arc::clone(&self.current());
            match work(&session) {
                Err(error) if is_lost(&error) && !self.options.reconnect_for.is_zero() => {
                    let until = *until.get_or_insert_with(|| Instant::now() + self.options.reconnect_for);
                    self.reconnect(&session, until, error)?;
                }
                done => return done,
            }
        }
    }

    /// A thread that panics while it holds the lock leaves a session in it, as it was or new.
    fn current(&self) -> std::sync::MutexGuard<'_, Arc<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects in place of `old`, unless another thread did so; `why` it broke is the error where that fails.
    fn reconnect(&self, old: &Arc<Session>, until: Instant, why: Error) -> Result<()> {
        let mut current = self.current();
        if !Arc::ptr_eq(&current, old) {
            return if Instant::now() < until { Ok(()) } else { Err(why) };
        }
        if Instant::now() >= until {
            return Err(why);
        }
        let session = match again_until(until, || connect(&self.address, &self.options)) {
            Err(error) if is_lost(&error) => return Err(why),
            session => session?,
        };
        if (ExportInfo { context: self.export_info.context, ..*session.export_info() }) != self.export_info {
            return Err(Refusal::Changed.into());
        }
        *current = Arc::new(session);
        Ok(())
    }
}

/// Does `work` again, with pauses, while there is no connection; at least once.
fn again_until<T>(until: Instant, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match work() {
            Err(error) if is_lost(&error) && Instant::now() + PAUSE < until => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
}

/// Whether there is no connection, which another one may be.
fn is_lost(error: &Error) -> bool {
    error.cause().is_some_and(|cause| !matches!(cause, NotConnected::NotEncrypted(_)))
}

fn connect(address: &Address, options: &ExportOptions) -> Result<Session> {
    let timeouts = options.timeouts;
    let mut socket = Socket::connect(&address.server, timeouts.connect)?;
    socket.prepare(timeouts.connect)?;
    let negotiated = || -> Result<(Channel, ExportInfo)> {
        let greeting = greet(&mut socket, timeouts.connect)?;
        let mut channel = match options.credentials.as_deref() {
            None => Channel::plain(socket),
            Some(credentials) => {
                start_tls(&mut socket, greeting, timeouts.connect)?;
                Channel::plain(socket).encrypt(credentials, timeouts.connect)?
            }
        };
        let context = options.context.as_deref().unwrap_or(ALLOCATION);
        let request = ExportRequest { export: &address.export, context };
        let export_info = negotiate(&mut channel, greeting, request, timeouts.connect)?;
        if options.context.is_some() && export_info.context.is_none() {
            return Err(Refusal::NoContext { name: context.to_owned() }.into());
        }
        Ok((channel, export_info))
    };
    let (channel, export_info) = negotiated().doing(|| "negotiating with the server")?;
    channel.prepare(timeouts.reply)?;
    Session::new(channel, export_info, timeouts.reply)
}
