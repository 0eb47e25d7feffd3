//! From what an image is made: `[base]`, its packages, further archives and debconf's answers.

use std::fs;
use std::io::Read;
use std::path::Path;

use toml::de::DeValue;

use super::beside::beside;
use super::existing;
use super::fields::{Fields, Value, Walk, choice, flag, listed, number as whole_number, text, texts};
use super::problem::Problem;
use super::public_keys::keys_file;
use super::remark::Role;
use super::{keys, rules};
use crate::golden::recipe::{Base, Distribution, FurtherArchive};
use crate::nearest::nearest;

/// The types of debconf's questions that can be answered beforehand, and `seen` (debconf-set-selections(1)).
const QUESTIONS: &[&str] =
    &["string", "boolean", "select", "multiselect", "note", "text", "password", "error", "seen"];

/// `[base]`.
pub(super) fn base(walk: &Walk<'_>, value: &Value<'_>) -> Option<Base> {
    let mut fields = Fields::of(walk, value, "[base]")?;
    if fields.has("image") {
        return existing::image(fields);
    }
    let has_files = fields.has("tar") || fields.has("oci");
    let files = if has_files { existing::files(&mut fields) } else { None };
    let known = Distribution::ALL.map(|distribution| (distribution.name(), distribution));
    let distribution =
        fields.required("distribution", "`distribution = \"debian\"` or \"ubuntu\"", |walk, value| {
            choice(walk, value, &known)
        });
    let release =
        fields.required("release", "`release = \"bookworm\"`, or another code name", |walk, value| {
            let release = rules::release(walk, value)?;
            let doubt = distribution.and_then(|distribution| doubt_release(distribution, &release, value));
            if let Some(doubt) = doubt {
                walk.add(doubt);
            }
            walk.note(Role::Release, &release, value);
            Some(release)
        });
    let own_suites = fields.optional("suites", |walk, value| own_suites(walk, value, release.as_deref()));
    let components = fields.optional("components", |walk, value| components(walk, value, None));
    let mirror = fields.optional("mirror", |walk, value| {
        walk.note(Role::Mirror, "", value);
        rules::mirror(walk, value)
    });
    let packages = fields.optional("packages", |walk, value| {
        texts(walk, value, |walk, value| rules::of_own_architecture(walk, value, installable(walk, value)?))
    });
    let archives = fields.optional("archives", archives);
    let debconf = fields.optional("debconf", |walk, value| texts(walk, value, selection));
    fields.finish(|key| match key {
        "sha256" | "sha512" => Some("this belongs to `image`".into()),
        _ => keys::home(key, "[base]"),
    });
    let distribution = distribution?;
    let usual = distribution.facts().components;
    if has_files && files.is_none() {
        return None;
    }
    Some(Base {
        existing: files,
        distribution: Some(distribution),
        release: release?,
        suites: own_suites.unwrap_or_default(),
        components: components.unwrap_or_else(|| usual.iter().map(|&name| name.to_owned()).collect()),
        mirror,
        packages: packages.unwrap_or_default(),
        archives: archives.unwrap_or_default(),
        debconf: debconf.unwrap_or_default(),
    })
}

/// A release that its distribution is not known to have. It may be newer than this program, so it is only doubted.
fn doubt_release(distribution: Distribution, release: &str, value: &Value<'_>) -> Option<Problem> {
    let own = distribution.facts();
    if own.release(release).is_some() {
        return None;
    }
    let other =
        Distribution::ALL.map(Distribution::facts).into_iter().find(|other| other.release(release).is_some());
    let problem = Problem::warning(value.span(), format!("{release:?} is no release that is known here"));
    Some(match (other, nearest(release, own.releases.iter().map(|known| known.code_name))) {
        (Some(other), _) => problem.label(format!("a release of {}", other.title)),
        (None, Some(near)) => problem.label(format!("did you mean {near:?}?")),
        (None, None) => problem,
    })
}

/// The components of the base's archive, or of the further one with this number.
fn components(walk: &Walk<'_>, value: &Value<'_>, archive: Option<usize>) -> Option<Vec<String>> {
    let components = texts(walk, value, |walk, value| {
        let component = rules::component(walk, value)?;
        walk.note(Role::Component(archive), &component, value);
        Some(component)
    })?;
    match components.is_empty() {
        true => walk
            .refuse(Problem::error(value.span(), "no component").help("leave the key out for the default")),
        false => Some(components),
    }
}

