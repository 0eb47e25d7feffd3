//! Rules of the network: any card, any address, nothing in the way.

use std::path::Path;

use serde_json::Value;

use super::cloud_init::{self, Settings};
use super::places::{CLOUD_CFG, MENUS, NETWORKS, UNITS};
use super::rule::{Finding, Judgement, Rule};
use super::services::enabled;
use super::subject::Subject;
use crate::error::err;

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "mac-addresses",
        "no configuration is bound to a network card",
        "OpenStack image guide, no hard-coded MAC address",
        mac_addresses,
    )
    .reads(&[NETWORKS, CLOUD_CFG]),
    Rule::must(
        "dhcp",
        "a network card gets its address by DHCP",
        "OpenStack image guide, CentOS example",
        dhcp,
    )
    .reads(&[NETWORKS, CLOUD_CFG, &["/usr/bin/cloud-init"], UNITS])
    .openstack(),
    Rule::must(
        "zeroconf",
        "no route of its own to 169.254.0.0/16 hides the metadata service",
        "OpenStack image guide, CentOS example: NOZEROCONF",
        zeroconf,
    )
    .reads(&[&["/etc/sysconfig/network", "/etc/sysconfig/network-scripts/ifup*"]])
    .openstack(),
    Rule::must("ipv6", "IPv6 is not turned off", "networks with IPv6 only", ipv6)
        .reads(&[
            &["/etc/sysctl.conf", "/etc/sysctl.d/*", "/usr/lib/sysctl.d/*", "/usr/local/lib/sysctl.d/*"],
            MENUS,
            &["the partition table"],
        ])
        .openstack(),
    Rule::should("mtu", "the MTU is the network's", "Neutron: overlays have 1442, 1450, 8950", mtu)
        .reads(&[NETWORKS])
        .openstack(),
    Rule::must(
        "firewall",
        "no firewall is in the way: security groups are",
        "OpenStack image guide, firewall disabled",
        firewall,
    )
    .reads(&[
        &[
            "/etc/ufw/ufw.conf",
            "/etc/nftables.conf",
            "/etc/sysconfig/nftables.conf",
            "/etc/iptables/*",
            "/etc/sysconfig/iptables",
        ],
        UNITS,
    ])
    .openstack(),
];

/// Where programs keep what they know of network cards.
const CONFIGURATIONS: &[&str] = &[
    "/etc/sysconfig/network-scripts/ifcfg-*",
    "/etc/sysconfig/network/ifcfg-*",
    "/etc/NetworkManager/system-connections/*",
    "/etc/netplan/*.yaml",
    "/etc/network/interfaces",
    "/etc/network/interfaces.d/*",
    "/etc/systemd/network/*.link",
    "/etc/systemd/network/*.network",
    "/etc/systemd/network/*.netdev",
    "/etc/systemd/networkd.conf",
    "/etc/systemd/networkd.conf.d/*.conf",
    "/etc/dhcp/dhclient.conf",
    "/etc/dhcpcd.conf",
];

/// Words that bind a configuration to one card, or a server's name in DHCP (its DUID) to one server: ifcfg, NetworkManager
/// (nm-settings-keyfile(5)), netplan, interfaces(5), systemd.link(5), networkd.conf(5).
const BOUND: [&str; 13] = [
    "hwaddr",
    "macaddr",
    "lladdr",
    "mac-address",
    "cloned-mac-address",
    "assigned-mac-address",
    "mac_address",
    "macaddress",
    "hwaddress",
    "permanentmacaddress",
    "duidrawdata",
    "dhcp-duid",
    "dhcp6-duid",
];
/// What stands for an address, and is that of no card (nm-settings(5)).
const NO_CARD: [&str; 6] = ["random", "stable", "permanent", "preserve", "stable-ssid", "lease"];

