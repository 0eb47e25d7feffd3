//! The steps of a recipe, and the files beside it that they name.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use toml::de::DeValue;

use super::base::installable;
use super::beside::beside;
use super::fields::{Fields, Value, Walk, choice, flag, listed, text, texts};
use super::problem::Problem;
use super::{keys, rules};
use crate::golden::recipe::{Access, Copy, Preserve, Run, Step, Write};
use crate::golden::secrets::is_name;
use crate::nearest::nearest;

/// What a step does, by its key.
const KINDS: &[&str] = &["install", "remove", "copy", "write", "run"];

/// What a copy can keep.
const PRESERVE: &[(&str, Preserve)] =
    &[("mode", Preserve::Mode), ("timestamps", Preserve::Timestamps), ("xattr", Preserve::Xattr)];

/// The largest script or fragment in a file of its own.
const LARGEST_FILE: u64 = 1 << 20;

/// All steps: `[[steps]]`.
pub(super) fn steps(walk: &Walk<'_>, value: &Value<'_>) -> Option<Vec<Step>> {
    let DeValue::Array(values) = value.get_ref() else {
        let problem = Problem::error(value.span(), "the steps are not a list");
        return walk.refuse(problem.help("write `[[steps]]`, with two brackets, above each step"));
    };
    let steps: Vec<Option<Step>> = values.iter().map(|value| step(walk, value)).collect();
    steps.into_iter().collect()
}

fn step(walk: &Walk<'_>, value: &Value<'_>) -> Option<Step> {
    let mut fields = Fields::of(walk, value, "a step")?;
    let mut present: Vec<_> = KINDS.iter().filter_map(|kind| Some((fields.place_of(kind)?, *kind))).collect();
    present.sort_by_key(|(place, _)| place.start);
    let done: [Option<Step>; 5] = [
        fields.optional("install", |walk, value| packages(walk, value, installable).map(Step::Install)),
        fields.optional("remove", |walk, value| packages(walk, value, rules::package).map(Step::Remove)),
        fields.optional("copy", |walk, value| copy(walk, value).map(Step::Copy)),
        fields.optional("write", |walk, value| write(walk, value).map(Step::Write)),
        fields.optional("run", |walk, value| run(walk, value).map(Step::Run)),
    ];
    if let [(_, first), (second, other), ..] = present.as_slice() {
        let problem = Problem::error(second.clone(), format!("a step with both `{first}` and `{other}`"));
        walk.add(problem.help(format!("a step does one thing: write `[[steps]]` above `{other}` again")));
    } else if present.is_empty() && fields.is_empty() {
        let kinds: Vec<String> = KINDS.iter().map(|kind| format!("`{kind}`")).collect();
        walk.add(
            Problem::error(fields.span(), "a step that does nothing")
                .help(format!("write {}", listed(&kinds, "or"))),
        );
    }
    fields.finish(|key| match key {
        "environment" => Some("write `run = { script = \"…\", environment = {…} }`".into()),
        "timeout" => Some("write `run = { script = \"…\", timeout = \"10m\" }`".into()),
        "script" => Some("write `run = \"…\"`".into()),
        "secrets" => Some("write `run = { script = \"…\", secrets = [\"NAME\"] }`".into()),
        "network" => Some("write `run = { script = \"…\", network = false }`, or set it in [build]".into()),
        _ => keys::home(key, "[[steps]]"),
    });
    match (present.len(), done.into_iter().flatten().next()) {
        (1, step) => step,
        _ => None,
    }
}

fn packages(
    walk: &Walk<'_>,
    value: &Value<'_>,
    read: impl FnMut(&Walk<'_>, &Value<'_>) -> Option<String>,
) -> Option<Vec<String>> {
    // A shell's habit: one string with all packages.
    if let DeValue::String(words) = value.get_ref()
        && words.split_whitespace().count() > 1
    {
        let list: Vec<String> = words.split_whitespace().map(|word| format!("{word:?}")).collect();
        let problem = Problem::error(value.span(), "several packages in one string");
        return walk.refuse(problem.help(format!("write [{}]", list.join(", "))));
    }
    let packages = texts(walk, value, read)?;
    match packages.is_empty() {
        true => walk.refuse(Problem::error(value.span(), "no package").help("leave the step out")),
        false => Some(packages),
    }
}

