//! One client's requests, answered in their order.
//!
//! ```text
//! client ─► queue, at most 10 ─► server     requests that change nothing are passed on before the earlier ones are
//!        ◄─ answers, in order ◄─            answered: apt pipelines, and so saves a round trip for every package
//! ```
//!
//! A server may close a connection after any answer; what it did not answer is asked again, if that changes nothing.
//! Everything is read and written by one thread, whose memory are two buffers and the queue.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use super::dial::{Dialled, Refusal};
use super::message::{Body, Malformed, Request, Response, Target};
use super::tunnel;
use super::wire::{Broken, Wire, write};
use super::{Address, Shared, Ticket, UpstreamProxy};

/// How many requests wait for their answers: as many as apt sends (Acquire::http::Pipeline-Depth).
const DEPTH: usize = 10;
/// The most interim answers to one request.
const MOST_INTERIM: usize = 8;
/// How long, and for how many bytes, a client is heard out that will not be answered any more.
const LINGER: Duration = Duration::from_secs(2);
const MOST_LEFT: usize = 1 << 20;

/// A client's connection.
pub(super) struct Exchange<'a> {
    shared: &'a Arc<Shared>,
    client: Wire,
    /// Read, and not answered.
    queue: VecDeque<Request>,
    /// Whether no other request will be read.
    last: bool,
    /// Why not, if that is to be said.
    problem: Option<String>,
    server: Option<Server>,
}

/// A connection to a server, or to another proxy.
struct Server {
    dialled: Dialled,
    way: (Address, Option<UpstreamProxy>),
    /// How many of the queue's first requests it was sent.
    sent: usize,
    answered: usize,
    /// How many it may be sent at once.
    depth: usize,
    _ticket: Ticket,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(client: TcpStream, shared: &'a Arc<Shared>) -> Self {
        let client = Wire::new(client);
        Self { shared, client, queue: VecDeque::new(), last: false, problem: None, server: None }
    }

    /// Until the client is gone.
    pub(super) fn serve(mut self) {
        let mut depth = DEPTH;
        while self.turn(&mut depth).is_continue() {}
    }

    /// Answers one request.
    fn turn(&mut self, depth: &mut usize) -> ControlFlow<()> {
        self.listen();
        let Some(first) = self.queue.front() else {
            if let Some(problem) = self.problem.take() {
                let (head, body) = Response::own(400, "Bad Request", &problem);
                let _ = write(self.client.stream(), &[head.encode(false), body].concat());
                self.hear_out();
            }
            return Break(());
        };
        if matches!(first.target, Target::Tunnel(_)) {
            return self.tunnel();
        }
        if !self.server.as_ref().is_some_and(|server| server.suits(first, self.shared)) {
            match self.dial(*depth) {
                Ok(server) => self.server = Some(server),
                Err(refusal) => return self.refuse(&refusal),
            }
        }
        if let Err(lost) = self.ask() {
            return self.lost(&lost, depth);
        }
        self.answer(depth)
    }

    /// Reads requests: one if there is none, and those that are there already.
    fn listen(&mut self) {
        // What stands behind a head may be its body, or anything in a tunnel.
        while !self.last && self.queue.len() < DEPTH && self.queue.back().is_none_or(Request::is_plain) {
            let taken = match self.queue.is_empty() {
                true => self.client.take(Request::parse).map(|taken| {
                    let ended = taken.is_none();
                    (taken, ended)
                }),
                false => self.client.take_now(Request::parse),
            };
            match taken {
                Ok((Some(request), _)) => {
                    self.last = !request.stays;
                    self.queue.push_back(request);
                }
                Ok((None, ended)) => {
                    self.last = ended;
                    return;
                }
                Err(error) => {
                    self.last = true;
                    self.problem = matches!(error, Broken::Rule(_)).then(|| error.to_string());
                }
            }
        }
    }

    /// Connects for the first request.
    fn dial(&mut self, depth: usize) -> Result<Server, Refusal> {
        self.server = None;
        let Some(first) = self.queue.front() else {
            return Err(Refusal { status: 500, reason: "nothing was asked".into(), text: String::new() });
        };
        let dialled = self.shared.rules.dial(&first.target)?;
        let ticket = self.shared.enter(dialled.wire.stream()).ok_or_else(Refusal::stopped)?;
        let way = self.shared.rules.way(&first.target);
        Ok(Server { dialled, way, sent: 0, answered: 0, depth, _ticket: ticket })
    }

