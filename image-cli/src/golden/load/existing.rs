//! A base that is there already, and what does not go with it.

use std::ops::Range;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::beside::beside;
use super::fields::{Fields, Value, Walk, text};
use super::problem::Problem;
use super::public_keys::keys_file;
use super::{keys, rules};
use crate::golden::recipe::{Base, Existing, Location, Proof, Sums};

/// Keys of `[base]` about packages, each with what there is in its place.
const OF_PACKAGES: [(&str, &str); 8] = [
    ("distribution", "the image says itself what it is"),
    ("release", "the image says itself what it is"),
    ("suites", "the image's own package manager has its archives: a step can change its files"),
    ("components", "the image's own package manager has its archives: a step can change its files"),
    ("mirror", "the image's own package manager has its archives: a step can change its files"),
    ("packages", "`install = [\"…\"]` in [[steps]] installs them"),
    ("archives", "the image's own package manager has its archives: a step can change its files"),
    ("debconf", "`run` in [[steps]] can call the image's debconf-set-selections"),
];

/// Sections about what a base from packages is made into, likewise.
const SECTIONS: [(&str, &str); 2] = [
    ("cloud-init", "`datasources`, `cloud-init-config` and `user` in [[steps]] configure the image's own"),
    (
        "boot",
        "the image has its boot loader; `kernel-argument` in [[steps]] changes the kernel's command line",
    ),
];

/// Keys about digests that are signed.
const SUMS: [&str; 3] = ["sums", "signature", "signed-by"];

/// Keys of `[base]` about where packages come from, which a system with files of its own knows itself.
const OF_ARCHIVES: [&str; 4] = ["suites", "components", "mirror", "archives"];

/// Whether the base of the recipe `document` has this key.
pub(super) fn has(document: &DeTable<'_>, key: &str) -> bool {
    let base = document.get("base").map(|base| base.get_ref());
    matches!(base, Some(DeValue::Table(base)) if base.get(key).is_some())
}

/// `[base]` with an image.
pub(super) fn image(mut fields: Fields<'_, '_>) -> Option<Base> {
    let image = fields.optional("image", location);
    let proof = proof(&mut fields, "image", image.as_ref());
    for (key, instead) in OF_PACKAGES {
        let place = fields.place_of(key);
        fields.optional(key, |walk, _| {
            place.into_iter().for_each(|place| walk.add(of_packages(place, &format!("`{key}`"), instead)));
            Some(())
        });
    }
    for key in ["tar", "oci"] {
        let place = fields.place_of(key);
        fields.optional(key, |walk, _| {
            let problem =
                place.map(|place| Problem::error(place, format!("a base with both `image` and `{key}`")));
            problem.into_iter().for_each(|problem| walk.add(problem.help("leave one out")));
            Some(())
        });
    }
    fields.finish(|key| keys::home(key, "[base]"));
    Some(Base::of_image(Existing::image(image?, proof?)))
}

/// What the files of a base are, where its keys say that: `tar` or `oci`.
pub(super) fn files(fields: &mut Fields<'_, '_>) -> Option<Existing> {
    let key = if fields.has("tar") { "tar" } else { "oci" };
    for key in OF_ARCHIVES {
        if let Some(place) = fields.place_of(key) {
            let problem = Problem::error(place, format!("`{key}` is about bases from packages"));
            fields.walk().add(problem.help("leave it out: the apt in these files has its archives"));
        }
    }
    let oci = fields.optional("oci", container);
    if key == "oci" {
        return Some(Existing::oci(oci?));
    }
    if let Some(place) = fields.place_of("oci") {
        fields.walk().add(Problem::error(place, "a base with both `tar` and `oci`").help("leave one out"));
    }
    let tar = fields.optional("tar", location);
    let proof = proof(fields, "tar", tar.as_ref());
    Some(Existing::tar(tar?, proof?))
}

/// A container's image beside the recipe: a folder or a file.
fn container(walk: &Walk<'_>, value: &Value<'_>) -> Option<PathBuf> {
    let (relative, resolved) = beside(walk, value)?;
    if resolved.is_dir() && !resolved.join("index.json").is_file() {
        let problem =
            Problem::error(value.span(), "this folder is no image of a container: it has no index.json");
        return walk.refuse(problem.help("`skopeo copy docker://NAME oci:FOLDER` makes one"));
    }
    Some(relative_name(relative))
}

/// Notes the sections that say nothing of an image.
pub(super) fn refuse_of_packages(fields: &Fields<'_, '_>) {
    for (section, instead) in SECTIONS {
        if let Some(place) = fields.place_of(section) {
            fields.walk().add(of_packages(place, &format!("[{section}]"), instead));
        }
    }
}

/// That `what` is about a base from packages.
pub(super) fn of_packages(place: Range<usize>, what: &str, instead: &str) -> Problem {
    let problem =
        Problem::error(place, format!("{what} is about bases from packages, and this one is an image"));
    problem.help(format!("leave it out: {instead}"))
}

