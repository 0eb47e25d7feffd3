//! `goldimg cache`: the layers that builds keep, listed, verified and removed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Subcommand;
use goldimg::golden::{Layer, Layers, layers_limit};
use goldimg::printable::printable;
use goldimg::size::Size;
use serde_json::json;

use super::build::cache;
use super::image::human_size;
use super::listing::Listing;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg cache list
  goldimg cache prune --max-size 2G
  goldimg cache verify
  goldimg cache clear

A build keeps its base as a layer, by what it is made of; the next one that needs the same takes it. Those that were not used for longest \
go when all take more than 10 GiB.

Exit code: 0, and 1 if verify finds a layer that is damaged.")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the layers, the last used first
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read every layer, and remove those that are damaged
    Verify(Place),
    /// Remove what was not used for longest
    Prune {
        #[command(flatten)]
        place: Place,
        /// Keep so much
        #[arg(long, value_name = "SIZE", default_value_t = layers_limit())]
        max_size: Size,
    },
    /// Remove all layers
    Clear(Place),
}

#[derive(Debug, clap::Args)]
struct Place {
    /// They are here, not in $XDG_CACHE_HOME/goldimg
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
}

impl Place {
    fn open(&self) -> anyhow::Result<Layers> {
        Ok(Layers::open(&cache(self.cache_dir.clone())?)?)
    }
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::List { place, json } => list(&place.open()?, *json, ui),
        What::Verify(place) => verify(&place.open()?, ui),
        What::Prune { place, max_size } => tell(&place.open()?.prune(max_size.0)?, ui),
        What::Clear(place) => tell(&place.open()?.prune(0)?, ui),
    }
}

fn list(layers: &Layers, as_json: bool, ui: &Ui) -> anyhow::Result<ExitCode> {
    let all = layers.list()?;
    let seconds =
        |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if as_json {
        let values: Vec<_> = all
            .iter()
            .map(|(layer, used)| {
                let mut value = json!(layer);
                value["used"] = json!(seconds(*used));
                value
            })
            .collect();
        ui.json(&values)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut listing = Listing::new(ui);
    let mut rows = vec![["layer", ">size", "last used", "made for"].map(str::to_owned).to_vec()];
    for (layer, used) in &all {
        let used = jiff::Timestamp::from_second(seconds(*used).cast_signed()).unwrap_or_default();
        rows.push(vec![
            layer.short().to_owned(),
            format!(">{}", human_size(layer.size)),
            used.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            printable(&layer.name),
        ]);
    }
    if !all.is_empty() {
        listing.rows(&rows)?;
    }
    listing.end()?;
    Ok(ExitCode::SUCCESS)
}

fn verify(layers: &Layers, ui: &Ui) -> anyhow::Result<ExitCode> {
    let broken = layers.verify()?;
    for (layer, why) in &broken {
        ui.warning(&format!("layer {} is removed: {}", layer.short(), printable(why)));
        layers.remove_broken(layer)?;
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(removed: &[Layer], ui: &Ui) -> anyhow::Result<ExitCode> {
    for layer in removed {
        ui.line(&format!(
            "removed {} ({}, {})",
            layer.short(),
            human_size(layer.size),
            printable(&layer.name)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
