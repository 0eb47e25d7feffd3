//! Image properties: what Nova makes of them, and what the SCS standard wants to know.
//!
//! Glance stores anything; Nova refuses a server whose image has an illegal value, and takes nonsense for *false*
//! where it expects a truth value. So values are held against Nova's own table (`properties/nova.txt`) here,
//! before anything is built or sent. Names that Nova does not know are stored all the same: those that look as if they were
//! meant for it get a warning with the nearest known one.

mod finding;
mod scs;

use std::collections::BTreeMap;

pub(crate) use finding::Finding;
use finding::{fatal, warning};

/// Nova's table: `name type values`, one a line.
const NOVA: &str = include_str!("properties/nova.txt");

/// Prefixes of names that are meant for Nova.
const NOVA_PREFIXES: &[&str] = &["hw_", "img_", "os_"];

/// Names of old, and names that only inform, with Nova's name where it has one.
const OTHER_NAMES: &[(&str, Option<&str>)] = &[
    ("architecture", Some("hw_architecture")),
    ("hypervisor_type", Some("img_hv_type")),
    ("vm_mode", Some("hw_vm_mode")),
    ("auto_disk_config", Some("hw_auto_disk_config")),
    ("kernel_id", None),
    ("ramdisk_id", None),
    ("os_version", None),
    ("os_purpose", None),
    ("instance_uuid", None),
];

/// Glance's own fields: a property cannot have their names.
const FIELDS: &[&str] = &[
    "checksum",
    "container_format",
    "created_at",
    "direct_url",
    "disk_format",
    "file",
    "id",
    "locations",
    "min_disk",
    "min_ram",
    "name",
    "os_hash_algo",
    "os_hash_value",
    "os_hidden",
    "owner",
    "protected",
    "schema",
    "self",
    "size",
    "status",
    "stores",
    "tags",
    "updated_at",
    "virtual_size",
    "visibility",
];

/// Glance's default limit (`image_property_quota`).
const COUNT_LIMIT: usize = 128;
/// The length of a name's column.
const NAME_LIMIT: usize = 255;
/// The length of a value's column, in bytes.
const VALUE_LIMIT: usize = 65535;

/// Holds properties against Glance's limits, Nova's table and the SCS standard.
/// As those of a public image if `is_public`.
pub(crate) fn lint(properties: &BTreeMap<String, String>, is_public: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if properties.len() > COUNT_LIMIT {
        findings.push(fatal(format!(
            "{} properties are more than the {COUNT_LIMIT} that Glance takes",
            properties.len()
        )));
    }
    findings.extend(properties.iter().filter_map(|(name, value)| judge(name, value)));
    if is_public {
        findings.extend(scs::missing(properties));
    }
    findings
}

/// Holds one property against them.
pub(crate) fn judge(name: &str, value: &str) -> Option<Finding> {
    glance(name, value).or_else(|| nova(name, value)).or_else(|| scs::value(name, value))
}

/// What Glance itself refuses.
fn glance(name: &str, value: &str) -> Option<Finding> {
    if name.is_empty() || name.chars().count() > NAME_LIMIT {
        return Some(fatal(format!("the property name {name:?} is not 1 to {NAME_LIMIT} characters long")));
    }
    if name.starts_with("os_glance_") {
        return Some(fatal(format!("{name} is reserved by Glance: no property may begin with os_glance_")));
    }
    if FIELDS.contains(&name) {
        return Some(fatal(format!(
            "{name} is a field of Glance's own, not a property: use the option for it"
        )));
    }
    if value.len() > VALUE_LIMIT {
        return Some(fatal(format!(
            "the value of {name} is longer than the {VALUE_LIMIT} bytes that Glance takes"
        )));
    }
    let beyond = name.chars().chain(value.chars()).find(|c| *c > '\u{ffff}')?;
    Some(fatal(format!("{name} holds {beyond:?}: Glance takes no characters beyond U+FFFF")))
}

/// What Nova refuses, or would misunderstand.
fn nova(name: &str, value: &str) -> Option<Finding> {
    if let Some(required) = name.strip_prefix("trait") {
        // "trait:CUSTOM_X" and "trait_group1:CUSTOM_X".
        let is_trait = required.starts_with(':') || required.starts_with('_') && required.contains(':');
        return (is_trait && value != "required")
            .then(|| fatal(format!("{name}={value:?}: Nova knows only \"required\" for a trait")));
    }
    let known = OTHER_NAMES.iter().find(|(known, _)| *known == name);
    let canonical = match known {
        Some((_, Some(canonical))) => canonical,
        Some((_, None)) => return None,
        None => name,
    };
    let Some((kind, legal)) = entry(canonical) else {
        if !NOVA_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            return None;
        }
        let near = nearest(name).map_or(String::new(), |near| format!(": did you mean {near}?"));
        return Some(warning(format!("Nova knows no property {name}{near}")));
    };
    let sensible = value_is_sensible(canonical, kind, legal, value);
    sensible.err().map(|expected| fatal(format!("{name}={value:?}: Nova takes {expected}")))
}

/// The type and the legal values of one of Nova's properties.
fn entry(name: &str) -> Option<(&'static str, &'static str)> {
    let line = NOVA.lines().find(|line| line.split(' ').next() == Some(name))?;
    let mut words = line.split(' ').skip(1);
    Some((words.next()?, words.next().unwrap_or_default()))
}

