//! The stages of a build by their names.

use std::fmt;

/// The stages, as a build and its plan name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    Base,
    /// Of a base that is there, and compressed.
    Unpack,
    /// Of a base that is the files of a system.
    Complete,
    CloudInit,
    BootLoader,
    Seal,
    Disk,
    Images,
    Verify,
}

impl Stage {
    /// The stages behind the recipe's steps, in their order.
    pub(super) const AFTER_STEPS: [Self; 6] =
        [Self::CloudInit, Self::BootLoader, Self::Seal, Self::Disk, Self::Images, Self::Verify];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base => "make the base from packages",
            Self::Unpack => "unpack the base",
            Self::Complete => "install what boots and configures it",
            Self::CloudInit => "configure cloud-init",
            Self::BootLoader => "install the boot loader",
            Self::Seal => "seal",
            Self::Disk => "make the disk",
            Self::Images => "write the images",
            Self::Verify => "verify the image",
        })
    }
}
