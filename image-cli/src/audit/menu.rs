//! Boot menus: what a boot loader would start, and with which words.
//!
//! ```text
//! grub.cfg        linux PATH WORDS…    initrd PATHS…                (GRUB manual, "Commands")
//! entries/*.conf  linux PATH   options WORDS…   initrd PATH         (UAPI group, Boot Loader Specification)
//! extlinux.conf   kernel PATH  append WORDS…    initrd PATH
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::view::View;

const GRUB: &[&str] = &["/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"];
const ENTRIES: &[&str] = &["/boot/loader/entries/*", "/boot/efi/loader/entries/*"];
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
}

impl Entry {
    fn new(place: &str, kernel: &str) -> Self {
        Self { place: place.into(), kernel: kernel.into(), initrds: Vec::new(), options: Vec::new() }
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
    for pattern in ENTRIES {
        for path in view.matches(pattern)?.iter().filter(|path| path.extension().is_some_and(|e| e == "conf"))
        {
            let text = view.text(path)?.unwrap_or_default();
            let kernel_options = environment.as_deref().and_then(kernel_options).unwrap_or_default();
            let text = text.replace("$kernelopts", &kernel_options);
            entries.extend(lines(&path.display().to_string(), &text));
        }
    }
    for place in EXTLINUX {
        entries.extend(view.text(place)?.map(|text| lines(place, &text)).unwrap_or_default());
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
    if view.has_esp() {
        places.push(format!("/boot/efi{path}"));
    }
    view.first_of(&places.iter().map(String::as_str).collect::<Vec<_>>())
}

fn grub(place: &str, text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(command) = words.next() else { continue };
        if matches!(command, "linux" | "linux16" | "linuxefi") {
            let mut entry = Entry::new(place, words.next().unwrap_or_default());
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
fn lines(place: &str, text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(command) = words.next() else { continue };
        let command = command.to_ascii_lowercase();
        if matches!(command.as_str(), "linux" | "kernel") {
            entries.push(Entry::new(place, words.next().unwrap_or_default()));
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
        let entry = &lines("x.conf", text)[0];
        assert_eq!(
            shown(entry),
            ("/vmlinuz-6", vec!["/initramfs-6.img"], "root=UUID=2 console=ttyS0 a=1".into())
        );
        assert_eq!(entry.values("console").collect::<Vec<_>>(), ["ttyS0"]);
        let text = "LABEL a\n  KERNEL /vmlinuz\n  APPEND root=LABEL=x\nLABEL b\n  KERNEL /memtest\n";
        assert_eq!(lines("extlinux.conf", text).len(), 2);
        assert_eq!(
            kernel_options("# GRUB\nkernelopts=root=UUID=3 ro\n####").as_deref(),
            Some("root=UUID=3 ro")
        );
    }
}
