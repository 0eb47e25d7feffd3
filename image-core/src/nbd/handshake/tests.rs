//! Both sides of a handshake, byte by byte.

use std::io;

use super::*;
use crate::ErrorKind;
use crate::nbd::wire::CHUNK;

/// A server whose words are known beforehand; what it hears is kept.
struct Script {
    says: io::Cursor<Vec<u8>>,
    hears: Vec<u8>,
}

impl Read for Script {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.says.read(buf)
    }
}

impl Write for Script {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.hears.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const GREETED: &[u8] = b"NBDMAGICIHAVEOPT\0\x03";

fn reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let header = OptionReplyHeader {
        magic: OPTION_REPLY.into(),
        option: option.into(),
        kind: kind.into(),
        len: (data.len() as u32).into(),
    };
    [header.as_bytes(), data].concat()
}

/// Size 1 MiB; flags: has flags, flush, zeroes.
const EXPORT: &[u8] = b"\0\0\x10\0\0\0\x45";

fn export_info() -> Vec<u8> {
    reply(OPT_GO, REP_INFO, &[&[0, 0, 0, 0, 0], EXPORT].concat()[..12])
}

/// Longer than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(1800);

fn shake(parts: &[&[u8]]) -> (Result<ExportInfo>, Vec<u8>) {
    let mut script = Script { says: io::Cursor::new(parts.concat()), hears: Vec::new() };
    let request = ExportRequest { export: "x", context: "base:allocation" };
    let export_info =
        greet(&mut script, PATIENCE).and_then(|greeting| negotiate(&mut script, greeting, request, PATIENCE));
    (export_info, script.hears)
}

fn violation(parts: &[&[u8]]) -> Violation {
    let error = shake(parts).0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    error.cause::<Violation>().unwrap_or_else(|| panic!("{error:?}")).clone()
}

fn refusal(parts: &[&[u8]]) -> Refusal {
    let error = shake(parts).0.unwrap_err();
    error.cause::<Refusal>().unwrap_or_else(|| panic!("{error:?}")).clone()
}

/// Everything that is asked for is given.
fn willing() -> [Vec<u8>; 7] {
    let context = [&[0, 0, 0, 9], &b"base:allocation"[..]].concat();
    let blocks = b"\0\x03\0\0\x02\0\0\0\x10\0\0\x10\0\x01";
    [
        GREETED.to_vec(),
        reply(OPT_STRUCTURED_REPLY, REP_ACK, &[]),
        reply(OPT_SET_META_CONTEXT, REP_META_CONTEXT, &context),
        reply(OPT_SET_META_CONTEXT, REP_ACK, &[]),
        export_info(),
        reply(OPT_GO, REP_INFO, blocks),
        reply(OPT_GO, REP_ACK, &[]),
    ]
}

#[test]
fn a_willing_server_is_asked_for_all() {
    let says = willing();
    let (export_info, hears) = shake(&says.each_ref().map(Vec::as_slice));
    let expected = ExportInfo {
        size: 1 << 20,
        flags: 0x45,
        smallest: 512,
        // The largest multiple of 512 in 0x100001.
        largest: 1 << 20,
        structured: true,
        context: Some(9),
    };
    assert_eq!(export_info.unwrap(), expected);
    assert!(expected.can_flush() && expected.can_write_zeroes() && !expected.is_read_only());
    let expected = [
        &b"\0\0\0\x03"[..],
        b"IHAVEOPT\0\0\0\x08\0\0\0\0",
        b"IHAVEOPT\0\0\0\x0a\0\0\0\x1c\0\0\0\x01x\0\0\0\x01\0\0\0\x0fbase:allocation",
        b"IHAVEOPT\0\0\0\x07\0\0\0\x09\0\0\0\x01x\0\x01\0\x03",
    ];
    assert_eq!(hears, expected.concat());
}

#[test]
fn an_old_server_is_asked_for_less() {
    let unknown = |option| reply(option, REP_ERR_UNSUP, b"what?");
    let (first, second) = (unknown(OPT_STRUCTURED_REPLY), unknown(OPT_GO));
    let facts = b"\0\0\0\0\0\x10\0\x01\0\x03";
    let (export_info, hears) = shake(&[GREETED, &first, &second, facts]);
    let expected = ExportInfo {
        size: 0x10_0001,
        flags: 3,
        smallest: 1,
        largest: 32 << 20,
        structured: false,
        context: None,
    };
    assert_eq!(export_info.unwrap(), expected);
    assert!(expected.is_read_only() && !expected.can_flush());
    assert!(hears.ends_with(b"IHAVEOPT\0\0\0\x01\0\0\0\x01x"));
    // One that cannot refuse an option, and sends the zeroes.
    let (export_info, hears) = shake(&[b"NBDMAGICIHAVEOPT\0\0", &facts[..], &[0; 124]]);
    assert_eq!(export_info.unwrap(), expected);
    assert_eq!(hears, b"\0\0\0\0IHAVEOPT\0\0\0\x01\0\0\0\x01x");
    // Of an export that is made of sectors, sectors are asked for.
    let (export_info, _) = shake(&[GREETED, &first, &second, b"\0\0\0\0\0\x10\0\0\0\0"]);
    assert_eq!(export_info.unwrap().smallest, 512);
}

