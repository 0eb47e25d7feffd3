//! cloud-init's configuration in files of its own: behind those of the package and of goldimg, so that they count.

use std::path::PathBuf;

use super::text::put;
use crate::error::{Advise, err};
use crate::golden::cloud_init::{FOLDER, with_newline};
use crate::golden::recipe::CloudConfig;
use crate::golden::tree::Tree;

/// Where the sources of data are: later than 90_dpkg.cfg and [`OWN`](crate::golden::cloud_init::OWN).
const SOURCES: &str = "95-goldimg-datasources.cfg";

/// Writes a file of its configuration.
///
/// # Errors
/// If the image has no cloud-init, or the file cannot be written.
pub(super) fn config(step: &CloudConfig, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    is_there(tree)?;
    put(&format!("{FOLDER}/{}", step.name), &with_newline(&step.content), 0o644, tree)
}

/// Says where it looks for its data. On one line: ds-identify reads nothing else.
///
/// # Errors
/// If the image has no cloud-init, or the file cannot be written.
pub(super) fn datasources(sources: &[String], tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    is_there(tree)?;
    let line = format!("# Written by goldimg.\ndatasource_list: [ {} ]\n", sources.join(", "));
    put(&format!("{FOLDER}/{SOURCES}"), &line, 0o644, tree)
}

fn is_there(tree: &Tree) -> crate::Result<()> {
    match tree.exists("/etc/cloud") {
        true => Ok(()),
        false => Err(err!("the image has no cloud-init"))
            .hint(|| "a step before this one: install = \"cloud-init\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::tree::tests::scratch;

    #[test]
    fn configuration_is_for_an_image_with_cloud_init() {
        let (_dir, tree) = scratch();
        let step = CloudConfig { name: "96-own.cfg".into(), content: "timezone: UTC".into() };
        assert_eq!(config(&step, &tree).unwrap_err().to_string(), "the image has no cloud-init");
        tree.make_dir("/etc/cloud").unwrap();
        let path = "/etc/cloud/cloud.cfg.d/96-own.cfg";
        assert_eq!(config(&step, &tree).unwrap(), [PathBuf::from(path)]);
        assert_eq!(tree.text(path).unwrap().as_deref(), Some("timezone: UTC\n"));
        let written = datasources(&["ConfigDrive".into(), "None".into()], &tree).unwrap();
        let text = tree.text(&written[0]).unwrap().unwrap();
        assert!(text.ends_with("\ndatasource_list: [ ConfigDrive, None ]\n"), "{text}");
    }
}
