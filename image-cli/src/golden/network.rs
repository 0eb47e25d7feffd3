//! The network of a build's steps: a namespace of their own, in which nothing of this machine's is.
//!
//! ```text
//! network = "full"       loopback · tap0 ─► slirp4netns ─► the world    (where it and /dev/net/tun can be used)
//!                        proxy ─► HTTP(S) of the world                  (apt's way, and the only one without slirp4netns)
//! network = "packages"   loopback · proxy ─► the archives of packages
//! network = false        loopback
//! ```
//!
//! Neither way leads to what listens on this machine: not on its loopback, not on its addresses by way of the proxy,
//! not on abstract sockets, which belong to a network namespace too. Where an archive is on this machine, or is reached
//! through another proxy, or with a password for one, apt has it from ours: a step sees none of it.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod address;
mod netlink;
mod networks;
mod proxy;
mod slirp;
mod upstream;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use nix::sched::CloneFlags;

pub(crate) use self::address::Address;
pub(crate) use self::networks::Networks;
use self::proxy::{Proxy, Rules};
use self::slirp::{Slirp, Unavailable};
pub(crate) use self::upstream::Upstream;
use super::recipe::Access;
use crate::error::{Context, err};

/// Where the proxy listens, in the namespace: the same for every build, and not among the ports that the kernel hands out.
const PROXY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 61080);

/// A network namespace for the steps of a build, and what serves it; dropped: everything ends.
#[derive(Debug)]
pub(crate) struct Network {
    access: Access,
    namespace: OwnedFd,
    /// Whether programs that speak something else than HTTP need the proxy for HTTP too.
    advertised: bool,
    slirp: Option<Result<Slirp, Unavailable>>,
    /// None without any access.
    _proxy: Option<Proxy>,
}

impl Network {
    /// Makes the namespace, takes its loopback up, and connects it as far as `access` says: always to `archives`, where
    /// packages come from, by way of `upstream` where this machine has proxies. slirp4netns is in a folder of `path`.
    ///
    /// It must be called by root, of its user namespace at least. slirp4netns is a process of this one's process
    /// namespace: `kill(-1)` would end it.
    ///
    /// # Errors
    /// If there can be no such namespace.
    pub(crate) fn begin(
        access: Access,
        archives: Vec<Address>,
        upstream: Upstream,
        path: &OsStr,
    ) -> crate::Result<Self> {
        let (namespace, listener) = make_namespace(access != Access::None)?;
        let slirp = (access == Access::Full).then(|| Slirp::start(namespace.as_fd(), path));
        let connected = matches!(slirp, Some(Ok(_)));
        let advertised = access != Access::None && (!connected || upstream.is_needed());
        let proxy = listener.map(|listener| Proxy::start(listener, Rules { access, archives, upstream }));
        Ok(Self { access, namespace, advertised, slirp, _proxy: proxy.transpose()? })
    }

    /// The network namespace, to be entered by the thread that starts a command.
    pub(crate) fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// The proxy for apt, as `Acquire::http::Proxy` and `Acquire::https::Proxy` have it.
    pub(crate) fn proxy(&self) -> Option<String> {
        (self.access != Access::None).then(|| format!("http://{PROXY}"))
    }

    /// What `/etc/resolv.conf` has in it meanwhile.
    pub(crate) fn resolv_conf(&self) -> String {
        match &self.slirp {
            Some(Ok(_)) => format!("nameserver {}\n", slirp::RESOLVER),
            // Without a name server the resolver asks loopback, where nobody answers, at once.
            _ => "# No names are resolved in this step of the build.\noptions attempts:1\n".to_owned(),
        }
    }

    /// The variables by which programs find the proxy, where they cannot do without it.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        if !self.advertised {
            return Vec::new();
        }
        // Some programs know one spelling only. What a step itself serves is not the proxy's affair.
        let ways = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"];
        let ways = ways.into_iter().map(|name| (name, format!("http://{PROXY}")));
        ways.chain(["no_proxy", "NO_PROXY"].map(|name| (name, "localhost,127.0.0.1,::1".to_owned())))
            .collect()
    }

    /// What the user should know: that steps have less than was asked for, why, and what helps.
    pub(crate) fn notice(&self) -> Option<String> {
        match &self.slirp {
            Some(Err(Unavailable { why, hint })) => Some(format!(
                "{why}: steps reach the network by HTTP and HTTPS only, through a proxy (for all of it: {hint})"
            )),
            _ => None,
        }
    }
}

/// Makes this thread's network namespace a new one, with its loopback up and nothing else.
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn isolate() -> crate::Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNET)
        .map_err(io::Error::from)
        .context("making a network namespace for the steps")?;
    netlink::loopback_up().context("taking up the loopback of the steps' network")
}

/// A new network namespace, and a socket for a proxy that listens in it. This thread stays where it is.
fn make_namespace(listening: bool) -> crate::Result<(OwnedFd, Option<TcpListener>)> {
    let make = move || {
        isolate()?;
        let own = "/proc/thread-self/ns/net";
        let namespace = File::open(own).with_context(|| format!("opening {own}"))?;
        let listener = listening.then(|| TcpListener::bind(PROXY)).transpose();
        Ok((namespace.into(), listener.context("listening in the steps' network")?))
    };
    // A thread of its own: namespaces belong to threads, and end with the last of what holds them.
    let thread = thread::Builder::new().name("network".into()).spawn(make).context("starting a thread")?;
    thread.join().map_err(|_| err!("making a network namespace for the steps did not come to an end"))?
}

#[cfg(test)]
mod tests;
