//! The files in an image: listed, found, copied out, packed and compared, without mounting anything.
//!
//! ```text
//! System ─► Step ─┬─► Record: what stat(2) tells, as a value              record.rs, owners.rs
//!                 ├─► Criteria: whether it is one that is looked for      criteria.rs
//!                 ├─► copy_out: beneath a folder of this machine          copy_out.rs
//!                 └─► tar_out: an archive that keeps everything           tar/
//! ```
//!
//! Names, links and devices of an image are untrusted: nothing is written outside the folder that the caller names.

mod archived;
mod copy_out;
mod criteria;
mod diff;
mod glob;
mod item;
mod owners;
mod record;
mod tar;

use std::cmp::Ordering;

pub use archived::Archived;
pub(crate) use copy_out::copy_to_work_on;
pub use copy_out::{Copied, CopyOptions, copy_out};
pub use criteria::{Criteria, SizeBound};
pub use diff::{Change, DiffOptions, Difference, What, diff};
pub(crate) use diff::{changes_of, same_content};
pub use item::Tree;
pub(crate) use item::{Both, Folder, Item, SELINUX_LABEL, absolute};
pub use owners::Owners;
pub use record::{Attribute, Record, permissions};
pub(crate) use tar::{Archive, Entry, Kind, Unpack, inside as path_inside};
pub use tar::{Packed, tar_out};

/// The order in which a walk comes to two paths: what is in a directory before what comes behind it.
pub(crate) fn by_names(one: &[u8], other: &[u8]) -> Ordering {
    // No name has a zero in it.
    let order = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    one.iter().map(order).cmp(other.iter().map(order))
}
