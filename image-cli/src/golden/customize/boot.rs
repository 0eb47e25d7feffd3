//! The boot loader's tools, told of the image's disks while steps run: a kernel that a step installs gets its initrd and its place in the
//! menu from the image's own programs.
//!
//! ```text
//! grub-probe, grub-mkrelpath ─► scripts that know the image's filesystems        diverted, as dpkg-divert(1) does it: a package of
//! /dev/disk/by-uuid/… ─► files that are there                                    GRUB's that comes meanwhile does not take their place
//! after the steps: missing initrds; the menu, if kernels or settings are others
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use image_core::fs::FilesystemKind;
use image_core::partition::Scheme;

use crate::error::{Context, bail};
use crate::golden::shell::quoted;
use crate::golden::tree::Tree;
use crate::system::System;

/// Where dpkg has what is diverted (dpkg-divert(1)): a path, what it is called meanwhile, and who asked for it; `:` is nobody's package.
pub(super) const DIVERSIONS: &str = "/var/lib/dpkg/diversions";
/// What the real programs are called meanwhile.
const ASIDE: &str = ".goldimg";
/// The programs that look at disks, by all names that distributions have for them.
const PROBES: [&str; 2] = ["/usr/sbin/grub-probe", "/usr/sbin/grub2-probe"];
const RELATIVE: [&str; 2] = ["/usr/bin/grub-mkrelpath", "/usr/bin/grub2-mkrelpath"];
/// What writes a menu, and where that is.
const MENUS: [(&str, &str, &[&str]); 2] = [
    ("/boot/grub/grub.cfg", "/usr/sbin/update-grub", &[]),
    ("/boot/grub2/grub.cfg", "/usr/sbin/grub2-mkconfig", &["-o", "/boot/grub2/grub.cfg"]),
];
/// What a menu is made of, besides kernels.
const SETTINGS: [&str; 3] = ["/etc/default/grub", "/etc/default/grub.d", "/etc/grub.d"];

/// A filesystem, as GRUB's tools are told of it.
struct Mount {
    folder: PathBuf,
    device: String,
    kind: &'static str,
    uuid: String,
    label: String,
    partition_uuid: String,
    /// Where its root is seen from the top of the filesystem, of Btrfs the path of the subvolume.
    prefix: String,
    number: u32,
}

/// What stands in for the boot loader's tools, and what the menu was made of.
pub(super) struct StandIns<'a> {
    tree: &'a Tree,
    diverted: Vec<&'static str>,
    before: BTreeMap<PathBuf, Vec<u8>>,
}

