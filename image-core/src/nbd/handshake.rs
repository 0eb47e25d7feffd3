//! The handshake: from a stream to an agreement about an export.
//!
//! ```text
//! server                                     client
//! NBDMAGIC IHAVEOPT flags                ─►
//!                                        ◄─  flags
//!                                        ◄─  STARTTLS, if it is to be encrypted; nothing goes on without it
//! ACK                                    ─►
//!                                       TLS
//!                                        ◄─  STRUCTURED_REPLY
//! ACK, or no                             ─►
//!                                        ◄─  SET_META_CONTEXT base:allocation, or another one
//! its number ACK, or no                  ─►
//!                                        ◄─  GO name
//! size, flags; sizes of blocks; ACK      ─►
//! or: unknown option                     ─►
//!                                        ◄─  EXPORT_NAME name
//! size, flags                            ─►
//! ```

use std::io::{Read, Write};
use std::time::Duration;

use zerocopy::IntoBytes;

use super::reply::{self, Info};
use super::socket::TimeoutStream;
use super::violation::{NotConnected, Refusal, Violation};
use super::wire::{
    ExportFacts, FIXED_NEWSTYLE, GREETING, HAS_FLAGS, INFO_BLOCK_SIZE, MAX_STRING_LEN, NO_ZEROES, OLD_STYLE,
    OPT_EXPORT_NAME, OPT_GO, OPT_SET_META_CONTEXT, OPT_STARTTLS, OPT_STRUCTURED_REPLY, OPTION_REPLY, OPTIONS,
    OptionHeader, OptionReplyHeader, READ_ONLY, REP_ACK, REP_ERR_TLS_REQD, REP_ERR_UNKNOWN, REP_ERR_UNSUP,
    REP_ERROR, REP_INFO, REP_META_CONTEXT, SEND_FLUSH, SEND_TRIM, SEND_WRITE_ZEROES, ZEROES_LEN,
};
use crate::error::{Error, Result};

/// The most replies to an option: an export has a name, a description, and a few facts.
const MAX_REPLIES: u32 = 64;
/// The most bytes of a reply to an option: two names, and a few numbers.
const MAX_REPLY_LEN: u32 = 4 * MAX_STRING_LEN as u32;
/// The longest payload where the server does not say; as in the specification.
const LARGEST: u32 = 32 << 20;
/// The size of blocks where the server does not say, if the export is made of them.
const SECTOR: u32 = 512;

/// The export as it was negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExportInfo {
    /// Of the export, in bytes.
    pub(super) size: u64,
    pub(super) flags: u16,
    /// Requests are multiples of it.
    pub(super) smallest: u32,
    /// No payload is longer; a multiple of the smallest.
    pub(super) largest: u32,
    /// Whether replies come in chunks.
    pub(super) structured: bool,
    /// The number of the context that block status tells of, if there is one.
    pub(super) context: Option<u32>,
}

impl ExportInfo {
    /// Whether the export has this flag.
    fn has(&self, flag: u16) -> bool {
        self.flags & HAS_FLAGS != 0 && self.flags & flag != 0
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.has(READ_ONLY)
    }

    pub(super) fn can_flush(&self) -> bool {
        self.has(SEND_FLUSH)
    }

    pub(super) fn can_trim(&self) -> bool {
        self.has(SEND_TRIM)
    }

    pub(super) fn can_write_zeroes(&self) -> bool {
        self.has(SEND_WRITE_ZEROES)
    }

    fn new(size: u64, flags: u16, blocks: Option<(u32, u32)>, features: Features) -> Self {
        let usual = if size.is_multiple_of(SECTOR.into()) { SECTOR } else { 1 };
        let (smallest, largest) = blocks.unwrap_or((usual, LARGEST));
        let largest = largest.min(LARGEST);
        let largest = largest - largest % smallest;
        Self { size, flags, smallest, largest, structured: features.structured, context: features.context }
    }
}

/// What is agreed on before an export is taken.
#[derive(Debug, Clone, Copy, Default)]
struct Features {
    structured: bool,
    context: Option<u32>,
}

/// What a server says to an option.
enum Answer {
    /// Yes.
    Yes,
    /// No, with the number and the words.
    No(u32, String),
    /// Something of this kind, and more follows.
    Told(u32, Vec<u8>),
}

