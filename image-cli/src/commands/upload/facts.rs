//! What is known of an image besides its bytes: from its file's name and time.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;

use crate::glance::template::Parts;

/// What is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    name: String,
    version: Option<String>,
    date: String,
    /// In MiB.
    pub(super) min_ram: Option<u64>,
    pub(super) properties: BTreeMap<String, String>,
    /// The SHA-256 that the file must have.
    sha256: Option<String>,
}

impl Facts {
    /// Of the image at `path`.
    ///
    /// # Errors
    /// Where the file cannot be looked at.
    pub(super) fn gather(path: &Path) -> anyhow::Result<Self> {
        let modified = std::fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .with_context(|| format!("looking at {}", path.display()))?;
        let date = jiff::Timestamp::try_from(modified)?.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y%m%d");
        Ok(Self {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            date: date.to_string(),
            ..Self::default()
        })
    }

    /// What a name can be made from.
    pub(super) fn parts(&self, version: Option<&str>) -> Parts {
        Parts {
            name: self.name.clone(),
            version: version.map(str::to_owned).or_else(|| self.version.clone()),
            date: self.date.clone(),
        }
    }

    /// Fails where the file is not the one that is described.
    ///
    /// # Errors
    /// Where its hash is another.
    pub(super) fn check(&self, path: &Path, sha256: &str) -> anyhow::Result<()> {
        match &self.sha256 {
            Some(expected) if expected != sha256 => {
                anyhow::bail!(
                    "{} is not the file its manifest describes: its sha256 is {sha256}",
                    path.display()
                )
            }
            _ => Ok(()),
        }
    }
}
