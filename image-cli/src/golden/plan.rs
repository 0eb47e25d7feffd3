//! What a build would do: its stages, packages, partitions and outputs. Nothing is touched, and no right is needed.

use serde::Serialize;

use super::build::{BaseLayer, Consulted};
use super::copies::Copies;
use super::customize::work;
use super::disk::{Layout, ROOT};
use super::epoch::Epoch;
use super::existing::acquire;
use super::load::Loaded;
use super::recipe::{DiskSize, FurtherArchive, OutputFormat, Recipe};
use super::request::stem;
use super::solver::Total;
use super::stage::Stage;
use super::{bootloader, bootstrap, copies, steps};
use crate::monitor::CancellationToken;

/// What would be done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Plan<'a> {
    /// What the names of all outputs begin with.
    pub name: String,
    /// The stages, in their order.
    pub stages: Vec<String>,
    /// What is copied from beside the recipe, and what is remarkable about it.
    pub copies: Vec<Copies>,
    /// What is installed in the first stage: what the recipe asks for, and what booting and cloud-init need. Nothing in an image.
    pub packages: Vec<String>,
    /// The kernel's command line, besides the root filesystem. An image has its own.
    pub command_line: String,
    /// The disk's size in bytes; none for one that fits its content, or is as large as the image.
    pub disk_size: Option<u64>,
    /// The partitions that are made, in the order of the disk.
    pub partitions: Vec<Partition>,
    /// The files that are written.
    pub outputs: Vec<String>,
    /// All packages that will be installed; none if the archives were not asked.
    pub all_packages: Option<Total>,
    /// What is known of the base as a layer; likewise.
    pub layer: Option<BaseLayer>,
    /// Further archives, and whether the image keeps them.
    pub archives: Vec<Archive>,
    /// The recipe with every default.
    pub recipe: &'a Recipe,
}

/// A further archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Archive {
    /// Its address; none for the base's.
    pub uri: Option<String>,
    /// Its suites.
    pub suites: Vec<String>,
    /// The components of each suite.
    pub components: Vec<String>,
    /// Whether the image's apt knows it too.
    pub keep: bool,
}

/// A partition to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Partition {
    /// Its number in the table.
    pub number: u32,
    /// Its name in the table.
    pub name: &'static str,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its size in bytes; none for a root filesystem that fits its content.
    pub size: Option<u64>,
}

impl<'a> Plan<'a> {
    /// The plan for a build that takes place at `epoch`.
    ///
    /// # Errors
    /// If the disk's size leaves nothing for a root filesystem, or what is copied cannot be read.
    pub fn new(
        loaded: &'a Loaded,
        epoch: Epoch,
        consulted: Consulted,
        cancel: &CancellationToken,
    ) -> crate::Result<Self> {
        let recipe = &loaded.recipe;
        let name = stem(recipe, epoch);
        let fits = recipe.disk.size == DiskSize::Fit;
        // How much the content needs is known when it is there; the other partitions do not depend on it. An image has its own.
        let layout =
            if recipe.base.is_image() { Layout::of_an_image(recipe) } else { Layout::new(recipe, 0)? };
        let partition = |placed: &super::disk::Placed| Partition {
            number: placed.number,
            name: placed.name,
            start: placed.range.offset(),
            size: (placed.number != ROOT || !fits).then(|| placed.range.len()),
        };
        Ok(Self {
            stages: stages(recipe),
            copies: copies::survey(loaded, cancel)?,
            packages: if recipe.base.is_image() { Vec::new() } else { bootstrap::packages(recipe) },
            command_line: if recipe.base.is_image() {
                String::new()
            } else {
                bootloader::command_line(recipe)
            },
            disk_size: (!fits).then_some(layout.size),
            partitions: layout.partitions.iter().map(partition).collect(),
            outputs: outputs(recipe, &name),
            all_packages: consulted.total,
            layer: consulted.layer,
            archives: recipe.base.archives.iter().map(archive).collect(),
            name,
            recipe,
        })
    }
}

impl Plan<'_> {
    /// Makes sure that all that is copied can be.
    ///
    /// # Errors
    /// If something is neither a file nor a folder nor a link.
    pub fn check(&self) -> crate::Result<()> {
        copies::refuse_special(&self.copies)
    }
}

fn archive(archive: &FurtherArchive) -> Archive {
    Archive {
        uri: archive.uri.as_ref().map(|uri| uri.to_string()),
        suites: archive.suites.clone(),
        components: archive.components.clone(),
        keep: archive.keep,
    }
}

