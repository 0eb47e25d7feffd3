//! What a boot has to show: one function for each check, from what was observed to a verdict with its evidence.
//!
//! What only a cloud gives is judged in `cloud.rs`, what must differ between boots in `clones.rs`.

mod check;
mod clones;
mod cloud;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::login::{Logins, public_keys};
use super::report::Report;
use super::setup::{Cdrom, Source};
use crate::printable::brief;
use check::check;
pub use check::{Check, Verdict};
pub(super) use clones::{Clone, judge_clones};

/// What was given to a guest.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) hostname: String,
    /// The first interface's, by DHCP.
    pub(super) address: &'static str,
    pub(super) source: Source,
    pub(super) cdrom: Option<Cdrom>,
    pub(super) instance_id: String,
    /// What the vendor's data write to a file.
    pub(super) vendor_words: String,
    /// Those of both interfaces; outside of clouds there is only the first.
    pub(super) macs: [String; 2],
    /// How many interfaces there are.
    pub(super) nics: u8,
}

/// What was observed of one boot.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) given: Given,
    /// The disk's size in bytes.
    pub(super) disk_size: u64,
    /// What was heard on the console: the kernel, cloud-init, a login prompt.
    pub(super) console: [bool; 3],
    pub(super) report: Option<Report>,
    /// When the report was whole.
    pub(super) reported: SystemTime,
    pub(super) logins: Option<Logins>,
    /// How long the guest took to switch off, or why that is not known.
    pub(super) power_off: Option<Result<Duration, String>>,
    /// What the guest called itself when it asked for addresses.
    pub(super) identities: Vec<String>,
    /// The documents that it fetched from the metadata service.
    pub(super) fetched: Vec<&'static str>,
    /// How long it took to the end of the boot, where no report tells of that.
    pub(super) booted: Option<Duration>,
    /// Why it does not run its user data, as its files tell.
    pub(super) obstacle: Option<String>,
    /// The units that failed, as the console tells.
    pub(super) failed_units: Vec<String>,
}

/// Seconds by which a clock may be off: the report takes a while to be noticed.
const CLOCK_TOLERANCE: u64 = 60;

type Judge = fn(&Report, &Observed) -> Result<String, String>;

/// The check that a network is needed for.
const NETWORK: &str = "network";

/// The checks that need the guest's report, in the order of a boot.
const OF_REPORT: [(&str, Judge); 9] = [
    ("cloud-init", cloud_init),
    ("data-source", data_source),
    ("host-name", host_name),
    (NETWORK, network),
    ("root-grown", root_grown),
    ("machine-id", machine_id),
    ("host-keys", host_keys),
    ("no-failed-units", failed_units),
    ("clock", clock),
];

/// Judges one boot.
pub(super) fn judge(observed: &Observed) -> Vec<Check> {
    let power_button = || check("power-button", observed.power_off.clone().map(power_button));
    if observed.given.source == Source::Nothing {
        return vec![
            check("console", Some(console(observed))),
            check("boot-ends", observed.booted.map(|time| Ok(format!("after {:.0} s", time.as_secs_f64())))),
            check("no-failed-units", failed_on_console(observed)),
            power_button(),
        ];
    }
    let has_network = observed.given.nics > 0;
    let mut checks = vec![check("console", Some(console(observed)))];
    let of_cloud = match (observed.given.source, has_network) {
        (Source::NoCloud, _) => &[],
        (_, true) => cloud::OF_REPORT,
        (_, false) => cloud::WITHOUT_NETWORK,
    };
    let of_report = OF_REPORT.iter().filter(|(name, _)| has_network || *name != NETWORK);
    for (name, judge) in of_report.chain(of_cloud) {
        let verdict = match &observed.report {
            Some(report) => Some(judge(report, observed)),
            None => without_report(name, observed),
        };
        checks.push(check(name, verdict));
    }
    if has_network {
        let (report, logins) = (observed.report.as_ref(), observed.logins.as_ref());
        checks.push(check("key-login", logins.map(key_login)));
        checks.push(check("no-password", report.zip(logins).map(|(r, l)| no_password(r, l))));
    }
    checks.push(power_button());
    checks
}

/// What is known of a guest that said nothing of itself.
fn without_report(name: &str, observed: &Observed) -> Option<Result<String, String>> {
    match name {
        "cloud-init" => observed.obstacle.clone().map(Err),
        "no-failed-units" => failed_on_console(observed),
        _ => None,
    }
}

/// Of a boot that did not end, only the worst is known.
fn failed_on_console(observed: &Observed) -> Option<Result<String, String>> {
    match observed.failed_units.as_slice() {
        [] => observed.booted.map(|_| Ok("the console tells of none".to_owned())),
        units => Some(Err(units.join(", "))),
    }
}

