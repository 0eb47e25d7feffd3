//! What is to be sealed, where and when.

use std::path::Path;

use image_core::fs::Time;

use super::operations::Chosen;
use super::plan::Plan;
use crate::audit::View;
use crate::variables::Variables;

/// What is to be sealed of a disk.
pub(crate) struct Order<'a> {
    /// What is in it.
    pub(crate) view: &'a View,
    pub(crate) plan: &'a Plan,
    pub(crate) chosen: &'a Chosen,
    /// When what is changed was changed.
    pub(crate) time: Time,
    /// An empty folder for what is changed, which has to stay as long as what comes of it.
    pub(crate) work: &'a Path,
    /// The caller's variables: programs are looked for in the folders of `PATH`.
    pub(crate) variables: &'a Variables,
}
