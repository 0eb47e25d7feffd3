//! What is wrong with an image of these formats, and what is asked for that is not done here. Numbers are in hex and
//! bytes, with the guest offset wherever there is one.

use crate::error::{Error, ErrorKind};

/// A rule of its format that an image breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what it is; the fields are those of the message")]
pub enum Corrupt {
    #[error("its {what}, {len:#x} bytes at {offset:#x}, is not within the file's {file_size:#x} bytes")]
    Outside { what: &'static str, offset: u64, len: u64, file_size: u64 },
    #[error("its {what} starts with {found:02x?}")]
    Signature { what: &'static str, found: Vec<u8> },
    #[error("the checksum of its {what} is {told:#010x}, and its bytes give {computed:#010x}")]
    Checksum { what: &'static str, told: u32, computed: u32 },
    #[error("its {what} is {value:#x}: {rule}")]
    Field { what: &'static str, value: u64, rule: &'static str },
    #[error("its {what} is missing")]
    Missing { what: &'static str },
    #[error("two of its {what} are in one place, or one is there twice")]
    Overlap { what: &'static str },
    #[error("its descriptor says {line:?}: {rule}")]
    Descriptor { line: String, rule: &'static str },
    #[error(
        "guest offset {guest:#x}: the {what} entry at {offset:#x} lies past the file's {file_size:#x} bytes"
    )]
    TableOutside { guest: u64, what: &'static str, offset: u64, file_size: u64 },
    #[error("guest offset {guest:#x}: its block at {host:#x} ends past the file's {file_size:#x} bytes")]
    BlockOutside { guest: u64, host: u64, file_size: u64 },
    #[error("guest offset {guest:#x}: the {what} entry is {entry:#x}, which is none")]
    Entry { guest: u64, what: &'static str, entry: u64 },
    #[error("guest offset {guest:#x}: its compressed block does not decode: {why}")]
    Compressed { guest: u64, why: String },
    #[error(
        "its log says that it was {told:#x} bytes long, and the file has {file_size:#x}: something is lost"
    )]
    Shortened { told: u64, file_size: u64 },
    #[error("its parent is another one than the image was made over: {told} is named, {found} is there")]
    OtherParent { told: String, found: String },
}

/// What an image asks for that is not done here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what it is; the fields are those of the message")]
pub enum Unsupported {
    #[error("its {what} is {value:#x}, which is not supported")]
    Value { what: &'static str, value: u64 },
    #[error("its {what} is {name:?}, which is not supported")]
    Name { what: &'static str, name: String },
    #[error(
        "it is a differencing {format} image: only half of its content is here, and its parent is not read"
    )]
    Differencing { format: &'static str },
    #[error("it is encrypted")]
    Encrypted,
    #[error("it is one of the files of a disk: open the descriptor, which names all of them")]
    OneExtent,
}

impl From<Corrupt> for Error {
    fn from(rule: Corrupt) -> Self {
        Self::new(ErrorKind::Corrupt, rule)
    }
}

impl From<Unsupported> for Error {
    fn from(rule: Unsupported) -> Self {
        Self::new(ErrorKind::Unsupported, rule)
    }
}