fn console(observed: &Observed) -> Result<String, String> {
    let parts = ["the kernel", "cloud-init", "a login prompt"];
    // Without data, it may not run at all.
    let silent = observed.given.source == Source::Nothing || observed.obstacle.is_some();
    let parts = parts
        .iter()
        .zip(observed.console)
        .filter(|(part, heard)| *heard || !(silent && **part == "cloud-init"));
    let (heard, missed): (Vec<_>, Vec<_>) = parts.partition(|(_, heard)| *heard);
    let list = |parts: &[(&&str, bool)]| parts.iter().map(|(name, _)| **name).collect::<Vec<_>>().join(", ");
    match missed.is_empty() {
        true => Ok(list(&heard)),
        false => Err(format!("not heard on ttyS0: {}", list(&missed))),
    }
}

/// cloud-init's documentation, "CLI commands", status: done, and in result.json no errors.
fn cloud_init(report: &Report, _: &Observed) -> Result<String, String> {
    let status = report.fact("cloud-init");
    let field = |name: &str| status.text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let errors = errors(report).ok_or_else(|| {
        let said = brief(&status.text, 120);
        format!("no result of cloud-init ({said})")
    })?;
    if !errors.is_empty() {
        return Err(errors.join("; "));
    }
    match field("status:") {
        Some("done") if status.exit == 0 => Ok("done, without errors".to_owned()),
        // Exit code 2, since 23.4: done, but something was wrong that it could work around.
        Some("done") => Err(format!("done, but cloud-init status ends with {}", status.exit)),
        other => Err(format!("its status is {}", other.unwrap_or("unknown"))),
    }
}

fn result(report: &Report) -> Option<serde_json::Value> {
    serde_json::from_str::<serde_json::Value>(report.text("result")).ok()?.get("v1").cloned()
}

fn errors(report: &Report) -> Option<Vec<String>> {
    let result = result(report)?;
    let errors = result.get("errors")?.as_array()?;
    Some(errors.iter().map(|error| error.as_str().unwrap_or("an error without words").to_owned()).collect())
}

fn data_source(report: &Report, observed: &Observed) -> Result<String, String> {
    let result = result(report).ok_or("no result of cloud-init")?;
    let source = result.get("datasource").and_then(|source| source.as_str()).unwrap_or("none");
    let given = &observed.given;
    let wanted = match (given.source, given.cdrom) {
        (Source::Metadata, _) => "DataSourceOpenStack",
        // A CD-ROM is /dev/sr0 whatever it hangs on; read from anywhere else, it would not be the cloud's.
        (Source::ConfigDrive, Some(_)) => "source=/dev/sr",
        (Source::ConfigDrive, None) => "DataSourceConfigDrive",
        (Source::NoCloud | Source::Nothing, _) => "DataSourceNoCloud",
    };
    let fits = source.contains(wanted)
        && (given.source != Source::ConfigDrive || source.contains("DataSourceConfigDrive"));
    match (fits, given.source) {
        (true, Source::Metadata) if observed.fetched.is_empty() => {
            Err(format!("{source}, but nothing was fetched from the metadata service"))
        }
        (true, Source::Metadata) => Ok(format!("{source}, which fetched {}", observed.fetched.join(", "))),
        (true, _) => Ok(source.to_owned()),
        (false, _) => Err(source.to_owned()),
    }
}

fn host_name(report: &Report, observed: &Observed) -> Result<String, String> {
    let name = report.text("hostname");
    // Images may complete it to a name with a domain.
    match name.split('.').next() == Some(observed.given.hostname.as_str()) {
        true => Ok(name.to_owned()),
        false => Err(format!("{name:?} instead of {:?}", observed.given.hostname)),
    }
}

/// There is no default route to look for: QEMU offers none where nothing can be reached.
fn network(report: &Report, observed: &Observed) -> Result<String, String> {
    let address = observed.given.address;
    let given = format!("{address}/");
    let line = report.text("addresses").lines().find(|line| line.contains(&given));
    match line.and_then(|line| line.split_whitespace().nth(1)) {
        Some(interface) => Ok(format!("{interface} has {address} from DHCP")),
        None => Err(format!("no interface has the address {address} that DHCP gives")),
    }
}

