//! What outer tells inner to do, and what inner tells outer: lines of JSON over a socket that is inner's standard input.
//!
//! ```text
//! outer ── Order ────────────────────► inner      one line; its end of the socket, for whatever reason, asks inner to stop
//!       ◄─ Message::StageBegun … Message::Built │ Failed ─
//! ```

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::epoch::Epoch;
use super::layers::Key;
use super::load::{Loaded, Source};
use super::provenance::Acquired;
use super::recipe::Recipe;
use super::recipe::uri::Credentials;
use super::request::{Request, log_path};
use super::secrets::Secrets;
use super::{customize, environment};
use crate::error::{Context, Record, bail};
use crate::mistake::Mistake;
use crate::monitor::{Event, Reporter};
use crate::os_text::OsText;
use crate::variables::Variables;

/// Which code speaks: a program may have been replaced since it was started.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long the work may take to stop before it is ended with all that it started.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// All that inner knows of its caller.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    version: String,
    job: JobOrder,
    pub(super) secrets: Secrets,
    /// Bytes of memory to spare.
    pub(super) spare: Option<u64>,
    work: OsText,
    output: OsText,
    work_parent: Option<OsText>,
    cache: OsText,
    force: bool,
    keep: bool,
    shell: bool,
    epoch: Epoch,
    variables: Vec<(OsText, OsText)>,
}

/// What is to be done, as it is told.
#[derive(Debug, Serialize, Deserialize)]
enum JobOrder {
    Build {
        recipe: Box<Recipe>,
        folder: OsText,
        source: Source,
        acquired: Option<Box<Acquired>>,
        /// Of the recipe's addresses, which are shown without.
        credentials: Vec<Option<Credentials>>,
        /// Of the base, if it is a layer.
        layer: Option<Key>,
    },
    Customize(customize::Job),
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Job {
    /// To build what a recipe says; from what it begins with, if that is there already.
    Build(Box<Loaded>, Option<Box<Acquired>>, Option<Key>),
    /// To change an image.
    Customize(customize::Job),
}

impl Job {
    /// The log's file.
    pub(super) fn log(&self, request: &Request) -> PathBuf {
        match self {
            Self::Build(loaded, ..) => log_path(request, &loaded.recipe),
            Self::Customize(job) => job.log(),
        }
    }
}

/// What every version of an order says.
#[derive(Debug, Deserialize)]
struct Versioned {
    version: String,
}

impl Order {
    /// To build in the work directory `work`, with so many bytes of memory to spare.
    pub(super) fn new(
        request: &Request,
        (loaded, acquired, layer): (&Loaded, Option<Acquired>, Option<Key>),
        secrets: Secrets,
        work: &Path,
        spare: Option<u64>,
    ) -> Self {
        let mut recipe = loaded.recipe.clone();
        let credentials = recipe.uris().map(|uri| uri.credentials().cloned()).collect();
        let (folder, source) = (OsText::from(&loaded.folder), loaded.source.clone());
        let (recipe, acquired) = (Box::new(recipe), acquired.map(Box::new));
        let job = JobOrder::Build { recipe, folder, source, acquired, credentials, layer };
        Self::of(request, job, secrets, work, spare)
    }

    /// To change an image, likewise.
    pub(super) fn to_customize(
        request: &Request,
        job: customize::Job,
        secrets: Secrets,
        work: &Path,
        spare: Option<u64>,
    ) -> Self {
        Self::of(request, JobOrder::Customize(job), secrets, work, spare)
    }

    fn of(request: &Request, job: JobOrder, secrets: Secrets, work: &Path, spare: Option<u64>) -> Self {
        let kept = environment::kept(&request.variables);
        Self {
            version: VERSION.into(),
            job,
            secrets,
            spare,
            work: work.into(),
            output: OsText::from(&request.output),
            work_parent: request.work_parent.as_ref().map(OsText::from),
            cache: OsText::from(&request.cache),
            force: request.force,
            keep: request.keep,
            shell: request.shell,
            epoch: request.epoch,
            variables: kept.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        }
    }

    /// What is to be done.
    pub(super) fn job(&self) -> Job {
        match &self.job {
            JobOrder::Build { recipe, folder, source, acquired, credentials, layer } => {
                let mut recipe = (**recipe).clone();
                for (uri, credentials) in recipe.uris().zip(credentials) {
                    *uri = uri.clone().with_credentials(credentials.clone());
                }
                let (folder, source) = (folder.clone().into_path(), source.clone());
                Job::Build(Box::new(Loaded { recipe, folder, source }), acquired.clone(), layer.clone())
            }
            JobOrder::Customize(job) => Job::Customize(job.clone()),
        }
    }

    /// The work directory.
    pub(super) fn work(&self) -> PathBuf {
        self.work.clone().into_path()
    }

    /// What was asked for, without the secrets' places: inner has the secrets themselves.
    pub(super) fn request(&self) -> Request {
        let variables =
            self.variables.iter().map(|(name, value)| (name.clone().into_os(), value.clone().into_os()));
        Request {
            output: self.output.clone().into_path(),
            force: self.force,
            keep: self.keep,
            shell: self.shell,
            work_parent: self.work_parent.clone().map(OsText::into_path),
            cache: self.cache.clone().into_path(),
            layers: true,
            secrets: Vec::new(),
            epoch: self.epoch,
            variables: variables.collect::<Variables>(),
        }
    }

