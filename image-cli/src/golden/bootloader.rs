//! What starts the system: GRUB for a BIOS, the signed shim and GRUB for UEFI, and the kernel's command line.

use super::recipe::{Distribution, Firmware, Recipe};

/// The packages without which the image does not boot, grow and stop: kernel, initramfs, init, boot loaders.
/// In alphabetical order, without repetitions.
pub(crate) fn packages(recipe: &Recipe) -> Vec<String> {
    let mut packages: Vec<String> = [
        "cloud-guest-utils", // growpart: the root partition grows at the first boot
        "dbus",              // logind hears of the power button only with it
        "e2fsprogs",         // resize2fs and fsck of the root filesystem
        "grub2-common",      // update-grub, for kernels that come later
        "initramfs-tools",
        "kmod",
        "systemd-sysv",
        "udev",
        "zstd", // packs the initrd
    ]
    .map(String::from)
    .into();
    packages.push(recipe.boot.kernel.clone().unwrap_or_else(|| default_kernel(recipe).into()));
    for firmware in &recipe.boot.firmware {
        match firmware {
            Firmware::Bios => packages.push("grub-pc-bin".into()),
            Firmware::Uefi => {
                packages.extend(["grub-efi-amd64-signed", "shim-signed"].map(String::from));
            }
        }
    }
    // Debian's package for images with both: its scripts renew the boot loaders on a running machine, not in a chroot.
    let both = [Firmware::Bios, Firmware::Uefi].iter().all(|one| recipe.boot.firmware.contains(one));
    if both && recipe.base.distribution == Distribution::Debian {
        packages.push("grub-cloud-amd64".into());
    }
    packages.sort();
    packages.dedup();
    packages
}

/// The distribution's kernel for virtual machines.
fn default_kernel(recipe: &Recipe) -> &'static str {
    match recipe.base.distribution {
        Distribution::Debian => "linux-image-cloud-amd64",
        Distribution::Ubuntu => "linux-image-virtual",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::recipe::example;

    #[test]
    fn the_packages_follow_the_firmware_and_the_distribution() {
        let mut recipe = example();
        let has = |recipe: &Recipe, name: &str| packages(recipe).iter().any(|package| package == name);
        for name in ["linux-image-cloud-amd64", "grub-pc-bin", "shim-signed", "grub-cloud-amd64", "udev"] {
            assert!(has(&recipe, name), "{name}");
        }
        recipe.boot.firmware = vec![Firmware::Uefi];
        assert!(!has(&recipe, "grub-pc-bin") && !has(&recipe, "grub-cloud-amd64"));
        recipe.base.distribution = Distribution::Ubuntu;
        assert!(has(&recipe, "linux-image-virtual"));
        recipe.boot.kernel = Some("linux-image-generic".into());
        assert!(has(&recipe, "linux-image-generic") && !has(&recipe, "linux-image-virtual"));
        assert!(packages(&recipe).is_sorted());
    }
}
