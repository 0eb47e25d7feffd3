//! Further archives: what apt is told of them during the bootstrap, in the steps, and in the finished image.
//!
//! ```text
//!             sources                                keys                       name and password
//! bootstrap   sources.list.d/NAME.sources            beside the recipe's copy   auth.conf.d, mode 0600
//! steps       sources.list.d/NAME.sources            /etc/apt/keyrings/NAME.*   none: all was fetched before
//! image       the same, if the recipe keeps it       the same                   none, ever
//! ```
//!
//! While the base is made apt runs outside of the tree, and reads keys where this machine has them.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::local::beneath;
use super::sources::Archive;
use crate::error::{Advise, Context, err};
use crate::golden::identity::hex;
use crate::golden::load::read_keys;
use crate::golden::recipe::{Base, Uri};
use crate::golden::tree::Tree;

/// Where apt looks for names and passwords; gone before any program of the tree runs.
const AUTH: &str = "/etc/apt/auth.conf.d/00goldimg-build.conf";
/// Where the image has keys that are not the distribution's (apt-key(8), "Deprecation").
const KEYRINGS: &str = "/etc/apt/keyrings";
/// Where apt looks for what packages count.
const PREFERENCES: &str = "/etc/apt/preferences.d";
/// Where apt looks for archives besides the first one.
const SOURCES: &str = "/etc/apt/sources.list.d";

/// The further archives of a recipe, with their keys.
#[derive(Debug)]
pub(crate) struct FurtherArchives {
    archives: Vec<Ready>,
    /// What apt_auth.conf(5) has of them and of the base's archive.
    auth: String,
}

/// One of them.
#[derive(Debug)]
struct Ready {
    /// What its files are called.
    name: String,
    uri: Uri,
    suites: Vec<String>,
    components: Vec<String>,
    /// Keys of its own, and the ending of their file.
    keys: Option<(Vec<u8>, &'static str)>,
    /// The distribution's keys.
    usual_keys: &'static str,
    /// Its address for the image; none if it is that of the base's archive.
    for_image: Option<Uri>,
    /// How much its packages count, and which of them.
    pin: Option<(u32, Vec<String>)>,
    keep: bool,
}

impl FurtherArchives {
    /// Those of `base`, of a recipe in `folder`.
    ///
    /// # Errors
    /// If a file of keys is not what it was when the recipe was checked, or an archive has no address.
    pub(crate) fn of(base: &Base, folder: &Path) -> crate::Result<Self> {
        let main = Archive::of_the_build(base);
        let mut archives: Vec<Ready> = Vec::new();
        for archive in &base.archives {
            let own = main.as_ref().map(Archive::main);
            let uri = archive.uri.as_ref().or(own).cloned();
            let uri = uri
                .ok_or_else(|| err!("this machine's apt knows no archive of the distribution"))
                .hint(|| "write `uri` in [[base.archives]], or `mirror` in [base]")?;
            let keys = match &archive.signed_by {
                Some(file) => Some(keys_of(folder, file)?),
                None => None,
            };
            archives.push(Ready {
                name: name(archive.uri.as_ref(), &archive.suites, &archives, base.facts().name),
                uri: uri.for_build(),
                for_image: archive.uri.clone(),
                suites: archive.suites.clone(),
                components: archive.components.clone(),
                keys,
                usual_keys: base.facts().keyring,
                pin: archive.priority.map(|priority| (priority, archive.pin.clone())),
                keep: archive.keep,
            });
        }
        let of_base = main.iter().flat_map(Archive::uris);
        let addresses = archives.iter().map(|archive| &archive.uri).chain(of_base);
        let mut entries: Vec<String> = addresses.filter_map(Uri::auth_entry).collect();
        entries.sort();
        entries.dedup();
        Ok(Self { archives, auth: entries.concat() })
    }

