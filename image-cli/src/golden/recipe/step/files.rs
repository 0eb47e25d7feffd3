//! Steps that change files which are there, in the words of chmod(1) and its kin.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::schema;
use super::Owner;

/// A text file to change, line by line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub struct Edit {
    /// Which, an absolute path in the image.
    #[schemars(schema_with = "schema::path")]
    pub path: String,
    /// Substitutions as sed has them, done one after the other: `s/PATTERN/REPLACEMENT/`, with `g` or `i` behind it.
    #[schemars(schema_with = "schema::substitutions")]
    pub expressions: Vec<String>,
}

/// A line to put behind those of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub struct AppendLine {
    /// Which, an absolute path in the image; one that is not there is made.
    #[schemars(schema_with = "schema::path")]
    pub path: String,
    /// The line, without its end.
    #[schemars(schema_with = "schema::any_line")]
    pub line: String,
}

/// What to do where a path finds nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Missing {
    /// The step fails.
    #[default]
    Fail,
    /// It goes on.
    Ignore,
}

/// What to remove, with all beneath it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Delete {
    /// Absolute paths in the image; `*` in a name stands for any characters. A link is removed itself.
    pub paths: Vec<String>,
    /// What to do where one finds nothing.
    pub missing: Missing,
}

/// A folder to make, with its parents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub struct MakeDirectory {
    /// Where, an absolute path in the image. One that is there stays.
    #[schemars(schema_with = "schema::path")]
    pub path: String,
    /// Owner and group; default: `root:root`, and for a folder that is there those it has.
    #[schemars(default, schema_with = "schema::owner")]
    pub owner: Option<Owner>,
    /// Permission bits in octal; default: `"0755"`, and for a folder that is there those it has.
    #[schemars(default, schema_with = "schema::mode")]
    pub mode: Option<u32>,
}

/// Permissions to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub struct ChangeMode {
    /// Of what, an absolute path in the image; a link is followed.
    #[schemars(schema_with = "schema::path")]
    pub path: String,
    /// As chmod has it: `"0640"`, or `"u+x,go-w"`.
    #[schemars(schema_with = "schema::mode_change")]
    pub mode: String,
}

/// An owner to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub struct ChangeOwner {
    /// Of what, an absolute path in the image; a link is followed.
    #[schemars(schema_with = "schema::path")]
    pub path: String,
    /// Owner and group.
    #[schemars(schema_with = "schema::owner")]
    pub owner: Owner,
    /// Whether all beneath it gets them too; links there are not followed.
    #[schemars(default)]
    pub recursive: bool,
}

/// A file, folder or link to move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub struct Move {
    /// What, an absolute path in the image.
    #[schemars(schema_with = "schema::path")]
    pub from: String,
    /// Where to, an absolute path in the image; into a folder that is there. A file in its place is replaced.
    #[schemars(schema_with = "schema::path")]
    pub to: String,
}

/// A link to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub struct Link {
    /// What it points to, as the booted system reads it; for a hard link a file in the image.
    #[schemars(schema_with = "schema::link_target")]
    pub target: String,
    /// Where it is, an absolute path in the image; a file or link in its place is replaced.
    #[schemars(schema_with = "schema::path")]
    pub path: String,
    /// Whether it is a second name for the same file.
    #[schemars(default)]
    pub hard: bool,
}
