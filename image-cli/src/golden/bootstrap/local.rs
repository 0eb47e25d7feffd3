//! Packages that are files beside the recipe.
//!
//! ```text
//! recipe's folder/pkgs/own_1.deb ─ copied ─► work directory/packages/local/pkgs/own_1.deb
//!                                              = /var/cache/apt/archives/local/pkgs/own_1.deb
//! ```
//!
//! apt takes a path for a package's file. This machine's apt, which fetches what such a file depends on, has it in the work
//! directory, the tree's apt where it has all packages.

use std::fs;
use std::path::{Path, PathBuf};

use image_core::block::FileDisk;
use image_core::digest::{Algorithm, digests_of};

use super::cache::PackageCache;
use crate::error::{Context, bail};
use crate::golden::recipe::{Base, Recipe, Step};

/// The folder beneath that of apt's packages.
const FOLDER: &str = "local";

/// What apt is to be told of packages: their names, or the paths of their files, with apt's own folder of packages at
/// `archives`.
pub(crate) fn for_apt(packages: &[String], archives: &Path) -> Vec<String> {
    let told = |package: &String| match Base::local_file(package) {
        Some(file) => archives.join(FOLDER).join(file).display().to_string(),
        None => package.to_owned(),
    };
    packages.iter().map(told).collect()
}

/// Every package of `recipe` that is a file, in the base and in all steps.
fn files(recipe: &Recipe) -> impl Iterator<Item = &Path> {
    let steps = recipe.steps.iter().filter_map(|step| match step {
        Step::Install(packages) => Some(packages),
        _ => None,
    });
    let all = std::iter::once(&recipe.base.packages).chain(steps).flatten();
    all.filter_map(|package| Base::local_file(package))
}

/// Copies the files that `recipe` installs from its `folder` to where the build's apt finds them.
///
/// # Errors
/// If one is not there any more, or cannot be copied.
pub(crate) fn gather(recipe: &Recipe, folder: &Path, cache: &PackageCache) -> crate::Result<()> {
    for file in files(recipe) {
        let doing = || format!("copying {} beside the recipe", file.display());
        let source = beneath(folder, file)?;
        let target = cache.folder().join(FOLDER).join(file);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).with_context(doing)?;
        }
        fs::copy(source, target).with_context(doing)?;
    }
    Ok(())
}

/// Those of `packages` that are files in the recipe's `folder`, with their SHA-256 in hexadecimal digits.
///
/// # Errors
/// If one is not there any more, or cannot be read.
pub(crate) fn digests(packages: &[String], folder: &Path) -> crate::Result<Vec<(String, String)>> {
    let files = packages.iter().filter_map(|package| Some((package, Base::local_file(package)?)));
    let digest = |(package, file): (&String, &Path)| {
        let doing = || format!("reading {} beside the recipe", file.display());
        let content = FileDisk::open(beneath(folder, file)?).with_context(doing)?;
        let digests = digests_of(&content, &[Algorithm::Sha256], &()).with_context(doing)?;
        Ok((package.clone(), digests.into_iter().map(|digest| digest.hex).collect()))
    };
    files.map(digest).collect()
}

/// Where `file` is, which must be in `folder` in the end, whatever links lead to.
///
/// # Errors
/// If it is not.
pub(super) fn beneath(folder: &Path, file: &Path) -> crate::Result<PathBuf> {
    let folder = folder.canonicalize().with_context(|| format!("opening {}", folder.display()))?;
    let doing = || format!("opening {} beside the recipe", file.display());
    let found = folder.join(file).canonicalize().with_context(doing)?;
    if !found.starts_with(&folder) {
        bail!("{} leads out of the recipe's folder, to {}", file.display(), found.display());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::recipe::{Run, example};

    #[test]
    fn files_of_the_base_and_of_every_step_are_gathered() {
        let dir = tempfile::tempdir().unwrap();
        let mut recipe = example();
        recipe.base.packages = vec!["htop".into(), "./pkgs/a_1.deb".into()];
        let run = Step::Run(Run { script: "true".into(), ..Run::default() });
        recipe.steps = vec![run, Step::Install(vec!["./b with a space.deb".into()])];
        let folder = dir.path().join("recipe");
        fs::create_dir_all(folder.join("pkgs")).unwrap();
        fs::write(folder.join("pkgs/a_1.deb"), "a").unwrap();
        fs::write(folder.join("b with a space.deb"), "b").unwrap();
        let cache =
            PackageCache::open(&dir.path().join("cache"), dir.path().join("own"), &recipe.base).unwrap();
        gather(&recipe, &folder, &cache).unwrap();
        assert_eq!(fs::read(cache.folder().join("local/pkgs/a_1.deb")).unwrap(), b"a");
        assert_eq!(fs::read(cache.folder().join("local/b with a space.deb")).unwrap(), b"b");
        // They are the recipe's, and do not go into the cache that builds share.
        cache.share(std::time::SystemTime::now()).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("cache/debian-bookworm")).unwrap().count(), 0);
        let told = for_apt(&recipe.base.packages, Path::new(crate::golden::bootstrap::ARCHIVES));
        assert_eq!(told, ["htop", "/var/cache/apt/archives/local/pkgs/a_1.deb"]);
        fs::remove_file(folder.join("b with a space.deb")).unwrap();
        assert!(
            gather(
                &recipe,
                &folder,
                &PackageCache::open(&dir.path().join("cache"), dir.path().join("own"), &recipe.base).unwrap()
            )
            .is_err()
        );
    }
}
