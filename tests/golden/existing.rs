//! Builds that begin with what is there: an image beside the recipe, or on a server that loses the connection; the files of a system
//! as mmdebstrap and umoci pack them. Run by `make test-existing`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{DATE, build};
use crate::support::peer::{Peer, peer};
use crate::support::program::Outcome;
use crate::support::{folder, goldimg};

/// How much of a file the server sends before it loses the first connection, in bytes.
const CUT: usize = 5_000_000;

const STEPS: &str = "
[[steps]]
write = { path = \"/etc/motd\", content = \"begun elsewhere\\n\" }
[[steps]]
run = { script = \"grep -q begun /etc/motd && systemctl disable apt-daily.timer\", network = false }
[[steps]]
kernel-argument = [\"goldimg.word=1\"]
[output]
formats = [\"qcow2\", \"raw\"]
compression = \"zstd\"
";

/// Builds a recipe with this base in `folder`, its outputs in `folder/NAME`.
fn built(folder: &Path, name: &str, base: &str, rest: &str) -> Outcome {
    let recipe = folder.join(format!("{name}.toml"));
    fs::write(&recipe, format!("name = \"own\"\nversion = \"2\"\n[base]\n{base}\n{STEPS}{rest}"))
        .expect("a recipe");
    let cache = folder.join("cache");
    let mut words: Vec<PathBuf> = ["build", "--progress=plain", "--cache-dir"].map(PathBuf::from).into();
    words.extend([cache, recipe, "-o".into(), folder.join(name)]);
    goldimg(words).env("SOURCE_DATE_EPOCH", DATE).run()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

fn sha256(sha256sum: &Peer, path: &Path) -> String {
    let said = sha256sum.must([path.as_os_str()]);
    said.split_whitespace().next().expect("a digest").to_owned()
}

/// A server of the file `path` that loses its first connection, and what it was asked.
fn serve(path: &Path) -> (String, Arc<Mutex<Vec<Option<usize>>>>) {
    let content = fs::read(path).expect("a file");
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let url = format!("http://{}/base.raw.zst", listener.local_addr().expect("its number"));
    let asked: Arc<Mutex<Vec<Option<usize>>>> = Arc::default();
    let heard = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let lines =
                BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let lines: Vec<String> = lines.map(|line| line.to_lowercase()).collect();
            let range = lines
                .iter()
                .find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok());
            let from: usize = range.unwrap_or(0);
            let is_first = heard.lock().expect("a list").is_empty();
            heard.lock().expect("a list").push(range);
            let (len, all) = (content.len() - from, content.len());
            let status = match range {
                None => "200 OK".to_owned(),
                Some(_) => format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{all}", all - 1),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {len}\r\nETag: \"one\"\r\nConnection: close\r\n\r\n"
            );
            let end = if is_first { CUT } else { all };
            let mut stream = &stream;
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&content[from..end]));
        }
    });
    (url, asked)
}

/// Holds what was built in `folder` against the image `base` that it began with.
fn judge(folder: &Path, base: &Path, e2fsck: &Peer) {
    let raw = folder.join("own-2.raw");
    let audited =
        goldimg(["audit".as_ref(), "--json".as_ref(), folder.join("own-2.qcow2").as_os_str()]).run();
    assert_eq!(audited.code, 0, "{}", audited.snapshot());
    let facts = |image: &Path| -> Value {
        let said = goldimg(["inspect".as_ref(), "--json".as_ref(), image.as_os_str()]).run();
        serde_json::from_str(&said.stdout).expect("JSON")
    };
    let (own, before) = (facts(&raw), facts(base));
    assert_eq!(own["table"]["id"], before["table"]["id"]);
    let partitions = own["table"]["partitions"].as_array().expect("partitions");
    let root = partitions.iter().find(|partition| partition["name"] == "root").expect("a root filesystem");
    e2fsck.must(["-fn", &format!("{}?offset={}", raw.display(), root["start"])]);
    let read = |path: &str| goldimg(["cat".as_ref(), raw.as_os_str(), path.as_ref()]).run().stdout;
    assert_eq!(read("/etc/motd"), "begun elsewhere\n");
    let volumes = before["volumes"].as_array().expect("volumes");
    let root = volumes.iter().find(|volume| volume["mounted"] == "/").expect("a root filesystem");
    let menu = read("/boot/grub/grub.cfg");
    assert!(
        menu.contains("goldimg.word=1") && menu.contains(root["uuid"].as_str().expect("a UUID")),
        "{menu}"
    );
}