#[test]
fn refusals_are_told() {
    let structured = reply(OPT_STRUCTURED_REPLY, REP_ERR_UNSUP, &[]);
    let unknown = reply(OPT_GO, REP_ERR_UNKNOWN, b"no\x1b[31m such");
    let told = refusal(&[GREETED, &structured, &unknown]);
    assert_eq!(told, Refusal::NoExport { name: "x".to_owned(), words: "no\x1b[31m such".to_owned() });
    assert_eq!(told.to_string(), "the server has no export \"x\", and says \"no\\u{1b}[31m such\"");
    let policy = reply(OPT_GO, REP_ERROR | 2, &[]);
    let expected = Refusal::Option { option: OPT_GO, code: REP_ERROR | 2, words: String::new() };
    assert_eq!(refusal(&[GREETED, &structured, &policy]), expected);
    let encryption = |option| reply(option, REP_ERR_TLS_REQD, b"no");
    assert_eq!(
        refusal(&[GREETED, &encryption(OPT_STRUCTURED_REPLY), &encryption(OPT_GO)]),
        Refusal::OnlyEncrypted { words: "no".to_owned() }
    );
    assert_eq!(refusal(&[b"NBDMAGIC", &OLD_STYLE]), Refusal::OldStyle);
    let no_go = reply(OPT_GO, REP_ERR_UNSUP, &[]);
    let closed = Refusal::ClosedOnExport { name: "x".to_owned() };
    assert_eq!(refusal(&[GREETED, &structured, &no_go]), closed);
}

#[test]
fn encryption_is_agreed_on_or_nothing_goes_on() {
    let start = |parts: &[&[u8]]| {
        let mut script = Script { says: io::Cursor::new(parts.concat()), hears: Vec::new() };
        let started =
            greet(&mut script, PATIENCE).and_then(|greeting| start_tls(&mut script, greeting, PATIENCE));
        (started, script.hears)
    };
    let (started, hears) = start(&[GREETED, &reply(OPT_STARTTLS, REP_ACK, &[])]);
    started.unwrap();
    assert_eq!(hears, b"\0\0\0\x03IHAVEOPT\0\0\0\x05\0\0\0\0");
    let refused = |parts: &[&[u8]]| start(parts).0.unwrap_err().cause::<Refusal>().unwrap().clone();
    let never = |code| Refusal::NeverEncrypted { code, words: String::new() };
    assert_eq!(refused(&[GREETED, &reply(OPT_STARTTLS, REP_ERROR | 2, &[])]), never(REP_ERROR | 2));
    // One that could not refuse it is not asked.
    let (started, hears) = start(&[b"NBDMAGICIHAVEOPT\0\0"]);
    assert_eq!(started.unwrap_err().cause(), Some(&never(REP_ERR_UNSUP)));
    assert_eq!(hears, b"\0\0\0\0");
    let told = start(&[GREETED, &reply(OPT_STARTTLS, REP_INFO, &[])]).0.unwrap_err();
    assert_eq!(told.cause(), Some(&Violation::OptionReplyKind { option: OPT_STARTTLS, kind: REP_INFO }));
}

#[test]
fn lies_end_the_handshake() {
    assert_eq!(violation(&[b"SSH-2.0-"]), Violation::Greeting { start: *b"SSH-2.0-" });
    assert_eq!(violation(&[b"NBDMAGICNBDMAGIC"]), Violation::Style { next: *b"NBDMAGIC" });
    let magic = Violation::OptionReplyMagic { option: 8, magic: CHUNK.into() };
    assert_eq!(violation(&[GREETED, &u64::from(CHUNK).to_be_bytes(), &[0; 12]]), magic);
    let turn = Violation::OptionOutOfTurn { option: 8, replied: 7 };
    assert_eq!(violation(&[GREETED, &reply(OPT_GO, REP_ACK, &[])]), turn);
    let kind = Violation::OptionReplyKind { option: 8, kind: 3 };
    assert_eq!(violation(&[GREETED, &reply(OPT_STRUCTURED_REPLY, REP_INFO, &[])]), kind);
    let mut long = reply(OPT_STRUCTURED_REPLY, REP_ACK, &[]);
    long[16..20].fill(0xff);
    assert_eq!(violation(&[GREETED, &long]), Violation::OptionReplyLen { option: 8, len: u32::MAX });
    let plain = reply(OPT_STRUCTURED_REPLY, REP_ERR_UNSUP, &[]);
    let ack = reply(OPT_GO, REP_ACK, &[]);
    assert_eq!(violation(&[GREETED, &plain, &ack]), Violation::NoSize { option: 7 });
    let endless = export_info().repeat(1000);
    let most = Violation::EndlessReplies { option: 7, most: MAX_REPLIES };
    assert_eq!(violation(&[GREETED, &plain, &endless]), most);
    let chunks = reply(OPT_STRUCTURED_REPLY, REP_ACK, &[]);
    let context = reply(OPT_SET_META_CONTEXT, REP_META_CONTEXT, b"\0\0\0\x01qemu:joy");
    assert_eq!(violation(&[GREETED, &chunks, &context]), Violation::Context { len: 12 });
    let size = reply(OPT_GO, REP_INFO, &[&[0, 0][..], &[0xff; 8], &[0, 1]].concat());
    assert_eq!(violation(&[GREETED, &plain, &size]), Violation::Size { size: u64::MAX });
}

#[test]
fn an_end_at_any_byte_is_an_error() {
    let all = willing().concat();
    for len in 0..all.len() {
        let error = shake(&[&all[..len]]).0.unwrap_err();
        assert!(matches!(error.cause(), Some(NotConnected::Closed)), "{len}: {error:?}");
    }
}
