//! Real builds: what comes out, what a failure says, and what a killed build leaves behind.
//!
//! They fetch packages once, into `target/tmp`, and run without root too.

mod archives;
mod build;
mod copies;
mod customized;
mod debian;
mod existing;
mod killed;
mod sandbox;
mod secrets;
mod services;
mod ubuntu;

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::goldimg;
use crate::support::program::Invocation;

/// Fixed, so that two builds can be compared.
const DATE: &str = "1760000000";

const BASE: &str = "[base]\ndistribution = \"debian\"\nrelease = \"bookworm\"\n";

/// Where packages are kept between tests.
pub(crate) fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages")
}

/// Prepares a build of a recipe with `name` and `rest` in `folder`, its outputs in `folder/NAME`.
fn build(folder: &Path, name: &str, rest: &str, options: &[&str]) -> Invocation {
    build_from(&cache(), folder, name, rest, options)
}

/// The same, with packages from and to the folder `cache`.
fn build_from(cache: &Path, folder: &Path, name: &str, rest: &str, options: &[&str]) -> Invocation {
    let recipe = folder.join(format!("{name}.toml"));
    fs::write(&recipe, format!("name = \"tiny\"\nversion = \"1\"\n{BASE}{rest}")).expect("a recipe");
    let mut arguments: Vec<PathBuf> = ["build", "--progress=plain", "--cache-dir"].map(PathBuf::from).into();
    arguments.extend([cache.into(), recipe, "-o".into(), folder.join(name)]);
    arguments.extend(options.iter().map(PathBuf::from));
    goldimg(arguments).env("SOURCE_DATE_EPOCH", DATE)
}
