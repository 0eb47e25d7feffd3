//! A session that anybody could decrypt, between two ends of a socket.

use std::os::unix::net::UnixStream;
use std::thread;

use super::*;

/// Longer than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(1800);
const KEY: u8 = 0x5a;
/// What a side says first.
const HELLO: &[u8] = b"hello";

/// Each side greets; then every byte is mixed with a key. It takes few bytes at a time.
struct Mixed {
    heard: Vec<u8>,
    greeted: bool,
    plain: Vec<u8>,
    unsent: Vec<u8>,
}

#[derive(Debug)]
struct Mixing;

impl TlsCredentials for Mixing {
    fn begin(&self) -> io::Result<Box<dyn TlsSession>> {
        let (heard, plain) = (Vec::new(), Vec::new());
        Ok(Box::new(Mixed { heard, greeted: false, plain, unsent: HELLO.to_vec() }))
    }
}

impl TlsSession for Mixed {
    fn is_negotiating(&self) -> bool {
        self.heard.len() < HELLO.len() || !self.greeted
    }

    fn take_in(&mut self, received: &[u8]) -> io::Result<usize> {
        assert!(self.plain.is_empty(), "what was decrypted is taken first");
        let wanted = HELLO.len() - self.heard.len();
        if wanted == 0 {
            let len = received.len().min(1000);
            self.plain.extend(received[..len].iter().map(|byte| byte ^ KEY));
            return Ok(len);
        }
        let len = wanted.min(received.len()).min(2);
        self.heard.extend_from_slice(&received[..len]);
        match HELLO.starts_with(&self.heard) {
            true => Ok(len),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "no hello")),
        }
    }

    fn decrypted(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let len = buf.len().min(self.plain.len());
        buf[..len].copy_from_slice(&self.plain[..len]);
        self.plain.drain(..len);
        Ok((len > 0).then_some(len))
    }

    fn encrypt(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(3000);
        self.unsent.extend(bytes[..len].iter().map(|byte| byte ^ KEY));
        Ok(len)
    }

    fn to_send(&mut self, unsent: &mut Vec<u8>) -> io::Result<()> {
        self.greeted = true;
        unsent.append(&mut self.unsent);
        Ok(())
    }
}

/// It negotiates for ever, and decrypts nothing.
struct Endless;

impl TlsSession for Endless {
    fn is_negotiating(&self) -> bool {
        true
    }

    fn take_in(&mut self, received: &[u8]) -> io::Result<usize> {
        Ok(received.len())
    }

    fn decrypted(&mut self, _: &mut [u8]) -> io::Result<Option<usize>> {
        Ok(None)
    }

    fn encrypt(&mut self, _: &[u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn to_send(&mut self, _: &mut Vec<u8>) -> io::Result<()> {
        Ok(())
    }
}

fn channel(stream: UnixStream, timeout: Duration) -> Channel {
    let socket = Socket::Unix(stream);
    socket.prepare(timeout).unwrap();
    Channel::plain(socket)
}

/// Sends back what comes, which nobody can read, until nothing does; how many bytes.
fn echo(mut stream: UnixStream) -> usize {
    let mut hello = [0; HELLO.len()];
    stream.write_all(HELLO).unwrap();
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(hello, HELLO);
    let (mut all, mut chunk) = (0, vec![0; 100_000]);
    loop {
        match stream.read(&mut chunk).unwrap() {
            0 => return all,
            len => {
                assert!(chunk[..len].iter().all(|byte| (byte ^ KEY).is_ascii_lowercase()));
                stream.write_all(&chunk[..len]).unwrap();
                all += len;
            }
        }
    }
}

#[test]
fn one_thread_reads_while_another_one_writes() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let other = thread::spawn(move || echo(theirs));
    let (reading, writing, socket) =
        channel(ours, PATIENCE).encrypt(&Mixing, PATIENCE).unwrap().split().unwrap();
    let (mut reading, mut writing) =
        (TimeoutStream::new(reading, PATIENCE), TimeoutStream::new(writing, PATIENCE));
    // Many times as much as a socket holds.
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|at| b'a' + (at % 26) as u8).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut parts = [IoSlice::new(&bytes[..28]), IoSlice::new(&bytes[28..])];
            let mut rest = &mut parts[..];
            while !rest.is_empty() {
                match writing.write_vectored(rest) {
                    Ok(len) => IoSlice::advance_slices(&mut rest, len),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted),
                }
            }
            writing.flush().unwrap();
        });
        let mut back = vec![0; bytes.len()];
        reading.read_exact(&mut back).unwrap();
        assert!(back == bytes);
    });
    socket.shut_down();
    assert_eq!(other.join().unwrap(), bytes.len());
}

#[test]
fn what_cannot_be_agreed_on_is_not_connected() {
    let refused = |says: &'static [u8]| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(says).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        channel(ours, PATIENCE).encrypt(&Mixing, PATIENCE).unwrap_err()
    };
    let error = refused(b"heaven");
    assert!(matches!(error.cause(), Some(NotConnected::NotEncrypted(_))), "{error:?}");
    let error = refused(b"hel");
    assert!(matches!(error.cause(), Some(NotConnected::Closed)), "{error:?}");
    // What comes together with the end of the agreement is not lost.
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&[HELLO, &[b'x' ^ KEY, b'y' ^ KEY]].concat()).unwrap();
    let (mut reading, ..) = channel(ours, PATIENCE).encrypt(&Mixing, PATIENCE).unwrap().split().unwrap();
    let mut two = [0; 2];
    reading.read_exact(&mut two).unwrap();
    assert_eq!(&two, b"xy");
}

#[test]
fn nobody_waits_for_a_cipher_that_comes_to_nothing() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let dripping = thread::spawn(move || {
        while theirs.write_all(b"h").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let timeout = Duration::from_millis(200);
    let mut slow = channel(ours, timeout);
    let negotiated = agree(&mut Endless, TimeoutStream::new(&mut slow.socket, timeout));
    assert_eq!(negotiated.err().map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
    let session: Box<dyn TlsSession> = Box::new(Endless);
    let session = Arc::new(Mutex::new(session));
    slow.encrypted = Some(Encrypted { session, received: Received::nothing(), unsent: Vec::new() });
    let mut slow = TimeoutStream::new(slow, timeout);
    let error = slow.read_exact(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop(slow);
    dripping.join().unwrap();
}
