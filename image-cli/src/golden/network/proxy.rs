//! The proxy of a build's steps: HTTP/1.1 and tunnels, from a namespace without any other way out.
//!
//! ```text
//! the step's namespace │ the machine's
//! apt, curl ─► listener ─► acceptor ─► a thread for each client ─► rules ─► dial ─► archive, another proxy, the world
//! ```
//!
//! A socket belongs to the namespace it was made in, whichever thread uses it: the listener is made inside, all
//! connections outside. Clients and servers are both untrusted: heads, buffers, queues and the number of clients are
//! bounded, and a peer that is silent is left. Of the libraries, none is a forward proxy that is synchronous; heads are
//! parsed by httparse.

mod dial;
mod exchange;
mod message;
mod tunnel;
mod wire;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::address::Address;
use super::upstream::Proxy as UpstreamProxy;
use crate::error::Context;
pub(super) use dial::Rules;
use exchange::Exchange;

/// The most clients at once; others wait until one is served. apt has one connection to each archive.
const MOST_CLIENTS: usize = 64;
/// What a client's thread needs, with what the system's resolver takes.
const STACK: usize = 512 << 10;
/// When a client cannot be accepted for want of something that others will give back.
const PAUSE: Duration = Duration::from_millis(50);

/// A proxy at work; dropped: its connections end.
#[derive(Debug)]
pub(super) struct Proxy {
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the threads of a proxy have in common.
#[derive(Debug)]
struct Shared {
    rules: Rules,
    live: Mutex<Live>,
    /// Fewer clients than before, or the end.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Live {
    stopped: bool,
    clients: usize,
    /// Every open connection, to end those that wait for something.
    streams: HashMap<u64, TcpStream>,
    next: u64,
}

impl Live {
    /// Whether another client has to wait.
    fn is_full(&self) -> bool {
        !self.stopped && self.clients >= MOST_CLIENTS
    }
}

impl Proxy {
    /// Serves the clients of `listener`.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn start(listener: TcpListener, rules: Rules) -> crate::Result<Self> {
        let shared = Arc::new(Shared { rules, live: Mutex::default(), changed: Condvar::new() });
        let listener = Arc::new(listener);
        let (own, door) = (Arc::clone(&shared), Arc::clone(&listener));
        let acceptor = Builder::new()
            .name("proxy".into())
            .spawn(move || own.accept(&door))
            .context("starting a thread for the network of the steps")?;
        Ok(Self { shared, listener, acceptor: Some(acceptor) })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop();
        // Wakes the acceptor (accept(2): EINVAL).
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the end.
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        while self.wait_for_room() {
            match listener.accept() {
                Ok((client, _)) => self.welcome(client),
                Err(error)
                    if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                // Too many open files, or the end.
                Err(_) => {
                    let waiting = self.live();
                    let _ = self.changed.wait_timeout_while(waiting, PAUSE, |live| !live.stopped);
                }
            }
        }
    }

    /// Whether there is to be another client, when there is room for one.
    fn wait_for_room(&self) -> bool {
        let full = self.changed.wait_while(self.live(), |live| live.is_full());
        let live = full.unwrap_or_else(PoisonError::into_inner);
        !live.stopped
    }

    fn welcome(self: &Arc<Self>, client: TcpStream) {
        let Some(ticket) = self.enter(&client) else { return };
        if dial::prepare(&client).is_err() {
            return;
        }
        {
            let mut live = self.live();
            live.clients = live.clients.saturating_add(1);
        }
        let guest = Guest(Arc::clone(self));
        // A client without a thread is dropped, and takes its place in the count with it.
        let _ = Builder::new().name("proxy client".into()).stack_size(STACK).spawn(move || {
            let _ticket = ticket;
            Exchange::new(client, &guest.0).serve();
        });
    }

    /// Remembers a connection until the ticket is given back; `None` at the end of all.
    fn enter(self: &Arc<Self>, stream: &TcpStream) -> Option<Ticket> {
        let stream = stream.try_clone().ok()?;
        let mut live = self.live();
        if live.stopped {
            return None;
        }
        live.next = live.next.wrapping_add(1);
        let number = live.next;
        live.streams.insert(number, stream);
        Some(Ticket { shared: Arc::clone(self), number })
    }

    fn stop(&self) {
        let mut live = self.live();
        live.stopped = true;
        for stream in live.streams.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
    }
}

/// A connection that is remembered.
#[derive(Debug)]
struct Ticket {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.live().streams.remove(&self.number);
    }
}

/// One of the clients that are counted.
struct Guest(Arc<Shared>);

impl Drop for Guest {
    fn drop(&mut self) {
        let mut live = self.0.live();
        live.clients = live.clients.saturating_sub(1);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