/// The first line of every configuration that `is_wrong` takes for one that must not be.
fn lines(
    subject: &Subject<'_>,
    patterns: &[&str],
    fix: &str,
    is_wrong: impl Fn(&str) -> bool,
) -> crate::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for pattern in patterns {
        for path in subject.view.matches(pattern)? {
            if subject.is_asked_for(&path) {
                continue;
            }
            let text = subject.view.text(&path)?.unwrap_or_default();
            let wrong =
                text.lines().map(str::trim).find(|line| !line.starts_with(['#', ';']) && is_wrong(line));
            if let Some(line) = wrong {
                findings.push(Finding::new(path.display().to_string(), line, fix));
            }
        }
    }
    Ok(findings)
}

/// The word before the first "=", ":" or space.
fn key(line: &str) -> String {
    line.split(|c: char| c == '=' || c == ':' || c.is_whitespace())
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
}

fn mac_addresses(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let fix = "remove the line";
    let is_bound = |line: &str| {
        let value = line.split_once('=').map_or("", |(_, value)| value.trim());
        BOUND.contains(&key(line).as_str()) && !NO_CARD.contains(&value)
    };
    let mut findings = lines(subject, CONFIGURATIONS, fix, is_bound)?;
    // YAML may be in one line, and cloud-init has networks in its own settings (curtin writes them there).
    for pattern in ["/etc/netplan/*.yaml"].iter().chain(&cloud_init::FILES) {
        for path in subject.view.matches(pattern)? {
            let place = path.display().to_string();
            if subject.is_asked_for(&path) || findings.iter().any(|finding| finding.place == place) {
                continue;
            }
            let text = subject.view.text(&path)?.unwrap_or_default();
            let value: Option<Value> =
                serde_saphyr::from_str(&text).map_err(|error| err!("{place} is no YAML: {error}"))?;
            if let Some(found) = value.as_ref().and_then(|value| value.get("network")).and_then(bound_in) {
                findings.push(Finding::new(place, found, fix));
            }
        }
    }
    Ok(Judgement::of(findings, "none"))
}

/// The first address of a card in a network of netplan or of cloud-init.
fn bound_in(value: &Value) -> Option<String> {
    match value {
        Value::Array(items) => items.iter().find_map(bound_in),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match value {
            Value::String(address) if BOUND.contains(&name.to_ascii_lowercase().as_str()) => {
                Some(format!("{name}: {address}"))
            }
            _ => bound_in(value),
        }),
        _ => None,
    }
}

fn dhcp(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let settings = Settings::read(subject.view)?;
    let by_cloud_init = subject.view.exists("/usr/bin/cloud-init")? && !settings.network_is_disabled();
    if by_cloud_init {
        return Ok(Judgement::kept("cloud-init configures each card"));
    }
    let asks = |line: &str| {
        let line = line.to_ascii_lowercase();
        let word = line.replace(['"', '\'', ' '], "");
        matches!(
            word.as_str(),
            "dhcp=yes"
                | "dhcp=true"
                | "dhcp=ipv4"
                | "bootproto=dhcp"
                | "method=auto"
                | "dhcp4:true"
                | "dhcp4:yes"
        ) || (line.starts_with("iface") && line.ends_with("inet dhcp"))
    };
    let configured = lines(subject, CONFIGURATIONS, "", asks)?;
    if let Some(first) = configured.first() {
        return Ok(Judgement::kept(format!("{}: {}", first.place, first.found)));
    }
    if let Some(place) = enabled(subject.view, &["NetworkManager.service", "dhcpcd.service"])? {
        return Ok(Judgement::Kept(place));
    }
    let fix = "let cloud-init configure the network, or write a profile with DHCP for any card";
    Ok(Judgement::broken(
        "/etc",
        "cloud-init does not configure the network, and nothing else asks for DHCP",
        fix,
    ))
}

fn zeroconf(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let path = "/etc/sysconfig/network";
    let scripts = ["/etc/sysconfig/network-scripts/ifup-eth", "/etc/sysconfig/network-scripts/ifup"];
    if subject.view.first_of(&scripts)?.is_none() {
        return Ok(Judgement::kept("there are no network scripts"));
    }
    let text = subject.view.text(path)?.unwrap_or_default();
    match text.lines().any(|line| line.trim().replace('"', "") == "NOZEROCONF=yes") {
        true => Ok(Judgement::kept(path)),
        false => Ok(Judgement::broken(
            path,
            "it does not say NOZEROCONF=yes",
            "write the line NOZEROCONF=yes into it",
        )),
    }
}

