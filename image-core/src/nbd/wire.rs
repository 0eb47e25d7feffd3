//! The bytes of the protocol, exactly: every structure field by field, every number by name.
//!
//! All numbers are big-endian. What they mean is said in `handshake` and `reply`. Source: NetworkBlockDevice/nbd,
//! `doc/proto.md`, sections "Values", "Option haggling" and "Transmission".

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a server says first.
pub(super) const GREETING: [u8; 8] = *b"NBDMAGIC";
/// What follows where options are negotiated, and in front of each option.
pub(super) const OPTIONS: [u8; 8] = *b"IHAVEOPT";
/// What follows the greeting of a server that knows no options.
pub(super) const OLD_STYLE: [u8; 8] = [0x00, 0x00, 0x42, 0x02, 0x81, 0x86, 0x12, 0x53];

/// Flag of the handshake, on both sides: options can be refused without ending the connection.
pub(super) const FIXED_NEWSTYLE: u16 = 1 << 0;
/// Flag of the handshake, on both sides: the 124 zeroes behind an export are left out.
pub(super) const NO_ZEROES: u16 = 1 << 1;
/// Those zeroes.
pub(super) const ZEROES_LEN: usize = 124;

/// Option: ends the negotiation with the export of this name.
pub(super) const OPT_EXPORT_NAME: u32 = 1;
/// Option: what follows is encrypted.
pub(super) const OPT_STARTTLS: u32 = 5;
/// Option: as [`OPT_EXPORT_NAME`], but it can fail, and says more.
pub(super) const OPT_GO: u32 = 7;
/// Option: replies come in chunks.
pub(super) const OPT_STRUCTURED_REPLY: u32 = 8;
/// Option: what block status is to tell of.
pub(super) const OPT_SET_META_CONTEXT: u32 = 10;

/// Reply to an option: yes.
pub(super) const REP_ACK: u32 = 1;
/// Reply to an option: something is told; more follows.
pub(super) const REP_INFO: u32 = 3;
/// Reply to an option: the number of a context; more follows.
pub(super) const REP_META_CONTEXT: u32 = 4;
/// In replies to an option that say no.
pub(super) const REP_ERROR: u32 = 1 << 31;
/// Reply to an option: unknown here.
pub(super) const REP_ERR_UNSUP: u32 = REP_ERROR | 1;
/// Reply to an option: only after TLS is negotiated.
pub(super) const REP_ERR_TLS_REQD: u32 = REP_ERROR | 5;
/// Reply to an option: there is no such export.
pub(super) const REP_ERR_UNKNOWN: u32 = REP_ERROR | 6;

/// Told by [`REP_INFO`]: the export's size and flags.
pub(super) const INFO_EXPORT: u16 = 0;
/// Told by [`REP_INFO`]: the sizes of blocks.
pub(super) const INFO_BLOCK_SIZE: u16 = 3;

/// The context that tells holes and zeroes from data.
pub(super) const ALLOCATION: &str = "base:allocation";
/// The context of QEMU that tells which image of a chain something is allocated in.
pub(super) const ALLOCATION_DEPTH: &str = "qemu:allocation-depth";
/// Block status: nothing is stored.
pub(super) const STATE_HOLE: u32 = 1 << 0;
/// Block status: it reads as zeroes.
pub(super) const STATE_ZERO: u32 = 1 << 1;

/// The other flags say something.
pub(super) const HAS_FLAGS: u16 = 1 << 0;
/// Nothing may be written.
pub(super) const READ_ONLY: u16 = 1 << 1;
/// There is [`CMD_FLUSH`].
pub(super) const SEND_FLUSH: u16 = 1 << 2;
/// There is [`CMD_TRIM`].
pub(super) const SEND_TRIM: u16 = 1 << 5;
/// There is [`CMD_WRITE_ZEROES`].
pub(super) const SEND_WRITE_ZEROES: u16 = 1 << 6;

/// Reads.
pub(super) const CMD_READ: u16 = 0;
/// Writes.
pub(super) const CMD_WRITE: u16 = 1;
/// Ends the connection, without a reply.
pub(super) const CMD_DISC: u16 = 2;
/// Replied to when all that was written is safe.
pub(super) const CMD_FLUSH: u16 = 3;
/// Says that nobody reads a range any more: it may read as anything.
pub(super) const CMD_TRIM: u16 = 4;
/// Writes zeroes that are not sent.
pub(super) const CMD_WRITE_ZEROES: u16 = 6;
/// Asks what is stored.
pub(super) const CMD_BLOCK_STATUS: u16 = 7;
/// Flag of [`CMD_WRITE_ZEROES`]: storage stays set aside.
pub(super) const CMD_FLAG_NO_HOLE: u16 = 1 << 1;