impl<'a> StandIns<'a> {
    /// Puts them into `tree`, which has the files of `system`, in a session.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn put(tree: &'a Tree, system: &System) -> crate::Result<Self> {
        let mounts = mounts(system);
        let mut own = Self { tree, diverted: Vec::new(), before: ingredients(tree)? };
        for mount in &mounts {
            let names = [("uuid", &mount.uuid), ("partuuid", &mount.partition_uuid), ("label", &mount.label)];
            for (kind, name) in names.into_iter().filter(|(_, name)| is_plain(name)) {
                tree.write(format!("/dev/disk/by-{kind}/{name}"), "", 0o600)?;
            }
        }
        let scheme = match system.table().map(|table| table.scheme) {
            Some(Scheme::Mbr { .. }) => "msdos",
            _ => "gpt",
        };
        let scripts = PROBES.map(|path| (path, probe(&mounts, scheme)));
        let scripts = scripts.into_iter().chain(RELATIVE.map(|path| (path, relative(&mounts))));
        for (path, script) in scripts {
            let real = tree.link_path(path)?;
            if real.symlink_metadata().is_ok_and(|found| found.is_file()) {
                own.divert(path, &real)?;
                tree.write(path, script, 0o755)?;
            }
        }
        Ok(own)
    }

    /// Renames `path`, and has dpkg know it by that name.
    fn divert(&mut self, path: &'static str, real: &Path) -> crate::Result<()> {
        let aside = self.tree.link_path(format!("{path}{ASIDE}"))?;
        fs::rename(real, aside).with_context(|| format!("putting {path} aside"))?;
        self.diverted.push(path);
        if let Some(text) = self.tree.text(DIVERSIONS)? {
            self.rewrite(&format!("{text}{}", diversion(path)))?;
        }
        Ok(())
    }

    /// Makes what is missing after the steps: initrds of kernels that came, and the menu.
    ///
    /// # Errors
    /// If one of the image's programs fails.
    pub(super) fn finish(&self) -> crate::Result<()> {
        let tree = self.tree;
        let known = |path: &str| self.before.contains_key(Path::new(path));
        if tree.exists("/usr/sbin/update-initramfs") {
            for name in tree.list("/boot")? {
                let Some(version) = name.to_str().and_then(|name| name.strip_prefix("vmlinuz-")) else {
                    continue;
                };
                let (kernel, initrd) =
                    (format!("/boot/vmlinuz-{version}"), format!("/boot/initrd.img-{version}"));
                if !known(&kernel) && !tree.exists(&initrd) {
                    tree.run("update-initramfs", &["-c", "-k", version])?;
                }
            }
        }
        if ingredients(tree)? == self.before {
            return Ok(());
        }
        for (menu, program, arguments) in MENUS {
            if tree.exists(menu) && tree.exists(program) {
                tree.run(program, arguments).context("writing the boot menu")?;
            }
        }
        Ok(())
    }

    /// Takes them away.
    ///
    /// # Errors
    /// If a file cannot be put back.
    pub(super) fn take_away(mut self) -> crate::Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> crate::Result<()> {
        let mut result = Ok(());
        while let Some(path) = self.diverted.pop() {
            result = result.and(self.put_back(path));
        }
        result
    }

    fn put_back(&self, path: &'static str) -> crate::Result<()> {
        if let Some(text) = self.tree.text(DIVERSIONS)? {
            self.rewrite(&text.replacen(&diversion(path), "", 1))?;
        }
        let aside = self.tree.link_path(format!("{path}{ASIDE}"))?;
        match aside.symlink_metadata() {
            Ok(_) => {
                fs::rename(aside, self.tree.link_path(path)?).with_context(|| format!("putting {path} back"))
            }
            // Its package went meanwhile.
            Err(_) => self.tree.remove(path).map(drop),
        }
    }

    fn rewrite(&self, text: &str) -> crate::Result<()> {
        // In place: owner and mode stay.
        fs::write(self.tree.path(DIVERSIONS)?, text)
            .with_context(|| format!("writing {DIVERSIONS} in the image"))
    }
}

impl Drop for StandIns<'_> {
    fn drop(&mut self) {
        // Where this matters, `take_away` was called and told of errors.
        let _ = self.undo();
    }
}

fn diversion(path: &str) -> String {
    format!("{path}\n{path}{ASIDE}\n:\n")
}

/// What the menu is made of: the names in /boot, and settings with their content.
fn ingredients(tree: &Tree) -> crate::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for name in tree.list("/boot")? {
        found.insert(Path::new("/boot").join(name), Vec::new());
    }
    for setting in SETTINGS {
        let inside = Path::new(setting);
        let names = tree.list(inside)?;
        let files: Vec<PathBuf> = match names.is_empty() {
            true => vec![inside.to_owned()],
            false => names.iter().map(|name| inside.join(name)).collect(),
        };
        for file in files {
            if tree.path(&file)?.metadata().is_ok_and(|found| found.is_file()) {
                found.insert(file.clone(), tree.read(&file)?);
            }
        }
    }
    Ok(found)
}

/// The filesystems of the booted system, the ones that are mounted deepest first.
fn mounts(system: &System) -> Vec<Mount> {
    let mut mounts = Vec::new();
    for (index, volume) in system.volumes().iter().enumerate() {
        let Some(folder) = system.mount_point(index) else { continue };
        let uuid = volume.signature.uuid.clone().unwrap_or_default();
        let device = volume.mapped().unwrap_or_else(|| format!("UUID={uuid}"));
        mounts.push(Mount {
            folder: folder.to_owned(),
            device,
            kind: match volume.signature.kind {
                FilesystemKind::Xfs => "xfs",
                FilesystemKind::Btrfs => "btrfs",
                FilesystemKind::Fat => "fat",
                _ => "ext2",
            },
            uuid,
            label: volume.signature.label.clone(),
            partition_uuid: volume.partition_uuid.clone().unwrap_or_default(),
            prefix: match folder == Path::new("/") {
                true => system.root_subvolume().unwrap_or_default(),
                false => String::new(),
            },
            number: volume.partition.as_ref().map_or(1, |partition| partition.number),
        });
    }
    mounts.sort_by_key(|mount| std::cmp::Reverse(mount.folder.components().count()));
    mounts
}

