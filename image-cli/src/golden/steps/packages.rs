//! Packages of the tree, by the tree's own package manager: which one that is, what is in the tree says.
//!
//! ```text
//! apt-get  dnf  yum  zypper  apk  pacman      the first one that is there; what each is told is a row of a table
//! ```
//!
//! An image's lists of packages are as old as the image: they are fetched once in each session. A build's are new, and its
//! initrds are made at its end.

use super::super::bootstrap::local::for_apt;
use super::super::bootstrap::{APT_CONF, ARCHIVES};
use super::super::recipe::Update;
use super::super::tree::{Session, Tree};
use crate::error::{Advise, bail, err};
use crate::name_pattern::fits;

/// That the lists were fetched, until the session is over.
const REFRESHED: &str = "/run/goldimg/refreshed";

/// A package manager, and its words.
#[derive(Debug, PartialEq, Eq)]
struct Manager {
    program: &'static str,
    /// Words before all others.
    always: &'static [&'static str],
    /// Brings the lists up to date; nothing for one that does so by itself.
    refresh: &'static [&'static str],
    /// Without packages that are only recommended, as far as it can.
    install: &'static [&'static str],
    /// With what only they needed.
    remove: &'static [&'static str],
    upgrade: &'static [&'static str],
    kernels: Kernels,
}

/// How kernels are left as they are while all else is brought up to date.
#[derive(Debug, PartialEq, Eq)]
enum Kernels {
    /// By words of the command.
    Words(&'static [&'static str]),
    /// By marks that are taken away again.
    Marks,
    /// It cannot be told to.
    Impossible,
}

/// Maintainers' configuration, but where somebody changed it (dpkg(1)): as with a debconf that asks nobody.
const CONFIGURATION: [&str; 4] =
    ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"];

const MANAGERS: &[Manager] = &[
    Manager {
        program: "apt-get",
        always: &["-q", "-y"],
        // An archive that cannot be asked is told as such, and not as a package that there is not.
        refresh: &["-o", "APT::Update::Error-Mode=any", "update"],
        install: &["install", "--no-install-recommends"],
        remove: &["purge", "--autoremove"],
        upgrade: &["dist-upgrade", CONFIGURATION[0], CONFIGURATION[1], CONFIGURATION[2], CONFIGURATION[3]],
        kernels: Kernels::Marks,
    },
    Manager {
        program: "dnf",
        always: &["-y"],
        refresh: &[],
        install: &["install", "--setopt=install_weak_deps=False"],
        remove: &["remove"],
        upgrade: &["upgrade"],
        kernels: Kernels::Words(&["--exclude=kernel*"]),
    },
    Manager {
        program: "yum",
        always: &["-y"],
        refresh: &[],
        install: &["install"],
        remove: &["remove"],
        upgrade: &["update"],
        kernels: Kernels::Words(&["--exclude=kernel*"]),
    },
    Manager {
        program: "zypper",
        always: &["--non-interactive"],
        refresh: &["refresh"],
        install: &["install", "--no-recommends"],
        remove: &["remove", "--clean-deps"],
        upgrade: &["update"],
        kernels: Kernels::Impossible,
    },
    Manager {
        program: "apk",
        always: &["--no-progress"],
        refresh: &["update"],
        install: &["add"],
        remove: &["del"],
        upgrade: &["upgrade"],
        kernels: Kernels::Impossible,
    },
    Manager {
        program: "pacman",
        always: &["--noconfirm"],
        refresh: &["-Sy"],
        install: &["-S", "--needed"],
        remove: &["-Rns"],
        upgrade: &["-Su"],
        kernels: Kernels::Words(&["--ignore=linux,linux-lts,linux-zen,linux-hardened"]),
    },
];

/// Packages of Debian and Ubuntu that are kernels, or bring the next one.
const KERNELS: [&str; 7] = [
    "linux-image*",
    "linux-headers*",
    "linux-modules*",
    "linux-generic*",
    "linux-virtual*",
    "linux-kvm*",
    "linux-cloud*",
];

/// Installs packages.
///
/// # Errors
/// If there is no package manager, or it fails.
pub(super) fn install(packages: &[String], session: &Session<'_>) -> crate::Result<()> {
    let manager = manager(session.tree())?;
    refresh(manager, session)?;
    run(manager, manager.install, &for_apt(packages, ARCHIVES.as_ref()), session)
}

/// Removes packages, with what only they needed.
///
/// # Errors
/// If there is no package manager, or it fails.
pub(super) fn remove(packages: &[String], session: &Session<'_>) -> crate::Result<()> {
    let manager = manager(session.tree())?;
    run(manager, manager.remove, packages, session)
}

