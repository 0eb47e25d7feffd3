//! A build that begins with the files of a system: unpacked into the tree, which then gets what boots and configures it.
//!
//! ```text
//! tar ──────────────────────────────────┐
//! oci ─► layers, each verified ─────────┴─► tree ─► is it what the recipe says? ─► its own apt: kernel, boot loader, cloud-init
//! ```
//! From there on it is a build as any other.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::container::Layout;
use super::unpack::{Meaning, Unpacking};
use crate::error::{Advise, Context, bail, err};
use crate::golden::customize::{apt, boot};
use crate::golden::identity::Identity;
use crate::golden::load::Loaded;
use crate::golden::provenance::Acquired;
use crate::golden::recipe::{Existing, Recipe, Step};
use crate::golden::stage::Stage;
use crate::golden::tree::{Session, Tree};
use crate::golden::workspace::Workspace;
use crate::golden::{bootloader, bootstrap, steps};
use crate::packages::os_release;
use crate::packed::packing_of;

/// Read at once, in bytes.
const PIECE: usize = 1 << 20;
/// Where answers to packages' questions are while they are told.
const ANSWERS: &str = "/run/goldimg/answers";
/// What tells programs that they are in a container.
const MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];
/// What images of containers have so that no service is started. A machine's services are.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Fills the tree, and makes it a system that boots; answers with the session in which steps are done. The leading installs are done
/// with it.
///
/// # Errors
/// If it cannot be unpacked, is another system than the recipe says, or a package cannot be installed.
pub(in crate::golden) fn begin<'t>(
    loaded: &Loaded,
    acquired: &Acquired,
    tree: &'t Tree,
    identity: &Identity,
    place: &Workspace<'_>,
) -> crate::Result<Session<'t>> {
    let recipe = &loaded.recipe;
    place.stage(&Stage::Unpack, || {
        std::fs::create_dir(tree.root()).context("making the tree")?;
        unpack(recipe, acquired, tree, place)?;
        check(recipe, tree)?;
        boot::check_processor(tree)?;
        // As a base from packages has it: the session's devices are mounted there.
        tree.remove("/dev")?;
        tree.make_dir("/dev")?;
        MARKS.iter().try_for_each(|mark| tree.remove(mark).map(drop))?;
        if tree.text(POLICY)?.is_some_and(|text| denies_all(&text)) {
            tree.remove(POLICY)?;
        }
        Ok(())
    })?;
    let variables = &place.request.variables;
    let networks = bootstrap::networks_of_an_image(tree, recipe.build.network, variables)?;
    let mut session = tree.session(networks)?;
    place.stage(&Stage::Complete, || {
        apt::settle(&mut session, variables)?;
        // Before a kernel's initrd is made, which is for this disk.
        bootloader::prepare(tree, recipe, identity)?;
        if !recipe.base.debconf.is_empty() {
            let lines: String = recipe.base.debconf.iter().map(|line| format!("{line}\n")).collect();
            tree.write(ANSWERS, lines, 0o600)?;
            tree.run("debconf-set-selections", &[ANSWERS])?;
            tree.remove(ANSWERS)?;
        }
        let install = Step::Install(bootstrap::packages(recipe));
        steps::run(&install, &loaded.folder, place.secrets, &session).map(drop)
    })?;
    Ok(session)
}

/// Whether a policy is one of an image of a container's: nothing at all is started.
fn denies_all(policy: &str) -> bool {
    let mut lines = policy.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next() == Some("exit 101") && lines.next().is_none()
}

fn unpack(recipe: &Recipe, acquired: &Acquired, tree: &Tree, place: &Workspace<'_>) -> crate::Result<()> {
    let mut unpacking = Unpacking::into(tree.root(), place.monitor)?;
    match &recipe.base.existing {
        Some(Existing::Oci(_)) => {
            let folder = place.work.directory.join("container");
            let layout = layout(acquired.path(), &folder, place)?;
            let layers = layout.layers(place.monitor).with_context(|| looking_into(acquired))?;
            place.log.note(&format!("{} {}", layers.image.algorithm, layers.image.hex))?;
            for layer in layers.layers {
                layer
                    .unpack(place.monitor, |content| unpacking.add(content, Meaning::Layer))
                    .with_context(|| looking_into(acquired))?;
            }
            if folder.exists() {
                std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
            }
        }
        _ => with_archive(acquired.path(), |content| unpacking.add(content, Meaning::Whole))
            .with_context(|| looking_into(acquired))?,
    }
    unpacking.tell();
    Ok(())
}

fn looking_into(acquired: &Acquired) -> String {
    format!("unpacking {}", acquired.ingredient.source)
}

/// The layout at `path`: a folder, or an archive of one, which is unpacked into `folder`.
fn layout(path: &Path, folder: &Path, place: &Workspace<'_>) -> crate::Result<Layout> {
    if path.is_dir() {
        return Layout::open(path);
    }
    std::fs::create_dir(folder).with_context(|| format!("making {}", folder.display()))?;
    let mut unpacking = Unpacking::into(folder, place.monitor)?;
    with_archive(path, |content| unpacking.add(content, Meaning::Whole))?;
    Layout::open(folder)
}

/// Gives `read` the archive `path`, unpacked if it is compressed.
fn with_archive(path: &Path, read: impl FnOnce(&mut dyn Read) -> crate::Result<()>) -> crate::Result<()> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let packed = BufReader::with_capacity(PIECE, file);
    match packing_of(path)? {
        Some(packing) => read(&mut *packing.unpack(packed).context("unpacking the base")?),
        None => read(&mut { packed }),
    }
}

/// Makes sure that the tree is what the recipe says.
fn check(recipe: &Recipe, tree: &Tree) -> crate::Result<()> {
    let supported = || "kernel, boot loader and cloud-init are installed in Debian and Ubuntu; another system can be the image that a recipe begins with";
    let texts = os_release::PATHS.iter().map(|path| tree.text(path)).find_map(Result::transpose);
    let Some(text) = texts.transpose()? else {
        return Err(err!("it is no system: it has no /etc/os-release")).hint(supported);
    };
    let said = os_release::parse(text.as_bytes()).map_err(|rule| err!("reading /etc/os-release: {rule}"))?;
    let (id, code_name) = (said.id.unwrap_or_default(), said.version_codename.unwrap_or_default());
    let facts = recipe.base.facts();
    if id != facts.name {
        return Err(err!("it is {id:?}, and the recipe says {:?}", facts.name)).hint(supported);
    }
    // What is updated in place has the name of the next release.
    let is_rolling = facts.release(&recipe.base.release).is_some_and(|release| release.version.is_none());
    if !is_rolling && code_name != recipe.base.release {
        bail!("it is {} {code_name:?}, and the recipe says {:?}", facts.title, recipe.base.release);
    }
    match tree.exists("/usr/bin/apt-get") {
        true => Ok(()),
        false => Err(err!("it has no apt-get: packages cannot be installed in it"))
            .hint(|| "an image of a container without a package manager is no base"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_of_a_container_is_told_from_one_of_a_machine() {
        assert!(denies_all("#!/bin/sh\n\n# For most Docker users.\nexit 101\n"));
        assert!(!denies_all("#!/bin/sh\n[ \"$1\" = ssh ] && exit 0\nexit 101\n"));
        assert!(!denies_all("#!/bin/sh\nexit 0\n"));
    }
}
