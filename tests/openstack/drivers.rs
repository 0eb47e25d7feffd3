//! What an image has drivers for decides how a cloud is told to attach things.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::peer::peer;
use crate::support::{folder, goldimg};

/// An archive of files that has none: its last entry alone (the kernel's `initramfs buffer format`).
fn empty_initrd() -> Vec<u8> {
    let name = "TRAILER!!!\0";
    let numbers = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len(), 0];
    let fields: String = numbers.iter().map(|number| format!("{number:08x}")).collect();
    let mut archive = format!("070701{fields}{name}").into_bytes();
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive
}

/// A filesystem with a kernel that has these modules built in.
fn image(path: &Path, modules: &[&str]) -> bool {
    let Some(mke2fs) = peer("mke2fs") else { return false };
    let tree = path.with_extension("tree");
    let builtin: String = modules.iter().map(|name| format!("kernel/{name}.ko\n")).collect();
    for (file, content) in [
        ("boot/initrd.img-6", empty_initrd()),
        ("etc/os-release", Vec::new()),
        ("usr/lib/modules/6/modules.builtin", builtin.into_bytes()),
    ] {
        let file = tree.join(file);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, content).expect("a file");
    }
    let [tree, path] = [&tree, path].map(|path| path.to_str().expect("paths of tests are text"));
    mke2fs.must(["-q", "-F", "-t", "ext4", "-d", tree, path, "16M"]);
    true
}

/// The properties of buses that an upload of it sets.
fn buses(path: &Path) -> Vec<(String, Value)> {
    let words = ["upload", "--plan", "--json", "--audit", "off"].map(OsStr::new);
    let outcome = goldimg(words.into_iter().chain([path.as_os_str()]))
        .env("OS_AUTH_URL", "http://192.0.2.1")
        .env("OS_USERNAME", "me")
        .env("OS_PASSWORD", "hush-password")
        .env("OS_PROJECT_NAME", "p")
        .run();
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    let requests: Vec<Value> = serde_json::from_str(&outcome.stdout).expect("requests");
    let creation = requests.iter().find(|request| request["body"]["disk_format"].is_string());
    let body = creation.expect("a creation")["body"].as_object().expect("properties").clone();
    body.into_iter().filter(|(name, _)| name.starts_with("hw_")).collect()
}

#[test]
fn a_cloud_is_told_of_what_an_image_of_unknown_origin_cannot_drive() {
    let dir = folder();
    let path = dir.path().join("disk.raw");
    let cloud = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_scsi", "sd_mod", "sr_mod", "isofs"];
    if !image(&path, &cloud) {
        return;
    }
    let scsi = [("hw_cdrom_bus", "scsi"), ("hw_scsi_model", "virtio-scsi")];
    assert_eq!(buses(&path), scsi.map(|(name, value)| (name.to_owned(), Value::from(value))));
    // A kernel with drivers for everything is asked for nothing.
    let all = dir.path().join("all.raw");
    assert!(image(&all, &[&cloud[..], &["ahci", "ata_piix"]].concat()));
    assert_eq!(buses(&all), []);
}