/// Whether `name` can be a file's: labels have any characters.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|own| own.is_ascii_alphanumeric() || "-_.".contains(own))
}

/// How a script's `case` tells a path, or a device, of `mount`.
fn pattern(mount: &Mount) -> String {
    let folder = mount.folder.display().to_string();
    let folder = folder.trim_end_matches('/');
    let paths = match folder {
        "" => "*".to_owned(),
        folder => format!("{0} | {0}/*", quoted(folder)),
    };
    match folder {
        "" => paths,
        _ => format!("{} | {paths}", quoted(&mount.device)),
    }
}

/// A grub-probe that answers for the image's filesystems (grub-probe(8)): for a path, or a device that it has told.
fn probe(mounts: &[Mount], scheme: &str) -> String {
    let mut cases = String::new();
    for mount in mounts {
        let part = if scheme == "gpt" { "gpt" } else { "msdos" };
        let words = [
            ("device", &mount.device),
            ("fs", &mount.kind.to_owned()),
            ("uuid", &mount.uuid),
            ("label", &mount.label),
            ("partuuid", &mount.partition_uuid),
            ("part", &format!("{part}{}", mount.number)),
        ];
        let words: Vec<String> =
            words.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        cases.push_str(&format!("  {}) {} ;;\n", pattern(mount), words.join(" ")));
    }
    format!(
        "#!/bin/sh\n\
         target=fs\n\
         what=/\n\
         while [ $# -gt 0 ]; do\n\
         \x20 case $1 in\n\
         \x20   --target=*) target=${{1#--target=}} ;;\n\
         \x20   -t | --target) target=$2; shift ;;\n\
         \x20   -*) ;;\n\
         \x20   *) what=$1 ;;\n\
         \x20 esac\n\
         \x20 shift\n\
         done\n\
         case $what in\n\
         {cases}\
         esac\n\
         case $target in\n\
         \x20 device) echo \"$device\" ;;\n\
         \x20 fs) echo \"$fs\" ;;\n\
         \x20 fs_uuid) echo \"$uuid\" ;;\n\
         \x20 fs_label) echo \"$label\" ;;\n\
         \x20 partuuid) echo \"$partuuid\" ;;\n\
         \x20 partmap) echo {scheme} ;;\n\
         \x20 drive | compatibility_hint | bios_hints | efi_hints | arc_hint) echo \"hd0,$part\" ;;\n\
         \x20 baremetal_hints) echo \"ahci0,$part\" ;;\n\
         \x20 ieee1275_hints | abstraction | cryptodisk_uuid | msdos_parttype | gpt_parttype) ;;\n\
         \x20 hints_string) echo \"--hint-bios=hd0,$part --hint-efi=hd0,$part\" ;;\n\
         \x20 *) exit 1 ;;\n\
         esac\n"
    )
}

/// A grub-mkrelpath: where a path is, seen from the top of its filesystem.
fn relative(mounts: &[Mount]) -> String {
    let mut cases = String::new();
    for mount in mounts {
        let folder = mount.folder.display().to_string();
        let folder = folder.trim_end_matches('/');
        let prefix = mount.prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        cases.push_str(&format!(
            "  {}) own={}${{path#{}}} ;;\n",
            pattern(mount),
            quoted(&prefix),
            quoted(folder)
        ));
    }
    format!(
        "#!/bin/sh\n\
         for path; do :; done\n\
         path=$(readlink -m -- \"$path\")\n\
         case $path in\n\
         {cases}\
         esac\n\
         [ \"$own\" ] || own=/\n\
         case $own in /?*) own=${{own%/}} ;; esac\n\
         echo \"$own\"\n"
    )
}

