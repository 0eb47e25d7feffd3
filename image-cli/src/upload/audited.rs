//! What all servers of a cloud are cloned from is audited before it is sent.
//!
//! ```text
//! image ─► can its files be read here? ─► audit for OpenStack, less what its recipe asked for ─┬─ passes ─► sent
//!                   └─ an ISO, a VMDK, …: said                                                 └─ fails  ─► refused
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image_core::foreign::Kind;
use image_core::format::Format;

use crate::audit::{self, Check, Expected, Profile};
use crate::error::{Advise, err};
use crate::manifest::Accepted;
use crate::monitor::Monitor;

/// Audits the image `path`, whose format Glance calls `format`; without one it is found out.
///
/// # Errors
/// With each rule that it breaks, but for those in `ignored`, or if it cannot be read.
pub(super) fn check(
    path: &Path,
    format: Option<&str>,
    accepted: &Accepted,
    ignored: &BTreeMap<String, String>,
    monitor: Monitor<'_>,
) -> crate::Result<()> {
    let format = match format.map(|name| (name, readable(name))) {
        Some((name, None)) => {
            monitor.note(&format!("not audited: files of {name} images are not read here"));
            return Ok(());
        }
        Some((_, format)) => format,
        None => None,
    };
    let expected = Expected {
        keep: accepted.keep.iter().map(PathBuf::from).collect(),
        asked_for: accepted.asked_for.iter().map(PathBuf::from).collect(),
        keep_passwords: accepted.keep_passwords,
        passwords: accepted.passwords.clone(),
        accounts: accepted.accounts.clone(),
        ignored: ignored.clone(),
        ..Expected::default()
    };
    let report = audit::audit(path, format, Profile::Openstack, &expected, monitor.unheard())?;
    if report.passed {
        return Ok(());
    }
    let told: String = report.checks.iter().filter(|check| check.fails()).map(Check::told).collect();
    Err(err!("{} is not fit to be cloned:{told}", path.display())).hint(|| {
        "`goldimg seal` repairs what can be repaired, and `goldimg audit` tells more; --ignore RULE=REASON says why a rule does \
         not count, --audit off sends it as it is"
    })
}

/// The format, if the files in images of it are read here.
fn readable(format: &str) -> Option<Format> {
    match format {
        "raw" => Some(Format::Raw),
        "qcow2" => Some(Format::Qcow2),
        "vmdk" => Some(Format::Foreign(Kind::Vmdk)),
        "vhd" => Some(Format::Foreign(Kind::Vpc)),
        "vhdx" => Some(Format::Foreign(Kind::Vhdx)),
        "vdi" => Some(Format::Foreign(Kind::Vdi)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tests::{image, mke2fs, put, sound_tree};

    #[test]
    fn what_the_audit_fails_is_refused_and_what_the_recipe_asked_for_is_not() {
        let Some(mke2fs) = mke2fs() else { return };
        let (dir, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sound_tree(tree.path());
        let made = |tree: &Path| image(&mke2fs, tree, dir.path(), |_| ()).path().to_owned();
        let monitor = crate::monitor::silent();
        let audit = |path: &Path, accepted: &Accepted, ignored: &BTreeMap<String, String>| {
            check(path, Some("raw"), accepted, ignored, monitor).map_err(|error| error.to_string())
        };
        let (nothing, none) = (Accepted::default(), BTreeMap::new());
        audit(&made(tree.path()), &nothing, &none).unwrap();
        put(tree.path(), "root/.netrc", "machine x\n");
        put(tree.path(), "etc/shadow", "root:$y$j9T$x:1::::::\n");
        let path = made(tree.path());
        let told = audit(&path, &nothing, &none).unwrap_err();
        assert!(told.contains("\n  credentials: /root/.netrc: it exists\n"), "{told}");
        assert!(told.contains("\n  passwords: /etc/shadow: root has a password\n"), "{told}");
        let asked_for = vec!["/root/.netrc".to_owned()];
        audit(&path, &Accepted { keep_passwords: true, asked_for, ..Accepted::default() }, &none).unwrap();
        let ignored = ["credentials", "passwords"].map(|rule| (rule.to_owned(), "a trial".to_owned())).into();
        audit(&path, &nothing, &ignored).unwrap();
        check(&path, Some("iso"), &nothing, &none, monitor).unwrap();
    }
}
