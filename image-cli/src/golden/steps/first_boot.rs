//! Scripts for the first boot: a unit of systemd for each, which is gone when its script has done its work.
//!
//! ```text
//! /usr/local/sbin/goldimg-firstboot-1                        the script
//! /etc/systemd/system/goldimg-firstboot-1.service            runs it, and then removes both
//! …/multi-user.target.wants/goldimg-firstboot-1.service      is removed before the script begins: it is started once
//! ```
//!
//! One that fails stays, to be looked at and started again by hand. Each waits for the one before it.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::text::put;
use crate::error::{Advise, Context, err};
use crate::golden::tree::Tree;

const UNITS: &str = "/etc/systemd/system";
const WANTS: &str = "/etc/systemd/system/multi-user.target.wants";
/// Where a security policy lets services run programs from.
const SCRIPTS: &str = "/usr/local/sbin";
const STEM: &str = "goldimg-firstboot-";

/// Puts `script` there, and answers with all that this is.
///
/// # Errors
/// If the image's system is not started by systemd, or a file cannot be written.
pub(super) fn first_boot(script: &str, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    if !["/usr/lib/systemd/systemd", "/lib/systemd/systemd"].iter().any(|path| tree.exists(path)) {
        return Err(err!("the image has no systemd, which would run the script at its first boot"))
            .hint(|| "write a file that its own init runs, with `write`, or a `runcmd` of cloud-init");
    }
    let number = next(tree)?;
    let name = format!("{STEM}{number}");
    let path = format!("{SCRIPTS}/{name}");
    let script =
        if script.starts_with("#!") { script.to_owned() } else { format!("#!/bin/sh -eu\n{script}") };
    let script = if script.ends_with('\n') { script } else { script + "\n" };
    let mut written = put(&path, &script, 0o755, tree)?;
    written.extend(put(&format!("{UNITS}/{name}.service"), &unit(&name, number), 0o644, tree)?);
    tree.make_dir(WANTS)?;
    let link = tree.link_path(format!("{WANTS}/{name}.service"))?;
    tree.remove(format!("{WANTS}/{name}.service"))?;
    symlink(format!("{UNITS}/{name}.service"), &link)
        .with_context(|| format!("enabling {name}.service in the image"))?;
    written.push(tree.inside(&link));
    Ok(written)
}

/// The number of the next script, from 1.
fn next(tree: &Tree) -> crate::Result<u32> {
    let names = tree.list(UNITS)?;
    let numbers = names
        .iter()
        .filter_map(|name| name.to_str()?.strip_prefix(STEM)?.strip_suffix(".service")?.parse::<u32>().ok());
    Ok(numbers.max().unwrap_or(0).saturating_add(1))
}

/// The unit. Behind multi-user.target, as cloud-init's last stage is in older releases: before it, the two would wait for each
/// other (systemd.target(5), "Default Dependencies").
fn unit(name: &str, number: u32) -> String {
    let before = match number {
        0 | 1 => String::new(),
        number => format!(" {STEM}{}.service", number - 1),
    };
    format!(
        "# Written by goldimg: runs once, and is gone then.\n\
         [Unit]\n\
         Description=First boot, script {number}\n\
         Wants=network-online.target\n\
         After=multi-user.target network-online.target cloud-final.service{before}\n\
         ConditionPathExists={SCRIPTS}/{name}\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStartPre=/bin/rm -f {WANTS}/{name}.service\n\
         ExecStart={SCRIPTS}/{name}\n\
         ExecStartPost=/bin/rm -f {SCRIPTS}/{name} {UNITS}/{name}.service\n\
         StandardOutput=journal\n\
         StandardError=journal\n\
         TimeoutStartSec=infinity\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::golden::tree::tests::scratch;

    #[test]
    fn scripts_run_one_after_the_other_and_once() {
        let (_dir, tree) = scratch();
        let told = crate::error::rendered(&first_boot("true", &tree).unwrap_err());
        assert!(told.contains("no systemd") && told.contains("`write`"), "{told}");
        tree.write("/usr/lib/systemd/systemd", "", 0o755).unwrap();
        let put = first_boot("echo hello", &tree).unwrap();
        let names =
            ["/usr/local/sbin/goldimg-firstboot-1", "/etc/systemd/system/goldimg-firstboot-1.service"];
        assert_eq!(put[..2], names.map(PathBuf::from));
        assert_eq!(put[2], PathBuf::from(format!("{WANTS}/goldimg-firstboot-1.service")));
        assert_eq!(tree.text(names[0]).unwrap().as_deref(), Some("#!/bin/sh -eu\necho hello\n"));
        let mode = tree.path(names[0]).unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        let link = std::fs::read_link(tree.link_path(&put[2]).unwrap()).unwrap();
        assert_eq!(link, PathBuf::from(names[1]));
        first_boot("#!/usr/bin/python3\nprint()\n", &tree).unwrap();
        let second = tree.text("/etc/systemd/system/goldimg-firstboot-2.service").unwrap().unwrap();
        assert!(second.contains("cloud-final.service goldimg-firstboot-1.service\n"), "{second}");
        let script = tree.text("/usr/local/sbin/goldimg-firstboot-2").unwrap().unwrap();
        assert!(script.starts_with("#!/usr/bin/python3\n"), "{script}");
    }
}
