//! Ubuntu.

use super::PackageSet::{Bios, Boot, FirstBoot, Uefi};
use super::{Facts, Package, Release};

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
    network_renderer: "netplan",
    kernel: "linux-image-virtual",
    // As Debian's, and for the same reasons.
    packages: &[
        Package::new(Boot, "cloud-guest-utils"),
        Package::new(Boot, "dbus"),
        Package::new(Boot, "e2fsprogs"),
        Package::new(Boot, "grub2-common"),
        Package::new(Boot, "initramfs-tools"),
        Package::new(Boot, "kmod"),
        Package::new(Boot, "systemd-sysv"),
        Package::new(Boot, "udev"),
        Package::new(Boot, "zstd"),
        Package::new(Bios, "grub-pc-bin"),
        Package::new(Uefi, "grub-efi-amd64-signed"),
        Package::new(Uefi, "shim-signed"),
        Package::new(FirstBoot, "cloud-init"),
        Package::new(FirstBoot, "iproute2"),
        Package::new(FirstBoot, "isc-dhcp-client"),
        Package::new(FirstBoot, "libnss-resolve"),
        Package::new(FirstBoot, "libpam-systemd"),
        Package::new(FirstBoot, "netbase"),
        Package::new(FirstBoot, "openssh-server"),
        Package::new(FirstBoot, "sudo"),
        // A part of systemd before.
        Package::new(FirstBoot, "systemd-resolved").from("noble"),
    ],
    releases: &[
        Release::new("focal", "20.04"),
        Release::new("jammy", "22.04"),
        Release::new("noble", "24.04"),
        Release::new("questing", "25.10"),
        Release::new("resolute", "26.04"),
    ],
};
