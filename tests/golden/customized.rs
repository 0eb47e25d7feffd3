//! Images customized with packages from the network, and booted with what was installed at work. Run by `make test-customize`.

use std::path::Path;

use super::{DATE, cache};
use crate::support::peer::peer;
use crate::support::{folder, goldimg};

/// A unit that fails, and with it the trial, unless the server answers with the page.
const CHECK: &str = "\
[Unit]
After=nginx.service network-online.target
Wants=network-online.target
[Service]
Type=oneshot
ExecStart=/usr/bin/curl -fsS --retry 20 --retry-connrefused -o /dev/null http://127.0.0.1/site/index.html
[Install]
WantedBy=multi-user.target
";

/// Builds an image of `release`, customizes it, and boots it with both firmwares.
fn customized_and_booted(release: &str) {
    let [Some(_), Some(e2fsck)] = ["qemu-system-x86_64", "e2fsck"].map(peer) else { return };
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let recipe = path("base.toml");
    let text = format!(
        "name = \"base\"\nversion = \"1\"\n[base]\ndistribution = \"debian\"\nrelease = \"{release}\"\n"
    );
    std::fs::write(&recipe, text).expect("it works");
    let cache = cache();
    let built = goldimg([
        "build".as_ref(),
        "--cache-dir".as_ref(),
        cache.as_path(),
        &recipe,
        "-o".as_ref(),
        folder.path(),
    ]);
    let built = built.env("SOURCE_DATE_EPOCH", DATE).run();
    assert_eq!(built.code, 0, "{}", built.snapshot());

    std::fs::create_dir(path("site")).expect("it works");
    std::fs::write(path("site/index.html"), "<p>here</p>\n").expect("it works");
    std::fs::write(path("check.service"), CHECK).expect("it works");
    let [image, new] = [path("base-1.qcow2"), path("web.qcow2")];
    let words = [
        "--install=nginx-light,curl",
        "--copy-in=site:/var/www/html",
        "--copy-in=check.service:/etc/systemd/system",
        "--run-command=systemctl enable nginx check",
        "--size=+1G",
        "--grow-root",
    ];
    let mut arguments = vec![Path::new("customize"), &image, Path::new("-o"), &new];
    arguments.extend(words.map(Path::new));
    let done = goldimg(arguments).folder(folder.path()).run();
    assert_eq!(done.code, 0, "{}", done.snapshot());

    let raw = path("web.raw");
    let converted = goldimg(["convert".as_ref(), "-O".as_ref(), "raw".as_ref(), new.as_path(), &raw]).run();
    assert_eq!(converted.code, 0, "{}", converted.snapshot());
    let inspected = goldimg(["inspect".as_ref(), "--json".as_ref(), raw.as_path()]).run();
    let facts: serde_json::Value = serde_json::from_str(&inspected.stdout).expect("it works");
    let partitions = facts["table"]["partitions"].as_array().expect("it works");
    let root = partitions.iter().find(|partition| partition["name"] == "root").expect("a root filesystem");
    let offset = root["start"].as_u64().expect("a place");
    e2fsck.must(["-fn", &format!("{}?offset={offset}", raw.display())]);

    let trial = goldimg(["test".as_ref(), "--firmware=bios,uefi".as_ref(), new.as_path()]).run();
    assert_eq!(trial.code, 0, "{}", trial.snapshot());
}

#[test]
#[ignore = "minutes, and packages from the network: make test-customize"]
fn debian_12_with_a_web_server_boots_and_serves() {
    customized_and_booted("bookworm");
}

#[test]
#[ignore = "minutes, and packages from the network: make test-customize"]
fn debian_13_with_a_web_server_boots_and_serves() {
    customized_and_booted("trixie");
}
