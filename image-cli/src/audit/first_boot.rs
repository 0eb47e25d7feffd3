//! Will an image run the user data that a cloud gives it? Told from its files, before it is booted.
//!
//! ```text
//! cloud-init ─ installed ─ enabled, not masked ─ not turned off ─┬─ by a file
//!     │                                                          ├─ by the kernel's command line
//!     │                                                          └─ by ds-identify's policy
//!     ├─ looks for the data where they are: datasource_list, or what overrides it
//!     └─ runs scripts: scripts_user is among its modules
//! ```
//! cloud-init's documentation, "How to disable cloud-init", and its `tools/ds-identify`.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::path::Path;
use std::sync::Arc;

use image_core::format::{Format, Image, OpenOptions};

use super::cloud_init::Settings;
use super::menu::entries;
use super::rule::Finding;
use super::services::{enabled, masked};
use super::view::View;

const PROGRAMS: [&str; 2] = ["/usr/bin/cloud-init", "/usr/local/bin/cloud-init"];
const IDENTIFY: &str = "/etc/cloud/ds-identify.cfg";
/// The units that bring cloud-init up, each in some of its versions.
const FIRST_UNITS: [&str; 3] = ["cloud-init-local.service", "cloud-init.service", "cloud-init-main.service"];
/// Those without which it does not come to run user data: one that is masked is missing.
const UNITS: [&str; 7] = [
    "cloud-init.target",
    "cloud-init-main.service",
    "cloud-init-local.service",
    "cloud-init.service",
    "cloud-init-network.service",
    "cloud-config.service",
    "cloud-final.service",
];

/// What an image does with user data at its first boot.
#[derive(Debug)]
#[non_exhaustive]
pub struct FirstBoot {
    /// Why it runs none, wherever they come from.
    hindrance: Option<Finding>,
    /// Where it looks for them, and what says so; `None`: everywhere.
    sources: Option<Sources>,
}

#[derive(Debug, PartialEq, Eq)]
struct Sources {
    place: String,
    names: Vec<String>,
}

impl FirstBoot {
    /// Of the image in the file `path`; `None` where its files cannot be read here.
    ///
    /// # Errors
    /// If the image cannot be opened.
    pub fn of_file(path: &Path, format: Option<Format>) -> crate::Result<Option<Self>> {
        let image = Image::open(path, OpenOptions { format, ..OpenOptions::default() })?;
        let view = View::open(Arc::new(image)).ok().filter(|view| view.unreadable().is_none());
        // What cannot be read is not known, and will be seen.
        Ok(view.and_then(|view| Self::of(&view).ok()))
    }

    fn of(view: &View) -> crate::Result<Self> {
        let settings = Settings::read(view)?;
        let hindrance = match not_started(view)? {
            None => runs_no_scripts(&settings),
            found => found,
        };
        Ok(Self { hindrance, sources: sources(view, &settings)? })
    }

    /// Why user data from `source`, a datasource of cloud-init's, are not run: where, what, and what to do about it.
    pub fn obstacle(&self, source: &str) -> Option<Finding> {
        if self.hindrance.is_some() {
            return self.hindrance.clone();
        }
        let Sources { place, names } = self.sources.as_ref()?;
        let is_named = names.iter().any(|name| name.eq_ignore_ascii_case(source));
        let found = || format!("[{}]: {source} is not in it", names.join(", "));
        (!is_named).then(|| Finding::new(place, found(), format!("add {source}")))
    }
}

/// Why cloud-init does not start, if it does not.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn not_started(view: &View) -> crate::Result<Option<Finding>> {
    let Some(program) = view.first_of(&PROGRAMS)? else {
        return Ok(Some(Finding::new(PROGRAMS[0], "it is missing", "install cloud-init")));
    };
    if view.exists("/etc/cloud/cloud-init.disabled")? {
        return Ok(Some(Finding::new("/etc/cloud/cloud-init.disabled", "it exists", "remove it")));
    }
    for entry in entries(view)? {
        let fix = "remove it from the kernel's command line";
        if entry.values("cloud-init").last() == Some("disabled") {
            return Ok(Some(Finding::new(entry.place, "cloud-init=disabled", fix)));
        }
        if let Some(policy) = entry.values("ci.di.policy").last().filter(|policy| is_off(policy)) {
            return Ok(Some(Finding::new(&entry.place, format!("ci.di.policy={policy}"), fix)));
        }
    }
    if let Some(policy) = identify(view, "policy")?.filter(|policy| is_off(policy)) {
        let fix = "policy: search,found=all,maybe=all,notfound=enabled";
        return Ok(Some(Finding::new(IDENTIFY, format!("policy: {policy}"), fix)));
    }
    for unit in UNITS {
        if let Some(place) = masked(view, unit)? {
            return Ok(Some(Finding::new(place, "it is masked", format!("systemctl unmask {unit}"))));
        }
    }
    Ok(match enabled(view, &FIRST_UNITS)? {
        Some(_) => None,
        None => {
            let fix = "systemctl enable cloud-init-local cloud-init";
            Some(Finding::new(program, "nothing starts it", fix))
        }
    })
}

