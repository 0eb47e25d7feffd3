//! A build that begins with an image: its disk is changed as `goldimg customize` does it, and written as a build's outputs.
//!
//! ```text
//! Acquired ─► base.raw, if it was packed ─► customize ─► disk, sealed ─► outputs, manifest ─► audited
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::audit::View;
use crate::audit::drivers::Drivers;
use crate::golden::customize::job::Job;
use crate::golden::customize::work::{self, Change, Changed, Difference, Opened};
use crate::golden::identity::Identity;
use crate::golden::load::Loaded;
use crate::golden::manifest::{Origin, Outside};
use crate::golden::openstack::{self, About};
use crate::golden::provenance::Acquired;
use crate::golden::request::stem;
use crate::golden::stage::Stage;
use crate::golden::workspace::Workspace;
use crate::golden::{outputs, verify};
use crate::inspect::{Inspection, OperatingSystem, PartitionFacts};
use crate::manifest::{Changes, Package, PartitionEntry};
use crate::packed;
use crate::system::System;

/// No file of cloud-init's configuration is larger, in bytes.
const CONFIG_MAX: u64 = 1 << 20;

/// All of it; answers with the files that were made.
pub(in crate::golden) fn run(
    loaded: &Loaded,
    acquired: &Acquired,
    place: &Workspace<'_>,
) -> crate::Result<Vec<PathBuf>> {
    let recipe = &loaded.recipe;
    let epoch = place.request.epoch;
    let identity = Identity::new(recipe, epoch)?;
    let file = unpacked(acquired, place)?;
    let job = Job::of_recipe(recipe, &loaded.folder, &file)?;
    let opened = Opened::of(&job, place)?;
    let before = inspected(&opened.system)?;
    let expected = |asked_for: &BTreeSet<PathBuf>| verify::expected_of_image(recipe, asked_for);
    let Changed { disk, asked_for, difference } = work::change(&job, &opened, expected, place)?;

    let system = System::open(Arc::clone(&disk))?;
    let inspection = Inspection::of(&system)?;
    let after = inspection.system.clone().unwrap_or_default();
    let packages = packages(&after);
    // An image whose kernels are not known here is nothing to complain about.
    let drivers = View::open(Arc::clone(&disk)).ok().map(|view| Drivers::of(&view)).transpose()?.flatten();
    let about = about(&system, &after);
    let properties = openstack::properties(recipe, &about, epoch, &packages, drivers.as_ref());
    let changes = changes(&difference, &before, &after);
    let origin = Origin {
        recipe,
        identity: &identity,
        epoch,
        outside: &outside(&inspection, &after),
        base: Some(&acquired.ingredient),
        changes: Some(&changes),
        packages: &packages,
        properties: &properties,
        asked_for: &asked_for,
    };
    let (folder, force) = (&place.request.output, place.request.force);
    let outputs = place.stage(&Stage::Images, || {
        place.caller.files(|| outputs::make(origin, &disk, folder, force, place.monitor))
    })?;
    place.stage(&Stage::Verify, || verify::verify(&outputs, recipe, expected(&asked_for), place.monitor))?;
    work::tell_changes(&stem(recipe, epoch), &difference, place);
    let files = place.caller.files(|| outputs.keep())?;
    files.iter().for_each(|file| place.monitor.note(&file.display().to_string()));
    Ok(files)
}

/// The image's file, not compressed.
fn unpacked(acquired: &Acquired, place: &Workspace<'_>) -> crate::Result<PathBuf> {
    let Some(packing) = packed::packing_of(acquired.path())? else { return Ok(acquired.path().to_owned()) };
    place.stage(&Stage::Unpack, || {
        let path = place.work.directory.join("base");
        packed::unpack_file(acquired.path(), packing, &path, place.monitor)?;
        Ok(path)
    })
}

/// The system in an image.
fn inspected(system: &System) -> crate::Result<OperatingSystem> {
    Ok(Inspection::of(system)?.system.unwrap_or_default())
}

/// The packages of `system`, by name.
fn packages(system: &OperatingSystem) -> Vec<Package> {
    let package = |one: &crate::packages::Package| Package {
        name: one.name.clone(),
        version: one.version.clone(),
        architecture: one.architecture.clone(),
    };
    let mut packages: Vec<Package> = system.packages.iter().map(package).collect();
    packages.sort();
    packages
}

fn changes(difference: &Difference, before: &OperatingSystem, after: &OperatingSystem) -> Changes {
    let counted = Changes {
        files_written: difference.count(Change::Written),
        files_changed: difference.count(Change::Metadata),
        files_removed: difference.count(Change::Removed),
        ..Changes::default()
    };
    counted.with_packages(versions(before), versions(after))
}

fn versions(system: &OperatingSystem) -> impl Iterator<Item = (&str, &str)> {
    system.packages.iter().map(|one| (one.name.as_str(), one.version.as_str()))
}

/// What the image is on the outside.
fn outside(inspection: &Inspection, system: &OperatingSystem) -> Outside {
    let release = system.release.clone().unwrap_or_default();
    let entry = |one: &PartitionFacts| {
        let volume = inspection.volumes.iter().find(|volume| volume.partition == Some(one.number));
        PartitionEntry {
            number: one.number,
            name: one.name.clone(),
            offset: one.start,
            size: one.size,
            guid: one.guid.clone(),
            filesystem: volume.map(|volume| volume.kind.clone()),
            uuid: volume.and_then(|volume| volume.uuid.clone()),
        }
    };
    let table = inspection.table.as_ref();
    Outside {
        distribution: release.id.unwrap_or_else(|| "linux".into()),
        release: release.version_codename.or(release.version_id).unwrap_or_default(),
        disk_guid: table.filter(|table| table.scheme == "gpt").map(|table| table.id.clone()),
        partitions: table.map(|table| table.partitions.iter().map(entry).collect()).unwrap_or_default(),
        firmware: None,
    }
}

/// What a cloud is told of the system.
fn about(system: &System, found: &OperatingSystem) -> About {
    let release = found.release.clone().unwrap_or_default();
    About { distribution: release.id, version: release.version_id, user: default_user(system) }
}

/// The account that the image's cloud-init makes for the cloud's key: the last file that names one counts
/// ("Base configuration" in cloud-init's documentation).
fn default_user(system: &System) -> Option<String> {
    let folder = Path::new("/etc/cloud/cloud.cfg.d");
    let names = system.files().list(folder).ok().flatten().unwrap_or_default();
    let mut names: Vec<_> = names.into_iter().map(|entry| entry.name).collect();
    names.retain(|name| name.to_string_lossy().ends_with(".cfg"));
    names.sort();
    let files = names.iter().rev().map(|name| folder.join(name)).chain(["/etc/cloud/cloud.cfg".into()]);
    files.filter_map(|path| system.files().read(&path, CONFIG_MAX).ok().flatten()).find_map(|bytes| {
        let text = String::from_utf8(bytes).ok()?;
        let config: serde_json::Value = serde_saphyr::from_str(&text).ok()?;
        Some(config.pointer("/system_info/default_user/name")?.as_str()?.to_owned())
    })
}
