//! apt's solver, asked before anything is built: whether the archives have the recipe's suites, components and packages,
//! whether these go together, and how much they are.
//!
//! ```text
//! recipe ─► cache/solver/HASH/     a root for apt alone: the build's sources, keys, an empty list of installed packages
//!             apt-get update       does each archive have its suites and components?          ─┐
//!             apt-get --simulate   does each package exist, and do they go together?           ├─► remarks on words
//!             apt-cache            what a misspelt one is near to; how large all of them are  ─┘   of the recipe
//! ```
//!
//! No right is needed and nothing is installed. Where no archive can be reached the answer is that it could not be asked.
//! The lists stay for the next time; apt fetches what has changed.

mod apt_output;
mod root;

use std::path::Path;

use self::apt_output::{Refusal, refusals};
use self::root::Root;
use super::bootstrap::sources::Archive;
use super::bootstrap::{self, further_archives::FurtherArchives};
use super::disk::room;
use super::layers::{Index, index_of};
use super::load::{Loaded, Remark, Role};
use super::recipe::{Base, Recipe, Step};
use crate::monitor::CancellationToken;
use crate::nearest::nearest;
use crate::variables::Variables;

/// What came of asking.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The archives answered.
    Answered(Answer),
    /// They could not be asked, and why.
    Unasked(String),
}

/// What the archives say.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// What is wrong with the recipe.
    pub(crate) remarks: Vec<Remark>,
    /// What would be installed, if nothing is wrong with the packages.
    pub(crate) total: Option<Total>,
    /// What the archives have, if all of them say it with a signature.
    pub(crate) index: Option<Index>,
}

/// All packages that would be installed, by the recipe and for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Total {
    /// How many.
    pub packages: usize,
    /// What they are to fetch, in bytes; those of the package cache included.
    pub download_size: u64,
    /// What they take as the archive counts, in bytes: with manuals and translations, which images do not have.
    pub installed_size: u64,
}

/// Asks about the packages of a recipe. Lists are kept in a folder of `cache`.
///
/// # Errors
/// If a file beside the recipe is not there any more.
pub(crate) fn ask(
    loaded: &Loaded,
    cache: &Path,
    variables: &Variables,
    cancel: &CancellationToken,
) -> crate::Result<Outcome> {
    let base = &loaded.recipe.base;
    let Some(archive) = Archive::of_the_build(base) else {
        return Ok(Outcome::Unasked("this machine's apt knows no archive of the distribution".into()));
    };
    let keys = base.facts().keyring;
    if !Path::new(keys).exists() {
        return Ok(Outcome::Unasked(format!("the keys of the archive, {keys}, are not installed")));
    }
    let further = FurtherArchives::of(base, &loaded.folder)?;
    let asked = Root::open(&cache.join("solver"), &archive.lines(base), &further, variables, cancel)
        .and_then(|root| {
            let mut outcome = answer(loaded, &root)?;
            if let Outcome::Answered(answer) = &mut outcome {
                let archives = archive.lines(base).len() + further.suites();
                answer.index = index_of(&root.lists_folder(), archives)?;
            }
            Ok(outcome)
        });
    cancel.check()?;
    // Whatever keeps apt from answering is no fault of the recipe's: the build will tell.
    Ok(asked.unwrap_or_else(|error| Outcome::Unasked(format!("{error:#}"))))
}

fn answer(loaded: &Loaded, root: &Root) -> crate::Result<Outcome> {
    let recipe = &loaded.recipe;
    let update = root.update()?;
    let found = refusals(&update);
    let mut remarks: Vec<Remark> = Vec::new();
    for remark in found.iter().filter_map(|refusal| of_archive(refusal, &recipe.base, root)) {
        // What one suite of an archive has not, the others have not either.
        if !remarks.iter().any(|told| (told.role, &told.word) == (remark.role, &remark.word)) {
            remarks.push(remark);
        }
    }
    if !remarks.is_empty() {
        return Ok(Outcome::Answered(Answer { remarks, ..Answer::default() }));
    }
    // An answer without one archive's packages would call them missing; an old list of them will do.
    let unknown = found.iter().find_map(|refusal| match refusal {
        Refusal::Unreachable { uri, why } if !root.has_list(uri) => Some((uri, why)),
        _ => None,
    });
    if let Some((uri, why)) = unknown {
        return Ok(match silent(uri, why, &recipe.base) {
            Some(remark) => Outcome::Answered(Answer { remarks: vec![remark], ..Answer::default() }),
            None => Outcome::Unasked(why.clone()),
        });
    }
    packages(loaded, root).map(Outcome::Answered)
}