/// A package's name, or the file of one beside the recipe, which then begins with `./`.
pub(super) fn installable(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let DeValue::String(word) = value.get_ref() else { return rules::package(walk, value) };
    if walk.has_own_packages && Base::local_file(word).is_some() {
        let problem = Problem::error(
            value.span(),
            format!("{word} is a file, and packages are installed by their names here"),
        );
        return walk.refuse(problem.help(
            "copy it into the image, and install it there: `copy`, then `run` with the image's own tools",
        ));
    }
    if !word.contains('/') {
        if word.ends_with(".deb") {
            let problem = Problem::error(value.span(), format!("{word:?} is the name of a file"));
            return walk.refuse(problem.help(format!("a file beside the recipe has a slash: \"./{word}\"")));
        }
        return rules::package(walk, value);
    }
    if !word.ends_with(".deb") {
        let problem =
            Problem::error(value.span(), format!("{word:?} is neither a package nor a file of one"));
        return walk
            .refuse(problem.help("packages are names, or files such as \"./packages/name_1.0_amd64.deb\""));
    }
    let (relative, resolved) = beside(walk, value)?;
    if let Err(problem) = is_package_file(&resolved) {
        let problem = Problem::error(value.span(), format!("{word:?} {problem}"));
        return walk
            .refuse(problem.help("`dpkg-deb --info FILE` shows what a package's file says of itself"));
    }
    let file = format!("./{}", relative.strip_prefix(".").unwrap_or(&relative).display());
    walk.note(Role::Package, &file, value);
    Some(file)
}

