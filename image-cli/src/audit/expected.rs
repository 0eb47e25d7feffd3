//! What was asked for: the exceptions and expectations of whoever made an image, or of whoever looks at it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::View;
use crate::error::{Advise, err};

/// What was asked for. By default nothing: an image of unknown origin.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Files and folders that are meant to stay, with all beneath them.
    pub keep: Vec<PathBuf>,
    /// Those of them that must be there.
    pub named: Vec<PathBuf>,
    /// What was put there by name, each file, link and folder by itself: nothing beneath them or beside them counts.
    pub asked_for: BTreeSet<PathBuf>,
    /// Whether passwords are meant to stay.
    pub keep_passwords: bool,
    /// Accounts whose passwords were set by name.
    pub passwords: BTreeSet<String>,
    /// Accounts that were made by name.
    pub accounts: BTreeSet<String>,
    /// The consoles of the kernel's command line, in their order.
    pub consoles: Option<Vec<String>>,
    /// The firmware it is for, if that is known.
    pub firmware: Option<Firmware>,
    /// The name of the machine that made it.
    pub build_host: Option<String>,
    /// Rules that do not count, and why.
    pub ignored: BTreeMap<String, String>,
}

/// The firmware an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firmware {
    /// Whether a BIOS must be able to start it.
    pub bios: bool,
    /// Whether UEFI must be.
    pub uefi: bool,
}

impl Expected {
    /// Makes sure that what is meant to stay by a person's word is there: a slip of the pen would keep nothing.
    ///
    /// # Errors
    /// If there is nothing, or it cannot be told.
    pub(crate) fn check(&self, view: &View) -> crate::Result<()> {
        for path in &self.named {
            if view.unreadable().is_none() && !view.exists(path)? {
                return Err(err!("--keep {}: there is nothing of that name in the image", path.display()))
                    .invalid();
            }
        }
        Ok(())
    }

    /// Whether `path` is meant to stay, alone or with a folder it is in.
    pub(crate) fn keeps(&self, path: &Path) -> bool {
        self.keep.iter().any(|kept| path.starts_with(kept))
    }

    /// Whether `path` was put there by name, or is meant to stay.
    pub(crate) fn asks_for(&self, path: &Path) -> bool {
        self.keeps(path) || self.asked_for.contains(path)
    }

    /// Whether anything beneath `path` is meant to stay.
    pub(crate) fn keeps_beneath(&self, path: &Path) -> bool {
        self.keep.iter().any(|kept| kept.starts_with(path) && kept != path)
    }

    /// Whether anything beneath `path` was put there by name, or is meant to stay.
    pub(crate) fn asks_beneath(&self, path: &Path) -> bool {
        // Paths are ordered by their names: what is beneath one comes right behind it.
        let mut behind = self.asked_for.range::<Path, _>((Bound::Excluded(path), Bound::Unbounded));
        self.keeps_beneath(path) || behind.next().is_some_and(|next| next.starts_with(path))
    }

    /// Whether a BIOS must be able to start it; unknown for an image of unknown origin.
    pub(super) fn bios(&self) -> Option<bool> {
        self.firmware.map(|firmware| firmware.bios)
    }

    /// Whether UEFI must be able to start it.
    pub(super) fn uefi(&self) -> Option<bool> {
        self.firmware.map(|firmware| firmware.uefi)
    }
}
