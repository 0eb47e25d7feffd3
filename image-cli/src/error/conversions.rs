//! Whose turn it is where another library fails.

use super::{Error, ErrorKind};

impl From<image_core::Error> for Error {
    fn from(error: image_core::Error) -> Self {
        let kind = match error.kind() {
            image_core::ErrorKind::Cancelled => ErrorKind::Cancelled,
            _ => ErrorKind::Image,
        };
        Self::new(kind, error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        // The core's own error comes through traits of the standard library, too.
        match error.downcast::<image_core::Error>() {
            Ok(error) => error.into(),
            Err(error) => Self::new(ErrorKind::Io, error),
        }
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(error: rustix::io::Errno) -> Self {
        std::io::Error::from(error).into()
    }
}

/// Errors that say what is wrong with something that was read or is to be written.
macro_rules! failed {
    ($($cause:ty),* $(,)?) => {
        $(impl From<$cause> for Error {
            fn from(error: $cause) -> Self {
                Self::failed(error)
            }
        })*
    };
}

impl From<nix::errno::Errno> for Error {
    fn from(error: nix::errno::Errno) -> Self {
        std::io::Error::from(error).into()
    }
}

failed!(
    aho_corasick::BuildError,
    jiff::Error,
    rustls::Error,
    serde_json::Error,
    std::array::TryFromSliceError,
    std::ffi::NulError,
    std::num::ParseIntError,
    std::num::TryFromIntError,
    std::str::Utf8Error,
    std::string::FromUtf8Error,
    ureq::Error,
);
