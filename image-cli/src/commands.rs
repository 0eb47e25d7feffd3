//! The subcommands, one file each: what they take, and what they call.

pub(crate) mod amend;
pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod bitmap;
pub(crate) mod build;
pub(crate) mod cache;
mod cat;
pub(crate) mod change;
pub(crate) mod check;
pub(crate) mod check_recipe;
mod choice;
pub(crate) mod commit;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod copy_out;
pub(crate) mod create;
pub(crate) mod customize;
pub(crate) mod dd;
pub(crate) mod diff;
pub(crate) mod find;
pub(crate) mod image;
pub(crate) mod image_options;
pub(crate) mod images;
pub(crate) mod info;
mod inside;
pub(crate) mod inspect;
mod listing;
pub(crate) mod ls;
pub(crate) mod map;
pub(crate) mod measure;
pub(crate) mod plan;
pub(crate) mod rebase;
pub(crate) mod resize;
pub(crate) mod schema;
pub(crate) mod seal;
pub(crate) mod snapshot;
pub(crate) mod sparsify;
pub(crate) mod stat;
pub(crate) mod tar_out;
pub(crate) mod test;
pub(crate) mod upload;

use std::process::ExitCode;

use clap::Subcommand;

use crate::args::Later;
use crate::ui::Ui;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build a golden image from a recipe
    Build(Later<build::Args>),
    /// Install packages, set up accounts, change files in the system of an image
    Customize(Later<Box<customize::Args>>),
    /// Find every mistake in recipes
    CheckRecipe(Later<check_recipe::Args>),
    /// Convert a disk image: raw and qcow2, compressed or not
    Convert(Later<convert::Args>),
    /// Copy a part of an image, counted in blocks, into a new one
    Dd(Later<dd::Args>),
    /// Make a new, empty image, alone or over a backing file
    Create(Later<create::Args>),
    /// Give an image another backing file, or none
    Rebase(Later<rebase::Args>),
    /// Put what an image says into its backing file
    Commit(Later<commit::Args>),
    /// Change options of a qcow2 image: version, refcounts, backing file
    Amend(Later<amend::Args>),
    /// Give an image another virtual size
    Resize(Later<resize::Args>),
    /// Show what an image is
    Info(Later<info::Args>),
    /// Check whether an image is consistent
    Check(Later<check::Args>),
    /// Compare what two images hold, whatever their formats
    Compare(Later<compare::Args>),
    /// Show where the bytes of an image come from
    Map(Later<map::Args>),
    /// List and change the bitmaps inside an image
    Bitmap(Later<bitmap::Args>),
    /// List, take, apply and delete the snapshots inside an image
    Snapshot(Later<snapshot::Args>),
    /// Tell whether an image is fit to be cloned and started in a cloud
    Audit(Later<audit::Args>),
    /// Show what is in an image: partitions, filesystems, system, packages
    Inspect(Later<inspect::Args>),
    /// List the files in an image
    Ls(Later<ls::Args>),
    /// Print files of an image
    Cat(Later<cat::Args>),
    /// Show what is known of files in an image
    Stat(Later<stat::Args>),
    /// Find files in an image by name, kind, size, time, owner
    Find(Later<find::Args>),
    /// Copy files of an image into a folder
    CopyOut(Later<copy_out::Args>),
    /// Pack files of an image into an archive
    TarOut(Later<tar_out::Args>),
    /// Show what is different between the files of two images
    Diff(Later<diff::Args>),
    /// Copy files and folders into an image
    CopyIn(Later<change::One<change::CopyIn>>),
    /// Unpack an archive into an image
    TarIn(Later<change::One<change::TarIn>>),
    /// Write a file of an image: standard input, or a line
    Write(Later<change::One<change::Write>>),
    /// Edit a text in an image by substitutions or with your editor
    Edit(Later<change::One<change::Edit>>),
    /// Remove files of an image
    Rm(Later<change::One<change::Remove>>),
    /// Make directories in an image
    Mkdir(Later<change::One<change::MakeDirectory>>),
    /// Move or rename files in an image
    Mv(Later<change::One<change::Move>>),
    /// Make a link in an image
    Ln(Later<change::One<change::Link>>),
    /// Set permissions of files in an image
    Chmod(Later<change::One<change::Chmod>>),
    /// Set owners of files in an image
    Chown(Later<change::One<change::Chown>>),
    /// Set times of files in an image, or make empty ones
    Touch(Later<change::One<change::Touch>>),
    /// Cut files of an image, or make them longer
    Truncate(Later<change::One<change::Truncate>>),
    /// Make several changes in an image, all or none
    Script(Later<change::Script>),
    /// Measure how fast an image takes requests
    Bench(Later<bench::Args>),
    /// Show how large the file of a new image will be
    Measure(Later<measure::Args>),
    /// Give back what the filesystems in an image do not use
    Sparsify(Later<sparsify::Args>),
    /// Remove from an image what must not be cloned
    Seal(Later<seal::Args>),
    /// Upload an image to an OpenStack cloud, verify it, and rotate the older ones
    Upload(Later<Box<upload::Args>>),
    /// List the images of an OpenStack cloud
    Images(Later<images::Args>),
    /// Print what a build would do, without doing it
    Plan(Later<plan::Args>),
    /// List, verify and remove the layers that builds keep
    Cache(Later<cache::Args>),
    /// Print the JSON Schema of recipes
    Schema(Later<schema::Args>),
    /// Print shell completions or the man page
    Completions(Later<completions::Args>),
    /// Boot an image as a cloud would, and check it
    Test(Later<test::Args>),
}

