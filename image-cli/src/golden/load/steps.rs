//! The steps of a recipe, and the files beside it that they name.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::base::installable;
use super::beside::{beside, file_or_text_with};
use super::fields::{Fields, Value, Walk, choice, flag, listed, text, texts};
use super::problem::Problem;
use super::{cloud, file_steps, keys, machine_steps, rules};
use crate::golden::recipe::{Access, Copy, Preserve, Run, Step, Write};
use crate::nearest::nearest;

/// Reads the value of a step's key.
type Reader = fn(&Walk<'_>, &Value<'_>) -> Option<Step>;

/// What a step does, by its key.
const KINDS: &[(&str, Reader)] = &[
    ("install", |walk, value| packages(walk, value, installable).map(Step::Install)),
    ("remove", |walk, value| packages(walk, value, rules::package).map(Step::Remove)),
    ("copy", |walk, value| copy(walk, value).map(Step::Copy)),
    ("write", |walk, value| write(walk, value).map(Step::Write)),
    ("run", |walk, value| run(walk, value).map(Step::Run)),
    ("update", |walk, value| machine_steps::update(walk, value).map(Step::Update)),
    ("edit", |walk, value| file_steps::edit(walk, value).map(Step::Edit)),
    ("append-line", |walk, value| file_steps::append_line(walk, value).map(Step::AppendLine)),
    ("delete", |walk, value| file_steps::delete(walk, value).map(Step::Delete)),
    ("mkdir", |walk, value| file_steps::make_directory(walk, value).map(Step::MakeDirectory)),
    ("chmod", |walk, value| file_steps::change_mode(walk, value).map(Step::ChangeMode)),
    ("chown", |walk, value| file_steps::change_owner(walk, value).map(Step::ChangeOwner)),
    ("move", |walk, value| file_steps::rename(walk, value).map(Step::Move)),
    ("link", |walk, value| file_steps::link(walk, value).map(Step::Link)),
    ("touch", |walk, value| file_steps::paths(walk, value).map(Step::Touch)),
    ("truncate", |walk, value| file_steps::paths(walk, value).map(Step::Truncate)),
    ("hostname", |walk, value| machine_steps::hostname(walk, value).map(Step::Hostname)),
    ("timezone", |walk, value| machine_steps::timezone(walk, value).map(Step::Timezone)),
    ("locale", |walk, value| machine_steps::locale(walk, value).map(Step::Locale)),
    ("password", |walk, value| machine_steps::password(walk, value).map(Step::Password)),
    ("user", |walk, value| machine_steps::user(walk, value).map(Step::User)),
    ("ssh-key", |walk, value| machine_steps::ssh_key(walk, value).map(Step::SshKey)),
    ("firstboot", |walk, value| machine_steps::first_boot(walk, value).map(Step::FirstBoot)),
    ("kernel-argument", |walk, value| machine_steps::kernel_arguments(walk, value).map(Step::KernelArgument)),
    ("cloud-init-config", |walk, value| cloud::config(walk, value).map(Step::CloudInitConfig)),
    ("datasources", |walk, value| cloud::datasources(walk, value).map(Step::Datasources)),
];

/// What a copy can keep.
const PRESERVE: &[(&str, Preserve)] =
    &[("mode", Preserve::Mode), ("timestamps", Preserve::Timestamps), ("xattr", Preserve::Xattr)];

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
    let mut present: Vec<_> =
        KINDS.iter().filter_map(|(kind, _)| Some((fields.place_of(kind)?, *kind))).collect();
    present.sort_by_key(|(place, _)| place.start);
    let done: Vec<Option<Step>> =
        KINDS.iter().map(|(kind, read)| fields.optional(kind, |walk, value| read(walk, value))).collect();
    if let [(_, first), (second, other), ..] = present.as_slice() {
        let problem = Problem::error(second.clone(), format!("a step with both `{first}` and `{other}`"));
        walk.add(problem.help(format!("a step does one thing: write `[[steps]]` above `{other}` again")));
    } else if present.is_empty() && fields.is_empty() {
        let kinds: Vec<String> = KINDS.iter().map(|(kind, _)| format!("`{kind}`")).collect();
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
    let secrets = of("secrets").map(|value| texts(walk, value, rules::secret));
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
