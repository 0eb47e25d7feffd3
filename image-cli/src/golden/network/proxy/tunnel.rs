//! A tunnel: bytes both ways, until both sides have said all, or one is gone.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};

use super::wire::BUFFER;

/// When a silent peer is asked whether it is still there, in which steps, and how often in vain.
const SILENCE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(15);
const IN_VAIN: u32 = 4;
/// How long one side may be silent after the other one has said all.
const LAST_WORDS: Duration = Duration::from_secs(120);

/// Carries bytes between the two. A tunnel may be silent for long: only a peer that is gone ends it.
pub(super) fn carry(client: &TcpStream, server: &TcpStream) {
    for stream in [client, server] {
        // Without them a peer that vanished is found out later, when something is sent.
        let _ = set_socket_keepalive(stream, true);
        let _ = set_tcp_keepidle(stream, SILENCE);
        let _ = set_tcp_keepintvl(stream, AGAIN);
        let _ = set_tcp_keepcnt(stream, IN_VAIN);
        let _ = stream.set_read_timeout(None);
    }
    thread::scope(|scope| {
        let back =
            thread::Builder::new().name("tunnel".into()).spawn_scoped(scope, || one_way(server, client));
        match back {
            Ok(_) => one_way(client, server),
            Err(_) => {
                let _ = client.shutdown(Shutdown::Both);
            }
        }
    });
}

fn one_way(from: &TcpStream, to: &TcpStream) {
    let whole = copy(from, to);
    if whole {
        // The other direction may have more to say, but not for ever.
        let _ = to.shutdown(Shutdown::Write);
        let _ = to.set_read_timeout(Some(LAST_WORDS));
    } else {
        for stream in [from, to] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Whether it came to the end of what there was.
fn copy(mut from: &TcpStream, mut to: &TcpStream) -> bool {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return true,
            Ok(length) => {
                if to.write_all(buffer.get(..length).unwrap_or_default()).is_err() {
                    return false;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}
