//! What starts the system: GRUB for a BIOS, the signed shim and GRUB for UEFI, and the kernel's command line.
//!
//! ```text
//! BIOS  LBA 0 ─► core.img ─► /boot/grub/grub.cfg ─► kernel, initrd ─► root=UUID=…
//! UEFI  EFI/BOOT/BOOTX64.EFI (shim) ─► grubx64.efi ─► EFI/debian/grub.cfg ─┘
//! ```
//!
//! Nothing of it touches a device: the disk does not exist yet, only its names do. The distribution's own update-grub
//! writes the menu, so that it writes the same one in the running system after a new kernel; it is told of the new disk
//! by a grub-probe that knows nothing else.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use image_core::fs::NewFile;

use super::bootcode::{BiosCode, BootFiles};
use super::distribution::{Facts, PackageSet, SIGNED, SignedFile};
use super::identity::{Identity, Purpose};
use super::recipe::{Firmware, Recipe};
use super::shell::quoted;
use super::tree::Tree;
use crate::error::{Advise, Context, bail, err};

/// Where GRUB has its menu and modules.
const GRUB: &str = "/boot/grub";
/// Where the packages have GRUB for a BIOS.
const BIOS_MODULES: &str = "/usr/lib/grub/i386-pc";
/// What the core image must know to find `/boot/grub`.
const CORE_MODULES: [&str; 6] = ["biosdisk", "part_gpt", "ext2", "search_fs_uuid", "normal", "configfile"];
/// What tells GRUB's scripts of devices and filesystems.
const PROBE: &str = "/usr/sbin/grub-probe";
/// What tells them where a path is in its filesystem: here that is a folder of another one.
const RELATIVE: &str = "/usr/bin/grub-mkrelpath";
const ROOT_IS_A_FILESYSTEM: &str = "#!/bin/sh\nfor path; do :; done\nexec readlink -m -- \"$path\"\n";
/// What the real ones are called while ours answer.
const ASIDE: &str = ".goldimg";

/// Writes what later steps build upon: `/etc/fstab`, so that the initrd brings the root filesystem's checker, and
/// GRUB's settings. To be called before a kernel's initrd is made.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn prepare(tree: &Tree, recipe: &Recipe, identity: &Identity) -> crate::Result<()> {
    tree.write("/etc/fstab", fstab(recipe, identity), 0o644)?;
    if recipe.boot.firmware.contains(&Firmware::Uefi) {
        tree.make_dir("/boot/efi")?;
    }
    // The initrd's maker would ask for the type of a disk that does not exist yet, and leave out the checker.
    tree.write("/etc/initramfs-tools/conf.d/goldimg", "FSTYPE=ext4\n", 0o644)?;
    tree.write("/etc/default/grub.d/50-goldimg.cfg", settings(recipe), 0o644)
}

/// Makes missing initrds, GRUB's menu and its code. To be called in a session, when all packages are installed.
///
/// # Errors
/// If a package that booting needs is missing, or one of its programs fails.
pub(crate) fn install(tree: &Tree, recipe: &Recipe, identity: &Identity) -> crate::Result<BootFiles> {
    make_initrds(tree, recipe.base.facts())?;
    let root = identity.uuid(Purpose::RootFilesystem).to_string();
    tree.make_dir(GRUB)?;
    tree.run("grub-editenv", &["/boot/grub/grubenv", "create"])?;
    let stand_ins = [(PROBE, probe_script(identity)), (RELATIVE, ROOT_IS_A_FILESYSTEM.into())];
    let stand_ins: Vec<StandIn<'_>> = stand_ins
        .into_iter()
        .map(|(path, script)| StandIn::put(tree, path, &script))
        .collect::<Result<_, _>>()?;
    tree.run("update-grub", &[]).context("writing GRUB's menu")?;
    stand_ins.into_iter().try_for_each(StandIn::take_away)?;
    check_menu(&tree.text("/boot/grub/grub.cfg")?.unwrap_or_default(), &root)?;
    let mut files = BootFiles::default();
    for firmware in &recipe.boot.firmware {
        match firmware {
            Firmware::Bios => files.bios = Some(install_bios(tree, &root)?),
            Firmware::Uefi => files.esp = esp_files(tree, recipe.base.facts(), &root)?,
        }
    }
    Ok(files)
}