    /// Hands it over.
    ///
    /// # Errors
    /// If it cannot be written. An inner that is gone is no error here: its end tells why.
    pub(super) fn send(&self, mut socket: &UnixStream) -> crate::Result<()> {
        let mut line = serde_json::to_vec(self).context("writing down what to build")?;
        line.push(b'\n');
        let _ = socket.write_all(&line);
        Ok(())
    }

    /// Takes it over.
    ///
    /// # Errors
    /// If outer is gone, or another version of this program.
    pub(super) fn receive(socket: &UnixStream) -> crate::Result<Self> {
        let mut line = Vec::new();
        let doing = "reading what to build";
        // Nothing else is sent: what is read ahead is nothing.
        BufReader::new(socket).read_until(b'\n', &mut line).context(doing)?;
        // Another version may say all else otherwise.
        let Versioned { version } = serde_json::from_slice(&line).context(doing)?;
        if version != VERSION {
            bail!("this program was replaced while it ran: {version} began, and {VERSION} goes on");
        }
        serde_json::from_slice(&line).context(doing)
    }
}

/// What inner tells: an event, as its own process has it, or the last word.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    StageBegun(String),
    StageWaiting {
        stage: String,
        what: String,
        spent: Duration,
        limit: Duration,
    },
    StageEnded {
        stage: String,
        passed: bool,
        took: Duration,
    },
    BytesBegun {
        what: String,
        total: u64,
    },
    BytesDone {
        what: String,
        done: u64,
        total: u64,
    },
    BytesEnded(String),
    Note(String),
    Warning(String),
    Mistake {
        mistake: Mistake,
        path: OsText,
        rendered: String,
    },
    /// The files that were made. The last word.
    Built(Vec<OsText>),
    /// Why none were. The last word.
    Failed(Record),
}

impl Message {
    /// What is told of `event`; nothing of one that is not known here.
    fn of(event: &Event<'_>) -> Option<Self> {
        let text = |text: &str| text.to_owned();
        Some(match *event {
            Event::StageBegun { stage } => Self::StageBegun(text(stage)),
            Event::StageWaiting { stage, what, spent, limit } => {
                Self::StageWaiting { stage: text(stage), what: text(what), spent, limit }
            }
            Event::StageEnded { stage, passed, took } => {
                Self::StageEnded { stage: text(stage), passed, took }
            }
            Event::BytesBegun { what, total } => Self::BytesBegun { what: text(what), total },
            Event::BytesDone { what, done, total } => Self::BytesDone { what: text(what), done, total },
            Event::BytesEnded { what } => Self::BytesEnded(text(what)),
            Event::Note(words) => Self::Note(text(words)),
            Event::Warning(words) => Self::Warning(text(words)),
            Event::Mistake(mistake) => Self::Mistake {
                mistake: mistake.clone(),
                path: OsText::from(&mistake.path),
                rendered: mistake.rendered.clone(),
            },
        })
    }

    /// Tells `reporter`, and answers with what is not for it: the last word.
    pub(super) fn deliver(self, reporter: &dyn Reporter) -> Option<crate::Result<Vec<PathBuf>>> {
        match &self {
            Self::StageBegun(stage) => reporter.report(&Event::StageBegun { stage }),
            Self::StageWaiting { stage, what, spent, limit } => {
                reporter.report(&Event::StageWaiting { stage, what, spent: *spent, limit: *limit });
            }
            Self::StageEnded { stage, passed, took } => {
                reporter.report(&Event::StageEnded { stage, passed: *passed, took: *took });
            }
            Self::BytesBegun { what, total } => reporter.report(&Event::BytesBegun { what, total: *total }),
            Self::BytesDone { what, done, total } => {
                reporter.report(&Event::BytesDone { what, done: *done, total: *total });
            }
            Self::BytesEnded(what) => reporter.report(&Event::BytesEnded { what }),
            Self::Note(words) => reporter.report(&Event::Note(words)),
            Self::Warning(words) => reporter.report(&Event::Warning(words)),
            Self::Mistake { mistake, path, rendered } => {
                let mistake =
                    Mistake { path: path.clone().into_path(), rendered: rendered.clone(), ..mistake.clone() };
                reporter.report(&Event::Mistake(&mistake));
            }
            Self::Built(_) | Self::Failed(_) => {}
        }
        match self {
            Self::Built(files) => Some(Ok(files.into_iter().map(OsText::into_path).collect())),
            Self::Failed(record) => Some(Err(record.into())),
            _ => None,
        }
    }
}

/// Bytes that are counted between two lines about them, at least.
const STEP: u64 = 1 << 20;

/// A reporter in inner: what it hears goes to outer.
#[derive(Debug)]
pub(super) struct SocketReporter(Mutex<State>);

#[derive(Debug)]
struct State {
    socket: UnixStream,
    /// The last count of bytes that was told.
    told: u64,
}

