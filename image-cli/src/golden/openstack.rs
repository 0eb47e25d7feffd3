//! What OpenStack is told of an image: properties that suit what is in it, and what the recipe says besides.
//!
//! ```text
//! recipe ───────► names, user, firmware, datasources ─┐
//! packages ─────► the guest agent ────────────────────┼─► defaults ─► [openstack.properties] laid over ─► manifest
//! finished disk ► what its kernel has drivers for ────┘
//! ```
//! `goldimg upload` takes them from the manifest. Nova's documentation, "Useful image properties"; SCS-0102.

use std::collections::BTreeMap;

use super::epoch::Epoch;
use super::recipe::{Firmware, Recipe};
use crate::audit::drivers::Drivers;
use crate::manifest::Package;

/// The system that an image has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct About {
    /// Its distribution, as files call it, and the version; each may be unknown.
    pub(crate) distribution: Option<String>,
    pub(crate) version: Option<String>,
    /// The account that gets the cloud's key.
    pub(crate) user: Option<String>,
}

impl About {
    /// The one that `recipe` makes from packages.
    pub(crate) fn made(recipe: &Recipe) -> Self {
        let release = recipe.base.release.as_str();
        let facts = recipe.base.facts();
        let version = facts.release(release).and_then(|known| known.version).unwrap_or(release);
        let user = recipe.cloud_init.default_user.as_deref().unwrap_or(facts.name);
        let [distribution, version, user] = [facts.name, version, user].map(|text| Some(text.to_owned()));
        Self { distribution, version, user }
    }
}

/// The properties of an image of `recipe` with the system `about`. `drivers` are those of its kernels, where they are known.
pub(crate) fn properties(
    recipe: &Recipe,
    about: &About,
    epoch: Epoch,
    packages: &[Package],
    drivers: Option<&Drivers>,
) -> BTreeMap<String, String> {
    let built = epoch.date_time();
    let known = [
        ("os_distro", &about.distribution),
        ("os_version", &about.version),
        ("os_admin_user", &about.user),
        ("image_original_user", &about.user),
    ];
    let mut properties: BTreeMap<&str, &str> =
        known.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect();
    properties.extend([
        ("architecture", "x86_64"),
        ("os_type", "linux"),
        ("image_build_date", &built),
        // Nobody else can fetch it from where it was made.
        ("image_source", "private"),
        ("hw_disk_bus", "virtio"),
        ("hw_vif_model", "virtio"),
        ("hw_rng_model", "virtio"),
    ]);
    properties.extend(drivers.map(Drivers::properties).unwrap_or_default());
    if let Some(description) = &recipe.description {
        properties.insert("image_description", description);
    }
    match recipe.boot.firmware.as_slice() {
        [Firmware::Uefi] => properties.extend([("hw_firmware_type", "uefi"), ("hw_machine_type", "q35")]),
        [Firmware::Bios] => properties.extend([("hw_firmware_type", "bios")]),
        // Whatever the cloud prefers.
        _ => {}
    }
    let reads = |source: &str| recipe.datasources().iter().any(|one| one == source);
    if reads("ConfigDrive") && !reads("OpenStack") {
        properties.insert("img_config_drive", "mandatory");
    }
    if packages.iter().any(|package| package.name == "qemu-guest-agent") {
        properties.insert("hw_qemu_guest_agent", "yes");
    }
    let mut all: BTreeMap<String, String> =
        properties.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for (name, value) in &recipe.openstack.properties {
        match value.as_str() {
            "" => drop(all.remove(name)),
            _ => drop(all.insert(name.clone(), value.clone())),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::recipe::example;
    use crate::properties::lint;

    fn of(recipe: &Recipe) -> BTreeMap<String, String> {
        let agent = ["qemu-guest-agent"].map(|name| Package {
            name: name.into(),
            version: "1".into(),
            architecture: "amd64".into(),
        });
        properties(recipe, &About::made(recipe), Epoch::new(1_760_000_000).unwrap(), &agent, None)
    }

    #[test]
    fn the_defaults_suit_the_image_and_nova() {
        let mut recipe = example();
        recipe.boot.firmware = vec![Firmware::Uefi];
        let all = of(&recipe);
        for (name, value) in [
            ("os_version", "12"),
            ("os_admin_user", "debian"),
            ("hw_firmware_type", "uefi"),
            ("hw_machine_type", "q35"),
            ("hw_qemu_guest_agent", "yes"),
            ("image_build_date", "2025-10-09 08:53:20"),
        ] {
            assert_eq!(all[name], value);
        }
        assert!(!all.contains_key("img_config_drive"));
        assert_eq!(lint(&all, false), []);
        recipe.cloud_init.datasources = vec!["ConfigDrive".into()];
        assert_eq!(of(&recipe)["img_config_drive"], "mandatory");
    }

    #[test]
    fn the_recipe_has_the_last_word() {
        let mut recipe = example();
        let asked = [("hw_disk_bus", "scsi"), ("hw_rng_model", ""), ("replace_frequency", "monthly")];
        recipe.openstack.properties = asked.map(|(name, value)| (name.into(), value.into())).into();
        let all = of(&recipe);
        assert_eq!((all["hw_disk_bus"].as_str(), all["replace_frequency"].as_str()), ("scsi", "monthly"));
        assert!(!all.contains_key("hw_rng_model"));
    }
}
