//! Uploads that are cut off, killed or doubled, against a real Glance.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::cloud::{Cloud, raw_image, start};
use crate::support::program::Invocation;
use crate::support::until;

/// What becomes of a connection.
enum Fate {
    Passes,
    /// It is kept open and never answered.
    Waits,
    /// It is cut after so many bytes.
    Breaks(usize),
    /// It goes on slowly, and does not come to its end.
    Crawls(Arc<Crawl>),
}

/// An image that is under way for as long as a test wants.
#[derive(Default)]
struct Crawl {
    begun: AtomicBool,
    over: AtomicBool,
}

impl Crawl {
    /// Bytes that pass as fast as they can, and bytes that pass at all; the rest waits.
    const FAST: usize = 2_000_000;
    const MOST: usize = 32_000_000;

    /// Waits before more than `passed` bytes pass; whether any may.
    fn wait(&self, passed: usize) -> bool {
        if passed < Self::FAST {
            return true;
        }
        self.begun.store(true, Ordering::SeqCst);
        loop {
            std::thread::sleep(Duration::from_millis(100));
            if self.over.load(Ordering::SeqCst) || passed < Self::MOST {
                return !self.over.load(Ordering::SeqCst);
            }
        }
    }
}

/// A proxy before Glance. `fate` looks at how a connection begins.
fn proxy(glance: &str, fate: impl Fn(&[u8]) -> Fate + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("its address"));
    let target = glance.trim_start_matches("http://").to_owned();
    let fate = Arc::new(fate);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, target, fate) =
                (client.expect("a connection"), target.clone(), Arc::clone(&fate));
            std::thread::spawn(move || {
                let server = TcpStream::connect(target).expect("Glance");
                let (from, to) =
                    (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
                let mut first = [0; 4096];
                let count = client.read(&mut first).unwrap_or(0);
                let fate = fate(&first[..count]);
                if matches!(fate, Fate::Waits) {
                    loop {
                        std::thread::park();
                    }
                }
                std::thread::spawn(move || forward(from, to, &Fate::Passes, &[]));
                forward(client, server, &fate, &first[..count]);
            });
        }
    });
    address
}

/// A proxy that cuts the first `cuts` connections that carry an image, after `bytes` bytes of it.
fn cutting_proxy(glance: &str, cuts: usize, bytes: usize) -> (String, Arc<AtomicUsize>) {
    let done = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&done);
    let address = proxy(glance, move |first| {
        let cut = first.starts_with(b"PUT ") && counter.fetch_add(1, Ordering::SeqCst) < cuts;
        if cut { Fate::Breaks(bytes) } else { Fate::Passes }
    });
    (address, done)
}

/// A proxy that answers no request for an import.
fn proxy_without_imports(glance: &str) -> String {
    proxy(glance, |first| {
        let line = first.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let imports = line.starts_with(b"POST ") && line.ends_with(b"/import HTTP/1.1");
        if imports { Fate::Waits } else { Fate::Passes }
    })
}

/// A proxy through which an image comes slowly.
fn crawling_proxy(glance: &str) -> (String, Arc<Crawl>) {
    let crawl = Arc::<Crawl>::default();
    let told = Arc::clone(&crawl);
    let address = proxy(glance, move |first| match first.starts_with(b"PUT ") {
        true => Fate::Crawls(Arc::clone(&told)),
        false => Fate::Passes,
    });
    (address, crawl)
}

/// Copies until either side ends, or what may pass has passed: then both are closed.
fn forward(mut from: TcpStream, mut to: TcpStream, fate: &Fate, first: &[u8]) {
    let limit = if let Fate::Breaks(limit) = fate { *limit } else { usize::MAX };
    let mut passed = first.len();
    let mut buf = [0; 65536];
    if to.write_all(first).is_ok() {
        while passed < limit {
            if let Fate::Crawls(crawl) = fate
                && !crawl.wait(passed)
            {
                break;
            }
            match from.read(&mut buf) {
                Ok(count) if count > 0 && to.write_all(&buf[..count]).is_ok() => passed += count,
                _ => break,
            }
        }
    }
    let _ = (to.shutdown(Shutdown::Write), passed >= limit && from.shutdown(Shutdown::Both).is_ok());
}

/// An upload through a proxy: the same user, another address of Glance.
fn through(cloud: &Cloud, proxy: &str, image: &str, method: &str) -> Invocation {
    crate::support::goldimg(["upload", image, "--json", "--audit", "off", "--method", method])
        .folder(cloud.dir())
        .env("HOME", cloud.dir())
        .env("NO_PROXY", "127.0.0.1")
        .env("OS_AUTH_URL", cloud.fact("keystone"))
        .env("OS_USERNAME", "demo")
        .env("OS_PASSWORD", "goldimg-password")
        .env("OS_PROJECT_NAME", "demo")
        .env("OS_IMAGE_ENDPOINT_OVERRIDE", proxy)
}

