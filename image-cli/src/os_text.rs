//! Bytes of the system's that need not be UTF-8 (paths, arguments, variables), on their way through JSON.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// As in an [`OsString`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OsText(Vec<u8>);

impl<T: AsRef<OsStr>> From<T> for OsText {
    fn from(text: T) -> Self {
        Self(text.as_ref().as_bytes().to_vec())
    }
}

impl OsText {
    /// For the system.
    pub(crate) fn into_os(self) -> OsString {
        OsString::from_vec(self.0)
    }

    /// As a path.
    pub(crate) fn into_path(self) -> PathBuf {
        self.into_os().into()
    }
}

/// A path, for a field with `#[serde(with = "crate::os_text")]`.
pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    OsText::from(path).serialize(serializer)
}

/// As [`serialize`] wrote it.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    OsText::deserialize(deserializer).map(OsText::into_path)
}
