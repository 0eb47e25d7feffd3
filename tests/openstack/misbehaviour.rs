//! What a network and a broken cloud can do, and what comes of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cloud::raw_image;
use super::hostile::{Hostile, PASSWORD, Reply, Script, TOKEN, start};
use crate::support::peer::peer;
use crate::support::program::Outcome;

const CREATE: &str = "POST /v2/images";
const SEND: &str = "PUT /v2/images/ID/file";
const LOOK: &str = "GET /v2/images/ID";
const IMPORT: &str = "POST /v2/images/ID/import";
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
    let outcome = cloud.upload_by(&image, &[]);
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
    // The data are sent again, to the same image.
    let cloud = succeeds(upload(70_000, at(SEND, 2, || Reply::Status(503, String::new()))));
    assert_eq!((cloud.count(CREATE), cloud.count(SEND), cloud.count(DELETE)), (1, 3, 0));
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
fn an_image_that_was_often_deleted_gets_a_random_identifier() {
    let dir = crate::support::folder();
    let image = raw_image(&dir.path().join("disk.raw"), 70_000, 11);
    let identifier = |taken| {
        let cloud = start(&sha512(&image), Box::new(at(CREATE, taken, || Reply::Status(409, String::new()))));
        let outcome = cloud.upload_by(&image, &[]);
        let told = outcome.stdout.clone();
        assert_eq!(succeeds((cloud, outcome)).count(CREATE), taken + 1);
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        told["image"]["id"].as_str().expect("an id").to_owned()
    };
    // Two runs at once ask for the same one; the last one can have been taken by nobody.
    assert_eq!(identifier(15), identifier(15));
    assert_ne!(identifier(16), identifier(16));
    let taken = at(CREATE, 17, || Reply::Status(409, String::new()));
    let cloud = fails(upload(70_000, taken), "every identifier is taken");
    assert_eq!((cloud.count(CREATE), cloud.count(SEND)), (17, 0));
}

#[test]
fn a_conflict_over_the_data_is_settled_by_what_the_image_is() {
    // Another request was at it, and has ended: the image waits for its data.
    let cloud = succeeds(upload(70_000, at(SEND, 1, || Reply::Status(409, String::new()))));
    assert_eq!((cloud.count(CREATE), cloud.count(SEND), cloud.count(DELETE)), (1, 2, 0));
    let cloud = fails(upload(70_000, at(SEND, 99, || Reply::Status(409, String::new()))), "failed 4 times");
    assert_eq!((cloud.count(SEND), cloud.count(DELETE)), (4, 1));
    for gone in [404, 410] {
        let words = "the image was deleted while it was sent";
        let reply = move |method: &str, path: &str, _| match format!("{method} {path}") == SEND {
            true => Reply::Status(gone, String::new()),
            false => Reply::Well,
        };
        assert_eq!(fails(upload(70_000, reply), words).count(SEND), 1);
    }
}

#[test]
fn the_answer_to_an_import_may_get_lost() {
    let dir = crate::support::folder();
    let image = raw_image(&dir.path().join("disk.raw"), 70_000, 13);
    // The second request finds the first one's work.
    let script = |method: &str, path: &str, before| match format!("{method} {path}") == IMPORT {
        true if before == 0 => Reply::Swallow,
        true => Reply::Status(409, String::new()),
        false => Reply::Well,
    };
    let cloud = start(&sha512(&image), Box::new(script));
    let outcome = cloud.upload_by(&image, &["--method", "glance-direct"]);
    let cloud = succeeds((cloud, outcome));
    assert_eq!((cloud.count(CREATE), cloud.count(IMPORT), cloud.count(DELETE)), (1, 2, 0));
}

/// What Glance says of an image while it is imported.
fn importing() -> String {
    let image = serde_json::json!({ "id": "i", "name": "n", "status": "importing", "visibility": "private" });
    image.to_string()
}

#[test]
fn an_import_that_does_not_end_is_left_at_work_and_found_by_the_next_run() {
    let dir = crate::support::folder();
    let image = raw_image(&dir.path().join("disk.raw"), 70_000, 14);
    let stuck = Arc::new(AtomicBool::new(true));
    let is_stuck = Arc::clone(&stuck);
    let script = move |method: &str, path: &str, _| match is_stuck.load(Ordering::SeqCst)
        && format!("{method} {path}") == LOOK
    {
        true => Reply::Status(200, importing()),
        false => Reply::Well,
    };
    let cloud = start(&sha512(&image), Box::new(script));
    let outcome = cloud.upload_by(&image, &["--method", "glance-direct", "--deadline", "1"]);
    let cloud = fails((cloud, outcome), "is still importing after");
    assert_eq!((cloud.count(CREATE), cloud.count(DELETE)), (1, 0));
    stuck.store(false, Ordering::SeqCst);
    let outcome = cloud.upload_by(&image, &["--method", "glance-direct"]);
    assert!(outcome.stdout.contains("\"found\": true"), "{}", outcome.snapshot());
    let cloud = succeeds((cloud, outcome));
    assert_eq!((cloud.count(CREATE), cloud.count(DELETE)), (1, 0));
}