/// What an archive's refusal says of the recipe.
fn of_archive(refusal: &Refusal, base: &Base, root: &Root) -> Option<Remark> {
    match refusal {
        Refusal::NoSuite { uri, suite } => {
            let number = further_of(base, uri, suite);
            let is_named = number.is_some() || base.suites.contains(suite);
            let role = if is_named { Role::Suite(number) } else { Role::Release };
            let word = if is_named { suite } else { &base.release };
            let remark = Remark::mistake(role, word, format!("the archive {uri} has no suite {suite:?}"));
            let suffixes = ["", "-updates", "-security", "-backports", "-proposed-updates"];
            let mut known = suffixes.map(|suffix| format!("{}{suffix}", base.release)).to_vec();
            known.extend(["stable", "testing", "unstable"].map(String::from));
            let near = nearest(suite, known.iter().map(String::as_str).filter(|known| *known != suite));
            Some(match near.filter(|_| is_named) {
                Some(near) => remark.label(format!("did you mean {near:?}?")),
                None if is_named || *suite == base.release => remark,
                None => remark.help(format!(
                    "`suites = [{:?}]` in [base] takes those that there are in place of the usual ones",
                    base.release
                )),
            })
        }
        Refusal::NoComponent { uri, suite, component } => {
            let role = Role::Component(further_of(base, uri, suite));
            let known = root.components(suite);
            let words: Vec<&str> = known.split_whitespace().collect();
            let remark =
                Remark::mistake(role, component, format!("the archive {uri} has no component {component:?}"));
            let remark = match nearest(component, words.iter().copied()) {
                Some(near) => remark.label(format!("did you mean {near:?}?")),
                None => remark,
            };
            Some(if words.is_empty() { remark } else { remark.help(format!("it has {}", words.join(", "))) })
        }
        Refusal::NotSigned { uri, suite } => {
            let number = further_of(base, uri, suite);
            let role = number.map_or(Role::Mirror, Role::Uri);
            let remark =
                Remark::mistake(role, "", format!("{uri} is not signed with the keys that are given"));
            Some(remark.help("`signed-by` is the file with the archive's public keys, beside the recipe"))
        }
        Refusal::NotAllowed { uri } => {
            let number = base.archives.iter().position(|archive| {
                archive.uri.as_ref().is_some_and(|own| uri.starts_with(own.as_str().trim_end_matches('/')))
            });
            let remark = Remark::mistake(
                number.map_or(Role::Mirror, Role::Uri),
                "",
                format!("{uri} wants a name and a password, or other ones"),
            );
            Some(remark.help(
                "write them into the address, \"https://NAME:PASSWORD@…\"; both are for the build alone",
            ))
        }
        Refusal::Unreachable { .. }
        | Refusal::NoPackage(_)
        | Refusal::NoVersion { .. }
        | Refusal::NoCandidate(_)
        | Refusal::Unmet(_) => None,
    }
}

/// What is to be said of an archive that the recipe names and that does not answer, when asked for `uri`.
fn silent(uri: &str, why: &str, base: &Base) -> Option<Remark> {
    let further = base.archives.iter().enumerate();
    let further = further.filter_map(|(number, archive)| Some((Role::Uri(number), archive.uri.as_ref()?)));
    let mut named = base.mirror.iter().map(|mirror| (Role::Mirror, mirror)).chain(further);
    let (role, own) = named.find(|(_, own)| uri.starts_with(own.as_str().trim_end_matches('/')))?;
    let remark = Remark::doubt(role, "", format!("the archive {own} does not answer: {why}"));
    Some(remark.help(format!("is the address right, and does this machine reach it? curl -I {own}")))
}

/// Which further archive it is that has `suite` at `uri`; none for the base's own.
fn further_of(base: &Base, uri: &str, suite: &str) -> Option<usize> {
    base.archives.iter().position(|archive| {
        let has = archive.suites.iter().any(|own| own.trim_end_matches('/') == suite.trim_end_matches('/'));
        has && archive.uri.as_ref().is_none_or(|own| plain(own.as_str()) == plain(uri))
    })
}

/// An address as apt's messages and recipes have in common: `copy:/srv/x` is `file:///srv/x`.
fn plain(uri: &str) -> String {
    let path = ["file:", "copy:"].iter().find_map(|scheme| uri.strip_prefix(scheme));
    match path {
        Some(path) => format!("/{}", path.trim_matches('/')),
        None => uri.trim_end_matches('/').to_owned(),
    }
}

