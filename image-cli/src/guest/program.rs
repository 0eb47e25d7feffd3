//! This program with its libraries, as files of an initrd: what runs in the guest is what runs here.
//!
//! ```text
//! /proc/self/exe ─► needs ─┬─ PT_INTERP ─► the loader, at its own path
//! /proc/self/maps ─────────┴─ DT_NEEDED ─► the libraries that this process has, by their names ─► lib/NAME
//! ```
//! What is not loaded (symbols, what debuggers want) is left out: of a program for debugging three quarters.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::elf::{Elf, HEADER};
use crate::error::{Context, bail, err};
use crate::reexec;

/// Where the libraries are in the initrd.
pub(super) const LIBRARIES: &str = "lib";
/// Where the program is in the initrd.
pub(super) const INIT: &str = "init";
/// Where a C library has variants of its libraries for newer processors than a guest may have.
const VARIANTS: &str = "/glibc-hwcaps/";

/// A file of a program.
#[derive(Debug)]
pub(super) struct Part {
    /// Its path in the initrd.
    pub(super) name: String,
    file: File,
    end: u64,
}

impl Part {
    /// How many bytes it has there.
    pub(super) fn len(&self) -> u64 {
        self.end
    }

    /// Its bytes: without what is not loaded, and with a header that does not tell of that.
    pub(super) fn content(&self) -> crate::Result<impl Read> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        let mut header = [0; HEADER];
        file.read_exact(&mut header)?;
        // e_shoff, and e_shnum and e_shstrndx: no sections.
        for (at, byte) in header.iter_mut().enumerate() {
            if matches!(at, 40..48 | 60..64) {
                *byte = 0;
            }
        }
        Ok(Cursor::new(header).chain(file))
    }
}

/// This program and all that it needs.
///
/// # Errors
/// If it would not know that it is a guest's process 1, or something of it cannot be found.
pub(super) fn parts() -> crate::Result<Vec<Part>> {
    reexec::program()?;
    // Also when it was replaced since it was started.
    let file = File::open("/proc/self/exe").context("opening this program itself")?;
    let elf = Elf::read(&file).ok_or_else(|| err!("this program is no ELF program of 64 bits"))?;
    let mut parts = vec![Part { name: INIT.to_owned(), file, end: elf.end }];
    if let Some(loader) = elf.interpreter {
        let file = File::open(&loader).with_context(|| format!("opening {loader}"))?;
        let found = Elf::read(&file).ok_or_else(|| err!("{loader} is no ELF file of 64 bits"))?;
        parts.push(Part { name: loader.trim_start_matches('/').to_owned(), file, end: found.end });
    }
    let mut loaded = loaded()?;
    let mut needed = elf.needed;
    while let Some(name) = needed.pop() {
        let own = format!("{LIBRARIES}/{name}");
        if parts.iter().any(|part| part.name == own) {
            continue;
        }
        let Some((file, elf)) = loaded.remove(&name) else {
            bail!("this program's library {name} cannot be found");
        };
        parts.push(Part { name: own, file, end: elf.end });
        needed.extend(elf.needed);
    }
    Ok(parts)
}

/// The libraries that this process has, by their names.
fn loaded() -> crate::Result<BTreeMap<String, (File, Elf)>> {
    let maps = fs::read("/proc/self/maps").context("looking for this program's libraries")?;
    let mut found = BTreeMap::new();
    for line in String::from_utf8_lossy(&maps).lines() {
        // `address rights offset device inode path` (proc_pid_maps(5)).
        let Some(path) = line.find('/').and_then(|at| line.get(at..)) else { continue };
        let Ok(file) = File::open(usual(path)) else { continue };
        let Some(elf) = Elf::read(&file) else { continue };
        if let Some(soname) = elf.soname.clone() {
            found.entry(soname).or_insert((file, elf));
        }
    }
    Ok(found)
}

/// The library that runs on every processor, where `path` is a variant of it.
fn usual(path: &str) -> PathBuf {
    if let Some((folder, rest)) = path.split_once(VARIANTS)
        && let Some((_, name)) = rest.split_once('/')
    {
        let usual = PathBuf::from(folder).join(name);
        if usual.exists() {
            return usual;
        }
    }
    path.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_packed_of_a_program_runs() {
        reexec::prepare();
        let folder = tempfile::tempdir().unwrap();
        let parts = parts().unwrap();
        for part in &parts {
            let path = folder.path().join(&part.name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut bytes = Vec::new();
            part.content().unwrap().take(part.len()).read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, part.len());
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let loader =
            parts.iter().find(|part| part.name.contains("/ld-") || part.name.contains("/ld.")).unwrap();
        let listed = Command::new(folder.path().join(&loader.name))
            .arg("--library-path")
            .arg(folder.path().join(LIBRARIES))
            .arg(folder.path().join(INIT))
            .args(["--list", "what_is_packed_of_a_program_runs"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&listed.stdout);
        assert!(said.contains("what_is_packed_of_a_program_runs: test"), "{listed:?}");
    }

    #[test]
    fn a_variant_for_one_processor_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let variant = path("lib/glibc-hwcaps/x86-64-v3/libm.so.6");
        fs::create_dir(folder.path().join("lib")).unwrap();
        assert_eq!(usual(&variant), PathBuf::from(&variant));
        fs::write(path("lib/libm.so.6"), "").unwrap();
        assert_eq!(usual(&variant), PathBuf::from(path("lib/libm.so.6")));
        assert_eq!(usual(&path("lib/libm.so.6")), PathBuf::from(path("lib/libm.so.6")));
    }
}
