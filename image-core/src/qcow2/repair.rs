//! Repairing an image: what a check finds, put right where nothing is lost by it.
//!
//! ```text
//! ① places that cannot be and hold nothing are taken out of L2 entries         unaligned.rs
//! ② check ─┬─ refcounts differ ──────────────────────► set where they are     set_refcounts.rs ─┐
//!          └─ refcounts lost, unreadable or shared ──► new structures          rebuild.rs ─┤
//! ③ the copied flags of the active tables follow the refcounts ◄───────────────────────────┘
//! ④ snapshots get the sizes that version 3 requires, if all else is in order
//! ⑤ check again: an image that is consistent is no longer marked dirty or corrupt
//! ```
//!
//! What is repaired and how it is counted is what `qemu-img check -r` does. Guest content never changes: references that
//! lead nowhere, or two guests in one cluster, remain for people to decide on. An interrupted repair can be done again.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod rebuild;
mod set_refcounts;
mod unaligned;

use super::check::refcounts::Refcounts;
use super::check::{CheckResult, Finding, Image, Severity, check, copied, missing_table, references};
use super::corrupt::Corrupt;
use super::header::Header;
use super::write::rewrite_snapshots;
use super::{feature_bits, layout};
use crate::block::{BlockRead, BlockWrite};
use crate::error::{Doing, Error, Result};
use set_refcounts::RefcountWriter;

/// What may be repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Refcounts that are too high, which wastes space.
    Leaks,
    /// Everything that can be.
    All,
}