#[test]
fn a_connection_cut_half_way_is_mended() {
    let Some(cloud) = start(&[]) else { return };
    let image = raw_image(&cloud.dir().join("disk.raw"), 8_000_000, 21);
    let (proxy, sent) = cutting_proxy(&cloud.fact("glance"), 1, 2_000_000);
    let outcome = through(&cloud, &proxy, &image.to_string_lossy(), "direct").run();
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    assert_eq!(sent.load(Ordering::SeqCst), 2);
    assert!(outcome.stderr.contains("sending it again"), "{}", outcome.stderr);
    let told: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(told["verified"], true);
    cloud.assert_downloads(told["image"]["id"].as_str().expect("an id"), &image);

    // A line that never holds: an error, and nothing is left in the cloud.
    let (proxy, sent) = cutting_proxy(&cloud.fact("glance"), usize::MAX, 1_000_000);
    let other = raw_image(&cloud.dir().join("other.raw"), 8_000_000, 22);
    let outcome = through(&cloud, &proxy, &other.to_string_lossy(), "direct").run();
    assert_eq!((outcome.code, sent.load(Ordering::SeqCst)), (1, 4), "{}", outcome.snapshot());
    assert_eq!(cloud.images("demo").len(), 1);
}

#[test]
fn a_killed_upload_is_replaced_and_a_stopped_one_cleans_up() {
    let Some(cloud) = start(&[]) else { return };
    let image = raw_image(&cloud.dir().join("disk.raw"), 64_000_000, 23);
    let path = image.to_string_lossy().into_owned();
    for (signal, method) in [("KILL", "direct"), ("KILL", "glance-direct"), ("INT", "direct")] {
        let (proxy, crawl) = crawling_proxy(&cloud.fact("glance"));
        let mut child = through(&cloud, &proxy, &path, method).spawn();
        until("the image is under way", || {
            assert!(child.try_wait().expect("a child").is_none(), "it ended too early");
            crawl.begun.load(Ordering::SeqCst)
        });
        let pid = child.id().to_string();
        let killed =
            std::process::Command::new("kill").args(["-s", signal, &pid]).status().expect("kill runs");
        assert!(killed.success());
        let status = child.wait().expect("it ends");
        // As a connection is closed whose program is gone.
        crawl.over.store(true, Ordering::SeqCst);
        if signal == "INT" {
            assert_eq!(status.code(), Some(130));
            assert_eq!(cloud.images("demo"), Vec::<Value>::new(), "a stopped upload leaves nothing");
        } else {
            until("what was killed is replaced", || {
                let again = cloud.goldimg("demo", &["upload", &path, "--method", method]).run();
                // Glance may not have noticed yet that the sender is gone.
                let waits = again.stderr.contains("another upload of this image is under way");
                assert!(again.code == 0 || waits, "{}", again.snapshot());
                again.code == 0
            });
            let told = cloud.upload("demo", &image, &["--method", method]);
            assert_eq!(told["found"], true);
            let id = told["image"]["id"].as_str().expect("an id");
            assert_eq!(cloud.images("demo").len(), 1, "what the killed upload left is gone");
            cloud.assert_downloads(id, &image);
            cloud.openstack("demo", &["image", "delete", id]);
        }
    }
}

#[test]
fn an_upload_killed_before_its_import_is_replaced() {
    let Some(cloud) = start(&[]) else { return };
    let image = raw_image(&cloud.dir().join("disk.raw"), 1_000_000, 26);
    let staged = |cloud: &Cloud| {
        cloud.images("demo").iter().any(|image| image["status"] == "uploading" && !image["size"].is_null())
    };
    let proxy = proxy_without_imports(&cloud.fact("glance"));
    let mut child = through(&cloud, &proxy, &image.to_string_lossy(), "glance-direct").spawn();
    until("it is staged", || staged(&cloud));
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let told = cloud.upload("demo", &image, &["--method", "glance-direct"]);
    assert_eq!(told["found"], false);
    assert_eq!(cloud.images("demo").len(), 1, "what the killed upload left is gone");
    cloud.assert_downloads(told["image"]["id"].as_str().expect("an id"), &image);
}

#[test]
fn two_uploads_at_once() {
    let Some(cloud) = start(&[]) else { return };
    let image = raw_image(&cloud.dir().join("disk.raw"), 16_000_000, 24);
    let other = raw_image(&cloud.dir().join("other.raw"), 16_000_000, 25);
    // Different images at once do not notice each other.
    let told = std::thread::scope(|scope| {
        let one = scope.spawn(|| cloud.upload("demo", &image, &["--name", "one"]));
        let two = scope.spawn(|| cloud.upload("credential", &other, &["--name", "two"]));
        [one, two].map(|upload| upload.join().expect("an upload"))
    });
    for (told, file) in told.iter().zip([&image, &other]) {
        cloud.assert_downloads(told["image"]["id"].as_str().expect("an id"), file);
    }
    // The same image at once: one is made, whoever makes it.
    let path = image.to_string_lossy().into_owned();
    let codes = std::thread::scope(|scope| {
        let run = || cloud.goldimg("demo", &["upload", &path, "--name", "same"]).run();
        let (one, two) = (scope.spawn(run), scope.spawn(run));
        [one, two].map(|upload| upload.join().expect("an upload"))
    });
    let same = cloud
        .images("demo")
        .into_iter()
        .filter(|image| image["name"] == "same" && image["status"] == "active");
    let count = same.count();
    let said: Vec<String> = codes.iter().map(|outcome| outcome.snapshot()).collect();
    assert!(codes.iter().any(|outcome| outcome.code == 0), "{said:?}");
    assert_eq!(count, 1, "{said:?}");
}
