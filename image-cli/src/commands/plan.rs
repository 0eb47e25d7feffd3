//! `goldimg plan`: what a build of a recipe would do, without doing any of it.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::golden::epoch::Epoch;
use crate::golden::load;
use crate::golden::plan::{Partition, Plan};
use crate::golden::recipe::Access;
use crate::size::Size;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  goldimg plan recipes/debian-12.toml\n  goldimg plan --json web.toml | jq -r '.packages[]'"
)]
pub(crate) struct Args {
    /// The recipe
    recipe: PathBuf,
    /// Print the plan, and the recipe with every default, as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let loaded = load::load(&args.recipe, ui)?;
    let plan = Plan::new(&loaded, Epoch::from_environment()?)?;
    match args.json {
        true => ui.json(&plan)?,
        false => ui.data(text(&plan).as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(plan: &Plan<'_>) -> String {
    let mut text = format!("{}\n", plan.name);
    if let Some(description) = &plan.recipe.description {
        let _ = writeln!(text, "{description}");
    }
    section(&mut text, "stages");
    for stage in &plan.stages {
        let _ = writeln!(text, "  {stage}");
    }
    if plan.recipe.build.network != Access::Full {
        section(&mut text, "network of the steps");
        let _ = writeln!(text, "  {}", plan.recipe.build.network);
    }
    section(&mut text, &format!("packages ({}, and what they depend on)", plan.packages.len()));
    for line in wrapped(&plan.packages, 96) {
        let _ = writeln!(text, "  {line}");
    }
    section(&mut text, "kernel command line");
    let _ = writeln!(text, "  root=UUID=… {}", plan.command_line);
    let size = plan.disk_size.map_or("as small as its content allows".into(), |size| Size(size).to_string());
    section(&mut text, &format!("disk ({size}), GPT"));
    for partition in &plan.partitions {
        let _ = writeln!(text, "{}", row(partition, plan));
    }
    section(&mut text, "outputs");
    for output in &plan.outputs {
        let _ = writeln!(text, "  {output}");
    }
    text
}

fn section(text: &mut String, title: &str) {
    let _ = writeln!(text, "\n{title}");
}

fn row(partition: &Partition, plan: &Plan<'_>) -> String {
    let size = match partition.size {
        Some(size) => Size(size).to_string(),
        None => format!("its content and {}", plan.recipe.disk.free),
    };
    format!(
        "  {:>3}  {:<5} from {:>9}  {size}",
        partition.number,
        partition.name,
        Size(partition.start).to_string()
    )
}

/// The words in lines of at most `width` characters.
fn wrapped(words: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.clone()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn words_are_wrapped_and_none_is_lost() {
        let words = ["aa", "bb", "cc", "ddddd"].map(String::from);
        assert_eq!(wrapped(&words, 5), ["aa bb", "cc", "ddddd"]);
        assert_eq!(wrapped(&words, 1), words);
        assert!(wrapped(&[], 5).is_empty());
    }
}