    /// What tells them from others, without passwords.
    pub(crate) fn fingerprint(&self) -> String {
        hex(&Sha256::digest(format!("{:?}", self.archives)))
    }

    /// How many signed indices they have.
    pub(crate) fn suites(&self) -> usize {
        self.archives.iter().map(|archive| archive.suites.len()).sum()
    }

    /// Writes what apt is told while it runs outside of the tree into the new folder `seed`, laid out as a tree.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(crate) fn seed(&self, seed: &Path) -> crate::Result<()> {
        let doing = || format!("writing what apt is told into {}", seed.display());
        let write = |inside: &str, content: &[u8], mode: u32| -> std::io::Result<PathBuf> {
            let path = seed.join(inside.trim_start_matches('/'));
            if let Some(folder) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
            }
            let mut file = fs::File::options().write(true).create_new(true).mode(mode).open(&path)?;
            std::io::Write::write_all(&mut file, content)?;
            Ok(path)
        };
        fs::DirBuilder::new().recursive(true).mode(0o755).create(seed).with_context(doing)?;
        for archive in &self.archives {
            let keys = match (&archive.keys, archive.keys_path()) {
                (Some((content, _)), Some(inside)) => {
                    write(&inside, content, 0o644).with_context(doing)?.display().to_string()
                }
                _ => archive.usual_keys.to_owned(),
            };
            write(&archive.sources_path(), archive.paragraph(&archive.uri, &keys).as_bytes(), 0o644)
                .with_context(doing)?;
            if let Some(text) = archive.preferences() {
                write(&archive.preferences_path(), text.as_bytes(), 0o644).with_context(doing)?;
            }
        }
        if !self.auth.is_empty() {
            write(AUTH, self.auth.as_bytes(), 0o600).with_context(doing)?;
        }
        Ok(())
    }

    /// Tells apt of `tree` of them, as it runs inside, and takes the passwords away.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(crate) fn settle(&self, tree: &Tree) -> crate::Result<()> {
        for archive in &self.archives {
            if let (Some((content, _)), Some(path)) = (&archive.keys, archive.keys_path()) {
                tree.write(path, content, 0o644)?;
            }
            tree.write(archive.sources_path(), archive.inside(&archive.uri), 0o644)?;
            if let Some(text) = archive.preferences() {
                tree.write(archive.preferences_path(), text, 0o644)?;
            }
        }
        tree.remove(AUTH)?;
        Ok(())
    }

    /// Leaves in the finished image those that the recipe keeps, unless a step changed them, and no password. `main`
    /// is where the image takes the distribution's packages from.
    ///
    /// # Errors
    /// If a file cannot be written or removed.
    pub(crate) fn finish(&self, tree: &Tree, main: Option<&Archive>) -> crate::Result<()> {
        for archive in &self.archives {
            let path = archive.sources_path();
            if !archive.keep {
                tree.remove(path)?;
                if archive.pin.is_some() {
                    tree.remove(archive.preferences_path())?;
                }
                archive.keys_path().map_or(Ok(false), |keys| tree.remove(keys))?;
            } else if let Some(uri) = archive.for_image.as_ref().or(main.map(Archive::main))
                && tree.text(&path)?.as_deref() == Some(&archive.inside(&archive.uri))
            {
                tree.write(path, archive.inside(uri), 0o644)?;
            }
        }
        Ok(())
    }
}

impl Ready {
    fn sources_path(&self) -> String {
        format!("{SOURCES}/{}.sources", self.name)
    }

    fn keys_path(&self) -> Option<String> {
        self.keys.as_ref().map(|(_, ending)| format!("{KEYRINGS}/{}.{ending}", self.name))
    }

    fn preferences_path(&self) -> String {
        format!("{PREFERENCES}/{}.pref", self.name.replace('.', "-"))
    }