fn fstab(recipe: &Recipe, identity: &Identity) -> String {
    let root = identity.uuid(Purpose::RootFilesystem);
    let mut text = format!("UUID={root} / ext4 errors=remount-ro 0 1\n");
    if recipe.boot.firmware.contains(&Firmware::Uefi) {
        // A machine boots without it, so its absence must not stop one.
        text.push_str(&format!("UUID={} /boot/efi vfat umask=0077,nofail 0 2\n", identity.fat_uuid()));
    }
    text
}

/// The words of the kernel's command line besides `root=`.
pub(crate) fn command_line(recipe: &Recipe) -> String {
    let consoles = recipe.boot.console.iter().map(|console| format!("console={console}"));
    consoles.chain(recipe.boot.command_line.iter().cloned()).collect::<Vec<_>>().join(" ")
}

/// GRUB's settings (GRUB manual, "Simple configuration"), read after the distribution's own.
fn settings(recipe: &Recipe) -> String {
    let timeout = recipe.boot.timeout;
    let mut text = format!(
        "# Written by goldimg; `update-grub` makes the menu from it.\n\
         GRUB_CMDLINE_LINUX={}\nGRUB_CMDLINE_LINUX_DEFAULT=\"\"\n\
         GRUB_TIMEOUT={timeout}\nGRUB_RECORDFAIL_TIMEOUT={timeout}\nGRUB_DISABLE_OS_PROBER=true\n",
        quoted(&command_line(recipe)),
    );
    let serial = recipe.boot.console.iter().rev().find_map(|console| console.strip_prefix("ttyS"));
    if let Some(serial) = serial {
        let (unit, mode) = serial.split_once(',').unwrap_or((serial, "115200"));
        let speed: String = mode.chars().take_while(char::is_ascii_digit).collect();
        text.push_str("GRUB_TERMINAL=\"console serial\"\n");
        text.push_str(&format!("GRUB_SERIAL_COMMAND=\"serial --unit={unit} --speed={speed}\"\n"));
    }
    text
}

/// The versions of the kernels in `/boot`.
fn kernels(tree: &Tree, facts: &Facts) -> crate::Result<Vec<String>> {
    let names = tree.list("/boot")?;
    let versions = names.iter().filter_map(|name| name.to_str()?.strip_prefix("vmlinuz-")).map(String::from);
    let versions: Vec<String> = versions.collect();
    if versions.is_empty() {
        return Err(err!("there is no kernel in the image: /boot has no vmlinuz-…")).hint(|| {
            format!("name the kernel's package in the recipe: boot.kernel = \"{}\"", facts.usual_kernel)
        });
    }
    Ok(versions)
}

fn make_initrds(tree: &Tree, facts: &Facts) -> crate::Result<()> {
    for version in kernels(tree, facts)? {
        if !tree.exists(format!("/boot/initrd.img-{version}")) {
            tree.run("update-initramfs", &["-c", "-k", &version])?;
        }
    }
    Ok(())
}

/// A grub-probe that answers for the disk that will be.
fn probe_script(identity: &Identity) -> String {
    let root = identity.uuid(Purpose::RootFilesystem);
    let partition = identity.uuid(Purpose::Partition(super::disk::ROOT));
    // The menu's scripts take the device's name for `root=` when nothing in /dev has its UUID.
    format!(
        "#!/bin/sh\n\
         while [ $# -gt 0 ]; do\n\
         \x20 case $1 in\n\
         \x20   --target=*) target=${{1#--target=}} ;;\n\
         \x20   -t | --target) target=$2; shift ;;\n\
         \x20 esac\n\
         \x20 shift\n\
         done\n\
         case ${{target-fs}} in\n\
         \x20 device) echo UUID={root} ;;\n\
         \x20 fs) echo ext2 ;;\n\
         \x20 fs_uuid) echo {root} ;;\n\
         \x20 fs_label) echo root ;;\n\
         \x20 partuuid) echo {partition} ;;\n\
         \x20 partmap) echo gpt ;;\n\
         \x20 drive | compatibility_hint) echo hd0,gpt{number} ;;\n\
         \x20 bios_hints | efi_hints | arc_hint) echo hd0,gpt{number} ;;\n\
         \x20 baremetal_hints) echo ahci0,gpt{number} ;;\n\
         \x20 ieee1275_hints | abstraction | cryptodisk_uuid) ;;\n\
         \x20 hints_string) echo --hint-bios=hd0,gpt{number} --hint-efi=hd0,gpt{number} ;;\n\
         \x20 *) exit 1 ;;\n\
         esac\n",
        number = super::disk::ROOT,
    )
}