/// Whether a step may tell apt of an archive that is not known beforehand.
fn may_add_archives(step: &Step) -> bool {
    let of_apt =
        |path: &str| path.starts_with("/etc/apt") || "/etc/apt".starts_with(path.trim_end_matches('/'));
    match step {
        Step::Run(_) => true,
        Step::Copy(copy) => of_apt(&copy.to),
        Step::Write(write) => of_apt(&write.path),
        Step::Edit(edit) => of_apt(&edit.path),
        Step::Move(own) => of_apt(&own.from) || of_apt(&own.to),
        Step::Link(link) => of_apt(&link.path),
        Step::Delete(delete) => delete.paths.iter().any(|path| of_apt(path)),
        _ => false,
    }
}

/// The packages of later steps: those that must be known now, and those that a step before may make known.
fn later(recipe: &Recipe) -> (Vec<&String>, Vec<&String>) {
    let (mut known, mut unsure) = (Vec::new(), Vec::new());
    let mut sure = true;
    for step in recipe.steps.iter().skip(bootstrap::steps_done(recipe)) {
        sure = sure && !may_add_archives(step);
        if let Step::Install(packages) = step {
            let list = if sure { &mut known } else { &mut unsure };
            list.extend(packages);
        }
    }
    (known, unsure)
}

/// What is to be said of the packages.
fn packages(loaded: &Loaded, root: &Root) -> crate::Result<Answer> {
    let recipe = &loaded.recipe;
    let first = bootstrap::packages(recipe);
    let (known, unsure) = later(recipe);
    let all: Vec<&String> = first.iter().chain(known.iter().copied()).chain(unsure.iter().copied()).collect();
    let everything = root.simulate(&recipe.base, &loaded.folder, &all)?;
    if everything.success {
        let total = root.total(&everything.stdout, &loaded.folder, &all)?;
        let remarks = room::of_packages(recipe, total.installed_size).into_iter().collect();
        return Ok(Answer { remarks, total: Some(total), index: None });
    }
    let mut remarks = Vec::new();
    let refused = refusals(&everything);
    let names = refused.iter().any(|one| {
        matches!(one, Refusal::NoPackage(_) | Refusal::NoVersion { .. } | Refusal::NoCandidate(_))
    });
    let archive: Vec<String> = if names { root.names()? } else { Vec::new() };
    for refusal in &refused {
        remarks.extend(of_package(refusal, &archive, |name| {
            let is = |package: &&String| package.split([':', '=']).next() == name.split([':', '=']).next();
            unsure.iter().any(is) && !first.iter().chain(known.iter().copied()).any(|package| is(&package))
        }));
    }
    if !names && let Some(Refusal::Unmet(text)) = refused.iter().find(|one| matches!(one, Refusal::Unmet(_)))
    {
        let alone: Vec<&String> = first.iter().collect();
        let is_sure =
            all.len() == alone.len() || !root.simulate(&recipe.base, &loaded.folder, &alone)?.success;
        remarks.push(unmet(text, &first, is_sure));
    }
    Ok(Answer { remarks, ..Answer::default() })
}

/// What is to be said of a package that cannot be had; `is_unsure` knows those that a step may make known.
fn of_package(refusal: &Refusal, archive: &[String], is_unsure: impl Fn(&str) -> bool) -> Option<Remark> {
    let other = match refusal {
        Refusal::NoPackage(name) => Base::foreign_architecture(name),
        _ => None,
    };
    let (word, message) = match refusal {
        Refusal::NoPackage(name) if other.is_some() => (name.clone(), Base::words_on_architecture(name)),
        Refusal::NoPackage(name) => (name.clone(), format!("the archive has no package {name:?}")),
        Refusal::NoCandidate(name) => {
            (name.clone(), format!("{name:?} is no package itself: others provide it, or once did"))
        }
        Refusal::NoVersion { name, version } => (
            format!("{name}={version}"),
            format!("the archive does not have {name:?} in version {version:?}"),
        ),
        _ => return None,
    };
    let remark = match is_unsure(&word) {
        true => {
            Remark::doubt(Role::Package, &word, format!("{message}, unless a step makes one known that has"))
        }
        false => Remark::mistake(Role::Package, &word, message),
    };
    if let Some(other) = other {
        return Some(remark.help(Base::remedy_of_architecture(&word, other)));
    }
    let name = word.split([':', '=']).next().unwrap_or_default();
    let near = nearest(name, archive.iter().map(String::as_str).filter(|other| *other != name));
    Some(match (refusal, near) {
        (Refusal::NoVersion { .. }, _) => {
            remark.help("leave the version out, or see `apt-cache madison PACKAGE`")
        }
        (_, Some(near)) => remark.label(format!("did you mean {near:?}?")),
        (_, None) => remark.help("other components and archives are named in [base]"),
    })
}

