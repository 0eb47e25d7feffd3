//! The archives: where packages come from during the build, and where the finished image looks for them.
//!
//! ```text
//! during the build   the recipe's mirror, else what this machine's apt uses for the same distribution, else
//!                    mmdebstrap knows one
//! in the image       the recipe's mirror, else the one that the image's cloud-init is configured with: a mirror of
//!                    this machine is not the image's
//! ```
//!
//! No archive is named here: the distribution's packages name their own.
//!
//! Both are as sources.list(5) has them: release, updates and security, or the suites that the recipe names. The image has them in the
//! form that the release's own images have: lines of one file, or paragraphs in a file of the distribution's name. cloud-init writes
//! either anew at each first boot, with the mirrors of its cloud: so it is told of the image's suites, too.
//!
//! What this machine uses is read from the one-line files (`*.list`) and the deb822 files (`*.sources`) of apt.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::golden::distribution::Facts;
use crate::golden::network::Address;
use crate::golden::recipe::{Base, Uri};

/// Where apt has its sources as lines.
pub(crate) const LINES: &str = "/etc/apt/sources.list";

/// Where a distribution's packages are: its archive, and the security updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Archive {
    main: Uri,
    /// Mirrors seldom carry it.
    security: Option<Uri>,
}

/// One source of this machine's apt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

impl Archive {
    /// Where the build takes packages from; `None` leaves it to mmdebstrap.
    pub(crate) fn of_the_build(base: &Base) -> Option<Self> {
        let machine = Self::of_this_machine(base.facts(), &machine_sources(Path::new("/etc/apt")));
        let archive = match &base.mirror {
            Some(mirror) => Self::with_mirror(base, mirror, machine),
            None => machine?,
        };
        let security = archive.security.map(|security| security.for_build());
        Some(Self { main: archive.main.for_build(), security })
    }

    /// Where the finished image takes packages from, by its configuration of cloud-init (`cloud.cfg`, YAML); `None`
    /// if that does not say.
    pub(crate) fn of_the_image(base: &Base, cloud_cfg: &str) -> Option<Self> {
        let configured = Self::of_cloud_init(cloud_cfg);
        match &base.mirror {
            // A folder of this machine is none of the image's.
            Some(mirror) if !mirror.is_local() => Some(Self::with_mirror(base, mirror, configured)),
            _ => configured,
        }
    }

    /// `mirror`, with the security updates from where `other` has them, if they are an archive of their own.
    fn with_mirror(base: &Base, mirror: &Uri, other: Option<Self>) -> Self {
        let security = match base.facts().mirrors_have_security {
            true => Some(mirror.clone()),
            false => other.and_then(|other| other.security),
        };
        Self { main: mirror.clone(), security }
    }

    /// The first of `system_info.package_mirrors` that has an archive ("Apt Configure" in cloud-init's documentation).
    fn of_cloud_init(cloud_cfg: &str) -> Option<Self> {
        let config: serde_json::Value = serde_saphyr::from_str(cloud_cfg).ok()?;
        let mirrors = config.pointer("/system_info/package_mirrors")?.as_array()?;
        mirrors.iter().find_map(|mirror| {
            let archive = |name: &str| Some(Uri::new(mirror.get("failsafe")?.get(name)?.as_str()?));
            Some(Self { main: archive("primary")?, security: archive("security") })
        })
    }

    fn of_this_machine(facts: &Facts, sources: &[Source]) -> Option<Self> {
        let find = |security: bool| {
            let fits = |source: &&Source| {
                source.components.iter().any(|component| component == "main")
                    && source.suites.iter().any(|suite| suite.ends_with("-security") == security)
            };
            let mut uris = sources.iter().filter(fits).flat_map(|source| {
                source.uris.iter().filter(|uri| is_of(facts, uri, source.signed_by.as_deref()))
            });
            uris.next().map(|uri| Uri::new(uri))
        };
        Some(Self { main: find(false)?, security: find(true) })
    }

    /// The address of the distribution's archive.
    pub(crate) fn main(&self) -> &Uri {
        &self.main
    }

