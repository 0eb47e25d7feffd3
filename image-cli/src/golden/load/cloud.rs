//! cloud-init's configuration in a recipe: where it looks for data, and files of its own.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::DeValue;

use super::beside::{self, file_or_text};
use super::fields::{Fields, Value, Walk, listed, text, texts};
use super::problem::Problem;
use super::rules;
use crate::golden::cloud_init;
use crate::golden::recipe::CloudConfig;
use crate::nearest::nearest;

/// The sources of data that cloud-init has (its `cloudinit/sources/DataSource*.py`, release 25).
const DATASOURCES: &[&str] = &[
    "Akamai",
    "AliYun",
    "AltCloud",
    "Azure",
    "Bigstep",
    "CloudCIX",
    "CloudSigma",
    "CloudStack",
    "ConfigDrive",
    "DigitalOcean",
    "Ec2",
    "Exoscale",
    "GCE",
    "Hetzner",
    "IBMCloud",
    "LXD",
    "MAAS",
    "NWCS",
    "NoCloud",
    "None",
    "OVF",
    "OpenNebula",
    "OpenStack",
    "Oracle",
    "RbxCloud",
    "Scaleway",
    "SmartOS",
    "UpCloud",
    "VMware",
    "Vultr",
    "WSL",
];

/// Where cloud-init looks for its data: one source at least.
pub(super) fn datasources(walk: &Walk<'_>, value: &Value<'_>) -> Option<Vec<String>> {
    let datasources = texts(walk, value, datasource)?;
    match datasources.is_empty() {
        true => walk.refuse(
            Problem::error(value.span(), "no datasource")
                .help("an image without any: `datasources = [\"None\"]`"),
        ),
        false => Some(datasources),
    }
}

fn datasource(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let name = text(walk, value)?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return walk.refuse(
            Problem::error(value.span(), format!("{name:?} is not the name of a datasource"))
                .help(format!("such as {}", listed(&["\"OpenStack\"".into(), "\"NoCloud\"".into()], "or"))),
        );
    }
    if !DATASOURCES.contains(&name) {
        let doubt = Problem::warning(
            value.span(),
            format!("cloud-init has no datasource {name:?} that is known here"),
        );
        let near = nearest(name, DATASOURCES.iter().copied());
        walk.add(match near {
            Some(near) => doubt.label(format!("did you mean {near:?}?")),
            None => doubt,
        });
    }
    Some(name.to_owned())
}

/// Fragments of cloud-init's configuration: name → content.
pub(super) fn fragments(walk: &Walk<'_>, value: &Value<'_>) -> Option<BTreeMap<String, String>> {
    let DeValue::Table(table) = value.get_ref() else {
        let problem = Problem::error(value.span(), "expected a table of files and their contents");
        return walk.refuse(
            problem.help("write `[cloud-init.config]`, and below it `\"90-name.cfg\" = \"\"\"…\"\"\"`"),
        );
    };
    let mut fragments = BTreeMap::new();
    for (name, value) in table {
        fragment_name(walk, name.get_ref(), name.span());
        let content = file_or_text(walk, value, "text", "the fragment")
            .filter(|content| is_mapping(walk, value, content));
        fragments.extend(content.map(|content| (name.get_ref().to_string(), content)));
    }
    Some(fragments)
}

/// Whether `content` is a YAML document as cloud-init takes it: a mapping.
pub(super) fn is_mapping(walk: &Walk<'_>, value: &Value<'_>, content: &str) -> bool {
    let parsed: Result<serde_json::Map<String, serde_json::Value>, _> = serde_saphyr::from_str(content);
    let Err(error) = parsed else { return true };
    let place = error
        .location()
        .map(|place| format!("line {}, column {} of the fragment", place.line(), place.column()));
    let problem = Problem::error(value.span(), "the fragment is not a YAML mapping")
        .label(place.unwrap_or_default())
        .help(format!("{}; cloud-init wants `key: value` at the top", error.without_snippet()));
    walk.add(problem);
    false
}

/// Notes what is wrong with the name of a fragment.
fn fragment_name(walk: &Walk<'_>, name: &str, span: Range<usize>) {
    if !rules::is_fragment_name(name) {
        let shown = name.escape_debug();
        let problem =
            Problem::error(span.clone(), format!("cloud-init would not read a file called `{shown}`"));
        walk.add(problem.help(
            "a name of letters, digits, `.`, `_` and `-` that ends in .cfg, such as \"90-locale.cfg\"",
        ));
    }
    if name == cloud_init::OWN {
        let problem = Problem::error(span, "this file is written by goldimg");
        walk.add(
            problem.help(
                "choose another name; one behind it in the alphabet, such as \"92_own.cfg\", counts more",
            ),
        );
    }
}

/// A file of cloud-init's configuration: `{ name, content }`, or `{ name, file }`.
pub(super) fn config(walk: &Walk<'_>, value: &Value<'_>) -> Option<CloudConfig> {
    const PLACE: &str = "`cloud-init-config`";
    let mut fields = Fields::of(walk, value, PLACE)?;
    let name = fields.required("name", "`name = \"95-own.cfg\"`", |walk, value| {
        let name = text(walk, value)?;
        fragment_name(walk, name, value.span());
        Some(name.to_owned())
    });
    let content = beside::text_of(&mut fields, "content", PLACE);
    fields.finish(|_| None);
    let content = content.filter(|content| is_mapping(walk, value, content))?;
    Some(CloudConfig { name: name?, content })
}
