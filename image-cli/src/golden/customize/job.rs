//! What inner is told to do to an image.

use std::path::PathBuf;

use image_core::format::{Format, Image, OpenOptions};
use serde::{Deserialize, Serialize};

use super::{Request, Target};
use crate::error::{Context, err};
use crate::golden::recipe::{Access, Step};
use crate::os_text::OsText;

/// All that inner knows of the image and the steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::golden) struct Job {
    image: OsText,
    /// The image's format, in QEMU's words.
    format: String,
    place: OsText,
    pub(super) is_in_place: bool,
    pub(super) steps: Vec<Step>,
    folder: OsText,
    pub(super) network: Access,
    pub(super) seal: bool,
    pub(super) verify: bool,
}

impl Job {
    /// Of `request`, with absolute paths of the image and of what it becomes.
    ///
    /// # Errors
    /// If the image cannot be opened.
    pub(super) fn new(request: &Request, image: PathBuf, place: PathBuf) -> crate::Result<Self> {
        let options = OpenOptions { format: request.format, ..OpenOptions::default() };
        let format = Image::open(&image, options)?.format();
        let folder = std::fs::canonicalize(&request.folder)
            .with_context(|| format!("looking for the folder {}", request.folder.display()))?;
        Ok(Self {
            image: image.into(),
            format: format.name().into(),
            place: place.into(),
            is_in_place: request.target == Target::InPlace,
            steps: request.steps.clone(),
            folder: folder.into(),
            network: request.network,
            seal: request.seal,
            verify: request.verify,
        })
    }

    /// The image's file.
    pub(super) fn image(&self) -> PathBuf {
        self.image.clone().into_path()
    }

    /// What it becomes.
    pub(super) fn place(&self) -> PathBuf {
        self.place.clone().into_path()
    }

    /// Where files of this machine are named from.
    pub(super) fn folder(&self) -> PathBuf {
        self.folder.clone().into_path()
    }

    /// The image's format.
    pub(super) fn format(&self) -> crate::Result<Format> {
        self.format.parse().map_err(|_| err!("no image format is called {:?}", self.format))
    }

    /// The format of what it becomes: its own.
    pub(super) fn format_of_target(&self) -> crate::Result<Format> {
        self.format()
    }

    /// The log's file, beside what it becomes.
    pub(in crate::golden) fn log(&self) -> PathBuf {
        let place = self.place();
        let mut name = place.file_stem().unwrap_or_default().to_owned();
        name.push(".log");
        place.with_file_name(name)
    }
}
