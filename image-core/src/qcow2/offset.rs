//! The two kinds of places in a qcow2 image, so that none is taken for the other: in the file, and on the disk a guest sees.

use std::fmt;

/// A place in the image file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HostOffset(pub u64);

/// A place on the disk that the image stands for, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GuestOffset(pub u64);

macro_rules! in_hex {
    ($($offset:ty),*) => {$(
        impl fmt::Display for $offset {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    )*};
}

in_hex!(HostOffset, GuestOffset);
