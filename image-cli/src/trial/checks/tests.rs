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
        given: Given {
            hostname: "trial-1".into(),
            address: "172.29.83.57",
            source: Source::NoCloud,
            cdrom: None,
            instance_id: "0a1b2c3d-4e5f-4000-8000-000000000000".into(),
            vendor_words: "vendor data of 1".into(),
            macs: ["52:54:00:0a:1b:2c", "52:54:01:0a:1b:2c"].map(String::from),
            nics: 1,
        },
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
        identities: vec!["DUID 0002".into()],
        fetched: vec!["meta_data.json", "user_data"],
        booted: Some(Duration::from_secs(40)),
        obstacle: None,
        failed_units: Vec::new(),
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
    let silent = Observed { report: None, logins: None, power_off: None, booted: None, ..observed(&[]) };
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
    // growpart 0.34 ends on a whole MiB before the copy of the GPT, 0.33 on the last sector before it.
    assert_eq!(at("filesystem 4096 900000\nstart 139264\nsize 7329792\ndisk 7471104"), []);
    assert_eq!(at("filesystem 4096 900000\nstart 139264\nsize 7327743\ndisk 7471104")[0].0, "root-grown");
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
    let slow = Observed { power_off: Some(Err("still on after 90 s".into())), ..observed(&good()) };
    assert_eq!(failing(&slow), one("power-button", "still on after 90 s"));
}