fn ipv6(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let patterns = [
        "/etc/sysctl.conf",
        "/etc/sysctl.d/*.conf",
        "/usr/lib/sysctl.d/*.conf",
        "/usr/local/lib/sysctl.d/*.conf",
    ];
    let fix = "remove the line: networks may have nothing but IPv6";
    let mut findings = lines(subject, &patterns, fix, |line| {
        let line = line.replace(' ', "").replace('/', ".");
        line.trim_start_matches('-').starts_with("net.ipv6.conf.") && line.ends_with(".disable_ipv6=1")
    })?;
    for entry in super::menu::entries(subject.view)? {
        if entry.values("ipv6.disable").last() == Some("1") {
            findings.push(Finding::new(
                entry.place,
                "ipv6.disable=1",
                "remove it from the kernel's command line",
            ));
        }
    }
    Ok(Judgement::of(findings, "it is not"))
}

fn mtu(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let findings = lines(subject, CONFIGURATIONS, "remove the line: DHCP or cloud-init sets it", |line| {
        matches!(key(line).as_str(), "mtu" | "mtubytes") || line.starts_with("supersede interface-mtu")
    })?;
    Ok(Judgement::of(findings, "not set"))
}

fn firewall(subject: &Subject<'_>) -> crate::Result<Judgement> {
    const FIX: &str = "disable it, or keep it on purpose with --keep and the path named here";
    let view = subject.view;
    let mut findings = Vec::new();
    let mut add = |place: &str, found: &str| {
        if !subject.is_asked_for(Path::new(place)) {
            findings.push(Finding::new(place, found, FIX));
        }
    };
    let ufw = view.text("/etc/ufw/ufw.conf")?.unwrap_or_default();
    if ufw.lines().any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes")) {
        add("/etc/ufw/ufw.conf", "ENABLED=yes");
    }
    if let Some(place) = enabled(view, &["firewalld.service", "shorewall.service"])? {
        add(&place, "it is enabled");
    }
    let filters: [(&[&str], &[&str]); 2] = [
        (&["nftables.service"], &["/etc/nftables.conf", "/etc/sysconfig/nftables.conf"]),
        (
            &["netfilter-persistent.service", "iptables.service", "ip6tables.service"],
            &["/etc/iptables/rules.v4", "/etc/iptables/rules.v6", "/etc/sysconfig/iptables"],
        ),
    ];
    for (units, files) in filters {
        if enabled(view, units)?.is_none() {
            continue;
        }
        for file in files {
            let text = view.text(file)?.unwrap_or_default();
            let says = |line: &&str| {
                let line = line.trim().to_ascii_lowercase();
                !line.starts_with('#') && ["drop", "reject"].iter().any(|word| line.contains(word))
            };
            if let Some(line) = text.lines().find(says) {
                add(file, line.trim());
            }
        }
    }
    Ok(Judgement::of(findings, "none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_found_in_any_style_of_yaml() {
        let bound = |text: &str| {
            let value: Value = serde_saphyr::from_str(text).unwrap();
            bound_in(&value)
        };
        let flow = "{ethernets: {a: {match: {macaddress: '52:54:00:00:00:01'}, dhcp4: true}}}";
        assert_eq!(bound(flow).as_deref(), Some("macaddress: 52:54:00:00:00:01"));
        let first = "version: 1\nconfig:\n- {type: physical, name: eth0, mac_address: '52:54:00:00:00:01'}\n";
        assert_eq!(bound(first).as_deref(), Some("mac_address: 52:54:00:00:00:01"));
        assert_eq!(bound("{ethernets: {a: {match: {name: 'en*'}, dhcp4: true}}}"), None);
    }
}