/// The last partition ends where the disk ends, and the filesystem fills it.
fn root_grown(report: &Report, observed: &Observed) -> Result<String, String> {
    let filesystem = report.text("root-disk").lines().find_map(|line| {
        let (size, count) = line.strip_prefix("filesystem ")?.split_once(' ')?;
        size.parse::<u64>().ok()?.checked_mul(count.trim().parse().ok()?)
    });
    let filesystem = filesystem.ok_or("the guest does not say how large its root filesystem is")?;
    let disk = observed.disk_size;
    let percent = |part: u64, whole: u64| (u128::from(part) * 100 / u128::from(whole.max(1))) as u64;
    let number = |word| report.number("root-disk", word).and_then(|sectors| sectors.checked_mul(512));
    // What filesystems keep for themselves is not counted as theirs: 95 % of a partition is all of it.
    let (is_grown, of) = match number("start").zip(number("size")) {
        Some((start, size)) if number("disk") == Some(disk) => {
            // A backup GPT and the alignment to 1 MiB lie behind the last partition.
            let at_the_end = start.saturating_add(size) >= disk.saturating_sub(2 << 20);
            (at_the_end && percent(filesystem, size) >= 95, size)
        }
        // On a volume or on the whole disk.
        _ => (percent(filesystem, disk) >= 90, disk),
    };
    let mib = |bytes: u64| bytes >> 20;
    let words = format!("a filesystem of {} MiB on {} of {} MiB", mib(filesystem), mib(of), mib(disk));
    if is_grown { Ok(words) } else { Err(words) }
}

/// Made at this boot: not older than it.
fn fresh(report: &Report, file: impl Fn(&str) -> bool) -> Result<(), String> {
    let boot: u64 = report.text("boot-time").parse().map_err(|_| "the guest does not say when it booted")?;
    let mut files =
        report.text("ages").lines().filter_map(|line| line.split_once(' ')).filter(|(_, name)| file(name));
    // The kernel rounds, and cloud-init may set the clock.
    match files.find(|(time, _)| time.parse::<u64>().is_ok_and(|time| time + 5 < boot)) {
        Some((_, name)) => Err(format!("{name} is older than the boot")),
        None => Ok(()),
    }
}

/// machine-id(5): 32 lower case hexadecimal digits.
fn machine_id(report: &Report, _: &Observed) -> Result<String, String> {
    let id = report.text("machine-id");
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(format!("{id:?} is no machine-id"));
    }
    fresh(report, |name| name == "/etc/machine-id")?;
    Ok(id.to_owned())
}

fn host_keys(report: &Report, _: &Observed) -> Result<String, String> {
    let kinds: Vec<String> =
        public_keys(report).filter_map(|key| key.split(' ').next().map(str::to_owned)).collect();
    if kinds.is_empty() {
        return Err("there are none".to_owned());
    }
    fresh(report, |name| name.starts_with("/etc/ssh/"))?;
    Ok(kinds.join(", "))
}

fn failed_units(report: &Report, _: &Observed) -> Result<String, String> {
    let fact = report.fact("failed-units");
    let units: Vec<&str> = fact.text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let system = report.text("system");
    match (fact.exit, units.as_slice(), system) {
        (0, [], "running") => Ok("the system is running".to_owned()),
        (0, [], _) => Err(format!("the system is {system:?}")),
        (0, units, _) => Err(units.join(", ")),
        _ => Err(fact.text),
    }
}

fn clock(report: &Report, observed: &Observed) -> Result<String, String> {
    let guest: u64 = report.text("clock").parse().map_err(|_| "the guest does not say what time it is")?;
    let host = observed.reported.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let off = guest.abs_diff(host);
    let service = report.text("time-service");
    match service.lines().next() {
        None => Err("no time service is active".to_owned()),
        Some(_) if off > CLOCK_TOLERANCE => {
            Err(format!("it is {off} s off (is the hardware clock taken for local time?)"))
        }
        Some(service) => Ok(format!("{service}, {off} s off")),
    }
}

fn key_login(logins: &Logins) -> Result<String, String> {
    match (&logins.user, &logins.with_key) {
        (Some(_), Ok(words)) => Ok(format!("as {words}")),
        (None, _) => Err("no account has the key".to_owned()),
        (Some(user), Err(words)) => Err(format!("{user} cannot log in: {words}")),
    }
}

fn no_password(report: &Report, logins: &Logins) -> Result<String, String> {
    let methods =
        logins.methods.clone().map_err(|words| format!("the SSH server does not answer: {words}"))?;
    if methods.split(',').any(|method| !method.starts_with("publickey") && !method.starts_with("gssapi")) {
        return Err(format!("the SSH server offers {methods}"));
    }
    let users = report.fact("password-users");
    match (users.exit, users.text.split_whitespace().collect::<Vec<_>>().join(", ")) {
        (0, users) if users.is_empty() => Ok(format!("only {methods}, and no account has a password")),
        (0, users) => Err(format!("accounts with a password, or without need of one: {users}")),
        (_, words) => Err(words),
    }
}

fn power_button(result: Result<Duration, String>) -> Result<String, String> {
    result.map(|time| format!("off after {:.0} s", time.as_secs_f64()))
}

#[cfg(test)]
mod tests;
