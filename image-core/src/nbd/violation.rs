//! What can be wrong with a server: rules that it breaks, what it refuses, what it reports.

use std::io;
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// A rule of the protocol that a server breaks. The connection is of no use afterwards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what it is; the fields are those of the message")]
pub enum Violation {
    // The handshake.
    #[error("it is no NBD server: it starts with {start:02x?}")]
    Greeting { start: [u8; 8] },
    #[error("neither options nor an export follow the greeting, but {next:02x?}")]
    Style { next: [u8; 8] },
    #[error("a reply to option {option} starts with {magic:#x}")]
    OptionReplyMagic { option: u32, magic: u64 },
    #[error("a reply to option {replied} comes where one to option {option} is due")]
    OptionOutOfTurn { option: u32, replied: u32 },
    #[error("a reply to option {option} is of the unknown kind {kind:#x}")]
    OptionReplyKind { option: u32, kind: u32 },
    #[error("a reply to option {option} has {len:#x} bytes, which is more than any needs")]
    OptionReplyLen { option: u32, len: u32 },
    #[error("more than {most} replies to option {option}")]
    EndlessReplies { option: u32, most: u32 },
    #[error("the information of kind {kind} has {len} bytes")]
    InfoLen { kind: u16, len: usize },
    #[error("option {option} is accepted without saying how large the export is")]
    NoSize { option: u32 },
    #[error("a context of {len} bytes is selected, which is not the one asked for")]
    Context { len: usize },
    #[error("the export has {size:#x} bytes, which is more than 2^63")]
    Size { size: u64 },
    #[error("blocks of {smallest:#x} to {largest:#x} bytes")]
    BlockSizes { smallest: u32, largest: u32 },
    // Transmission.
    #[error("a reply starts with {magic:#x}")]
    ReplyMagic { magic: u32 },
    #[error("a reply to the request {cookie:#x}, of which there is none")]
    Cookie { cookie: u64 },
    #[error("a reply in chunks, which was not agreed on")]
    NotAgreed,
    #[error("a reply with bytes that are not in chunks, which was agreed on")]
    NotInChunks,
    #[error("a chunk of the kind {kind:#x}, where there may be none")]
    ChunkKind { kind: u16 },
    #[error("a chunk of the kind {kind:#x} with a payload of {len:#x} bytes")]
    ChunkLen { kind: u16, len: u32 },
    #[error("{len:#x} bytes at offset {offset:#x}, which are not among those asked for")]
    NotAskedFor { offset: u64, len: u64 },
    #[error("the bytes at offset {offset:#x} a second time")]
    Twice { offset: u64 },
    #[error("bytes in more than {most} places of one reply")]
    Scattered { most: usize },
    #[error("{missing:#x} bytes of a reply are missing")]
    Missing { missing: u64 },
    #[error("the status of a context with the number {id}, which was not agreed on")]
    ContextId { id: u32 },
    #[error("no status")]
    NoStatus,
    #[error("the status of no bytes")]
    EmptyStatus,
    #[error("a failure of the kind 0, which is none")]
    NoFailure,
    #[error("more than {most} failures in one reply")]
    EndlessFailures { most: usize },
}

impl From<Violation> for Error {
    fn from(rule: Violation) -> Self {
        Self::new(ErrorKind::Io, rule)
    }
}

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what it is; the fields are those of the message")]
pub enum NotConnected {
    #[error("failed to connect to '{server}'")]
    Failed { server: String, source: io::Error },
    #[error("'{server}' does not accept connections: nothing in {timeout:?}")]
    NotAccepted { server: String, timeout: Duration },
    #[error("the server is silent for {timeout:?}")]
    Silent { timeout: Duration },
    #[error("the server closed the connection")]
    Closed,
    #[error("the connection is lost")]
    Lost(#[source] io::Error),
    #[error("the connection cannot be encrypted")]
    NotEncrypted(#[source] io::Error),
    #[error("the connection broke before: {why}")]
    Before { why: String },
}

impl From<NotConnected> for Error {
    fn from(cause: NotConnected) -> Self {
        Self::new(ErrorKind::Io, cause)
    }
}

/// What a server does not do. Its words are quoted and escaped: they are not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what it is; the fields are those of the message")]
pub enum Refusal {
    #[error("the server has no export {name:?}{}", quoted(words))]
    NoExport { name: String, words: String },
    #[error("the server wants an encrypted connection{}", quoted(words))]
    OnlyEncrypted { words: String },
    #[error("the server does not encrypt connections{}", quoted(words))]
    NeverEncrypted { code: u32, words: String },
    #[error("the server does not tell of {name:?}")]
    NoContext { name: String },
    #[error("the server negotiates nothing, as those before 2011 (oldstyle), which is not supported")]
    OldStyle,
    #[error("the server refuses option {option} with {code:#x}{}", quoted(words))]
    Option { option: u32, code: u32, words: String },
    #[error("the export is not the one that it was before the connection broke")]
    Changed,
    #[error("the export is read-only")]
    ReadOnly,
    #[error(
        "the server closed the connection when it was asked for the export {name:?}: it has none, most likely"
    )]
    ClosedOnExport { name: String },
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::OnlyEncrypted { .. } | Refusal::NeverEncrypted { .. } | Refusal::OldStyle => {
                ErrorKind::Unsupported
            }
            _ => ErrorKind::Io,
        };
        Self::new(kind, refusal)
    }
}

/// A failure of a request that the server reports. The connection is as good as before.
#[derive(Debug, thiserror::Error)]
#[error("the server reports a failure{}", quoted(words))]
pub struct ServerError {
    /// What the server says beyond the number.
    pub words: String,
    /// The number, as the operating system's error.
    #[source]
    pub system: io::Error,
}

impl ServerError {
    /// Of a number that the protocol has, which is Linux's; what is none of these is an input/output error, as in
    /// QEMU.
    pub(super) fn new(number: u32, words: String) -> Self {
        const EPERM: u32 = 1;
        const EIO: u32 = 5;
        const ENOMEM: u32 = 12;
        const EINVAL: u32 = 22;
        const ENOSPC: u32 = 28;
        const EOVERFLOW: u32 = 75;
        const EOPNOTSUPP: u32 = 95;
        const ESHUTDOWN: u32 = 108;
        let known = [EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, EOPNOTSUPP, ESHUTDOWN].contains(&number);
        let number = if known { number } else { EIO };
        Self { words, system: io::Error::from_raw_os_error(number as i32) }
    }
}

impl From<ServerError> for Error {
    fn from(error: ServerError) -> Self {
        Self::new(ErrorKind::Io, error)
    }
}

/// What a server says, behind ours.
fn quoted(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(", and says {words:?}") }
}