    /// What its packages count, as apt_preferences(5) has it: a suite is called so by its name or by its code name.
    fn preferences(&self) -> Option<String> {
        let (priority, names) = self.pin.as_ref()?;
        let packages = if names.is_empty() { "*".to_owned() } else { names.join(" ") };
        let host = self
            .uri
            .as_str()
            .split_once("://")
            .map(|(_, rest)| rest.split(['/', ':']).next().unwrap_or_default());
        let of_suites = self.suites.iter().filter(|suite| !suite.ends_with('/'));
        let mut pins: Vec<String> = of_suites
            .flat_map(|suite| [format!("release a={suite}"), format!("release n={suite}")])
            .collect();
        if pins.is_empty() {
            // Without suites it is known by its host only; of files that is the empty one.
            pins.push(format!("origin \"{}\"", host.unwrap_or_default()));
        }
        let stanza = |pin: &String| format!("Package: {packages}\nPin: {pin}\nPin-Priority: {priority}\n");
        Some(pins.iter().map(stanza).collect::<Vec<_>>().join("\n"))
    }

    /// What apt of the tree reads.
    fn inside(&self, uri: &Uri) -> String {
        self.paragraph(uri, self.keys_path().as_deref().unwrap_or(self.usual_keys))
    }

    /// The archive as sources.list(5) has it, "DEB822-STYLE FORMAT".
    fn paragraph(&self, uri: &Uri, keys: &str) -> String {
        let mut text = format!("Types: deb\nURIs: {uri}\nSuites: {}\n", self.suites.join(" "));
        if !self.components.is_empty() {
            text.push_str(&format!("Components: {}\n", self.components.join(" ")));
        }
        text.push_str(&format!("Signed-By: {keys}\n"));
        text
    }
}

fn keys_of(folder: &Path, file: &Path) -> crate::Result<(Vec<u8>, &'static str)> {
    let path = beneath(folder, file)?;
    read_keys(&path).with_context(|| format!("reading {} beside the recipe", file.display()))
}

