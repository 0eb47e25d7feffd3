//! Images customized with packages from the network, and booted with what was installed at work. Run by `make test-customize`.

use std::path::{Path, PathBuf};

use super::{DATE, cache};
use crate::support::peer::{administrator, peer};
use crate::support::{folder, goldimg, project};

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

/// The options that make a web server of an image.
const SERVER: [&str; 4] = [
    "--install=nginx-light,curl",
    "--copy-in=site:/var/www/html",
    "--copy-in=check.service:/etc/systemd/system",
    "--run-command=systemctl enable nginx check",
];

/// An image of `release`, built into `folder`, beside what [`SERVER`] copies.
fn built(release: &str, folder: &Path) -> PathBuf {
    let path = |name: &str| folder.join(name);
    let recipe = path("base.toml");
    let text = format!(
        "name = \"base\"\nversion = \"1\"\n[base]\ndistribution = \"debian\"\nrelease = \"{release}\"\n"
    );
    std::fs::write(&recipe, text).expect("it works");
    let cache = cache();
    let built =
        goldimg(["build".as_ref(), "--cache-dir".as_ref(), cache.as_path(), &recipe, "-o".as_ref(), folder]);
    let built = built.env("SOURCE_DATE_EPOCH", DATE).run();
    assert_eq!(built.code, 0, "{}", built.snapshot());
    std::fs::create_dir(path("site")).expect("it works");
    std::fs::write(path("site/index.html"), "<p>here</p>\n").expect("it works");
    std::fs::write(path("check.service"), CHECK).expect("it works");
    path("base-1.qcow2")
}

/// Makes `new`, a raw disk, of `image` with `words`: where its root filesystem begins, in bytes.
fn customized(image: &Path, new: &Path, words: &[&str]) -> u64 {
    let mut arguments = ["customize", "-O", "raw", "-o"].map(Path::new).to_vec();
    arguments.extend([new, image]);
    arguments.extend(words.iter().map(Path::new));
    let done = goldimg(arguments).folder(new.parent().expect("a folder")).run();
    assert_eq!(done.code, 0, "{}", done.snapshot());
    let inspected = goldimg(["inspect".as_ref(), "--json".as_ref(), new]).run();
    let facts: serde_json::Value = serde_json::from_str(&inspected.stdout).expect("it works");
    let partitions = facts["table"]["partitions"].as_array().expect("it works");
    let root = partitions.iter().find(|partition| partition["name"] == "root").expect("a root filesystem");
    root["start"].as_u64().expect("a place")
}

/// Boots `image` with both firmwares: with a unit that failed, the trial fails.
fn boot(image: &Path) {
    let trial = goldimg(["test".as_ref(), "--firmware=bios,uefi".as_ref(), image]).run();
    assert_eq!(trial.code, 0, "{}", trial.snapshot());
}

/// Builds an image of `release`, customizes it, and boots it.
fn customized_and_booted(release: &str) {
    let [Some(_), Some(e2fsck)] = ["qemu-system-x86_64", "e2fsck"].map(peer) else { return };
    let folder = folder();
    let image = built(release, folder.path());
    let new = folder.path().join("web.raw");
    let root = customized(&image, &new, &[&SERVER[..], &["--size=+1G", "--grow-root"]].concat());
    e2fsck.must(["-fn", &format!("{}?offset={root}", new.display())]);
    boot(&new);
}

/// The same with a root filesystem that goldimg only reads: the image's own kernel writes it. `check` are the program that finds it clean, and
/// the package that its own system needs.
fn customized_by_its_kernel_and_booted(kind: &str, check: &[&str], package: &str) {
    let [Some(_), Some(unshare), Some(check_with)] = ["qemu-system-x86_64", "unshare", check[0]].map(peer)
    else {
        return;
    };
    if administrator("the kernel mounts nothing").is_none() {
        return;
    }
    let folder = folder();
    let image = built("bookworm", folder.path()).display().to_string();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let [raw, archive, other, new] = ["base.raw", "base.tar", "other.raw", "web.raw"].map(path);
    for words in
        [vec!["convert", "-O", "raw", &image, &raw], vec!["tar-out", "--partition=1", &raw, "/", &archive]]
    {
        let done = goldimg(words).run();
        assert_eq!(done.code, 0, "{}", done.snapshot());
    }
    let script = project().join("tests/golden/other_root.sh").display().to_string();
    unshare.must(["--mount", "--propagation", "private", &script, kind, &raw, &archive, &other]);
    let install = format!("--install={package}");
    let root = customized(other.as_ref(), new.as_ref(), &[&SERVER[..], &[&install]].concat());
    let part = path("part");
    let cut = ["iflag=skip_bytes", "bs=1M", "conv=sparse", "status=none"];
    let places = [format!("if={new}"), format!("of={part}"), format!("skip={root}")];
    peer("dd").expect("dd").must(cut.into_iter().chain(places.iter().map(String::as_str)));
    check_with.must([&check[1..], &[&part]].concat());
    boot(new.as_ref());
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

#[test]
#[ignore = "minutes, and packages from the network: make test-customize"]
fn debian_12_on_xfs_with_a_web_server_boots_and_serves() {
    customized_by_its_kernel_and_booted("xfs", &["xfs_repair", "-n"], "xfsprogs");
}

#[test]
#[ignore = "minutes, and packages from the network: make test-customize"]
fn debian_12_on_btrfs_with_a_web_server_boots_and_serves() {
    customized_by_its_kernel_and_booted("btrfs", &["btrfs", "check"], "btrfs-progs");
}
