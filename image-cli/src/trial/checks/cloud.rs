//! What a guest has to have made of what OpenStack gave it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::neutron::{DNS, MTU, ROUTES, STATIC};
use super::super::report::Report;
use super::{Judge, Observed};

/// The shortest wait for a network that does not come is two minutes: systemd-networkd-wait-online(8).
const NETWORK_WAIT: Duration = Duration::from_secs(100);

/// The checks of a boot in a cloud, besides those of every boot.
pub(super) const OF_REPORT: &[(&str, Judge)] = &[
    ("instance-id", instance_id),
    ("vendor-data", vendor_data),
    ("static-addresses", static_addresses),
    ("routes", routes),
    ("mtu", mtu),
    ("dns", dns),
    ("network-wait", network_wait),
];

/// Those of a server that has no network card.
pub(super) const WITHOUT_NETWORK: &[(&str, Judge)] = &[
    ("instance-id", instance_id),
    ("vendor-data", vendor_data),
    ("key-installed", key_installed),
    ("network-wait", no_network_wait),
];

fn instance_id(report: &Report, observed: &Observed) -> Result<String, String> {
    let id = report.text("instance-id");
    match id.eq_ignore_ascii_case(&observed.given.instance_id) {
        true => Ok(id.to_owned()),
        false => Err(format!("{id:?} instead of {:?}", observed.given.instance_id)),
    }
}

fn vendor_data(report: &Report, observed: &Observed) -> Result<String, String> {
    let said = report.text("vendor-data");
    if said.is_empty() {
        return Err("not applied".to_owned());
    }
    if said == observed.given.vendor_words {
        Ok("applied".to_owned())
    } else {
        Err(format!("not applied: {said}"))
    }
}

/// The interfaces by their hardware addresses: name and MTU. `ip -o link` has a line for each.
fn interfaces(report: &Report) -> BTreeMap<&str, (&str, Option<u32>)> {
    let lines = report.text("links").lines();
    let found = lines.filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let behind = |word: &str| words.iter().skip_while(|one| **one != word).nth(1).copied();
        let name = words.get(1)?.trim_end_matches(':').split('@').next()?;
        Some((behind("link/ether")?, (name, behind("mtu").and_then(|mtu| mtu.parse().ok()))))
    });
    found.collect()
}

fn interface<'a>(report: &'a Report, mac: &str) -> Result<(&'a str, Option<u32>), String> {
    interfaces(report).get(mac).copied().ok_or_else(|| format!("there is no interface {mac}"))
}

fn static_addresses(report: &Report, observed: &Observed) -> Result<String, String> {
    let (name, _) = interface(report, &observed.given.macs[1])?;
    let has = |address: &str| {
        report.text("addresses").lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.get(1) == Some(&name) && words.get(3) == Some(&address)
        })
    };
    let missing: Vec<&str> = STATIC.into_iter().filter(|address| !has(address)).collect();
    match missing.is_empty() {
        true => Ok(format!("{name} has {}", STATIC.join(" and "))),
        false => Err(format!("{name} lacks {}", missing.join(" and "))),
    }
}

fn routes(report: &Report, _: &Observed) -> Result<String, String> {
    let has = |(to, via): &(&str, &str)| {
        let start = format!("{to} via {via} ");
        report.text("routes").lines().any(|line| format!("{line} ").starts_with(&start))
    };
    let words = |routes: Vec<(&str, &str)>| {
        routes.iter().map(|(to, via)| format!("{to} by {via}")).collect::<Vec<_>>().join(", ")
    };
    let missing: Vec<_> = ROUTES.into_iter().filter(|route| !has(route)).collect();
    if missing.is_empty() {
        Ok(words(ROUTES.to_vec()))
    } else {
        Err(format!("there is none: {}", words(missing)))
    }
}

fn mtu(report: &Report, observed: &Observed) -> Result<String, String> {
    let mut words = Vec::new();
    for (mac, wanted) in observed.given.macs.iter().zip(MTU) {
        match interface(report, mac)? {
            (name, Some(mtu)) if mtu == wanted => words.push(format!("{name} {mtu}")),
            (name, mtu) => return Err(format!("{name} has {} instead of {wanted}", mtu.unwrap_or(0))),
        }
    }
    Ok(words.join(", "))
}

/// resolv.conf(5), which may name systemd-resolved; that tells its own servers in a file of the same form.
fn dns(report: &Report, _: &Observed) -> Result<String, String> {
    let known = report.text("resolver").lines().any(|line| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("nameserver" | "dns-nameservers")) && words.any(|word| word == DNS)
    });
    if known { Ok(DNS.to_owned()) } else { Err(format!("{DNS} is not used")) }
}

/// Nobody can log in to show it.
fn key_installed(report: &Report, _: &Observed) -> Result<String, String> {
    let users: Vec<&str> = report.text("key-users").lines().collect();
    if users.is_empty() { Err("no account has the key".to_owned()) } else { Ok(users.join(", ")) }
}

/// Where there is no network, nothing has to wait for one.
fn no_network_wait(report: &Report, _: &Observed) -> Result<String, String> {
    judge_wait(report, || Ok("nothing waited for one".to_owned()))
}

fn network_wait(report: &Report, _: &Observed) -> Result<String, String> {
    judge_wait(report, || Err("no unit tells how long it waited for the network".to_owned()))
}

/// `systemctl show` has a block of `Name=value` for each unit.
fn judge_wait(report: &Report, of_none: impl Fn() -> Result<String, String>) -> Result<String, String> {
    if report.fact("network-wait").exit != 0 {
        return Err("no unit tells how long it waited for the network".to_owned());
    }
    let mut waited = Vec::new();
    for block in report.text("network-wait").split("\n\n") {
        let value = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let time =
            |name: &str| value(name).and_then(|text| text.parse::<u64>().ok()).filter(|time| *time > 0);
        let times = time("InactiveExitTimestampMonotonic").zip(time("ActiveEnterTimestampMonotonic"));
        if let (Some(unit), Some((from, to))) = (value("Id"), times) {
            waited.push((Duration::from_micros(to.saturating_sub(from)), unit));
        }
    }
    match waited.iter().max() {
        None => of_none(),
        Some((time, unit)) if *time > NETWORK_WAIT => Err(format!("{unit} took {} s", time.as_secs())),
        Some((time, unit)) => Ok(format!("{unit} took {:.0} s", time.as_secs_f64())),
    }
}
