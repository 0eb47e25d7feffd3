//! What is known of distributions: a table for each, which the build reads.
//!
//! ```text
//! debian.rs, ubuntu.rs   archive, keys, releases and their suites, packages by what they are for and from which release on,
//!                        names of folders and programs
//!        └─► bootstrap, bootloader, cloud_init, openstack, load   ask for what a release has
//! ```
//!
//! A release that is not in the table counts as one that is newer than all of them.

mod debian;
mod ubuntu;

pub(crate) use debian::DEBIAN;
pub(crate) use ubuntu::UBUNTU;

/// What is installed in an image of any distribution, besides what the recipe names.
const PACKAGES: &[Package] = &[
    // growpart: the root partition grows at the first boot.
    Package::new(PackageSet::Boot, "cloud-guest-utils"),
    // logind hears of the power button only with it.
    Package::new(PackageSet::Boot, "dbus"),
    // resize2fs and fsck of the root filesystem.
    Package::new(PackageSet::Boot, "e2fsprogs"),
    // update-grub, for kernels that come later.
    Package::new(PackageSet::Boot, "grub2-common"),
    Package::new(PackageSet::Boot, "kmod"),
    Package::new(PackageSet::Boot, "systemd-sysv"),
    Package::new(PackageSet::Boot, "udev"),
    // Packs the initrd.
    Package::new(PackageSet::Boot, "zstd"),
    Package::new(PackageSet::InitramfsTools, "initramfs-tools"),
    Package::new(PackageSet::Dracut, "dracut"),
    Package::new(PackageSet::Bios, "grub-pc-bin"),
    Package::new(PackageSet::Uefi, "grub-efi-amd64-signed"),
    Package::new(PackageSet::Uefi, "shim-signed"),
    Package::new(PackageSet::FirstBoot, "cloud-init"),
    Package::new(PackageSet::FirstBoot, "iproute2"),
    Package::new(PackageSet::FirstBoot, "libnss-resolve"),
    // Sessions end when the machine stops.
    Package::new(PackageSet::FirstBoot, "libpam-systemd"),
    Package::new(PackageSet::FirstBoot, "netbase"),
    Package::new(PackageSet::FirstBoot, "openssh-server"),
    // Of the default user.
    Package::new(PackageSet::FirstBoot, "sudo"),
];

/// What is known of a system that no table is about: nothing.
pub(crate) const UNKNOWN: Facts = Facts {
    name: "linux",
    title: "Linux",
    components: &[],
    archives: &[],
    mirrors_have_security: false,
    keyring: "",
    keyring_package: "",
    efi_folder: "",
    key_manager: SignedFile { esp: "", path: "", package: "" },
    admin_groups: &[],
    locale_file: "/etc/locale.conf",
    network_renderer: "networkd",
    kernel: "",
    usual_kernel: "",
    packages: &[],
    paragraphs_from: None,
    further_host_keys: &[],
    releases: &[],
};

/// Packages that keep the time. They conflict with each other: a system has one (Debian's virtual `time-daemon`).
pub(crate) const TIME_SERVICES: [&str; 6] =
    ["chrony", "ntp", "ntpd-rs", "ntpsec", "openntpd", DEFAULT_TIME_SERVICE];
/// Small, and part of systemd; it takes DHCP's servers where they are named.
pub(crate) const DEFAULT_TIME_SERVICE: &str = "systemd-timesyncd";

/// What a UEFI starts, where it is in an image of any distribution; the last part of the chain is each one's own.
pub(crate) const SIGNED: [SignedFile; 2] = [
    SignedFile {
        esp: "EFI/BOOT/BOOTX64.EFI",
        path: "/usr/lib/shim/shimx64.efi.signed",
        package: "shim-signed",
    },
    SignedFile {
        esp: "EFI/BOOT/grubx64.efi",
        path: "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
        package: "grub-efi-amd64-signed",
    },
];

/// A program that a UEFI checks before it starts it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedFile {
    /// Its path in the EFI system partition.
    pub(crate) esp: &'static str,
    /// Where its package has it.
    pub(crate) path: &'static str,
    pub(crate) package: &'static str,
}