fn copy(walk: &Walk<'_>, value: &Value<'_>) -> Option<Copy> {
    let mut fields = Fields::of(walk, value, "`copy`")?;
    let from =
        fields.required("from", "`from = \"…\"`: a file or folder beside the recipe", |walk, value| {
            beside(walk, value).map(|(relative, _)| relative)
        });
    let to = fields.required("to", "`to = \"/…\"`: its path in the image", rules::path_or_root);
    let owner = fields.optional("owner", rules::owner);
    let mode = fields.optional("mode", rules::mode);
    let folder_mode = fields.optional("folder-mode", rules::mode);
    let preserve = fields
        .optional("preserve", |walk, value| texts(walk, value, |walk, value| choice(walk, value, PRESERVE)));
    let replace = fields.optional("replace", flag);
    let place = fields.place_of("preserve");
    fields.finish(|_| None);
    let preserve = preserve.unwrap_or_default();
    if let Some(place) = place
        && preserve.contains(&Preserve::Mode)
        && mode.or(folder_mode).is_some()
    {
        let problem = Problem::error(place, "a mode, and the source's mode as well");
        walk.add(problem.help("leave `mode` and `folder-mode` out, or \"mode\" in `preserve`"));
    }
    let (from, to) = (from?, to?);
    if to == "/" && !walk.folder.join(&from).is_dir() {
        let problem = Problem::error(value.span(), "a file cannot become the root of the image");
        return walk.refuse(problem.help("write `to` with the file's own name at its end"));
    }
    Some(Copy { from, to, owner, mode, folder_mode, preserve, replace: replace.unwrap_or_default() })
}

fn write(walk: &Walk<'_>, value: &Value<'_>) -> Option<Write> {
    let mut fields = Fields::of(walk, value, "`write`")?;
    let path = fields.required("path", "`path = \"/…\"`: its path in the image", rules::path_in_image);
    let content = fields.required("content", "`content = \"\"\"…\"\"\"`", |walk, value| {
        text(walk, value).map(str::to_owned)
    });
    let owner = fields.optional("owner", rules::owner);
    let mode = fields.optional("mode", rules::mode);
    let append = fields.optional("append", flag);
    fields.finish(|key| (key == "from").then(|| "this belongs into `copy`".into()));
    Some(Write { path: path?, content: content?, owner, mode, append: append.unwrap_or_default() })
}

fn run(walk: &Walk<'_>, value: &Value<'_>) -> Option<Run> {
    let of = |key| match value.get_ref() {
        DeValue::Table(table) => table.get(key),
        _ => None,
    };
    let environment = of("environment").map(|value| environment(walk, value));
    let network = of("network").map(|value| access(walk, value));
    let timeout = of("timeout").map(|value| rules::duration(walk, value));
    let secrets = of("secrets").map(|value| texts(walk, value, secret));
    let further = ["environment", "network", "secrets", "timeout"];
    let script = file_or_text_with(walk, value, "script", "`run`", &further)?;
    if script.trim().is_empty() || script.contains('\0') {
        return walk
            .refuse(Problem::error(value.span(), "not a script").help("write the commands to run, as text"));
    }
    let environment = environment.unwrap_or_else(|| Some(BTreeMap::new()))?;
    Some(Run {
        script,
        environment,
        network: network.map_or(Some(None), |network| network.map(Some))?,
        timeout: timeout.map_or(Some(None), |limit| limit.map(Some))?,
        secrets: secrets.unwrap_or_else(|| Some(Vec::new()))?,
    })
}

/// The name of a secret.
fn secret(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let name = text(walk, value)?;
    if is_name(name) {
        return Some(name.to_owned());
    }
    let problem = Problem::error(value.span(), format!("{name:?} cannot name a secret"));
    walk.refuse(
        problem.help("write its name, which `--secret NAME=FILE` gives: letters, digits, `_`, `-` and `.`"),
    )
}

