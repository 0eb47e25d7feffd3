//! What cloud-init's own code makes of the documents that a guest is given.
//!
//! cloud-init and what it imports are fetched by apt and unpacked without being installed: installed, it would
//! configure this machine.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::peer::peer;
use crate::support::project;

const PACKAGES: [&str; 13] = [
    "cloud-init",
    "python3-attr",
    "python3-certifi",
    "python3-chardet",
    "python3-configobj",
    "python3-idna",
    "python3-jsonschema",
    "python3-oauthlib",
    "python3-pyrsistent",
    "python3-requests",
    "python3-six",
    "python3-urllib3",
    "python3-yaml",
];

/// Where its modules lie, or `None` after saying aloud that something is missing.
fn modules() -> Option<PathBuf> {
    let (apt, unpack) = (peer("apt-get")?, peer("dpkg-deb")?);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cloud-init");
    let (tree, packages, whole) = (folder.join("tree"), folder.join("packages"), folder.join("whole"));
    if !whole.exists() {
        fs::create_dir_all(&packages).expect("a folder");
        let outcome = apt.command(["download"].into_iter().chain(PACKAGES)).folder(&packages).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        for package in fs::read_dir(&packages).expect("packages") {
            let package = package.expect("a package").path();
            unpack.must(["-x".as_ref(), package.as_os_str(), tree.as_os_str()]);
        }
        fs::write(&whole, "").expect("a file");
    }
    Some(tree.join("usr/lib/python3/dist-packages"))
}

/// Holds the documents in `folder` against what was meant with them.
pub(super) fn judge(folder: &Path) {
    let (Some(python), Some(modules)) = (peer("python3"), modules()) else { return };
    let script = project().join("tests/trial/cloud_init.py");
    let said = python.must([script.as_os_str(), modules.as_os_str(), folder.as_os_str()]);
    let read: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no text in {said}")).to_owned();
    let uuid = text(&read["uuid"]);
    assert_eq!(uuid.len(), 36);
    assert_eq!(read["hostname"], format!("trial-{}.novalocal", &uuid[..8]));
    assert!(text(&read["keys"]["trial"]).starts_with("ssh-ed25519 "), "{said}");
    assert!(text(&read["user_data"]).starts_with("#!/bin/sh\n"), "{said}");
    let vendor = text(&read["vendor_data"]);
    assert!(vendor.starts_with("#cloud-config\n") && vendor.contains(&uuid), "{vendor}");

    let has = |interface: &str, lines: &[&str]| {
        let network = text(&read["network"][interface]);
        for line in lines {
            assert!(network.lines().any(|one| one == *line), "{interface}: no {line} in\n{network}");
        }
    };
    has("eth0", &["DHCP=ipv4", "MTUBytes=1442", "DNS=192.0.2.53"]);
    let addresses = ["Address=10.83.2.57/24", "Address=2001:db8:83::57/64", "DHCP=no", "MTUBytes=8950"];
    has("eth1", &addresses);
    let routes =
        ["Destination=0.0.0.0/0", "Gateway=10.83.2.1", "Destination=198.51.100.0/24", "Gateway=10.83.2.9"];
    has("eth1", &routes);
}
