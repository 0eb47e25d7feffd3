//! An image file becomes an image of a cloud: looked at, audited, named, sent, compared, published.
//!
//! ```text
//! Request ─► facts (manifest, drivers) ─► properties judged ─► audited ─► read ─► glance::upload ─► Outcome
//!            source (what is sent)                                                or, planned: each request
//! ```
//!
//! All that can be told without reading the image is told first: that may take minutes.

mod audited;
mod facts;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use self::facts::Facts;
use self::source::Sighted;
use crate::error::{Advise, err};
use crate::glance::clouds::Cloud;
use crate::glance::dry_run::{DryRun, Shown};
use crate::glance::exchange::Exchange;
use crate::glance::http::Http;
use crate::glance::image_api::{BUILD_ID, NAME, NewImage, Visibility};
use crate::glance::payload::converted::Target;
use crate::glance::session::Session;
use crate::glance::template;
use crate::glance::upload::{self, Job, Outcome};
use crate::glance::{Keep, Way};
use crate::monitor::Monitor;
use crate::properties;
use crate::variables::Variables;

/// What is to be uploaded, and as what.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// The image's file. A manifest of a build beside it (`NAME.json`) tells name, version and properties.
    pub image: PathBuf,
    /// The image's name, made from `{name}`, `{version}` and `{date}`.
    pub name: String,
    /// The version, where no manifest tells it.
    pub version: Option<String>,
    /// Properties by their names, besides those that suit the image by themselves; an empty value takes one of those away.
    pub properties: Vec<(String, String)>,
    /// Tags.
    pub tags: Vec<String>,
    /// Who sees it.
    pub visibility: Visibility,
    /// Whether nobody can delete it before this is taken back.
    pub protected: bool,
    /// Whether it is in no list, and found by its id.
    pub hidden: bool,
    /// The smallest disk that takes it, in GiB, if not its virtual size.
    pub min_disk: Option<u64>,
    /// The memory that it needs, in MiB.
    pub min_ram: Option<u64>,
    /// Glance's name of the format, where it cannot be recognised.
    pub disk_format: Option<String>,
    /// What it is converted to on its way.
    pub convert: Option<Target>,
    /// Whether an image is refused that Glance would refuse.
    pub inspect: bool,
    /// Whether an image is refused that the audit fails.
    pub audit: bool,
    /// Rules of the audit that do not count, and why.
    pub ignored: BTreeMap<String, String>,
    /// How the bytes get there.
    pub way: Way,
    /// Whether it takes over the name from the older images of the project, and how many of them are kept then.
    pub replace: Option<Keep>,
    /// How long the cloud may take to import it.
    pub deadline: Duration,
    /// The caller's variables: in the folder `TMPDIR` lies what the image is converted to.
    pub variables: Variables,
}

impl Request {
    /// To upload the image in the file `image` as one that its project sees, with the name and the properties that its manifest or
    /// its file tell; it is inspected and audited, and within an hour there.
    pub fn new(image: impl Into<PathBuf>) -> Self {
        Self {
            image: image.into(),
            name: "{name}".into(),
            version: None,
            properties: Vec::new(),
            tags: Vec::new(),
            visibility: Visibility::Shared,
            protected: false,
            hidden: false,
            min_disk: None,
            min_ram: None,
            disk_format: None,
            convert: None,
            inspect: true,
            audit: true,
            ignored: BTreeMap::new(),
            way: Way::default(),
            replace: None,
            deadline: Duration::from_secs(3600),
            variables: Variables::default(),
        }
    }
}

/// Uploads to `cloud`.
///
/// # Errors
/// If the image is not fit for it, the cloud refuses it, or what arrived is not what was sent.
pub fn run(request: &Request, cloud: &Cloud, monitor: Monitor<'_>) -> crate::Result<Outcome> {
    let ready = Ready::new(request, monitor)?;
    ready.send(&Http::new(&cloud.trust, &cloud.route)?, cloud, monitor)
}

