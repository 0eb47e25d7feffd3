//! A name goes from image to image, against a real Glance.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cloud::{Cloud, raw_image, start};

/// Name → hidden, protected, of a project's images.
fn names(cloud: &Cloud) -> BTreeMap<String, (bool, bool)> {
    let flag = |image: &Value, name: &str| image[name].as_bool().expect("a truth value");
    let images = cloud.images("demo");
    images
        .iter()
        .map(|image| {
            let name = image["name"].as_str().unwrap_or_default().to_owned();
            (name, (flag(image, "os_hidden"), flag(image, "protected")))
        })
        .collect()
}

#[test]
fn a_new_image_takes_over_the_name() {
    let Some(cloud) = start(&[]) else { return };
    let image = |version: u64| raw_image(&cloud.dir().join(format!("{version}.raw")), 70_000, version);
    let rotate = |version: u64, more: &[&str]| {
        let built = format!("image_build_date=2026-0{version}-01");
        let mut words = vec!["--name", "Debian 12", "--replace", "--property", &built];
        words.extend(more);
        cloud.upload("demo", &image(version), &words)
    };
    let first = rotate(1, &[]);
    assert_eq!(first["renamed"], serde_json::json!([]));
    let second = rotate(2, &["--protected"]);
    assert_eq!(second["renamed"][0]["id"], first["image"]["id"]);
    assert_eq!(second["renamed"][0]["name"], "Debian 12 20260101");
    let hidden =
        BTreeMap::from([("Debian 12".into(), (false, true)), ("Debian 12 20260101".into(), (true, false))]);
    assert_eq!(names(&cloud), hidden);

    // The same image again changes nothing.
    let again = rotate(2, &["--protected"]);
    assert_eq!((&again["found"], &again["image"]["id"]), (&Value::Bool(true), &second["image"]["id"]));
    assert_eq!(names(&cloud), hidden);

    // Another project's image of that name, shared with everyone who knows it, is left alone.
    let others = cloud.upload("other", &image(8), &["--name", "Debian 12", "--visibility", "community"]);
    rotate(3, &[]);
    rotate(4, &["--keep", "1"]);
    let left = names(&cloud);
    // The protected one stays although it is too old.
    let expected = ["Debian 12", "Debian 12 20260201", "Debian 12 20260301"];
    assert_eq!(left.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    assert_eq!(left["Debian 12 20260201"], (true, true));
    let theirs = cloud.images("other");
    assert_eq!((&theirs[0]["id"], &theirs[0]["name"]), (&others["image"]["id"], &"Debian 12".into()));

    // Without --replace a second image of one name is not made.
    let outcome = cloud.refused("demo", &image(5), &["--name", "Debian 12"]);
    assert!(outcome.stderr.contains("--replace rotates it out of the way"), "{}", outcome.stderr);
}

#[test]
fn a_plan_shows_every_request_and_sends_none() {
    let Some(cloud) = start(&[]) else { return };
    let image = raw_image(&cloud.dir().join("a.raw"), 70_000, 9);
    let image = image.to_string_lossy();
    let more = [
        "upload",
        &image,
        "--name",
        "N",
        "--replace",
        "--keep",
        "0",
        "--public",
        "--store",
        "cheap",
        "--plan",
        "--json",
    ];
    let outcome = cloud.goldimg("demo", &more).run();
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    assert!(!outcome.snapshot().contains("goldimg-password"));
    let requests: Vec<Value> = serde_json::from_str(&outcome.stdout).expect("a list of requests");
    let changes: Vec<String> = requests
        .iter()
        .filter(|request| request["method"] != "GET")
        .map(|request| {
            let url = request["url"].as_str().expect("an address");
            let end = url.rsplit_once("/images/").map_or("", |(_, end)| end);
            let older = end.contains("OLDER");
            let last = end.rsplit('/').next().filter(|_| end.contains('/')).unwrap_or_default();
            format!(
                "{} {last}{}",
                request["method"].as_str().expect("a method"),
                if older { "older" } else { "" }
            )
        })
        .collect();
    let rotation = ["PATCH older", "PATCH ", "PATCH older", "DELETE older"];
    // Token, creation, back to private, data, publication; then the rotation.
    let first = ["POST ", "POST ", "PATCH ", "PUT file", "PATCH "];
    assert_eq!(changes, first.iter().chain(&rotation).map(|word| (*word).to_owned()).collect::<Vec<_>>());
    assert_eq!(cloud.images("demo"), Vec::<Value>::new());
}
