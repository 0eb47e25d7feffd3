//! NBD servers that are peers: they end with the test.
//!
//! The socket is made here and handed over, as systemd hands one to a service (sd_listen_fds(3)): nobody else gets a port
//! between looking for it and using it. A server is waited for until it has written its process's number, which both
//! programs do when they take connections; connecting would tell too, but some are there for one client only.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Child;

use super::peer::Peer;
use super::{folder, until};

/// A server that runs.
pub(crate) struct Server {
    child: Child,
    address: Address,
    /// Holds the file with its number.
    _folder: tempfile::TempDir,
}

/// Where a server is going to listen: at a socket that takes connections from now on.
#[derive(Debug)]
pub(crate) struct Place {
    socket: OwnedFd,
    address: Address,
}

/// The name of a socket.
#[derive(Debug, Clone)]
enum Address {
    Unix(PathBuf),
    /// A port of loopback.
    Port(u16),
}

impl Place {
    /// A socket with this path; what is there already goes.
    pub(crate) fn unix(path: PathBuf) -> Self {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        Self { socket: listener.into(), address: Address::Unix(path) }
    }

    /// Some port.
    pub(crate) fn some_port() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("its number").port();
        Self { socket: listener.into(), address: Address::Port(port) }
    }

    /// The number of its port, if it is one.
    pub(crate) fn port(&self) -> Option<u16> {
        match self.address {
            Address::Unix(_) => None,
            Address::Port(port) => Some(port),
        }
    }
}

impl Server {
    /// qemu-nbd that offers `image` at `place` with these words besides.
    pub(crate) fn qemu(nbd: &Peer, place: Place, words: &[&str], image: &Path) -> Self {
        let image = image.display().to_string();
        Self::start(nbd, place, |number| owned(&[words, &["--pid-file", number, &image]].concat()))
    }

    /// nbdkit at `place` with these words besides.
    pub(crate) fn nbdkit(nbdkit: &Peer, place: Place, words: &[&str]) -> Self {
        Self::start(nbdkit, place, |number| owned(&[&["--foreground", "--pidfile", number], words].concat()))
    }

    /// `words` is told the file that its number goes into.
    fn start(peer: &Peer, place: Place, words: impl FnOnce(&str) -> Vec<String>) -> Self {
        let folder = folder();
        let number = folder.path().join("number");
        // Our own hold on the socket ends here: it is closed with the server, and then nobody waits in its queue.
        let child = peer.command(words(&number.display().to_string())).serve(place.socket);
        let mut server = Self { child, address: place.address, _folder: folder };
        until("the server takes connections", || {
            let ended = server.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the server at {:?} ended: {ended:?}", server.address);
            std::fs::metadata(&number).is_ok_and(|file| file.len() > 0)
        });
        server
    }

    /// The address of an export.
    pub(crate) fn address(&self, export: &str) -> String {
        match &self.address {
            Address::Unix(path) => format!("nbd+unix:///{export}?socket={}", path.display()),
            Address::Port(port) => format!("nbd://127.0.0.1:{port}/{export}"),
        }
    }

    /// The same as options of QEMU.
    pub(crate) fn options(&self) -> String {
        match &self.address {
            Address::Unix(path) => format!("driver=nbd,path={}", path.display()),
            Address::Port(port) => format!("driver=nbd,host=127.0.0.1,port={port}"),
        }
    }

    /// Waits until it ends by itself, when its client left.
    pub(crate) fn ends(mut self) {
        self.child.wait().expect("a child");
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
