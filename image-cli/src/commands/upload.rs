//! `goldimg upload`: an image file becomes an image of an OpenStack cloud.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use goldimg::glance::{
    Cloud, Environment, Keep, Method, Outcome, Shown, Stores, Target, Visibility, Way, clouds,
};
use goldimg::size::Size;
use goldimg::upload::{self, Request};

use super::audit::ignored_rule;
use super::choice::Choice;
use crate::interrupt;
use crate::ui::Ui;

/// Whether an image is audited before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Audit {
    /// One that fails is refused
    On,
    /// Whatever is in it
    Off,
}

/// Arguments of `goldimg upload`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg upload out/debian-12.qcow2 --cloud mycloud
  goldimg upload out/debian-12.qcow2 --cloud mycloud --name 'Debian 12' --replace --keep 3 --public
  goldimg upload disk.raw --property hw_disk_bus=scsi --property hw_scsi_model=virtio-scsi
  goldimg upload disk.qcow2 --cloud mycloud --plan      every request, and none is sent

The image is private and has a temporary name until its hash has been compared with what was sent.")]
pub(crate) struct Args {
    /// The image: qcow2, raw, or another format that Glance takes
    image: PathBuf,
    /// The cloud's name in clouds.yaml [default: OS_CLOUD, the OS_* variables, or the only cloud there is]
    #[arg(long, value_name = "NAME")]
    cloud: Option<String>,
    /// The image's name, made from {name}, {version} and {date}
    #[arg(long, value_name = "TEMPLATE", default_value = "{name}")]
    name: String,
    /// The version, where no manifest beside the image tells it
    #[arg(long, value_name = "VERSION")]
    image_version: Option<String>,
    /// A property; an empty value takes one away that would be set by default
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    property: Vec<(String, String)>,
    /// A tag
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    #[command(flatten)]
    who: Who,
    /// Nobody can delete it before this is taken back
    #[arg(long)]
    protected: bool,
    /// It is in no list, and found by its id
    #[arg(long)]
    hidden: bool,
    /// The smallest disk that takes it [default: its virtual size]
    #[arg(long, value_name = "GIB")]
    min_disk: Option<u64>,
    /// The memory it needs
    #[arg(long, value_name = "MIB")]
    min_ram: Option<u64>,
    /// Glance's name of the format, where it cannot be recognised (ami, ploop …)
    #[arg(long, value_name = "FORMAT")]
    disk_format: Option<String>,
    /// Send it as raw (streamed), as qcow2 or as qcow2:zstd (by way of a temporary file)
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["disk_format", "uri"])]
    convert: Option<Target>,
    /// Send it even if Glance would refuse it: clouds before 2025.1 took more
    #[arg(long)]
    no_inspect: bool,
    /// Whether an image that `goldimg audit` fails is refused
    #[arg(long, value_enum, default_value_t = Audit::On)]
    audit: Audit,
    /// A rule of the audit that does not count here, and why (may be given more than once)
    #[arg(long, value_name = "RULE=REASON", value_parser = ignored_rule)]
    ignore: Vec<(String, String)>,
    #[command(flatten)]
    way: WayArgs,
    /// Takes over the name from the older images of this project: they are renamed with their date, and hidden
    #[arg(long)]
    replace: bool,
    /// Of the older images keep only so many; protected ones and those in use always stay
    #[arg(long, value_name = "COUNT", requires = "replace")]
    keep: Option<usize>,
    /// Show every request, send none
    #[arg(long)]
    plan: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Who sees it.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Who {
    /// Everyone sees it; an administrator's privilege on most clouds
    #[arg(long)]
    public: bool,
    /// This project sees it
    #[arg(long)]
    private: bool,
    /// Who sees it [default: this project, and those it is shared with]
    #[arg(long, value_enum)]
    visibility: Option<Choice<Visibility>>,
}

impl Who {
    fn visibility(&self) -> Visibility {
        match (self.public, self.private) {
            (true, _) => Visibility::Public,
            (_, true) => Visibility::Private,
            _ => self.visibility.map_or(Visibility::Shared, |choice| choice.0),
        }
    }
}

/// How it gets there.
#[derive(Debug, clap::Args)]
struct WayArgs {
    /// How the bytes get there [default: direct, or what --uri and several stores need]
    #[arg(long, value_enum)]
    method: Option<Choice<Method>>,
    /// Where the cloud itself fetches the image; the local file is what its hash is compared with
    #[arg(long, value_name = "URL")]
    uri: Option<String>,
    /// The store it goes to; again for several
    #[arg(long, value_name = "STORE", conflicts_with = "all_stores")]
    store: Vec<String>,
    /// Into every store
    #[arg(long)]
    all_stores: bool,
    /// How many seconds the cloud may take to import it
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    deadline: u64,
}