/// What is known of a distribution.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Its name, as its users write it, and as files call it.
    pub(crate) name: &'static str,
    /// Its name in a sentence.
    pub(crate) title: &'static str,
    /// The components of its archive that an image has by default.
    pub(crate) components: &'static [&'static str],
    /// The last part of the addresses of its archive and of the mirrors of it.
    pub(crate) archives: &'static [&'static str],
    /// Whether a mirror has the security updates, too; else they are an archive of their own.
    pub(crate) mirrors_have_security: bool,
    /// The keys that it signs its archive with, in its images and on machines that install them.
    pub(crate) keyring: &'static str,
    /// Their package.
    pub(crate) keyring_package: &'static str,
    /// The folder of the EFI system partition in which its GRUB looks for the menu.
    pub(crate) efi_folder: &'static str,
    /// What the shim starts to enroll keys.
    pub(crate) key_manager: SignedFile,
    /// The groups of a user who administers the machine.
    pub(crate) admin_groups: &'static [&'static str],
    /// Where the locale of the whole system is set.
    pub(crate) locale_file: &'static str,
    /// What cloud-init writes the network's configuration for.
    pub(crate) network_renderer: &'static str,
    /// The kernel for virtual machines.
    pub(crate) kernel: &'static str,
    /// The kernel for any machine.
    pub(crate) usual_kernel: &'static str,
    /// What is installed besides [`PACKAGES`].
    pub(crate) packages: &'static [Package],
    /// The first release whose own images have apt's sources as paragraphs (sources.list(5), "DEB822-STYLE FORMAT").
    pub(crate) paragraphs_from: Option<&'static str>,
    /// Kinds of host keys that OpenSSH makes when it is installed and cloud-init does not make anew, as ssh-keygen names them, and the
    /// first release that has each.
    pub(crate) further_host_keys: &'static [(&'static str, &'static str)],
    /// Its releases, in their order.
    pub(crate) releases: &'static [Release],
}

/// A release.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) code_name: &'static str,
    /// Its number, where it has one.
    pub(crate) version: Option<&'static str>,
    /// Whether there are suites of updates and security updates beside its own.
    pub(crate) has_updates: bool,
}

/// A package that is installed unasked.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    /// What it belongs to.
    pub(crate) set: PackageSet,
    /// The first release that needs it by this name; none for all.
    pub(crate) from: Option<&'static str>,
    /// The last one; none for all.
    pub(crate) until: Option<&'static str>,
}

/// Packages that serve one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PackageSet {
    /// An image boots, grows and stops.
    Boot,
    /// initramfs-tools makes the initrds.
    InitramfsTools,
    /// dracut does.
    Dracut,
    /// A BIOS starts it.
    Bios,
    /// UEFI starts it.
    Uefi,
    /// Both do.
    BiosAndUefi,
    /// It is configured at its first boot.
    FirstBoot,
}

impl Package {
    /// A package of all releases.
    const fn new(set: PackageSet, name: &'static str) -> Self {
        Self { name, set, from: None, until: None }
    }

    /// It, from this release on.
    const fn from(self, release: &'static str) -> Self {
        Self { from: Some(release), ..self }
    }

    /// It, up to this release.
    const fn until(self, release: &'static str) -> Self {
        Self { until: Some(release), ..self }
    }
}

impl Release {
    /// A release with updates.
    const fn new(code_name: &'static str, version: &'static str) -> Self {
        Self { code_name, version: Some(version), has_updates: true }
    }

    /// One that is updated in place, and has no number.
    const fn rolling(code_name: &'static str) -> Self {
        Self { code_name, version: None, has_updates: false }
    }
}

impl Facts {
    /// What is known of `release`.
    pub(crate) fn release(&self, release: &str) -> Option<&Release> {
        self.releases.iter().find(|known| known.code_name == release)
    }

    /// Whether apt's sources are paragraphs in `release`, in a file of the distribution's name; else lines of one file.
    pub(crate) fn has_paragraphs(&self, release: &str) -> bool {
        self.paragraphs_from.is_some_and(|from| self.place(from) <= self.place(release))
    }

