//! Rules of cloud-init: it is there, starts, looks for OpenStack, and does what an image needs at its first boot.
//!
//! ```text
//! /etc/cloud/cloud.cfg  ◄─ cloud.cfg.d/*.cfg, in the order of their names: the last one to say a thing wins (merge.rs)
//! ```

mod merge;
mod settings;

use serde_json::Value;

use super::first_boot::not_started;
use super::places::{CLOUD_CFG, MENUS, UNITS};
use super::rule::{Finding, Judgement, Rule};
use super::subject::Subject;
pub(super) use settings::{FILES, Settings, is_off};
use settings::{SETTINGS, is_on};

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "cloud-init",
        "cloud-init is installed and starts",
        "OpenStack image guide, process user data and other metadata",
        installed,
    )
    .reads(&[
        &[
            "/usr/bin/cloud-init",
            "/usr/local/bin/cloud-init",
            "/etc/cloud/cloud-init.disabled",
            "/etc/cloud/ds-identify.cfg",
        ],
        UNITS,
        MENUS,
    ])
    .openstack(),
    Rule::must(
        "datasources",
        "cloud-init looks for OpenStack or a config drive",
        "cloud-init, datasource_list",
        datasources,
    )
    .reads(&[CLOUD_CFG])
    .openstack(),
    Rule::should(
        "datasources-both",
        "cloud-init looks for both, metadata service and config drive",
        "img_config_drive: clouds and flavors differ",
        both_datasources,
    )
    .reads(&[CLOUD_CFG])
    .openstack(),
    Rule::should(
        "no-metadata-wait",
        "a boot without metadata does not wait minutes for another cloud's",
        "cloud-init, ds-identify",
        no_wait,
    )
    .reads(&[CLOUD_CFG, &["/usr/lib*/cloud-init/ds-identify"]])
    .openstack(),
    Rule::must(
        "default-user",
        "SSH keys go to a default user",
        "OpenStack image guide, access by SSH public key",
        default_user,
    )
    .reads(&[CLOUD_CFG])
    .openstack(),
    Rule::must(
        "growth",
        "the root filesystem grows at the first boot",
        "OpenStack image guide, disk partitions and resize root partition on boot",
        growth,
    )
    .reads(&[
        CLOUD_CFG,
        &[
            "the partition table",
            "/usr/bin/growpart",
            "/usr/sbin/growpart",
            GROWROOT,
            "/etc/repart.d/*",
            "/usr/lib/repart.d/*",
        ],
    ])
    .openstack(),
    Rule::should(
        "cloud-network",
        "cloud-init sets up the network that the cloud tells: more cards, fixed addresses, MTU",
        "OpenStack network_data.json; cloud-init, disabling network configuration",
        cloud_network,
    )
    .reads(&[CLOUD_CFG, MENUS])
    .openstack(),
    Rule::must(
        "cache-clean",
        "a clone notices that it is another server",
        "cloud-init, manual_cache_clean",
        cache_clean,
    )
    .reads(&[CLOUD_CFG])
    .openstack(),
];

/// Keeps the module growpart from running.
const GROWROOT: &str = "/etc/growroot-disabled";

fn installed(subject: &Subject<'_>) -> crate::Result<Judgement> {
    Ok(not_started(subject.view)?.map_or_else(|| Judgement::kept(""), |found| vec![found].into()))
}

/// Whether OpenStack and ConfigDrive are looked for.
fn looks_for(settings: &Settings) -> Option<(bool, bool)> {
    let list = settings.strings("datasource_list")?;
    Some((list.contains(&"OpenStack"), list.contains(&"ConfigDrive")))
}

const SET_LIST: &str =
    "write datasource_list: [ConfigDrive, OpenStack, None] into /etc/cloud/cloud.cfg.d/91-openstack.cfg";

fn datasources(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let settings = Settings::read(subject.view)?;
    Ok(match looks_for(&settings) {
        Some((false, false)) => {
            let list = settings.strings("datasource_list").unwrap_or_default();
            Judgement::broken("datasource_list", format!("[{}]", list.join(", ")), SET_LIST)
        }
        Some(_) => Judgement::kept(settings.strings("datasource_list").unwrap_or_default().join(", ")),
        None => Judgement::kept("not set: all that it knows"),
    })
}

