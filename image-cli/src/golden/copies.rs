//! What the copies of a recipe would put into the image: counted, and what is remarkable about it told.
//!
//! Nothing but the source is looked at: what is in the image when a step begins is not known before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use super::load::Loaded;
use super::recipe::{Copy, Step};
use super::source::attributes::{self, Topic};
use super::source::{Entry, Kind, Source, shown};
use super::steps::copy::conflicts::HINT_FOR_SPECIAL;
use super::steps::copy::permissions::{file_mode, folder_mode};
use super::steps::copy::preserves;
use crate::error::{Advise, Context, err};
use crate::monitor::CancellationToken;

/// So many paths of a remark are shown.
const PATHS: usize = 20;
const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const WRITABLE_BY_ALL: u32 = 0o002;
/// What group and others may do.
const OTHERS: u32 = 0o077;

/// What a copy would put into the image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Copies {
    /// Which step, from 1.
    pub step: usize,
    /// From where, beside the recipe.
    pub from: String,
    /// Where to, in the image.
    pub to: String,
    /// How many files.
    pub files: u64,
    /// How many folders.
    pub folders: u64,
    /// How many symbolic links.
    pub links: u64,
    /// What the files hold, holes included.
    pub bytes: u64,
    /// What is remarkable.
    pub remarks: Vec<Remark>,
}

/// Something remarkable about some of what is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Remark {
    pub(crate) about: About,
    /// In a few words.
    pub(crate) what: &'static str,
    /// Of how many files and folders.
    pub(crate) count: u64,
    /// The first of them, from the recipe's folder.
    pub(crate) paths: Vec<String>,
}

impl Remark {
    /// All of it in a line: "files/tool: set-user-ID …", and how many more there are.
    pub fn line(&self) -> String {
        const SHOWN: usize = 3;
        let mut line = self.paths.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        let shown = self.paths.len().min(SHOWN) as u64;
        if self.count > shown {
            line.push_str(&format!(" and {} more", self.count - shown));
        }
        format!("{line}: {}", self.what)
    }
}

/// What a remark is about, in the order of their weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum About {
    /// It is neither a file nor a folder nor a link: the build would refuse it.
    Special,
    /// It is set-user-ID or set-group-ID in the image.
    SetId,
    /// It has capabilities in the image.
    Capabilities,
    /// Everybody may write to it in the image.
    WritableByAll,
    /// More people may use it in the image than in the source.
    Wider,
    /// It is set-user-ID, set-group-ID or sticky in the source only.
    ModeNotKept,
    /// It has an access control list in the source only.
    AclNotKept,
    /// It has capabilities in the source only.
    CapabilitiesNotKept,
    /// It has attributes of its owner's in the source only.
    AttributesNotKept,
    /// It has attributes that no image gets.
    OtherAttributes,
}

impl About {
    /// In a few words.
    fn what(self) -> &'static str {
        match self {
            Self::Special => "neither file nor folder nor link: the build refuses it",
            Self::SetId => "set-user-ID or set-group-ID in the image",
            Self::Capabilities => "has capabilities in the image",
            Self::WritableByAll => "everybody may write to it in the image",
            Self::Wider => "open to more in the image than in the source (see `mode` and `folder-mode`)",
            Self::ModeNotKept => {
                "its set-user-ID, set-group-ID or sticky bit is not kept (preserve = [\"mode\"])"
            }
            Self::AclNotKept => "its access control list is not kept (preserve = [\"mode\"])",
            Self::CapabilitiesNotKept => "its capabilities are not kept (preserve = [\"xattr\"])",
            Self::AttributesNotKept => "its user.* attributes are not kept (preserve = [\"xattr\"])",
            Self::OtherAttributes => "it has attributes that cannot be kept",
        }
    }

    /// Whether the source loses what nothing but somebody's purpose gives to a file.
    pub(crate) fn is_loss(self) -> bool {
        matches!(self, Self::ModeNotKept | Self::CapabilitiesNotKept)
    }
}

/// Looks through every copy of the recipe, in the order of the steps.
///
/// # Errors
/// If a source cannot be read.
pub(crate) fn survey(loaded: &Loaded, cancel: &CancellationToken) -> crate::Result<Vec<Copies>> {
    let copies = loaded.recipe.steps.iter().enumerate().filter_map(|(index, step)| match step {
        Step::Copy(copy) => Some((index, copy)),
        _ => None,
    });
    copies.map(|(index, copy)| Survey::of(index, copy, &loaded.folder, cancel)).collect()
}

/// Makes sure that every copy of the recipe can be made of what is there, before anything is built.
///
/// # Errors
/// If a source cannot be read, or has something that cannot be copied.
pub(crate) fn check(loaded: &Loaded, cancel: &CancellationToken) -> crate::Result<Vec<Copies>> {
    let copies = survey(loaded, cancel)?;
    refuse_special(&copies)?;
    Ok(copies)
}

