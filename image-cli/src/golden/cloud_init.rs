//! cloud-init: where it looks for its data, what it configures, and a network that comes up wherever the image runs.
//!
//! ```text
//! /etc/cloud/cloud.cfg.d/91_goldimg.cfg        datasources, default user, keys only
//! /etc/cloud/cloud.cfg.d/91_goldimg_apt.cfg    apt's sources, as the image has them
//! /etc/cloud/cloud.cfg.d/NAME.cfg              the recipe's own
//! /etc/cloud/ds-identify.cfg                   no datasource found: cloud-init runs all the same (host keys!)
//! /etc/systemd/network/90-goldimg-dhcp.network DHCP on every NIC that nobody configures
//! …/systemd-networkd-wait-online.service.d     the boot waits for one NIC, or for none where there is none
//! /etc/ssh/sshd_config.d/90-goldimg.conf       no passwords
//! …/sshd-keygen.service.d                      host keys of kinds that cloud-init does not make
//! ```

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::distribution::{DEFAULT_TIME_SERVICE, PackageSet, TIME_SERVICES};
use super::recipe::{Base, Recipe, Step};
use super::tree::Tree;
use crate::error::{Advise, Context, err};
use crate::monitor::Monitor;

/// Where its settings are.
pub(super) const FOLDER: &str = "/etc/cloud/cloud.cfg.d";
/// After the package's own 90_dpkg.cfg, so that it counts.
pub(super) const OWN: &str = "91_goldimg.cfg";

/// What is said of apt's sources, before the recipe's own.
const SOURCES: &str = "91_goldimg_apt.cfg";

/// cloud-init enables itself whatever is found: without it no host keys are made and nobody can log in.
const IDENTIFY: &str = "policy: search,found=all,maybe=all,notfound=enabled\n";

/// After the files that cloud-init writes (10-cloud-init-*), so for NICs that it leaves alone. Such a NIC counts for the
/// wait once it has an address that leads somewhere: where cloud-init configures none, or one whose network has no DHCP
/// server, there is no other to wait for.
const NETWORK: &str = "\
[Match]
Type=ether
Kind=!*

[Link]
RequiredForOnline=routable

[Network]
DHCP=yes

[DHCPv4]
UseDomains=yes
";

/// One NIC that is up is enough: others may have no DHCP server. Without any NIC there is nothing to wait for, but the
/// wait would fail when its time is up, and the system were degraded. systemd.service(5): a unit whose ExecCondition= ends with
/// 1 to 254 is skipped, and not failed. A driver may still be loading: where no NIC is seen, udev ends its work first.
const WAIT_ONLINE: &str = "\
[Service]
ExecCondition=/bin/sh -c 'any() { set -- /sys/class/net/*/device; [ -e \"$$1\" ]; }; any || { udevadm settle --timeout=30; any; }'
ExecStart=
ExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=60
";

const SSHD: &str = "\
PasswordAuthentication no
KbdInteractiveAuthentication no
";

/// Where a fragment is while it is judged.
const JUDGED: &str = "/run/goldimg/judged.cfg";

const HOSTS: &str = "\
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
";

/// The packages that configuring a machine at its first boot needs.
pub(crate) fn packages(recipe: &Recipe) -> Vec<String> {
    let Base { release, .. } = &recipe.base;
    let mut packages: Vec<&str> = recipe.base.facts().packages(PackageSet::FirstBoot, release).collect();
    if !names_a_time_service(recipe) {
        packages.push(DEFAULT_TIME_SERVICE);
    }
    packages.into_iter().map(String::from).collect()
}

/// Whether the recipe itself installs what keeps the time.
fn names_a_time_service(recipe: &Recipe) -> bool {
    let installed = recipe.steps.iter().filter_map(|step| match step {
        Step::Install(packages) => Some(packages),
        _ => None,
    });
    let mut packages = installed.chain([&recipe.base.packages]).flatten();
    // A package is `name`, `name:architecture` or `name=version`.
    packages.any(|package| package.split([':', '=']).next().is_some_and(|name| TIME_SERVICES.contains(&name)))
}

/// Makes sure that the recipe's fragments are YAML, and each a mapping.
///
/// # Errors
/// If one is not, with its line.
pub(crate) fn check(recipe: &Recipe) -> crate::Result<()> {
    for (name, content) in &recipe.cloud_init.config {
        let mapping: Result<Option<BTreeMap<String, Value>>, _> = serde_saphyr::from_str(content);
        mapping
            .map_err(|error| err!("{error}"))
            .with_context(|| format!("the recipe's cloud-init.config.{name:?} is no mapping in YAML"))
            .invalid()?;
    }
    Ok(())
}

