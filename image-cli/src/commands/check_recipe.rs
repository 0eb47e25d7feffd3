//! `goldimg check-recipe`: everything that is wrong with recipes, without building anything.

use std::path::PathBuf;
use std::process::ExitCode;

use goldimg::golden::{self, Examined};
use goldimg::mistake::Mistake;
use serde::Serialize;

use crate::failure::USAGE;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  goldimg check-recipe recipes/*.toml\n  goldimg check-recipe --json my.toml | jq .\n\n\
    Exit code: 0 without mistakes, 64 with any."
)]
pub(crate) struct Args {
    /// The recipes
    #[arg(required = true, value_name = "RECIPE")]
    recipes: Vec<PathBuf>,
    /// Print what is wrong as JSON
    #[arg(long)]
    json: bool,
}

/// A recipe and what is wrong with it, as data.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    recipe: String,
    sound: bool,
    problems: Vec<Mistake>,
}

impl Report {
    fn of(examined: &Examined) -> Self {
        Self {
            recipe: examined.path.display().to_string(),
            sound: examined.loaded.is_some(),
            problems: examined.mistakes(),
        }
    }
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let examined: Vec<Examined> =
        args.recipes.iter().map(|path| golden::examine(path)).collect::<Result<_, _>>()?;
    if args.json {
        let reports: Vec<_> = examined.iter().map(Report::of).collect();
        ui.json(&reports)?;
    } else {
        for one in &examined {
            one.tell(ui.monitor());
            match one.loaded {
                Some(_) => ui.verdict(&format!("{}: no mistakes\n", one.path.display()))?,
                None => ui.verdict(&format!("{}: {}\n", one.path.display(), one.count()))?,
            }
        }
    }
    match examined.iter().all(|one| one.loaded.is_some()) {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::from(USAGE)),
    }
}
