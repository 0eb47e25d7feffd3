//! A local image becomes an image of the cloud: created, sent, verified, published.
//!
//! ```text
//! look for an earlier try ─► create (private, temporary name) ─► send ─► wait ─► verify ─► publish | rotate
//!   by goldimg_build_id          id chosen here        ▲          │                │
//!                                                      └─ again ──┘                └─ wrong: deleted
//! ```
//!
//! Rules:
//! - Nobody sees the image before its hash has been compared: until then it is private and has a temporary name.
//! - There is no resuming in Glance: after a broken connection the image is sent again from its first byte.
//! - After an answer 500 the identifier may be burnt (its file stays in the store): deleted, and created anew.
//! - Whatever fails, the image that was begun is deleted; where that fails too, it is named.

mod wait;

use std::time::Duration;

use image_core::digest::{Algorithm, Hasher};
use serde::Serialize;
use serde_json::Value;

use super::exchange::{Answer, Stream};
use super::image_api::{
    BUILD_ID, Change, Creation, Image, NAME, NewImage, Status, Visibility, expect_success,
};
use super::payload::{self, Digests, Measured, Payload, digests_of};
use super::rotate::{self, Keep, Rotated};
use super::session::Session;
use super::way::{Method, Way};
use crate::error::{Advise, Context, bail, err};
use crate::monitor::Monitor;

/// How often an image is sent before giving up.
const ATTEMPTS: u32 = 4;
/// How many identifiers an image has, before a random one is taken. Each time it is deleted uses one up, until the
/// cloud's operator purges its records.
const IDENTIFIERS: u32 = 16;
/// The pause before the second attempt; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be uploaded, and how.
pub(crate) struct Job<'a> {
    /// Under its final name, as visible as it is to be at the end.
    pub(crate) image: NewImage,
    pub(crate) protected: bool,
    pub(crate) hidden: bool,
    pub(crate) payload: &'a dyn Payload,
    /// The SHA-256 that the payload had before, where it is the file itself.
    pub(crate) expected_sha256: Option<String>,
    /// In bytes, about: for the progress bar.
    pub(crate) expected_len: u64,
    pub(crate) way: &'a Way,
    /// What the way comes to in this cloud.
    pub(crate) method: Method,
    /// Whether older images make room, and how many of them stay.
    pub(crate) replace: Option<Keep>,
    /// How long an import may take.
    pub(crate) deadline: Duration,
}

/// What became of it.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The image as Glance describes it now.
    pub image: Image,
    /// Whether the cloud's hash was compared with what was sent.
    pub verified: bool,
    /// Whether an earlier run had uploaded it already.
    pub(crate) found: bool,
    /// What became of the images that had its name.
    #[serde(flatten)]
    pub rotated: Rotated,
}

/// Uploads an image.
///
/// # Errors
/// Where the cloud refuses or fails; the message says what is left behind, if anything is.
pub(crate) fn run(session: &Session<'_>, job: &Job<'_>, monitor: Monitor<'_>) -> crate::Result<Outcome> {
    let mark = uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect();
    Upload { session, job, monitor, owner: session.project().map(|project| project.id), mark }.run()
}

struct Upload<'a> {
    session: &'a Session<'a>,
    job: &'a Job<'a>,
    monitor: Monitor<'a>,
    owner: Option<String>,
    /// Part of the temporary name: tells this run's image from one that another run creates at the same time.
    mark: String,
}

fn under_way(image: &Image) -> crate::Error {
    let error =
        err!("another upload of this image is under way: image {} is {}", image.id, image.status.name());
    let hint = || format!("wait for it; if nothing uploads it any more: openstack image delete {}", image.id);
    Err::<(), _>(error).hint(hint).err().unwrap_or_else(|| err!("another upload is under way"))
}

/// What an attempt to send ended in, where not in failure.
enum Sent {
    Whole(Digests),
    /// Nothing of it is left: the same image can be sent again.
    Again(crate::Error),
    /// The image is of no use any more.
    Burnt(crate::Error),
}