/// What a repair tells as it goes.
#[derive(Debug)]
pub enum Step<'a> {
    /// This is wrong.
    Found(&'a Finding),
    /// This was wrong.
    Repaired(&'a Finding),
    /// All refcounts are written anew.
    Rebuilding,
    /// The old refcounts were here, which nothing uses any more.
    LeftBehind(&'a Finding),
    /// The image is checked again.
    CheckingAgain,
}

/// What was repaired, and what was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repaired {
    /// Leaks that are gone.
    pub leaks_fixed: u64,
    /// Corruptions that are gone.
    pub corruptions_fixed: u64,
    /// What a check finds now.
    pub left: CheckResult,
}

/// Repairs the image in `file`.
///
/// # Errors
/// [`Refused`](crate::ErrorKind::Refused) if the refcounts must be rebuilt and only leaks may be repaired;
/// [`Unsupported`](crate::ErrorKind::Unsupported) if the image is too large for rebuilding; as
/// [`check`](super::check::check()).
pub fn repair(file: &dyn BlockWrite, what: Repair, tell: &mut dyn FnMut(Step<'_>)) -> Result<Repaired> {
    let (mut header, _) = Header::read_to_repair(file)?;
    let known = layout::AUTOCLEAR_BITMAPS | layout::AUTOCLEAR_DATA_FILE_RAW;
    feature_bits::keep_autoclear(file, &mut header, known)?;
    let mut repaired = Repaired::default();
    if what == Repair::All {
        unaligned::clear(file, &header, &mut repaired, tell)?;
    }
    let mut found = Found::look(file, &header, tell)?;
    if found.needs_rebuild(what) {
        if what == Repair::Leaks {
            return Err(Error::refused("the refcounts must be rebuilt, which is more than repairing leaks"));
        }
        tell(Step::Rebuilding);
        let left_behind = rebuild::rebuild(file, &mut header).doing(|| "rebuilding the refcounts")?;
        left_behind.iter().for_each(|finding| tell(Step::LeftBehind(finding)));
        let left = Found::look(file, &header, &mut |_| {})?;
        let fixed = found.result.corruptions.saturating_sub(left.result.corruptions);
        repaired.corruptions_fixed = repaired.corruptions_fixed.saturating_add(fixed);
        repaired.leaks_fixed = found.result.leaks.saturating_sub(left.result.leaks);
        found = left;
    } else if found.refcounts_differ {
        found.result = set_refcounts(file, &header, what, &mut repaired, tell)?;
    }
    // With leaks only, flags are believed to be repairable where all else is in order.
    let in_order = found.result.is_clean();
    copied_flags(file, &header, what == Repair::All || in_order, (&mut repaired, &mut found.result), tell)?;
    if what == Repair::All && found.only_snapshots_are_odd() {
        header = complete_snapshots(file, &header)?;
        repaired.corruptions_fixed = repaired.corruptions_fixed.saturating_add(found.odd_snapshots);
    }
    repaired.left = found.result;
    if repaired.leaks_fixed != 0 || repaired.corruptions_fixed != 0 {
        file.flush()?;
        tell(Step::CheckingAgain);
        repaired.left = check(file, &header, &mut |finding| tell(Step::Found(finding)))?;
    }
    if (repaired.left.check_errors, repaired.left.corruptions) == (0, 0) {
        feature_bits::mark_consistent(file, &mut header)?;
    }
    Ok(repaired)
}

/// What a check without a look at the copied flags finds.
struct Found {
    result: CheckResult,
    refcounts_differ: bool,
    /// The refcounts of clusters in use are lost.
    lost: bool,
    /// A refcount block lies past the end of the file.
    past_end: bool,
    /// Snapshots with less extra data than version 3 requires, or more than are read.
    odd_snapshots: u64,
}

impl Found {
    fn look(file: &dyn BlockRead, header: &Header, tell: &mut dyn FnMut(Step<'_>)) -> Result<Self> {
        let image = Image::new(file, header);
        let mut found = Self {
            result: CheckResult::default(),
            refcounts_differ: false,
            lost: false,
            past_end: false,
            odd_snapshots: 0,
        };
        let mut told = |finding: Finding| {
            found.see(&finding);
            tell(Step::Found(&finding));
        };
        missing_table(file, header, &mut told)?;
        let totals = references(&image, &mut Refcounts::read(file, header)?, &mut told)?;
        totals.put_into(&mut found.result, header);
        Ok(found)
    }

    fn see(&mut self, finding: &Finding) {
        self.result.count(finding);
        match finding {
            Finding::Refcount { refcount, .. } => {
                self.refcounts_differ = true;
                self.lost |= *refcount == 0;
            }
            Finding::RefcountBlockShared { .. } | Finding::RefcountsUnreadable { .. } => self.lost = true,
            Finding::Rule { rule, .. } => match rule {
                Corrupt::RefcountReserved { .. } | Corrupt::RefcountBlockUnaligned { .. } => self.lost = true,
                Corrupt::RefcountBlockPastEnd { .. } => self.past_end = true,
                Corrupt::SnapshotShort { .. } | Corrupt::SnapshotExtra { .. } => {
                    self.odd_snapshots = self.odd_snapshots.saturating_add(1)
                }
                _ => {}
            },
            Finding::Copied { .. } => {}
        }
    }

    fn only_snapshots_are_odd(&self) -> bool {
        let left = (self.result.check_errors, self.result.corruptions);
        self.odd_snapshots > 0 && left == (0, self.odd_snapshots)
    }

    fn needs_rebuild(&self, what: Repair) -> bool {
        self.lost || (self.past_end && what == Repair::All)
    }
}

/// Writes the snapshot table anew, with all that version 3 requires and what of extra data is read; returns the header
/// as it is then.
fn complete_snapshots(file: &dyn BlockWrite, header: &Header) -> Result<Header> {
    // The refcounts are right by now, whatever the image is still marked as.
    let marks = layout::INCOMPATIBLE_DIRTY | layout::INCOMPATIBLE_CORRUPT;
    let mut sound = header.clone();
    sound.features.incompatible &= !marks;
    let written = rewrite_snapshots(file, &sound)?;
    Ok(Header { features: header.features, ..written })
}

/// Sets refcounts that differ, as far as that may be repaired; returns what is left.
fn set_refcounts(
    file: &dyn BlockWrite,
    header: &Header,
    what: Repair,
    repaired: &mut Repaired,
    tell: &mut dyn FnMut(Step<'_>),
) -> Result<CheckResult> {
    let image = Image::new(file, header);
    let mut left = CheckResult::default();
    let mut refcounts = Refcounts::read(file, header)?;
    let mut writer = RefcountWriter::new(file, header, refcounts.places());
    let mut done = Ok(());
    let totals = references(&image, &mut refcounts, &mut |finding| {
        let Finding::Refcount { host, references, .. } = finding else { return left.count(&finding) };
        let leak = finding.severity() == Severity::Leak;
        let may = done.is_ok() && (leak || what == Repair::All);
        let is_set = match if may { writer.set(host, references) } else { Ok(false) } {
            Ok(is_set) => is_set,
            Err(error) => {
                done = Err(error);
                false
            }
        };
        if !is_set {
            left.count(&finding);
            return tell(Step::Found(&finding));
        }
        let fixed = if leak { &mut repaired.leaks_fixed } else { &mut repaired.corruptions_fixed };
        *fixed = fixed.saturating_add(1);
        tell(Step::Repaired(&finding));
    })?;
    done?;
    writer.finish()?;
    totals.put_into(&mut left, header);
    Ok(left)
}

/// Sets and clears copied flags, if they may be repaired.
fn copied_flags(
    file: &dyn BlockWrite,
    header: &Header,
    may: bool,
    (repaired, left): (&mut Repaired, &mut CheckResult),
    tell: &mut dyn FnMut(Step<'_>),
) -> Result<()> {
    let image = Image::new(file, header);
    let mut refcounts = Refcounts::read(file, header)?;
    copied::walk(&image, &mut refcounts, may.then_some(file), &mut |finding, is_set| {
        if is_set {
            repaired.corruptions_fixed = repaired.corruptions_fixed.saturating_add(1);
            return tell(Step::Repaired(&finding));
        }
        left.count(&finding);
        tell(Step::Found(&finding));
    })
}

#[cfg(test)]
mod tests;