/// A script in place of a program of GRUB's.
struct StandIn<'a> {
    tree: &'a Tree,
    path: &'static str,
}

impl<'a> StandIn<'a> {
    fn put(tree: &'a Tree, path: &'static str, script: &str) -> crate::Result<Self> {
        let (real, aside) = (tree.link_path(path)?, tree.link_path(format!("{path}{ASIDE}"))?);
        fs::rename(&real, &aside)
            .with_context(|| format!("there is no {path} in the image"))
            .hint(|| "the package grub-common has it: is it removed by a step of the recipe?")?;
        let stand_in = Self { tree, path };
        tree.write(path, script, 0o755)?;
        Ok(stand_in)
    }

    fn take_away(self) -> crate::Result<()> {
        self.undo()
    }

    fn undo(&self) -> crate::Result<()> {
        let aside = self.tree.link_path(format!("{}{ASIDE}", self.path))?;
        if aside.exists() {
            fs::rename(aside, self.tree.link_path(self.path)?)
                .with_context(|| format!("putting {} back", self.path))?;
        }
        Ok(())
    }
}

impl Drop for StandIn<'_> {
    fn drop(&mut self) {
        // Where this fails, something before it has failed and is told.
        let _ = self.undo();
    }
}

/// Refuses a menu that would not find this image's root filesystem: a builder's most silent failure.
fn check_menu(menu: &str, root: &str) -> crate::Result<()> {
    let kernels: Vec<&str> = menu
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with("linux\t") || line.starts_with("linux "))
        .collect();
    let wanted = format!("root=UUID={root}");
    match kernels.iter().find(|line| !line.split_whitespace().any(|word| word == wanted)) {
        None if kernels.is_empty() => bail!("GRUB's menu has no kernel"),
        None => Ok(()),
        Some(line) => bail!("GRUB's menu starts a kernel without {wanted}: {line}"),
    }
}

fn install_bios(tree: &Tree, root: &str) -> crate::Result<BiosCode> {
    let modules = tree.list(BIOS_MODULES)?;
    if modules.is_empty() {
        return Err(err!("there is no GRUB for a BIOS in the image: {BIOS_MODULES} is missing"))
            .hint(|| "the package grub-pc-bin has it: is it removed by a step of the recipe?");
    }
    // As grub-install leaves them, so that GRUB's next version in the running system finds what it expects.
    let target = format!("{GRUB}/i386-pc");
    let folder = tree.make_dir(&target)?;
    for name in modules.iter().filter(|name| is_module(name)) {
        copy(&tree.path(Path::new(BIOS_MODULES).join(name))?, &folder.join(name))?;
    }
    let boot_img = tree.read(format!("{BIOS_MODULES}/boot.img"))?;
    tree.write(format!("{target}/boot.img"), &boot_img, 0o644)?;
    let search = format!("search.fs_uuid {root} root\nset prefix=($root){GRUB}\n");
    tree.write(format!("{target}/load.cfg"), search, 0o644)?;
    let (config, output) = (format!("{target}/load.cfg"), format!("{target}/core.img"));
    let mut arguments = vec!["-O", "i386-pc", "-p", GRUB, "-c", &config, "-o", &output];
    arguments.extend(CORE_MODULES);
    tree.run("grub-mkimage", &arguments).context("making GRUB's core image")?;
    Ok(BiosCode { boot_img, core_img: tree.read(output)? })
}

fn is_module(name: &OsString) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "mod" || extension == "lst")
}

fn copy(from: &PathBuf, to: &PathBuf) -> crate::Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