    /// All addresses.
    pub(crate) fn uris(&self) -> impl Iterator<Item = &Uri> {
        std::iter::once(&self.main).chain(&self.security)
    }

    /// The lines of a sources.list for `base`, without names and passwords.
    pub(crate) fn lines(&self, base: &Base) -> Vec<String> {
        let (security, own): (Vec<String>, Vec<String>) =
            base.suites().into_iter().partition(|suite| is_security(suite));
        let main = own.iter().map(|suite| (&self.main, suite));
        let security = self.security.iter().flat_map(|uri| security.iter().map(move |suite| (uri, suite)));
        main.chain(security).map(|(uri, suite)| line(base, uri, suite)).collect()
    }

    /// The file of sources that an image of `base` has, and what is in it.
    pub(crate) fn file(&self, base: &Base) -> (String, String) {
        Self::file_with(base, &self.main, self.security.as_ref())
    }

    /// The same with what cloud-init puts in place of its variables: the mirrors of the cloud.
    pub(crate) fn template(&self, base: &Base) -> String {
        Self::file_with(base, &"$MIRROR", self.security.as_ref().map(|_| &"$SECURITY")).1
    }

    fn file_with<U: fmt::Display>(base: &Base, main: &U, security: Option<&U>) -> (String, String) {
        let (updates, own): (Vec<String>, Vec<String>) =
            base.suites().into_iter().partition(|suite| is_security(suite));
        let parts = [Some((main, own)), security.map(|uri| (uri, updates))];
        let parts = parts.into_iter().flatten().filter(|(_, suites)| !suites.is_empty());
        match base.facts().has_paragraphs(&base.release) {
            true => {
                let paragraphs: Vec<String> = parts.map(|(uri, suites)| deb822(base, uri, &suites)).collect();
                (path(base), paragraphs.join("\n"))
            }
            false => {
                let lines = parts.flat_map(|(uri, suites)| {
                    suites.into_iter().map(move |suite| line(base, uri, &suite) + "\n")
                });
                (path(base), lines.collect())
            }
        }
    }
}

/// The file with the archive of `base` in an image of it.
pub(crate) fn path(base: &Base) -> String {
    let facts = base.facts();
    match facts.has_paragraphs(&base.release) {
        true => format!("/etc/apt/sources.list.d/{}.sources", facts.name),
        false => LINES.into(),
    }
}

/// Whether a suite has security updates: those are in an archive of their own, if the distribution has one.
fn is_security(suite: &str) -> bool {
    suite.ends_with("-security")
}

fn line(base: &Base, uri: &impl fmt::Display, suite: &str) -> String {
    format!("deb [signed-by={}] {uri} {suite} {}", base.facts().keyring, base.components.join(" "))
}

fn deb822(base: &Base, uri: &impl fmt::Display, suites: &[String]) -> String {
    format!(
        "Types: deb\nURIs: {uri}\nSuites: {}\nComponents: {}\nSigned-By: {}\n",
        suites.join(" "),
        base.components.join(" "),
        base.facts().keyring
    )
}

/// Whether an archive is the distribution's own or a mirror of it, not somebody else's packages for it.
fn is_of(facts: &Facts, uri: &str, signed_by: Option<&str>) -> bool {
    let remote = ["http://", "https://", "file:", "copy:"].iter().any(|scheme| uri.starts_with(scheme));
    let last = uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    remote && (facts.archives.contains(&last) || signed_by == Some(facts.keyring))
}

/// The servers from which the apt configured at `etc_apt` takes packages.
pub(crate) fn addresses(etc_apt: &Path) -> Vec<Address> {
    let uris = machine_sources(etc_apt).into_iter().flat_map(|source| source.uris);
    let mut addresses: Vec<Address> = uris.filter_map(|uri| Address::of_uri(&uri)).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// What the apt configured at `etc_apt` takes packages from.
fn machine_sources(etc_apt: &Path) -> Vec<Source> {
    let mut files = vec![etc_apt.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(etc_apt.join("sources.list.d")) {
        let mut parts: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        parts.sort();
        files.extend(parts);
    }
    let mut sources = Vec::new();
    for file in files {
        // A file that cannot be read, or is no text, is one that this user's apt does not use either.
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(one_line)),
            Some("sources") => sources.extend(paragraphs(&text)),
            _ => {}
        }
    }
    sources
}

