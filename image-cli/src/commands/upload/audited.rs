//! What all servers of a cloud are cloned from is audited before it is sent.
//!
//! ```text
//! image ─► can its files be read here? ─► audit for OpenStack, less what its recipe asked for ─┬─ passes ─► sent
//!                   └─ an ISO, a VMDK, …: said                                                 └─ fails  ─► refused
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::anyhow;
use image_core::format::Format;

use super::facts::Accepted;
use crate::audit::{self, Check, Expected, Profile};
use crate::failure::Advise;
use crate::ui::Ui;

/// Whether an image is audited before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Audit {
    /// One that fails is refused
    On,
    /// Whatever is in it
    Off,
}

/// Audits the image `path`, whose format Glance calls `format`; without one it is found out.
///
/// # Errors
/// With each rule that it breaks, but for those in `ignored`, or if it cannot be read.
pub(super) fn check(
    path: &Path,
    format: Option<&str>,
    accepted: &Accepted,
    ignored: &[(String, String)],
    ui: &Ui,
) -> anyhow::Result<()> {
    let format = match format.map(|name| (name, readable(name))) {
        Some((name, None)) => {
            ui.note(&format!("not audited: files of {name} images are not read here"));
            return Ok(());
        }
        Some((_, format)) => format,
        None => None,
    };
    let ignored: BTreeMap<String, String> = ignored.iter().cloned().collect();
    let expected = Expected {
        keep: accepted.keep.clone(),
        asked_for: accepted.asked_for.clone(),
        keep_passwords: accepted.keep_passwords,
        ignored,
        ..Expected::default()
    };
    let report = audit::audit(path, format, Profile::Openstack, &expected)?;
    if report.passed {
        return Ok(());
    }
    let told: String = report.checks.iter().filter(|check| check.fails()).map(Check::told).collect();
    Err(anyhow!("{} is not fit to be cloned:{told}", path.display())).hint(|| {
        "`goldimg seal` repairs what can be repaired, and `goldimg audit` tells more; --ignore RULE=REASON says why a rule does \
         not count, --audit off sends it as it is"
    })
}

/// The format, if the files in images of it are read here.
fn readable(format: &str) -> Option<Format> {
    match format {
        "raw" => Some(Format::Raw),
        "qcow2" => Some(Format::Qcow2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{ProgressMode, Talk};
    use crate::audit::tests::{image, mke2fs, put, sound_tree};

    #[test]
    fn what_the_audit_fails_is_refused_and_what_the_recipe_asked_for_is_not() {
        let Some(mke2fs) = mke2fs() else { return };
        let (dir, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sound_tree(tree.path());
        let made = |tree: &Path| image(&mke2fs, tree, dir.path(), |_| ()).path().to_owned();
        let ui = Ui::new(&Talk { quiet: true, progress: ProgressMode::None });
        let audit = |path: &Path, accepted: &Accepted, ignored: &[(String, String)]| {
            check(path, Some("raw"), accepted, ignored, &ui).map_err(|error| error.to_string())
        };
        let nothing = Accepted::default();
        audit(&made(tree.path()), &nothing, &[]).unwrap();
        put(tree.path(), "root/.netrc", "machine x\n");
        put(tree.path(), "etc/shadow", "root:$y$j9T$x:1::::::\n");
        let path = made(tree.path());
        let told = audit(&path, &nothing, &[]).unwrap_err();
        assert!(told.contains("\n  credentials: /root/.netrc: it exists\n"), "{told}");
        assert!(told.contains("\n  passwords: /etc/shadow: root has a password\n"), "{told}");
        let asked_for = ["/root/.netrc".into()].into();
        audit(&path, &Accepted { keep_passwords: true, asked_for, ..Accepted::default() }, &[]).unwrap();
        let ignored = ["credentials", "passwords"].map(|rule| (rule.to_owned(), "a trial".to_owned()));
        audit(&path, &nothing, &ignored).unwrap();
        check(&path, Some("iso"), &nothing, &[], &ui).unwrap();
    }
}