#[test]
#[ignore = "minutes, and packages from the network: make test-existing"]
fn an_image_beside_the_recipe_or_on_a_server_is_built_upon_and_stays_as_it_is() {
    let peers = ["e2fsck", "sha256sum", "zstd", "qemu-img"].map(peer);
    let [Some(e2fsck), Some(sha256sum), Some(zstd), Some(qemu_img)] = peers else { return };
    let folder = folder();
    let folder = folder.path();
    let first =
        build(folder, "first", "[output]\nformats = [\"qcow2\", \"raw\"]\ncompression = \"zstd\"\n", &[])
            .run();
    assert_eq!(first.code, 0, "{}", first.snapshot());
    let [qcow2, raw] = ["first/tiny-1.qcow2", "first/tiny-1.raw"].map(|name| folder.join(name));
    let before = sha256(&sha256sum, &qcow2);

    let own = built(folder, "beside", "image = \"first/tiny-1.qcow2\"", "[disk]\nsize = \"3G\"\n");
    assert_eq!(own.code, 0, "{}", own.snapshot());
    let made = folder.join("beside");
    judge(&made, &qcow2, &e2fsck);
    qemu_img.must(["check".as_ref(), made.join("own-2.qcow2").as_os_str()]);
    qemu_img.must([
        "compare".as_ref(),
        made.join("own-2.qcow2").as_os_str(),
        made.join("own-2.raw").as_os_str(),
    ]);
    assert_eq!(fs::metadata(made.join("own-2.raw")).expect("an image").len(), 3 << 30);
    assert_eq!(sha256(&sha256sum, &qcow2), before, "the image that it began with");
    let manifest = json(&made.join("own-2.json"));
    assert_eq!(manifest["base"]["sha256"], before.as_str(), "{manifest}");
    assert_eq!((&manifest["distribution"], &manifest["release"]), (&"debian".into(), &"bookworm".into()));
    assert_eq!(manifest["properties"]["os_admin_user"], "debian");
    assert!(manifest["changes"]["files_written"].as_u64().expect("a number") >= 2, "{}", manifest["changes"]);
    assert!(manifest["packages"].as_array().expect("packages").len() > 100);

    let packed = folder.join("base.raw.zst");
    zstd.must(["-q".as_ref(), raw.as_os_str(), "-o".as_ref(), packed.as_os_str()]);
    let (url, asked) = serve(&packed);
    let digest = sha256(&sha256sum, &packed);
    let base = format!("image = \"{url}\"\nsha256 = \"{digest}\"");
    let own = built(folder, "served", &base, "");
    assert_eq!(own.code, 0, "{}", own.snapshot());
    judge(&folder.join("served"), &raw, &e2fsck);
    assert_eq!(*asked.lock().expect("a list"), [None, Some(CUT)], "what came is not asked for again");
    assert_eq!(sha256(&sha256sum, &folder.join(format!("cache/files/sha256-{digest}"))), digest);
    let again = built(folder, "again", &base, "");
    assert_eq!((again.code, asked.lock().expect("a list").len()), (0, 2), "{}", again.snapshot());
    // The same recipe, base and date, the same bytes.
    let [one, other] = ["served", "again"].map(|name| folder.join(name).join("own-2.raw"));
    if sha256(&sha256sum, &one) != sha256(&sha256sum, &other) {
        let told = goldimg(["diff".as_ref(), one.as_os_str(), other.as_os_str()]).run();
        panic!("two builds differ: {}", told.snapshot());
    }
    let [one, other] = ["served", "again"].map(|name| folder.join(name).join("own-2.qcow2"));
    assert_eq!(sha256(&sha256sum, &one), sha256(&sha256sum, &other));
    // Another file than the recipe means is no base.
    let wrong =
        built(folder, "wrong", &format!("image = \"base.raw.zst\"\nsha256 = \"{}\"", "0".repeat(64)), "");
    assert_eq!(wrong.code, 1, "{}", wrong.snapshot());
    assert!(wrong.stderr.contains(&format!("its sha256 is {digest}")), "{}", wrong.stderr);
}

