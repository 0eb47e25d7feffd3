//! A server of our own at the other end of a socket: it reads requests, and says what a test has it say.

use std::os::unix::net::UnixStream;
use std::thread;

use super::*;
use crate::nbd::wire::{
    CHUNK, CHUNK_DATA, CHUNK_DONE, CHUNK_HOLE, CHUNK_NONE, CHUNK_STATUS, ChunkHeader, SIMPLE_REPLY,
    SimpleReply,
};

/// Longer than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(1800);
/// For servers that are to be given up.
const SHORT: Duration = Duration::from_millis(300);

const AGREED: ExportInfo = ExportInfo {
    size: 1 << 20,
    flags: 0xffff,
    smallest: 1,
    largest: 1 << 20,
    structured: true,
    context: Some(5),
};

fn simple(request: &Request, error: u32) -> Vec<u8> {
    let reply = SimpleReply { magic: SIMPLE_REPLY.into(), error: error.into(), cookie: request.cookie };
    reply.as_bytes().to_vec()
}

fn chunk(request: &Request, flags: u16, kind: u16, payload: &[u8]) -> Vec<u8> {
    let header =
        ChunkHeader { magic: CHUNK.into(), flags: flags.into(), kind: kind.into(), cookie: request.cookie };
    [header.as_bytes(), &(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// A chunk with `bytes` from `offset` on.
fn data(request: &Request, flags: u16, offset: u64, bytes: &[u8]) -> Vec<u8> {
    chunk(request, flags, CHUNK_DATA, &[&offset.to_be_bytes(), bytes].concat())
}

/// What the byte at an offset is.
fn pattern(offset: u64) -> u8 {
    (offset % 251) as u8
}

fn patterned(request: &Request) -> Vec<u8> {
    let start = request.offset.get();
    (start..start + u64::from(request.len.get())).map(pattern).collect()
}

/// A session with a server that answers each request with what `answer` makes of it, and closes where that is nothing.
fn session(
    export_info: ExportInfo,
    answer: impl FnMut(&Request) -> Option<Vec<u8>> + Send + 'static,
) -> Session {
    session_within(PATIENCE, export_info, answer)
}

fn session_within(
    timeout: Duration,
    export_info: ExportInfo,
    mut answer: impl FnMut(&Request) -> Option<Vec<u8>> + Send + 'static,
) -> Session {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        let mut request = [0; size_of::<Request>()];
        while theirs.read_exact(&mut request).is_ok() {
            let request: Request = zerocopy::transmute!(request);
            if request.command.get() == CMD_DISC {
                return;
            }
            match answer(&request) {
                Some(words) if theirs.write_all(&words).is_ok() => {}
                _ => return,
            }
        }
    });
    let socket = Socket::Unix(ours);
    socket.prepare(timeout).unwrap();
    Session::new(Channel::plain(socket), export_info, timeout).unwrap()
}

/// What a read of 64 bytes at 1000 comes to with a server that says that.
fn read(answer: impl Fn(&Request) -> Vec<u8> + Send + 'static) -> Result<[u8; 64]> {
    let session = session(AGREED, move |request| Some(answer(request)));
    let mut buf = [0xaa; 64];
    session.read(&mut buf, 1000).map(|()| buf)
}

fn broken(answer: impl Fn(&Request) -> Vec<u8> + Send + 'static) -> Violation {
    let error = read(answer).unwrap_err();
    error.cause::<Violation>().unwrap_or_else(|| panic!("{error:?}")).clone()
}

#[test]
fn a_reply_in_many_chunks_out_of_order_is_put_together() {
    let buf = read(|request| {
        let all = patterned(request);
        let mut words = data(request, 0, 1032, &all[32..]);
        words.extend(chunk(request, 0, CHUNK_HOLE, &[&1000_u64.to_be_bytes()[..], &[0, 0, 0, 16]].concat()));
        words.extend(data(request, 0, 1016, &all[16..32]));
        words.extend(chunk(request, CHUNK_DONE, CHUNK_NONE, &[]));
        words
    });
    let mut expected: Vec<u8> = (1000..1064).map(pattern).collect();
    expected[..16].fill(0);
    assert_eq!(buf.unwrap()[..], expected);
    // And one without chunks, where that was agreed on.
    let plain = session(ExportInfo { structured: false, context: None, ..AGREED }, |request| {
        Some([simple(request, 0), patterned(request)].concat())
    });
    let mut buf = [0; 64];
    plain.read(&mut buf, 7).unwrap();
    assert_eq!(buf[..], (7..71).map(pattern).collect::<Vec<u8>>());
}

#[test]
fn requests_of_many_threads_are_under_way_together() {
    // Replies come only when all eight have asked, in reverse; that of the last first.
    let mut due: Vec<Vec<u8>> = Vec::new();
    let session = session(AGREED, move |request| {
        let half = request.len.get() as usize / 2;
        let (all, offset) = (patterned(request), request.offset.get());
        let first = data(request, 0, offset, &all[..half]);
        let second = data(request, CHUNK_DONE, offset + half as u64, &all[half..]);
        due.push(second);
        due.push(first);
        match due.len() {
            16 => Some(due.drain(..).rev().collect::<Vec<_>>().concat()),
            _ => Some(Vec::new()),
        }
    });
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let session = &session;
            scope.spawn(move || {
                for round in 0..50 {
                    let (mut buf, offset) = ([0; 5000], thread * 100_000 + round);
                    session.read(&mut buf, offset).unwrap();
                    assert!(buf.iter().zip(offset..).all(|(byte, at)| *byte == pattern(at)));
                }
            });
        }
    });
}