/// # Errors
/// What is expected instead.
fn value_is_sensible(name: &str, kind: &str, legal: &str, value: &str) -> Result<(), String> {
    let ok = match kind {
        _ if !legal.is_empty() => {
            // Nova itself reads these two without regard to case, and knows one machine by two names.
            let folded = matches!(kind, "OSType" | "Architecture" | "HVType" | "VMMode");
            let lower = value.to_ascii_lowercase();
            let asked = if folded { lower.as_str() } else { value };
            let alias = kind == "Architecture" && matches!(asked, "amd64" | "i386");
            if alias || legal.split(',').any(|known| known == asked) {
                return Ok(());
            }
            let near = legal
                .split(',')
                .max_by(|a, b| strsim::jaro_winkler(a, &lower).total_cmp(&strsim::jaro_winkler(b, &lower)));
            let near = near.filter(|near| strsim::jaro_winkler(near, &lower) > 0.75);
            let meant = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            return Err(format!("one of {}{meant}", legal.replace(',', ", ")));
        }
        // Anything else is silently false.
        "FlexibleBoolean" => matches!(
            value.to_ascii_lowercase().as_str(),
            "1" | "t" | "true" | "on" | "y" | "yes" | "0" | "f" | "false" | "off" | "n" | "no"
        ),
        "Integer" => value.parse::<i64>().is_ok(),
        "UUID" => uuid::Uuid::try_parse(value).is_ok(),
        _ => true,
    };
    match (ok, kind) {
        (true, _) => Ok(()),
        (false, "FlexibleBoolean") => Err("yes or no here, and reads anything else as no".into()),
        (false, "Integer") => Err("a whole number".into()),
        (false, _) => Err(format!("a {kind} for {name}")),
    }
}

/// The known name that is most like `name`.
fn nearest(name: &str) -> Option<&'static str> {
    let known = NOVA.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(' ').next());
    let known = known.chain(OTHER_NAMES.iter().map(|(name, _)| *name)).chain(scs::names());
    let (near, likeness) = known
        .map(|known| (known, strsim::jaro_winkler(known, name)))
        .max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (likeness > 0.85).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, value: &str) -> Vec<(bool, String)> {
        let properties = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        lint(&properties, false).into_iter().map(|found| (found.fatal, found.text)).collect()
    }

    #[test]
    fn novas_table_is_whole() {
        let names: Vec<_> = NOVA.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(names.len(), 86);
        assert!(names.iter().all(|line| (2..=3).contains(&line.split(' ').count())), "{names:?}");
    }

    #[test]
    fn what_nova_refuses_is_refused() {
        // Each of these was refused by Nova 34, or silently read as false.
        for (name, value) in [
            ("hw_disk_bus", "nvme"),
            ("hw_disk_bus", "SCSI"),
            ("hw_firmware_type", "efi"),
            ("hw_scsi_model", "virtio"),
            ("hw_vif_model", "virtio-net"),
            ("hw_qemu_guest_agent", "maybe"),
            ("hw_video_model", "std"),
            ("img_config_drive", "yes"),
            ("hw_rng_model", "virtio-rng"),
            ("os_secure_boot", "true"),
            ("hw_watchdog_action", "restart"),
            ("hw_serial_port_count", "two"),
            ("vm_mode", "kvm"),
            ("trait:CUSTOM_GPU", "yes"),
            ("os_glance_x", "y"),
            ("min_disk", "3"),
            ("note", "\u{1f600}"),
        ] {
            let found = findings(name, value);
            assert!(found.len() == 1 && found[0].0, "{name}={value}: {found:?}");
        }
    }

    #[test]
    fn what_nova_takes_is_taken() {
        for (name, value) in [
            ("hw_disk_bus", "scsi"),
            ("os_type", "Linux"),
            ("os_distro", "Debian"),
            ("hw_machine_type", "q35"),
            ("architecture", "amd64"),
            ("architecture", "x86_64"),
            ("hypervisor_type", "qemu"),
            ("hw_boot_menu", "1"),
            ("trait:CUSTOM_GPU", "required"),
            ("os_version", "12"),
            ("kernel_id", "x"),
            ("note", "what I like: grün"),
            ("replace_frequency", "monthly"),
        ] {
            assert_eq!(findings(name, value), [], "{name}={value}");
        }
    }

    #[test]
    fn the_nearest_name_and_value_are_offered() {
        assert_eq!(
            findings("hw_disc_bus", "scsi"),
            [(false, "Nova knows no property hw_disc_bus: did you mean hw_disk_bus?".into())]
        );
        assert_eq!(findings("hw_zzz", "1"), [(false, "Nova knows no property hw_zzz".into())]);
        assert!(findings("hw_disk_bus", "SCSI")[0].1.ends_with("did you mean \"scsi\"?"));
        assert!(findings("hw_firmware_type", "efi")[0].1.ends_with("did you mean \"uefi\"?"));
    }

    #[test]
    fn a_public_image_is_held_against_the_standard() {
        let found = lint(&BTreeMap::new(), true);
        assert!(found.len() == 1 && !found[0].fatal && found[0].text.contains("image_source"), "{found:?}");
    }
}