/// Makes sure that programs of the image can run here.
///
/// # Errors
/// If it is for another processor.
pub(in crate::golden) fn check_processor(tree: &Tree) -> crate::Result<()> {
    const MACHINE_AT: usize = 18;
    let own = fs::read("/proc/self/exe").context("reading this program")?;
    for path in ["/bin/sh", "/usr/bin/env"] {
        let Ok(program) = tree.read(path) else { continue };
        let machine = |bytes: &[u8]| bytes.get(MACHINE_AT..MACHINE_AT.saturating_add(2)).map(<[u8]>::to_vec);
        if program.starts_with(b"\x7fELF") && machine(&program) != machine(&own) {
            bail!("the image is for another processor than this machine has: its programs cannot run here");
        }
        return Ok(());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn mount(folder: &str, uuid: &str, prefix: &str, number: u32) -> Mount {
        Mount {
            folder: folder.into(),
            device: format!("UUID={uuid}"),
            kind: "ext2",
            uuid: uuid.into(),
            label: "it's".into(),
            partition_uuid: format!("p-{uuid}"),
            prefix: prefix.into(),
            number,
        }
    }

    fn said(script: &str, arguments: &[&str]) -> String {
        let output = Command::new("/bin/sh").args(["-c", script, "sh"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    #[test]
    fn each_path_and_device_is_of_its_filesystem() {
        let mounts = [mount("/boot", "b", "", 2), mount("/", "r", "@", 1)];
        let script = probe(&mounts, "gpt");
        for (arguments, answer) in [
            (["--target=device", "/"].as_slice(), "UUID=r"),
            (&["-t", "fs_uuid", "/boot/grub"], "b"),
            (&["--device", "UUID=b", "--target=partuuid"], "p-b"),
            (&["--device", "UUID=r", "--target=fs_uuid"], "r"),
            (&["--target=fs_label", "/usr"], "it's"),
            (&["--target=hints_string", "/boot"], "--hint-bios=hd0,gpt2 --hint-efi=hd0,gpt2"),
            (&["--target=abstraction", "/"], ""),
            (&["--target=partmap", "/"], "gpt"),
        ] {
            assert_eq!(said(&script, arguments), answer, "{arguments:?}");
        }
        let script = relative(&mounts);
        for (path, answer) in
            [("/boot/vmlinuz", "/vmlinuz"), ("/boot", "/"), ("/usr/share", "/@/usr/share"), ("/", "/@")]
        {
            assert_eq!(said(&script, &[path]), answer, "{path}");
        }
    }

    #[test]
    fn what_stands_in_is_gone_afterwards_and_dpkg_knew_of_it() {
        let (_dir, tree) = crate::golden::tree::tests::scratch();
        let before = "/usr/bin/x\n/usr/bin/x.real\nx\n";
        tree.write(DIVERSIONS, before, 0o644).unwrap();
        tree.write("/usr/sbin/grub-probe", "real", 0o755).unwrap();
        let mut own = StandIns { tree: &tree, diverted: Vec::new(), before: BTreeMap::new() };
        own.divert("/usr/sbin/grub-probe", &tree.path("/usr/sbin/grub-probe").unwrap()).unwrap();
        tree.write("/usr/sbin/grub-probe", "ours", 0o755).unwrap();
        let diverted = format!("{before}/usr/sbin/grub-probe\n/usr/sbin/grub-probe.goldimg\n:\n");
        assert_eq!(tree.text(DIVERSIONS).unwrap().unwrap(), diverted);
        // A newer package comes: dpkg unpacks it beside.
        tree.write("/usr/sbin/grub-probe.goldimg", "newer", 0o755).unwrap();
        own.take_away().unwrap();
        assert_eq!(tree.text(DIVERSIONS).unwrap().unwrap(), before);
        assert_eq!(tree.text("/usr/sbin/grub-probe").unwrap().unwrap(), "newer");
        assert!(!tree.exists("/usr/sbin/grub-probe.goldimg"));
    }
}