impl Upload<'_> {
    fn run(&self) -> crate::Result<Outcome> {
        let earlier = self.earlier()?;
        if self.job.replace.is_none() {
            self.refuse_second_of_name(earlier.as_ref())?;
        }
        let found = earlier.is_some();
        let (image, verified) = match earlier {
            Some(image) => self.resume(image)?,
            None => self.bring(self.job.method)?,
        };
        let id = image.id.clone();
        self.publish(image, verified, found)
            .with_context(|| format!("image {id} is uploaded, but not published"))
            .hint(|| "the same command again goes on from here")
    }

    /// An image that an earlier run of the same build, for the same name, has begun or completed.
    fn earlier(&self) -> crate::Result<Option<Image>> {
        let Some(owner) = &self.owner else { return Ok(None) };
        let Some(build_id) = self.job.image.properties.get(BUILD_ID) else { return Ok(None) };
        let name = &self.job.image.name;
        let mut complete = None;
        for image in self.session.images(&[(BUILD_ID, build_id), ("owner", owner)])? {
            let current = image.name.as_deref();
            let ours = image.property(NAME) == Some(name)
                && current.is_some_and(|current| {
                    current == name || current.starts_with(&self.job.temporary_stem())
                });
            if !ours {
                continue;
            }
            let Some(image) = wait::until_imported(self.session, image)? else { continue };
            match image.status {
                Status::Active => complete = complete.or(Some(image)),
                Status::Importing if image.property("os_glance_failed_import").is_none() => {
                    self.monitor.note(&format!("image {} is being imported since an earlier run", image.id));
                    complete = complete.or(Some(image));
                }
                Status::Saving | Status::Uploading
                    if !wait::is_staged(&image) && !wait::is_stale(&image, self.job.deadline) =>
                {
                    return Err(under_way(&image));
                }
                Status::Deactivated | Status::Deleted | Status::PendingDelete => {}
                _ => {
                    let state = image.status.name();
                    self.session
                        .delete_image(&image.id)
                        .context("removing what an earlier run left behind")?;
                    self.monitor.note(&format!("deleted image {}, left {state} by an earlier run", image.id));
                }
            }
        }
        Ok(complete)
    }

    /// Names are not unique in Glance: two of one name make the name useless.
    fn refuse_second_of_name(&self, own: Option<&Image>) -> crate::Result<()> {
        let Some(owner) = &self.owner else { return Ok(()) };
        let name = &self.job.image.name;
        let same = self.session.images(&[("name", name), ("owner", owner)])?;
        match same.iter().find(|image| Some(&image.id) != own.map(|own| &own.id)) {
            Some(other) => Err(err!("this project has an image of that name already: {}", other.title()))
                .hint(|| "--replace rotates it out of the way; --name '{name} {date}' makes another name"),
            None => Ok(()),
        }
    }

    /// Goes on with what an earlier run has uploaded: its hash is compared (again).
    fn resume(&self, image: Image) -> crate::Result<(Image, bool)> {
        let id = image.id.clone();
        let image = wait::until_active(self.session, &id, self.job.deadline)?;
        self.monitor.note(&format!("image {id} was uploaded by an earlier run: comparing its hash"));
        let digests = self.read_through("reading")?;
        let verified = self.verify(&image, &digests).map_err(|error| self.abandon(&id, error))?;
        Ok((image, verified))
    }

    /// Creates, sends, waits and verifies. On failure nothing is left, or it is named.
    fn bring(&self, method: Method) -> crate::Result<(Image, bool)> {
        let mut id = self.create()?;
        let result = self.fill(method, &mut id).and_then(|digests| {
            let image = wait::until_active(self.session, &id, self.job.deadline)?;
            let verified = self.verify(&image, &digests)?;
            Ok((image, verified))
        });
        result.map_err(|error| match error.cause::<wait::Overdue>() {
            // It may yet become what it should: the next run looks.
            Some(_) => error,
            None => self.abandon(&id, error),
        })
    }

    fn create(&self) -> crate::Result<String> {
        let wanted = self.job.image.visibility;
        let mut new = self.job.image.clone();
        new.name = format!("{}{})", self.job.temporary_stem(), self.mark);
        // Whether one may publish is asked now, not after gigabytes.
        let asks = matches!(wanted, Visibility::Public | Visibility::Community);
        new.visibility = if asks { wanted } else { Visibility::Private };
        let image = self.create_once(new)?;
        if asks {
            self.session
                .change_image(&image.id, &[Change::new("visibility", Visibility::Private.name())])
                .map_err(|error| self.abandon(&image.id, error))?;
        }
        Ok(image.id)
    }

    /// Two runs at once ask for the same identifier: the cloud decides which of them creates the image.
    fn create_once(&self, mut new: NewImage) -> crate::Result<Image> {
        for attempt in 0..=IDENTIFIERS {
            new.id = self.identifier(attempt);
            match self.session.create_image(&new)? {
                Creation::New(image) => return Ok(image),
                // A repeated request finds what the first one made.
                Creation::Taken(Some(image)) if image.name.as_ref() == Some(&new.name) => return Ok(image),
                Creation::Taken(Some(image)) => return Err(under_way(&image)),
                Creation::Taken(None) => {}
            }
        }
        bail!("creating image {:?}: the cloud says that every identifier is taken", self.job.image.name)
    }

    /// The same for the same image, name and project; another one for each attempt, and a random one for the last.
    fn identifier(&self, attempt: u32) -> String {
        let build = self.job.image.properties.get(BUILD_ID).filter(|_| attempt < IDENTIFIERS);
        let (Some(owner), Some(build)) = (&self.owner, build) else {
            return uuid::Uuid::new_v4().to_string();
        };
        let mut hasher = Hasher::new(Algorithm::Sha256);
        for part in [owner, build, &self.job.image.name, &attempt.to_string()] {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
        let digits = hasher.finish().hex;
        let number =
            digits.get(..32).and_then(|digits| u128::from_str_radix(digits, 16).ok()).unwrap_or_default();
        uuid::Builder::from_custom_bytes(number.to_be_bytes()).into_uuid().to_string()
    }

    /// Gets the bytes there, in several attempts where that helps. `id` is the image's at the end.
    fn fill(&self, method: Method, id: &mut String) -> crate::Result<Digests> {
        if method == Method::WebDownload {
            let digests = self.read_through("reading")?;
            self.start_import(id, self.job.way.import(method))?;
            return Ok(digests);
        }
        let mut pause = PAUSE;
        for attempt in 1.. {
            let last = attempt == ATTEMPTS;
            match self.send(id, method)? {
                Sent::Whole(digests) => {
                    if method == Method::GlanceDirect {
                        self.start_import(id, self.job.way.import(method))?;
                    }
                    return Ok(digests);
                }
                Sent::Again(error) | Sent::Burnt(error) if last => {
                    return Err(error.context(format!("sending the image failed {ATTEMPTS} times")));
                }
                Sent::Again(error) => self.monitor.warning(&format!("{error:#}; sending it again")),
                Sent::Burnt(error) => {
                    self.monitor.warning(&format!("{error:#}; creating the image anew"));
                    self.session.delete_image(id)?;
                    *id = self.create()?;
                }
            }
            self.session.pause(pause)?;
            pause *= 2;
        }
        bail!("sending the image was given up")
    }

    /// One attempt; a second one at once with a new token where the old one has expired.
    fn send(&self, id: &str, method: Method) -> crate::Result<Sent> {
        let mut request =
            self.session.data_request(id, if method == Method::Direct { "/file" } else { "/stage" })?;
        if let (Method::Direct, Some(store)) = (method, self.job.way.named_stores().first()) {
            request = request.header("X-Image-Meta-Store", store);
        }
        let len = self.job.payload.len();
        if let (Method::Direct, Some(len)) = (method, len) {
            request = request.header("x-openstack-image-size", len.to_string());
        }
        let mut renewed = false;
        loop {
            let (result, digests) = {
                let progress = self.monitor.bytes("uploading", self.job.expected_len);
                let mut reader = Measured::new(self.job.payload.open()?, len, Some(&progress));
                let result = self.session.send_stream(&request, Stream { reader: &mut reader, len });
                if let Some(failure) = reader.take_failure() {
                    return Err(payload::failure(failure).context("reading the image"));
                }
                (result, reader.finish())
            };
            match result {
                Ok(answer) if self.session.is_dry_run() && answer.is_success() => {
                    return Ok(Sent::Whole(Digests::unknown()));
                }
                Ok(answer) if answer.is_success() => return self.whole(digests),
                Ok(answer) if answer.status == 401 && !renewed => {
                    self.session.renew()?;
                    renewed = true;
                }
                Ok(answer) => return self.judge(id, answer),
                Err(lost) if lost.may_pass() => return self.after_loss(id, lost.into()),
                Err(lost) => return Err(lost.into()),
            }
        }
    }

    fn whole(&self, digests: Option<Digests>) -> crate::Result<Sent> {
        let Some(digests) = digests else {
            return Ok(Sent::Burnt(err!("the cloud took the image for complete before all of it was sent")));
        };
        self.check_unchanged(&digests)?;
        Ok(Sent::Whole(digests))
    }

    /// What a refusal means for the image.
    fn judge(&self, id: &str, answer: Answer) -> crate::Result<Sent> {
        let status = answer.status;
        let error = match expect_success(answer) {
            Ok(_) => bail!("the cloud answered with a success that is none"),
            Err(error) => error.context("the cloud did not take the image"),
        };
        match status {
            409 => self.after_loss(id, error),
            500 => Ok(Sent::Burnt(error)),
            429 | 502 | 503 | 504 => Ok(Sent::Again(error)),
            404 | 410 => Err(error.context("the image was deleted while it was sent")),
            _ => Err(error),
        }
    }

    /// What the image's state says after the connection broke.
    fn after_loss(&self, id: &str, error: crate::Error) -> crate::Result<Sent> {
        let image = match wait::until_settled(self.session, id) {
            Ok(Some(image)) => image,
            Ok(None) => return Err(error.context("the image was deleted while it was sent")),
            Err(silent) => return Err(silent.context(error)),
        };
        match image.status {
            Status::Queued => Ok(Sent::Again(error)),
            // All of it arrived, only the answer got lost: the hash will tell.
            Status::Active => Ok(Sent::Whole(self.read_through("reading")?)),
            _ => Ok(Sent::Burnt(error)),
        }
    }

    fn start_import(&self, id: &str, body: Value) -> crate::Result<()> {
        let answer = self.session.import_image(id, body).context("starting the import")?;
        if answer.status == 409 {
            // A repeated request finds its first try at work.
            let image = self.session.image(id)?;
            if matches!(image.status, Status::Importing | Status::Active) {
                return Ok(());
            }
        }
        expect_success(answer).map(drop).context("starting the import")
    }

    fn read_through(&self, what: &str) -> crate::Result<Digests> {
        if self.session.is_dry_run() {
            return Ok(Digests::unknown());
        }
        let progress = self.monitor.bytes(what, self.job.expected_len);
        let digests = digests_of(self.job.payload, Some(&progress)).context("reading the image")?;
        self.check_unchanged(&digests)?;
        Ok(digests)
    }

    fn check_unchanged(&self, digests: &Digests) -> crate::Result<()> {
        match &self.job.expected_sha256 {
            Some(expected) if *expected != digests.sha256 => bail!("the file changed while it was sent"),
            _ => Ok(()),
        }
    }

    /// Compares what the cloud has with what was sent; whether there was something to compare.
    fn verify(&self, image: &Image, digests: &Digests) -> crate::Result<bool> {
        if self.session.is_dry_run() {
            return Ok(true);
        }
        let format = &self.job.image.disk_format;
        if image.disk_format.as_ref() != Some(format) {
            let now = image.disk_format.as_deref().unwrap_or("something else");
            self.monitor.warning(&format!(
                "the cloud converted the image from {format} to {now}: its hash cannot be compared with what was sent"
            ));
            return Ok(false);
        }
        if image.size != Some(digests.len) {
            bail!("the cloud has {} bytes of the {} that were sent", image.size.unwrap_or(0), digests.len);
        }
        let strong = image.os_hash_algo.as_deref().zip(image.os_hash_value.as_deref());
        let weak = image.checksum.as_deref().map(|checksum| ("md5", checksum));
        let mut compared = false;
        for (algorithm, theirs) in strong.into_iter().chain(weak) {
            let Some(ours) = digests.by_name(algorithm) else { continue };
            if !ours.eq_ignore_ascii_case(theirs) {
                return Err(err!(
                    "the cloud stored other bytes than were sent: {algorithm} {theirs} instead of {ours}"
                ))
                .hint(|| "try again; if it happens twice, tell the cloud's operator");
            }
            compared = true;
        }
        if !compared {
            self.monitor
                .warning("the cloud tells no hash of a kind known here: what it stored is not verified");
        }
        Ok(compared)
    }

    /// Gives the verified image its name and makes it visible.
    fn publish(&self, image: Image, verified: bool, found: bool) -> crate::Result<Outcome> {
        let mut changes = vec![
            Change::new("visibility", self.job.image.visibility.name()),
            Change::new("protected", self.job.protected),
            Change::new("os_hidden", self.job.hidden),
        ];
        let name = &self.job.image.name;
        let (image, rotated) = match (self.job.replace, &self.owner) {
            (Some(keep), Some(owner)) => {
                if image.name.as_ref() != Some(name) {
                    self.session.change_image(&image.id, &changes)?;
                }
                rotate::rotate(self.session, self.monitor, &image, name, owner, keep)?
            }
            (Some(_), None) => {
                bail!("the token belongs to no project: whose images could be replaced is unclear")
            }
            (None, _) => {
                changes.insert(0, Change::new("name", name.as_str()));
                (self.session.change_image(&image.id, &changes)?, Rotated::default())
            }
        };
        Ok(Outcome { image, verified, found, rotated })
    }

    /// Deletes an image that is of no use, and says so where that fails.
    fn abandon(&self, id: &str, error: crate::Error) -> crate::Error {
        match self.session.delete_image(id) {
            Ok(()) => error,
            Err(second) => Err::<(), _>(error)
                .with_context(|| format!("image {id} is left behind, useless ({second:#})"))
                .hint(|| format!("openstack image delete {id}"))
                .err()
                .unwrap_or(second),
        }
    }
}

impl Job<'_> {
    /// How the name begins until the image has been verified.
    fn temporary_stem(&self) -> String {
        let name: String = self.image.name.chars().take(220).collect();
        format!("{name} (being uploaded ")
    }
}
