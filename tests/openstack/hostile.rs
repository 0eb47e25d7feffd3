//! A cloud made up in this process, which misbehaves as it is told.
//!
//! One thread a connection, one request a connection. Unless a script says otherwise it answers as a cloud where all
//! goes well, and it keeps the state of one image.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::support::program::{Invocation, Outcome};
use crate::support::{folder, goldimg};

/// What the scripts may not let out.
pub(super) const PASSWORD: &str = "hush-password";
pub(super) const TOKEN: &str = "hush-token";

/// More of a request's body is counted, and not kept.
const KEPT: usize = 1 << 20;

/// What is done with a request.
pub(super) enum Reply {
    /// As a good cloud would.
    Well,
    /// This status and body, after the request's body was read.
    Status(u16, String),
    /// This status, before the request's body was read; then the connection is closed.
    Early(u16),
    /// So many bytes of the body are read, then the connection is closed.
    Cut(usize),
    /// All is done as by a good cloud, but the answer never comes.
    Swallow,
}

/// Which request: method and path; how often this method and path were asked for before.
pub(super) type Script = dyn Fn(&str, &str, usize) -> Reply + Send + Sync;

#[derive(Default)]
struct State {
    requests: Vec<String>,
    tokens: usize,
    image: Value,
}

impl State {
    /// The image's data are where they belong.
    fn store(&mut self, hash: &str) {
        self.image["status"] = json!("active");
        self.image["os_hash_algo"] = json!("sha512");
        self.image["os_hash_value"] = json!(hash);
    }
}

/// The made-up cloud.
pub(super) struct Hostile {
    address: String,
    state: Arc<Mutex<State>>,
    dir: tempfile::TempDir,
}

/// Starts one. `hash` is the SHA-512 that it will claim of what it has stored.
pub(super) fn start(hash: &str, script: Box<Script>) -> Hostile {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let state = Arc::new(Mutex::new(State::default()));
    let server =
        Server { address: address.clone(), hash: hash.to_owned(), state: Arc::clone(&state), script };
    let server = Arc::new(server);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let server = Arc::clone(&server);
            std::thread::spawn(move || server.serve(stream.expect("a connection")));
        }
    });
    Hostile { address, state, dir: folder() }
}

impl Hostile {
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its address, with the scheme.
    pub(super) fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// goldimg as a user of this cloud.
    pub(super) fn goldimg(&self, arguments: &[&str]) -> Invocation {
        self.as_user(goldimg(arguments))
    }

    fn as_user(&self, invocation: Invocation) -> Invocation {
        invocation
            .folder(self.dir())
            .env("HOME", self.dir())
            .env("XDG_CONFIG_HOME", self.dir())
            .env("NO_PROXY", "127.0.0.1")
            .env("RUST_BACKTRACE", "0")
            .env("OS_AUTH_URL", format!("http://{}", self.address))
            .env("OS_USERNAME", "me")
            .env("OS_PASSWORD", PASSWORD)
            .env("OS_PROJECT_NAME", "p")
    }

    /// Runs it; whatever comes of it, no secret is said.
    fn quiet(&self, invocation: Invocation) -> Outcome {
        let outcome = invocation.run();
        let said = outcome.snapshot();
        assert!(!said.contains(PASSWORD) && !said.contains(TOKEN), "{said}");
        outcome
    }

    /// Uploads `image` with these options.
    pub(super) fn upload_by(&self, image: &Path, options: &[&str]) -> Outcome {
        let image = image.to_string_lossy();
        self.quiet(
            self.goldimg(
                &["upload", &image, "--json", "--audit", "off"]
                    .iter()
                    .chain(options)
                    .copied()
                    .collect::<Vec<_>>(),
            ),
        )
    }

    /// Uploads `image` by a process that may allocate no more than this.
    pub(super) fn upload_within(&self, image: &Path, option: &str, memory_kib: u64) -> Outcome {
        let program = goldimg([""; 0]).path();
        let words = format!("{} upload --json --audit off {option} {}", program.display(), image.display());
        let script = format!("ulimit -d {memory_kib}; exec {words}");
        self.quiet(self.as_user(Invocation::new(Path::new("/bin/sh"), ["-c", &script])))
    }

    /// The image is gone, as if it had never been.
    pub(super) fn forget(&self) {
        lock(&self.state).image = Value::Null;
    }

    /// "METHOD path" of every request, the identifier of the image replaced by `ID`.
    pub(super) fn requests(&self) -> Vec<String> {
        lock(&self.state).requests.clone()
    }

    /// How many requests were of this kind.
    pub(super) fn count(&self, request: &str) -> usize {
        self.requests().iter().filter(|known| *known == request).count()
    }
}

