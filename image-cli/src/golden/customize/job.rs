//! What inner is told to do to an image.

use std::path::{Path, PathBuf};

use image_core::block::BlockRead;
use image_core::format::{Format, Image, OpenOptions};
use serde::{Deserialize, Serialize};

use super::grow::new_size;
use super::{NewSize, Request, Target};
use crate::error::{Advise, Context, err};
use crate::golden::recipe::{Access, DiskSize, Recipe, Step};
use crate::os_text::OsText;
use crate::size::Size;

/// All that inner knows of the image and the steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::golden) struct Job {
    image: OsText,
    /// The image's format, in QEMU's words.
    format: String,
    place: OsText,
    /// The format of what it becomes, and whether that is compressed; without, both are the image's.
    form: Option<(String, bool)>,
    pub(super) is_in_place: bool,
    pub(super) size: Option<NewSize>,
    pub(super) grow_root: bool,
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
        let opened = Image::open(&image, options)?;
        new_size(request.size, opened.size())?;
        let format = opened.format();
        let folder = std::fs::canonicalize(&request.folder)
            .with_context(|| format!("looking for the folder {}", request.folder.display()))?;
        Ok(Self {
            image: image.into(),
            format: format.name().into(),
            place: place.into(),
            form: match &request.target {
                Target::New { format: own, compress, .. } if own.is_some() || *compress => {
                    Some((own.unwrap_or(format).name().into(), *compress))
                }
                _ => None,
            },
            is_in_place: request.target == Target::InPlace,
            size: request.size,
            grow_root: request.grow_root,
            steps: request.steps.clone(),
            folder: folder.into(),
            network: request.network,
            seal: request.seal,
            verify: request.verify,
        })
    }

    /// To do the steps of `recipe`, which names files from `folder`, to the image in the file `image`: sealed, compared, and as large as
    /// the recipe says.
    ///
    /// # Errors
    /// If the image cannot be opened, or would have to be smaller.
    pub(in crate::golden) fn of_recipe(recipe: &Recipe, folder: &Path, image: &Path) -> crate::Result<Self> {
        let opened = Image::open(image, OpenOptions::default())?;
        let size = match recipe.disk.size {
            DiskSize::Bytes(size) if size.0 != opened.size() => Some(size),
            _ => None,
        };
        if let Some(size) = size.filter(|size| size.0 < opened.size()) {
            return Err(err!("the image's disk has {}, and `disk.size` is {size}", Size(opened.size())))
                .hint(|| "a disk is made larger here: leave out `size` in [disk], or write a larger one");
        }
        Ok(Self {
            image: image.into(),
            format: opened.format().name().into(),
            place: image.into(),
            form: None,
            is_in_place: false,
            size: size.map(|size| NewSize::To(size.0)),
            grow_root: size.is_some(),
            steps: recipe.steps.clone(),
            folder: folder.into(),
            network: recipe.build.network,
            seal: true,
            verify: true,
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
        format(&self.format)
    }

    /// The format of what it becomes, and whether that is compressed, if they are not the image's.
    pub(super) fn form(&self) -> crate::Result<Option<(Format, bool)>> {
        self.form.as_ref().map(|(name, compress)| Ok((format(name)?, *compress))).transpose()
    }

    /// The log's file, beside what it becomes.
    pub(in crate::golden) fn log(&self) -> PathBuf {
        let place = self.place();
        let mut name = place.file_name().unwrap_or_default().to_owned();
        name.push(".log");
        place.with_file_name(name)
    }
}

fn format(name: &str) -> crate::Result<Format> {
    name.parse().map_err(|_| err!("no image format is called {name:?}"))
}
