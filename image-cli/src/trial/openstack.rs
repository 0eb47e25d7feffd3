//! What OpenStack gives to a new server: the same documents by the metadata service and on a config drive.
//!
//! ```text
//! config-2 ┬ openstack ┬ VERSION ┬ meta_data.json      who the server is, its keys
//!          │           │         ├ network_data.json   its interfaces (`neutron.rs`)
//!          │           │         ├ user_data           the script that reports (`inside.sh`)
//!          │           │         ├ vendor_data.json    what the cloud's operator wants
//!          │           │         └ vendor_data2.json   the same from elsewhere: nothing
//!          │           └ latest …
//! ```
//! Nova's user documentation, "Metadata"; its `nova/api/metadata/base.py` for the versions.

use std::fs;
use std::path::Path;

use image_core::fs::iso9660;
use serde_json::json;

use super::neutron;
use super::seed::{Key, Server, random_uuid};
use crate::error::{Context, Result};

/// Nova's versions, the oldest first; the documents are the same in all of them.
pub(super) const VERSIONS: [&str; 10] = [
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "latest",
];

/// The documents of each version.
pub(super) const DOCUMENTS: [&str; 5] =
    ["meta_data.json", "network_data.json", "user_data", "vendor_data.json", "vendor_data2.json"];

/// The file that the vendor's data write in the guest, and that `inside.sh` reads.
const VENDOR_FILE: &str = "/run/goldimg-vendor-data";

/// Documents for one server.
#[derive(Debug)]
pub(super) struct Documents([Vec<u8>; 5]);

impl Documents {
    /// For a server whose interfaces have these MAC addresses, or that has none. In the guest, `wait_seconds` is how long
    /// the report waits for the boot to end.
    pub(super) fn new(
        server: &Server,
        key: &Key,
        wait_seconds: u64,
        macs: Option<&[String; 2]>,
    ) -> Result<Self> {
        let name = &server.hostname;
        let public = key.public();
        let meta_data = json!({
            "uuid": server.uuid,
            "name": name,
            // Nova's `dhcp_domain` unless a cloud sets another one.
            "hostname": format!("{name}.novalocal"),
            "launch_index": 0,
            "availability_zone": "nova",
            "project_id": random_uuid()?.replace('-', ""),
            "public_keys": { "trial": public },
            "keys": [{ "name": "trial", "type": "ssh", "data": public }],
            "meta": {},
            "devices": [],
            "dedicated_cpus": [],
        });
        let network_data = match macs {
            Some(macs) => neutron::network_data(macs, &[random_uuid()?, random_uuid()?]),
            None => neutron::no_network_data(),
        };
        let vendor = json!({ "write_files": [{ "path": VENDOR_FILE, "content": vendor_words(server) }] });
        let vendor_data = json!({ "cloud-init": format!("#cloud-config\n{vendor}\n") });
        Ok(Self([
            serde_json::to_vec_pretty(&meta_data)?,
            serde_json::to_vec_pretty(&network_data)?,
            key.reporting_script(wait_seconds).into_bytes(),
            serde_json::to_vec_pretty(&vendor_data)?,
            b"{}".to_vec(),
        ]))
    }

    /// A config drive's bytes.
    pub(super) fn config_drive(&self) -> Result<Vec<u8>> {
        let mut files = Vec::new();
        for version in VERSIONS {
            let named = DOCUMENTS.iter().zip(&self.0);
            files
                .extend(named.map(|(name, bytes)| (format!("openstack/{version}/{name}"), bytes.as_slice())));
        }
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect();
        Ok(iso9660::image("config-2", &files)?)
    }

    /// Files for the metadata service.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir(folder).context("making a folder for the metadata service")?;
        for (name, bytes) in DOCUMENTS.iter().zip(&self.0) {
            fs::write(folder.join(name), bytes).with_context(|| format!("writing {name}"))?;
        }
        Ok(())
    }
}

/// What the vendor's data leave behind in this server.
pub(super) fn vendor_words(server: &Server) -> String {
    format!("vendor data of {}", server.uuid)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::seed::tests::key;
    use super::*;

    pub(in crate::trial) fn documents(server: &Server) -> Documents {
        let macs = ["52:54:00:00:00:01", "52:54:01:00:00:01"].map(String::from);
        Documents::new(server, &key(), 77, Some(&macs)).unwrap()
    }

    #[test]
    fn a_server_without_interfaces_is_told_of_none() {
        let server = Server::new().unwrap();
        let Documents([meta_data, network_data, ..]) = Documents::new(&server, &key(), 77, None).unwrap();
        assert_eq!(network_data, b"{}");
        assert!(!meta_data.is_empty());
    }

    #[test]
    fn a_config_drive_has_the_documents_of_every_version() {
        let server = Server::new().unwrap();
        let documents = documents(&server);
        let drive = documents.config_drive().unwrap();
        let count =
            |text: &str| drive.windows(text.len()).filter(|window| *window == text.as_bytes()).count();
        assert_eq!(count(&format!("\"uuid\": \"{}\"", server.uuid)), VERSIONS.len());
        assert_eq!(count("timeout 77 cloud-init"), VERSIONS.len());
        // Each name once with its case (Rock Ridge).
        assert_eq!(count("network_data.json"), VERSIONS.len());
        // The primary descriptor's volume name.
        assert_eq!(&drive[0x8028..0x8048], b"config-2                        ");
    }

    #[test]
    fn the_documents_say_who_the_server_is() {
        let server = Server::new().unwrap();
        let Documents([meta_data, _, user_data, vendor_data, _]) = documents(&server);
        let meta_data: serde_json::Value = serde_json::from_slice(&meta_data).unwrap();
        assert_eq!(meta_data["hostname"], format!("{}.novalocal", server.hostname));
        assert_eq!(meta_data["public_keys"]["trial"], "ssh-ed25519 AAAA trial-1");
        assert!(user_data.starts_with(b"#!/bin/sh\n"));
        let vendor_data: serde_json::Value = serde_json::from_slice(&vendor_data).unwrap();
        let config = vendor_data["cloud-init"].as_str().unwrap();
        let yaml: serde_json::Value = serde_saphyr::from_str(config).unwrap();
        assert_eq!(yaml["write_files"][0]["content"], vendor_words(&server));
    }
}
