//! `goldimg plan`: what a build of a recipe would do, without doing any of it. The archives are asked whether they have its
//! packages.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use goldimg::Variables;
use goldimg::golden::recipe::Access;
use goldimg::golden::{self, Archive, BaseLayer, Consulted, Copies, Epoch, Partition, Plan};
use goldimg::printable::printable;
use goldimg::size::Size;

use super::build::cache;
use crate::failure;
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
    /// Do not ask the archives whether they have the packages
    #[arg(long)]
    offline: bool,
    /// Keep the archives' lists here, not in $XDG_CACHE_HOME/goldimg
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let loaded = golden::load(&args.recipe, ui.monitor())?;
    let variables: Variables = std::env::vars_os().collect();
    let epoch = Epoch::from_variables(&variables)?;
    let all = match args.offline {
        true => Consulted::default(),
        false => golden::consult(&loaded, &cache(args.cache_dir.clone())?, &variables, ui.monitor())?,
    };
    let plan = Plan::new(&loaded, epoch, all, ui.monitor().cancel())?;
    match args.json {
        true => ui.json(&plan)?,
        false => ui.data(text(&plan).as_bytes())?,
    }
    // What the build would end with before it begins.
    plan.check()?;
    if let Err(missing) = golden::check_base(&loaded.recipe.base) {
        ui.warning(&failure::render(&missing.into()));
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
    if !plan.copies.is_empty() {
        section(&mut text, "copies");
    }
    for copies in &plan.copies {
        let _ = writeln!(text, "{}", of(copies));
        for remark in &copies.remarks {
            let _ = writeln!(text, "    {}", remark.line());
        }
    }
    if let Some(base) = &plan.recipe.base.existing {
        section(&mut text, "base");
        let _ = writeln!(text, "  {base}");
    }
    if plan.partitions.is_empty() {
        let size = plan.disk_size.map_or("as large as the image's".into(), |size| Size(size).to_string());
        section(&mut text, &format!("disk ({size})"));
        outputs(&mut text, plan);
        return text;
    }
    let all = plan.all_packages.map_or("what they depend on".into(), |all| {
        format!(
            "what they depend on: {} in all, {} to fetch, up to {} installed",
            all.packages,
            Size(all.download_size),
            Size(all.installed_size)
        )
    });
    section(&mut text, &format!("packages ({}, and {all})", plan.packages.len()));
    for line in wrapped(&plan.packages, 96) {
        let _ = writeln!(text, "  {line}");
    }
    if let Some(layer) = &plan.layer {
        section(&mut text, "layer of the base");
        let _ = writeln!(text, "  {}", state_of(layer));
    }
    if !plan.archives.is_empty() {
        section(&mut text, "further archives");
    }
    for archive in &plan.archives {
        let _ = writeln!(text, "{}", archive_row(archive));
    }
    if !plan.recipe.base.debconf.is_empty() {
        section(&mut text, "answers to packages' questions");
    }
    for answer in &plan.recipe.base.debconf {
        let _ = writeln!(text, "  {}", without_password(answer));
    }
    section(&mut text, "kernel command line");
    let _ = writeln!(text, "  root=UUID=… {}", plan.command_line);
    let size = plan.disk_size.map_or("as small as its content allows".into(), |size| Size(size).to_string());
    section(&mut text, &format!("disk ({size}), GPT"));
    for partition in &plan.partitions {
        let _ = writeln!(text, "{}", row(partition, plan));
    }
    outputs(&mut text, plan);
    text
}

/// "533e25fa3672  to be made: packages +htop"
fn state_of(layer: &BaseLayer) -> String {
    let digest = layer.digest.get(..12).unwrap_or_default();
    match (layer.is_there, layer.differs.as_slice()) {
        (true, _) => format!("{digest}  it is there"),
        (false, []) => format!("{digest}  to be made, and kept"),
        (false, differs) => format!("{digest}  to be made: {}", printable(&differs.join(", "))),
    }
}

fn outputs(text: &mut String, plan: &Plan<'_>) {
    section(text, "outputs");
    for output in &plan.outputs {
        let _ = writeln!(text, "  {output}");
    }
}

/// "step 2: files/www to /var/www: 12 files, 3 folders, 1 link, 3.4 MiB"
fn of(copies: &Copies) -> String {
    let counted = [(copies.files, "file"), (copies.folders, "folder"), (copies.links, "link")];
    let mut parts: Vec<String> = counted
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" }))
        .collect();
    parts.push(Size(copies.bytes).to_string());
    format!("  step {}: {} to {}: {}", copies.step, copies.from, copies.to, parts.join(", "))
}

fn section(text: &mut String, title: &str) {
    let _ = writeln!(text, "\n{title}");
}

fn archive_row(archive: &Archive) -> String {
    let uri = archive.uri.as_deref().unwrap_or("the base's archive");
    let kept = if archive.keep { "kept in the image" } else { "for the build alone" };
    format!("  {uri}: {} ({kept})", [archive.suites.as_slice(), &archive.components].concat().join(" "))
}

/// A line of debconf-set-selections(1), of a password only its question.
fn without_password(answer: &str) -> String {
    let words: Vec<&str> = answer.split_whitespace().take(3).collect();
    match words.get(2) {
        Some(&"password") => format!("{} …", words.join(" ")),
        _ => answer.to_owned(),
    }
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
    use super::{without_password, wrapped};

    #[test]
    fn a_password_is_not_part_of_a_plan() {
        assert_eq!(without_password("a a/b  password  secret word"), "a a/b password …");
        assert_eq!(without_password("a a/b select x"), "a a/b select x");
    }

    #[test]
    fn words_are_wrapped_and_none_is_lost() {
        let words = ["aa", "bb", "cc", "ddddd"].map(String::from);
        assert_eq!(wrapped(&words, 5), ["aa bb", "cc", "ddddd"]);
        assert_eq!(wrapped(&words, 1), words);
        assert!(wrapped(&[], 5).is_empty());
    }
}
