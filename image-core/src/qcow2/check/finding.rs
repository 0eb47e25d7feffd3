//! What a check finds, and the numbers it ends with.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::fmt;

use super::super::corrupt::Corrupt;
use super::super::offset::{GuestOffset, HostOffset};

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Data are lost or will be when the image is written.
    Corruption,
    /// Space is wasted, nothing else.
    Leak,
    /// Something could not be checked.
    Error,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A rule of the format is broken, so many times.
    Rule {
        /// The rule.
        rule: Corrupt,
        /// How many tables share the place where it is broken.
        times: u64,
    },
    /// A cluster is referenced more or less often than its refcount says.
    Refcount {
        /// The cluster.
        host: HostOffset,
        /// What is written.
        refcount: u64,
        /// What was counted.
        references: u64,
    },
    /// A refcount block is referenced more than once.
    RefcountBlockShared {
        /// Its index in the refcount table.
        index: u64,
        /// Where it is.
        host: HostOffset,
        /// How often it is referenced.
        references: u64,
    },
    /// The refcounts of these clusters cannot be read.
    RefcountsUnreadable {
        /// The index in the refcount table.
        index: u64,
        /// How many clusters of the file that concerns.
        clusters: u64,
    },
    /// The copied flag contradicts the refcount.
    Copied {
        /// The guest clusters that the entry maps start here.
        guest: GuestOffset,
        /// What it points to.
        host: HostOffset,
        /// Whether that is an L2 table.
        is_l2_table: bool,
        /// Its refcount; the flag is set though it is not 1, or not set though it is.
        refcount: u64,
    },
}

impl Finding {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Refcount { refcount, references, .. } if refcount > references => Severity::Leak,
            Self::RefcountsUnreadable { .. } => Severity::Error,
            _ => Severity::Corruption,
        }
    }

    /// How many faults it stands for.
    pub fn times(&self) -> u64 {
        match self {
            Self::Rule { times, .. } => *times,
            Self::RefcountsUnreadable { clusters, .. } => *clusters,
            _ => 1,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { rule, times: 1 } => rule.fmt(f),
            Self::Rule { rule, times } => write!(f, "{rule} ({times} times)"),
            Self::Refcount { host, refcount, references } => {
                write!(
                    f,
                    "the cluster at {host} has refcount {refcount} and is referenced {references} times"
                )
            }
            Self::RefcountBlockShared { index, host, references } => {
                write!(f, "refcount block {index:#x} at {host} is referenced {references} times")
            }
            Self::RefcountsUnreadable { index, clusters } => {
                write!(
                    f,
                    "the refcounts of {clusters} clusters cannot be read: refcount block {index:#x} is misplaced"
                )
            }
            Self::Copied { guest, host, is_l2_table, refcount } => {
                let what = if *is_l2_table { "L2 table" } else { "cluster" };
                let flag = if *refcount == 1 { "is not set" } else { "is set" };
                write!(
                    f,
                    "guest offset {guest}: the copied flag {flag} for the {what} at {host} with refcount {refcount}"
                )
            }
        }
    }
}

/// The numbers of a check, as `qemu-img check` counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckResult {
    /// What could not be checked.
    pub check_errors: u64,
    /// Faults that cost data.
    pub corruptions: u64,
    /// Clusters whose refcount is too high.
    pub leaks: u64,
    /// The end of the last cluster in use, in bytes.
    pub image_end_offset: u64,
    /// Guest clusters.
    pub total_clusters: u64,
    /// Guest clusters that are stored.
    pub allocated_clusters: u64,
    /// Those that do not follow the one before them, and all compressed ones.
    pub fragmented_clusters: u64,
    /// Those that are compressed.
    pub compressed_clusters: u64,
}

impl CheckResult {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        (self.check_errors, self.corruptions, self.leaks) == (0, 0, 0)
    }

    /// Adds a finding.
    pub(in super::super) fn count(&mut self, finding: &Finding) {
        let number = match finding.severity() {
            Severity::Corruption => &mut self.corruptions,
            Severity::Leak => &mut self.leaks,
            Severity::Error => &mut self.check_errors,
        };
        *number = number.saturating_add(finding.times());
    }
}
