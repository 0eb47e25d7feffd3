//! What apt says, in English, and what is meant by it.

/// What an apt program said, and whether it succeeded.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub(super) success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Something that apt refuses, or an archive refuses apt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    NoSuite {
        uri: String,
        suite: String,
    },
    NoComponent {
        uri: String,
        suite: String,
        component: String,
    },
    /// By none of the keys.
    NotSigned {
        uri: String,
        suite: String,
    },
    NotAllowed {
        uri: String,
    },
    /// In apt's words.
    Unreachable {
        uri: String,
        why: String,
    },
    NoPackage(String),
    NoVersion {
        name: String,
        version: String,
    },
    /// A name that only other packages know.
    NoCandidate(String),
    /// Packages that do not go together: the lines about them, one behind the other.
    Unmet(String),
}

/// Everything that was refused, in apt's order, nothing twice.
pub(super) fn refusals(said: &Said) -> Vec<Refusal> {
    let mut found = Vec::new();
    for line in said.stderr.lines() {
        // From 3.0 on apt writes the words out.
        let kinds = ["E: ", "W: ", "Error: ", "Warning: "];
        let Some(text) = kinds.iter().find_map(|kind| line.strip_prefix(kind)) else { continue };
        let refusal = refusal(text);
        found.extend(refusal.filter(|refusal| !found.contains(refusal)));
    }
    // An archive that wants a password has no suites either, to those who have none.
    let denied: Vec<String> = found
        .iter()
        .filter_map(|refusal| match refusal {
            Refusal::NotAllowed { uri } => Some(uri.clone()),
            _ => None,
        })
        .collect();
    found.retain(|refusal| match refusal {
        Refusal::NoSuite { uri, .. } | Refusal::NotSigned { uri, .. } => {
            !denied.iter().any(|denied| denied.starts_with(uri.trim_end_matches('/')))
        }
        _ => true,
    });
    found.extend(unmet(&said.stdout));
    found
}

fn refusal(text: &str) -> Option<Refusal> {
    let quoted = |start: &str| text.split_once(start)?.1.split('\'').next();
    let archive = |start: &str| {
        let (uri, rest) = quoted(start)?.split_once(' ')?;
        let suite = rest.rsplit_once(' ').map_or(rest, |(suite, _)| suite);
        Some((uri.to_owned(), suite.to_owned()))
    };
    if let Some(name) = text.strip_prefix("Unable to locate package ") {
        return Some(Refusal::NoPackage(name.trim().to_owned()));
    }
    if text.starts_with("Version '") {
        let (version, name) = (quoted("Version '")?.to_owned(), quoted("' for '")?.to_owned());
        return Some(Refusal::NoVersion { name, version });
    }
    if text.contains("has no installation candidate") {
        return quoted("Package '").map(|name| Refusal::NoCandidate(name.to_owned()));
    }
    if text.contains("doesn't have the component '") {
        let (uri, suite) = archive("as repository '")?;
        return Some(Refusal::NoComponent { uri, suite, component: quoted("the component '")?.to_owned() });
    }
    if text.contains("signature") && text.contains("GPG error: ")
        || text.contains("OpenPGP signature verification failed: ")
    {
        let rest = text.split_once("GPG error: ").or_else(|| text.split_once("verification failed: "))?.1;
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?.to_owned(), words.next()?.to_owned());
        return Some(Refusal::NotSigned { uri, suite });
    }
    if text.starts_with("The repository '") {
        let (uri, suite) = archive("The repository '")?;
        return Some(match text.contains("is not signed") {
            true => Refusal::NotSigned { uri, suite },
            false => Refusal::NoSuite { uri, suite },
        });
    }
    let (uri, why) = text.strip_prefix("Failed to fetch ")?.split_once(' ')?;
    let why = why.trim();
    if why.starts_with("401 ") || why.starts_with("403 ") {
        return Some(Refusal::NotAllowed { uri: uri.to_owned() });
    }
    // What has another line of its own.
    let told = ["404 ", "File not found", "The following signatures", "OpenPGP signature"];
    (!told.iter().any(|start| why.starts_with(start)))
        .then(|| Refusal::Unreachable { uri: uri.to_owned(), why: why.to_owned() })
}