/// The requests of an upload to `cloud`, or to one of which nothing is known; none is sent.
///
/// # Errors
/// If the image is not fit for it.
pub fn plan(request: &Request, cloud: Option<&Cloud>, monitor: Monitor<'_>) -> crate::Result<Vec<Shown>> {
    let ready = Ready::new(request, monitor)?;
    let unknown = Cloud::unknown();
    let older = request.replace.map(|_| ready.image.name.clone());
    let dry_run =
        DryRun::new(cloud.unwrap_or(&unknown), cloud.is_some(), request.way.named_stores(), older.as_deref());
    ready.send(&dry_run, cloud.unwrap_or(&unknown), monitor)?;
    Ok(dry_run.requests())
}

/// An image that nothing speaks against, as far as is known without reading all of it.
struct Ready<'a> {
    request: &'a Request,
    facts: Facts,
    sighted: Sighted<'a>,
    image: NewImage,
}

impl<'a> Ready<'a> {
    fn new(request: &'a Request, monitor: Monitor<'_>) -> crate::Result<Self> {
        let sighted = Sighted::at(request, monitor)?;
        let facts = Facts::gather(&request.image)?;
        facts.check_size(&request.image)?;
        let image = new_image(request, &facts, &sighted)?;
        judge(&properties::lint(&image.properties, image.visibility == Visibility::Public), monitor)?;
        if request.audit {
            let stored_as = sighted.stored_as();
            audited::check(&request.image, stored_as, &facts.accepted, &request.ignored, monitor)?;
        }
        Ok(Self { request, facts, sighted, image })
    }

    /// Logs in, asks what is offered, and only then reads the image.
    fn send(&self, exchange: &dyn Exchange, cloud: &Cloud, monitor: Monitor<'_>) -> crate::Result<Outcome> {
        let request = self.request;
        let session = Session::open(exchange, cloud, monitor.cancel())?;
        let method = request.way.method_for(&session.offer()?)?;
        let sha256 = source::sha256_of(&request.image, "reading", monitor)?;
        self.facts.check(&request.image, &sha256)?;
        let source = self.sighted.prepare(&sha256, monitor)?;
        let mut image = self.image.clone();
        image.properties.insert(BUILD_ID.into(), source.build_id.clone());
        let job = Job {
            image,
            protected: request.protected,
            hidden: request.hidden,
            payload: &*source.payload,
            expected_sha256: source.sha256.clone(),
            expected_len: source.len,
            way: &request.way,
            method,
            replace: request.replace,
            deadline: request.deadline,
        };
        upload::run(&session, &job, monitor)
    }
}

/// The image as it is described to the cloud, but for what tells its build.
fn new_image(request: &Request, facts: &Facts, sighted: &Sighted<'_>) -> crate::Result<NewImage> {
    let name = template::fill(&request.name, &facts.parts(request.version.as_deref()))?;
    let mut properties = facts.properties.clone();
    for (key, value) in &request.properties {
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
        visibility: request.visibility,
        min_disk: min_disk(request, sighted)?,
        min_ram: request.min_ram.or(facts.min_ram).unwrap_or(0),
        tags: request.tags.clone(),
        properties,
    })
}

/// Glance neither checks it nor sets it: too small a value makes servers fail when they are built.
fn min_disk(request: &Request, sighted: &Sighted<'_>) -> crate::Result<u64> {
    match (request.min_disk, sighted.min_disk) {
        (Some(asked), Some(needed)) if asked < needed => {
            let error = err!("--min-disk {asked} is less than the image's virtual size of {needed} GiB");
            Err(error).hint(|| "leave it out").invalid()
        }
        (Some(asked), _) => Ok(asked),
        (None, Some(needed)) => Ok(needed),
        (None, None) => {
            let error = err!("the virtual size of a {} image is not read here", sighted.format);
            Err(error).hint(|| "tell it with --min-disk, in GiB").invalid()
        }
    }
}

/// Warns, and fails with all that cannot work.
fn judge(findings: &[properties::Finding], monitor: Monitor<'_>) -> crate::Result<()> {
    let (fatal, other): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding.fatal);
    other.iter().for_each(|finding| monitor.warning(&finding.text));
    let reasons: Vec<&str> = fatal.iter().map(|finding| finding.text.as_str()).collect();
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(crate::Error::failed(reasons.join("; "))).invalid(),
    }
}
