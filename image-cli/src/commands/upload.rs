//! `goldimg upload`: an image file becomes an image of an OpenStack cloud.

mod audited;
mod facts;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::audit::ignored_rule;
use crate::failure::{Advise, USAGE};
use crate::glance::clouds::{self, Cloud, Environment};
use crate::glance::exchange::Exchange;
use crate::glance::http::Http;
use crate::glance::image_api::{BUILD_ID, NAME, NewImage, Visibility};
use crate::glance::payload::converted::Target;
use crate::glance::rehearsal::{Rehearsal, Shown};
use crate::glance::session::Session;
use crate::glance::template;
use crate::glance::upload::{self, Job, Method, Outcome, Way};
use crate::interrupt;
use crate::properties;
use crate::size::Size;
use crate::ui::Ui;
use audited::Audit;
use facts::Facts;
use source::Sighted;

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
    visibility: Option<Visibility>,
}

impl Who {
    fn visibility(&self) -> Visibility {
        match (self.public, self.private) {
            (true, _) => Visibility::Public,
            (_, true) => Visibility::Private,
            _ => self.visibility.unwrap_or(Visibility::Shared),
        }
    }
}

/// How it gets there.
#[derive(Debug, clap::Args)]
struct WayArgs {
    /// How the bytes get there [default: direct, or what --uri and several stores need]
    #[arg(long, value_enum)]
    method: Option<Method>,
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
    fn to_way(&self) -> Way {
        Way {
            method: self.method,
            uri: self.uri.clone(),
            stores: self.store.clone(),
            all_stores: self.all_stores,
        }
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

/// All that can be told without reading the image is told first: it may take minutes.
pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    interrupt::listen()?;
    let way = args.way.to_way();
    way.check()?;
    let cloud = cloud(args, ui)?;
    let sighted = Sighted::at(args, ui)?;
    let facts = Facts::gather(&args.image)?;
    facts.check_size(&args.image)?;
    let image = new_image(args, &facts, &sighted)?;
    report(&properties::lint(&image.properties, image.visibility == Visibility::Public), ui)?;
    if args.audit == Audit::On {
        audited::check(&args.image, sighted.stored_as(), &facts.accepted, &args.ignore, ui)?;
    }
    if args.plan {
        let unknown = Cloud::unknown();
        let (cloud, is_known) = cloud.as_ref().map_or((&unknown, false), |cloud| (cloud, true));
        let older = args.replace.then_some(image.name.as_str());
        let rehearsal = Rehearsal::new(cloud, is_known, &way.stores, older);
        send(args, &rehearsal, cloud, &way, image, (&facts, &sighted), ui)?;
        return plan(args, &rehearsal.requests(), ui);
    }
    let cloud = cloud.context("no cloud is chosen")?;
    let http = Http::new(&cloud.trust)?;
    let outcome = send(args, &http, &cloud, &way, image, (&facts, &sighted), ui)?;
    show(args, &outcome, ui)?;
    Ok(ExitCode::SUCCESS)
}

/// The cloud that is meant; a plan also does without one.
fn cloud(args: &Args, ui: &Ui) -> anyhow::Result<Option<Cloud>> {
    let (wanted, environment) = (args.cloud.as_deref(), Environment::of_process()?);
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

/// Logs in, asks what is offered, and only then reads the image.
fn send(
    args: &Args,
    exchange: &dyn Exchange,
    cloud: &Cloud,
    way: &Way,
    mut image: NewImage,
    (facts, sighted): (&Facts, &Sighted<'_>),
    ui: &Ui,
) -> anyhow::Result<Outcome> {
    let session = Session::open(exchange, cloud)?;
    let method = way.method_for(&session.offer()?)?;
    let sha256 = source::sha256_of(&args.image, "reading", ui)?;
    facts.check(&args.image, &sha256)?;
    let source = sighted.prepare(&sha256, ui)?;
    image.properties.insert(BUILD_ID.into(), source.build_id.clone());
    let job = Job {
        image,
        protected: args.protected,
        hidden: args.hidden,
        payload: &*source.payload,
        expected_sha256: source.sha256.clone(),
        expected_len: source.len,
        way,
        method,
        replace: args.replace.then_some(args.keep),
        deadline: Duration::from_secs(args.way.deadline),
    };
    upload::run(&session, &job, ui)
}

/// The image as it is described to the cloud, but for what tells its build.
fn new_image(args: &Args, facts: &Facts, sighted: &Sighted<'_>) -> anyhow::Result<NewImage> {
    let name = template::fill(&args.name, &facts.parts(args.image_version.as_deref()))?;
    let mut properties = facts.properties.clone();
    for (key, value) in &args.property {
        match value.as_str() {
            "" => drop(properties.remove(key)),
            _ => drop(properties.insert(key.clone(), value.clone())),
        }
    }
    properties.insert(NAME.into(), name.clone());
    Ok(NewImage {
        id: String::new(),
        name,
        disk_format: sighted.format.clone(),
        container_format: "bare".into(),
        visibility: args.who.visibility(),
        min_disk: min_disk(args, sighted)?,
        min_ram: args.min_ram.or(facts.min_ram).unwrap_or(0),
        tags: args.tag.clone(),
        properties,
    })
}

/// Glance neither checks it nor sets it: too small a value makes servers fail when they are built.
fn min_disk(args: &Args, sighted: &Sighted<'_>) -> anyhow::Result<u64> {
    match (args.min_disk, sighted.min_disk) {
        (Some(asked), Some(needed)) if asked < needed => {
            let error =
                anyhow::anyhow!("--min-disk {asked} is less than the image's virtual size of {needed} GiB");
            Err(error).hint(|| "leave it out").exit_code(USAGE)
        }
        (Some(asked), _) => Ok(asked),
        (None, Some(needed)) => Ok(needed),
        (None, None) => {
            let error = anyhow::anyhow!("the virtual size of a {} image is not read here", sighted.format);
            Err(error).hint(|| "tell it with --min-disk, in GiB").exit_code(USAGE)
        }
    }
}

/// Warns, and fails with all that cannot work.
fn report(findings: &[properties::Finding], ui: &Ui) -> anyhow::Result<()> {
    let (fatal, other): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding.fatal);
    other.iter().for_each(|finding| ui.warning(&finding.text));
    let reasons: Vec<&str> = fatal.iter().map(|finding| finding.text.as_str()).collect();
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(anyhow::anyhow!("{}", reasons.join("; "))).exit_code(USAGE),
    }
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
