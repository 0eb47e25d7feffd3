//! What a network and a broken cloud can do, and what comes of it.

use std::path::Path;

use super::cloud::raw_image;
use super::hostile::{Hostile, Reply, Script, start};
use crate::support::peer::peer;
use crate::support::program::Outcome;

const CREATE: &str = "POST /v2/images";
const SEND: &str = "PUT /v2/images/ID/file";
const DELETE: &str = "DELETE /v2/images/ID";
const AUTHENTICATE: &str = "POST /v3/auth/tokens";

/// The SHA-512 of a file, by a peer's word.
fn sha512(path: &Path) -> String {
    let text = peer("sha512sum").expect("coreutils").must([path]);
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Uploads `len` bytes to a cloud that follows `script`.
fn upload(
    len: usize,
    script: impl Fn(&str, &str, usize) -> Reply + Send + Sync + 'static,
) -> (Hostile, Outcome) {
    let dir = crate::support::folder();
    let image = raw_image(&dir.path().join("disk.raw"), len, 11);
    let script: Box<Script> = Box::new(script);
    let cloud = start(&sha512(&image), script);
    let outcome = cloud.upload(&image.to_string_lossy());
    (cloud, outcome)
}

/// Misbehaves at requests of one kind, as long as `until` allows.
fn at(kind: &'static str, times: usize, reply: fn() -> Reply) -> impl Fn(&str, &str, usize) -> Reply {
    move |method, path, before| match format!("{method} {path}") == kind && before < times {
        true => reply(),
        false => Reply::Well,
    }
}

#[track_caller]
fn succeeds((cloud, outcome): (Hostile, Outcome)) -> Hostile {
    assert_eq!(outcome.code, 0, "{}\n{:?}", outcome.snapshot(), cloud.requests());
    assert!(outcome.stdout.contains("\"verified\": true"), "{}", outcome.stdout);
    cloud
}

#[track_caller]
fn fails((cloud, outcome): (Hostile, Outcome), words: &str) -> Hostile {
    assert_eq!(outcome.code, 1, "{}\n{:?}", outcome.snapshot(), cloud.requests());
    assert!(outcome.stderr.contains(words), "{}\n{:?}", outcome.snapshot(), cloud.requests());
    cloud
}

#[test]
fn a_good_cloud_is_asked_for_no_more_than_needed() {
    let cloud = succeeds(upload(70_000, |_, _, _| Reply::Well));
    let order: Vec<String> =
        cloud.requests().into_iter().filter(|request| !request.starts_with("GET")).collect();
    assert_eq!(order, [AUTHENTICATE, CREATE, SEND, "PATCH /v2/images/ID"]);
}

#[test]
fn what_passes_is_tried_again() {
    let cloud = succeeds(upload(70_000, at(CREATE, 2, || Reply::Status(503, String::new()))));
    assert_eq!(cloud.count(CREATE), 3);
    let cloud = succeeds(upload(70_000, at(AUTHENTICATE, 1, || Reply::Status(502, "<html>".into()))));
    assert_eq!(cloud.count(AUTHENTICATE), 2);
    // The image was created although nobody said so: the identifier is ours, so there is still only one.
    let cloud = succeeds(upload(70_000, at(CREATE, 1, || Reply::Swallow)));
    assert_eq!((cloud.count(CREATE), cloud.count(DELETE)), (2, 0));
}

#[test]
fn a_token_that_expires_is_renewed_once() {
    let cloud = succeeds(upload(70_000, at(SEND, 1, || Reply::Status(401, String::new()))));
    assert_eq!((cloud.count(AUTHENTICATE), cloud.count(SEND)), (2, 2));
    let cloud = succeeds(upload(70_000, at("PATCH /v2/images/ID", 1, || Reply::Status(401, String::new()))));
    assert_eq!(cloud.count(AUTHENTICATE), 2);
    let cloud = fails(upload(70_000, at(SEND, 9, || Reply::Status(401, String::new()))), "HTTP 401");
    assert_eq!((cloud.count(SEND), cloud.count(DELETE)), (2, 1));
}

#[test]
fn a_broken_connection_sends_the_image_again() {
    let cloud = succeeds(upload(8_000_000, at(SEND, 2, || Reply::Cut(1_000_000))));
    assert_eq!((cloud.count(CREATE), cloud.count(SEND)), (1, 3));
    // All of it arrived: only the answer is missing.
    let cloud = succeeds(upload(70_000, at(SEND, 1, || Reply::Swallow)));
    assert_eq!((cloud.count(SEND), cloud.count(DELETE)), (1, 0));
    let cloud = fails(upload(8_000_000, at(SEND, 99, || Reply::Cut(1_000_000))), "failed 4 times");
    assert_eq!((cloud.count(SEND), cloud.count(DELETE)), (4, 1));
}

#[test]
fn an_early_refusal_is_heard_although_sending_failed() {
    let cloud = fails(upload(64_000_000, at(SEND, 9, || Reply::Early(413))), "HTTP 413: early");
    assert_eq!((cloud.count(SEND), cloud.count(DELETE)), (1, 1));
}

#[test]
fn an_internal_error_burns_the_identifier() {
    let cloud = succeeds(upload(70_000, at(SEND, 1, || Reply::Status(500, String::new()))));
    assert_eq!((cloud.count(CREATE), cloud.count(SEND), cloud.count(DELETE)), (2, 2, 1));
}

#[test]
fn other_bytes_in_the_cloud_are_found_and_deleted() {
    let wrong = |dir: &Path| raw_image(&dir.join("disk.raw"), 70_000, 12);
    let deletes = start("00ff", Box::new(|_, _, _| Reply::Well));
    let outcome = deletes.upload(&wrong(deletes.dir()).to_string_lossy());
    let deletes =
        fails((deletes, outcome), "the cloud stored other bytes than were sent: sha512 00ff instead of");
    assert_eq!(deletes.count(DELETE), 1);
    // What cannot be deleted is named.
    let keeps = start("00ff", Box::new(at(DELETE, 99, || Reply::Status(409, String::new()))));
    let outcome = keeps.upload(&wrong(keeps.dir()).to_string_lossy());
    fails((keeps, outcome), "is left behind, useless");
}

#[test]
fn what_a_server_says_does_not_reach_the_terminal() {
    let evil = || Reply::Status(400, "\x1b]0;owned\x07{}".into());
    let (_, outcome) = upload(70_000, at(CREATE, 1, evil));
    assert_eq!(outcome.code, 1);
    assert!(!outcome.stderr.contains(['\x1b', '\x07']), "{:?}", outcome.stderr);
}

#[test]
fn the_token_follows_no_link_elsewhere() {
    let other = start("", Box::new(|_, _, _| Reply::Well));
    let elsewhere = format!("{}/v2/images?marker=x", other.address());
    let page = serde_json::json!({ "images": [], "next": elsewhere }).to_string();
    let cloud = start(
        "",
        Box::new(move |method, path, before| match (method, path, before) {
            ("GET", "/v2/images", 0) => Reply::Status(200, page.clone()),
            _ => Reply::Well,
        }),
    );
    let outcome = cloud.goldimg(&["images"]).run();
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    assert_eq!(other.requests(), Vec::<String>::new());
    // The query of the link is followed, here.
    assert_eq!(cloud.count("GET /v2/images"), 3);
}
