//! What an image was made of, where that was there already, and what became of it: parts of the manifest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image_core::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::manifest::{Changes, Ingredient, by_algorithm};

/// Such a file, on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acquired {
    #[serde(with = "crate::os_text")]
    path: PathBuf,
    pub(crate) ingredient: Ingredient,
}

impl Acquired {
    /// The file `path` of `size` bytes, which came from `source`.
    pub(crate) fn new(path: PathBuf, source: String, size: Option<u64>, digests: &[Digest]) -> Self {
        Self { path, ingredient: Ingredient { source, size, digests: by_algorithm(digests) } }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Changes {
    /// It, with what `before` and `after` have of packages: names and versions, in any order. Of several versions of a name, such as
    /// kernels, all count.
    pub(crate) fn with_packages<'a>(
        mut self,
        before: impl Iterator<Item = (&'a str, &'a str)>,
        after: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let (before, after) = (by_name(before), by_name(after));
        for (name, version) in &after {
            match before.get(name) {
                None => drop(self.packages_added.insert(name.clone(), version.clone())),
                Some(old) if old != version => {
                    self.packages_changed.insert(name.clone(), (old.clone(), version.clone()));
                }
                Some(_) => {}
            }
        }
        self.packages_removed = before.into_iter().filter(|(name, _)| !after.contains_key(name)).collect();
        self
    }
}

fn by_name<'a>(packages: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, version) in packages {
        all.entry(name.to_owned()).or_default().push(version);
    }
    let joined = |(name, mut versions): (String, Vec<&str>)| {
        versions.sort_unstable();
        versions.dedup();
        (name, versions.join(", "))
    };
    all.into_iter().map(joined).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_told_that_came_went_or_have_another_version() {
        let before = [("a", "1"), ("b", "1"), ("kernel", "5"), ("gone", "2")];
        let after = [("kernel", "6"), ("b", "1"), ("a", "2"), ("kernel", "5"), ("new", "3")];
        let changes = Changes::default().with_packages(before.into_iter(), after.into_iter());
        let told = serde_json::to_value(&changes).unwrap();
        assert_eq!(told["packages_added"], serde_json::json!({ "new": "3" }));
        assert_eq!(told["packages_changed"], serde_json::json!({ "a": ["1", "2"], "kernel": ["5", "5, 6"] }));
        assert_eq!(told["packages_removed"], serde_json::json!({ "gone": "2" }));
    }
}
