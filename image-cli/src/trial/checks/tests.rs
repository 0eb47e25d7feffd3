//! Each check, passing and failing.

use super::super::report::tests::report;
use super::*;

const RESULT: &str =
    r#"{"v1": {"datasource": "DataSourceNoCloud [seed=/dev/vdb][dsmode=net]", "errors": []}}"#;

fn good() -> Vec<(&'static str, i32, &'static str)> {
    vec![
        ("cloud-init", 0, "status: done\nboot_status_code: enabled-by-generator"),
        ("result", 0, RESULT),
        ("hostname", 0, "trial-1"),
        ("machine-id", 0, "27c4fde1bae249eead11db8e3db9e92f"),
        ("host-keys", 0, "ssh-ed25519 AAAA root@trial-1\necdsa-sha2-nistp256 BBBB root@trial-1"),
        ("boot-time", 0, "1795411646"),
        ("ages", 0, "1795411645 /etc/machine-id\n1795411700 /etc/ssh/ssh_host_ed25519_key"),
        ("root-disk", 0, "filesystem 4096 900000\nstart 139264\nsize 7331807\ndisk 7471104"),
        (
            "addresses",
            0,
            "2: enp0s3    inet 172.29.83.57/24 metric 100 brd 172.29.83.255 scope global dynamic enp0s3",
        ),
        ("key-users", 0, "debian"),
        ("password-users", 0, ""),
        ("system", 0, "running"),
        ("failed-units", 0, ""),
        ("time-service", 0, "systemd-timesyncd"),
        ("clock", 0, "1795411800"),
    ]
}

fn observed(facts: &[(&str, i32, &str)]) -> Observed {
    Observed {
        hostname: "trial-1".into(),
        disk_size: 7_471_104 * 512,
        console: [true; 3],
        report: Some(report(facts)),
        reported: UNIX_EPOCH + Duration::from_secs(1_795_411_803),
        logins: Some(Logins {
            user: Some("debian".into()),
            with_key: Ok("debian, and may become root".into()),
            methods: Ok("publickey".into()),
        }),
        power_off: Some(Ok(Duration::from_secs(4))),
    }
}

/// The names of the checks that do not pass.
fn failing(observed: &Observed) -> Vec<(&'static str, String)> {
    let checks = judge(observed).into_iter().filter(|check| check.verdict != Verdict::Passed);
    checks.map(|check| (check.name, check.evidence)).collect()
}

/// A good guest but for one fact.
fn with(name: &str, exit: i32, text: &'static str) -> Vec<(&'static str, String)> {
    let mut facts = good();
    for fact in facts.iter_mut().filter(|fact| fact.0 == name) {
        (fact.1, fact.2) = (exit, text);
    }
    failing(&observed(&facts))
}

fn one(name: &'static str, evidence: &str) -> Vec<(&'static str, String)> {
    vec![(name, evidence.to_owned())]
}

#[test]
fn a_good_guest_passes_everything() {
    let checks = judge(&observed(&good()));
    assert_eq!(checks.len(), 13);
    assert_eq!(failing(&observed(&good())), []);
}

#[test]
fn a_guest_without_a_report_is_unknown_and_not_good() {
    let silent = Observed { report: None, logins: None, power_off: None, ..observed(&[]) };
    let checks = judge(&silent);
    assert_eq!(checks.iter().filter(|check| check.verdict == Verdict::Unknown).count(), 12);
    // An empty report is no better: nothing passes for want of evidence.
    let empty = judge(&observed(&[]));
    let passed: Vec<_> =
        empty.iter().filter(|check| check.verdict == Verdict::Passed).map(|c| c.name).collect();
    assert_eq!(passed, ["console", "key-login", "power-button"]);
}

#[test]
fn cloud_init_has_to_be_done_without_errors() {
    let errors = r#"{"v1": {"datasource": "DataSourceNoCloud", "errors": ["('locale', Failed)", "b"]}}"#;
    assert_eq!(with("result", 0, errors), one("cloud-init", "('locale', Failed); b"));
    assert_eq!(with("cloud-init", 0, "status: running"), one("cloud-init", "its status is running"));
    assert_eq!(
        with("cloud-init", 2, "status: done"),
        one("cloud-init", "done, but cloud-init status ends with 2")
    );
    let none = r#"{"v1": {"datasource": "DataSourceNone", "errors": []}}"#;
    assert_eq!(with("result", 0, none), one("data-source", "DataSourceNone"));
    assert_eq!(with("result", 1, "cat: no such file").len(), 2);
}

#[test]
fn the_server_has_the_clouds_name_and_address() {
    assert_eq!(with("hostname", 0, "trial-1.example.org"), []);
    assert_eq!(with("hostname", 0, "localhost"), one("host-name", "\"localhost\" instead of \"trial-1\""));
    let other = "2: enp0s3    inet 172.29.83.5/24 scope global enp0s3";
    assert_eq!(with("addresses", 0, other)[0].0, "network");
}

