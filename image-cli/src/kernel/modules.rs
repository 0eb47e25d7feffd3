//! Modules by their names.
//!
//! ```text
//! kernel/drivers/virtio/virtio-pci.ko.xz ─► virtio_pci
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeSet;

/// Modules that a kernel has.
#[derive(Debug)]
pub(crate) struct Modules {
    names: BTreeSet<String>,
}

impl Modules {
    /// Those whose files have these paths.
    pub(crate) fn of<'a>(paths: impl Iterator<Item = &'a str>) -> Self {
        Self { names: paths.filter_map(module_name).collect() }
    }

    /// Those of a list of files and what each needs, which is `modules.dep` (modules.dep(5)), and those of `modules.builtin`.
    pub(crate) fn listed(dependencies: &str, builtin: &str) -> Self {
        let loadable = dependencies.lines().filter_map(|line| line.split(':').next());
        Self::of(loadable.chain(builtin.lines()))
    }

    /// Whether `name` is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

/// The module's name in the path of its file; `None` for what is no module.
pub(crate) fn module_name(path: &str) -> Option<String> {
    let name = path.trim().rsplit('/').next()?;
    let (name, packing) = name.split_once(".ko")?;
    matches!(packing, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_modules_name() {
        let name = |path: &str| module_name(path);
        assert_eq!(name("kernel/drivers/virtio/virtio-pci.ko.xz").as_deref(), Some("virtio_pci"));
        assert_eq!(name("xfs.ko").as_deref(), Some("xfs"));
        assert_eq!((name("xfs.o"), name("xfs.ko.txt"), name("")), (None, None, None));
        let modules = Modules::listed("kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n", "kernel/c.ko\n");
        assert!(["a", "b", "c"].into_iter().all(|name| modules.has(name)) && !modules.has("d"));
    }
}