/// ds-identify's policy: a mode, and what to do in which case, with commas between.
fn is_off(policy: &str) -> bool {
    policy.split(',').any(|word| word.trim() == "disabled")
}

/// What ds-identify's file says of `key`: `key: value`, the last one counts.
fn identify(view: &View, key: &str) -> crate::Result<Option<String>> {
    let text = view.text(IDENTIFY)?.unwrap_or_default();
    let said = text.lines().filter_map(|line| line.trim().split_once(':'));
    let mut said = said.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned());
    Ok(said.rfind(|value| !value.is_empty()))
}

/// Without a list nothing is known: it may be in the program itself.
fn runs_no_scripts(settings: &Settings) -> Option<Finding> {
    let runs = settings.strings("cloud_final_modules").is_none() || settings.runs("scripts_user");
    let fix = "put scripts_user into cloud_final_modules";
    (!runs).then(|| Finding::new("cloud_final_modules", "the module scripts_user does not run", fix))
}

/// Where cloud-init looks: the kernel's command line before ds-identify's file before its own settings.
fn sources(view: &View, settings: &Settings) -> crate::Result<Option<Sources>> {
    for entry in entries(view)? {
        for name in ["ds", "ci.ds", "ci.datasource"] {
            // `ds=nocloud;s=https://…`, `ds=nocloud-net`: a name, and what it needs.
            let said = entry.values(name).last().map(|value| value.split([';', '-']).next().unwrap_or(value));
            if let Some(one) = said.filter(|one| !one.is_empty()) {
                let place = format!("{}: {name}=", entry.place);
                return Ok(Some(Sources { place, names: vec![one.to_owned()] }));
            }
        }
    }
    if let Some(one) = identify(view, "datasource")? {
        return Ok(Some(Sources { place: format!("{IDENTIFY}: datasource"), names: vec![one] }));
    }
    let names = settings.strings("datasource_list").map(|list| list.into_iter().map(String::from).collect());
    Ok(names.map(|names| Sources { place: "datasource_list".to_owned(), names }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Change, edit, image, mke2fs, put, sound_tree};
    use super::*;

    const LIST: &str = "etc/cloud/cloud.cfg.d/99.cfg";
    const MENU: &str = "boot/grub/grub.cfg";

    /// What is changed, and what is then in the way of user data from NoCloud and from OpenStack.
    const CASES: &[(Change, Option<&str>, Option<&str>)] = &[
        (|_| (), Some("datasource_list: [ConfigDrive, OpenStack]: NoCloud is not in it"), None),
        (|root| put(root, LIST, "datasource_list: [NoCloud, OpenStack]\n"), None, None),
        (
            |root| edit(root, MENU, " ro ", " ro ds=nocloud;s=/seed/ "),
            None,
            Some("/boot/grub/grub.cfg: ds=: [nocloud]: OpenStack is not in it"),
        ),
        (
            |root| put(root, "etc/cloud/ds-identify.cfg", "policy: enabled\ndatasource: NoCloud\n"),
            None,
            Some("/etc/cloud/ds-identify.cfg: datasource: [NoCloud]: OpenStack is not in it"),
        ),
        (
            |root| put(root, "etc/cloud/cloud-init.disabled", ""),
            Some("/etc/cloud/cloud-init.disabled: it exists"),
            Some("/etc/cloud/cloud-init.disabled: it exists"),
        ),
        (
            |root| put(root, LIST, "datasource_list: [OpenStack]\ncloud_final_modules: [scripts-vendor]\n"),
            Some("cloud_final_modules: the module scripts_user does not run"),
            Some("cloud_final_modules: the module scripts_user does not run"),
        ),
        (
            |root| put(root, LIST, "cloud_final_modules: [[scripts-user, always]]\n"),
            Some("datasource_list: ["),
            None,
        ),
        // A list that cannot be read is none, and nothing is said.
        (|root| put(root, LIST, "a: [\n"), None, None),
    ];

    #[test]
    fn what_is_in_the_way_of_user_data_is_found_in_the_files() {
        let Some(mke2fs) = mke2fs() else { return };
        let dir = tempfile::tempdir().unwrap();
        for (case, (change, no_cloud, openstack)) in CASES.iter().enumerate() {
            let tree = tempfile::tempdir().unwrap();
            sound_tree(tree.path());
            change(tree.path());
            let disk = image(&mke2fs, tree.path(), dir.path(), |_| ());
            let first_boot = FirstBoot::of_file(disk.path(), Some(Format::Raw)).unwrap();
            for (source, wanted) in [("NoCloud", no_cloud), ("OpenStack", openstack)] {
                let found = first_boot.as_ref().and_then(|known| known.obstacle(source));
                let found = found.map(|finding| format!("{}: {}", finding.place, finding.found));
                let is_right = match (&found, wanted) {
                    (Some(found), Some(wanted)) => found.starts_with(wanted),
                    (found, wanted) => found.is_none() && wanted.is_none(),
                };
                assert!(is_right, "case {case}, {source}: {found:?}");
            }
        }
    }

    #[test]
    fn of_an_image_that_cannot_be_read_nothing_is_said() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        assert!(FirstBoot::of_file(file.path(), Some(Format::Raw)).unwrap().is_none());
    }
}
