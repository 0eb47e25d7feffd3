//! Debian.

use super::PackageSet::{BiosAndUefi, FirstBoot};
use super::{Facts, Package, Release, SignedFile};

/// Debian.
pub(crate) const DEBIAN: Facts = Facts {
    name: "debian",
    title: "Debian",
    components: &["main"],
    archives: &["debian", "debian-security"],
    mirrors_have_security: false,
    keyring: "/usr/share/keyrings/debian-archive-keyring.gpg",
    keyring_package: "debian-archive-keyring",
    efi_folder: "debian",
    key_manager: SignedFile {
        esp: "EFI/BOOT/mmx64.efi",
        path: "/usr/lib/shim/mmx64.efi.signed",
        package: "shim-helpers-amd64-signed",
    },
    admin_groups: &["adm", "sudo"],
    locale_file: "/etc/default/locale",
    network_renderer: "networkd",
    kernel: "linux-image-cloud-amd64",
    usual_kernel: "linux-image-amd64",
    packages: &[
        // For images with both: its scripts renew the boot loaders on a running machine, not in a chroot.
        Package::new(BiosAndUefi, "grub-cloud-amd64"),
        // cloud-init asks for metadata before the network is configured: with that which it asks for first. The older one is gone
        // from forky.
        Package::new(FirstBoot, "isc-dhcp-client").until("bookworm"),
        Package::new(FirstBoot, "dhcpcd-base").from("trixie"),
        // A part of systemd before.
        Package::new(FirstBoot, "systemd-resolved").from("bookworm"),
    ],
    paragraphs_from: Some("trixie"),
    // OpenSSH 10.6; cloud-init 26.2 does not know it.
    further_host_keys: &[("mldsa44-ed25519", "forky")],
    releases: &[
        Release::new("bullseye", "11"),
        Release::new("bookworm", "12"),
        Release::new("trixie", "13"),
        Release::new("forky", "14"),
        Release::rolling("sid"),
    ],
};
