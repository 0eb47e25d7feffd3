//! Connections into the world: what may be reached, by which way, and the connecting itself.
//!
//! A name is resolved once, each of its addresses is judged, and one that was judged is connected to: a name that
//! means something else the next time is no way around. Where another proxy resolves names by itself, they are judged
//! by what they mean here.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::super::address::{Address, is_elsewhere};
use super::super::upstream::{Proxy, Scheme, Upstream};
use super::message::{Request, Response, Target};
use super::wire::{Broken, Wire, write};
use crate::golden::recipe::Access;

/// How long connecting to one address may take, and to how many addresses of a name it is tried.
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_ADDRESSES: usize = 4;
/// How long a peer may be silent within an exchange: apt waits 30 s, and a proxy that stores what it hands on may take a while.
pub(super) const SILENCE: Duration = Duration::from_secs(120);
/// The most interim answers of another proxy.
const MOST_INTERIM: usize = 8;

/// What may be reached.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) access: Access,
    /// Where packages come from: always allowed, wherever it is.
    pub(crate) archives: Vec<Address>,
    pub(crate) upstream: Upstream,
}

/// Why something is not reached, for the one who asked.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) text: String,
}

impl Refusal {
    fn forbidden(reason: &str, text: String) -> Self {
        Self { status: 403, reason: reason.into(), text }
    }

    pub(super) fn stopped() -> Self {
        Self { status: 503, reason: "the build is ending".into(), text: "the build is ending".into() }
    }

    pub(super) fn failed(address: &Address, problem: impl std::fmt::Display) -> Self {
        let text = format!("{address} cannot be reached: {problem}");
        Self { status: 502, reason: text.clone(), text }
    }
}

/// A connection on the way to what was asked for.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) wire: Wire,
    /// The other proxy at its end, to be asked for the whole address.
    pub(super) by: Option<Proxy>,
}

impl Dialled {
    /// How its end is to be asked: as the server itself, or as another proxy, with what that wants to know of us.
    pub(super) fn asked_as(&self) -> Option<Option<&str>> {
        self.by.as_ref().map(|proxy| proxy.authorization.as_deref())
    }
}

impl Rules {
    /// Where the next connection for `target` goes: the same for two requests that may share one.
    pub(super) fn way(&self, target: &Target) -> (Address, Option<Proxy>) {
        let address = target.address();
        let scheme = match target {
            Target::Tunnel(_) => Scheme::Https,
            Target::Resource(..) => Scheme::Http,
        };
        let by = self.upstream.on_the_way_to(address, scheme, self.archives.contains(address));
        (address.clone(), by.cloned())
    }

    /// Connects to what `target` names, or to the proxy on the way there.
    pub(super) fn dial(&self, target: &Target) -> Result<Dialled, Refusal> {
        let address = target.address();
        let archive = self.archives.contains(address);
        if !archive {
            self.allow(address)?;
        }
        let (_, by) = self.way(target);
        let stream = match &by {
            Some(proxy) => {
                if !archive {
                    judge_for_proxy(address)?;
                }
                let resolved =
                    resolve(&proxy.address).map_err(|error| Refusal::failed(&proxy.address, error))?;
                connect(&proxy.address, &resolved)?
            }
            None => {
                let resolved = resolve(address).map_err(|error| Refusal::failed(address, error))?;
                connect(address, &if archive { resolved } else { judged(address, resolved)? })?
            }
        };
        let mut wire = Wire::new(stream);
        if let (Target::Tunnel(_), Some(proxy)) = (target, &by) {
            tunnel_through(&mut wire, address, proxy)?;
        }
        Ok(Dialled { wire, by })
    }

    /// Whether the rules of the recipe let it through, by its name.
    fn allow(&self, address: &Address) -> Result<(), Refusal> {
        if self.access == Access::Full {
            return Ok(());
        }
        let archives: Vec<String> = self.archives.iter().map(Address::to_string).collect();
        let archives = if archives.is_empty() { "there are none".into() } else { archives.join(", ") };
        Err(Refusal::forbidden(
            "not an archive of packages, and the recipe lets steps reach nothing else",
            format!(
                "{address} is not one of the archives that packages come from ({archives}), and nothing else may be \
                 reached, since the recipe says `network = \"packages\"`. For a step that needs more: \
                 run = {{ script = \"…\", network = \"full\" }}"
            ),
        ))
    }
}

fn resolve(address: &Address) -> io::Result<Vec<SocketAddr>> {
    Ok((address.host(), address.port()).to_socket_addrs()?.collect())
}

/// Those of `resolved` that are not this machine.
fn judged(address: &Address, resolved: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refusal> {
    let some = !resolved.is_empty();
    let elsewhere: Vec<SocketAddr> = resolved.into_iter().filter(|found| is_elsewhere(found.ip())).collect();
    match elsewhere.is_empty() && some {
        true => Err(here(address)),
        false => Ok(elsewhere),
    }
}

fn here(address: &Address) -> Refusal {
    Refusal::forbidden(
        "the building machine itself is out of reach",
        format!("{address} is the building machine itself, or on its own link, which a step cannot reach"),
    )
}

/// A name that another proxy will resolve: what it means here is refused as if it were connected to from here. One that
/// means nothing here may mean something there.
fn judge_for_proxy(address: &Address) -> Result<(), Refusal> {
    let host = address.host();
    // RFC 6761, 6.3: whoever resolves it, it is loopback.
    if host == "localhost" || host.ends_with(".localhost") {
        return Err(here(address));
    }
    match resolve(address) {
        Ok(resolved) if resolved.iter().any(|found| !is_elsewhere(found.ip())) => Err(here(address)),
        _ => Ok(()),
    }
}

fn connect(address: &Address, resolved: &[SocketAddr]) -> Result<TcpStream, Refusal> {
    let mut problem: io::Error = ErrorKind::NotFound.into();
    for candidate in resolved.iter().take(MOST_ADDRESSES) {
        match TcpStream::connect_timeout(candidate, PATIENCE)
            .and_then(|stream| prepare(&stream).map(|()| stream))
        {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = error,
        }
    }
    Err(Refusal::failed(address, problem))
}

/// What holds for every connection, on both sides.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))
}

/// Asks `proxy` for a tunnel to `address`.
fn tunnel_through(wire: &mut Wire, address: &Address, proxy: &Proxy) -> Result<(), Refusal> {
    let failed = |problem: Broken| Refusal::failed(&proxy.address, problem);
    write(wire.stream(), &Request::tunnel(address).encode(Some(proxy.authorization.as_deref())))
        .map_err(failed)?;
    for _ in 0..MOST_INTERIM {
        // The answer to CONNECT has no body when it is good, and is the last one when it is not.
        let answer = wire.take(|bytes| Response::parse(bytes, "CONNECT")).map_err(failed)?;
        match answer.map(|answer| answer.status) {
            Some(100..200) => {}
            Some(200..300) => return Ok(()),
            Some(status) => {
                let problem = format!("the proxy {} answers {status}", proxy.address);
                return Err(Refusal::failed(address, problem));
            }
            None => break,
        }
    }
    Err(Refusal::failed(address, format!("the proxy {} does not answer", proxy.address)))
}