#[test]
fn clones_differ() {
    let first = report(&good());
    let mut facts = good();
    facts[3].2 = "00000000000000000000000000000001";
    facts[4].2 = "ssh-ed25519 CCCC root@trial-2";
    let second = report(&facts);
    let ids = ["DUID 01".to_owned()];
    let others = ["DUID 02".to_owned(), "DUID 03".to_owned()];
    let failed = |clones: &[(&Report, &[String])]| -> Vec<&str> {
        let clones: Vec<_> =
            clones.iter().map(|(report, ids)| Clone { report, identities: Some(ids) }).collect();
        let checks = judge_clones(&clones).into_iter().filter(|check| check.verdict != Verdict::Passed);
        checks.map(|check| check.name).collect()
    };
    let all = ["clones-machine-id", "clones-host-keys", "clones-duid"];
    assert_eq!(failed(&[(&first, &ids), (&second, &others)]), Vec::<&str>::new());
    assert_eq!(failed(&[(&first, &ids), (&first, &ids)]), all);
    assert_eq!(failed(&[(&first, &ids), (&second, &ids)]), ["clones-duid"]);
    facts[3].2 = "27c4fde1bae249eead11db8e3db9e92f";
    assert_eq!(failed(&[(&first, &ids), (&report(&facts), &others)]), ["clones-machine-id"]);
    let silent = report(&[]);
    let too_few: [&[(&Report, &[String])]; 4] =
        [&[], &[(&first, &ids)], &[(&first, &ids), (&silent, &[])], &[(&silent, &[]), (&silent, &[])]];
    for clones in too_few {
        assert_eq!(failed(clones), all);
    }
    // A boot without a network asks for no address, and is not asked for its name.
    let [one, other, alone] = [Some(ids.as_slice()), Some(others.as_slice()), None]
        .map(|identities| Clone { report: &first, identities });
    let duid = |clones: &[Clone<'_>]| judge_clones(clones).pop().map(|check| check.verdict);
    let silent = Clone { report: &first, identities: Some(&[]) };
    assert_eq!(duid(&[one, other, alone]), Some(Verdict::Passed));
    assert_eq!(duid(&[silent]), Some(Verdict::Unknown));
    // Two boots of a config drive, one of them without a card: there is nothing to compare.
    let pair = [Some(ids.as_slice()), None].map(|identities| Clone { report: &first, identities });
    assert!(judge_clones(&pair).iter().all(|check| check.name != "clones-duid"));
}

/// What a good guest in OpenStack says besides.
const IN_CLOUD: [(&str, &str); 6] = [
    (
        "links",
        "1: lo: <LOOPBACK,UP> mtu 65536 qdisc noqueue state UNKNOWN \\    link/loopback 00:00:00:00:00:00 brd\n\
         2: ens1: <BROADCAST,UP> mtu 1442 qdisc fq state UP \\    link/ether 52:54:00:0a:1b:2c brd ff:ff:ff:ff:ff:ff\n\
         3: ens2: <BROADCAST,UP> mtu 8950 qdisc fq state UP \\    link/ether 52:54:01:0a:1b:2c brd ff:ff:ff:ff:ff:ff",
    ),
    (
        "addresses",
        "2: ens1    inet 169.252.83.57/14 metric 100 brd 169.255.255.255 scope global dynamic ens1\n\
         3: ens2    inet 10.83.2.57/24 brd 10.83.2.255 scope global ens2\n\
         3: ens2    inet6 2001:db8:83::57/64 scope global",
    ),
    (
        "routes",
        "default via 10.83.2.1 dev ens2 proto static\n198.51.100.0/24 via 10.83.2.9 dev ens2 proto static",
    ),
    ("resolver", "# made by systemd\nnameserver 127.0.0.53\nnameserver 192.0.2.53"),
    (
        "network-wait",
        "Id=systemd-networkd-wait-online.service\nActiveEnterTimestampMonotonic=27500000\n\
         InactiveExitTimestampMonotonic=20000000\n\nId=networking.service\n\
         ActiveEnterTimestampMonotonic=0\nInactiveExitTimestampMonotonic=0",
    ),
    ("vendor-data", "vendor data of 1"),
];

/// What is wrong with a guest in OpenStack that is good but for one fact.
fn in_cloud(
    source: Source,
    cdrom: Option<Cdrom>,
    name: &str,
    text: &'static str,
) -> Vec<(&'static str, String)> {
    let result = match source {
        Source::Metadata => r#"{"v1": {"datasource": "DataSourceOpenStackLocal [net,ver=2]", "errors": []}}"#,
        _ => r#"{"v1": {"datasource": "DataSourceConfigDrive [net,ver=2][source=/dev/sr0]", "errors": []}}"#,
    };
    let mut facts = good();
    facts.retain(|fact| fact.0 != "addresses" && fact.0 != "result");
    facts.extend(IN_CLOUD.map(|(name, text)| (name, 0, text)));
    facts.extend([("result", 0, result), ("instance-id", 0, "0a1b2c3d-4e5f-4000-8000-000000000000")]);
    for fact in facts.iter_mut().filter(|fact| fact.0 == name) {
        fact.2 = text;
    }
    let mut observed = observed(&facts);
    (observed.given.source, observed.given.cdrom) = (source, cdrom);
    observed.given.nics = 2;
    observed.given.address = "169.252.83.57";
    if name == "fetched" {
        observed.fetched.clear();
    }
    failing(&observed)
}

#[test]
fn what_openstack_gave_has_to_be_applied() {
    let with = |name, text| in_cloud(Source::Metadata, None, name, text);
    assert_eq!(with("none", ""), []);
    assert_eq!(with("fetched", "")[0].0, "data-source");
    assert_eq!(with("instance-id", "iid-datasource-none")[0].0, "instance-id");
    assert_eq!(with("vendor-data", ""), one("vendor-data", "not applied"));
    let wrong = "2: ens1    inet 169.252.83.57/14 scope global\n3: ens2    inet 10.83.2.57/8 scope global";
    assert_eq!(
        with("addresses", wrong),
        one("static-addresses", "ens2 lacks 10.83.2.57/24 and 2001:db8:83::57/64")
    );
    // On the wrong interface they are none.
    let swapped =
        "2: ens1 inet 169.252.83.57/14\n2: ens1 inet 10.83.2.57/24\n2: ens1 inet6 2001:db8:83::57/64";
    assert_eq!(with("addresses", swapped)[0].0, "static-addresses");
    let one_route = "default via 10.83.2.1 dev ens2\n198.51.100.0/24 via 10.83.2.90 dev ens2";
    assert_eq!(with("routes", one_route), one("routes", "there is none: 198.51.100.0/24 by 10.83.2.9"));
    let small =
        "2: ens1: mtu 1442 link/ether 52:54:00:0a:1b:2c\n3: ens2: mtu 1500 link/ether 52:54:01:0a:1b:2c";
    assert_eq!(with("links", small), one("mtu", "ens2 has 1500 instead of 8950"));
    assert_eq!(with("resolver", "nameserver 192.0.2.5"), one("dns", "192.0.2.53 is not used"));
    let stall =
        "Id=networking.service\nActiveEnterTimestampMonotonic=321000000\nInactiveExitTimestampMonotonic=1";
    assert_eq!(with("network-wait", stall), one("network-wait", "networking.service took 320 s"));
    assert_eq!(with("network-wait", "")[0].0, "network-wait");
}

#[test]
fn a_config_drive_is_read_from_the_cd() {
    let with = |name, text| in_cloud(Source::ConfigDrive, Some(Cdrom::Scsi), name, text);
    assert_eq!(with("none", ""), []);
    for source in
        ["DataSourceConfigDrive [net,ver=2][source=/dev/vdb]", "DataSourceOpenStackLocal [net,ver=2]"]
    {
        let result = format!(r#"{{"v1": {{"datasource": "{source}", "errors": []}}}}"#);
        assert_eq!(with("result", result.leak()), one("data-source", source));
    }
}

#[test]
fn without_data_a_boot_only_has_to_end() {
    let silent = Observed { report: None, logins: None, console: [true, false, true], ..observed(&[]) };
    let mut silent = silent;
    silent.given.source = Source::Nothing;
    assert_eq!(failing(&silent), []);
    assert_eq!(judge(&silent).len(), 4);
    silent.failed_units = vec!["ssh.service".into(), "Wait for Network to be Configured".into()];
    assert_eq!(failing(&silent), one("no-failed-units", "ssh.service, Wait for Network to be Configured"));
    silent.failed_units.clear();
    silent.booted = None;
    silent.console = [true, false, false];
    let names: Vec<_> = failing(&silent).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["console", "boot-ends", "no-failed-units"]);
}

#[test]
fn what_an_images_files_tell_is_a_verdict_without_a_report() {
    let why = "/etc/cloud/cloud-init.disabled: it exists";
    let console = [true, false, true];
    let silent =
        Observed { report: None, logins: None, obstacle: Some(why.into()), console, ..observed(&[]) };
    let of = |observed: &Observed, verdict: Verdict| -> Vec<_> {
        judge(observed).into_iter().filter(|c| c.verdict == verdict).map(|c| (c.name, c.evidence)).collect()
    };
    assert_eq!(of(&silent, Verdict::Failed), one("cloud-init", why));
    let passed: Vec<_> = of(&silent, Verdict::Passed).into_iter().map(|(name, _)| name).collect();
    assert_eq!(passed, ["console", "no-failed-units", "power-button"]);
    let lame = Observed { failed_units: vec!["ssh.service".into()], booted: None, ..silent };
    assert_eq!(of(&lame, Verdict::Failed)[1], ("no-failed-units", "ssh.service".to_owned()));
}

#[test]
fn a_server_without_a_network_card_is_judged_by_the_rest() {
    let with = |name: &str, exit: i32, text: &'static str| {
        let result = r#"{"v1": {"datasource": "DataSourceConfigDrive [source=/dev/sr0]", "errors": []}}"#;
        let mut facts = good();
        facts.retain(|fact| fact.0 != "result" && fact.0 != "addresses");
        facts.extend([("result", 0, result), ("addresses", 0, ""), ("vendor-data", 0, "vendor data of 1")]);
        facts.extend([("instance-id", 0, "0a1b2c3d-4e5f-4000-8000-000000000000")]);
        facts.extend([("network-wait", 0, "Id=x\nInactiveExitTimestampMonotonic=0")]);
        for fact in facts.iter_mut().filter(|fact| fact.0 == name) {
            (fact.1, fact.2) = (exit, text);
        }
        let mut observed = Observed { logins: None, identities: Vec::new(), ..observed(&facts) };
        (observed.given.source, observed.given.cdrom) = (Source::ConfigDrive, Some(Cdrom::Scsi));
        observed.given.nics = 0;
        failing(&observed)
    };
    assert_eq!(with("none", 0, ""), []);
    assert_eq!(with("key-users", 0, ""), one("key-installed", "no account has the key"));
    let wait = "systemd-networkd-wait-online.service loaded failed failed Wait for Network";
    assert_eq!(with("failed-units", 0, wait), one("no-failed-units", "systemd-networkd-wait-online.service"));
    let stall = "Id=a.service\nInactiveExitTimestampMonotonic=1\nActiveEnterTimestampMonotonic=321000000";
    assert_eq!(with("network-wait", 0, stall), one("network-wait", "a.service took 320 s"));
    assert_eq!(with("network-wait", 127, "systemctl: not found")[0].0, "network-wait");
}