#[test]
fn a_failure_that_is_reported_leaves_the_connection_of_use() {
    let mut requests = 0;
    let session = session(AGREED, move |request| {
        requests += 1;
        Some(match requests {
            // In the middle of a reply, behind some of its bytes.
            1 => [
                data(request, 0, 1000, &[1; 10]),
                chunk(request, 0, 0x8002, b"\0\0\0\x05\0\x03bad\0\0\0\0\0\0\x04\0"),
                chunk(request, CHUNK_DONE, CHUNK_NONE, &[]),
            ]
            .concat(),
            2 => simple(request, 28),
            _ => data(request, CHUNK_DONE, request.offset.get(), &patterned(request)),
        })
    });
    let mut buf = [0; 64];
    let error = session.read(&mut buf, 1000).unwrap_err();
    let error: &ServerError = error.cause().unwrap();
    assert_eq!((error.system.raw_os_error(), error.words.as_str()), (Some(5), "bad"));
    let error = session.command(1, 0, ByteRange::whole(4), &[]).unwrap_err();
    assert_eq!(error.cause::<ServerError>().unwrap().system.raw_os_error(), Some(28));
    session.read(&mut buf, 1000).unwrap();
    assert_eq!(buf[0], pattern(1000));
}

#[test]
fn lies_end_the_connection_and_say_which_rule_they_break() {
    let one = |flags, offset, len| move |request: &Request| data(request, flags, offset, &vec![0; len]);
    assert_eq!(broken(|_| vec![0x41; 16]), Violation::ReplyMagic { magic: 0x4141_4141 });
    assert_eq!(broken(one(CHUNK_DONE, 999, 64)), Violation::NotAskedFor { offset: 999, len: 64 });
    assert_eq!(broken(one(CHUNK_DONE, 1000, 65)), Violation::NotAskedFor { offset: 1000, len: 65 });
    let huge = Violation::NotAskedFor { offset: u64::MAX, len: u64::from(u32::MAX) - 8 };
    assert_eq!(
        broken(|request| {
            let mut words = data(request, 0, u64::MAX, &[]);
            words[16..20].fill(0xff);
            words
        }),
        huge
    );
    assert_eq!(broken(one(CHUNK_DONE, 1000, 60)), Violation::Missing { missing: 4 });
    let none = |request: &Request| chunk(request, CHUNK_DONE, CHUNK_NONE, &[]);
    assert_eq!(broken(none), Violation::Missing { missing: 64 });
    let twice = |request: &Request| data(request, 0, 1000, &[0; 8]).repeat(2);
    assert_eq!(broken(twice), Violation::Twice { offset: 1000 });
    let other = |request: &Request| chunk(request, 0, CHUNK_STATUS, &[0; 12]);
    assert_eq!(broken(other), Violation::ChunkKind { kind: CHUNK_STATUS });
    let endless = |request: &Request| chunk(request, 0, 0x8001, b"\0\0\0\x05\0\0").repeat(100);
    assert_eq!(broken(endless), Violation::EndlessFailures { most: MAX_FAILURES });
    let long = |request: &Request| chunk(request, 0, 0x8001, &[0; 1 << 16]);
    assert_eq!(broken(long), Violation::ChunkLen { kind: 0x8001, len: 1 << 16 });
    assert_eq!(broken(|request| [simple(request, 0), vec![0; 64]].concat()), Violation::NotInChunks);
    let cookie = broken(|request| simple(&Request { cookie: 0xdead.into(), ..*request }, 0));
    assert_eq!(cookie, Violation::Cookie { cookie: 0xdead });
    let plain =
        session(ExportInfo { structured: false, ..AGREED }, |request| Some(data(request, 1, 0, &[0])));
    let error = plain.read(&mut [0], 0).unwrap_err();
    assert_eq!(error.cause(), Some(&Violation::NotAgreed));
}

