//! Builds that begin with an image of a cloud: fetched from a real Glance, and held against what that says of it.

use std::fs;

use super::cloud::{raw_image, start};
use crate::support::peer::peer;

#[test]
fn a_build_begins_with_the_bytes_that_the_cloud_has() {
    let Some(sha512sum) = peer("sha512sum") else { return };
    let Some(cloud) = start(&[]) else { return };
    let image = raw_image(&cloud.dir().join("disk.raw"), 5_000_000, 9);
    cloud.upload("demo", &image, &["--name", "base 1"]);
    let recipe = |name: &str, base: &str| {
        let path = cloud.dir().join(format!("{name}.toml"));
        fs::write(&path, format!("name = \"own\"\nversion = \"1\"\n[base]\nimage = \"{base}\"\n"))
            .expect("a recipe");
        let path = path.display().to_string();
        let words = ["build", "--progress=plain", "--cache-dir", "cache", "-o", "out", path.as_str()];
        let build = crate::support::goldimg(words).folder(cloud.dir());
        let build =
            build.env("HOME", cloud.dir()).env("XDG_CONFIG_HOME", cloud.dir()).env("NO_PROXY", "127.0.0.1");
        let build =
            build.env("OS_CLIENT_CONFIG_FILE", cloud.dir().join("clouds.yaml")).env("OS_CLOUD", "demo");
        build.run()
    };
    // It is no system, which is found out when it is here.
    let outcome = recipe("first", "glance:base 1");
    assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
    assert!(outcome.stderr.contains("get the base done"), "{}", outcome.snapshot());
    let said = sha512sum.must([image.as_os_str()]);
    let digest = said.split_whitespace().next().expect("a digest");
    let kept = cloud.dir().join("cache/files").join(format!("sha512-{digest}"));
    assert!(fs::read(kept).expect("what was fetched") == fs::read(&image).expect("the image"));
    assert!(!outcome.stderr.contains("gAAAA"), "a token is shown: {}", outcome.stderr);
    let outcome = recipe("second", "glance:none");
    assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
    assert!(outcome.stderr.contains("the cloud has no active image called \"none\""), "{}", outcome.stderr);
}