/// `deb [signed-by=KEYS …] URI SUITE COMPONENT…` of sources.list(5).
fn one_line(line: &str) -> Option<Source> {
    let rest = line.split('#').next()?.trim().strip_prefix("deb")?;
    let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(String::from);
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    Some(Source {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: signed_by.map(String::from),
    })
}

/// The paragraphs of a deb822 file (sources.list(5), "DEB822-STYLE FORMAT") that give binary packages.
fn paragraphs(text: &str) -> Vec<Source> {
    // Comments may stand between the lines of a field.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).filter_map(paragraph).collect()
}

fn paragraph(lines: &[&str]) -> Option<Source> {
    let mut source = Source::default();
    let mut types = Vec::new();
    let mut field = String::new();
    for line in lines {
        let value = if line.starts_with([' ', '\t']) {
            line
        } else {
            let (name, value) = line.split_once(':')?;
            field = name.trim().to_ascii_lowercase();
            value
        };
        let words = value.split_whitespace().map(String::from);
        match field.as_str() {
            "types" => types.extend(words),
            "uris" => source.uris.extend(words),
            "suites" => source.suites.extend(words),
            "components" => source.components.extend(words),
            "signed-by" if source.signed_by.is_none() => source.signed_by = words.into_iter().next(),
            "enabled" if value.trim().eq_ignore_ascii_case("no") => return None,
            _ => {}
        }
    }
    types.iter().any(|kind| kind == "deb").then_some(source)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::golden::distribution::{DEBIAN, UBUNTU};
    use crate::golden::recipe::example;

    #[test]
    fn lines_and_paragraphs_of_apt_are_understood() {
        let source =
            one_line("deb [arch=amd64 signed-by=/k.gpg] http://m/debian bookworm main contrib # why")
                .unwrap();
        assert_eq!(source.uris, ["http://m/debian"]);
        assert_eq!(source.components, ["main", "contrib"]);
        assert_eq!(source.signed_by.as_deref(), Some("/k.gpg"));
        for none in
            ["", "# deb http://m bookworm main", "deb-src http://m bookworm main", "deb http://m", "deb [x"]
        {
            assert_eq!(one_line(none), None, "{none:?}");
        }
        let text = "Types: deb deb-src\n# a comment\nURIs: http://m/debian\nSuites: bookworm\n bookworm-updates\n\
                    Components: main\nSigned-By: /k.gpg\n\nTypes: deb-src\nURIs: http://s\nSuites: x\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://off\nSuites: x\n";
        let sources = paragraphs(text);
        assert_eq!(sources.len(), 1);
        assert_eq!(sources[0].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(sources[0].signed_by.as_deref(), Some("/k.gpg"));
    }

    /// As distributions configure it.
    pub(crate) const CLOUD_CFG: &str = "
system_info:
  distro: debian
  package_mirrors:
    - arches: [other]
    - arches: [default]
      failsafe:
        primary: http://archive.example/debian
        security: http://archive.example/debian-security
";

    #[test]
    fn the_machines_mirror_is_used_and_other_peoples_packages_are_not() {
        let text = [
            "deb https://other.example/linux/debian bookworm stable",
            "deb [signed-by=/usr/share/keyrings/other.gpg] https://other.example/apt bookworm main",
            "deb http://mirror.example/debian/ trixie main",
            "deb cdrom:[x]/debian bookworm main",
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] https://cache.example/sec trixie-security main",
        ];
        let sources: Vec<Source> = text.iter().filter_map(|line| one_line(line)).collect();
        let archive = Archive::of_this_machine(&DEBIAN, &sources).unwrap();
        assert_eq!(archive.main.as_str(), "http://mirror.example/debian/");
        assert_eq!(archive.security.unwrap().as_str(), "https://cache.example/sec");
        assert_eq!(Archive::of_this_machine(&UBUNTU, &sources), None);
    }

    #[test]
    fn the_files_of_apt_are_found() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sources.list.d")).unwrap();
        std::fs::write(dir.path().join("sources.list"), "deb http://a/debian bookworm main\n").unwrap();
        let part = dir.path().join("sources.list.d/b.sources");
        std::fs::write(part, "Types: deb\nURIs: http://b/debian\nSuites: bookworm\n").unwrap();
        std::fs::write(dir.path().join("sources.list.d/c.save"), "deb http://c/debian bookworm main\n")
            .unwrap();
        let uris: Vec<String> = machine_sources(dir.path()).into_iter().flat_map(|s| s.uris).collect();
        assert_eq!(uris, ["http://a/debian", "http://b/debian"]);
        assert!(machine_sources(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn sources_have_the_form_and_the_suites_of_the_release() {
        let archive = Archive::of_cloud_init(CLOUD_CFG).unwrap();
        let of = |release: &str| Base { release: release.into(), ..example().base };
        let (path, text) = archive.file(&of("bookworm"));
        assert_eq!((path.as_str(), text.lines().count()), ("/etc/apt/sources.list", 3));
        assert_eq!(text.lines().collect::<Vec<_>>(), archive.lines(&of("bookworm")));
        let (path, text) = archive.file(&of("trixie"));
        let keys = "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
        assert_eq!(path, "/etc/apt/sources.list.d/debian.sources");
        assert_eq!(
            text,
            format!(
                "Types: deb\nURIs: http://archive.example/debian\nSuites: trixie trixie-updates\nComponents: main\n{keys}\n\
                 Types: deb\nURIs: http://archive.example/debian-security\nSuites: trixie-security\nComponents: main\n{keys}"
            )
        );
        let read = paragraphs(&text);
        assert_eq!((read.len(), read[1].suites.as_slice()), (2, &["trixie-security".to_owned()][..]));
        let template = archive.template(&of("trixie"));
        assert!(
            template.contains("\nURIs: $MIRROR\n") && template.contains("\nURIs: $SECURITY\n"),
            "{template}"
        );
        let (_, text) = archive.file(&of("sid"));
        assert!(text.contains("\nSuites: sid\n") && paragraphs(&text).len() == 1, "{text}");
        let named = Base { suites: vec!["forky".into(), "forky-backports".into()], ..of("forky") };
        assert_eq!(archive.lines(&named).len(), 2);
        assert!(archive.file(&named).1.contains("\nSuites: forky forky-backports\n"));
    }

    #[test]
    fn the_image_looks_where_cloud_init_does_or_at_the_recipes_mirror() {
        let mut base = example().base;
        let lines = Archive::of_the_image(&base, CLOUD_CFG).unwrap().lines(&base);
        assert_eq!(
            lines[2],
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
             http://archive.example/debian-security bookworm-security main"
        );
        assert_eq!(Archive::of_the_image(&base, "users: [default]"), None);
        base.mirror = Some(Uri::new("http://ann:secret@mirror.example/debian"));
        let lines = Archive::of_the_image(&base, CLOUD_CFG).unwrap().lines(&base);
        assert!(lines[1].ends_with(" http://mirror.example/debian bookworm-updates main"), "{lines:?}");
        assert!(lines[2].contains(" http://archive.example/debian-security "), "{lines:?}");
        let local = Base { mirror: Some(Uri::new("file:///srv/debian")), ..base.clone() };
        assert_eq!(Archive::of_the_image(&local, CLOUD_CFG), Archive::of_cloud_init(CLOUD_CFG));
        let lines = Archive::of_the_image(&base, "").unwrap().lines(&base);
        assert_eq!(lines.len(), 2, "no security updates are better than a guess: {lines:?}");
        assert_eq!(Archive::of_the_build(&base).unwrap().main.as_str(), "http://mirror.example/debian");
    }
}
