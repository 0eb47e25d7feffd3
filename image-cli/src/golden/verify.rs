//! Verifying: the finished image is opened as a stranger would, and audited.
//!
//! ```text
//! recipe ─► Expected ─┐
//! image file ─────────┴─► audit ─┬─ problems of any cloud ─► the build fails
//!                                └─ what else is told     ─► a warning
//! ```
//!
//! An image that does not boot, or has traces of this machine, is no output. Whether it is ready for OpenStack is for
//! the recipe to say, so that is told and no failure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use image_core::format::Format;

use super::cloud_init;
use super::outputs::Outputs;
use super::recipe::{Firmware, OutputFormat, Recipe, Step};
use crate::audit::{self, Expected, Profile, Report};
use crate::error::{Advise, Context, err};
use crate::monitor::Monitor;

/// Audits the first image of `outputs`, of which `expected` is asked for.
///
/// # Errors
/// With every violation, or if it cannot be read.
pub(crate) fn verify(
    outputs: &Outputs,
    recipe: &Recipe,
    expected: Expected,
    monitor: Monitor<'_>,
) -> crate::Result<()> {
    let (Some(path), Some(format)) = (outputs.first_image(), recipe.output.formats.first()) else {
        return Ok(());
    };
    let format = match format {
        OutputFormat::Qcow2 => Format::Qcow2,
        OutputFormat::Raw => Format::Raw,
    };
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let expected = Expected { build_host: Some(host), ..expected };
    let report = audit::audit(path, Some(format), Profile::Openstack, &expected, monitor.unheard())
        .context("looking into the finished image")?;
    if let Some(text) = told(&report, Profile::Openstack) {
        monitor.warning(&format!("for OpenStack, the image lacks{text}"));
    }
    match told(&report, Profile::Any) {
        None => Ok(()),
        Some(text) => Err(err!("the finished image breaks rules:{text}"))
            .hint(|| "a step of the recipe did this; `seal.keep` lists paths that are meant to stay"),
    }
}

/// What the rules of `profile` alone found, if anything.
fn told(report: &Report, profile: Profile) -> Option<String> {
    let failing = report.checks.iter().filter(|check| check.profile == profile && check.fails());
    let text: String = failing.map(audit::Check::told).collect();
    (!text.is_empty()).then_some(text)
}

/// What a recipe asks for, of whose steps `asked_for` is what they put there by name.
pub(crate) fn expected(recipe: &Recipe, asked_for: &BTreeSet<PathBuf>) -> Expected {
    let firmware = &recipe.boot.firmware;
    let fragments = recipe.cloud_init.config.keys().map(|name| Path::new(cloud_init::FOLDER).join(name));
    Expected {
        asked_for: asked_for.iter().cloned().chain(fragments).collect(),
        consoles: Some(recipe.boot.console.clone()),
        firmware: Some(audit::Firmware {
            bios: firmware.contains(&Firmware::Bios),
            uefi: firmware.contains(&Firmware::Uefi),
        }),
        ..expected_of_image(recipe, asked_for)
    }
}

/// As [`expected`], of an image that is there and has its boot loader.
pub(crate) fn expected_of_image(recipe: &Recipe, asked_for: &BTreeSet<PathBuf>) -> Expected {
    Expected {
        keep: recipe.seal.keep.iter().map(PathBuf::from).collect(),
        keep_passwords: recipe.seal.keep_passwords,
        ..expected_of(&recipe.steps, asked_for)
    }
}

/// What `steps` ask for, which put `asked_for` there by name.
pub(crate) fn expected_of(steps: &[Step], asked_for: &BTreeSet<PathBuf>) -> Expected {
    let names = |name: fn(&Step) -> Option<&str>| steps.iter().filter_map(name).map(str::to_owned).collect();
    Expected {
        asked_for: asked_for.clone(),
        passwords: names(Step::gives_password_to),
        accounts: names(Step::makes_account),
        ..Expected::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::recipe::example;

    #[test]
    fn what_the_recipe_asks_for_is_expected() {
        let mut recipe = example();
        recipe.seal.keep = vec!["/var/log/kept".into()];
        recipe.boot.firmware = vec![Firmware::Uefi];
        recipe.cloud_init.config = [("60-own.cfg".into(), "password: x\n".into())].into();
        let expected = expected(&recipe, &["/root/.ssh/authorized_keys".into()].into());
        assert_eq!(expected.keep, [Path::new("/var/log/kept")]);
        assert!(expected.asks_for("/root/.ssh/authorized_keys".as_ref()));
        assert!(!expected.asks_for("/root/.ssh/authorized_keys/x".as_ref()));
        assert!(expected.asks_for("/etc/cloud/cloud.cfg.d/60-own.cfg".as_ref()));
        assert_eq!(expected.firmware, Some(audit::Firmware { bios: false, uefi: true }));
        assert_eq!(expected.consoles, Some(recipe.boot.console.clone()));
    }
}