/// What a client is after.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExportRequest<'a> {
    /// The export's name.
    pub(super) export: &'a str,
    /// The context that block status is to tell of.
    pub(super) context: &'a str,
}

/// What a server says of the options that it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Greeting {
    /// They can be refused without ending the connection.
    fixed: bool,
    no_zeroes: bool,
}

/// Greets the server behind `stream`. Each message has to come within `timeout`; in all that follows too.
pub(super) fn greet<T: Read + Write>(stream: T, timeout: Duration) -> Result<Greeting> {
    let flags = Hand::new(stream, timeout).greet()?;
    Ok(Greeting { fixed: flags & FIXED_NEWSTYLE != 0, no_zeroes: flags & NO_ZEROES != 0 })
}

/// Agrees that what follows on `stream` is encrypted.
pub(super) fn start_tls<T: Read + Write>(stream: T, greeting: Greeting, timeout: Duration) -> Result<()> {
    let never = |code, words| Err(Refusal::NeverEncrypted { code, words }.into());
    if !greeting.fixed {
        return never(REP_ERR_UNSUP, String::new());
    }
    let mut hand = Hand::new(stream, timeout);
    hand.ask(OPT_STARTTLS, &[])?;
    match hand.verdict()? {
        Answer::No(code, words) => never(code, words),
        _ => Ok(()),
    }
}

/// Agrees with the server behind `stream` about an export.
pub(super) fn negotiate<T: Read + Write>(
    stream: T,
    greeting: Greeting,
    request: ExportRequest<'_>,
    timeout: Duration,
) -> Result<ExportInfo> {
    let mut hand = Hand::new(stream, timeout);
    if !greeting.fixed {
        return hand.export_name(request.export, Features::default(), greeting.no_zeroes);
    }
    let features = hand.features(request)?;
    match hand.go(request.export, features)? {
        Some(export_info) => Ok(export_info),
        None => hand.export_name(request.export, features, greeting.no_zeroes),
    }
}

/// A stream in the course of the handshake.
struct Hand<T> {
    stream: TimeoutStream<T>,
    timeout: Duration,
    /// The option that is talked about, and how much was said of it.
    option: u32,
    replies: u32,
}

