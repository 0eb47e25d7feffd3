//! What LVM may not be: each rule that is broken, and where.

/// A rule that a physical volume or the metadata of a volume group breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LvmRule {
    /// A physical volume has a label in one of its first four sectors.
    #[error("there is no label of a physical volume")]
    NoLabel,
    /// What has a checksum must have the right one.
    #[error("the {what} has another checksum than it says")]
    Checksum {
        /// What.
        what: &'static str,
    },
    /// A label's fields must make sense.
    #[error("the label has an impossible {field}: {value:#x}")]
    Label {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A metadata area's fields must make sense.
    #[error("the metadata area at {area:#x} has an impossible {field}: {value:#x}")]
    Area {
        /// Where the area is, in bytes.
        area: u64,
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// Metadata is text of sections and values.
    #[error("the metadata has {what} in line {line}")]
    Text {
        /// In which line, from 1 on.
        line: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// Metadata must say what there is to say of each volume.
    #[error("the metadata has no {field} in {section}")]
    Missing {
        /// Which field.
        field: &'static str,
        /// Of what.
        section: String,
    },
    /// What metadata says must make sense.
    #[error("the metadata has an impossible {field} in {section}")]
    Field {
        /// Which field.
        field: &'static str,
        /// Of what.
        section: String,
    },
    /// Each physical volume is given once.
    #[error("two of the disks are the physical volume {0}")]
    SamePhysicalVolume(String),
    /// All physical volumes that a logical one needs must be given.
    #[error("the physical volume {name} ({uuid}) is missing")]
    NoPhysicalVolume {
        /// Its name in the volume group.
        name: String,
        /// Its identifier.
        uuid: String,
    },
    /// Extents must be on their disk.
    #[error("the physical volume {name} has extents up to {end:#x}, past its {size} bytes")]
    OutsideDisk {
        /// Its name in the volume group.
        name: String,
        /// Where they end, in bytes.
        end: u64,
        /// Of the disk.
        size: u64,
    },
}