/// Does it.
pub(crate) fn run(command: Command, ui: &Ui) -> anyhow::Result<ExitCode> {
    match command {
        Command::Audit(Later(args)) => audit::run(&args, ui),
        Command::Check(Later(args)) => check::run(&args, ui),
        Command::Inspect(Later(args)) => inspect::run(&args, ui),
        Command::Ls(Later(args)) => ls::run(&args, ui),
        Command::Cat(Later(args)) => cat::run(&args, ui),
        Command::Stat(Later(args)) => stat::run(&args, ui),
        Command::Find(Later(args)) => find::run(&args, ui),
        Command::CopyOut(Later(args)) => copy_out::run(&args, ui),
        Command::TarOut(Later(args)) => tar_out::run(&args, ui),
        Command::Diff(Later(args)) => diff::run(&args, ui),
        Command::CopyIn(Later(args)) => change::run(&args, ui),
        Command::TarIn(Later(args)) => change::run(&args, ui),
        Command::Write(Later(args)) => change::run(&args, ui),
        Command::Edit(Later(args)) => change::run(&args, ui),
        Command::Rm(Later(args)) => change::run(&args, ui),
        Command::Mkdir(Later(args)) => change::run(&args, ui),
        Command::Mv(Later(args)) => change::run(&args, ui),
        Command::Ln(Later(args)) => change::run(&args, ui),
        Command::Chmod(Later(args)) => change::run(&args, ui),
        Command::Chown(Later(args)) => change::run(&args, ui),
        Command::Touch(Later(args)) => change::run(&args, ui),
        Command::Truncate(Later(args)) => change::run(&args, ui),
        Command::Script(Later(args)) => change::run_script(&args, ui),
        Command::Bitmap(Later(args)) => bitmap::run(&args, ui),
        Command::Sparsify(Later(args)) => sparsify::run(&args, ui),
        Command::Snapshot(Later(args)) => snapshot::run(&args, ui),
        Command::Info(Later(args)) => info::run(&args, ui),
        Command::Build(Later(args)) => build::run(args, ui),
        Command::Customize(Later(args)) => customize::run(*args, ui),
        Command::CheckRecipe(Later(args)) => check_recipe::run(&args, ui),
        Command::Compare(Later(args)) => compare::run(&args, ui),
        Command::Bench(Later(args)) => bench::run(&args, ui),
        Command::Measure(Later(args)) => measure::run(&args, ui),
        Command::Map(Later(args)) => map::run(&args, ui),
        Command::Convert(Later(args)) => convert::run(&args, ui),
        Command::Dd(Later(args)) => dd::run(&args, ui),
        Command::Create(Later(args)) => create::run(&args, ui),
        Command::Resize(Later(args)) => resize::run(&args, ui),
        Command::Rebase(Later(args)) => rebase::run(&args, ui),
        Command::Commit(Later(args)) => commit::run(&args, ui),
        Command::Amend(Later(args)) => amend::run(&args, ui),
        Command::Upload(Later(args)) => upload::run(&args, ui),
        Command::Images(Later(args)) => images::run(&args, ui),
        Command::Cache(Later(args)) => cache::run(&args, ui),
        Command::Plan(Later(args)) => plan::run(&args, ui),
        Command::Seal(Later(args)) => seal::run(args, ui),
        Command::Schema(Later(args)) => schema::run(&args, ui),
        Command::Completions(Later(args)) => completions::run(&args, ui),
        Command::Test(Later(args)) => test::run(args, ui),
    }
}