/// Writes the configuration.
///
/// # Errors
/// If a file cannot be written, or a service not enabled.
pub(crate) fn configure(recipe: &Recipe, tree: &Tree) -> crate::Result<()> {
    tree.write(format!("{FOLDER}/{OWN}"), own(recipe)?, 0o644)?;
    for (name, content) in &recipe.cloud_init.config {
        tree.write(format!("{FOLDER}/{name}"), with_newline(content), 0o644)?;
    }
    tree.write("/etc/cloud/ds-identify.cfg", IDENTIFY, 0o644)?;
    tree.write("/etc/ssh/sshd_config.d/90-goldimg.conf", SSHD, 0o644)?;
    tree.write("/etc/systemd/network/90-goldimg-dhcp.network", NETWORK, 0o644)?;
    let drop_in = "/etc/systemd/system/systemd-networkd-wait-online.service.d/goldimg.conf";
    tree.write(drop_in, WAIT_ONLINE, 0o644)?;
    let kinds: Vec<&str> = recipe.base.facts().further_host_keys(&recipe.base.release).collect();
    if !kinds.is_empty() {
        let drop_in = "/etc/systemd/system/sshd-keygen.service.d/goldimg.conf";
        tree.write(drop_in, host_keys(&kinds), 0o644)?;
    }
    let locale = recipe.base.facts().locale_file;
    if !tree.exists(locale) {
        tree.write(locale, "LANG=C.UTF-8\n", 0o644)?;
    }
    if !tree.exists("/etc/hosts") {
        tree.write("/etc/hosts", HOSTS, 0o644)?;
    }
    tree.run("systemctl", &["enable", "systemd-networkd.service"])?;
    if tree.exists("/lib/systemd/system/systemd-resolved.service") {
        tree.run("systemctl", &["enable", "systemd-resolved.service"])?;
    }
    Ok(())
}

/// What cloud-init does with apt's sources at each first boot of a machine, when it writes them anew.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sources {
    /// It writes the image's own, with the mirrors of its cloud, else with this one, else with those it knows.
    Template {
        /// What it writes.
        text: String,
        /// The address of the archive.
        mirror: Option<String>,
    },
    /// A step wrote them: they stay.
    Keep,
}

/// Tells cloud-init of the image's sources: its own have suites that a release may not have ("Apt Configure" in its
/// documentation: `sources_list`, `preserve_sources_list`). What a user says of a mirror counts more.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn tell_sources(tree: &Tree, sources: &Sources) -> crate::Result<()> {
    let apt = match sources {
        Sources::Template { text, mirror: None } => json!({ "sources_list": text }),
        Sources::Template { text, mirror: Some(uri) } => {
            json!({ "sources_list": text, "primary": [{ "arches": ["default"], "uri": uri }] })
        }
        Sources::Keep => json!({ "preserve_sources_list": true }),
    };
    let text =
        serde_json::to_string_pretty(&json!({ "apt": apt })).context("writing cloud-init's configuration")?;
    tree.write(format!("{FOLDER}/{SOURCES}"), format!("# Made from the recipe.\n{text}\n"), 0o644)
}

/// Lets the image's own cloud-init judge the recipe's fragments. It knows user data better than configuration, so
/// what it finds is told and no failure.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn judge(recipe: &Recipe, tree: &Tree, monitor: Monitor<'_>) -> crate::Result<()> {
    for (name, content) in &recipe.cloud_init.config {
        // It knows what a file is by its first line only; fragments need none.
        tree.write(JUDGED, format!("#cloud-config\n{content}"), 0o644)?;
        if let Err(error) = tree.run("cloud-init", &["schema", "--config-file", JUDGED]) {
            monitor.check()?;
            monitor.warning(&format!("the image's cloud-init on cloud-init.config.{name:?}: {error}"));
        }
    }
    Ok(())
}

/// Makes host keys of these kinds where they are missing. The package's unit makes all kinds, but at no boot of an image: an empty
/// machine-id is no first boot (machine-id(5), systemd.unit(5)). cloud-init, which removes keys of every kind, comes before it.
fn host_keys(kinds: &[&str]) -> String {
    let mut text = String::from(
        "[Unit]\nConditionFirstBoot=\nConditionPathIsReadWrite=/etc/ssh\n\n[Service]\nExecStart=\n",
    );
    for kind in kinds {
        let key = format!("/etc/ssh/ssh_host_{}_key", kind.replace('-', "_"));
        text.push_str(&format!(
            "ExecStart=/bin/sh -c '[ -e {key} ] || exec ssh-keygen -q -t {kind} -N \"\" -f {key}'\n"
        ));
    }
    text
}