/// By what the file at `location`, called `key`, is known.
fn proof(fields: &mut Fields<'_, '_>, key: &str, location: Option<&Location>) -> Option<Proof> {
    let given = ["sha256", "sha512"].map(|key| fields.place_of(key));
    let about_sums = SUMS.map(|key| fields.place_of(key));
    let sums = sums(fields);
    let sha256 = fields.optional("sha256", |walk, value| digest(walk, value, 64));
    let sha512 = fields.optional("sha512", |walk, value| digest(walk, value, 128));
    let is_wrong =
        given.iter().zip([&sha256, &sha512]).any(|(given, read)| given.is_some() && read.is_none());
    match location {
        Some(Location::Uri(_)) if given.iter().chain(&about_sums).all(Option::is_none) => {
            let problem = Problem::error(
                fields.span(),
                format!("nothing says what the file at this {key}'s address is"),
            );
            return fields
                .walk()
                .refuse(problem.help("add `sha256 = \"…\"` or `sha512 = \"…\"`, as its publisher tells it, or `sums` and `signed-by`"));
        }
        Some(Location::Glance(_)) => {
            for place in given.into_iter().flatten() {
                let problem = Problem::error(place, "the cloud itself says what its image's digest is");
                fields.walk().add(problem.help("leave it out"));
            }
        }
        _ => {}
    }
    if !matches!(location, None | Some(Location::Uri(_))) {
        for place in about_sums.iter().flatten() {
            let problem =
                Problem::error(place.clone(), "signed sums are for a file that is fetched from an address");
            fields.walk().add(problem.help("leave it out"));
        }
    }
    let is_wrong = is_wrong || (sums.is_none() && about_sums.iter().any(Option::is_some));
    (!is_wrong).then_some(Proof { sha256, sha512, sums })
}

/// Digests that are signed.
fn sums(fields: &mut Fields<'_, '_>) -> Option<Sums> {
    let [place, signature_place, keys_place] = SUMS.map(|key| fields.place_of(key));
    let address = |walk: &Walk<'_>, value: &Value<'_>| {
        let address = rules::web_address(walk, value)?;
        match address.is_private() {
            true => walk.refuse(
                Problem::error(value.span(), "sums are fetched without a name and a password")
                    .help("write `sha256 = \"…\"` instead"),
            ),
            false => Some(address),
        }
    };
    let sums = fields.optional("sums", address);
    let signature = fields.optional("signature", address);
    let signed_by = fields.optional("signed-by", keys_file);
    if let (Some(place), None) = (&place, &keys_place) {
        let problem = Problem::error(place.clone(), "nothing says whose signature these sums have");
        fields
            .walk()
            .add(problem.help("add `signed-by = \"keys/theirs.asc\"`, the file of their public keys"));
    }
    for lone in [&signature_place, &keys_place].into_iter().flatten().filter(|_| place.is_none()) {
        let problem = Problem::error(lone.clone(), "nothing says what is signed");
        fields.walk().add(problem.help("add `sums = \"https://…/SHA256SUMS\"`"));
    }
    (signature.is_some() == signature_place.is_some()).then_some(())?;
    Some(Sums { sums: sums?, signature, signed_by: signed_by? })
}

/// A digest of `len` hexadecimal digits.
fn digest(walk: &Walk<'_>, value: &Value<'_>, len: usize) -> Option<String> {
    let digits = text(walk, value)?;
    if digits.len() == len && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(digits.to_ascii_lowercase());
    }
    let problem = Problem::error(
        value.span(),
        format!(
            "a digest of {} characters, not all of them hexadecimal, or not {len}",
            digits.chars().count()
        ),
    );
    let tool = if len == 64 { "sha256sum" } else { "sha512sum" };
    walk.refuse(problem.help(format!("it has {len} hexadecimal digits, as `{tool} FILE` writes them")))
}

/// A file beside the recipe, its address, or an image in a cloud.
fn location(walk: &Walk<'_>, value: &Value<'_>) -> Option<Location> {
    let word = text(walk, value)?;
    match Location::from(word) {
        Location::Glance(name) if name.trim().is_empty() || name.chars().any(char::is_control) => {
            let problem = Problem::error(value.span(), "this names no image of a cloud");
            walk.refuse(problem.help("write \"glance:NAME\""))
        }
        Location::Uri(_) => rules::web_address(walk, value).map(Location::Uri),
        Location::Beside(_) => {
            let (relative, resolved) = beside(walk, value)?;
            if !resolved.is_file() {
                let problem = Problem::error(value.span(), format!("{word:?} is no file"));
                return walk.refuse(problem.help("name the image's file"));
            }
            Some(Location::Beside(relative_name(relative)))
        }
        found => Some(found),
    }
}

/// The path without what says nothing.
fn relative_name(path: PathBuf) -> PathBuf {
    path.components().filter(|part| *part != std::path::Component::CurDir).collect()
}
