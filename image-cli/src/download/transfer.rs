//! Bytes from a server into a file, and on where a connection ended.
//!
//! ```text
//! nothing yet, or no validator ─► GET                                  200: all of it
//! some bytes and a validator   ─► GET, Range: bytes=N-, If-Range: V    206: from N on │ 200: it is another one now, all of it
//!                                                                      416: there is no byte N: all of it, once more
//! ```
//! RFC 9110, 13.1.5 (If-Range), 14.2 (Range), 14.4 (Content-Range). A validator is an entity tag that is not weak, or else when the file
//! was last changed.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Wanted;
use super::address::{is_same_server, redirected};
use super::store::Partial;
use crate::error::{Advise, Context, bail, err};
use crate::glance::exchange::{Request, Verb};
use crate::glance::http::{Http, Incoming, host_of};
use crate::monitor::{Bytes, Monitor};
use crate::printable::printable;
use crate::room::room;

/// So often it is tried again without a byte coming.
const TRIES: u32 = 5;
/// The first pause between tries; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A server leads elsewhere so often at most.
const REDIRECTS: usize = 10;
/// Read and written at once, in bytes.
const PIECE: usize = 256 << 10;
/// A file of which its server does not say how long it is has no more bytes than fit there.
const STATE_MAX: u64 = 64 << 10;

/// What the bytes that are there are of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    url: String,
    validator: Option<String>,
}

/// A file on its way.
pub(super) struct Transfer<'a> {
    pub(super) wanted: &'a Wanted,
    pub(super) http: &'a Http,
    pub(super) place: &'a Partial,
    pub(super) monitor: Monitor<'a>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fetched {
    /// Whether a part of it was there before.
    pub(super) was_resumed: bool,
}

/// How a try ended.
enum Ended {
    Whole,
    /// With so many bytes more, and why.
    Early(u64, crate::Error),
}

impl Transfer<'_> {
    /// Fetches what is missing.
    ///
    /// # Errors
    /// If the server refuses, or nothing comes after several tries; what came is kept for the next time.
    pub(super) fn run(&self) -> crate::Result<Fetched> {
        let had = self.len()?;
        let mut fetched = Fetched { was_resumed: false };
        let (mut tries, mut pause) = (0_u32, FIRST_PAUSE);
        loop {
            let ended = self.once(&mut fetched)?;
            self.monitor.check()?;
            match ended {
                Ended::Whole => return Ok(fetched),
                Ended::Early(came, _) if came > 0 => (tries, pause) = (0, FIRST_PAUSE),
                Ended::Early(..) => {}
            }
            let Ended::Early(_, error) = ended else { continue };
            tries = tries.saturating_add(1);
            if tries >= TRIES {
                let have = self.len()?;
                let kept = if have > had { ", and the next build goes on from there" } else { "" };
                return Err(error)
                    .with_context(|| format!("fetching {}", self.wanted.url))
                    .hint(|| format!("{have} bytes of it are here{kept}"));
            }
            self.wait(pause)?;
            pause = pause.saturating_mul(2);
        }
    }

    fn wait(&self, pause: Duration) -> crate::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < pause {
            self.monitor.check()?;
            std::thread::sleep(Duration::from_millis(50).min(pause));
        }
        Ok(())
    }

    /// How many bytes are there.
    fn len(&self) -> crate::Result<u64> {
        match fs::metadata(&self.place.file) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error).with_context(|| format!("reading {}", self.place.file.display())),
        }
    }

    /// One answer of the server.
    fn once(&self, fetched: &mut Fetched) -> crate::Result<Ended> {
        let state = self.state();
        let have = self.len()?;
        let validator = state.validator.filter(|_| have > 0);
        let mut request = Request::new(Verb::Get, &self.wanted.url).header("Accept-Encoding", "identity");
        if let Some(validator) = &validator {
            request = request.header("Range", format!("bytes={have}-")).header("If-Range", validator);
        }
        if let Some((name, secret)) = &self.wanted.secret {
            request = request.secret_header(name, secret);
        }
        let answer = match ask(self.http, &self.wanted.url, request)? {
            Ok(answer) => answer,
            Err(error) => return Ok(Ended::Early(0, error)),
        };
        let (from, total) = match answer.status {
            200 => (0, answer.header("content-length").and_then(|text| text.trim().parse().ok())),
            206 => match answer.header("content-range").and_then(parse_content_range) {
                Some((from, total)) if from == have && validator.is_some() => (from, total),
                _ => {
                    self.place.forget()?;
                    return Ok(Ended::Early(0, err!("the server gives another part than it was asked for")));
                }
            },
            416 if have > 0 => {
                self.place.forget()?;
                return Ok(Ended::Early(0, err!("the server has less than it had")));
            }
            status => return refused(&answer, status, &self.wanted.url).map(|error| Ended::Early(0, error)),
        };
        if from == 0 {
            self.place.forget()?;
            self.remember(&answer)?;
        }
        fetched.was_resumed |= from > 0;
        self.receive(answer, from, total)
    }

    /// Appends the body of `answer` behind `from` bytes; `total` is how many there will be.
    fn receive(&self, mut answer: Incoming, from: u64, total: Option<u64>) -> crate::Result<Ended> {
        let path = &self.place.file;
        let doing = || format!("writing {}", path.display());
        let mut file = File::options().append(true).create(true).open(path).with_context(doing)?;
        let room = room(&file).with_context(doing)?;
        let missing = total.map_or(0, |total| total.saturating_sub(from));
        if missing > room {
            bail!(
                "there are {room} bytes of room for the cache, and {missing} are to come (No space left on device)"
            );
        }
        let watch: Bytes<'_> = self.monitor.bytes("fetching", total.unwrap_or(0));
        watch.add(from);
        let mut buffer = vec![0; PIECE];
        let mut came = 0_u64;
        loop {
            self.monitor.check()?;
            let count = match answer.body.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Ok(Ended::Early(
                        came,
                        err!("the connection to {}: {error}", host_of(&self.wanted.url)),
                    ));
                }
            };
            if count == 0 {
                break;
            }
            came = came.saturating_add(count as u64);
            if came > room || total.is_some_and(|total| from.saturating_add(came) > total) {
                self.place.forget()?;
                bail!("{} gives more than there is room for, or than it said", self.wanted.url);
            }
            file.write_all(buffer.get(..count).unwrap_or_default()).with_context(doing)?;
            watch.add(count as u64);
        }
        match total {
            Some(total) if from.saturating_add(came) < total => {
                Ok(Ended::Early(came, err!("the connection to {} ended early", host_of(&self.wanted.url))))
            }
            _ => Ok(Ended::Whole),
        }
    }

    fn state(&self) -> State {
        let mut text = String::new();
        let read =
            File::open(&self.place.state).and_then(|file| file.take(STATE_MAX).read_to_string(&mut text));
        let state: Option<State> = read.ok().and_then(|_| serde_json::from_str(&text).ok());
        state.filter(|state| state.url == self.wanted.url).unwrap_or_default()
    }

    /// Notes what the server calls the file that comes.
    fn remember(&self, answer: &Incoming) -> crate::Result<()> {
        let state = State { url: self.wanted.url.clone(), validator: validator(answer) };
        let text = serde_json::to_vec(&state)?;
        fs::write(&self.place.state, text).with_context(|| format!("writing {}", self.place.state.display()))
    }
}

