//! Which modules of a kernel are loaded, and in which order.
//!
//! ```text
//! modules.dep       kernel/fs/xfs/xfs.ko: kernel/lib/libcrc32c.ko        what it cannot be loaded without
//! modules.softdep   softdep btrfs pre: crc32c xxhash64                   what is loaded before, if it can be
//! modules.alias     alias crc32c crc32c_intel                            what a name stands for
//! modules.builtin   kernel/crypto/crc32c_generic.ko                      what is in the kernel itself
//! ```
//!
//! depmod(8), modules.dep(5), modprobe.d(5). A guest has no modprobe for the kernel to call: all is loaded before.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::{BTreeMap, BTreeSet};

use super::order::Module;
use crate::kernel::{Modules, module_name};

/// Modules that need each other in a longer row than any do.
const DEPTH_MAX: usize = 64;

/// The lists of a kernel's modules.
#[derive(Debug)]
pub(super) struct Lists {
    /// By a module's name, its file and those that it needs.
    loadable: BTreeMap<String, (String, Vec<String>)>,
    builtin: Modules,
    /// By a module's name, those to load before.
    before: BTreeMap<String, Vec<String>>,
    /// By another name, the modules that it stands for.
    aliases: BTreeMap<String, Vec<String>>,
}

impl Lists {
    /// Of the texts of `modules.dep`, `modules.builtin`, `modules.softdep` and `modules.alias`.
    pub(super) fn parse(dependencies: &str, builtin: &str, soft: &str, aliases: &str) -> Self {
        let loadable = dependencies.lines().filter_map(|line| {
            let (file, needed) = line.split_once(':')?;
            let needed = needed.split_whitespace().filter_map(module_name).collect();
            Some((module_name(file)?, (file.trim().to_owned(), needed)))
        });
        let mut lists = Self {
            loadable: loadable.collect(),
            builtin: Modules::of(builtin.lines()),
            before: BTreeMap::new(),
            aliases: BTreeMap::new(),
        };
        for line in soft.lines() {
            let Some((own, names)) = soft_dependency(line) else { continue };
            lists.before.entry(own).or_default().extend(names);
        }
        for line in aliases.lines() {
            let mut words = line.split_whitespace();
            let ("alias", Some(name), Some(own)) =
                (words.next().unwrap_or_default(), words.next(), words.next())
            else {
                continue;
            };
            // Patterns are of devices, which nobody asks for here.
            if !name.contains(['*', '?', '[', ':']) {
                lists.aliases.entry(plain(name)).or_default().push(plain(own));
            }
        }
        lists
    }

    /// Whether the kernel has `name`, to be loaded or built in.
    pub(super) fn has(&self, name: &str) -> bool {
        self.loadable.contains_key(name) || self.builtin.has(name)
    }

    /// The modules to load for all of `wanted` that are not built in, in the order in which they need each other.
    pub(super) fn order(&self, wanted: &[&str]) -> Vec<Module> {
        let mut order = Order { lists: self, seen: BTreeSet::new(), modules: Vec::new() };
        for name in wanted {
            order.add(name, true, 0);
        }
        order.modules
    }
}

/// Modules that are put in order.
struct Order<'a> {
    lists: &'a Lists,
    seen: BTreeSet<&'a str>,
    modules: Vec<Module>,
}

impl<'a> Order<'a> {
    /// Adds what `name` needs, and then that itself, once. What is deeper than modules are is left out.
    fn add(&mut self, name: &str, is_needed: bool, depth: usize) {
        let lists = self.lists;
        let Some((name, (file, needed))) = lists.loadable.get_key_value(name) else { return };
        if depth > DEPTH_MAX {
            return;
        }
        let depth = depth.saturating_add(1);
        if !self.seen.insert(name) {
            // What one only would like, another one needs.
            if is_needed && let Some(own) = self.modules.iter_mut().find(|own| own.name == *name) {
                own.is_needed = true;
            }
            return;
        }
        for soft in lists.before.get(name).into_iter().flatten() {
            self.add_soft(soft, depth);
        }
        for own in needed {
            self.add(own, is_needed, depth);
        }
        self.modules.push(Module { name: name.clone(), file: file.clone(), is_needed });
    }

