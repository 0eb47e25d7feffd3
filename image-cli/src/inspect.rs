//! What is in an image: partitions, filesystems, and the system that lies in them.
//!
//! ```text
//! System ─┬─ table, volumes ─► Volume: where, what, where mounted, how full          volumes.rs
//!         └─ root ─► OperatingSystem: distribution, processor, kernels, loaders      boot.rs
//!                     ├─ packages (packages.rs)
//!                     └─ accounts that can log in
//! ```
//!
//! Nothing is run. What cannot be read is told beside what can.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod boot;
mod source;
mod volumes;

use std::path::Path;

use image_core::fs::Files;
use serde::Serialize;

use crate::packages::{self, OsRelease, Package};
use crate::system::System;
pub use volumes::{PartitionFacts, Table, VolumeFacts};

/// No file that is looked into is larger, in bytes.
const LIMIT: u64 = 16 << 20;
/// Packages that bring cloud-init.
const CLOUD_INIT: [&str; 2] = ["cloud-init", "cloud-init-base"];

/// What was found in an image.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The size of the disk in bytes.
    pub size: u64,
    /// Its partition table; `None` if it has none.
    pub table: Option<Table>,
    /// What is known on it, in the order of the table.
    pub volumes: Vec<VolumeFacts>,
    /// The system in it; `None` if there is none that can be read.
    pub system: Option<OperatingSystem>,
    /// What could not be read, and why.
    pub unread: Vec<String>,
}

/// An operating system.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct OperatingSystem {
    /// What it says of itself (os-release(5)).
    pub release: Option<OsRelease>,
    /// The processors that its programs are for, in the words of `uname -m`.
    pub architecture: Option<&'static str>,
    /// Its name, if it has one already.
    pub hostname: Option<String>,
    /// The program that starts all others, without links.
    pub init: Option<String>,
    /// Kernels that can be started, by the paths of their files.
    pub kernels: Vec<String>,
    /// Releases of kernels that there are modules for.
    pub modules: Vec<String>,
    /// What starts the kernel.
    pub boot_loaders: Vec<String>,
    /// The version of cloud-init.
    pub cloud_init: Option<String>,
    /// Accounts that a person, or root, has.
    pub users: Vec<User>,
    /// All installed packages.
    pub packages: Vec<Package>,
}

/// An account (passwd(5)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its home.
    pub home: String,
    /// Its shell.
    pub shell: String,
}

impl Inspection {
    /// What is in `system`.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn of(system: &System) -> crate::Result<Self> {
        let mut unread: Vec<String> = Vec::new();
        let volumes = volumes::all(system, &mut unread)?;
        let found = match system.unreadable() {
            None if has_system(system.files()) => Some(operating_system(system, &mut unread)),
            _ => None,
        };
        Ok(Self {
            size: image_core::block::BlockRead::size(&**system.disk()),
            table: system.table().map(Table::of),
            volumes,
            system: found,
            unread,
        })
    }
}

/// Whether there is more than data.
fn has_system(files: &dyn Files) -> bool {
    files.list(Path::new("/etc")).is_ok_and(|names| names.is_some())
}

fn operating_system(system: &System, unread: &mut Vec<String>) -> OperatingSystem {
    let files = system.files();
    let mut told = |error: String| unread.push(error);
    let source = source::Tree::new(files);
    let release = packages::os_release(&source).unwrap_or_else(|error| {
        told(error.to_string());
        None
    });
    let packages = packages::installed(&source).unwrap_or_else(|error| {
        told(error.to_string());
        Vec::new()
    });
    let cloud_init =
        packages.iter().find(|own| CLOUD_INIT.contains(&own.name.as_str())).map(|own| own.version.clone());
    OperatingSystem {
        release,
        architecture: boot::architecture(files),
        hostname: line(files, "/etc/hostname"),
        init: boot::init(system),
        kernels: boot::kernels(files),
        modules: boot::modules(files),
        boot_loaders: boot::loaders(system),
        cloud_init,
        users: users(files),
        packages,
    }
}

/// The first line of a file that says something.
fn line(files: &dyn Files, path: &str) -> Option<String> {
    let text = text(files, path)?;
    let lines = text.lines().map(str::trim);
    lines.into_iter().find(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned)
}

fn text(files: &dyn Files, path: &str) -> Option<String> {
    let bytes = files.read(Path::new(path), LIMIT).ok().flatten()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Root, and accounts with numbers as people have them (login.defs(5), UID_MIN and UID_MAX).
fn users(files: &dyn Files) -> Vec<User> {
    let text = text(files, "/etc/passwd").unwrap_or_default();
    let user = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, _, _, home, shell] = fields.as_slice() else { return None };
        let uid = uid.parse().ok()?;
        let is_person = uid == 0 || (1000..60_000).contains(&uid);
        let [name, home, shell] = [name, home, shell].map(|text| (*text).to_owned());
        is_person.then_some(User { name, uid, home, shell })
    };
    text.lines().filter_map(user).collect()
}
