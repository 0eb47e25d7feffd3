//! Of each row of the table of identities: the audit tells of it, sealing does what the row says, and nothing is left but
//! what no service makes anew.

use std::collections::BTreeSet;

use super::*;
use crate::audit::{IDENTITIES, Renewal, System};
use crate::monitor::silent;

/// A path that a pattern means.
fn example(pattern: &str) -> String {
    pattern.trim_start_matches('/').replace('*', "one")
}

/// The files of the rows that count in a system with (or without) what they ask for.
fn fill(root: &Path, with: bool) -> Vec<(String, Renewal)> {
    let mut files = Vec::new();
    for row in IDENTITIES {
        let counts = match row.system {
            System::Any => true,
            System::With(path) => {
                with.then(|| put(root, path.trim_start_matches('/'), "# of the system\n"));
                with
            }
            System::Without(_) => !with,
        };
        if counts {
            let path = example(row.pattern);
            put(root, &path, &format!("# of one machine\n{}0123\n", row.line));
            files.push((format!("/{path}"), row.renewal));
        }
    }
    files
}

/// The places that the two rules tell of.
fn told(report: &Report) -> BTreeSet<String> {
    let checks = report.checks.iter().filter(|check| check.name.starts_with("service-"));
    checks.flat_map(|check| check.findings.iter().map(|finding| finding.place.clone())).collect()
}

#[test]
fn each_row_is_told_and_what_a_service_makes_anew_is_sealed() {
    let Some(mke2fs) = mke2fs() else { return };
    for with in [true, false] {
        let (dir, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sound_tree(tree.path());
        let files = fill(tree.path(), with);
        let disk = disk_of(&mke2fs, tree.path(), dir.path(), |_| ());
        let request = request(disk.path());
        let audit = || {
            audit::audit(disk.path(), request.format, request.profile, &request.expected, silent()).unwrap()
        };
        assert_eq!(told(&audit()), files.iter().map(|(path, _)| path.clone()).collect());
        let sealed = seal(&request, silent()).unwrap();
        let by_hand = files.iter().filter(|(_, renewal)| matches!(renewal, Renewal::ByHand(_)));
        assert_eq!(told(&sealed.report), by_hand.map(|(path, _)| path.clone()).collect());
        let (_, view) = open(&request).unwrap();
        for (path, renewal) in &files {
            let content = view.root().read(path.as_ref(), 1 << 20).unwrap();
            match renewal {
                Renewal::Removed(_) => assert_eq!(content, None, "{path}"),
                Renewal::Written(text, _) => assert_eq!(content.as_deref(), Some(text.as_bytes()), "{path}"),
                Renewal::ByHand(_) => assert!(content.is_some(), "{path}"),
            }
        }
        // A second time there is nothing to do.
        assert_eq!(plan(&request).unwrap().changes, []);
    }
}

#[test]
fn what_was_asked_for_and_what_is_nobodys_stays() {
    let Some(mke2fs) = mke2fs() else { return };
    let (dir, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sound_tree(tree.path());
    put(tree.path(), "lib/open-iscsi/startup-checks.sh", "");
    // As Ubuntu's images have it, and a database without a user that counts itself.
    put(tree.path(), "etc/iscsi/initiatorname.iscsi", "# a name comes later\nGenerateName=yes\n");
    put(tree.path(), "etc/popularity-contest.conf", "MY_HOSTID=\"0123\"\nPARTICIPATE=\"no\"\n");
    put(tree.path(), "etc/salt/minion_id", "golden\n");
    put(tree.path(), "var/lib/mysql/auto.cnf", "[auto]\nserver-uuid=0123\n");
    let disk = disk_of(&mke2fs, tree.path(), dir.path(), |_| ());
    let mut request = request(disk.path());
    request.expected.asked_for = ["/etc/salt/minion_id".into()].into();
    request.expected.keep = vec!["/var/lib/mysql".into()];
    let report =
        audit::audit(disk.path(), request.format, request.profile, &request.expected, silent()).unwrap();
    assert_eq!(told(&report), BTreeSet::new());
    let changes = plan(&request).unwrap().changes;
    let touched = changes.iter().filter(|change| {
        ["/etc/iscsi", "/etc/popularity-contest.conf", "/etc/salt", "/var/lib/mysql"]
            .iter()
            .any(|stays| change.path().starts_with(stays))
    });
    assert_eq!(touched.collect::<Vec<_>>(), Vec::<&Change>::new());
}
