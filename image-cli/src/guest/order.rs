//! What a guest is ordered, and what it says: JSON within its initrd, and lines on its second serial port.

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use crate::os_text::OsText;

/// Where in the initrd the order is.
pub(super) const ORDER: &str = "order.json";
/// Where the paths are that are to be removed, each with a zero behind it.
pub(super) const REMOVED: &str = "removed";
/// The serial number of the disk that is the archive.
pub(super) const ARCHIVE: &str = "archive";

/// What is to be done.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// In the order in which they need each other.
    pub(super) modules: Vec<Module>,
    /// What is mounted, in this order.
    pub(super) mounts: Vec<Mount>,
}

/// A module of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Module {
    pub(super) name: String,
    /// Its file: in the image, beneath the kernel's folder of modules, or in the initrd.
    pub(super) file: String,
    /// Whether nothing goes without it.
    pub(super) is_needed: bool,
}

/// A filesystem that is mounted.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mount {
    /// The serial number of its disk.
    pub(super) disk: String,
    /// What the kernel calls its kind.
    pub(super) kind: String,
    /// The absolute path where it is mounted in the image.
    pub(super) folder: OsText,
    /// For the filesystem, separated by commas.
    pub(super) options: String,
}

/// What a guest says, a line each.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Said {
    /// Process 1 runs.
    Began,
    /// It has unpacked so many bytes.
    Unpacked(u64),
    /// All is done and unmounted.
    Done {
        /// How many names were removed, directories with all that was in them.
        removed: u64,
        /// How many entries of the archive were unpacked.
        unpacked: u64,
    },
    /// It could not go on.
    Failed(Fault),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lines_of_json() {
        let said = [Said::Began, Said::Unpacked(1 << 40), Said::Done { removed: 1, unpacked: 2 }];
        let lines = said.each_ref().map(|said| serde_json::to_string(said).unwrap());
        assert_eq!(
            lines,
            ["\"began\"", "{\"unpacked\":1099511627776}", "{\"done\":{\"removed\":1,\"unpacked\":2}}"]
        );
        assert_eq!(lines.map(|line| serde_json::from_str::<Said>(&line).unwrap()), said);
    }
}
