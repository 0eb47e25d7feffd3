//! Rules of the network: any card, any address, nothing in the way.

use std::path::Path;

use super::Subject;
use super::cloud_init::Settings;
use super::rule::{Finding, Judgement, Rule};
use super::services::enabled;

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "mac-addresses",
        "no configuration is bound to a network card",
        "OpenStack image guide, no hard-coded MAC address",
        mac_addresses,
    ),
    Rule::must(
        "dhcp",
        "a network card gets its address by DHCP",
        "OpenStack image guide, CentOS example",
        dhcp,
    )
    .openstack(),
    Rule::must(
        "zeroconf",
        "no route of its own to 169.254.0.0/16 hides the metadata service",
        "OpenStack image guide, CentOS example: NOZEROCONF",
        zeroconf,
    )
    .openstack(),
    Rule::must("ipv6", "IPv6 is not turned off", "networks with IPv6 only", ipv6).openstack(),
    Rule::should("mtu", "the MTU is the network's", "Neutron: overlays have 1442, 1450, 8950", mtu)
        .openstack(),
    Rule::must(
        "firewall",
        "no firewall is in the way: security groups are",
        "OpenStack image guide, firewall disabled",
        firewall,
    )
    .openstack(),
];

/// Where programs keep what they know of network cards.
const CONFIGURATIONS: &[&str] = &[
    "/etc/sysconfig/network-scripts/ifcfg-*",
    "/etc/NetworkManager/system-connections/*",
    "/etc/netplan/*.yaml",
    "/etc/network/interfaces",
    "/etc/network/interfaces.d/*",
    "/etc/systemd/network/*.link",
    "/etc/systemd/network/*.network",
    "/etc/dhcp/dhclient.conf",
];

/// The first line of every configuration that `is_wrong` takes for one that must not be.
fn lines(
    subject: &Subject<'_>,
    patterns: &[&str],
    fix: &str,
    is_wrong: impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<Finding>> {
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

fn mac_addresses(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    let keys = ["hwaddr", "macaddr", "mac-address", "macaddress", "hwaddress", "permanentmacaddress"];
    let findings =
        lines(subject, CONFIGURATIONS, "remove the line", |line| keys.contains(&key(line).as_str()))?;
    Ok(Judgement::of(findings, "none"))
}

fn dhcp(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
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

fn zeroconf(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
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

fn ipv6(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
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

fn mtu(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    let findings = lines(subject, CONFIGURATIONS, "remove the line: DHCP or cloud-init sets it", |line| {
        matches!(key(line).as_str(), "mtu" | "mtubytes") || line.starts_with("supersede interface-mtu")
    })?;
    Ok(Judgement::of(findings, "not set"))
}

fn firewall(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
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
