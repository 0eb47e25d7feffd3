//! Ubuntu.

use super::PackageSet::FirstBoot;
use super::{Facts, Package, Release, SignedFile};

/// Ubuntu.
pub(crate) const UBUNTU: Facts = Facts {
    name: "ubuntu",
    title: "Ubuntu",
    components: &["main", "universe"],
    archives: &["ubuntu"],
    mirrors_have_security: true,
    keyring: "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    keyring_package: "ubuntu-keyring",
    efi_folder: "ubuntu",
    // Signed together with the shim, so it keeps its plain name.
    key_manager: SignedFile {
        esp: "EFI/BOOT/mmx64.efi",
        path: "/usr/lib/shim/mmx64.efi",
        package: "shim-signed",
    },
    admin_groups: &["adm", "sudo"],
    locale_file: "/etc/default/locale",
    network_renderer: "netplan",
    kernel: "linux-image-virtual",
    usual_kernel: "linux-image-generic",
    packages: &[
        // cloud-init asks for metadata before the network is configured.
        Package::new(FirstBoot, "isc-dhcp-client").until("jammy"),
        Package::new(FirstBoot, "dhcpcd-base").from("noble"),
        // A part of systemd before.
        Package::new(FirstBoot, "systemd-resolved").from("noble"),
    ],
    paragraphs_from: Some("noble"),
    further_host_keys: &[],
    releases: &[
        Release::new("focal", "20.04"),
        Release::new("jammy", "22.04"),
        Release::new("noble", "24.04"),
        Release::new("questing", "25.10"),
        Release::new("resolute", "26.04"),
    ],
};