/// What the recipe says in keys of its own, in cloud-init's words. JSON is YAML.
fn own(recipe: &Recipe) -> crate::Result<String> {
    let facts = recipe.base.facts();
    let user = recipe.cloud_init.default_user.as_deref().unwrap_or(facts.name);
    let config = json!({
        "datasource_list": recipe.datasources(),
        "disable_root": true,
        // The package's own default, en_US.UTF-8, exists only where somebody made it.
        "locale": recipe.locale().unwrap_or("C.UTF-8"),
        "ssh_pwauth": false,
        "system_info": {
            "default_user": {
                "name": user,
                "gecos": user,
                "lock_passwd": true,
                "groups": facts.admin_groups,
                "sudo": ["ALL=(ALL) NOPASSWD:ALL"],
                "shell": "/bin/bash",
            },
            "network": { "renderers": [facts.network_renderer] },
        },
    });
    let text = serde_json::to_string_pretty(&config).context("writing cloud-init's configuration")?;
    Ok(format!("# Made from the recipe.\n{text}\n"))
}

/// `content`, with the end of its last line.
pub(super) fn with_newline(content: &str) -> String {
    if content.ends_with('\n') { content.to_owned() } else { format!("{content}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::recipe::example;
    use crate::golden::tree::tests::scratch;

    #[test]
    fn fragments_must_be_mappings_in_yaml() {
        let mut recipe = example();
        let mut checked = |content: &str| {
            recipe.cloud_init.config.insert("50_x.cfg".into(), content.into());
            check(&recipe).map_err(|error| crate::error::rendered(&error))
        };
        checked("").unwrap();
        checked("# nothing\n").unwrap();
        checked("#cloud-config\nruncmd:\n  - [ls, -l]\ntimezone: UTC\n").unwrap();
        for wrong in ["- a\n- b\n", "a: [1\n", "a: b: c\n", "text"] {
            let error = checked(wrong).unwrap_err();
            assert!(
                error.starts_with("the recipe's cloud-init.config.\"50_x.cfg\" is no mapping"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_image_keeps_the_time_with_one_service() {
        let mut recipe = example();
        let has = |recipe: &Recipe| packages(recipe).contains(&DEFAULT_TIME_SERVICE.to_owned());
        recipe.base.packages = vec!["chrony-doc".into()];
        assert!(has(&recipe));
        for own in ["chrony", "ntpsec=1.2.2", "openntpd:amd64"] {
            recipe.base.packages = vec!["curl".into(), own.into()];
            assert!(!has(&recipe), "{own}");
        }
        // A later step would only have to remove it again.
        recipe.base.packages.clear();
        recipe.steps = vec![Step::Remove(vec!["nano".into()]), Step::Install(vec!["chrony".into()])];
        assert!(!has(&recipe));
    }

    #[test]
    fn kinds_of_host_keys_that_cloud_init_does_not_know_are_made_where_they_are_missing() {
        let text = host_keys(&["mldsa44-ed25519"]);
        let made = "\nExecStart=\nExecStart=/bin/sh -c '[ -e /etc/ssh/ssh_host_mldsa44_ed25519_key ] || exec ssh-keygen -q \
                    -t mldsa44-ed25519 -N \"\" -f /etc/ssh/ssh_host_mldsa44_ed25519_key'\n";
        assert!(text.ends_with(made), "{text}");
        assert!(text.contains("\nConditionFirstBoot=\n"), "{text}");
    }

    #[test]
    fn cloud_init_writes_the_images_own_sources() {
        let (_dir, tree) = scratch();
        let told = |sources: &Sources| {
            tell_sources(&tree, sources).unwrap();
            let text = tree.text(format!("{FOLDER}/{SOURCES}")).unwrap().unwrap();
            serde_saphyr::from_str::<Value>(&text).unwrap()
        };
        let text = "Types: deb\nURIs: $MIRROR\n".to_owned();
        assert_eq!(
            told(&Sources::Template { text: text.clone(), mirror: None }),
            json!({ "apt": { "sources_list": text } })
        );
        let mirrored = told(&Sources::Template { text, mirror: Some("http://m/debian".into()) });
        assert_eq!(mirrored["apt"]["primary"][0]["uri"], "http://m/debian");
        assert_eq!(told(&Sources::Keep), json!({ "apt": { "preserve_sources_list": true } }));
    }

    #[test]
    fn the_recipes_keys_become_cloud_inits() {
        let mut recipe = example();
        recipe.cloud_init.datasources = vec!["OpenStack".into(), "None".into()];
        let config: Value = serde_saphyr::from_str(&own(&recipe).unwrap()).unwrap();
        assert_eq!(config["datasource_list"], json!(["OpenStack", "None"]));
        assert_eq!(config["system_info"]["default_user"]["name"], "debian");
        recipe.cloud_init.default_user = Some("ann".into());
        let config: Value = serde_saphyr::from_str(&own(&recipe).unwrap()).unwrap();
        assert_eq!(config["system_info"]["default_user"]["name"], "ann");
        assert_eq!(config["ssh_pwauth"], false);
    }
}