#[test]
fn the_root_filesystem_fills_the_disk() {
    // The partition did not grow; the partition grew and the filesystem did not; no partition at all.
    let at = |text| with("root-disk", 0, text);
    assert_eq!(at("filesystem 4096 360000\nstart 139264\nsize 3000000\ndisk 7471104")[0].0, "root-grown");
    assert_eq!(at("filesystem 4096 360000\nstart 139264\nsize 7331807\ndisk 7471104")[0].0, "root-grown");
    assert_eq!(at("filesystem 4096 360000")[0].0, "root-grown");
    assert_eq!(at("filesystem 4096 900000"), []);
    assert_eq!(at("stat: cannot")[0].0, "root-grown");
    assert_eq!(at("filesystem 18446744073709551615 18446744073709551615")[0].0, "root-grown");
}

#[test]
fn what_makes_a_server_unique_is_made_at_its_first_boot() {
    assert_eq!(with("machine-id", 0, "uninitialized")[0].0, "machine-id");
    let old_id = "1695411645 /etc/machine-id\n1795411700 /etc/ssh/ssh_host_ed25519_key";
    assert_eq!(with("ages", 0, old_id), one("machine-id", "/etc/machine-id is older than the boot"));
    let old_key = "1795411645 /etc/machine-id\n1695411700 /etc/ssh/ssh_host_rsa_key";
    assert_eq!(
        with("ages", 0, old_key),
        one("host-keys", "/etc/ssh/ssh_host_rsa_key is older than the boot")
    );
    assert_eq!(
        with("host-keys", 1, "cat: /etc/ssh/ssh_host_*_key.pub: No such file"),
        one("host-keys", "there are none")
    );
    assert_eq!(with("boot-time", 0, "").len(), 2);
}

#[test]
fn the_system_is_healthy_and_knows_the_time() {
    let failed = "cloud-config.service loaded failed failed Apply the settings";
    assert_eq!(with("failed-units", 0, failed), one("no-failed-units", "cloud-config.service"));
    assert_eq!(with("system", 1, "starting"), one("no-failed-units", "the system is \"starting\""));
    assert_eq!(
        with("failed-units", 127, "systemctl: not found"),
        one("no-failed-units", "systemctl: not found")
    );
    assert_eq!(with("time-service", 0, ""), one("clock", "no time service is active"));
    assert_eq!(with("clock", 0, "1795415400")[0].0, "clock");
}

#[test]
fn only_the_key_opens_the_door() {
    let logins = |logins: Logins| failing(&Observed { logins: Some(logins), ..observed(&good()) });
    let fine = observed(&good()).logins.unwrap();
    let refused = Logins { with_key: Err("Permission denied (publickey).".into()), ..fine.clone() };
    assert_eq!(logins(refused)[0].0, "key-login");
    assert_eq!(logins(Logins { user: None, ..fine.clone() }), one("key-login", "no account has the key"));
    for methods in ["publickey,password", "publickey,keyboard-interactive", "none"] {
        let offers = Logins { methods: Ok(methods.into()), ..fine.clone() };
        assert_eq!(logins(offers), one("no-password", &format!("the SSH server offers {methods}")));
    }
    assert_eq!(with("password-users", 0, "root\nbackdoor")[0].0, "no-password");
    assert_eq!(with("password-users", 1, "awk: not found")[0].0, "no-password");
}

#[test]
fn the_power_button_works() {
    let slow = Observed { power_off: Some(Err(Duration::from_secs(90))), ..observed(&good()) };
    assert_eq!(failing(&slow), one("power-button", "still on after 90 s"));
}

#[test]
fn clones_differ() {
    let first = report(&good());
    let mut facts = good();
    facts[3].2 = "00000000000000000000000000000001";
    facts[4].2 = "ssh-ed25519 CCCC root@trial-2";
    let second = report(&facts);
    let failed = |reports: &[&Report]| -> Vec<&str> {
        let checks = judge_clones(reports).into_iter().filter(|check| check.verdict != Verdict::Passed);
        checks.map(|check| check.name).collect()
    };
    assert_eq!(failed(&[&first, &second]), Vec::<&str>::new());
    assert_eq!(failed(&[&first, &first]), ["clones-machine-id", "clones-host-keys"]);
    facts[3].2 = "27c4fde1bae249eead11db8e3db9e92f";
    assert_eq!(failed(&[&first, &report(&facts)]), ["clones-machine-id"]);
    for too_few in [&[] as &[&Report], &[&first], &[&first, &report(&[])], &[&report(&[]), &report(&[])]] {
        assert_eq!(failed(too_few), ["clones-machine-id", "clones-host-keys"]);
    }
}
