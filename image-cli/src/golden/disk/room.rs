//! Whether a disk of a given size is large enough, told as early as it can be known.
//!
//! ```text
//! plan             from what the archive says of its packages      surely too small: a mistake; perhaps: a doubt
//! after the base   from the tree, without what sealing empties     a mistake, unless a later step may remove something
//! after the steps  the same                                        a mistake
//! at the end       exactly (`Layout::new`)                         an error
//! ```

use super::{Layout, remedy};
use crate::golden::ext4::Content;
use crate::golden::load::{Remark, Role};
use crate::golden::recipe::{DiskSize, Recipe, Step};
use crate::golden::tree::Tree;
use crate::size::Size;

/// Folders that are empty when the disk is made, or mounted while programs run.
const EMPTY: &[&str] =
    &["dev", "proc", "run", "sys", "tmp", "var/cache", "var/lib/apt/lists", "var/log", "var/tmp"];
/// What comes after the steps at least: an initrd and the boot loader's modules, in bytes.
const STILL_TO_COME: u64 = 48 << 20;
/// Of what the archive says that packages take, this part is taken to be there surely (in percent): manuals and
/// translations are left out.
const SURELY: u64 = 50;
/// And this part is taken to be the most.
const HARDLY: u64 = 85;

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The packages of the base are there, and so many steps are done with them.
    AfterBase(usize),
    /// All steps are done.
    AfterSteps,
}

/// What is to be said of the disk's size, from the packages that will be installed, in bytes as the archive counts.
pub(crate) fn of_packages(recipe: &Recipe, installed: u64) -> Option<Remark> {
    let DiskSize::Bytes(Size(size)) = recipe.disk.size else { return None };
    let disk = |percent: u64| {
        Layout::smallest(recipe, Content::of_bytes(installed / 100 * percent).filesystem_size(0))
    };
    let (surely, hardly) = (disk(SURELY), disk(HARDLY).saturating_add(STILL_TO_COME));
    let told = |remark: Remark| remark.help(remedy(hardly));
    if size < surely {
        return Some(told(Remark::mistake(
            Role::DiskSize,
            "",
            format!("the disk is too small: its packages alone need more than {}", Size(surely)),
        )));
    }
    (size < hardly).then(|| {
        told(Remark::doubt(
            Role::DiskSize,
            "",
            format!("the disk may be too small: its packages need up to {}", Size(hardly)),
        ))
    })
}

/// What is to be said of the disk's size, from what is in the tree.
///
/// # Errors
/// If the tree cannot be read.
pub(crate) fn of_tree(recipe: &Recipe, tree: &Tree, when: When) -> crate::Result<Option<Remark>> {
    let DiskSize::Bytes(Size(size)) = recipe.disk.size else { return Ok(None) };
    let content = Content::measure_without(tree.root(), EMPTY)?;
    Ok(judge(recipe, size, Layout::smallest(recipe, content.filesystem_size(0)), when))
}

fn judge(recipe: &Recipe, size: u64, smallest: u64, when: When) -> Option<Remark> {
    let (what, may_shrink) = match when {
        When::AfterBase(done) => {
            let removes = |step: &Step| {
                matches!(step, Step::Remove(_) | Step::Delete(_) | Step::Truncate(_) | Step::Run(_))
            };
            ("the base alone", recipe.steps.iter().skip(done).any(removes))
        }
        When::AfterSteps => ("its content", false),
    };
    let expected = smallest.saturating_add(STILL_TO_COME);
    if size >= expected || (size >= smallest && when == When::AfterSteps) {
        return None;
    }
    let text = format!("{what} needs a disk of {}", Size(smallest));
    let remark = match size < smallest && !may_shrink {
        true => Remark::mistake(Role::DiskSize, "", format!("the disk is too small: {text}")),
        false => Remark::doubt(Role::DiskSize, "", format!("the disk may be too small: {text}")),
    };
    Some(remark.help(remedy(expected)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::recipe::{Run, example};
    use crate::mistake::Severity;

    const MIB: u64 = 1 << 20;

    fn of_size(mib: u64) -> Recipe {
        let mut recipe = example();
        recipe.disk.size = DiskSize::Bytes(Size(mib * MIB));
        recipe
    }

    #[test]
    fn what_surely_does_not_fit_is_a_mistake_and_what_may_not_a_doubt() {
        let said = |mib| of_packages(&of_size(mib), 1000 * MIB).map(|remark| remark.severity);
        assert_eq!(said(400), Some(Severity::Error));
        assert_eq!(said(800), Some(Severity::Warning));
        assert_eq!(said(2048), None);
        assert_eq!(of_packages(&example(), u64::MAX), None, "a disk that fits always does");
        let remark = of_packages(&of_size(400), 1000 * MIB).unwrap();
        assert!(remark.help.unwrap().starts_with("size = \"2G\" in [disk]"));
        assert!(of_packages(&of_size(400), u64::MAX).is_some());
    }

    #[test]
    fn a_step_that_may_remove_something_makes_it_a_doubt_until_all_are_done() {
        let mut recipe = of_size(500);
        let said = |recipe: &Recipe, smallest: u64, when| {
            judge(recipe, 500 * MIB, smallest * MIB, when).map(|remark| remark.severity)
        };
        assert_eq!(said(&recipe, 501, When::AfterBase(0)), Some(Severity::Error));
        assert_eq!(said(&recipe, 490, When::AfterBase(0)), Some(Severity::Warning));
        assert_eq!(said(&recipe, 400, When::AfterBase(0)), None);
        recipe.steps = vec![Step::Run(Run { script: "rm -r /opt".into(), ..Run::default() })];
        assert_eq!(said(&recipe, 501, When::AfterBase(0)), Some(Severity::Warning));
        assert_eq!(said(&recipe, 501, When::AfterBase(1)), Some(Severity::Error));
        assert_eq!(said(&recipe, 501, When::AfterSteps), Some(Severity::Error));
        assert_eq!(said(&recipe, 490, When::AfterSteps), None);
    }

    #[test]
    fn what_sealing_empties_is_not_counted() {
        let (_dir, tree) = crate::golden::tree::tests::scratch();
        tree.write("/usr/large", vec![1; 3 << 20], 0o644).unwrap();
        let before = Content::measure_without(tree.root(), EMPTY).unwrap();
        tree.write("/var/lib/apt/lists/large", vec![1; 9 << 20], 0o644).unwrap();
        tree.write("/var/cache/apt/large", vec![1; 9 << 20], 0o644).unwrap();
        let after = Content::measure_without(tree.root(), EMPTY).unwrap();
        assert!(after.filesystem_size(0) - before.filesystem_size(0) < MIB);
        assert!(
            Content::measure(tree.root()).unwrap().filesystem_size(0) > after.filesystem_size(0) + 17 * MIB
        );
    }
}