impl WayArgs {
    fn to_way(&self) -> goldimg::Result<Way> {
        let stores = if self.all_stores { Stores::All } else { Stores::Named(self.store.clone()) };
        Way::new(self.method.map(|choice| choice.0), self.uri.clone(), stores)
    }
}

/// `key=value`.
fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a property is written KEY=VALUE")?;
    match key.trim() {
        "" => Err("a property needs a name: KEY=VALUE".into()),
        key => Ok((key.to_owned(), value.to_owned())),
    }
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    interrupt::listen()?;
    let request = request(args)?;
    let cloud = cloud(args, ui)?;
    if args.plan {
        return plan(args, &upload::plan(&request, cloud.as_ref(), ui.monitor())?, ui);
    }
    let outcome = upload::run(&request, &cloud.context("no cloud is chosen")?, ui.monitor())?;
    show(args, &outcome, ui)?;
    Ok(ExitCode::SUCCESS)
}

fn request(args: &Args) -> goldimg::Result<Request> {
    let mut request = Request::new(&args.image);
    request.name.clone_from(&args.name);
    request.version.clone_from(&args.image_version);
    request.properties.clone_from(&args.property);
    request.tags.clone_from(&args.tag);
    request.visibility = args.who.visibility();
    request.protected = args.protected;
    request.hidden = args.hidden;
    request.min_disk = args.min_disk;
    request.min_ram = args.min_ram;
    request.disk_format.clone_from(&args.disk_format);
    request.convert = args.convert;
    request.inspect = !args.no_inspect;
    request.audit = args.audit == Audit::On;
    request.ignored = args.ignore.iter().cloned().collect();
    request.way = args.way.to_way()?;
    request.replace = args.replace.then(|| args.keep.map_or(Keep::All, Keep::Newest));
    request.deadline = Duration::from_secs(args.way.deadline);
    request.variables = std::env::vars_os().collect();
    Ok(request)
}

/// The cloud that is meant; a plan also does without one.
fn cloud(args: &Args, ui: &Ui) -> anyhow::Result<Option<Cloud>> {
    let (wanted, environment) = (args.cloud.as_deref(), environment()?);
    if args.plan && !clouds::is_chosen(wanted, &environment)? {
        ui.note(
            "no cloud is chosen (--cloud): how one logs in there, and whether it takes this (methods, stores, rights, \
             names that are taken), is not known",
        );
        return Ok(None);
    }
    let found = clouds::find(wanted, &environment)?;
    found.warnings.iter().for_each(|warning| ui.warning(warning));
    Ok(Some(found.cloud))
}

/// Where clouds are described, for this process.
pub(super) fn environment() -> anyhow::Result<Environment> {
    let current_dir = std::env::current_dir().context("finding the current directory")?;
    Ok(Environment::new(&std::env::vars_os().collect(), current_dir, std::env::home_dir()))
}

fn plan(args: &Args, requests: &[Shown], ui: &Ui) -> anyhow::Result<ExitCode> {
    if args.json {
        ui.json(&requests)?;
    } else {
        requests.iter().try_for_each(|request| ui.line(&lines(request)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(request: &Shown) -> String {
    let mut text = format!("{} {}", request.method, request.url);
    for (name, value) in &request.headers {
        text.push_str(&format!("\n    {name}: {value}"));
    }
    if let Some(body) = &request.body {
        text.push_str(&format!("\n    {body}"));
    }
    if let Some(data) = &request.data {
        text.push_str(&format!("\n    ({data})"));
    }
    text
}

fn show(args: &Args, outcome: &Outcome, ui: &Ui) -> anyhow::Result<()> {
    if args.json {
        return ui.json(outcome);
    }
    let image = &outcome.image;
    let size = image.size.map_or(String::new(), |size| format!(", {}", Size(size)));
    let verified = match (&image.os_hash_algo, outcome.verified) {
        (Some(algorithm), true) => format!("{algorithm} compared"),
        (None, true) => "md5 compared".to_owned(),
        (_, false) => "not verified".to_owned(),
    };
    ui.note(&format!(
        "{} is {}, {}{size}, {verified}",
        image.title(),
        image.status.name(),
        image.visibility.name()
    ));
    let rotated = &outcome.rotated;
    rotated.renamed.iter().for_each(|older| ui.note(&format!("renamed {} to {:?}", older.id, older.name)));
    rotated.hidden.iter().for_each(|older| ui.note(&format!("hid {} ({:?})", older.id, older.name)));
    rotated.deleted.iter().for_each(|older| ui.note(&format!("deleted {} ({:?})", older.id, older.name)));
    ui.line(&image.id)?;
    Ok(())
}