impl<T: Read + Write> Hand<T> {
    fn new(stream: T, timeout: Duration) -> Self {
        Self { stream: TimeoutStream::new(stream, timeout), timeout, option: 0, replies: 0 }
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<()> {
        self.stream.read_exact(buf).map_err(|error| TimeoutStream::<T>::failed(self.timeout, error))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
        written.map_err(|error| TimeoutStream::<T>::failed(self.timeout, error))
    }

    /// Returns the server's flags.
    fn greet(&mut self) -> Result<u16> {
        let (mut start, mut next, mut flags) = ([0; 8], [0; 8], [0; 2]);
        self.read(&mut start)?;
        if start != GREETING {
            return Err(Violation::Greeting { start }.into());
        }
        self.read(&mut next)?;
        if next == OLD_STYLE {
            return Err(Refusal::OldStyle.into());
        }
        if next != OPTIONS {
            return Err(Violation::Style { next }.into());
        }
        self.read(&mut flags)?;
        let flags = u16::from_be_bytes(flags) & (FIXED_NEWSTYLE | NO_ZEROES);
        self.write(&u32::from(flags).to_be_bytes())?;
        Ok(flags)
    }

    fn features(&mut self, request: ExportRequest<'_>) -> Result<Features> {
        self.ask(OPT_STRUCTURED_REPLY, &[])?;
        if let Answer::No(..) = self.verdict()? {
            return Ok(Features::default());
        }
        let mut data = prefixed(request.export.as_bytes());
        data.extend(1_u32.to_be_bytes());
        data.extend(prefixed(request.context.as_bytes()));
        self.ask(OPT_SET_META_CONTEXT, &data)?;
        let mut context = None;
        loop {
            match self.answer()? {
                Answer::Yes => return Ok(Features { structured: true, context }),
                Answer::No(..) => return Ok(Features { structured: true, context: None }),
                Answer::Told(REP_META_CONTEXT, payload) => match payload.split_first_chunk::<4>() {
                    Some((id, name)) if name == request.context.as_bytes() => {
                        context = Some(u32::from_be_bytes(*id));
                    }
                    _ => return Err(Violation::Context { len: payload.len() }.into()),
                },
                Answer::Told(kind, _) => return Err(self.unknown(kind)),
            }
        }
    }

    /// Takes the export; `None` where the server does not know how.
    fn go(&mut self, export: &str, features: Features) -> Result<Option<ExportInfo>> {
        let mut data = prefixed(export.as_bytes());
        data.extend(1_u16.to_be_bytes());
        data.extend(INFO_BLOCK_SIZE.to_be_bytes());
        self.ask(OPT_GO, &data)?;
        let (mut facts, mut blocks) = (None, None);
        loop {
            match self.answer()? {
                Answer::Yes => {
                    let (size, flags) = facts.ok_or(Violation::NoSize { option: OPT_GO })?;
                    return Ok(Some(ExportInfo::new(size, flags, blocks, features)));
                }
                Answer::No(REP_ERR_UNSUP, _) => return Ok(None),
                Answer::No(REP_ERR_TLS_REQD, words) => return Err(Refusal::OnlyEncrypted { words }.into()),
                Answer::No(REP_ERR_UNKNOWN, words) => {
                    return Err(Refusal::NoExport { name: export.to_owned(), words }.into());
                }
                Answer::No(code, words) => return Err(Refusal::Option { option: OPT_GO, code, words }.into()),
                Answer::Told(REP_INFO, payload) => match reply::info(&payload)? {
                    Info::Export { size, flags } => facts = Some((size, flags)),
                    Info::Blocks { smallest, largest } => blocks = Some((smallest, largest)),
                    Info::Other => {}
                },
                Answer::Told(kind, _) => return Err(self.unknown(kind)),
            }
        }
    }

    /// Takes the export without a way to hear why that fails.
    fn export_name(&mut self, export: &str, features: Features, no_zeroes: bool) -> Result<ExportInfo> {
        self.ask(OPT_EXPORT_NAME, export.as_bytes())?;
        let mut facts = [0; size_of::<ExportFacts>()];
        self.read(&mut facts).map_err(|error| match error.cause() {
            Some(NotConnected::Closed) => Refusal::ClosedOnExport { name: export.to_owned() }.into(),
            _ => error,
        })?;
        if !no_zeroes {
            self.read(&mut [0; ZEROES_LEN])?;
        }
        let facts: ExportFacts = zerocopy::transmute!(facts);
        match reply::export(facts)? {
            Info::Export { size, flags } => Ok(ExportInfo::new(size, flags, None, features)),
            _ => Err(Violation::NoSize { option: OPT_EXPORT_NAME }.into()),
        }
    }

    fn ask(&mut self, option: u32, data: &[u8]) -> Result<()> {
        (self.option, self.replies) = (option, 0);
        self.stream.begin();
        let header = OptionHeader { magic: OPTIONS, option: option.into(), len: (data.len() as u32).into() };
        self.write(&[header.as_bytes(), data].concat())
    }

    /// An answer that is yes or no.
    fn verdict(&mut self) -> Result<Answer> {
        match self.answer()? {
            Answer::Told(kind, _) => Err(self.unknown(kind)),
            answer => Ok(answer),
        }
    }

    /// The next that is said to the option.
    fn answer(&mut self) -> Result<Answer> {
        let option = self.option;
        self.replies += 1;
        if self.replies > MAX_REPLIES {
            return Err(Violation::EndlessReplies { option, most: MAX_REPLIES }.into());
        }
        let mut header = [0; size_of::<OptionReplyHeader>()];
        self.read(&mut header)?;
        let header: OptionReplyHeader = zerocopy::transmute!(header);
        if header.magic.get() != OPTION_REPLY {
            return Err(Violation::OptionReplyMagic { option, magic: header.magic.get() }.into());
        }
        if header.option.get() != option {
            return Err(Violation::OptionOutOfTurn { option, replied: header.option.get() }.into());
        }
        let len = header.len.get();
        if len > MAX_REPLY_LEN {
            return Err(Violation::OptionReplyLen { option, len }.into());
        }
        let mut payload = vec![0; len as usize];
        self.read(&mut payload)?;
        match header.kind.get() {
            REP_ACK => Ok(Answer::Yes),
            code if code & REP_ERROR != 0 => Ok(Answer::No(code, reply::text(&payload))),
            kind => Ok(Answer::Told(kind, payload)),
        }
    }

    fn unknown(&self, kind: u32) -> Error {
        Violation::OptionReplyKind { option: self.option, kind }.into()
    }
}

/// A string behind its length.
fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

#[cfg(test)]
mod tests;
