//! Debian's packages that make a name for the machine they are installed on: each server started from the image gets its own.

use super::build;
use crate::support::peer::peer;
use crate::support::{folder, goldimg};

/// The step between sees the names that sealing takes.
const STEPS: &str = r#"
[[steps]]
install = ["open-iscsi", "nvme-cli"]
[[steps]]
run = "grep -q ^InitiatorName=iqn /etc/iscsi/initiatorname.iscsi; grep -q ^nqn /etc/nvme/hostnqn; test -s /etc/nvme/hostid"
[output]
formats = ["raw"]
"#;

#[test]
fn names_that_packages_made_for_the_builder_are_in_no_image() {
    let Some(debugfs) = peer("debugfs") else { return };
    let folder = folder();
    let built = build(folder.path(), "services", STEPS, &[]).run();
    assert_eq!(built.code, 0, "{}", built.snapshot());
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
    let stat = ask("stat /etc/iscsi/initiatorname.iscsi");
    assert!(stat.contains("Mode:  0600"), "{stat}");
    assert!(ask("cat /usr/lib/open-iscsi/startup-checks.sh").contains("GenerateName=yes"));
    assert!(ask("ls /etc/nvme").contains("discovery.conf"));
    for gone in ["/etc/nvme/hostnqn", "/etc/nvme/hostid"] {
        assert!(!ask(&format!("stat {gone}")).contains("Inode:"), "{gone}");
    }
}
