//! What is wrong with a recipe, with its place, as callers are told.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Whether a recipe can be built all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but hardly anyone would mean it so.
    Warning,
}

/// One thing that is wrong with a recipe. What it shows of the recipe has no password in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Mistake {
    /// Whether the recipe can be built all the same.
    pub severity: Severity,
    /// The recipe's file.
    #[serde(skip)]
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, in one line.
    pub message: String,
    /// A word at the place itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// All of it as people read it, under the line itself. Colours are escape sequences (ECMA-48, SGR), and nothing else is.
    #[serde(skip)]
    pub rendered: String,
}