struct Server {
    address: String,
    hash: String,
    state: Arc<Mutex<State>>,
    script: Box<Script>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    fn serve(&self, mut stream: TcpStream) {
        let Some((head, mut body)) = read_head(&mut stream) else { return };
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = without_id(target.split('?').next().unwrap_or_default());
        let kind = format!("{method} {path}");
        let before = {
            let mut state = lock(&self.state);
            let before = state.requests.iter().filter(|known| **known == kind).count();
            state.requests.push(kind);
            before
        };
        let reply = (self.script)(method, &path, before);
        let len = header(&head, "content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
        match reply {
            Reply::Early(status) => {
                return answer(&mut stream, status, &json!({ "message": "early" }).to_string(), "");
            }
            Reply::Cut(count) => {
                read_body(&mut stream, &mut body, count.min(len));
                return;
            }
            _ => {}
        }
        let len = read_body(&mut stream, &mut body, len);
        match reply {
            Reply::Status(status, text) => answer(&mut stream, status, &text, ""),
            Reply::Swallow => drop(self.well(method, target, &head, &body, len)),
            _ => {
                let (status, text, extra) = self.well(method, target, &head, &body, len);
                answer(&mut stream, status, &text, &extra);
            }
        }
    }

    /// What a good cloud answers to a request with a body of `len` bytes, which begins with `body`: status, body,
    /// further header lines.
    fn well(&self, method: &str, target: &str, head: &str, body: &[u8], len: usize) -> (u16, String, String) {
        let path = &without_id(target.split('?').next().unwrap_or_default());
        let mut state = lock(&self.state);
        let plain = |status: u16, value: Value| (status, value.to_string(), String::new());
        if path == "/v3/auth/tokens" {
            state.tokens += 1;
            let endpoint =
                json!({ "interface": "public", "region_id": "R", "url": format!("http://{}", self.address) });
            let catalog = json!([{ "type": "image", "endpoints": [endpoint] }]);
            let token = json!({ "token": { "project": { "id": "p1", "name": "p" }, "catalog": catalog } });
            return (201, token.to_string(), format!("X-Subject-Token: {TOKEN}-{}\r\n", state.tokens));
        }
        if header(head, "x-auth-token") != Some(format!("{TOKEN}-{}", state.tokens)) {
            return plain(401, json!({ "message": "not the newest token" }));
        }
        match (method, path.as_str()) {
            ("GET", "/v2/info/import") => {
                plain(200, json!({ "import-methods": { "value": ["glance-direct"] } }))
            }
            ("GET", "/v2/info/stores") => plain(404, Value::Null),
            ("GET", "/v2/images") => {
                let shown = !state.image.is_null() && target.contains("os_hidden=false");
                plain(200, json!({ "images": Vec::from_iter(shown.then_some(&state.image)) }))
            }
            ("POST", "/v2/images") => {
                let mut image: Value = serde_json::from_slice(body).unwrap_or_default();
                if state.image["id"] == image["id"] {
                    return plain(409, json!({ "message": "that id exists" }));
                }
                image["status"] = json!("queued");
                image["owner"] = json!("p1");
                state.image = image.clone();
                plain(201, image)
            }
            ("PUT", "/v2/images/ID/stage") => {
                state.image["status"] = json!("uploading");
                state.image["size"] = json!(len);
                plain(204, Value::Null)
            }
            ("PUT", "/v2/images/ID/file") => {
                state.image["size"] = json!(len);
                state.store(&self.hash);
                plain(204, Value::Null)
            }
            ("POST", "/v2/images/ID/import") => {
                state.store(&self.hash);
                plain(202, Value::Null)
            }
            ("DELETE", _) => {
                state.image = Value::Null;
                plain(204, Value::Null)
            }
            _ if state.image.is_null() => plain(404, json!({ "message": "no such image" })),
            _ => plain(200, state.image.clone()),
        }
    }
}

/// The request's line and headers, and what came of the body with them.
fn read_head(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buf = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Some((String::from_utf8_lossy(&bytes).into_owned(), body));
        }
        match stream.read(&mut buf) {
            Ok(count) if count > 0 => bytes.extend(&buf[..count]),
            _ => return None,
        }
    }
}

/// Reads until there are `len` bytes, of which `body` keeps the first. Answers with how many there were.
fn read_body(stream: &mut TcpStream, body: &mut Vec<u8>, len: usize) -> usize {
    let mut passed = body.len();
    let mut buf = vec![0; 65536];
    while passed < len {
        let Ok(count @ 1..) = stream.read(&mut buf) else { break };
        passed += count;
        let room = KEPT.saturating_sub(body.len());
        body.extend(&buf[..count.min(room)]);
    }
    passed
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

fn answer(stream: &mut TcpStream, status: u16, body: &str, extra: &str) {
    let body = if status == 204 { "" } else { body };
    let head =
        format!("HTTP/1.1 {status} X\r\n{extra}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

/// With `ID` in the place of an identifier.
fn without_id(path: &str) -> String {
    let word =
        |word: &str| if word.len() == 36 && word.contains('-') { "ID".to_owned() } else { word.to_owned() };
    path.split('/').map(word).collect::<Vec<_>>().join("/")
}