    /// The kinds of host keys in `release` that cloud-init does not make anew.
    pub(crate) fn further_host_keys(&self, release: &str) -> impl Iterator<Item = &'static str> {
        let place = self.place(release);
        self.further_host_keys
            .iter()
            .filter(move |(_, from)| self.place(from) <= place)
            .map(|(kind, _)| *kind)
    }

    /// Where `release` stands among those that are known; a new one behind all.
    fn place(&self, release: &str) -> usize {
        self.releases.iter().position(|known| known.code_name == release).unwrap_or(self.releases.len())
    }

    /// The packages of `set` in `release`, in the order of the tables.
    pub(crate) fn packages(&self, set: PackageSet, release: &str) -> impl Iterator<Item = &'static str> {
        let place = self.place(release);
        let fits = move |package: &&Package| {
            let after =
                |bound: Option<&str>, place: usize| bound.is_none_or(|from| self.place(from) <= place);
            let before = package.until.is_none_or(|until| place <= self.place(until));
            package.set == set && after(package.from, place) && before
        };
        PACKAGES.iter().chain(self.packages).filter(fits).map(|package| package.name)
    }

    /// The suites of `release`: its own and those of updates, which lie in the archive, and that of security updates.
    pub(crate) fn suites(&self, release: &str) -> Vec<String> {
        match self.release(release).is_none_or(|known| known.has_updates) {
            true => ["", "-updates", "-security"].map(|suffix| format!("{release}{suffix}")).into(),
            false => vec![release.to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_from_which_release_on_is_told_by_the_table() {
        let first_boot = |facts: &'static Facts, release| -> Vec<_> {
            facts.packages(PackageSet::FirstBoot, release).collect()
        };
        for (release, client, other) in [
            ("bookworm", "isc-dhcp-client", "dhcpcd-base"),
            ("trixie", "dhcpcd-base", "isc-dhcp-client"),
            ("forky", "dhcpcd-base", "isc-dhcp-client"),
            ("sid", "dhcpcd-base", "isc-dhcp-client"),
            ("a-release-to-come", "dhcpcd-base", "isc-dhcp-client"),
        ] {
            let packages = first_boot(&DEBIAN, release);
            assert!(packages.contains(&client) && !packages.contains(&other), "{release}: {packages:?}");
        }
        assert!(
            !first_boot(&DEBIAN, "bullseye").contains(&"systemd-resolved"),
            "it is part of systemd there"
        );
        assert!(first_boot(&DEBIAN, "bookworm").contains(&"systemd-resolved"));
        let suites = |facts: &Facts, release| facts.suites(release);
        assert_eq!(suites(&DEBIAN, "sid"), ["sid"]);
        assert_eq!(suites(&UBUNTU, "noble"), ["noble", "noble-updates", "noble-security"]);
        let paragraphs =
            ["bookworm", "trixie", "sid", "a-release-to-come"].map(|release| DEBIAN.has_paragraphs(release));
        assert_eq!(paragraphs, [false, true, true, true]);
        assert_eq!(["jammy", "noble"].map(|release| UBUNTU.has_paragraphs(release)), [false, true]);
        let keys = |release| DEBIAN.further_host_keys(release).collect::<Vec<_>>();
        assert_eq!((keys("trixie"), keys("forky")), (vec![], vec!["mldsa44-ed25519"]));
    }

    #[test]
    fn every_bound_of_the_tables_is_a_release() {
        for facts in [&DEBIAN, &UBUNTU] {
            let known =
                |release: Option<&str>| release.is_none_or(|release| facts.release(release).is_some());
            for package in facts.packages {
                assert!(known(package.from) && known(package.until), "{package:?}");
            }
            assert!(known(facts.paragraphs_from));
            assert!(facts.further_host_keys.iter().all(|(_, from)| known(Some(from))));
            let mut names: Vec<_> = facts.releases.iter().map(|release| release.code_name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), facts.releases.len());
        }
    }
}