    /// Passes requests on: one with a body by itself, others as many as may be.
    fn ask(&mut self) -> Result<(), Broken> {
        let Some(server) = &mut self.server else { return Ok(()) };
        if let Some(first) = self.queue.front_mut()
            && !first.is_plain()
        {
            write(server.dialled.wire.stream(), &first.encode(server.dialled.asked_as()))?;
            server.sent = 1;
            if first.waits {
                write(self.client.stream(), b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            match self.client.relay(first.body, server.dialled.wire.stream()) {
                Ok(()) => {}
                // It has answered already, it seems; what is left of the body is nobody's.
                Err(Broken::Sink(_)) => (first.stays, self.last) = (false, true),
                Err(error) => {
                    (first.stays, self.last) = (false, true);
                    return Err(error);
                }
            }
            return Ok(());
        }
        while server.sent < server.depth
            && let Some(next) = self.queue.get(server.sent)
            && next.is_plain()
            && self.shared.rules.way(&next.target) == server.way
        {
            let written = write(server.dialled.wire.stream(), &next.encode(server.dialled.asked_as()));
            match written {
                Ok(()) => server.sent = server.sent.saturating_add(1),
                // What it has answered until now is read first.
                Err(_) if server.sent > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Hands on the answer to the first request.
    fn answer(&mut self, depth: &mut usize) -> ControlFlow<()> {
        let (Some(server), Some(first)) = (&mut self.server, self.queue.front()) else { return Break(()) };
        let mut interims = 0..MOST_INTERIM;
        let response = loop {
            match server.dialled.wire.take(|bytes| Response::parse(bytes, &first.method)) {
                // Nobody asked for another protocol.
                Ok(Some(response)) if response.status == 101 => {
                    let problem = "the server answers something else than what it was asked";
                    let refusal = Refusal::failed(first.target.address(), problem);
                    self.server = None;
                    return self.refuse(&refusal);
                }
                Ok(Some(response)) if response.status < 200 && interims.next().is_some() => {
                    if first.minor > 0 && write(self.client.stream(), &response.encode(true)).is_err() {
                        return Break(());
                    }
                }
                Ok(Some(response)) if response.status < 200 => {
                    return self.lost(&Malformed("too many interim answers").into(), depth);
                }
                Ok(Some(response)) => break response,
                Ok(None) => return self.lost(&Broken::Source(ErrorKind::UnexpectedEof.into()), depth),
                Err(lost) => return self.lost(&lost, depth),
            }
        };
        let stays = first.stays && response.body != Body::Close;
        let (client, wire) = (self.client.stream(), &mut server.dialled.wire);
        let relayed = write(client, &response.encode(stays)).and_then(|()| wire.relay(response.body, client));
        if relayed.is_err() {
            // A client must not take a part for the whole: the connection is not closed, but broken off.
            let _ = set_socket_linger(client, Some(Duration::ZERO));
            return Break(());
        }
        server.answered = server.answered.saturating_add(1);
        server.sent = server.sent.saturating_sub(1);
        if !response.stays {
            self.server = None;
        }
        self.queue.pop_front();
        self.done(stays)
    }

    /// The connection to the server broke before the first request was answered.
    fn lost(&mut self, problem: &Broken, depth: &mut usize) -> ControlFlow<()> {
        let (Some(server), Some(first)) = (self.server.take(), self.queue.front()) else { return Break(()) };
        let silent = matches!(problem, Broken::Source(error) if error.kind() == ErrorKind::WouldBlock);
        let again = first.is_plain() && matches!(problem, Broken::Source(_) | Broken::Sink(_)) && !silent;
        if again && server.answered > 0 {
            return Continue(());
        }
        // It may not like to be asked several things at once.
        if again && server.sent > 1 {
            *depth = 1;
            return Continue(());
        }
        let refusal = match silent {
            true => Refusal { status: 504, ..Refusal::failed(first.target.address(), "it does not answer") },
            false => Refusal::failed(first.target.address(), problem),
        };
        self.refuse(&refusal)
    }

    /// Answers the first request in words of our own.
    fn refuse(&mut self, refusal: &Refusal) -> ControlFlow<()> {
        let Some(first) = self.queue.pop_front() else { return Break(()) };
        let stays = first.stays && first.body == Body::NONE;
        let (head, mut body) = Response::own(refusal.status, &refusal.reason, &refusal.text);
        if first.method == "HEAD" {
            body.clear();
        }
        if write(self.client.stream(), &[head.encode(stays), body].concat()).is_err() {
            return Break(());
        }
        self.done(stays)
    }

    fn done(&mut self, stays: bool) -> ControlFlow<()> {
        if stays {
            return Continue(());
        }
        self.hear_out();
        Break(())
    }

    fn tunnel(&mut self) -> ControlFlow<()> {
        let mut server = match self.dial(1) {
            Ok(server) => server,
            Err(refusal) => return self.refuse(&refusal),
        };
        let wire = &mut server.dialled.wire;
        let opened = write(self.client.stream(), b"HTTP/1.1 200 Connection established\r\n\r\n");
        let early = opened
            .and_then(|()| write(wire.stream(), self.client.pending()))
            .and_then(|()| write(self.client.stream(), wire.pending()));
        if early.is_ok() {
            tunnel::carry(self.client.stream(), wire.stream());
        }
        Break(())
    }

    /// Reads what the client still sends: closing a connection with unread bytes takes the answer away from it.
    fn hear_out(&self) {
        let mut stream = self.client.stream();
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.set_read_timeout(Some(LINGER));
        let mut left = MOST_LEFT;
        let mut buffer = [0; 4096];
        while left > 0
            && let Ok(length @ 1..) = stream.read(&mut buffer)
        {
            left = left.saturating_sub(length);
        }
    }
}

impl Server {
    /// Whether `request` may be sent to it: on the way of the others, and a new connection for what must not be sent twice.
    fn suits(&self, request: &Request, shared: &Shared) -> bool {
        self.sent > 0
            || (shared.rules.way(&request.target) == self.way && (request.is_plain() || self.answered == 0))
    }
}