/// Builds upon files, and holds what comes out against what the base and the steps say.
fn judge_files(folder: &Path, name: &str, base: &str, e2fsck: &Peer) {
    let base = format!("{base}\ndistribution = \"debian\"\nrelease = \"bookworm\"");
    let own = built(folder, name, &base, "");
    assert_eq!(own.code, 0, "{}", own.snapshot());
    let [qcow2, raw] = ["own-2.qcow2", "own-2.raw"].map(|file| folder.join(name).join(file));
    let audited = goldimg(["audit".as_ref(), qcow2.as_os_str()]).run();
    assert_eq!(audited.code, 0, "{}", audited.snapshot());
    let manifest = json(&folder.join(name).join("own-2.json"));
    let root =
        &manifest["partitions"].as_array().expect("partitions").last().expect("a root filesystem")["offset"];
    e2fsck.must(["-fn", &format!("{}?offset={root}", raw.display())]);
    let packages = manifest["packages"].as_array().expect("packages");
    for wanted in ["linux-image-cloud-amd64", "cloud-init", "grub-pc-bin"] {
        assert!(packages.iter().any(|package| package["name"] == wanted), "{wanted}");
    }
    let trial = goldimg(["test".as_ref(), "--firmware=bios,uefi".as_ref(), qcow2.as_os_str()]).run();
    assert_eq!(trial.code, 0, "{}", trial.snapshot());
}

#[test]
#[ignore = "minutes, and packages from the network: make test-existing"]
fn the_files_of_a_system_become_an_image_that_boots() {
    let peers = ["e2fsck", "mmdebstrap", "umoci", "skopeo", "qemu-system-x86_64"].map(peer);
    let [Some(e2fsck), Some(mmdebstrap), Some(umoci), Some(skopeo), Some(_)] = peers else { return };
    let folder = folder();
    let folder = folder.path();
    let run = |peer: &Peer, words: &[&str]| {
        let done = peer.command(words).folder(folder).run();
        assert_eq!(done.code, 0, "{words:?}: {}", done.snapshot());
    };
    run(&mmdebstrap, &["-q", "--variant=apt", "bookworm", "root.tar"]);
    judge_files(folder, "tar", "tar = \"root.tar\"", &e2fsck);

    fs::create_dir_all(folder.join("own/inner")).expect("a folder");
    fs::write(folder.join("own/inner/file"), "of a layer\n").expect("a file");
    run(&umoci, &["init", "--layout", "layout"]);
    run(&umoci, &["new", "--image", "layout:base"]);
    run(&umoci, &["raw", "add-layer", "--image", "layout:base", "root.tar"]);
    run(&umoci, &["insert", "--image", "layout:base", "--opaque", "own", "/etc/apt/preferences.d"]);
    run(&umoci, &["insert", "--image", "layout:base", "--whiteout", "/etc/debian_version"]);
    run(&skopeo, &["copy", "-q", "oci:layout:base", "docker-archive:saved.tar:base:1"]);
    for (name, base) in [("layout-built", "oci = \"layout\""), ("saved-built", "oci = \"saved.tar\"")] {
        judge_files(folder, name, base, &e2fsck);
        let read = |path: &str| {
            goldimg(["cat".as_ref(), folder.join(name).join("own-2.raw").as_os_str(), path.as_ref()]).run()
        };
        assert_eq!(read("/etc/apt/preferences.d/inner/file").stdout, "of a layer\n", "{name}");
        assert_eq!(read("/etc/debian_version").code, 1, "{name}: a layer took it away");
    }
}