/// The EFI system partition: the firmware's default path has the shim, which starts the GRUB beside it, which looks
/// for its menu in the distribution's folder. No fallback program: it would reboot to write boot entries.
fn esp_files(tree: &Tree, facts: &Facts, root: &str) -> crate::Result<Vec<NewFile>> {
    let vendor = facts.efi_folder;
    let mut files = Vec::new();
    for SignedFile { esp, path, package } in SIGNED.into_iter().chain([facts.key_manager]) {
        let content = tree
            .read(path)
            .hint(|| format!("the package {package} has it: is it removed by a step of the recipe?"))?;
        files.push(NewFile { path: esp.into(), content });
    }
    let menu = format!("search.fs_uuid {root} root\nset prefix=($root){GRUB}\nconfigfile $prefix/grub.cfg\n");
    files.push(NewFile { path: format!("EFI/{vendor}/grub.cfg"), content: menu.into() });
    Ok(files)
}

/// The packages without which the image does not boot, grow and stop: kernel, initramfs, init, boot loaders.
/// In alphabetical order, without repetitions.
pub(crate) fn packages(recipe: &Recipe) -> Vec<String> {
    let (facts, firmware) = (recipe.base.facts(), &recipe.boot.firmware);
    let starts = |one| firmware.contains(&one);
    let sets = [
        (PackageSet::Boot, true),
        (PackageSet::Bios, starts(Firmware::Bios)),
        (PackageSet::Uefi, starts(Firmware::Uefi)),
        (PackageSet::BiosAndUefi, starts(Firmware::Bios) && starts(Firmware::Uefi)),
    ];
    let wanted = sets.into_iter().filter(|(_, wanted)| *wanted);
    let named = wanted.flat_map(|(set, _)| facts.packages(set, &recipe.base.release));
    let mut packages: Vec<String> = named.map(String::from).collect();
    packages.push(recipe.boot.kernel.clone().unwrap_or_else(|| facts.kernel.into()));
    packages.sort();
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::recipe::Distribution;
    use crate::golden::recipe::example;

    #[test]
    fn a_menu_that_does_not_find_its_own_root_is_refused() {
        let menu =
            |root: &str| format!("menuentry 'x' {{\n\tlinux\t/boot/vmlinuz-6 root={root} ro quiet\n}}\n");
        assert!(check_menu(&menu("UUID=1-2"), "1-2").is_ok());
        for wrong in ["/dev/loop0p1", "UUID=1-23", "PARTUUID=1-2"] {
            let error = check_menu(&menu(wrong), "1-2").unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
        assert!(check_menu("", "1-2").is_err());
    }

    #[test]
    fn the_settings_are_shell_and_name_the_serial_console() {
        let mut recipe = example();
        recipe.boot.command_line = vec!["a='b'".into()];
        recipe.boot.timeout = 3;
        let text = settings(&recipe);
        let words = r"GRUB_CMDLINE_LINUX='console=tty0 console=ttyS0,115200n8 a='\''b'\'''";
        assert!(text.contains(words), "{text}");
        assert!(text.contains("GRUB_SERIAL_COMMAND=\"serial --unit=0 --speed=115200\"\n"), "{text}");
        assert!(text.contains("GRUB_TIMEOUT=3\n"), "{text}");
        recipe.boot.console = vec!["tty0".into()];
        assert!(!settings(&recipe).contains("serial"));
    }

    #[test]
    fn the_packages_follow_the_firmware_and_the_distribution() {
        let mut recipe = example();
        let has = |recipe: &Recipe, name: &str| packages(recipe).iter().any(|package| package == name);
        for name in ["linux-image-cloud-amd64", "grub-pc-bin", "shim-signed", "grub-cloud-amd64", "udev"] {
            assert!(has(&recipe, name), "{name}");
        }
        recipe.boot.firmware = vec![Firmware::Uefi];
        assert!(!has(&recipe, "grub-pc-bin") && !has(&recipe, "grub-cloud-amd64"));
        recipe.base.distribution = Some(Distribution::Ubuntu);
        assert!(has(&recipe, "linux-image-virtual"));
        recipe.boot.kernel = Some("linux-image-generic".into());
        assert!(has(&recipe, "linux-image-generic") && !has(&recipe, "linux-image-virtual"));
        assert!(packages(&recipe).is_sorted());
    }
}
