//! The longest example of docs/library.md against a real Keystone and Glance: a build, an audit and an upload in one program.

use std::fs;
use std::os::unix::fs::symlink;

use super::cloud::start;
use crate::golden::cache;
use crate::library::{example, succeeds};

#[test]
fn an_example_builds_an_image_audits_and_uploads_it() {
    let Some(cloud) = start(&[]) else { return };
    let output = cloud.dir().join("out");
    fs::create_dir_all(&output).expect("a folder");
    fs::create_dir_all(cache()).expect("a folder of packages");
    // The packages of other tests: an archive is not asked for them twice.
    symlink(cache(), output.join("cache")).expect("a link");
    let mut program = example("golden");
    program.arg(&output).arg("demo").current_dir(cloud.dir());
    program.env("HOME", cloud.dir()).env("OS_CLIENT_CONFIG_FILE", cloud.dir().join("clouds.yaml"));
    program.env("NO_PROXY", "127.0.0.1");
    let told = succeeds(&mut program);
    let id = String::from_utf8_lossy(&told.stdout).trim().to_owned();
    let stages = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(stages.lines().count() > 5 && !stages.contains("warning: "), "{stages}");
    let images = cloud.images("demo");
    assert_eq!(images.len(), 1);
    assert_eq!((&images[0]["id"], &images[0]["status"]), (&id.as_str().into(), &"active".into()));
    let names: Vec<_> =
        fs::read_dir(&output).expect("the folder").flatten().map(|entry| entry.path()).collect();
    let image = names.iter().find(|path| path.extension().is_some_and(|extension| extension == "qcow2"));
    cloud.assert_downloads(&id, image.expect("an image"));
}
