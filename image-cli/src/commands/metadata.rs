//! `goldimg metadata`: a cloud's metadata service for one connection; QEMU starts it during `goldimg test`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::trial;

/// Arguments of `goldimg metadata`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder with the documents
    folder: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    trial::metadata::serve(&args.folder, std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}