/// Whether the file at `path` begins as deb(5) has it.
fn is_package_file(path: &Path) -> Result<(), String> {
    let begins: &[u8] = b"!<arch>\ndebian-binary";
    let mut start = Vec::new();
    let opened = fs::File::open(path).and_then(|file| file.take(begins.len() as u64).read_to_end(&mut start));
    match opened {
        Ok(_) if start == begins => Ok(()),
        Ok(_) => Err("is not a Debian package".into()),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

/// `[[base.archives]]`.
fn archives(walk: &Walk<'_>, value: &Value<'_>) -> Option<Vec<FurtherArchive>> {
    let DeValue::Array(values) = value.get_ref() else {
        let problem = Problem::error(value.span(), "the archives are not a list");
        return walk.refuse(problem.help("write `[[base.archives]]`, with two brackets, above each archive"));
    };
    let archives: Vec<_> =
        values.iter().enumerate().map(|(number, value)| archive(walk, value, number)).collect();
    archives.into_iter().collect()
}

fn archive(walk: &Walk<'_>, value: &Value<'_>, number: usize) -> Option<FurtherArchive> {
    let mut fields = Fields::of(walk, value, "an archive")?;
    let uri = fields.optional("uri", |walk, value| {
        walk.note(Role::Uri(number), "", value);
        rules::mirror(walk, value)
    });
    let is_wrong = uri.is_none() && fields.has("uri");
    let suites =
        fields.required("suites", "`suites = [\"…\"]`, such as \"bookworm-backports\"", |walk, value| {
            suites(walk, value, Some(number))
        });
    let given = fields.optional("components", |walk, value| components(walk, value, Some(number)));
    let signed_by = fields.optional("signed-by", keys_file);
    let priority = fields.optional("priority", |walk, value| whole_number(walk, value, 1..=1001, ""));
    let pin = fields.optional("pin", pins);
    if let Some(place) = fields.place_of("pin").filter(|_| !fields.has("priority")) {
        let problem = Problem::error(place, "these packages are pinned to no priority");
        walk.add(
            problem.help(
                "write `priority = 600` for more than usual (500), 990 or 1001: see apt_preferences(5)",
            ),
        );
    }
    let keep = fields.optional("keep", flag);
    if uri.is_some() && !fields.has("signed-by") {
        let doubt = Problem::warning(fields.span(), "this archive must be signed by the distribution itself");
        walk.add(
            doubt.help("anybody else's: `signed-by = \"keys/theirs.asc\"`, the file of their public keys"),
        );
    }
    let kept_place = fields.place_of("keep");
    let components_place = fields.place_of("components");
    fields.finish(|key| match key {
        "mirror" | "url" | "uris" => Some("write `uri = \"https://…\"`".into()),
        "key" | "keyring" | "gpg-key" => Some("write `signed-by = \"…\"`: a file beside the recipe".into()),
        "suite" => Some("write `suites = \"…\"`".into()),
        _ => keys::home(key, "[[base.archives]]"),
    });
    let suites = suites?;
    let flat = suites.iter().any(|suite| suite.ends_with('/'));
    if let Some(place) = components_place.filter(|_| flat) {
        let problem = Problem::error(place, "an archive with a path in place of a suite has no components");
        walk.add(problem.help("leave out `components`"));
    }
    let for_everybody = uri.as_ref().is_none_or(|uri| !uri.is_local() && !uri.is_private());
    if let Some(place) = kept_place.filter(|_| keep == Some(true) && !for_everybody) {
        let doubt = Problem::warning(place, "instances will not reach this archive as the build does");
        walk.add(doubt.help("its files are on this machine, or its password stays here: leave out `keep`"));
    }
    let usual = if flat { Vec::new() } else { vec!["main".to_owned()] };
    let archive = FurtherArchive {
        uri,
        suites,
        components: given.unwrap_or(usual),
        signed_by,
        priority,
        pin: pin.unwrap_or_default(),
        keep: keep.unwrap_or(for_everybody),
    };
    (!is_wrong).then_some(archive)
}

fn pins(walk: &Walk<'_>, value: &Value<'_>) -> Option<Vec<String>> {
    let pins = texts(walk, value, rules::pin)?;
    match pins.is_empty() {
        true => {
            walk.refuse(Problem::error(value.span(), "no package").help("leave the key out for all of them"))
        }
        false => Some(pins),
    }
}

/// The suites of the base's archive, in which `release` has to be one.
fn own_suites(walk: &Walk<'_>, value: &Value<'_>, release: Option<&str>) -> Option<Vec<String>> {
    let suites = suites(walk, value, None)?;
    if suites.iter().any(|suite| suite.ends_with('/')) {
        let problem =
            Problem::error(value.span(), "an archive with a path in place of a suite has no release");
        return walk.refuse(problem.help("it can be a further one: `[[base.archives]]`"));
    }
    match release.filter(|release| !suites.iter().any(|suite| suite == release)) {
        Some(release) => {
            let problem =
                Problem::error(value.span(), format!("the release itself, {release:?}, is not among them"));
            walk.refuse(
                problem.help(format!("write `suites = [{release:?}, \"{release}-updates\"]`, or the like")),
            )
        }
        None => Some(suites),
    }
}

fn suites(walk: &Walk<'_>, value: &Value<'_>, archive: Option<usize>) -> Option<Vec<String>> {
    let suites = texts(walk, value, |walk, value| {
        let suite = rules::suite(walk, value)?;
        walk.note(Role::Suite(archive), &suite, value);
        Some(suite)
    })?;
    match suites.is_empty() {
        true => walk.refuse(Problem::error(value.span(), "no suite").help("such as \"bookworm-backports\"")),
        false => Some(suites),
    }
}

/// An answer for debconf: `owner question type value`.
fn selection(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    const HELP: &str = "write \"package package/question type value\", as debconf-set-selections(1) reads it; \
                        `debconf-show PACKAGE` lists the questions";
    let line = text(walk, value)?;
    let refuse = |problem: &str| Problem::error(value.span(), problem).help(HELP);
    if line.trim().lines().count() > 1 {
        let problem = Problem::error(value.span(), "several answers in one string");
        return walk.refuse(problem.help("write a list with a string for each line"));
    }
    let line = line.trim();
    let words: Vec<&str> = line.split_whitespace().take(4).collect();
    let [owner, question, kind, ..] = words.as_slice() else {
        return walk.refuse(refuse("this does not answer a question of debconf's"));
    };
    if !rules::is_package_name(owner)
        || !question.bytes().all(|byte| byte.is_ascii_graphic())
        || line.chars().any(|c| c.is_control() && c != '\t')
    {
        return walk.refuse(refuse("this does not answer a question of debconf's"));
    }
    if !QUESTIONS.contains(kind) {
        let mut problem = refuse(&format!("debconf has no type {kind:?}"));
        if let Some(near) = nearest(kind, QUESTIONS.iter().copied()) {
            problem = problem.label(format!("did you mean {near:?}?"));
        }
        let kinds: Vec<String> = QUESTIONS.iter().map(|kind| format!("{kind:?}")).collect();
        return walk.refuse(problem.help(format!("the third word is {}", listed(&kinds, "or"))));
    }
    let answer = words.get(3).copied().unwrap_or_default();
    if matches!(*kind, "boolean" | "seen") && !matches!(answer, "true" | "false") {
        return walk
            .refuse(refuse(&format!("{answer:?} does not answer yes or no")).help("write true or false"));
    }
    if *kind == "password" {
        let doubt =
            Problem::warning(value.span(), "this password is in the recipe, and may stay in the image");
        walk.add(doubt.help("let cloud-init set it at the first boot"));
    }
    Some(line.to_owned())
}
