//! What a layer is made of, part by part.
//!
//! ```text
//! code that makes it │ release and settings │ packages that are asked for │ files beside the recipe │ what the archives have │ date, if fixed
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::index::Index;
use crate::golden::bootstrap::further_archives::FurtherArchives;
use crate::golden::bootstrap::sources::Archive;
use crate::golden::bootstrap::{self, local};
use crate::golden::epoch;
use crate::golden::identity::hex;
use crate::golden::load::Loaded;
use crate::variables::Variables;

/// Of all code that makes a base (`build.rs`).
const CODE: &str = env!("GOLDIMG_CODE");
/// What the names of parts begin with that tell of archives.
const ARCHIVE: &str = "archive ";
const PACKAGES: &str = "packages";
/// Values that are no longer are shown.
const SHOWN_MAX: usize = 48;

/// What a layer is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Key(BTreeMap<String, String>);

impl Key {
    /// Of the base of a recipe, from packages, where the archives say `index`.
    ///
    /// # Errors
    /// If a file beside the recipe cannot be read.
    pub(crate) fn of_base(
        loaded: &Loaded,
        further: &FurtherArchives,
        index: &Index,
        variables: &Variables,
    ) -> crate::Result<Self> {
        let recipe = &loaded.recipe;
        let packages = bootstrap::packages(recipe);
        let mut parts =
            BTreeMap::from([("code".to_owned(), CODE.to_owned()), (PACKAGES.to_owned(), packages.join(" "))]);
        let mut base = serde_json::to_value(&recipe.base)?;
        if let Some(base) = base.as_object_mut() {
            // They are told by themselves.
            base.remove("packages");
            for (name, value) in base.iter().filter(|(_, value)| !value.is_null()) {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                // An answer may be a password.
                let value = if name == "debconf" { hex(&Sha256::digest(value)) } else { value };
                parts.insert(format!("[base] {name}"), value);
            }
        }
        if let Some(archive) = Archive::of_the_build(&recipe.base) {
            parts.insert("sources".to_owned(), archive.lines(&recipe.base).join("\n"));
        }
        // With its keys.
        parts.insert("further archives".to_owned(), further.fingerprint());
        for (file, digest) in local::digests(&packages, &loaded.folder)? {
            parts.insert(file, digest);
        }
        if let Some(date) = variables.value(epoch::VARIABLE) {
            parts.insert(epoch::VARIABLE.to_owned(), date.to_string_lossy().into_owned());
        }
        parts.extend(index.iter().map(|(name, said)| (format!("{ARCHIVE}{name}"), said.clone())));
        Ok(Self(parts))
    }

    /// Its digest, in hexadecimal digits: no two keys have the same.
    pub(crate) fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for (name, value) in &self.0 {
            for text in [name, value] {
                hasher.update((text.len() as u64).to_le_bytes());
                hasher.update(text);
            }
        }
        hex(&hasher.finalize())
    }

    /// How many archives it is of.
    pub(super) fn archives(&self) -> usize {
        self.0.keys().filter(|name| name.starts_with(ARCHIVE)).count()
    }

    /// Whether it is of archives that say `index`.
    pub(super) fn is_of(&self, index: &Index) -> bool {
        let own = self.0.iter().filter_map(|(name, said)| Some((name.strip_prefix(ARCHIVE)?, said)));
        own.eq(index.iter().map(|(name, said)| (name.as_str(), said)))
    }

    /// How many parts are others than in `other`.
    pub(super) fn distance(&self, other: &Self) -> usize {
        self.names(other).filter(|name| self.0.get(*name) != other.0.get(*name)).count()
    }

    fn names<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a String> {
        self.0.keys().chain(other.0.keys()).collect::<BTreeSet<_>>().into_iter()
    }

    /// In words, what is another than in `old`.
    pub(crate) fn differences(&self, old: &Self) -> Vec<String> {
        let differs = |name: &&String| self.0.get(*name) != old.0.get(*name);
        let words = |name: &String| match (old.0.get(name), self.0.get(name)) {
            (Some(old), Some(new)) if name == PACKAGES => of_packages(old, new),
            (Some(_), Some(_)) if name == "code" => "goldimg itself is another".to_owned(),
            (Some(_), Some(_)) if name.starts_with(ARCHIVE) => format!("{name} has changed"),
            (Some(old), Some(new)) if old.len().max(new.len()) <= SHOWN_MAX => {
                format!("{name} {old} → {new}")
            }
            (Some(_), Some(_)) => format!("{name} differs"),
            (None, _) => format!("{name} is new"),
            (_, None) => format!("{name} is gone"),
        };
        self.names(old).filter(differs).map(words).collect()
    }
}

/// Which packages came and went.
fn of_packages(old: &str, new: &str) -> String {
    let [old, new] = [old, new].map(|text| text.split(' ').collect::<BTreeSet<_>>());
    let came = new.difference(&old).map(|name| format!("+{name}"));
    let went = old.difference(&new).map(|name| format!("-{name}"));
    format!("packages {}", came.chain(went).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::golden::load::Source;
    use crate::golden::recipe::{DiskSize, Recipe, Run, Step, example};
    use crate::size::Size;

    /// The key of the example after a `change`.
    pub(in crate::golden::layers) fn key(change: impl FnOnce(&mut Recipe, &mut Index)) -> Key {
        let (mut recipe, mut index) =
            (example(), Index::from([("Debian bookworm".into(), "Sat, 00".into())]));
        change(&mut recipe, &mut index);
        let folder = tempfile::tempdir().unwrap();
        let loaded = Loaded { recipe, folder: folder.path().to_owned(), source: Source::default() };
        let further = FurtherArchives::of(&loaded.recipe.base, &loaded.folder).unwrap();
        Key::of_base(&loaded, &further, &index, &Variables::default()).unwrap()
    }

    #[test]
    fn what_a_base_does_not_read_is_no_part_of_its_key() {
        let usual = key(|_, _| ());
        assert_eq!(usual.digest(), key(|_, _| ()).digest());
        let others = key(|recipe, _| {
            recipe.name = "other".into();
            recipe.steps.push(Step::Run(Run { script: "true".into(), ..Run::default() }));
            recipe.disk.size = DiskSize::Bytes(Size(8 << 30));
            recipe.boot.timeout = 9;
        });
        assert_eq!(usual, others);
    }

    #[test]
    fn what_differs_is_told() {
        let usual = key(|_, _| ());
        let told = |change: &dyn Fn(&mut Recipe, &mut Index)| {
            key(|recipe, index| change(recipe, index)).differences(&usual)
        };
        let packages = told(&|recipe, _| recipe.base.packages.push("htop".into()));
        assert_eq!(packages, ["packages +htop"]);
        let install = told(&|recipe, _| recipe.steps.insert(0, Step::Install(vec!["nginx".into()])));
        assert_eq!(install, ["packages +nginx"]);
        let index = told(&|_, index| drop(index.insert("Debian bookworm".into(), "Sun, 01".into())));
        assert_eq!(index, ["archive Debian bookworm has changed"]);
        let release = told(&|recipe, _| recipe.base.release = "trixie".into());
        assert!(release.contains(&"[base] release bookworm → trixie".to_owned()), "{release:?}");
        let changed = key(|_, index| drop(index.insert("Debian bookworm".into(), "Sun, 01".into())));
        assert_eq!((usual.archives(), usual.distance(&changed)), (1, 1));
        assert!(changed.is_of(&Index::from([("Debian bookworm".into(), "Sun, 01".into())])));
        assert!(!usual.is_of(&Index::from([("Debian bookworm".into(), "Sun, 01".into())])));
    }
}
