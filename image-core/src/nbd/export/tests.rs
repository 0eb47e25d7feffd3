//! An honest server of our own, with the sizes of blocks that a test gives it; it refuses what does not keep to them.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::ErrorKind;
use crate::nbd::wire::{CMD_DISC, CMD_READ, Request, SIMPLE_REPLY, SimpleReply};
use crate::nbd::{NotConnected, Server, ServerError, Timeouts};

/// Longer than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(1800);

/// How all are opened that are not to be given up.
fn patient() -> ExportOptions {
    ExportOptions { timeouts: Timeouts { connect: PATIENCE, reply: PATIENCE }, ..ExportOptions::default() }
}

/// A server of `bytes` at a socket; it has no structured replies.
struct Served {
    folder: tempfile::TempDir,
    bytes: Arc<Mutex<Vec<u8>>>,
    /// The command, the flags and the length of each request.
    requests: Arc<Mutex<Vec<(u16, u16, u32)>>>,
}

impl Served {
    /// With `flags`, and blocks of `smallest` to `largest` bytes.
    fn new(size: usize, flags: u16, smallest: u32, largest: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let served = Self { folder, bytes: Arc::new(Mutex::new(vec![0; size])), requests: Arc::default() };
        let (bytes, requests) = (Arc::clone(&served.bytes), Arc::clone(&served.requests));
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let facts = [&(size as u64).to_be_bytes()[..], &(flags | 1).to_be_bytes()].concat();
            let numbers: Vec<u8> = [smallest, 4096, largest].into_iter().flat_map(u32::to_be_bytes).collect();
            greet(&mut stream, &facts, &numbers);
            let mut request = [0; size_of::<Request>()];
            while stream.read_exact(&mut request).is_ok() {
                let request = Request::read_from_bytes(&request).unwrap();
                let (command, len) = (request.command.get(), request.len.get());
                if command == CMD_DISC {
                    return;
                }
                let mut payload = vec![0; if command == CMD_WRITE { len as usize } else { 0 }];
                stream.read_exact(&mut payload).unwrap();
                requests.lock().unwrap().push((command, request.flags.get(), len));
                let offset = request.offset.get() as usize;
                let wrong = command != CMD_FLUSH
                    && (!offset.is_multiple_of(smallest as usize)
                        || !len.is_multiple_of(smallest)
                        || len == 0
                        || len > largest);
                let mut bytes = bytes.lock().unwrap();
                let place = offset..offset + len as usize;
                match command {
                    _ if wrong => {}
                    CMD_WRITE => bytes[place.clone()].copy_from_slice(&payload),
                    CMD_WRITE_ZEROES => bytes[place.clone()].fill(0),
                    _ => {}
                }
                let error = if wrong { 22 } else { 0 };
                let reply =
                    SimpleReply { magic: SIMPLE_REPLY.into(), error: error.into(), cookie: request.cookie };
                stream.write_all(reply.as_bytes()).unwrap();
                if command == CMD_READ && !wrong {
                    stream.write_all(&bytes[place]).unwrap();
                }
            }
        });
        served
    }

    fn address(&self) -> Address {
        Address::new(Server::Unix(self.folder.path().join("s")), String::new()).unwrap()
    }

    fn open(&self) -> Export {
        Export::open_writable(&self.address(), &patient()).unwrap()
    }

    fn requests(&self) -> Vec<(u16, u16, u32)> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

/// The handshake: no chunks, then GO.
fn greet(stream: &mut (impl Read + Write), facts: &[u8], blocks: &[u8]) {
    let reply = |option: u32, kind: u32, data: &[u8]| {
        let header = [option, kind, data.len() as u32].map(u32::to_be_bytes).concat();
        [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &header, data].concat()
    };
    stream.write_all(b"NBDMAGICIHAVEOPT\0\x03").unwrap();
    stream.read_exact(&mut [0; 4 + 16]).unwrap();
    stream.write_all(&reply(8, 0x8000_0001, b"")).unwrap();
    stream.read_exact(&mut [0; 16 + 8]).unwrap();
    stream.write_all(&reply(7, 3, &[&[0, 0], facts].concat())).unwrap();
    stream.write_all(&reply(7, 3, &[&[0, 3], blocks].concat())).unwrap();
    stream.write_all(&reply(7, 1, b"")).unwrap();
}

const ZEROES: u16 = 1 << 6;
const TRIM: u16 = 1 << 5;
const FLUSH: u16 = 1 << 2;

