//! Boot menus: what a boot loader would start, and with which words.
//!
//! ```text
//! grub.cfg        linux PATH WORDS…    initrd PATHS…                (GRUB manual, "Commands")
//! entries/*.conf  linux PATH   options WORDS…   initrd PATH         (UAPI group, Boot Loader Specification)
//! extlinux.conf   kernel PATH  append WORDS…    initrd PATH
//! EFI/Linux/*.efi one program with all of it                       (UAPI group, Unified Kernel Image)
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::path::Path;

use super::unified;
use super::view::{LIMIT, Outcome, View};

const GRUB: &[&str] = &["/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"];
const ENTRIES: &str = "/loader/entries/*.conf";
const UNIFIED: &str = "/EFI/Linux/*.efi";
const EXTLINUX: &[&str] = &["/boot/extlinux/extlinux.conf", "/boot/syslinux/syslinux.cfg"];
const GRUB_ENVIRONMENT: &[&str] = &["/boot/grub2/grubenv", "/boot/grub/grubenv"];

/// A kernel that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The file that says so.
    pub(super) place: String,
    /// The kernel's file, as the menu names it.
    pub(super) kernel: String,
    /// The initrds' files, as the menu names them.
    pub(super) initrds: Vec<String>,
    /// The kernel's command line.
    pub(super) options: Vec<String>,
    /// What starts it.
    pub(super) loader: Loader,
}

/// Who reads a menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loader {
    /// GRUB, a script of its own.
    Grub,
    /// systemd-boot or whatever else follows the Boot Loader Specification.
    Specification,
    /// Nobody: the kernel is a program that firmware starts by itself, or that is found by its folder.
    Unified,
    Extlinux,
}

impl Entry {
    fn new(loader: Loader, place: &str, kernel: &str) -> Self {
        let (initrds, options) = (Vec::new(), Vec::new());
        Self { place: place.into(), kernel: kernel.into(), initrds, options, loader }
    }

    /// The values of the option `name`, in their order.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter_map(move |word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

/// What the image's menus start.
///
/// # Errors
/// If a menu cannot be read.
pub(super) fn entries(view: &View) -> crate::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut environment = None;
    for place in GRUB_ENVIRONMENT {
        environment = environment.or(view.text(place)?);
    }
    for place in GRUB {
        entries.extend(view.text(place)?.map(|text| grub(place, &text)).unwrap_or_default());
    }
    for folder in loader_folders(view) {
        for path in view.matches(&format!("{folder}{ENTRIES}"))? {
            let text = view.text(&path)?.unwrap_or_default();
            let kernel_options = environment.as_deref().and_then(kernel_options).unwrap_or_default();
            let text = text.replace("$kernelopts", &kernel_options);
            entries.extend(lines(Loader::Specification, &path.display().to_string(), &text));
        }
        for path in view.matches(&format!("{folder}{UNIFIED}"))? {
            entries.extend(unified_entry(view, &folder, &path)?);
        }
    }
    for place in EXTLINUX {
        let found = view.text(place)?.map(|text| lines(Loader::Extlinux, place, &text));
        entries.extend(found.unwrap_or_default());
    }
    // A memory test is no system.
    entries.retain(|entry| !entry.kernel.contains("memtest"));
    Ok(entries)
}