/// In front of every request.
pub(super) const REQUEST: u32 = 0x2560_9513;
/// In front of a reply in one piece.
pub(super) const SIMPLE_REPLY: u32 = 0x6744_6698;
/// In front of every chunk of a structured reply.
pub(super) const CHUNK: u32 = 0x668e_33ef;
/// In front of every reply to an option.
pub(super) const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;

/// Flag of a chunk: the last of its reply.
pub(super) const CHUNK_DONE: u16 = 1 << 0;
/// A chunk that ends a reply and says nothing else.
pub(super) const CHUNK_NONE: u16 = 0;
/// A chunk with bytes.
pub(super) const CHUNK_DATA: u16 = 1;
/// A chunk that stands for zeroes.
pub(super) const CHUNK_HOLE: u16 = 2;
/// A chunk with block status.
pub(super) const CHUNK_STATUS: u16 = 5;
/// In the kinds of chunks that tell of a failure.
pub(super) const CHUNK_ERROR: u16 = 1 << 15;

/// The most bytes of a name or a message.
pub(super) const MAX_STRING_LEN: usize = 4096;

/// The head of an option; its data follow.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct OptionHeader {
    /// [`OPTIONS`].
    pub(super) magic: [u8; 8],
    /// One of the `OPT_` numbers.
    pub(super) option: U32,
    /// Of the data, in bytes.
    pub(super) len: U32,
}

/// The head of a reply to an option; its data follow.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct OptionReplyHeader {
    /// [`OPTION_REPLY`].
    pub(super) magic: U64,
    /// The option.
    pub(super) option: U32,
    /// One of the `REP_` numbers.
    pub(super) kind: U32,
    /// Of the data, in bytes.
    pub(super) len: U32,
}

/// What ends a negotiation by [`OPT_EXPORT_NAME`], and most of what [`INFO_EXPORT`] tells.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ExportFacts {
    /// In bytes.
    pub(super) size: U64,
    /// [`READ_ONLY`] and others.
    pub(super) flags: U16,
}

/// What [`INFO_BLOCK_SIZE`] tells, in bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct BlockSizes {
    /// What requests are multiples of.
    pub(super) smallest: U32,
    /// What is fast.
    pub(super) preferred: U32,
    /// The longest payload.
    pub(super) largest: U32,
}

/// A request; the bytes to write follow.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Request {
    /// [`REQUEST`].
    pub(super) magic: U32,
    /// `CMD_FLAG_`.
    pub(super) flags: U16,
    /// `CMD_`.
    pub(super) command: U16,
    /// What the reply is known by.
    pub(super) cookie: U64,
    /// In bytes.
    pub(super) offset: U64,
    /// In bytes.
    pub(super) len: U32,
}

/// A simple reply; the bytes that were read follow if there is no error.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct SimpleReply {
    /// [`SIMPLE_REPLY`].
    pub(super) magic: U32,
    /// 0, or a number as Linux has it.
    pub(super) error: U32,
    /// Of the request.
    pub(super) cookie: U64,
}

/// The head of a chunk, as long as a [`SimpleReply`]; its length and its payload follow.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ChunkHeader {
    /// [`CHUNK`].
    pub(super) magic: U32,
    /// [`CHUNK_DONE`].
    pub(super) flags: U16,
    /// `CHUNK_`.
    pub(super) kind: U16,
    /// Of the request.
    pub(super) cookie: U64,
}

/// The payload of [`CHUNK_HOLE`].
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Hole {
    /// In bytes.
    pub(super) offset: U64,
    /// In bytes.
    pub(super) len: U32,
}

/// One of the descriptors behind the context's number in a [`CHUNK_STATUS`].
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Status {
    /// In bytes.
    pub(super) len: U32,
    /// [`STATE_HOLE`] and [`STATE_ZERO`].
    pub(super) flags: U32,
}

/// The start of the payload of a chunk of [`CHUNK_ERROR`]; the message follows.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ErrorHeader {
    /// A number as Linux has it.
    pub(super) error: U32,
    /// Of the message, in bytes.
    pub(super) message_len: U16,
}