impl SocketReporter {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self(Mutex::new(State { socket, told: 0 }))
    }

    /// Tells outer; one that is gone hears nothing, and inner is asked to stop then anyway.
    pub(super) fn send(&self, message: &Message) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match message {
            Message::BytesBegun { .. } => state.told = 0,
            Message::BytesDone { done, total, .. } => {
                if done.saturating_sub(state.told) < STEP && done < total {
                    return;
                }
                state.told = *done;
            }
            _ => {}
        }
        if let Ok(mut line) = serde_json::to_vec(message) {
            line.push(b'\n');
            let _ = state.socket.write_all(&line);
        }
    }
}

impl Reporter for SocketReporter {
    fn report(&self, event: &Event<'_>) {
        if let Some(message) = Message::of(event) {
            self.send(&message);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::error::{Error, ErrorKind};
    use crate::golden::recipe::{Distribution, Uri};
    use crate::mistake::Severity;
    use crate::monitor::{CancellationToken, Monitor, Recorder, silent};

    #[test]
    fn an_order_arrives_with_all_that_a_build_needs_and_no_more() {
        let mut recipe = Recipe::new("web", Distribution::Debian, "bookworm");
        recipe.base.mirror = Some(Uri::new("https://ann:secret@packages.example/debian"));
        let loaded = Loaded::new(&recipe, "/".as_ref(), silent()).unwrap();
        let output = PathBuf::from(OsStr::from_bytes(b"/out/\xff"));
        let variables =
            [("SOURCE_DATE_EPOCH", "7"), ("AWS_SECRET_ACCESS_KEY", "x"), ("http_proxy", "http://p")];
        let mut request = Request::new(&output, "/cache", variables.into_iter().collect()).unwrap();
        request.work_parent = Some("/work".into());
        let order =
            Order::new(&request, (&loaded, None, None), Secrets::default(), "/build/1".as_ref(), Some(1));
        let (ours, theirs) = UnixStream::pair().unwrap();
        order.send(&ours).unwrap();
        let order = Order::receive(&theirs).unwrap();
        assert_eq!((order.work(), order.spare), ("/build/1".into(), Some(1)));
        let Job::Build(loaded, None, None) = order.job() else { panic!("it is a build") };
        assert_eq!(loaded.recipe, recipe, "with the password");
        let arrived = order.request();
        assert_eq!((arrived.output, arrived.work_parent), (output, request.work_parent));
        assert_eq!((arrived.epoch.seconds(), arrived.force), (7, false));
        assert_eq!(arrived.variables.text("http_proxy"), Some("http://p"));
        assert_eq!(arrived.variables.value("AWS_SECRET_ACCESS_KEY"), None);
    }

    #[test]
    fn an_order_of_another_version_is_refused() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let recipe = Recipe::new("web", Distribution::Debian, "bookworm");
        let loaded = Loaded::new(&recipe, "/".as_ref(), silent()).unwrap();
        let request = Request::new("/out", "/cache", Variables::default()).unwrap();
        let order = Order::new(&request, (&loaded, None, None), Secrets::default(), "/work".as_ref(), None);
        let mut line = serde_json::to_value(&order).unwrap();
        line["version"] = "0.0.1".into();
        line["job"] = "something else".into();
        ours.write_all(format!("{line}\n").as_bytes()).unwrap();
        let told = Order::receive(&theirs).unwrap_err().to_string();
        assert!(told.starts_with("this program was replaced while it ran: 0.0.1 began"), "{told}");
    }

    #[test]
    fn what_inner_tells_is_heard_outside_as_it_was_told() {
        let mistake = Mistake {
            severity: Severity::Warning,
            path: "a.toml".into(),
            line: 1,
            column: 2,
            message: "odd".into(),
            label: None,
            help: Some("leave it out".into()),
            rendered: "warning: odd".into(),
        };
        let tell = |monitor: Monitor<'_>| {
            let stage = monitor.stage("make the disk");
            stage.waiting("a reply", Duration::from_secs(1), Duration::from_secs(2));
            let bytes = monitor.bytes("writing", 3 * STEP);
            bytes.add(STEP);
            bytes.add(2 * STEP);
            drop(bytes);
            monitor.note("so");
            monitor.warning("but");
            monitor.mistake(&mistake);
        };
        let cancel = CancellationToken::new();
        let (direct, through) = (Recorder::default(), Recorder::default());
        tell(Monitor::new(&direct, &cancel));
        let (ours, theirs) = UnixStream::pair().unwrap();
        let sender = SocketReporter::new(theirs);
        tell(Monitor::new(&sender, &cancel));
        sender.send(&Message::Failed(Record::from(&Error::cancelled().context("building"))));
        drop(sender);
        let mut last = None;
        for line in BufReader::new(ours).lines() {
            let message: Message = serde_json::from_str(&line.unwrap()).unwrap();
            last = message.deliver(&through);
        }
        let error = last.unwrap().unwrap_err();
        assert_eq!(
            (error.kind(), format!("{error:#}").as_str()),
            (ErrorKind::Cancelled, "building: stopped on request")
        );
        assert_eq!(through.told(), direct.told());
    }
}
