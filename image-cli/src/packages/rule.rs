//! What a package database may not be: each rule that is broken, and in which file.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// Why a source could not tell what it was asked for.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a package database cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseRule {
    /// The file itself must be readable.
    #[error("its bytes cannot be read")]
    Source(#[source] Cause),
    /// A file must not be longer than what is read of its kind.
    #[error("it has {len} bytes, and no more than {limit} are read")]
    TooLong {
        /// As long as it is, in bytes.
        len: u64,
        /// What is read, in bytes.
        limit: u64,
    },
    /// A name or a version must not be longer than what is kept.
    #[error("it has a field of {len} bytes, and no more than {limit} are read")]
    FieldTooLong {
        /// As long as it is, in bytes.
        len: usize,
        /// What is read, in bytes.
        limit: usize,
    },
    /// There must be no more packages than are kept.
    #[error("it has more than {0} packages")]
    TooManyPackages(usize),
    /// A file that another one needs must be there.
    #[error("it is missing")]
    Missing,
    /// A line of a text must have the form of its format.
    #[error("line {line} {what}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The header of a package must be as rpm writes it.
    #[error("the header of record {record} has {what}")]
    Header {
        /// The number of its record in the database.
        record: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// An SQLite file must have pages that fit together.
    #[error("page {page} of the SQLite file has {what}")]
    Sqlite {
        /// Counted from 1.
        page: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// The table of the headers must be there.
    #[error("the SQLite file has no table Packages with a column blob")]
    NoTable,
    /// A hash of Berkeley DB must have pages that fit together.
    #[error("page {page} of the Berkeley DB file has {what}")]
    Berkeley {
        /// Counted from 0.
        page: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// The slots of an ndb file must lead to headers.
    #[error("the ndb file has {what} at byte {offset:#x}")]
    Ndb {
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// What has a checksum must have the right one.
    #[error("the header of record {0} has another checksum than it says")]
    Checksum(u64),
    /// Only what is known can be read.
    #[error("it uses {0}, which is not supported")]
    Unsupported(&'static str),
}

/// A package database that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("reading {path}")]
pub struct DatabaseError {
    /// The file, with a slash in front.
    pub path: String,
    /// What is wrong with it.
    #[source]
    pub rule: DatabaseRule,
}

/// Says which file a rule is about.
pub(super) trait OfFile<T> {
    /// The same, as an error of the file at `path`.
    fn of(self, path: &str) -> Result<T, DatabaseError>;
}

impl<T> OfFile<T> for Result<T, DatabaseRule> {
    fn of(self, path: &str) -> Result<T, DatabaseError> {
        self.map_err(|rule| DatabaseError { path: path.to_owned(), rule })
    }
}
