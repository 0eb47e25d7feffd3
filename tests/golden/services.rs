//! Debian's packages that make a name for the machine they are installed on: each server started from the image gets its own.

use super::build;
use crate::support::peer::peer;
use crate::support::{folder, goldimg};

/// The step between sees the names that sealing takes. The others need programs of the image: its apt, useradd, chpasswd, visudo,
/// update-grub, and are seen by its own `su`.
const STEPS: &str = r#"
[[steps]]
install = ["open-iscsi", "nvme-cli"]
[[steps]]
run = "grep -q ^InitiatorName=iqn /etc/iscsi/initiatorname.iscsi; grep -q ^nqn /etc/nvme/hostnqn; test -s /etc/nvme/hostid"
[[steps]]
update = { kernel = false }
[[steps]]
run = "test -z \"$(apt-mark showhold)\""
[[steps]]
user = { name = "ann", groups = ["adm"], sudo = true, ssh-keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0 ann@example"] }
[[steps]]
password = { user = "ann", secret = "hers" }
[[steps]]
run = "printf 'bob:another-password\n' > /run/bob; useradd bob; chpasswd < /run/bob; id -nG ann | grep -qw adm; visudo -c"
[[steps]]
timezone = "Europe/Berlin"
[[steps]]
kernel-argument = ["goldimg.word=1"]
[[steps]]
firstboot = "echo first"
[[steps]]
datasources = ["ConfigDrive", "None"]
[[steps]]
write = { path = "/etc/own.conf", content = "one\ntwo\n" }
[[steps]]
edit = { path = "/etc/own.conf", expressions = ["s/^(t)wo$/\\1hree/"] }
[[steps]]
delete = "/usr/share/doc/nvme-cl*"
[output]
formats = ["raw"]
"#;

/// What who builds gives.
const PASSWORD: &str = "correct-horse-battery";

#[test]
fn names_that_packages_made_for_the_builder_are_in_no_image() {
    let Some(debugfs) = peer("debugfs") else { return };
    let folder = folder();
    let password = folder.path().join("password");
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let secret = format!("--secret=hers={}", password.display());
    let built = build(folder.path(), "services", STEPS, &[&secret]).run();
    assert_eq!(built.code, 0, "{}", built.snapshot());
    let log = std::fs::read_to_string(folder.path().join("services/tiny-1.log")).unwrap();
    assert!(!log.contains(PASSWORD), "the password is in the log");
    let recipe = folder.path().join("services.toml");
    let plan = goldimg(["plan".as_ref(), "--json".as_ref(), "--offline".as_ref(), recipe.as_os_str()]).run();
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    let partitions = plan["partitions"].as_array().unwrap();
    let root = partitions.iter().find(|partition| partition["number"] == 1).unwrap();
    let image = folder.path().join("services/tiny-1.raw");
    let place = format!("{}?offset={}", image.display(), root["start"]);
    let ask = |request: &str| debugfs.must(["-R", request, &place]);
    // What Debian's startup-checks.sh looks for, which makes iscsid.service fail where the file is missing.
    let initiator = ask("cat /etc/iscsi/initiatorname.iscsi");
    assert!(initiator.lines().any(|line| line == "GenerateName=yes"), "{initiator}");
    assert!(!initiator.contains("iqn."), "{initiator}");
    // Who was given a password by name keeps it; whoever got one besides does not.
    let shadow = ask("cat /etc/shadow");
    let of =
        |user: &str| shadow.lines().find(|line| line.starts_with(&format!("{user}:"))).unwrap().to_owned();
    assert!(of("ann").starts_with("ann:$y$"), "{shadow}");
    assert!(of("bob").starts_with("bob:*:"), "{shadow}");
    assert!(ask("cat /home/ann/.ssh/authorized_keys").ends_with("AAAAIJ0 ann@example\n"));
    let stat = ask("stat /home/ann/.ssh/authorized_keys");
    assert!(stat.contains("Mode:  0600") && stat.contains("User:  1000"), "{stat}");
    assert!(ask("stat /etc/sudoers.d/90-goldimg-ann").contains("Mode:  0440"));
    assert!(ask("stat /etc/localtime").contains("../usr/share/zoneinfo/Europe/Berlin"));
    let menu = ask("cat /boot/grub/grub.cfg");
    assert!(menu.lines().any(|line| line.contains("vmlinuz") && line.ends_with("goldimg.word=1")), "{menu}");
    assert!(ask("cat /usr/local/sbin/goldimg-firstboot-1").ends_with("\necho first\n"));
    assert!(
        ask("stat /etc/systemd/system/multi-user.target.wants/goldimg-firstboot-1.service")
            .contains("symlink")
    );
    let sources = ask("cat /etc/cloud/cloud.cfg.d/95-goldimg-datasources.cfg");
    assert!(sources.contains("\ndatasource_list: [ ConfigDrive, None ]\n"), "{sources}");
    assert_eq!(ask("cat /etc/own.conf"), "one\nthree\n");
    assert!(!ask("ls /usr/share/doc").contains("nvme-cli"));
    let manifest = std::fs::read_to_string(folder.path().join("services/tiny-1.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["accepted"]["passwords"], serde_json::json!(["ann"]));
    assert_eq!(manifest["properties"]["img_config_drive"], "mandatory");
    let stat = ask("stat /etc/iscsi/initiatorname.iscsi");
    assert!(stat.contains("Mode:  0600"), "{stat}");
    assert!(ask("cat /usr/lib/open-iscsi/startup-checks.sh").contains("GenerateName=yes"));
    assert!(ask("ls /etc/nvme").contains("discovery.conf"));
    for gone in ["/etc/nvme/hostnqn", "/etc/nvme/hostid"] {
        assert!(!ask(&format!("stat {gone}")).contains("Inode:"), "{gone}");
    }
}