#[test]
fn what_a_cloud_does_not_offer_is_said_before_anything_is_created() {
    let dir = crate::support::folder();
    let image = raw_image(&dir.path().join("disk.raw"), 70_000, 15);
    let cloud = start("", Box::new(|_, _, _| Reply::Well));
    for (options, code, words) in [
        (&["--uri", "http://192.0.2.1/i"][..], 1, "this cloud does not offer web-download"),
        (&["--store", "fast"], 1, "this cloud has no store \"fast\""),
        (&["--all-stores", "--method", "direct"], 64, "a direct upload goes to one store"),
    ] {
        let outcome = cloud.upload_by(&image, options);
        assert!(outcome.code == code && outcome.stderr.contains(words), "{}", outcome.snapshot());
    }
    assert_eq!(cloud.count(CREATE), 0);
}

#[test]
fn a_converting_cloud_is_told_of_and_a_weak_hash_counts() {
    let described = |format: &str, more: &str| {
        let text = importing().replace("importing", "active");
        text.replace('{', &format!("{{\"size\":70000,\"disk_format\":\"{format}\",{more}"))
    };
    let vmdk = described("vmdk", "");
    let looks = move |method: &str, path: &str, _| match format!("{method} {path}") == LOOK {
        true => Reply::Status(200, vmdk.clone()),
        false => Reply::Well,
    };
    let (_, outcome) = upload(70_000, looks);
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    assert!(outcome.stdout.contains("\"verified\": false"), "{}", outcome.stdout);
    assert!(outcome.stderr.contains("the cloud converted the image from raw to vmdk"), "{}", outcome.stderr);
    // An old cloud has no other hash.
    let md5 = described("raw", "\"checksum\":\"00ff\",");
    let looks = move |method: &str, path: &str, _| match format!("{method} {path}") == LOOK {
        true => Reply::Status(200, md5.clone()),
        false => Reply::Well,
    };
    let cloud = fails(upload(70_000, looks), "the cloud stored other bytes than were sent: md5 00ff");
    assert_eq!(cloud.count(DELETE), 1);
}

#[test]
fn a_server_that_repeats_what_it_was_sent_lets_no_secret_out() {
    // That nothing of them is said every upload to a hostile cloud checks.
    let echo = || Reply::Status(400, format!("you sent: X-Auth-Token: {TOKEN}-1"));
    fails(upload(70_000, at(CREATE, 9, echo)), "HTTP 400: you sent: X-Auth-Token: (secret)");
    let refuse = || Reply::Status(400, format!("<pre>{{\"password\": \"{PASSWORD}\"}}</pre>"));
    fails(upload(70_000, at(AUTHENTICATE, 9, refuse)), "HTTP 400: {\"password\": \"(secret)\"}");
    // Early, while the image is sent.
    let early = |method: &str, path: &str, _| match format!("{method} {path}") == SEND {
        true => Reply::Status(403, format!("{TOKEN}-1")),
        false => Reply::Well,
    };
    fails(upload(70_000, early), "HTTP 403: (secret)");
}

/// What a process may allocate while it uploads: a quarter of the image.
const MEMORY_KIB: u64 = 64 << 10;

#[test]
fn an_upload_takes_the_same_memory_for_images_of_any_size() {
    let Some(qemu_img) = peer("qemu-img") else { return };
    let dir = crate::support::folder();
    let raw = dir.path().join("disk.raw");
    std::fs::write(&raw, vec![7; 1 << 20]).expect("an image");
    std::fs::File::options().write(true).open(&raw).and_then(|f| f.set_len(256 << 20)).expect("a large one");
    let packed = dir.path().join("disk.qcow2");
    qemu_img.must(["convert", "-c", "-O", "qcow2", &raw.to_string_lossy(), &packed.to_string_lossy()]);
    let cloud = start(&sha512(&raw), Box::new(|_, _, _| Reply::Well));
    for (image, options) in [(&raw, "--name=as-it-is"), (&packed, "--convert=raw")] {
        let outcome = cloud.upload_within(image, options, MEMORY_KIB);
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        assert!(outcome.stdout.contains("\"verified\": true"), "{}", outcome.stdout);
        cloud.forget();
    }
}

#[test]
fn other_bytes_in_the_cloud_are_found_and_deleted() {
    let wrong = |dir: &Path| raw_image(&dir.join("disk.raw"), 70_000, 12);
    let deletes = start("00ff", Box::new(|_, _, _| Reply::Well));
    let outcome = deletes.upload_by(&wrong(deletes.dir()), &[]);
    let deletes =
        fails((deletes, outcome), "the cloud stored other bytes than were sent: sha512 00ff instead of");
    assert_eq!(deletes.count(DELETE), 1);
    // What cannot be deleted is named.
    let keeps = start("00ff", Box::new(at(DELETE, 99, || Reply::Status(409, String::new()))));
    let outcome = keeps.upload_by(&wrong(keeps.dir()), &[]);
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
