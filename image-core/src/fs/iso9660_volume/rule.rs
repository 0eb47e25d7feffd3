//! What a volume of ISO 9660 may not be: each rule that is broken, and where.

/// A rule that a volume of ISO 9660 breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IsoReadRule {
    /// A volume has a primary descriptor.
    #[error("there is no primary volume descriptor")]
    NoDescriptor,
    /// A descriptor's fields must make sense.
    #[error("the volume descriptor has an impossible {field}: {value:#x}")]
    Descriptor {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// What is asked for must be on the disk.
    #[error("the {what} is at offset {offset:#x}, outside this disk of {size} bytes")]
    OutsideDisk {
        /// What.
        what: &'static str,
        /// Where it is said to be.
        offset: u64,
        /// Of the disk.
        size: u64,
    },
    /// A record of a directory must make sense.
    #[error("the directory record at {offset:#x} has an impossible {field}")]
    Record {
        /// Where it is.
        offset: u64,
        /// What is wrong.
        field: &'static str,
    },
    /// What Rock Ridge says must make sense.
    #[error("the Rock Ridge entries of the directory record at {offset:#x} have an impossible {field}")]
    RockRidge {
        /// Where the record is.
        offset: u64,
        /// What is wrong.
        field: &'static str,
    },
    /// A boot catalog must be what El Torito says.
    #[error("the boot catalog has an impossible {0}")]
    BootCatalog(&'static str),
}
