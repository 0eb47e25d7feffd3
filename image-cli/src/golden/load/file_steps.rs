//! Steps that change files which are there.

use toml::de::DeValue;

use super::fields::{Fields, Value, Walk, choice, flag, text, texts};
use super::problem::Problem;
use super::rules::{self, path_in_image};
use crate::golden::recipe::{
    AppendLine, ChangeMode, ChangeOwner, Delete, Edit, Link, MakeDirectory, Missing, Move,
};
use crate::mode_change::ModeChange;
use crate::substitution::Substitution;

/// What a path in the image looks like, where one is missing.
const PATH: &str = "`path = \"/…\"`: its path in the image";

/// `edit`.
pub(super) fn edit(walk: &Walk<'_>, value: &Value<'_>) -> Option<Edit> {
    let mut fields = Fields::of(walk, value, "`edit`")?;
    let path = fields.required("path", PATH, path_in_image);
    let example = "`expressions = [\"s/PATTERN/REPLACEMENT/\"]`";
    let expressions = fields.required("expressions", example, |walk, value| {
        let expressions = texts(walk, value, substitution)?;
        match expressions.is_empty() {
            true => walk.refuse(Problem::error(value.span(), "no expression").help("leave the step out")),
            false => Some(expressions),
        }
    });
    fields.finish(|key| (key == "expression").then(|| "here it is `expressions`".into()));
    Some(Edit { path: path?, expressions: expressions? })
}

fn substitution(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let expression = text(walk, value)?;
    match expression.parse::<Substitution>() {
        Ok(_) => Some(expression.to_owned()),
        Err(error) => {
            // Of what a regular expression lacks, the last line tells.
            let words = error.to_string();
            let words = words.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            let help = "write s/PATTERN/REPLACEMENT/, with g or i behind it; patterns are extended regular expressions";
            walk.refuse(Problem::error(value.span(), words).help(help))
        }
    }
}

/// `append-line`.
pub(super) fn append_line(walk: &Walk<'_>, value: &Value<'_>) -> Option<AppendLine> {
    let mut fields = Fields::of(walk, value, "`append-line`")?;
    let path = fields.required("path", PATH, path_in_image);
    let line = fields.required("line", "`line = \"…\"`", |walk, value| {
        let line = text(walk, value)?;
        match line.contains(['\n', '\r', '\0']) {
            true => walk.refuse(
                Problem::error(value.span(), "this is not one line")
                    .help("several: write = { path = \"/…\", content = \"…\", append = true }"),
            ),
            false => Some(line.to_owned()),
        }
    });
    fields.finish(|_| None);
    Some(AppendLine { path: path?, line: line? })
}

/// `delete`: paths, or a table with them.
pub(super) fn delete(walk: &Walk<'_>, value: &Value<'_>) -> Option<Delete> {
    if !matches!(value.get_ref(), DeValue::Table(_)) {
        return Some(Delete { paths: paths(walk, value)?, missing: Missing::Fail });
    }
    let mut fields = Fields::of(walk, value, "`delete`")?;
    let found = fields.required("paths", "`paths = [\"/…\"]`", paths);
    let known = [("fail", Missing::Fail), ("ignore", Missing::Ignore)];
    let missing = fields.optional("missing", |walk, value| choice(walk, value, &known));
    fields.finish(|key| (key == "path").then(|| "here it is `paths`".into()));
    Some(Delete { paths: found?, missing: missing.unwrap_or_default() })
}

/// Paths in the image: one at least.
pub(super) fn paths(walk: &Walk<'_>, value: &Value<'_>) -> Option<Vec<String>> {
    let paths = texts(walk, value, path_in_image)?;
    match paths.is_empty() {
        true => walk.refuse(Problem::error(value.span(), "no path").help("leave the step out")),
        false => Some(paths),
    }
}

/// `mkdir`: a path, or a table with it.
pub(super) fn make_directory(walk: &Walk<'_>, value: &Value<'_>) -> Option<MakeDirectory> {
    if !matches!(value.get_ref(), DeValue::Table(_)) {
        return Some(MakeDirectory { path: path_in_image(walk, value)?, owner: None, mode: None });
    }
    let mut fields = Fields::of(walk, value, "`mkdir`")?;
    let path = fields.required("path", PATH, path_in_image);
    let owner = fields.optional("owner", rules::owner);
    let mode = fields.optional("mode", rules::mode);
    fields.finish(|key| (key == "parents").then(|| "parents are always made".into()));
    Some(MakeDirectory { path: path?, owner, mode })
}

/// `chmod`.
pub(super) fn change_mode(walk: &Walk<'_>, value: &Value<'_>) -> Option<ChangeMode> {
    let mut fields = Fields::of(walk, value, "`chmod`")?;
    let path = fields.required("path", PATH, path_in_image);
    let mode = fields.required("mode", "`mode = \"0640\"`, or \"u+x\"", |walk, value| {
        if let DeValue::Integer(_) = value.get_ref() {
            // It has the words for that.
            rules::mode(walk, value)?;
        }
        let mode = text(walk, value)?;
        match mode.parse::<ModeChange>() {
            Ok(_) => Some(mode.to_owned()),
            Err(_) => {
                let problem = Problem::error(value.span(), format!("{mode:?} is not a mode"));
                walk.refuse(problem.help("write octal digits, \"0640\", or as chmod has it, \"u+x,go-w\""))
            }
        }
    });
    fields.finish(|_| None);
    Some(ChangeMode { path: path?, mode: mode? })
}

/// `chown`.
pub(super) fn change_owner(walk: &Walk<'_>, value: &Value<'_>) -> Option<ChangeOwner> {
    let mut fields = Fields::of(walk, value, "`chown`")?;
    let path = fields.required("path", PATH, path_in_image);
    let owner = fields.required("owner", "`owner = \"user:group\"`", rules::owner);
    let recursive = fields.optional("recursive", flag);
    fields.finish(|_| None);
    Some(ChangeOwner { path: path?, owner: owner?, recursive: recursive.unwrap_or_default() })
}

/// `move`.
pub(super) fn rename(walk: &Walk<'_>, value: &Value<'_>) -> Option<Move> {
    let mut fields = Fields::of(walk, value, "`move`")?;
    let from = fields.required("from", "`from = \"/…\"`: its path in the image", path_in_image);
    let to = fields.required("to", "`to = \"/…\"`: its new path in the image", path_in_image);
    fields.finish(|_| None);
    Some(Move { from: from?, to: to? })
}

/// `link`.
pub(super) fn link(walk: &Walk<'_>, value: &Value<'_>) -> Option<Link> {
    let mut fields = Fields::of(walk, value, "`link`")?;
    let hard = fields.optional("hard", flag).unwrap_or_default();
    let target = fields.required("target", "`target = \"…\"`: what the link points to", |walk, value| {
        if hard {
            return path_in_image(walk, value);
        }
        let target = text(walk, value)?;
        match target.is_empty() || target.chars().any(|c| c.is_ascii_control()) {
            true => {
                let problem = Problem::error(value.span(), format!("a link cannot point to {target:?}"));
                walk.refuse(problem.help("write a path, absolute or from the link's folder"))
            }
            false => Some(target.to_owned()),
        }
    });
    let path = fields.required("path", "`path = \"/…\"`: where the link is", path_in_image);
    fields.finish(|_| None);
    Some(Link { target: target?, path: path?, hard })
}
