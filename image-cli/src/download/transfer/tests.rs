//! Transfers from a server of loopback that answers as a test says.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use image_core::digest::{Algorithm, Digest, Hasher};

use super::*;
use crate::download::{Store, fetch};
use crate::glance::http::Trust;
use crate::glance::route::Route;
use crate::glance::secret::Secret;
use crate::monitor::silent;

/// What a server does with one request: the head that it gets, and what is sent before the connection ends.
type Answer = Box<dyn Fn(&str) -> Vec<u8> + Send>;

/// A server that gives these answers, one for each connection, and what it was asked.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/image", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for (answer, stream) in answers.into_iter().zip(listener.incoming()) {
                let mut stream: TcpStream = stream.unwrap();
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let head = head.join("\n").to_lowercase();
                let bytes = answer(&head);
                heard.lock().unwrap().push(head);
                let _ = stream.write_all(&bytes);
            }
        });
        Self { url, asked }
    }

    /// The value of a header in the request with this number.
    fn header(&self, request: usize, name: &str) -> Option<String> {
        let asked = self.asked.lock().unwrap();
        let line = asked[request].lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.map(str::to_owned)
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// An answer with this status line and these headers, which says that its body has `len` bytes.
fn answer(status: &str, headers: &str, len: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// The whole of `content`, or its first `sent` bytes only.
fn whole(content: &'static [u8], tag: &'static str, sent: usize) -> Answer {
    Box::new(move |_| answer("200 OK", &format!("ETag: {tag}\r\n"), content.len(), &content[..sent]))
}

/// The part of `content` that is asked for, whatever `If-Range` says.
fn rest(content: &'static [u8], tag: &'static str) -> Answer {
    Box::new(move |head| {
        let from = head.split("range: bytes=").nth(1).and_then(|rest| rest.split('-').next());
        let from: usize = from.and_then(|digits| digits.parse().ok()).expect("a range");
        let range = format!("Content-Range: bytes {from}-{}/{}\r\n", content.len() - 1, content.len());
        let headers = format!("{range}ETag: {tag}\r\n");
        answer("206 Partial Content", &headers, content.len() - from, &content[from..])
    })
}

fn digest_of(content: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(content);
    hasher.finish()
}

/// Fetches what should be `content` from `server` into the cache in `folder`.
fn fetched(server: &Server, content: &[u8], folder: &Path) -> crate::Result<Vec<u8>> {
    let secret = Some(("Authorization", Secret::new("Basic c2VjcmV0")));
    let wanted = Wanted { url: server.url.clone(), secret, digests: vec![digest_of(content)] };
    let store = Store::open(folder, SystemTime::now()).unwrap();
    let http = Http::new(&Trust::default(), &Route::default()).unwrap();
    fetch(&wanted, &store, &http, silent()).map(|path| fs::read(path).unwrap())
}

/// What is in the cache besides files that are held.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("files")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".lock")).collect();
    names.sort();
    names
}

const CONTENT: &[u8] = b"the bytes of an image, of which there are some";
const OTHER: &[u8] = b"THE BYTES OF AN IMAGE, OF WHICH THERE ARE MORE";

#[test]
fn a_file_is_fetched_once_and_kept_by_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(vec![whole(CONTENT, "\"1\"", CONTENT.len())]);
    assert_eq!(fetched(&server, CONTENT, dir.path()).unwrap(), CONTENT);
    assert_eq!(server.header(0, "authorization").as_deref(), Some("basic c2vjcmv0"));
    assert_eq!(server.header(0, "range"), None);
    assert_eq!(names(dir.path()), [format!("sha256-{}", digest_of(CONTENT).hex)]);
    assert_eq!(fetched(&server, CONTENT, dir.path()).unwrap(), CONTENT);
    assert_eq!(server.count(), 1, "the second time nothing is asked");
}

#[test]
fn a_cut_connection_goes_on_with_the_next_byte() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(vec![whole(CONTENT, "\"1\"", 10), rest(CONTENT, "\"1\"")]);
    assert_eq!(fetched(&server, CONTENT, dir.path()).unwrap(), CONTENT);
    assert_eq!(server.header(1, "range").as_deref(), Some("bytes=10-"));
    assert_eq!(server.header(1, "if-range").as_deref(), Some("\"1\""));
}

