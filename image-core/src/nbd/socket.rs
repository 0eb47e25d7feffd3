//! A stream to a server that nobody waits at for ever.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::address::Server;
use super::violation::NotConnected;
use crate::error::{Error, Result};

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Connects within `timeout`.
    pub(super) fn connect(server: &Server, timeout: Duration) -> Result<Self> {
        // Neither a name's resolution nor a full queue of a unix socket ends by itself; the thread then ends with the
        // process.
        let (sender, receiver) = mpsc::sync_channel(1);
        let to = server.clone();
        std::thread::Builder::new().name("nbd-connect".to_owned()).spawn(move || {
            let _ = sender.send(match &to {
                Server::Unix(path) => UnixStream::connect(path).map(Self::Unix),
                Server::Tcp { host, port } => TcpStream::connect((host.as_str(), *port)).map(Self::Tcp),
            });
        })?;
        let server = server.to_string();
        match receiver.recv_timeout(timeout) {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(source)) => Err(NotConnected::Failed { server, source }.into()),
            Err(_) => Err(NotConnected::NotAccepted { server, timeout }.into()),
        }
    }

    /// Reads and writes end after `timeout`, and small requests are sent at once.
    pub(super) fn prepare(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
        }
    }

    /// The same stream once more.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
        }
    }

    /// Wakes whoever reads or writes, for ever.
    pub(super) fn shut_down(&self) {
        // Nothing can be done about a socket that is gone already.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buf),
            Self::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buf),
            Self::Unix(stream) => stream.write(buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(bufs),
            Self::Unix(stream) => stream.write_vectored(bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream of which each part, from one [`begin`](Self::begin) to the next, has to be over in time: a server that
/// sends a byte now and then is as silent as one that sends none.
#[derive(Debug)]
pub(super) struct TimeoutStream<T> {
    stream: T,
    timeout: Duration,
    deadline: Instant,
}

impl<T> TimeoutStream<T> {
    pub(super) fn new(stream: T, timeout: Duration) -> Self {
        Self { stream, timeout, deadline: Instant::now() + timeout }
    }

    /// A new part begins.
    pub(super) fn begin(&mut self) {
        self.deadline = Instant::now() + self.timeout;
    }

    fn in_time(&self) -> io::Result<()> {
        if Instant::now() < self.deadline { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }

    /// What a failure of the stream means.
    pub(super) fn failed(timeout: Duration, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => NotConnected::Silent { timeout },
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                NotConnected::Closed
            }
            io::ErrorKind::InvalidData => NotConnected::NotEncrypted(error),
            _ => NotConnected::Lost(error),
        }
        .into()
    }
}

impl<T: Read> Read for TimeoutStream<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.in_time()?;
        self.stream.read(buf)
    }
}

impl<T: Write> Write for TimeoutStream<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.in_time()?;
        self.stream.write(buf)
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.in_time()?;
        self.stream.write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        loop {
            self.in_time()?;
            match self.stream.flush() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                flushed => return flushed,
            }
        }
    }
}