/// Makes sure that all in `copies` can be copied.
///
/// # Errors
/// If something is neither a file nor a folder nor a link.
pub(crate) fn refuse_special(copies: &[Copies]) -> crate::Result<()> {
    for one in copies {
        let special = one.remarks.iter().find(|remark| remark.about == About::Special);
        if let Some(path) = special.and_then(|remark| remark.paths.first()) {
            return Err(err!("step {}: {path} is neither a file nor a folder nor a link", one.step))
                .hint(|| HINT_FOR_SPECIAL);
        }
    }
    Ok(())
}

/// A look through one source.
struct Survey<'a> {
    copy: &'a Copy,
    copies: Copies,
    remarks: BTreeMap<About, (u64, Vec<String>)>,
    cancel: &'a CancellationToken,
}

impl<'a> Survey<'a> {
    fn of(
        index: usize,
        copy: &'a Copy,
        folder: &Path,
        cancel: &'a CancellationToken,
    ) -> crate::Result<Copies> {
        let copies = Copies {
            step: index + 1,
            from: shown(&copy.from),
            to: copy.to.clone(),
            files: 0,
            folders: 0,
            links: 0,
            bytes: 0,
            remarks: Vec::new(),
        };
        let mut survey = Self { copy, copies, remarks: BTreeMap::new(), cancel };
        let source = Source::open(folder, &copy.from)?;
        let doing = || format!("step {}, which copies {}", index + 1, shown(&copy.from));
        survey.look(&source.entry()?).with_context(doing)?;
        let remarks = survey.remarks.into_iter();
        let told = |(about, (count, paths)): (About, _)| Remark { about, what: about.what(), count, paths };
        Ok(Copies { remarks: remarks.map(told).collect(), ..survey.copies })
    }

    fn look(&mut self, entry: &Entry<'_>) -> crate::Result<()> {
        self.cancel.check()?;
        match entry.kind() {
            Kind::Folder => {
                self.copies.folders += 1;
                let folder = entry.open_folder()?;
                self.mode(entry, folder_mode(self.copy, entry.mode()));
                self.attributes(entry, folder.handle())?;
                for name in folder.names()? {
                    self.look(&folder.entry(name)?)?;
                }
            }
            Kind::File => {
                self.copies.files += 1;
                self.copies.bytes = self.copies.bytes.saturating_add(entry.size());
                self.mode(entry, file_mode(self.copy, entry.mode()));
                self.attributes(entry, entry.open_file()?)?;
            }
            Kind::Link => self.copies.links += 1,
            Kind::Special(_) => self.remark(About::Special, entry),
        }
        Ok(())
    }

    /// What is remarkable about an entry that has the mode `made` in the image.
    fn mode(&mut self, entry: &Entry<'_>, made: u32) {
        let source = entry.mode();
        let is_folder = entry.kind() == Kind::Folder;
        // A folder's says who owns what is made in it, and comes by itself to folders in such a folder.
        let set_id = if is_folder { 0 } else { SET_USER_ID | SET_GROUP_ID };
        if made & set_id != 0 {
            self.remark(About::SetId, entry);
        }
        if made & WRITABLE_BY_ALL != 0 && made & STICKY == 0 {
            self.remark(About::WritableByAll, entry);
        }
        if made & !source & OTHERS != 0 {
            self.remark(About::Wider, entry);
        }
        let lost = source & !made & (set_id | STICKY);
        let stated = if is_folder { self.copy.folder_mode } else { self.copy.mode };
        if lost != 0 && stated.is_none() {
            self.remark(About::ModeNotKept, entry);
        }
    }

    fn attributes(&mut self, entry: &Entry<'_>, file: impl std::os::fd::AsFd) -> crate::Result<()> {
        let about = |topic| match (topic, preserves(self.copy, topic)) {
            (Topic::Capability, true) => Some(About::Capabilities),
            (Topic::Capability, false) => Some(About::CapabilitiesNotKept),
            (Topic::Acl, false) => Some(About::AclNotKept),
            (Topic::User, false) => Some(About::AttributesNotKept),
            (Topic::Other, _) => Some(About::OtherAttributes),
            (Topic::Acl | Topic::User, true) => None,
        };
        let listed = attributes::list(file).with_context(|| entry.shown())?;
        // A file may have several of a kind.
        let remarks: BTreeSet<About> = listed.iter().filter_map(|one| about(one.topic)).collect();
        remarks.into_iter().for_each(|about| self.remark(about, entry));
        Ok(())
    }

    fn remark(&mut self, about: About, entry: &Entry<'_>) {
        let (count, paths) = self.remarks.entry(about).or_default();
        *count += 1;
        if paths.len() < PATHS {
            paths.push(entry.shown());
        }
    }
}