/// The file that the menu calls `path`: a path in the filesystem that the menu is read from.
pub(super) fn file_of(view: &View, path: &str) -> crate::Result<Option<String>> {
    let mut places = vec![path.to_owned()];
    if view.has_boot() {
        places.insert(0, format!("/boot{path}"));
    }
    if let Some(esp) = view.esp() {
        places.push(format!("{esp}{path}"));
    }
    view.first_of(&places.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What is in each initrd of `entry` that is there, or why it is none, and the name for it; a processor's microcode is not among them.
///
/// # Errors
/// If a folder above one cannot be read.
pub(super) fn initrds(view: &View, entry: &Entry) -> crate::Result<Vec<(String, Outcome)>> {
    let mut found = Vec::new();
    if entry.loader == Loader::Unified {
        let read = view.unified_initrd(entry.place.as_ref())?;
        found.extend(read.map(|read| (entry.kernel.clone(), read)));
    }
    for path in entry.initrds.iter().filter(|path| !is_microcode(path)) {
        let Some(file) = file_of(view, path)? else { continue };
        found.extend(view.initrd(file.as_ref())?.map(|read| (path.clone(), read)));
    }
    Ok(found)
}

fn is_microcode(path: &str) -> bool {
    path.ends_with("-ucode.img") || path.ends_with("-ucode.cpio")
}

/// Folders in which the Boot Loader Specification has its own: `/boot`, and the EFI system partition's.
fn loader_folders(view: &View) -> Vec<String> {
    let esp = view.esp().filter(|folder| folder != "/boot");
    std::iter::once("/boot".to_owned()).chain(esp).collect()
}

/// What the program `path` starts, in a filesystem mounted at `folder`; `None` if there is no kernel in it.
fn unified_entry(view: &View, folder: &str, path: &Path) -> crate::Result<Option<Entry>> {
    let Some(content) = view.root().content(path)? else { return Ok(None) };
    if unified::section(&content, ".linux")?.is_none() {
        return Ok(None);
    }
    let place = path.display().to_string();
    let mut entry = Entry::new(Loader::Unified, &place, place.strip_prefix(folder).unwrap_or(&place));
    if let Some(range) = unified::section(&content, ".cmdline")? {
        let mut text = vec![0; range.len().min(LIMIT) as usize];
        content.read_at(&mut text, range.offset())?;
        let text = String::from_utf8_lossy(&text);
        entry.options = text.trim_end_matches('\0').split_whitespace().map(String::from).collect();
    }
    Ok(Some(entry))
}

fn grub(place: &str, text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(command) = words.next() else { continue };
        if matches!(command, "linux" | "linux16" | "linuxefi") {
            let mut entry = Entry::new(Loader::Grub, place, words.next().unwrap_or_default());
            entry.options.extend(words.map(String::from));
            entries.push(entry);
        } else if matches!(command, "initrd" | "initrd16" | "initrdefi")
            && let Some(entry) = entries.last_mut()
        {
            entry.initrds.extend(words.map(String::from));
        }
    }
    entries
}

/// Entries of a word and its value a line.
fn lines(loader: Loader, place: &str, text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(command) = words.next() else { continue };
        let command = command.to_ascii_lowercase();
        if matches!(command.as_str(), "linux" | "kernel") {
            entries.push(Entry::new(loader, place, words.next().unwrap_or_default()));
            continue;
        }
        let Some(entry) = entries.last_mut() else { continue };
        match command.as_str() {
            "initrd" => entry.initrds.extend(words.filter(|word| !word.starts_with('$')).map(String::from)),
            "options" | "append" => entry.options.extend(words.map(String::from)),
            _ => {}
        }
    }
    entries
}

/// What GRUB's environment block adds to every kernel's command line.
fn kernel_options(environment: &str) -> Option<String> {
    environment.lines().find_map(|line| line.strip_prefix("kernelopts=")).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(entry: &Entry) -> (&str, Vec<&str>, String) {
        (&entry.kernel, entry.initrds.iter().map(String::as_str).collect(), entry.options.join(" "))
    }

    #[test]
    fn each_kind_of_menu_is_read() {
        let menu = grub(
            "/boot/grub/grub.cfg",
            "menuentry 'x' {\n\tlinux /boot/vmlinuz-6 root=UUID=1 ro\n\tinitrd /a /b\n}\n",
        );
        assert_eq!(shown(&menu[0]), ("/boot/vmlinuz-6", vec!["/a", "/b"], "root=UUID=1 ro".into()));
        let text = "title Fedora\nlinux /vmlinuz-6\ninitrd /initramfs-6.img $tuned_initrd\noptions root=UUID=2 console=ttyS0 a=1\n";
        let entry = &lines(Loader::Specification, "x.conf", text)[0];
        assert_eq!(
            shown(entry),
            ("/vmlinuz-6", vec!["/initramfs-6.img"], "root=UUID=2 console=ttyS0 a=1".into())
        );
        assert_eq!(entry.values("console").collect::<Vec<_>>(), ["ttyS0"]);
        let text = "LABEL a\n  KERNEL /vmlinuz\n  APPEND root=LABEL=x\nLABEL b\n  KERNEL /memtest\n";
        assert_eq!(lines(Loader::Extlinux, "extlinux.conf", text).len(), 2);
        assert_eq!(
            kernel_options("# GRUB\nkernelopts=root=UUID=3 ro\n####").as_deref(),
            Some("root=UUID=3 ro")
        );
    }
}
