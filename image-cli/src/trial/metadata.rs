//! The metadata service of a cloud, for one connection: a request on standard input, its answer on standard output.
//!
//! ```text
//! guest ─► 169.254.169.254:80 ─► QEMU ─► this program again (reexec.rs), started for each connection
//!                                           │
//!                          /openstack ──────┤ the versions
//!             /openstack/VERSION ───────────┤ the names of its documents
//!             /openstack/VERSION/NAME ──────┘ FOLDER/NAME
//! ```
//! No port is opened: QEMU's `guestfwd` connects a guest's address with a program. The guest is not trusted: what it
//! asks for is compared with what there is and never becomes part of a path, a request has a few kilobytes, and of all
//! its connections so many are served at a time.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use super::openstack::{DOCUMENTS, VERSIONS};
use crate::error::{Context, Result};

/// The longest head of a request: cloud-init's has 200 bytes.
const HEAD_LIMIT: u64 = 16 << 10;
/// Connections that are served at a time: cloud-init has one.
const SLOTS: u32 = 8;
/// The requests that were answered, a line each; and how much is kept of them.
const LOG: &str = "requests.log";
const LOG_LIMIT: u64 = 1 << 20;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    body: Vec<u8>,
}

/// Serves the documents in `folder` to the connection that is this process's standard input and output, and answers with the
/// exit code.
pub(crate) fn run(folder: &Path) -> ExitCode {
    match serve(folder, io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Serves the documents in `folder` to one connection.
///
/// # Errors
/// If the guest hangs up, or `folder` is not as [`Documents::write`](super::openstack::Documents::write) left it.
fn serve(folder: &Path, input: impl Read, mut output: impl Write) -> Result<()> {
    let Some(_slot) = take_slot(folder)? else { return Ok(()) };
    let mut head = Vec::new();
    let mut input = input.take(HEAD_LIMIT);
    let mut byte = [0];
    // A byte at a time: there is one request, and it is short.
    while !head.ends_with(b"\r\n\r\n") && input.read(&mut byte)? == 1 {
        head.extend(byte);
    }
    let (line, answer) = answer(folder, &head)?;
    log(folder, &format!("{line} {}", answer.status))?;
    let reason = match answer.status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Bad Request",
    };
    write!(
        output,
        "HTTP/1.1 {} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.status,
        answer.body.len()
    )?;
    output.write_all(&answer.body)?;
    output.flush().context("answering the guest")
}

/// One of the places for connections, for as long as the file is open; `None` if all are taken.
fn take_slot(folder: &Path) -> Result<Option<File>> {
    for slot in 0..SLOTS {
        let file = File::create(folder.join(format!("slot-{slot}"))).context("looking for a free slot")?;
        if file.try_lock().is_ok() {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// What was asked for, fit for a log, and the answer.
fn answer(folder: &Path, head: &[u8]) -> Result<(String, Answer)> {
    let plain = |status: u16| Answer { status, body: Vec::new() };
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let whole = request.parse(head).is_ok_and(|status| status.is_complete());
    let (Some(method), Some(target), true) = (request.method, request.path, whole) else {
        return Ok(("an unreadable request".to_owned(), plain(400)));
    };
    let path = target.split('?').next().unwrap_or_default();
    let line = crate::printable::brief(&format!("{method} {path}"), 200);
    let Some(body) = document(folder, path)? else { return Ok((line, plain(404))) };
    Ok((line, if method == "GET" { Answer { status: 200, body } } else { plain(405) }))
}

/// The content at `path`, if there is anything.
fn document(folder: &Path, path: &str) -> Result<Option<Vec<u8>>> {
    let mut parts = path.trim_start_matches('/').trim_end_matches('/').split('/');
    let list = |names: &[&str]| Some(names.join("\n").into_bytes());
    if parts.next() != Some("openstack") {
        return Ok(None);
    }
    let Some(version) = parts.next() else { return Ok(list(&VERSIONS)) };
    if !VERSIONS.contains(&version) {
        return Ok(None);
    }
    let Some(name) = parts.next() else { return Ok(list(&DOCUMENTS)) };
    let known = DOCUMENTS.into_iter().find(|known| *known == name && parts.next().is_none());
    let Some(known) = known else { return Ok(None) };
    std::fs::read(folder.join(known)).map(Some).with_context(|| format!("reading {known}"))
}

fn log(folder: &Path, line: &str) -> io::Result<()> {
    let mut log = File::options().append(true).create(true).open(folder.join(LOG))?;
    if log.metadata()?.len() < LOG_LIMIT {
        log.write_all(format!("{line}\n").as_bytes())?;
    }
    Ok(())
}

/// The documents that were fetched from `folder`, each once, in their order.
pub(super) fn fetched(folder: &Path) -> Vec<&'static str> {
    let mut bytes = Vec::new();
    let read = File::open(folder.join(LOG)).and_then(|log| log.take(LOG_LIMIT).read_to_end(&mut bytes));
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let paths: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("GET ")?.strip_suffix(" 200")).collect();
    let named = |name: &&&str| paths.iter().any(|path| path.rsplit('/').next() == Some(**name));
    DOCUMENTS.iter().filter(named).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::super::openstack::tests::documents;
    use super::super::seed::Server;
    use super::*;

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        documents(&Server::new().unwrap()).write(&dir.path().join("md")).unwrap();
        dir
    }

    /// The first line of the answer, and its body.
    fn ask(dir: &tempfile::TempDir, request: &[u8]) -> (String, String) {
        let mut output = Vec::new();
        serve(&dir.path().join("md"), request, &mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        assert!(head.is_empty() || head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    fn status(dir: &tempfile::TempDir, request: &str) -> String {
        ask(dir, format!("{request} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n").as_bytes()).0
    }

    #[test]
    fn what_there_is_is_served_and_remembered() {
        let dir = folder();
        let (line, body) = ask(&dir, b"GET /openstack HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n");
        assert_eq!((line.as_str(), body.lines().nth(7)), ("HTTP/1.1 200 OK", Some("2018-08-27")));
        assert_eq!(ask(&dir, b"GET /openstack/latest/ HTTP/1.0\r\n\r\n").1.lines().count(), 5);
        let (_, script) = ask(&dir, b"GET /openstack/2018-08-27/user_data?x=1 HTTP/1.1\r\n\r\n");
        assert!(script.starts_with("#!/bin/sh\n"));
        assert_eq!(fetched(&dir.path().join("md")), ["user_data"]);
    }

    #[test]
    fn nothing_else_is_served() {
        let dir = folder();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        for path in [
            "/",
            "/latest/meta-data/",
            "/openstack/2099-01-01/user_data",
            "/openstack/latest/../../secret",
            "/openstack/latest/requests.log",
            "/openstack/latest/user_data/x",
            "/openstack/latest//etc/passwd",
        ] {
            assert_eq!(status(&dir, &format!("GET {path}")), "HTTP/1.1 404 Not Found", "{path}");
        }
        assert_eq!(status(&dir, "PUT /latest/api/token"), "HTTP/1.1 404 Not Found");
        assert_eq!(status(&dir, "POST /openstack/latest/user_data"), "HTTP/1.1 405 Method Not Allowed");
        for nonsense in [&b""[..], b"GET", b"\r\n\r\n", b"\xff\xfe\r\n\r\n", b"GET /openstack HTTP/1.1\r\n"] {
            assert_eq!(ask(&dir, nonsense).0, "HTTP/1.1 400 Bad Request");
        }
        let long = [b"GET /openstack HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 64 << 10]].concat();
        assert_eq!(ask(&dir, &long).0, "HTTP/1.1 400 Bad Request");
        assert!(fetched(&dir.path().join("md")).is_empty());
    }

    #[test]
    fn so_many_connections_are_served_at_a_time() {
        let dir = folder();
        let taken: Vec<_> = (0..SLOTS).map(|_| take_slot(&dir.path().join("md")).unwrap().unwrap()).collect();
        assert_eq!(status(&dir, "GET /openstack"), "");
        drop(taken);
        assert_eq!(status(&dir, "GET /openstack"), "HTTP/1.1 200 OK");
    }
}
