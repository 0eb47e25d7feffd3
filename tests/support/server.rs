//! NBD servers that are peers: they end with the test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use super::peer::Peer;

/// How long a server may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that runs.
pub(crate) struct Server {
    child: Child,
    place: Place,
}

/// Where a server listens.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// At a socket.
    Unix(PathBuf),
    /// At a port of loopback.
    Port(u16),
}

impl Place {
    /// A port that was free just now.
    pub(crate) fn some_port() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        Self::Port(listener.local_addr().expect("its number").port())
    }

    /// What qemu-nbd and nbdkit are told.
    fn words(&self, socket: &str, host: &str) -> Vec<String> {
        match self {
            Self::Unix(path) => vec![socket.to_owned(), path.display().to_string()],
            Self::Port(port) => [host, "127.0.0.1", "-p", &port.to_string()].map(str::to_owned).to_vec(),
        }
    }

    fn is_open(&self) -> bool {
        match self {
            // Not by connecting: a server may be there for one client only.
            Self::Unix(path) => path.exists(),
            Self::Port(port) => std::fs::read_to_string("/proc/net/tcp")
                .unwrap_or_default()
                .contains(&format!(":{port:04X} 00000000:0000 0A")),
        }
    }
}

impl Server {
    /// qemu-nbd that offers `image` at `place` with these words besides.
    pub(crate) fn qemu(nbd: &Peer, place: &Place, words: &[&str], image: &Path) -> Self {
        let mut all = place.words("-k", "-b");
        all.extend(words.iter().map(|word| (*word).to_owned()));
        all.push(image.display().to_string());
        Self::start(nbd, all, place)
    }

    /// nbdkit at `place` with these words besides.
    pub(crate) fn nbdkit(nbdkit: &Peer, place: &Place, words: &[&str]) -> Self {
        let mut all = vec!["--foreground".to_owned()];
        all.extend(place.words("-U", "-i"));
        all.extend(words.iter().map(|word| (*word).to_owned()));
        Self::start(nbdkit, all, place)
    }

    fn start(peer: &Peer, words: Vec<String>, place: &Place) -> Self {
        let mut server = Self { child: peer.command(words).spawn(), place: place.clone() };
        let started = Instant::now();
        while !place.is_open() {
            assert!(started.elapsed() < PATIENCE, "no server at {place:?}");
            let ended = server.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the server ended: {ended:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }

    /// The address of an export.
    pub(crate) fn address(&self, export: &str) -> String {
        match &self.place {
            Place::Unix(path) => format!("nbd+unix:///{export}?socket={}", path.display()),
            Place::Port(port) => format!("nbd://127.0.0.1:{port}/{export}"),
        }
    }

    /// Waits until it ends by itself, when its client left.
    pub(crate) fn ends(mut self) {
        let started = Instant::now();
        while self.child.try_wait().expect("a child").is_none() {
            assert!(started.elapsed() < PATIENCE, "the server goes on at {:?}", self.place);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
