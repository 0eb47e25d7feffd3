//! Rules of callers, in an audit of a whole disk.

use image_core::format::Format;

use super::{image, mke2fs, put, sound_tree};
use crate::audit::{Audit, Judgement, OwnRule, Profile, Verdict};
use crate::monitor::{CancellationToken, Monitor, Recorder, silent};

#[test]
fn rules_of_callers_count_like_all_others() {
    let Some(mke2fs) = mke2fs() else { return };
    let (dir, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sound_tree(tree.path());
    put(tree.path(), "etc/issue", "Example Ltd\n");
    let disk = image(&mke2fs, tree.path(), dir.path(), |_| ());
    let names = |word: &'static str| {
        OwnRule::must("notice", "whoever logs in is told whose machine this is", move |image| {
            Ok(match image.text("/etc/issue")? {
                Some(text) if text.contains(word) => Judgement::kept("it is named"),
                _ => Judgement::broken("/etc/issue", "it is not named", "write it in a step"),
            })
        })
    };
    let audit = |rule| Audit::new(Profile::Openstack).format(Format::Raw).rule(rule);
    let verdict = |rule| {
        let report = audit(rule).image(disk.path(), silent()).unwrap();
        let check = report.checks.into_iter().next_back().unwrap();
        (check.verdict, check.group, check.looked().to_vec(), report.passed)
    };
    let looked = vec!["/etc/issue".to_owned()];
    assert_eq!(verdict(names("Example")), (Verdict::Ok, "rules of your own", looked.clone(), true));
    assert_eq!(verdict(names("Other")), (Verdict::Problem, "rules of your own", looked, false));
    let blind = OwnRule::must("blind", "nothing", |_| Ok(Judgement::kept("surely")));
    assert_eq!(verdict(blind).0, Verdict::NotChecked);
    let better = OwnRule::should("better", "it is so", |image| {
        Ok(match image.matches("/etc/*s*e")?.is_empty() {
            true => Judgement::kept("none"),
            false => Judgement::broken("/etc", "it is there", "remove it"),
        })
    });
    assert_eq!((verdict(better).0, verdict(names("Example")).3), (Verdict::Recommendation, true));
    let taken = OwnRule::must("passwords", "as goldimg's", |_| Ok(Judgement::kept("")));
    let error = audit(taken).image(disk.path(), silent()).unwrap_err();
    assert_eq!(error.to_string(), "there is a rule \"passwords\" already");
    let twice = audit(names("a")).rule(names("b")).image(disk.path(), silent()).unwrap_err();
    assert_eq!(twice.kind(), crate::ErrorKind::Invalid);
}

#[test]
fn an_audit_is_stopped_while_it_reads() {
    let Some(mke2fs) = mke2fs() else { return };
    let (dir, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sound_tree(tree.path());
    let disk = image(&mke2fs, tree.path(), dir.path(), |_| ());
    let (recorder, cancel) = (Recorder::default(), CancellationToken::new());
    let impatient = cancel.clone();
    let rule = OwnRule::must("impatient", "nobody has waited enough", move |_| {
        impatient.cancel();
        Ok(Judgement::kept("at last"))
    });
    let audit = Audit::new(Profile::Any).rule(rule);
    let error = audit.image(disk.path(), Monitor::new(&recorder, &cancel)).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Cancelled);
    // A disk of a few files is not worth a word.
    assert_eq!(recorder.told(), Vec::<String>::new());
    let again = audit.image(disk.path(), Monitor::new(&recorder, &cancel)).unwrap_err();
    assert_eq!(again.kind(), crate::ErrorKind::Cancelled);
}