#[test]
fn a_file_that_is_another_one_now_is_fetched_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    // The server heeds If-Range: all of the new file comes.
    let server = Server::new(vec![whole(CONTENT, "\"1\"", 10), whole(OTHER, "\"2\"", OTHER.len())]);
    assert_eq!(fetched(&server, OTHER, dir.path()).unwrap(), OTHER);
    // One that does not: what was glued together is not what is wanted, and is thrown away.
    let server = Server::new(vec![
        whole(CONTENT, "\"1\"", 10),
        rest(OTHER, "\"2\""),
        whole(OTHER, "\"2\"", OTHER.len()),
    ]);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(fetched(&server, OTHER, dir.path()).unwrap(), OTHER);
    assert_eq!((server.count(), server.header(2, "range")), (3, None));
}

#[test]
fn a_server_without_ranges_or_validators_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(vec![whole(CONTENT, "W/\"weak\"", 10), whole(CONTENT, "\"1\"", CONTENT.len())]);
    assert_eq!(fetched(&server, CONTENT, dir.path()).unwrap(), CONTENT);
    assert_eq!(server.header(1, "range"), None, "a weak validator tells nothing of bytes");
    let dir = tempfile::tempdir().unwrap();
    let too_far: Answer =
        Box::new(|_| answer("416 Range Not Satisfiable", "Content-Range: bytes */5\r\n", 0, b""));
    let server =
        Server::new(vec![whole(CONTENT, "\"1\"", 10), too_far, whole(CONTENT, "\"1\"", CONTENT.len())]);
    assert_eq!(fetched(&server, CONTENT, dir.path()).unwrap(), CONTENT);
    assert_eq!(server.header(2, "range"), None);
}

#[test]
fn what_came_before_is_kept_for_the_next_build() {
    let dir = tempfile::tempdir().unwrap();
    let gone: Answer = Box::new(|_| answer("404 Not Found", "", 0, b""));
    let server = Server::new(vec![whole(CONTENT, "\"1\"", 7), gone, rest(CONTENT, "\"1\"")]);
    let told = fetched(&server, CONTENT, dir.path()).unwrap_err();
    assert!(format!("{told:#}").contains("HTTP 404"), "{told:#}");
    assert_eq!(fetched(&server, CONTENT, dir.path()).unwrap(), CONTENT);
    assert_eq!(server.header(2, "range").as_deref(), Some("bytes=7-"));
}

#[test]
fn another_file_than_the_one_that_is_wanted_is_refused_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(vec![whole(OTHER, "\"1\"", OTHER.len())]);
    let told = fetched(&server, CONTENT, dir.path()).unwrap_err().to_string();
    assert!(told.contains(&digest_of(OTHER).hex) && told.contains(&digest_of(CONTENT).hex), "{told}");
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_redirect_is_followed_and_no_password_goes_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let second = Server::new(vec![whole(CONTENT, "\"1\"", CONTENT.len())]);
    let there = format!("Location: {}\r\n", second.url);
    let moved: Answer = Box::new(move |_| answer("302 Found", &there, 0, b""));
    let here: Answer = Box::new(|_| answer("307 Temporary Redirect", "Location: /other\r\n", 0, b""));
    let first = Server::new(vec![here, moved]);
    assert_eq!(fetched(&first, CONTENT, dir.path()).unwrap(), CONTENT);
    assert!(first.header(1, "authorization").is_some(), "the same server");
    assert_eq!(second.header(0, "authorization"), None);
    let dir = tempfile::tempdir().unwrap();
    let onto_files: Answer = Box::new(|_| answer("302 Found", "Location: file:///etc/passwd\r\n", 0, b""));
    let server = Server::new(vec![onto_files]);
    let told = format!("{:#}", fetched(&server, CONTENT, dir.path()).unwrap_err());
    assert!(told.contains("the server redirects to file://, which is not followed"), "{told}");
}

#[test]
fn parts_are_those_that_are_asked_for() {
    assert_eq!(parse_content_range("bytes 5-9/10"), Some((5, Some(10))));
    assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, None)));
    for wrong in ["bytes 9-5/10", "bytes 5-9/11", "bytes */10", "5-9/10", "bytes 5-18446744073709551615/1"] {
        assert_eq!(parse_content_range(wrong), None, "{wrong}");
    }
}