#[test]
fn status_that_is_none_is_an_error() {
    let asked = ByteRange::new(512, 512).unwrap();
    let told =
        |answer: fn(&Request) -> Vec<u8>| session(AGREED, move |request| Some(answer(request))).status(asked);
    let half =
        |request: &Request| chunk(request, CHUNK_DONE, CHUNK_STATUS, b"\0\0\0\x05\0\0\x01\0\0\0\0\x03");
    assert_eq!(told(half).unwrap(), [(ByteRange::new(512, 256).unwrap(), 3)]);
    let rule = |answer| told(answer).unwrap_err().cause::<Violation>().unwrap().clone();
    assert_eq!(rule(|request| chunk(request, CHUNK_DONE, CHUNK_NONE, &[])), Violation::NoStatus);
    assert_eq!(rule(|request| simple(request, 0)), Violation::NotInChunks);
    let twice =
        |request: &Request| chunk(request, 0, CHUNK_STATUS, b"\0\0\0\x05\0\0\x01\0\0\0\0\x03").repeat(2);
    assert_eq!(rule(twice), Violation::ChunkKind { kind: CHUNK_STATUS });
}

#[test]
fn nobody_waits_for_a_server_that_says_nothing_more() {
    let cut: [fn(&Request) -> Vec<u8>; 3] = [
        |_| Vec::new(),
        |request| simple(request, 5)[..15].to_vec(),
        |request| data(request, CHUNK_DONE, 1000, &[0; 64])[..50].to_vec(),
    ];
    for answer in cut {
        let session = session_within(SHORT, AGREED, move |request| Some(answer(request)));
        let error = session.read(&mut [0; 64], 1000).unwrap_err();
        assert!(matches!(error.cause(), Some(NotConnected::Silent { timeout: SHORT })), "{error:?}");
    }
    // One byte at a time is as good as none.
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let dripping = thread::spawn(move || {
        while theirs.write_all(&[0x67]).is_ok() {
            thread::sleep(SHORT / 10);
        }
    });
    let socket = Socket::Unix(ours);
    socket.prepare(SHORT).unwrap();
    let session = Session::new(Channel::plain(socket), AGREED, SHORT).unwrap();
    let error = session.read(&mut [0; 64], 0).unwrap_err();
    assert!(matches!(error.cause(), Some(NotConnected::Silent { .. })), "{error:?}");
    drop(session);
    dripping.join().unwrap();
}

#[test]
fn what_ends_the_connection_ends_all_requests() {
    // Eight wait; the server leaves when the eighth has asked.
    let mut requests = 0;
    let session = session(AGREED, move |_| {
        requests += 1;
        (requests < 8).then(Vec::new)
    });
    let errors: Vec<Error> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| session.read(&mut [0; 8], 0).unwrap_err())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let closed = |error: &&Error| matches!(error.cause(), Some(NotConnected::Closed));
    assert_eq!(errors.iter().filter(closed).count(), 1, "{errors:?}");
    let before = "the connection broke before: the server closed the connection";
    assert_eq!(errors.iter().filter(|error| error.to_string() == before).count(), 7, "{errors:?}");
    assert_eq!(session.read(&mut [0; 8], 0).unwrap_err().to_string(), before);
}
