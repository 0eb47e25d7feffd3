//! Is an image fit to be cloned and started in a cloud? Held against a table of rules, without being mounted or changed.
//!
//! ```text
//! image file ─► Facts: format, header ──────────┐
//!            └► View: table, filesystems ───────┼─► RULES ─► Report: verdict, where, what, and the fix
//!               Expected: what was asked for ───┘
//! ```
//!
//! Each rule is one function over a [`Subject`]. What the maker of an image meant does not count, only what is in the
//! file; what was asked for (by a recipe) is an exception that the rule looks up there. `build` runs the same rules
//! over what it made. docs/audit.md is the table for people.

mod access;
mod auditor;
mod boot;
mod cloud_init;
mod contents;
mod discovered;
pub(crate) mod drivers;
mod expected;
mod file;
mod firmware;
pub(crate) mod first_boot;
mod grub;
mod header;
mod identities;
mod initrd;
mod kernel;
mod looked;
mod menu;
mod network;
mod own;
mod places;
mod report;
mod rule;
mod rules;
mod secrets;
mod services;
mod space;
mod sshd;
mod stoppable;
mod subject;
mod table;
mod traces;
mod unified;
mod unused;
mod view;

pub(crate) use access::HOME_HISTORIES;
pub use auditor::{Audit, audit};
pub use drivers::{Attachment, Drivers};
pub use expected::{Expected, Firmware};
pub use first_boot::FirstBoot;
pub(crate) use identities::{IDENTITIES, Renewal, System, has_line};
pub use own::OwnRule;
pub use report::{Check, Report, Verdict};
pub use rule::{Finding, Judgement, Profile, Rule};
pub use rules::RULES;
pub(crate) use secrets::HOME_FILES;
pub(crate) use space::{gaps, swap_files, swap_page};
pub use subject::Subject;
pub(crate) use traces::{CRASHES, MAIL, NETWORK_STATE, NETWORKS_OF_CLOUD_INIT, of_network};
pub(crate) use view::View;

#[cfg(test)]
pub(crate) mod tests;
