//! `goldimg schema`: the JSON Schema of a recipe, for editors and for programs that write recipes.

use std::process::ExitCode;

use goldimg::golden::schema;

use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  goldimg schema > recipe.schema.json\n\n\
    With `#:schema ./recipe.schema.json` as its first line, an editor that knows TOML completes and checks a recipe.")]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    ui.json(&schema())?;
    Ok(ExitCode::SUCCESS)
}
