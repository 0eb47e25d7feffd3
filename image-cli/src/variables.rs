//! The caller's variables, as values: nothing of the engine reads the environment of the process it is in.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use image_core::fs::Time;

use crate::error::{Advise, err};

/// Where temporary files are made, if no variable says it.
const TEMPORARY: &str = "/tmp";
/// When things were made, if that is not now (reproducible-builds.org, SOURCE_DATE_EPOCH).
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// Where the programs of administrators are: not in everybody's `PATH`.
const ADMINISTRATORS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Variables by their names. What matters: `PATH`, `HOME`, `TMPDIR`, `SOURCE_DATE_EPOCH`, those of proxies (`http_proxy` and
/// its kin, in both cases), `SSL_CERT_FILE` and `SSL_CERT_DIR`, what apt is told by variables, and what `OS_*` says of clouds.
///
/// A program whose own environment counts gives all of it: `std::env::vars_os().collect()`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<OsString, OsString>);

/// Their names alone: values may be secret.
impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl Variables {
    /// The value of the variable `name`.
    pub fn value(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.0.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// The value of the variable `name`, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.to_str()
    }

    /// The folder that the variable `name` names by an absolute path.
    pub fn folder(&self, name: &str) -> Option<PathBuf> {
        self.value(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// Where temporary files are made: as `TMPDIR` says.
    pub(crate) fn temporary_folder(&self) -> PathBuf {
        self.value("TMPDIR").filter(|folder| !folder.is_empty()).unwrap_or(TEMPORARY.as_ref()).into()
    }

    /// When what is changed in an image was changed: what `SOURCE_DATE_EPOCH` says, or now.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if that is no number of seconds since 1970, as far as ext4 counts.
    pub fn time(&self) -> crate::Result<Time> {
        let Some(text) = self.value(EPOCH) else {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            return Ok(Time { seconds, nanoseconds: now.subsec_nanos() });
        };
        let seconds = text.to_str().and_then(|text| text.parse::<i64>().ok());
        let seconds = seconds.filter(|seconds| (0..1 << 34).contains(seconds));
        let seconds = seconds.ok_or_else(|| err!("{EPOCH} is no number of seconds since 1970")).invalid()?;
        Ok(Time { seconds, nanoseconds: 0 })
    }

    /// Each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// Those that tell programs which proxies to use.
    pub(crate) fn proxies(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.iter().filter(|(name, _)| name.to_string_lossy().to_ascii_lowercase().ends_with("_proxy"))
    }

    /// `PATH` with the folders of administrators' programs at its end.
    pub(crate) fn path(&self) -> OsString {
        let own = self.value("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> =
            env::split_paths(own).filter(|folder| !folder.as_os_str().is_empty()).collect();
        for folder in ADMINISTRATORS.map(PathBuf::from) {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        // Folders that came out of a PATH have no colon in them.
        env::join_paths(folders).unwrap_or_else(|_| own.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Variables {
        /// Those of this process.
        pub(crate) fn of_tests() -> Self {
            env::vars_os().collect()
        }
    }

    #[test]
    fn administrators_programs_are_in_the_path_and_values_are_not_shown() {
        let variables: Variables =
            [("PATH", "/usr/bin:/sbin"), ("HTTPS_PROXY", "http://ann:secret@proxy"), ("HOME", "home")]
                .into_iter()
                .collect();
        assert_eq!(variables.path(), "/usr/bin:/sbin:/usr/local/sbin:/usr/sbin");
        assert_eq!(format!("{variables:?}"), r#"{"HOME", "HTTPS_PROXY", "PATH"}"#);
        assert_eq!(variables.proxies().count(), 1);
        assert_eq!(variables.temporary_folder(), PathBuf::from("/tmp"));
        let elsewhere: Variables = [("TMPDIR", "/var/tmp")].into_iter().collect();
        assert_eq!(elsewhere.temporary_folder(), PathBuf::from("/var/tmp"));
        assert_eq!((variables.folder("HOME"), variables.text("HOME")), (None, Some("home")));
    }
}
