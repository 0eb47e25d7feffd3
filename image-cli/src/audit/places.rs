//! Places that several rules look at, by what is there.

/// Menus of boot loaders.
pub(super) const MENUS: &[&str] = &[
    "/boot/grub*/",
    "/boot/loader/",
    "/boot/EFI/Linux/",
    "/boot/efi/",
    "/efi/",
    "/boot/extlinux/",
    "/boot/syslinux/",
];
/// systemd's units, and which are enabled.
pub(super) const UNITS: &[&str] = &["/etc/systemd/system/", "/usr/lib/systemd/", "/lib/systemd/"];
/// cloud-init's settings.
pub(super) const CLOUD_CFG: &[&str] = &["/etc/cloud/cloud.cfg", "/etc/cloud/cloud.cfg.d/*.cfg"];
/// sshd's settings.
pub(super) const SSHD: &[&str] =
    &["/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/", "/etc/default/ssh", "/etc/sysconfig/sshd"];
/// Settings of network cards.
pub(super) const NETWORKS: &[&str] = &[
    "/etc/netplan/*.yaml",
    "/etc/network/interfaces",
    "/etc/network/interfaces.d/*",
    "/etc/NetworkManager/system-connections/*",
    "/etc/systemd/network/",
    "/etc/systemd/networkd.conf",
    "/etc/systemd/networkd.conf.d/*",
    "/etc/sysconfig/network*/ifcfg-*",
    "/etc/dhcp/dhclient.conf",
    "/etc/dhcpcd.conf",
];
/// Kernels' lists of modules.
pub(super) const MODULES: &[&str] = &["/usr/lib/modules/*/modules.*"];