/// Brings all packages up to date.
///
/// # Errors
/// If there is no package manager, it fails, or kernels are to stay and it cannot leave them.
pub(super) fn update(step: Update, session: &Session<'_>) -> crate::Result<()> {
    let manager = manager(session.tree())?;
    if step.kernel {
        refresh(manager, session)?;
        return run(manager, manager.upgrade, &[], session);
    }
    match manager.kernels {
        Kernels::Words(words) => {
            refresh(manager, session)?;
            run(manager, &[manager.upgrade, words].concat(), &[], session)
        }
        Kernels::Marks => {
            refresh(manager, session)?;
            let held = hold(session.tree())?;
            let upgraded = run(manager, manager.upgrade, &[], session);
            // Whatever became of it, nothing stays marked.
            upgraded.and(mark("unhold", &held, session.tree()))
        }
        Kernels::Impossible => {
            Err(err!("{} cannot leave kernels alone while all else is brought up to date", manager.program))
                .hint(|| "name the packages to bring up to date in an `install` step")
        }
    }
}

/// The tree's package manager.
fn manager(tree: &Tree) -> crate::Result<&'static Manager> {
    let is_there = |manager: &&Manager| {
        ["/usr/bin", "/sbin", "/usr/sbin", "/bin"]
            .iter()
            .any(|folder| tree.exists(format!("{folder}/{}", manager.program)))
    };
    MANAGERS
        .iter()
        .find(is_there)
        .ok_or_else(|| err!("the image has no package manager that is known here"))
        .hint(|| {
            let known: Vec<&str> = MANAGERS.iter().map(|manager| manager.program).collect();
            format!("known are {}; a `run` step can call another one", known.join(", "))
        })
}

/// Whether this is a tree that a build makes.
fn is_of_build(tree: &Tree) -> bool {
    tree.exists(APT_CONF)
}

fn refresh(manager: &Manager, session: &Session<'_>) -> crate::Result<()> {
    let tree = session.tree();
    let is_fresh = is_of_build(tree) && tree.exists("/var/lib/apt/lists/lock");
    if manager.refresh.is_empty() || is_fresh || tree.exists(REFRESHED) {
        return Ok(());
    }
    run(manager, manager.refresh, &[], session)?;
    tree.write(REFRESHED, "", 0o644)
}

fn run(manager: &Manager, what: &[&str], packages: &[String], session: &Session<'_>) -> crate::Result<()> {
    if let Some(option) = packages.iter().find(|package| package.starts_with('-')) {
        bail!("{option:?} is no package");
    }
    session.resolving(None, |access| {
        let mut command = session.command(manager.program, access)?;
        if is_of_build(session.tree()) {
            // Kernels get their initramfs once, after the last step.
            command.env("INITRD", "No");
        }
        command.args(manager.always).args(what);
        // Not every one of them knows what ends the options.
        command.args(packages);
        session.tree().log().run(&mut command)
    })
}

/// Marks the kernels that are installed, and answers with those that were not marked before.
fn hold(tree: &Tree) -> crate::Result<Vec<String>> {
    let mut query = tree.command("dpkg-query");
    query.args(["--show", "--showformat=${binary:Package} ${db:Status-Want} ${db:Status-Status}\\n"]);
    let answer = tree.log().output(&mut query)?;
    let held = kernels(&String::from_utf8_lossy(&answer));
    mark("hold", &held, tree)?;
    Ok(held)
}

/// The kernels of a list of packages that are installed and not marked.
fn kernels(list: &str) -> Vec<String> {
    let own = |line: &str| {
        let mut words = line.split(' ');
        let (package, wanted, status) = (words.next()?, words.next()?, words.next()?);
        let name = package.split(':').next().unwrap_or(package);
        let is_kernel = KERNELS.iter().any(|pattern| fits(pattern, name.as_ref()));
        (is_kernel && wanted == "install" && status == "installed").then(|| package.to_owned())
    };
    list.lines().filter_map(own).collect()
}

fn mark(how: &str, packages: &[String], tree: &Tree) -> crate::Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    tree.log().run(tree.command("apt-mark").arg(how).arg("--").args(packages))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::tree::tests::scratch;

    #[test]
    fn the_manager_is_the_one_that_the_tree_has() {
        let (_dir, tree) = scratch();
        let told = crate::error::rendered(&manager(&tree).unwrap_err());
        assert!(told.contains("no package manager"), "{told}");
        assert!(told.contains("apt-get, dnf, yum, zypper, apk, pacman"), "{told}");
        tree.write("/sbin/apk", "", 0o755).unwrap();
        assert_eq!(manager(&tree).unwrap().program, "apk");
        // An image of Fedora has both.
        tree.write("/usr/bin/yum", "", 0o755).unwrap();
        tree.write("/usr/bin/dnf", "", 0o755).unwrap();
        assert_eq!(manager(&tree).unwrap().program, "dnf");
        tree.write("/usr/bin/apt-get", "", 0o755).unwrap();
        assert_eq!(manager(&tree).unwrap().program, "apt-get");
    }

    #[test]
    fn only_kernels_are_held_and_only_those_that_were_not() {
        let list = "linux-image-6.1.0-31-amd64 install installed\nlinux-image-amd64 hold installed\n\
                    linux-headers-6.1.0-30 deinstall config-files\nlibc6:amd64 install installed\n\
                    linux-base install installed\nlinux-libc-dev:amd64 install installed\n\
                    linux-virtual install installed\nlinux-image-virtual:amd64 install installed\n";
        let expected = ["linux-image-6.1.0-31-amd64", "linux-virtual", "linux-image-virtual:amd64"];
        assert_eq!(kernels(list), expected);
    }
}
