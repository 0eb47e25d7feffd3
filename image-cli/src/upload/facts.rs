//! What is known of an image besides its bytes: from the manifest that a build leaves beside it, or from its file.
//!
//! Which properties are set unasked the build has decided (`golden/openstack.rs`). Of other images, those count without
//! which a cloud would attach what they have no drivers for.

use std::collections::BTreeMap;
use std::path::Path;

use crate::audit::drivers::Drivers;
use crate::error::{Context, err};
use crate::glance::template::Parts;
use crate::manifest::{Accepted, Manifest};

/// What is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    name: String,
    version: Option<String>,
    /// `YYYYMMDD`
    date: String,
    /// In MiB.
    pub(super) min_ram: Option<u64>,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) accepted: Accepted,
    /// The size that the file must have, in bytes.
    size: Option<u64>,
    /// The SHA-256 that the file must have.
    sha256: Option<String>,
}

impl Facts {
    /// Of the image at `path`.
    ///
    /// # Errors
    /// Where the file cannot be looked at, or its manifest is not understood.
    pub(super) fn gather(path: &Path) -> crate::Result<Self> {
        if let Some(facts) = Self::from_manifest(path)? {
            return Ok(facts);
        }
        let modified = std::fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .with_context(|| format!("looking at {}", path.display()))?;
        let date = jiff::Timestamp::try_from(modified)?.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y%m%d");
        Ok(Self {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            date: date.to_string(),
            properties: needed(path),
            ..Self::default()
        })
    }

    /// From `STEM.json` beside the image, where that is a manifest which names the image.
    fn from_manifest(path: &Path) -> crate::Result<Option<Self>> {
        let Some(manifest) = Manifest::beside(path)? else { return Ok(None) };
        let Some(file) = manifest.file(path) else { return Ok(None) };
        let (size, sha256) = (file.size, file.digest("sha256").map(str::to_owned));
        Ok(Some(Self {
            name: manifest.name,
            version: Some(manifest.version),
            date: manifest.build_date.chars().take(10).filter(char::is_ascii_digit).collect(),
            min_ram: Some(manifest.min_ram.into()),
            size,
            sha256,
            properties: manifest.properties,
            accepted: manifest.accepted,
        }))
    }

    /// What a name can be made from.
    pub(super) fn parts(&self, version: Option<&str>) -> Parts {
        Parts {
            name: self.name.clone(),
            version: version.map(str::to_owned).or_else(|| self.version.clone()),
            date: self.date.clone(),
        }
    }

    /// Fails where the file has another size than the one that is described: that is known before it is read.
    ///
    /// # Errors
    /// Where it has, or cannot be looked at.
    pub(super) fn check_size(&self, path: &Path) -> crate::Result<()> {
        let size = std::fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?.len();
        match self.size {
            Some(expected) if expected != size => {
                Err(not_described(path, &format!("it has {size} bytes, and not {expected}")))
            }
            _ => Ok(()),
        }
    }

    /// Fails where the file is not the one that is described.
    ///
    /// # Errors
    /// Where its hash is another.
    pub(super) fn check(&self, path: &Path, sha256: &str) -> crate::Result<()> {
        match &self.sha256 {
            Some(expected) if expected != sha256 => {
                Err(not_described(path, &format!("its sha256 is {sha256}")))
            }
            _ => Ok(()),
        }
    }
}

fn not_described(path: &Path, why: &str) -> crate::Error {
    err!("{} is not the file its manifest describes: {why}", path.display())
}

/// What an image needs of which nothing else is known. One that cannot be looked into needs nothing that is known here:
/// whether it can be uploaded is told elsewhere.
fn needed(path: &Path) -> BTreeMap<String, String> {
    let drivers = Drivers::of_file(path, None).ok().flatten();
    let properties = drivers.map(|drivers| drivers.properties()).unwrap_or_default();
    properties.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{ "manifest_version": 1, "name": "debian-12", "version": "7", "description": "A Debian",
        "distribution": "debian", "release": "bookworm", "architecture": "x86_64", "build_date": "2026-11-23 05:21:09",
        "min_disk": 2, "min_ram": 512, "firmware": ["uefi"], "tool": "goldimg",
        "files": [{ "name": "debian-12-7.qcow2", "format": "qcow2", "size": 3, "sha256": "00ff" }],
        "properties": { "os_version": "12", "hw_cdrom_bus": "scsi" } }"#;

    fn gather(manifest: &str, image: &str) -> Facts {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(image);
        std::fs::write(&path, "abc").unwrap();
        std::fs::write(path.with_extension("json"), manifest).unwrap();
        Facts::gather(&path).unwrap()
    }

    #[test]
    fn a_manifest_tells_names_and_properties() {
        let facts = gather(MANIFEST, "debian-12-7.qcow2");
        let parts = facts.parts(None);
        assert_eq!(
            (parts.name.as_str(), parts.version.as_deref(), parts.date.as_str()),
            ("debian-12", Some("7"), "20261123")
        );
        assert_eq!(facts.parts(Some("8")).version.as_deref(), Some("8"));
        assert_eq!(facts.min_ram, Some(512));
        assert_eq!((facts.size, facts.sha256.as_deref()), (Some(3), Some("00ff")));
        assert!(facts.check(Path::new("x"), "00ff").is_ok() && facts.check(Path::new("x"), "00fe").is_err());
        let wanted = [("hw_cdrom_bus", "scsi"), ("os_version", "12")];
        assert_eq!(facts.properties, wanted.map(|(name, value)| (name.into(), value.into())).into());
    }

    #[test]
    fn a_file_of_another_size_is_known_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("debian-12-7.qcow2");
        std::fs::write(path.with_extension("json"), MANIFEST).unwrap();
        for (content, is_right) in [("abc", true), ("abcd", false), ("", false)] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(Facts::gather(&path).unwrap().check_size(&path).is_ok(), is_right, "{content:?}");
        }
    }

    #[test]
    fn other_files_of_that_name_are_no_manifest() {
        for (text, image) in [("[1]", "a.raw"), ("not JSON", "a.raw"), (MANIFEST, "other.qcow2")] {
            let facts = gather(text, image);
            assert_eq!((facts.parts(None).version, facts.properties.len()), (None, 0));
        }
    }
}