/// What an archive's files are called: after its host, or its suites if it is the base's; none twice, and none as the
/// base's own.
fn name(uri: Option<&Uri>, suites: &[String], before: &[Ready], base: &str) -> String {
    let host = uri.and_then(|uri| uri.as_str().split_once("://")).map(|(_, rest)| {
        let host = rest.split('/').next().unwrap_or_default();
        if host.is_empty() { "local".to_owned() } else { host.to_lowercase() }
    });
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' };
    let stem: String = host.unwrap_or_else(|| suites.join("-")).chars().map(plain).collect();
    let is_free = |name: &String| name != base && before.iter().all(|archive| archive.name != *name);
    let numbered = (2..).map(|number| format!("{stem}-{number}"));
    std::iter::once(stem.clone()).chain(numbered).find(is_free).unwrap_or(stem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::recipe::{FurtherArchive, example};
    use crate::golden::tree::tests::scratch;

    const KEYS: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n";

    fn archive(uri: Option<&str>, keep: bool) -> FurtherArchive {
        FurtherArchive {
            uri: uri.map(Uri::new),
            suites: vec!["stable".into()],
            components: vec!["main".into(), "extra".into()],
            signed_by: uri.map(|_| "keys/theirs.asc".into()),
            priority: keep.then_some(600),
            pin: uri.map(|_| vec!["own-*".into(), "other".into()]).unwrap_or_default(),
            keep,
        }
    }

    /// A base with a private archive that is kept, one that is not, and one on the base's own.
    fn base(folder: &Path) -> Base {
        fs::create_dir_all(folder.join("keys")).unwrap();
        fs::write(folder.join("keys/theirs.asc"), KEYS).unwrap();
        let mut base = example().base;
        base.mirror = Some(Uri::new("http://bob:hush@mirror.example/debian"));
        base.archives = vec![
            archive(Some("https://ann:secret@packages.example:8443/apt"), true),
            archive(Some("https://packages.example:8443/other"), false),
            archive(None, true),
        ];
        base
    }

    fn all_of(folder: &Path) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => text.push_str(&all_of(&entry)),
                false => text.push_str(&fs::read_to_string(&entry).unwrap()),
            }
        }
        text
    }

    #[test]
    fn apt_is_told_of_archives_outside_inside_and_afterwards() {
        let (dir, tree) = scratch();
        let further = FurtherArchives::of(&base(dir.path()), dir.path()).unwrap();
        let seed = dir.path().join("seed");
        further.seed(&seed).unwrap();
        let sources =
            |root: &Path, name: &str| fs::read_to_string(root.join("etc/apt/sources.list.d").join(name)).ok();
        let outside = sources(&seed, "packages.example-8443.sources").unwrap();
        assert_eq!(
            outside,
            format!(
                "Types: deb\nURIs: https://packages.example:8443/apt\nSuites: stable\nComponents: main extra\n\
                 Signed-By: {}/etc/apt/keyrings/packages.example-8443.asc\n",
                seed.display()
            )
        );
        assert_eq!(fs::read(seed.join("etc/apt/keyrings/packages.example-8443.asc")).unwrap(), KEYS);
        tree.write(AUTH, "as mmdebstrap left it", 0o600).unwrap();
        further.settle(&tree).unwrap();
        let inside = sources(tree.root(), "packages.example-8443.sources").unwrap();
        assert!(inside.ends_with("\nSigned-By: /etc/apt/keyrings/packages.example-8443.asc\n"), "{inside}");
        assert!(sources(tree.root(), "packages.example-8443-2.sources").is_some());
        use std::os::unix::fs::PermissionsExt;
        let auth = seed.join(AUTH.trim_start_matches('/'));
        assert_eq!(auth.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_to_string(auth).unwrap(),
            "machine http://mirror.example/debian login bob password hush\n\
             machine https://packages.example:8443/apt login ann password secret\n"
        );
        assert!(!tree.exists(AUTH), "no step sees a password");
        let image = Archive::of_the_image(
            &Base { mirror: None, ..base(dir.path()) },
            super::super::sources::tests::CLOUD_CFG,
        );
        further.finish(&tree, image.as_ref()).unwrap();
        assert!(sources(tree.root(), "packages.example-8443.sources").is_some());
        assert!(sources(tree.root(), "packages.example-8443-2.sources").is_none());
        assert_eq!(tree.list("/etc/apt/keyrings").unwrap(), ["packages.example-8443.asc"]);
        let of_base = sources(tree.root(), "stable.sources").unwrap();
        assert!(of_base.contains("\nURIs: http://archive.example/debian\n"), "{of_base}");
        assert!(
            of_base.ends_with("\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"),
            "{of_base}"
        );
        let pinned = |name: &str| tree.text(format!("{PREFERENCES}/{name}.pref")).unwrap();
        assert_eq!(
            pinned("packages-example-8443").unwrap(),
            "Package: own-* other\nPin: release a=stable\nPin-Priority: 600\n\n\
             Package: own-* other\nPin: release n=stable\nPin-Priority: 600\n"
        );
        assert!(pinned("stable").unwrap().starts_with("Package: *\n"));
        assert_eq!(pinned("packages-example-8443-2"), None);
        let left = all_of(tree.root());
        for word in ["secret", "hush", "ann", "bob"] {
            assert!(!left.contains(word), "{word}: {left}");
        }
    }

    #[test]
    fn keys_are_read_from_beneath_the_recipes_folder_only() {
        let (dir, _tree) = scratch();
        let folder = dir.path().join("recipe");
        let base = base(&folder);
        fs::write(dir.path().join("elsewhere"), KEYS).unwrap();
        fs::remove_file(folder.join("keys/theirs.asc")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), folder.join("keys/theirs.asc")).unwrap();
        let error = format!("{:#}", FurtherArchives::of(&base, &folder).unwrap_err());
        assert!(error.contains("leads out of the recipe's folder"), "{error}");
    }
}
