//! `goldimg build`: a recipe becomes a golden image.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use goldimg::Variables;
use goldimg::golden::{self, Asked, Request};

use crate::failure::Advise;
use crate::interrupt;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg build recipes/debian-12.toml -o out
  goldimg build web.toml -o out --force --keep
  goldimg build web.toml --secret token=token.txt        steps read it in /run/secrets/token
  SOURCE_DATE_EPOCH=1760000000 goldimg build web.toml    the same bytes every time

No root is needed: an ordinary user needs subordinate ids (/etc/subuid, /etc/subgid).")]
pub(crate) struct Args {
    /// The recipe (TOML)
    recipe: PathBuf,
    /// Where the image, its checksums, its manifest and the log go
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Replace outputs that exist
    #[arg(long)]
    force: bool,
    /// Keep the work directory, and say where it is
    #[arg(long)]
    keep: bool,
    /// Open a shell in the image after the steps, or after one that failed
    #[arg(long)]
    shell: bool,
    /// Work in a new directory here, not in memory or /var/tmp
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Keep packages and layers between builds here, not in $XDG_CACHE_HOME/goldimg
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Make every stage anew, and keep none as a layer (packages are kept)
    #[arg(long)]
    no_cache: bool,
    /// Show the content of FILE, or of the variable NAME, to the steps that ask for it, and nowhere else
    #[arg(long, value_name = "NAME[=FILE]")]
    secret: Vec<Asked>,
}

pub(crate) fn run(args: Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    interrupt::listen()?;
    let variables: Variables = std::env::vars_os().collect();
    let cache = cache(args.cache_dir)?;
    let loaded = golden::load(&args.recipe, ui.monitor())?;
    let mut request = Request::new(args.output, cache, variables)?;
    request.force = args.force;
    request.keep = args.keep;
    request.shell = args.shell;
    request.work_parent = args.work_dir;
    request.layers = !args.no_cache;
    request.secrets = args.secret;
    golden::build(&loaded, &request, ui.monitor())?;
    Ok(ExitCode::SUCCESS)
}

/// The folder that was asked for, or the usual one, as an absolute path.
pub(super) fn cache(asked: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let folder = match asked {
        Some(folder) => folder,
        None => default_cache()?,
    };
    Ok(std::path::absolute(folder)?)
}

/// `$XDG_CACHE_HOME/goldimg`, or `~/.cache/goldimg` (XDG Base Directory Specification).
fn default_cache() -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    variable("XDG_CACHE_HOME")
        .or_else(|| Some(variable("HOME")?.join(".cache")))
        .map(|folder| folder.join("goldimg"))
        .ok_or_else(|| anyhow!("neither XDG_CACHE_HOME nor HOME names a folder for the package cache"))
        .hint(|| "goldimg build --cache-dir DIR …")
}
