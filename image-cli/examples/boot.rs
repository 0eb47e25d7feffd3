//! Boots an image under BIOS and under UEFI, as a cloud would, and prints what each check found:
//!
//! ```text
//! cargo run --release --package image-cli --example boot -- IMAGE
//! ```

use std::io::Write;
use std::process::ExitCode;

use goldimg::monitor::Silent;
use goldimg::trial::{self, Settings};
use goldimg::{CancellationToken, Error, Monitor};

fn main() -> goldimg::Result<ExitCode> {
    if let Some(code) = goldimg::run_as_helper() {
        return Ok(code);
    }
    let image = std::env::args_os().nth(1).ok_or_else(|| Error::failed("an image, please"))?;
    let cancel = CancellationToken::new();
    let settings = Settings::new(image, std::env::vars_os().collect());
    let outcome = trial::run(&settings, Monitor::new(&Silent, &cancel))?;
    let mut out = std::io::stdout();
    for boot in &outcome.boots {
        writeln!(out, "{}", boot.setup)?;
        for check in &boot.checks {
            writeln!(out, "  {:<16} {:?} {}", check.name, check.verdict, check.evidence)?;
        }
    }
    Ok(if outcome.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