    /// Adds what `name` is or stands for, as far as it is there.
    fn add_soft(&mut self, name: &str, depth: usize) {
        if self.lists.has(name) {
            return self.add(name, false, depth);
        }
        for own in self.lists.aliases.get(name).into_iter().flatten() {
            self.add(own, false, depth);
        }
    }
}

/// `softdep NAME pre: … post: …`: the name, and all that is to be loaded before.
fn soft_dependency(line: &str) -> Option<(String, Vec<String>)> {
    let mut words = line.split_whitespace();
    let ("softdep", own) = (words.next()?, words.next()?) else { return None };
    let mut is_before = false;
    let mut names = Vec::new();
    for word in words {
        match word {
            "pre:" => is_before = true,
            "post:" => is_before = false,
            name if is_before => names.push(plain(name)),
            _ => {}
        }
    }
    Some((plain(own), names))
}

/// A module's name as the kernel has it: dashes and underscores are one.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "kernel/fs/btrfs/btrfs.ko.xz: kernel/lib/raid6/raid6_pq.ko.xz kernel/crypto/xor.ko.xz\n\
                                kernel/lib/raid6/raid6_pq.ko.xz:\nkernel/crypto/xor.ko.xz:\n\
                                kernel/crypto/xxhash_generic.ko.xz:\nkernel/crypto/crc32c-intel.ko.xz:\n\
                                kernel/a/one.ko: kernel/a/two.ko\nkernel/a/two.ko: kernel/a/one.ko\n\
                                kernel/drivers/virtio/virtio_pci.ko.xz: kernel/drivers/virtio/virtio.ko.xz\n\
                                kernel/drivers/virtio/virtio.ko.xz:\n";
    const SOFT: &str =
        "# comment\nsoftdep btrfs pre: crc32c xxhash64\nsoftdep btrfs pre: raid6-pq nothing post: one\n";
    const ALIASES: &str = "alias pci:v00001AF4d* virtio_pci\nalias crc32c crc32c_intel\nalias xxhash64 xxhash_generic\n\
                           alias crypto-xxhash64 xxhash_generic\nalias fs-btrfs btrfs\n";

    fn lists() -> Lists {
        Lists::parse(DEPENDENCIES, "kernel/drivers/nvme/host/nvme.ko\n", SOFT, ALIASES)
    }

    #[test]
    fn what_is_needed_comes_before() {
        let order = lists().order(&["virtio_pci", "nvme", "btrfs"]);
        let shown: Vec<(&str, bool)> = order.iter().map(|own| (own.name.as_str(), own.is_needed)).collect();
        assert_eq!(
            shown,
            [
                ("virtio", true),
                ("virtio_pci", true),
                ("crc32c_intel", false),
                ("xxhash_generic", false),
                ("raid6_pq", true),
                ("xor", true),
                ("btrfs", true)
            ]
        );
        assert_eq!(order[4].file, "kernel/lib/raid6/raid6_pq.ko.xz");
    }

    #[test]
    fn what_needs_itself_comes_to_an_end() {
        let order = lists().order(&["one"]);
        assert_eq!(order.iter().map(|own| own.name.as_str()).collect::<Vec<_>>(), ["two", "one"]);
        let lists = lists();
        assert!(lists.has("nvme") && lists.has("xor") && !lists.has("xfs"));
        assert!(lists.order(&["xfs"]).is_empty());
        let chain: String = (0..100_000).map(|n| format!("m{n}.ko: m{}.ko\n", n + 1)).collect();
        assert_eq!(Lists::parse(&chain, "", "", "").order(&["m0"]).len(), DEPTH_MAX + 1);
    }
}