/// What is to be said of packages that do not go together, in the solver's words.
fn unmet(text: &str, first: &[String], is_sure: bool) -> Remark {
    let named = text.split_whitespace().next().unwrap_or_default();
    let word = first.iter().find(|package| package.split([':', '=']).next() == Some(named));
    let word = word.map_or(named, String::as_str);
    match is_sure {
        true => Remark::mistake(Role::Package, word, "these packages cannot be installed together"),
        false => Remark::doubt(
            Role::Package,
            word,
            "not all packages can be installed together, one step after another they may",
        ),
    }
    .help(format!("apt says: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::recipe::{FurtherArchive, Run, Write, example};
    use crate::mistake::Severity;

    #[test]
    fn packages_behind_a_step_that_may_add_an_archive_are_only_doubted() {
        let mut recipe = example();
        let install = |name: &str| Step::Install(vec![name.into()]);
        let write = |path: &str| {
            Step::Write(Write {
                path: path.into(),
                content: String::new(),
                owner: Default::default(),
                mode: Some(0o644),
                append: false,
            })
        };
        recipe.steps = vec![
            install("first"),
            write("/etc/motd"),
            install("second"),
            write("/etc/apt/sources.list.d/x.list"),
            install("third"),
            Step::Run(Run { script: "true".into(), ..Run::default() }),
            install("fourth"),
        ];
        let (known, unsure) = later(&recipe);
        assert_eq!(known, ["second"]);
        assert_eq!(unsure, ["third", "fourth"]);
        let archive = ["htop", "vim-tiny"].map(String::from);
        let of = |refusal: &Refusal, unsure: bool| of_package(refusal, &archive, |_| unsure).unwrap();
        let misspelt = of(&Refusal::NoPackage("htpo".into()), false);
        assert_eq!(
            (misspelt.severity, misspelt.label.as_deref()),
            (Severity::Error, Some("did you mean \"htop\"?"))
        );
        assert_eq!(of(&Refusal::NoPackage("htpo:i386".into()), true).severity, Severity::Warning);
        assert_eq!(of(&Refusal::NoPackage("zzzzzz".into()), false).label, None);
        let foreign = of(&Refusal::NoPackage("htop:i386".into()), true);
        assert!(
            foreign
                .message
                .starts_with("\"htop:i386\" is of another architecture than the image, which is amd64")
        );
        assert!(foreign.help.unwrap().contains("dpkg --add-architecture i386 && "));
        let version = of(&Refusal::NoVersion { name: "htop".into(), version: "9".into() }, false);
        assert_eq!((version.word.as_str(), version.label), ("htop=9", None));
    }

    #[test]
    fn a_refusal_belongs_to_the_archive_that_it_is_about() {
        let mut base = example().base;
        let further = |uri: Option<&str>, suite: &str| FurtherArchive {
            uri: uri.map(crate::golden::recipe::Uri::new),
            suites: vec![suite.into()],
            components: vec!["main".into()],
            signed_by: None,
            priority: None,
            pin: Vec::new(),
            keep: true,
        };
        base.archives =
            vec![further(Some("http://a.example/x/"), "bookworm"), further(None, "bookworm-backports")];
        assert_eq!(further_of(&base, "http://a.example/x", "bookworm"), Some(0));
        assert_eq!(further_of(&base, "http://b.example", "bookworm"), None);
        assert_eq!(further_of(&base, "http://b.example", "bookworm-backports"), Some(1));
        base.archives = vec![further(Some("file:///srv/x"), "stable")];
        assert_eq!(further_of(&base, "copy:/srv/x", "stable"), Some(0));
        assert_eq!(further_of(&base, "copy:/srv/y", "stable"), None);
    }

    #[test]
    fn an_archive_that_does_not_answer_is_shown_where_it_is_named() {
        let mut base = example().base;
        let asked = "http://x/dists/bookworm/InRelease";
        assert_eq!(silent(asked, "Could not resolve 'x'", &base), None, "this machine's own");
        base.mirror = Some(crate::golden::recipe::Uri::new("http://x/"));
        let remark = silent(asked, "Could not resolve 'x'", &base).unwrap();
        assert_eq!((remark.severity, remark.role), (Severity::Warning, Role::Mirror));
        assert_eq!(remark.message, "the archive http://x/ does not answer: Could not resolve 'x'");
        assert!(remark.help.unwrap().ends_with("curl -I http://x/"));
        assert_eq!(silent("http://y/InRelease", "", &base), None);
    }

    #[test]
    fn what_does_not_go_together_is_said_in_the_solvers_words() {
        let first = ["htop".to_owned(), "a=1".to_owned()];
        let remark = unmet("a : Conflicts: b", &first, true);
        assert_eq!((remark.severity, remark.word.as_str()), (Severity::Error, "a=1"));
        assert_eq!(remark.help.as_deref(), Some("apt says: a : Conflicts: b"));
        assert_eq!(unmet("x : Depends: y", &first, false).severity, Severity::Warning);
    }
}
