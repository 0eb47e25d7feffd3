//! The programs of this machine that goldimg calls, and the packages they come in.
//!
//! `packages/run.txt` is the one list of them: it is part of this program, so that an error can name the package.

mod started;

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Advise, ErrorKind, err};

pub(crate) use started::{Program, not_installed};

const LIST: &str = include_str!("../../packages/run.txt");

/// Makes sure that these programs are installed, in the folders of `path`.
///
/// # Errors
/// If not, naming every missing one and the command that installs them.
pub(crate) fn require(programs: &[&str], path: &OsStr) -> crate::Result<()> {
    let missing: Vec<&str> =
        programs.iter().copied().filter(|program| find(program, path).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|program| package(program).unwrap_or(program)).collect();
    packages.dedup();
    let error = match missing.as_slice() {
        [one] => err!("the program {one} (package {}) is not installed", packages.join(", ")),
        many => err!("the programs {} are not installed", many.join(", ")),
    };
    Err(error)
        .of_kind(ErrorKind::Missing)
        .hint(|| format!("sudo apt-get install --no-install-recommends {}", packages.join(" ")))
}

/// Where `program` is, in the order of `path`.
pub(crate) fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    let executable =
        |file: &Path| file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    env::split_paths(path).map(|folder| folder.join(program)).find(|file| executable(file))
}

/// The package that `program` comes in.
fn package(program: &str) -> Option<&'static str> {
    entries().find(|(_, programs)| programs.contains(&program)).map(|(package, _)| package)
}

/// The lines of the list: `package  # program, program: why`.
fn entries() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    LIST.lines().filter_map(|line| {
        let (package, comment) = line.split_once('#').unwrap_or((line, ""));
        let programs = comment.split_once(": ").map_or("", |(programs, _)| programs);
        let package = package.trim();
        (!package.is_empty()).then(|| (package, programs.split(',').map(str::trim).collect()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::Variables;

    #[test]
    fn the_list_says_which_package_a_program_comes_in() {
        assert_eq!(package("mmdebstrap"), Some("mmdebstrap"));
        assert_eq!(package("newgidmap"), Some("uidmap"));
        assert_eq!(package("mke2fs"), Some("e2fsprogs"));
        assert_eq!(package("nothing"), None);
        for (package, programs) in entries() {
            assert!(!package.contains(char::is_whitespace), "{package:?}");
            assert!(programs.iter().all(|program| !program.contains(' ')), "{programs:?}");
        }
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let path = Variables::of_tests().path();
        require(&["sh"], &path).unwrap();
        let error = require(&["sh", "no-such-program"], &path).unwrap_err();
        let text = crate::error::rendered(&error);
        assert!(text.starts_with("the program no-such-program (package"), "{text}");
        assert!(
            text.ends_with("hint: sudo apt-get install --no-install-recommends no-such-program"),
            "{text}"
        );
    }

    #[test]
    fn administrators_programs_are_found_without_their_path() {
        assert!(find("mke2fs", &Variables::default().path()).is_some());
        assert!(find("mke2fs", OsStr::new("/nowhere")).is_none());
    }
}