fn both_datasources(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let missing = match looks_for(&Settings::read(subject.view)?) {
        Some((false, _)) => "OpenStack is not in it",
        Some((_, false)) => "ConfigDrive is not in it",
        _ => return Ok(Judgement::kept("it does")),
    };
    Ok(Judgement::broken("datasource_list", missing, SET_LIST))
}

fn no_wait(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let settings = Settings::read(subject.view)?;
    let identifies = subject.view.exists("/usr/lib/cloud-init/ds-identify")?
        || subject.view.exists("/usr/libexec/cloud-init/ds-identify")?;
    match settings.strings("datasource_list") {
        Some(list) if list.contains(&"Ec2") && !identifies => Ok(Judgement::broken(
            "datasource_list",
            "Ec2 is in it, and nothing finds out first where it runs",
            SET_LIST,
        )),
        None if !identifies => {
            Ok(Judgement::broken("datasource_list", "it is not set, and there is no ds-identify", SET_LIST))
        }
        Some(list) => Ok(Judgement::kept(list.join(", "))),
        None => Ok(Judgement::kept("ds-identify finds out where it runs")),
    }
}

fn default_user(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let settings = Settings::read(subject.view)?;
    let name = settings.0.pointer("/system_info/default_user/name").and_then(Value::as_str);
    let mut findings = Vec::new();
    if name.is_none_or(str::is_empty) {
        let fix = "name one in system_info.default_user";
        findings.push(Finding::new(SETTINGS, "it has no default user", fix));
    }
    for module in ["users_groups", "ssh"] {
        if !settings.runs(module) {
            let fix = "put it into cloud_init_modules";
            findings.push(Finding::new(SETTINGS, format!("the module {module} does not run"), fix));
        }
    }
    Ok(Judgement::of(findings, name.unwrap_or_default()))
}

fn growth(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let view = subject.view;
    let settings = Settings::read(view)?;
    let whole_disk = view.root_volume().is_some_and(|root| root.partition.is_none());
    let program = view.first_of(&["/usr/bin/growpart", "/usr/sbin/growpart"])?;
    let repart =
        view.matches("/etc/repart.d/*.conf")?.len() + view.matches("/usr/lib/repart.d/*.conf")?.len();
    if repart > 0 {
        return Ok(Judgement::kept("systemd-repart"));
    }
    let mut findings = Vec::new();
    if !whole_disk {
        if program.is_none() {
            let fix = "install cloud-guest-utils (cloud-utils-growpart)";
            findings.push(Finding::new("/usr/bin/growpart", "it is missing", fix));
        }
        let mode = settings.0.pointer("/growpart/mode");
        let off = mode.is_some_and(|mode| mode == "off" || mode == &Value::Bool(false));
        if off || !settings.runs("growpart") {
            let fix = "put growpart into cloud_init_modules, and no growpart.mode: off";
            findings.push(Finding::new(SETTINGS, "the module growpart does not run", fix));
        }
        let is_ignored = settings.0.pointer("/growpart/ignore_growroot_disabled");
        if !is_ignored.is_some_and(is_on) && view.exists(GROWROOT)? {
            findings.push(Finding::new(GROWROOT, "it exists: the module growpart does nothing", "remove it"));
        }
    }
    if !settings.runs("resizefs") || settings.0.get("resize_rootfs") == Some(&Value::Bool(false)) {
        let fix = "put resizefs into cloud_init_modules, and no resize_rootfs: false";
        findings.push(Finding::new(SETTINGS, "the module resizefs does not run", fix));
    }
    Ok(Judgement::of(findings, program.unwrap_or_default()))
}

fn cloud_network(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let mut findings = Vec::new();
    if Settings::read(subject.view)?.network_is_disabled() {
        let fix = "remove it, unless every server has one card and DHCP";
        findings.push(Finding::new(SETTINGS, "network: {config: disabled}", fix));
    }
    for entry in super::menu::entries(subject.view)? {
        if entry.values("network-config").last() == Some("disabled") {
            let fix = "remove the argument from the boot menu, unless every server has one card and DHCP";
            findings.push(Finding::new(entry.place, "network-config=disabled", fix));
        }
    }
    Ok(Judgement::of(findings, "it does"))
}

fn cache_clean(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let settings = Settings::read(subject.view)?;
    match settings.0.get("manual_cache_clean") {
        Some(Value::Bool(true)) => Ok(Judgement::broken(SETTINGS, "manual_cache_clean: true", "remove it")),
        _ => Ok(Judgement::kept("it does")),
    }
}
