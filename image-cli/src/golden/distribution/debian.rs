//! Debian.

use super::PackageSet::{Bios, BiosAndUefi, Boot, FirstBoot, Uefi};
use super::{Facts, Package, Release};

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
    network_renderer: "networkd",
    kernel: "linux-image-cloud-amd64",
    packages: &[
        // growpart: the root partition grows at the first boot.
        Package::new(Boot, "cloud-guest-utils"),
        // logind hears of the power button only with it.
        Package::new(Boot, "dbus"),
        // resize2fs and fsck of the root filesystem.
        Package::new(Boot, "e2fsprogs"),
        // update-grub, for kernels that come later.
        Package::new(Boot, "grub2-common"),
        Package::new(Boot, "initramfs-tools"),
        Package::new(Boot, "kmod"),
        Package::new(Boot, "systemd-sysv"),
        Package::new(Boot, "udev"),
        // Packs the initrd.
        Package::new(Boot, "zstd"),
        Package::new(Bios, "grub-pc-bin"),
        Package::new(Uefi, "grub-efi-amd64-signed"),
        Package::new(Uefi, "shim-signed"),
        // For images with both: its scripts renew the boot loaders on a running machine, not in a chroot.
        Package::new(BiosAndUefi, "grub-cloud-amd64"),
        Package::new(FirstBoot, "cloud-init"),
        Package::new(FirstBoot, "iproute2"),
        // cloud-init asks for metadata before the network is configured. The first one is gone from forky.
        Package::new(FirstBoot, "isc-dhcp-client").until("trixie"),
        Package::new(FirstBoot, "dhcpcd-base").from("forky"),
        Package::new(FirstBoot, "libnss-resolve"),
        // Sessions end when the machine stops.
        Package::new(FirstBoot, "libpam-systemd"),
        Package::new(FirstBoot, "netbase"),
        Package::new(FirstBoot, "openssh-server"),
        // Of the default user.
        Package::new(FirstBoot, "sudo"),
        // A part of systemd before.
        Package::new(FirstBoot, "systemd-resolved").from("bookworm"),
    ],
    releases: &[
        Release::new("bullseye", "11"),
        Release::new("bookworm", "12"),
        Release::new("trixie", "13"),
        Release::new("forky", "14"),
        Release::rolling("sid"),
    ],
};
