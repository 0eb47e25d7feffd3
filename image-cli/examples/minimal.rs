//! Builds the smallest recipe, audits what came of it, and boots it, without the program goldimg:
//!
//! ```text
//! cargo run --release --package image-cli --example minimal -- OUTPUT-FOLDER
//! ```

use std::process::ExitCode;

use goldimg::audit::{Audit, Profile};
use goldimg::golden::recipe::{Distribution, Recipe};
use goldimg::golden::{Loaded, Request, build};
use goldimg::monitor::Silent;
use goldimg::trial::{self, Settings};
use goldimg::{CancellationToken, Monitor, Variables};

fn main() -> goldimg::Result<ExitCode> {
    if let Some(code) = goldimg::run_as_helper() {
        return Ok(code);
    }
    let folder = std::env::args_os().nth(1).unwrap_or_else(|| "out".into());
    let folder = std::path::absolute(folder)?;
    let variables: Variables = std::env::vars_os().collect();
    let cancel = CancellationToken::new();
    let monitor = Monitor::new(&Silent, &cancel);

    let recipe = Recipe::new("minimal", Distribution::Debian, "bookworm");
    let loaded = Loaded::new(&recipe, ".".as_ref(), monitor)?;
    let built = build(&loaded, &Request::new(&folder, folder.join("cache"), variables.clone())?, monitor)?;
    let image = &built.files[0];
    let fit = Audit::new(Profile::Openstack).image(image, monitor)?.passed;
    let boots = fit && trial::run(&Settings::new(image, variables), monitor)?.passed;
    Ok(if boots { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