#[test]
fn requests_are_of_whole_blocks_and_not_too_long() {
    let served = Served::new(1 << 16, ZEROES | FLUSH, 512, 4096);
    let export = served.open();
    export.write_at(&[7; 10_000], 700).unwrap();
    let (read, write) = (CMD_READ, CMD_WRITE);
    let expected = [
        (read, 0, 512),
        (write, 0, 512),
        (write, 0, 4096),
        (write, 0, 4096),
        (write, 0, 1024),
        (read, 0, 512),
        (write, 0, 512),
    ];
    assert_eq!(served.requests(), expected);
    let mut buf = [0; 10_002];
    export.read_at(&mut buf, 699).unwrap();
    assert_eq!((buf[0], buf[10_001]), (0, 0));
    assert!(buf[1..10_001].iter().all(|byte| *byte == 7));
    assert!(
        served.requests().iter().all(|(command, _, len)| *command == CMD_READ && len.is_multiple_of(512))
    );
    export.write_zeroes(ByteRange::between(1024, 3072), ZeroMode::Punch).unwrap();
    export.write_zeroes(ByteRange::between(1024, 1536), ZeroMode::Keep).unwrap();
    export.flush().unwrap();
    assert_eq!(
        served.requests(),
        [(CMD_WRITE_ZEROES, 0, 2048), (CMD_WRITE_ZEROES, 2, 512), (CMD_FLUSH, 0, 0)]
    );
    assert_eq!(export.extents(ByteRange::whole(1 << 16)).unwrap().total(ExtentKind::Data), 1 << 16);
    let error = export.read_at(&mut [0; 2], 65_535).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(export.resize(1).unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(served.requests().is_empty());
}

#[test]
fn a_server_that_can_do_less_is_sent_more() {
    let served = Served::new(4096, 0, 1, 1000);
    let export = served.open();
    export.write_at(&[7; 4096], 0).unwrap();
    served.requests();
    export.write_zeroes(ByteRange::between(5, 2005), ZeroMode::Punch).unwrap();
    // It has no flush: nothing can be asked of it.
    export.flush().unwrap();
    assert_eq!(served.requests(), [(CMD_WRITE, 0, 1000), (CMD_WRITE, 0, 1000)]);
    assert_eq!(served.bytes.lock().unwrap()[4..2006].iter().filter(|byte| **byte == 0).count(), 2000);
}

#[test]
fn errors_name_the_offset_and_the_export() {
    let served = Served::new(8192, 0, 1, 4096);
    // It is told of no size of blocks here, and refuses.
    let export = served.open();
    let error = export.read(&mut [0; 5000], 0).unwrap_err();
    assert_eq!(error.cause::<ServerError>().unwrap().system.raw_os_error(), Some(22));
    drop(export);
    let read_only = Served::new(512, 2, 1, 4096);
    let error = Export::open_writable(&read_only.address(), &patient()).unwrap_err();
    assert!(format!("{error:?}").ends_with("/s: the export is read-only (Io)"), "{error:?}");
    let nobody = Address::new(Server::Unix("/nonexistent/s".into()), "x".to_owned()).unwrap();
    let error = Export::open(&nobody, &ExportOptions::default()).unwrap_err();
    assert!(matches!(error.cause(), Some(NotConnected::Failed { .. })));
    let text = format!("{error:?}");
    assert!(
        text.starts_with(
            "opening nbd+unix:///x?socket=/nonexistent/s: failed to connect to '/nonexistent/s': "
        )
    );
}

/// This server does one thing at a time: while it sends a reply it takes no request, and the other way round.
#[test]
fn a_server_that_does_one_thing_at_a_time_is_never_stuck() {
    const LEN: u64 = 1 << 20;
    let served = Served::new(8 * LEN as usize, 0, 1, 32 << 20);
    let export = served.open();
    thread::scope(|scope| {
        for index in 0..8_u64 {
            let export = &export;
            scope.spawn(move || {
                let mut buf = vec![0; LEN as usize];
                for round in 0..40 {
                    let byte = (index * 40 + round) as u8;
                    buf.fill(byte);
                    export.write_at(&buf, index * LEN).unwrap();
                    export.read_at(&mut buf, index * LEN).unwrap();
                    assert!(buf.iter().all(|there| *there == byte));
                }
            });
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any requests, against a list of bytes; the server judges that all keep to its blocks.
    #[test]
    fn an_export_is_a_list_of_bytes(
        size in 1_usize..20_000, bits in 0_u32..12, zeroes in any::<bool>(),
        requests in prop::collection::vec((0_u8..3, any::<prop::sample::Index>(), 0_usize..9000, any::<u8>()), 1..20),
    ) {
        let smallest = 1_u32 << bits;
        // The bytes behind the last whole block cannot be reached.
        let size = size.next_multiple_of(smallest as usize);
        let served = Served::new(size, if zeroes { ZEROES } else { 0 }, smallest, smallest * 3);
        let (export, mut model) = (served.open(), vec![0; size]);
        for (what, start, len, byte) in requests {
            let start = start.index(size);
            let end = (start + len).min(size);
            match what {
                0 => {
                    export.write_at(&vec![byte; end - start], start as u64).unwrap();
                    model[start..end].fill(byte);
                }
                1 => {
                    export.write_zeroes(ByteRange::between(start as u64, end as u64), ZeroMode::Punch).unwrap();
                    model[start..end].fill(0);
                }
                _ => {
                    let mut buf = vec![1; end - start];
                    export.read_at(&mut buf, start as u64).unwrap();
                    prop_assert_eq!(&buf, &model[start..end]);
                }
            }
        }
        prop_assert_eq!(&*served.bytes.lock().unwrap(), &model);
    }
}

#[test]
fn what_nobody_reads_is_trimmed_in_whole_blocks_or_not_at_all() {
    let range = ByteRange::between(700, 10_000);
    let served = Served::new(1 << 16, TRIM | ZEROES, 512, 4096);
    let export = served.open();
    export.discard(range).unwrap();
    // From 1024 to 9728, which is 8704 bytes.
    assert_eq!(served.requests(), [(CMD_TRIM, 0, 4096), (CMD_TRIM, 0, 4096), (CMD_TRIM, 0, 512)]);
    assert!(export.discard(ByteRange::between(0, 1 << 17)).is_err());
    let other = Served::new(1 << 16, ZEROES, 512, 4096);
    let export = other.open();
    export.discard(range).unwrap();
    assert!(export.discard(ByteRange::between(0, 1 << 17)).is_err());
    assert_eq!(other.requests(), []);
}

/// A server that closes the connection instead of every third reply.
fn forgetful(listener: UnixListener, bytes: Arc<Mutex<Vec<u8>>>) {
    let mut requests = 0;
    while let Ok((mut stream, _)) = listener.accept() {
        let facts = [&(bytes.lock().unwrap().len() as u64).to_be_bytes()[..], &[0, 1]].concat();
        let numbers: Vec<u8> = [1_u32, 4096, 1 << 20].into_iter().flat_map(u32::to_be_bytes).collect();
        greet(&mut stream, &facts, &numbers);
        let mut request = [0; size_of::<Request>()];
        while stream.read_exact(&mut request).is_ok() {
            let request = Request::read_from_bytes(&request).unwrap();
            let command = request.command.get();
            if command == CMD_DISC {
                return;
            }
            let place =
                request.offset.get() as usize..(request.offset.get() + u64::from(request.len.get())) as usize;
            let mut payload = vec![0; if command == CMD_WRITE { place.len() } else { 0 }];
            stream.read_exact(&mut payload).unwrap();
            requests += 1;
            if requests % 3 == 0 {
                break;
            }
            let reply = SimpleReply { magic: SIMPLE_REPLY.into(), error: 0.into(), cookie: request.cookie };
            let mut bytes = bytes.lock().unwrap();
            if command == CMD_WRITE {
                bytes[place.clone()].copy_from_slice(&payload);
            }
            let read = if command == CMD_READ { &bytes[place] } else { &[] };
            stream.write_all(&[reply.as_bytes(), read].concat()).unwrap();
        }
    }
}

#[test]
fn a_connection_that_breaks_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let address = Address::new(Server::Unix(folder.path().join("s")), String::new()).unwrap();
    let bytes = Arc::new(Mutex::new(vec![7; 1 << 20]));
    let served = Arc::clone(&bytes);
    let listener = UnixListener::bind(folder.path().join("s")).unwrap();
    let server = thread::spawn(move || {
        // It is not there yet, too, when the first one calls.
        drop(listener.accept().unwrap());
        forgetful(listener, served);
    });
    let options = ExportOptions { open_for: PATIENCE, reconnect_for: PATIENCE, ..patient() };
    let export = Export::open_writable(&address, &options).unwrap();
    thread::scope(|scope| {
        for part in 0..4_u64 {
            let export = &export;
            scope.spawn(move || {
                for round in 0..5 {
                    let (mut buf, at) = ([0; 4096], (part * 5 + round) * 4096);
                    export.write_at(&[part as u8; 4096], at).unwrap();
                    export.read_at(&mut buf, at).unwrap();
                    assert_eq!(buf, [part as u8; 4096]);
                }
            });
        }
    });
    drop(export);
    server.join().unwrap();
    let bytes = bytes.lock().unwrap();
    assert!((0..20 * 4096).all(|at| bytes[at] == (at / 20_480) as u8) && bytes[20 * 4096] == 7);
    // Nobody is there any more, and that is told when the time is over.
    let short = ExportOptions { open_for: Duration::from_millis(300), ..patient() };
    let error = Export::open(&address, &short).unwrap_err();
    assert!(matches!(error.cause(), Some(NotConnected::Failed { .. })), "{error:?}");
}

#[test]
fn another_export_in_its_place_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let address = Address::new(Server::Unix(folder.path().join("s")), String::new()).unwrap();
    let listener = UnixListener::bind(folder.path().join("s")).unwrap();
    thread::spawn(move || {
        for size in [1_u64 << 20, 1 << 21] {
            let (mut stream, _) = listener.accept().unwrap();
            let facts = [&size.to_be_bytes()[..], &[0, 1]].concat();
            let numbers: Vec<u8> = [1_u32, 4096, 1 << 20].into_iter().flat_map(u32::to_be_bytes).collect();
            greet(&mut stream, &facts, &numbers);
            // It ends with the first request.
            stream.read_exact(&mut [0; size_of::<Request>()]).unwrap();
        }
    });
    let options = ExportOptions { reconnect_for: PATIENCE, ..patient() };
    let export = Export::open(&address, &options).unwrap();
    let error = export.read_at(&mut [0; 16], 0).unwrap_err();
    assert_eq!(error.cause(), Some(&Refusal::Changed));
}