/// The paragraph about dependencies that are not met.
fn unmet(stdout: &str) -> Option<Refusal> {
    let starts = ["The following packages have unmet dependencies:", "Unsatisfied dependencies:"];
    let mut lines = stdout.lines().skip_while(|line| !starts.contains(&line.trim()));
    lines.next()?;
    let words = lines
        .take_while(|line| line.starts_with(' '))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let text = words.collect::<Vec<_>>().join("; ");
    (!text.is_empty()).then_some(Refusal::Unmet(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(stderr: &str) -> Vec<Refusal> {
        refusals(&Said { stderr: stderr.into(), ..Said::default() })
    }

    fn text(text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn what_apt_says_of_archives_is_understood() {
        // As apt 2.6 says it.
        let uri = text("http://mirror.example/debian");
        let suite = text("bookworm");
        assert_eq!(
            of("W: Skipping acquire of configured file 'mian/binary-amd64/Packages' as repository \
                'http://mirror.example/debian bookworm InRelease' doesn't have the component 'mian' \
                (component misspelt in sources.list?)\n"),
            [Refusal::NoComponent { uri: uri.clone(), suite: suite.clone(), component: text("mian") }]
        );
        assert_eq!(
            of(
                "E: The repository 'http://mirror.example/debian bookworm Release' does not have a Release file.\n"
            ),
            [Refusal::NoSuite { uri: uri.clone(), suite: suite.clone() }]
        );
        let unknown_key = "The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 6E";
        assert_eq!(
            of(&format!(
                "W: An error occurred during the signature verification. The repository is not updated and the \
                 previous index files will be used. GPG error: http://mirror.example/debian bookworm InRelease: {unknown_key}\n\
                 W: Failed to fetch http://mirror.example/debian/dists/bookworm/InRelease  {unknown_key}\n\
                 W: Some index files failed to download. They have been ignored, or old ones used instead.\n"
            )),
            [Refusal::NotSigned { uri: uri.clone(), suite: suite.clone() }]
        );
        assert_eq!(
            of(
                "E: Failed to fetch http://mirror.example/debian/dists/bookworm/InRelease  401  Unauthorized [IP: 127.0.0.1 80]\n\
                E: The repository 'http://mirror.example/debian bookworm InRelease' is not signed.\n"
            ),
            [Refusal::NotAllowed { uri: text("http://mirror.example/debian/dists/bookworm/InRelease") }]
        );
        assert_eq!(
            of(
                "W: Failed to fetch http://nosuch.invalid/debian/dists/bookworm/InRelease  Could not resolve 'nosuch.invalid'\n"
            ),
            [Refusal::Unreachable {
                uri: text("http://nosuch.invalid/debian/dists/bookworm/InRelease"),
                why: text("Could not resolve 'nosuch.invalid'")
            }]
        );
    }

    #[test]
    fn what_apt_says_of_packages_is_understood() {
        assert_eq!(
            of("E: Unable to locate package foo.bar\nE: Couldn't find any package by glob 'foo.bar'\n\
                E: Couldn't find any package by regex 'foo.bar'\nE: Version '1' for 'htop' was not found\n\
                E: Unable to locate package libc6:i386\nE: Unable to locate package foo.bar\n\
                E: Package 'mail-transport-agent' has no installation candidate\n"),
            [
                Refusal::NoPackage(text("foo.bar")),
                Refusal::NoVersion { name: text("htop"), version: text("1") },
                Refusal::NoPackage(text("libc6:i386")),
                Refusal::NoCandidate(text("mail-transport-agent")),
            ]
        );
        assert_eq!(of("Error: Unable to locate package a\n"), [Refusal::NoPackage(text("a"))]);
        let stdout = "Reading package lists...\nThe following packages have unmet dependencies:\n \
                      a : Depends: b (>= 2) but 1 is to be installed\n     Conflicts: c\n\
                      E: Unable to correct problems\n";
        let said = Said { stdout: stdout.into(), ..Said::default() };
        assert_eq!(
            refusals(&said),
            [Refusal::Unmet(text("a : Depends: b (>= 2) but 1 is to be installed; Conflicts: c"))]
        );
        assert_eq!(of("\nnonsense\nE: \nE: Failed to fetch\nE: The repository 'x'\nW: Version '\n"), []);
    }
}
