//! Every way to say who one is, against a real Keystone.

use std::fs;

use serde_json::{Value, json};

use super::cloud::{Cloud, raw_image, start};
use crate::support::goldimg;

/// The password of all users of the test cloud, and what a token begins with.
const SECRETS: [&str; 3] = ["goldimg-password", "not-the-password", "gAAAA"];

/// What goldimg says when listing images fails.
fn failure(cloud: &Cloud, name: &str) -> String {
    let outcome = cloud.goldimg(name, &["images"]).run();
    assert_eq!(outcome.code, 1, "{name}: {}", outcome.snapshot());
    for secret in SECRETS {
        assert!(!outcome.stderr.contains(secret), "{name}: {}", outcome.stderr);
    }
    outcome.stderr
}

#[test]
fn every_way_to_authenticate() {
    let Some(cloud) = start(&[]) else { return };
    let image = raw_image(&cloud.dir().join("a.raw"), 70_000, 1);
    let id = cloud.upload("demo", &image, &[])["image"]["id"].as_str().expect("an id").to_owned();
    // The list is what was asked for, quietly or not.
    let [aloud, quiet] = [&["images"][..], &["images", "-q"]].map(|words| cloud.goldimg("demo", words).run());
    assert!(quiet.stdout == aloud.stdout && quiet.stdout.contains(&id), "{}", quiet.snapshot());
    for name in
        ["by-id", "credential", "credential-by-name", "reader", "credential-reader", "internal", "direct"]
    {
        let images = cloud.images(name);
        assert!(images.iter().any(|image| image["id"] == id.as_str()), "{name}: {images:?}");
    }
    assert_eq!(cloud.images("other"), Vec::<Value>::new());

    assert!(
        failure(&cloud, "wrong-password")
            .contains("HTTP 401: The request you have made requires authentication.")
    );
    let expired = failure(&cloud, "credential-expired");
    assert!(expired.contains("HTTP 401") && expired.contains("expired or deleted"), "{expired}");
    assert!(failure(&cloud, "wrong-region").contains("its regions are: RegionOne"));
    assert!(failure(&cloud, "wrong-interface").contains("its interfaces are: internal, public"));
    assert!(failure(&cloud, "dem").contains("did you mean \"demo\"?"));
    by_variables(&cloud, &id);
}

/// A token, and a password, in the environment alone.
fn by_variables(cloud: &Cloud, id: &str) {
    let token = cloud.openstack("demo", &["token", "issue", "-f", "value", "-c", "id"]);
    let keystone = cloud.fact("keystone");
    let images = |variables: &[(&str, &str)]| {
        let run = goldimg(["images", "--json"])
            .folder(cloud.dir())
            .env("HOME", cloud.dir())
            .env("NO_PROXY", "127.0.0.1");
        let run = run.env("OS_AUTH_URL", &keystone);
        variables.iter().fold(run, |run, (name, value)| run.env(name, value)).run()
    };
    // As it is, and exchanged for one of the same project.
    let token = token.trim();
    by_files(cloud, id, token);
    for variables in [vec![("OS_TOKEN", token)], vec![("OS_TOKEN", token), ("OS_PROJECT_NAME", "demo")]] {
        let outcome = images(&variables);
        assert!(outcome.code == 0 && outcome.stdout.contains(id), "{}", outcome.snapshot());
        assert!(!outcome.stderr.contains(token));
    }
    let outcome = images(&[("OS_TOKEN", "gAAAAexpired")]);
    assert!(outcome.code == 1 && outcome.stderr.contains("the token has expired"), "{}", outcome.snapshot());
    let password =
        [("OS_USERNAME", "demo"), ("OS_PASSWORD", "goldimg-password"), ("OS_PROJECT_NAME", "demo")];
    let outcome = images(&password);
    assert!(outcome.code == 0 && outcome.stdout.contains(id), "{}", outcome.snapshot());
}

/// clouds.yaml where people keep it, a token in it, and a password in a file of its own.
fn by_files(cloud: &Cloud, id: &str, token: &str) {
    let text = fs::read_to_string(cloud.dir().join("clouds.yaml")).expect("clouds.yaml");
    let known: Value = serde_json::from_str(&text).expect("JSON");
    let mut demo = known["clouds"]["demo"].clone();
    let auth = demo["auth"].as_object_mut().expect("a table");
    let password = auth.remove("password").expect("a password");
    let by_token =
        json!({ "auth_type": "v3token", "auth": { "auth_url": auth["auth_url"], "token": token } });
    let home = cloud.dir().join("home");
    let (kept, here) = (home.join(".config/openstack"), home.join("work"));
    for (folder, name, content) in [
        (&kept, "clouds.yaml", json!({ "clouds": { "demo": demo, "token": by_token } })),
        (&here, "secure.yaml", json!({ "clouds": { "demo": { "auth": { "password": password } } } })),
    ] {
        fs::create_dir_all(folder).expect("a folder");
        fs::write(folder.join(name), content.to_string()).expect("a file");
    }
    let images = |name: &str| {
        let run = goldimg(["images", "--json", "--cloud", name]).folder(&here).env("HOME", &home);
        run.env("XDG_CONFIG_HOME", "").env("NO_PROXY", "127.0.0.1").run()
    };
    for name in ["demo", "token"] {
        let outcome = images(name);
        assert!(outcome.code == 0 && outcome.stdout.contains(id), "{name}: {}", outcome.snapshot());
    }
    fs::remove_file(here.join("secure.yaml")).expect("it goes");
    let outcome = images("demo");
    assert!(outcome.code == 1 && outcome.stderr.contains("it has no password"), "{}", outcome.snapshot());
}

#[test]
fn https_with_an_authority_of_its_own() {
    let Some(cloud) = start(&[("SERVICES_TLS", "1")]) else { return };
    let image = raw_image(&cloud.dir().join("a.raw"), 3_000_000, 2);
    let told = cloud.upload("demo", &image, &[]);
    assert_eq!(told["verified"], true);
    cloud.assert_downloads(told["image"]["id"].as_str().expect("an id"), &image);

    // The system trusts nobody of that name; who turns the check off is warned.
    let keystone = cloud.fact("keystone");
    let run = |insecure: &str| {
        goldimg(["images"])
            .folder(cloud.dir())
            .env("HOME", cloud.dir())
            .env("NO_PROXY", "127.0.0.1")
            .env("OS_AUTH_URL", &keystone)
            .env("OS_USERNAME", "demo")
            .env("OS_PASSWORD", "goldimg-password")
            .env("OS_PROJECT_NAME", "demo")
            .env("OS_INSECURE", insecure)
            .run()
    };
    let outcome = run("");
    assert!(
        outcome.code == 1 && outcome.stderr.contains("no trusted connection to 127.0.0.1"),
        "{}",
        outcome.snapshot()
    );
    let outcome = run("true");
    assert!(
        outcome.code == 0 && outcome.stderr.contains("verification of certificates off"),
        "{}",
        outcome.snapshot()
    );
}