/// What a step may reach: a word, or `false`.
pub(super) fn access(walk: &Walk<'_>, value: &Value<'_>) -> Option<Access> {
    let help = "write \"full\", \"packages\" or false";
    match value.get_ref() {
        DeValue::Boolean(false) => Some(Access::None),
        DeValue::Boolean(true) => {
            let problem = Problem::error(value.span(), "`true` does not say what may be reached");
            walk.refuse(problem.help("write \"full\", or \"packages\" for the archives of packages only"))
        }
        DeValue::String(word) if matches!(word.as_ref(), "false" | "none" | "off" | "no") => {
            let problem = Problem::error(value.span(), format!("{word:?} is not known here"));
            walk.refuse(problem.label("did you mean false, without quotes?").help(help))
        }
        DeValue::String(word) if word == "full" => Some(Access::Full),
        DeValue::String(word) if word == "packages" => Some(Access::Packages),
        DeValue::String(word) => {
            let problem = Problem::error(value.span(), format!("{word:?} is not known here")).help(help);
            walk.refuse(match nearest(word, ["full", "packages"]) {
                Some(near) => problem.label(format!("did you mean {near:?}?")),
                None => problem,
            })
        }
        _ => walk.refuse(Problem::error(value.span(), "not what a step may reach").help(help)),
    }
}

fn environment(walk: &Walk<'_>, value: &Value<'_>) -> Option<BTreeMap<String, String>> {
    let DeValue::Table(table) = value.get_ref() else {
        let problem = Problem::error(value.span(), "the environment is not a table");
        return walk.refuse(problem.help("write `environment = { NAME = \"value\" }`"));
    };
    let variable = |(name, value): (&toml::Spanned<_>, &_)| -> Option<(String, String)> {
        let name: &std::borrow::Cow<'_, str> = name.get_ref();
        let content = text(walk, value)?;
        if !rules::is_variable(name) || content.contains('\0') {
            let problem =
                Problem::error(value.span(), format!("{name:?} cannot be a variable of the environment"));
            return walk
                .refuse(problem.help("names have letters, digits and `_`, and do not begin with a digit"));
        }
        Some((name.to_string(), content.to_owned()))
    };
    let variables: Vec<_> = table.iter().map(variable).collect();
    variables.into_iter().collect()
}

/// Text that is given as a string, as `{ KEY = "…" }`, or as `{ file = "…" }` beside the recipe.
pub(super) fn file_or_text(
    walk: &Walk<'_>,
    value: &Value<'_>,
    key: &'static str,
    place: &str,
) -> Option<String> {
    file_or_text_with(walk, value, key, place, &[])
}

fn file_or_text_with(
    walk: &Walk<'_>,
    value: &Value<'_>,
    key: &'static str,
    place: &str,
    also: &[&'static str],
) -> Option<String> {
    if !matches!(value.get_ref(), DeValue::Table(_)) {
        return text(walk, value).map(str::to_owned);
    }
    let mut fields = Fields::of(walk, value, place)?;
    let present = (fields.has(key), fields.has("file"));
    let given = fields.optional(key, |walk, value| text(walk, value).map(str::to_owned));
    let read = fields.optional("file", file_content);
    for key in also {
        // Read by the caller.
        fields.optional(key, |_, _| Some(()));
    }
    let span = fields.span();
    fields.finish(|_| None);
    match present {
        (true, true) => walk.refuse(
            Problem::error(span, format!("{place} has both `{key}` and `file`")).help("leave one out"),
        ),
        (false, false) => walk.refuse(
            Problem::error(span, format!("{place} has neither `{key}` nor `file`"))
                .help(format!("add `{key} = \"…\"`")),
        ),
        _ => given.or(read),
    }
}

/// The content of a text file beside the recipe.
fn file_content(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let (_, path) = beside(walk, value)?;
    let mut content = String::new();
    let read =
        fs::File::open(&path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_string(&mut content));
    match read {
        Ok(length) if length as u64 > LARGEST_FILE => walk.refuse(
            Problem::error(value.span(), "the file is larger than 1 MiB").help("copy it with `copy`"),
        ),
        Ok(_) => Some(content),
        Err(error) => {
            walk.refuse(Problem::error(value.span(), format!("the file cannot be read as text: {error}")))
        }
    }
}