/// What names a file among those that were at its address (RFC 9110, 8.8).
fn validator(answer: &Incoming) -> Option<String> {
    let plain = |text: &&str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let strong = |tag: &&str| tag.starts_with('"') && tag.ends_with('"') && tag.len() > 1;
    let tag = answer.header("etag").map(str::trim).filter(plain).filter(strong);
    let date = answer.header("last-modified").map(str::trim).filter(plain);
    tag.or(date).map(str::to_owned)
}

/// Where a part begins and how long all is: `bytes 5-9/10`, `bytes 5-9/*`.
fn parse_content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, to) = range.split_once('-')?;
    let (from, to): (u64, u64) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
    let total: Option<u64> = total.trim().parse().ok();
    let fits = from <= to && total.is_none_or(|total| to.checked_add(1) == Some(total));
    fits.then_some((from, total))
}

/// Asks, and follows where the server leads. The outer error will not pass.
fn ask(http: &Http, url: &str, request: Request) -> crate::Result<Result<Incoming, crate::Error>> {
    let mut request = request;
    for _ in 0..=REDIRECTS {
        let answer = match http.receive(&request) {
            Ok(answer) => answer,
            Err(lost) if lost.may_pass() => return Ok(Err(lost.into())),
            Err(lost) => return Err(lost).with_context(|| format!("fetching {url}")),
        };
        let location = match answer.status {
            301 | 302 | 303 | 307 | 308 => answer.header("location").map(str::to_owned),
            _ => return Ok(Ok(answer)),
        };
        let location = location.ok_or_else(|| err!("{url}: the server redirects, and does not say where"))?;
        let next = redirected(&request.url, &location).with_context(|| format!("fetching {url}"))?;
        if !is_same_server(&request.url, &next) {
            request = request.without_secrets();
        }
        request.url = next;
    }
    Err(err!("fetching {url}: the server redirects more than {REDIRECTS} times"))
}

/// What to say where the server does not give it; an error that may pass, or the outer one.
fn refused(answer: &Incoming, status: u16, url: &str) -> crate::Result<crate::Error> {
    let reason = answer.header("www-authenticate").map(|how| format!(" ({})", printable(how)));
    let told = err!("{url}: HTTP {status}{}", reason.unwrap_or_default());
    match status {
        408 | 429 | 500 | 502 | 503 | 504 => Ok(told),
        401 | 403 => {
            Err(told).hint(|| "an address can have a name and a password: https://NAME:PASSWORD@HOST/…")
        }
        404 | 410 => Err(told).hint(|| "it is not there (any more): look for the address of a current one"),
        _ => Err(told),
    }
}

/// Fetches something of no more than `limit` bytes.
pub(super) fn small(url: &str, limit: u64, http: &Http, monitor: Monitor<'_>) -> crate::Result<Vec<u8>> {
    let mut pause = FIRST_PAUSE;
    let mut tries = 0_u32;
    loop {
        monitor.check()?;
        let request = Request::new(Verb::Get, url).header("Accept-Encoding", "identity");
        let error = match ask(http, url, request)? {
            Err(error) => error,
            Ok(mut answer) if answer.status == 200 => {
                let mut bytes = Vec::new();
                let body = answer.body.by_ref().take(limit.saturating_add(1));
                match { body }.read_to_end(&mut bytes) {
                    Ok(_) if bytes.len() as u64 > limit => bail!("{url} has more than {limit} bytes"),
                    Ok(_) => return Ok(bytes),
                    Err(error) => err!("the connection to {}: {error}", host_of(url)),
                }
            }
            Ok(answer) => refused(&answer, answer.status, url)?,
        };
        tries = tries.saturating_add(1);
        if tries >= TRIES {
            return Err(error).with_context(|| format!("fetching {url}"));
        }
        std::thread::sleep(pause);
        pause = pause.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests;