/// The stages of a build, as it names them.
fn stages(recipe: &Recipe) -> Vec<String> {
    if recipe.base.is_image() {
        let steps = recipe.steps.iter().enumerate().map(|(index, step)| steps::heading(index, step));
        let mut stages = vec![acquire::STAGE.to_owned()];
        stages.extend(work::Stage::BEFORE_STEPS.map(|stage| stage.to_string()));
        stages.extend(steps);
        stages.extend(work::Stage::AFTER_STEPS.map(|stage| stage.to_string()));
        stages.extend([Stage::Images, Stage::Verify].map(|stage| stage.to_string()));
        return stages;
    }
    let done = bootstrap::steps_done(recipe);
    let steps = recipe.steps.iter().enumerate().skip(done);
    let mut stages = match recipe.base.existing {
        Some(_) => {
            vec![acquire::STAGE.to_owned(), Stage::Unpack.to_string(), Stage::Complete.to_string()]
        }
        None => vec![Stage::Base.to_string()],
    };
    stages.extend(steps.map(|(index, step)| steps::heading(index, step)));
    stages.extend(Stage::AFTER_STEPS.map(|stage| stage.to_string()));
    stages
}

fn outputs(recipe: &Recipe, name: &str) -> Vec<String> {
    let image = |format: &OutputFormat| match format {
        OutputFormat::Qcow2 => format!("{name}.qcow2"),
        OutputFormat::Raw => format!("{name}.raw"),
    };
    let mut outputs: Vec<String> = recipe.output.formats.iter().map(image).collect();
    outputs.extend([format!("{name}.json"), "SHA256SUMS".to_owned(), format!("{name}.log")]);
    outputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::recipe::{Access, Firmware, Run, Step, example};
    use crate::size::Size;

    fn loaded(recipe: Recipe) -> Loaded {
        Loaded { recipe, folder: "/".into(), source: Default::default() }
    }

    #[test]
    fn a_disk_of_a_given_size_is_planned_to_the_byte() {
        let mut recipe = example();
        recipe.disk.size = DiskSize::Bytes(Size(2 << 30));
        recipe.boot.firmware = vec![Firmware::Uefi];
        recipe.version = Some("7".into());
        let loaded = loaded(recipe);
        let plan =
            Plan::new(&loaded, Epoch::new(0).unwrap(), Consulted::default(), &CancellationToken::new())
                .unwrap();
        let sizes: Vec<_> =
            plan.partitions.iter().map(|one| (one.number, one.start >> 20, one.size)).collect();
        assert_eq!(sizes, [(15, 4, Some(64 << 20)), (1, 68, Some((2048 - 68 - 1) << 20))]);
        assert_eq!(plan.disk_size, Some(2 << 30));
        assert_eq!(plan.outputs, ["example-7.qcow2", "example-7.json", "SHA256SUMS", "example-7.log"]);
    }

    #[test]
    fn a_step_with_another_network_than_the_others_says_so() {
        let mut recipe = example();
        let run = |network| Step::Run(Run { script: "true".into(), network, ..Run::default() });
        recipe.steps = vec![run(None), run(Some(Access::None)), run(Some(Access::Packages))];
        let loaded = loaded(recipe);
        let plan =
            Plan::new(&loaded, Epoch::new(0).unwrap(), Consulted::default(), &CancellationToken::new())
                .unwrap();
        let steps =
            ["step 1: run true", "step 2: run true (network: false)", "step 3: run true (network: packages)"];
        assert_eq!(plan.stages[1..4], steps);
        let json = serde_json::to_value(&plan).unwrap();
        assert_eq!(json.pointer("/recipe/steps/1/run/network"), Some(&false.into()));
        assert_eq!(json.pointer("/recipe/build/network"), Some(&"full".into()));
    }

    #[test]
    fn leading_installations_are_part_of_the_base() {
        let mut recipe = example();
        recipe.steps = vec![Step::Install(vec!["htop".into()]), Step::Remove(vec!["nano".into()])];
        let loaded = loaded(recipe);
        let plan =
            Plan::new(&loaded, Epoch::new(86_400).unwrap(), Consulted::default(), &CancellationToken::new())
                .unwrap();
        assert!(plan.packages.contains(&"htop".to_owned()));
        assert!(plan.packages.is_sorted());
        assert_eq!(plan.stages[1], "step 2: remove nano");
        assert_eq!((plan.disk_size, plan.partitions.last().unwrap().size), (None, None));
        assert!(plan.name.ends_with("-19700102") || loaded.recipe.version.is_some(), "{}", plan.name);
    }
}
