//! The subcommands, one file each: what they take, and what they call.

pub(crate) mod amend;
pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod bitmap;
pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod check_recipe;
pub(crate) mod commit;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod create;
pub(crate) mod dd;
pub(crate) mod image;
pub(crate) mod image_options;
pub(crate) mod images;
pub(crate) mod info;
pub(crate) mod map;
pub(crate) mod measure;
pub(crate) mod metadata;
pub(crate) mod plan;
pub(crate) mod rebase;
pub(crate) mod resize;
pub(crate) mod schema;
pub(crate) mod seal;
pub(crate) mod snapshot;
pub(crate) mod test;
pub(crate) mod upload;

use std::process::ExitCode;

use clap::Subcommand;

use crate::ui::Ui;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build a golden image from a recipe
    Build(build::Args),
    /// Find every mistake in recipes
    CheckRecipe(check_recipe::Args),
    /// Convert a disk image: raw and qcow2, compressed or not
    Convert(convert::Args),
    /// Copy a part of an image, counted in blocks, into a new one
    Dd(dd::Args),
    /// Make a new, empty image, alone or over a backing file
    Create(create::Args),
    /// Give an image another backing file, or none
    Rebase(rebase::Args),
    /// Put what an image says into its backing file
    Commit(commit::Args),
    /// Change options of a qcow2 image: version, refcounts, backing file
    Amend(amend::Args),
    /// Give an image another virtual size
    Resize(resize::Args),
    /// Show what an image is
    Info(info::Args),
    /// Check whether an image is consistent
    Check(check::Args),
    /// Compare what two images hold, whatever their formats
    Compare(compare::Args),
    /// Show where the bytes of an image come from
    Map(map::Args),
    /// List and change the bitmaps inside an image
    Bitmap(bitmap::Args),
    /// List, take, apply and delete the snapshots inside an image
    Snapshot(snapshot::Args),
    /// Tell whether an image is fit to be cloned and started in a cloud
    Audit(audit::Args),
    /// Measure how fast an image takes requests
    Bench(bench::Args),
    /// Show how large the file of a new image will be
    Measure(measure::Args),
    /// Remove from an image what must not be cloned
    Seal(seal::Args),
    /// Upload an image to an OpenStack cloud, verify it, and rotate the older ones
    Upload(Box<upload::Args>),
    /// List the images of an OpenStack cloud
    Images(images::Args),
    /// Print what a build would do, without doing it
    Plan(plan::Args),
    /// Print the JSON Schema of recipes
    Schema(schema::Args),
    /// Print shell completions
    Completions(completions::Args),
    /// Boot an image as a cloud would, and check it
    Test(test::Args),
    /// Answer a guest as the metadata service does; started by QEMU
    #[command(hide = true)]
    Metadata(metadata::Args),
}

/// Does it.
pub(crate) fn run(command: Command, ui: &Ui) -> anyhow::Result<ExitCode> {
    match command {
        Command::Audit(args) => audit::run(&args, ui),
        Command::Check(args) => check::run(&args, ui),
        Command::Bitmap(args) => bitmap::run(&args, ui),
        Command::Snapshot(args) => snapshot::run(&args, ui),
        Command::Info(args) => info::run(&args, ui),
        Command::Build(args) => build::run(args, ui),
        Command::CheckRecipe(args) => check_recipe::run(&args, ui),
        Command::Compare(args) => compare::run(&args, ui),
        Command::Bench(args) => bench::run(&args, ui),
        Command::Measure(args) => measure::run(&args, ui),
        Command::Map(args) => map::run(&args, ui),
        Command::Convert(args) => convert::run(&args, ui),
        Command::Dd(args) => dd::run(&args, ui),
        Command::Create(args) => create::run(&args, ui),
        Command::Resize(args) => resize::run(&args, ui),
        Command::Rebase(args) => rebase::run(&args, ui),
        Command::Commit(args) => commit::run(&args, ui),
        Command::Amend(args) => amend::run(&args, ui),
        Command::Upload(args) => upload::run(&args, ui),
        Command::Images(args) => images::run(&args, ui),
        Command::Plan(args) => plan::run(&args, ui),
        Command::Seal(args) => seal::run(args, ui),
        Command::Schema(args) => schema::run(&args, ui),
        Command::Completions(args) => completions::run(&args, ui),
        Command::Test(args) => test::run(args, ui),
        Command::Metadata(args) => metadata::run(&args),
    }
}
