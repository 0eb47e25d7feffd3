//! Namespaces as a build makes them, seen from inside: what can be reached, and what cannot.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::*;

/// Whether the test of this name was done elsewhere: by itself, as root of a user namespace, where this is not root.
fn done_elsewhere(name: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return false;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--"]);
        command
    };
    let possible = unshare().arg("true").output().is_ok_and(|output| output.status.success());
    if !possible {
        assert!(
            env::var_os("GOLDIMG_PEERS").is_none_or(|value| value != "required"),
            "no user namespaces here"
        );
        return true;
    }
    let output = unshare()
        .arg(env::current_exe().unwrap())
        .args(["--exact", &format!("golden::network::tests::{name}"), "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

/// What `work` finds in the namespace.
fn inside<T: Send>(network: &Network, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let inner = scope.spawn(|| {
            move_into_link_name_space(network.namespace(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        inner.join().unwrap()
    })
}

fn begin(access: Access, archives: Vec<Address>) -> Network {
    Network::begin(access, archives, Upstream::default(), &programs_path()).unwrap()
}

#[test]
fn nothing_of_this_machine_is_in_a_steps_network() {
    if done_elsewhere("nothing_of_this_machine_is_in_a_steps_network") {
        return;
    }
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = service.local_addr().unwrap();
    let name = format!("goldimg-test-{}", std::process::id());
    let abstract_name = UnixAddr::from_abstract_name(&name).unwrap();
    let _socket = UnixListener::bind_addr(&abstract_name).unwrap();
    // Both can be reached from here.
    TcpStream::connect(at).unwrap();
    UnixStream::connect_addr(&abstract_name).unwrap();
    for access in [Access::None, Access::Packages, Access::Full] {
        let network = begin(access, Vec::new());
        inside(&network, || {
            let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
            assert!(refused(TcpStream::connect(at).unwrap_err()), "{access:?}");
            assert!(refused(UnixStream::connect_addr(&abstract_name).unwrap_err()), "{access:?}");
            // By way of slirp4netns, this machine would be here.
            TcpStream::connect_timeout(
                &([10, 0, 2, 2], at.port()).into(),
                std::time::Duration::from_secs(30),
            )
            .unwrap_err();
            // Its own loopback works.
            let own = TcpListener::bind("127.0.0.1:0").unwrap();
            TcpStream::connect(own.local_addr().unwrap()).unwrap();
        });
    }
}

#[test]
fn without_access_there_is_loopback_only() {
    if done_elsewhere("without_access_there_is_loopback_only") {
        return;
    }
    let network = begin(Access::None, Vec::new());
    let links = inside(&network, || fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    let names: Vec<&str> = links.lines().skip(2).map(|line| line.split(':').next().unwrap().trim()).collect();
    assert_eq!(
        names.iter().filter(|name| **name != "lo").find(|name| name.starts_with("tap")),
        None,
        "{links}"
    );
    inside(&network, || TcpStream::connect(PROXY).unwrap_err());
    assert_eq!((network.proxy(), network.environment().len(), network.notice()), (None, 0, None));
    assert!(!network.resolv_conf().contains("nameserver"));
}

#[test]
fn all_of_the_network_is_there_or_the_user_is_told_why_not() {
    if done_elsewhere("all_of_the_network_is_there_or_the_user_is_told_why_not") {
        return;
    }
    let network = begin(Access::Full, Vec::new());
    let links = inside(&network, || fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    match network.notice() {
        None => {
            assert!(links.contains("tap0:"), "{links}");
            assert_eq!(network.resolv_conf(), "nameserver 10.0.2.3\n");
            assert_eq!(network.environment(), []);
            this_machine_is_shut_off(&network);
        }
        Some(notice) => {
            assert!(notice.contains("HTTP and HTTPS only") && notice.contains("for all of it: "), "{notice}");
            assert!(!links.contains("tap0:"), "{links}");
            assert!(network.environment().contains(&("https_proxy", "http://127.0.0.1:61080".into())));
        }
    }
    // What is on this machine is no way around, by the proxy either.
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = service.local_addr().unwrap();
    let answer = inside(&network, || {
        let mut stream = TcpStream::connect(PROXY).unwrap();
        write!(stream, "CONNECT {at} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let program = match &network.slirp {
        Some(Ok(slirp)) => Some(slirp.id()),
        _ => None,
    };
    drop(network);
    if let Some(id) = program {
        assert!(!Path::new(&format!("/proc/{id}")).exists(), "slirp4netns is still there");
    }
}

/// Neither a cloud's word to its machines nor this machine's own addresses are there.
fn this_machine_is_shut_off(network: &Network) {
    let service = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = service.local_addr().unwrap().port();
    // A connected datagram socket says from which address it would send. Nothing is sent.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()).map(|address| address.ip());
    let targets = [Ok(Ipv4Addr::new(169, 254, 169, 254).into()), own];
    for target in targets.into_iter().flatten() {
        let error = inside(network, || TcpStream::connect((target, port)).unwrap_err());
        assert_eq!(error.kind(), io::ErrorKind::HostUnreachable, "{target}");
    }
}

/// A web server for the files of a folder; connections are counted.
fn serve(folder: &Path) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (folder, count) = (folder.to_owned(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while let Some(Ok(first)) = lines.next() {
                while lines.next().is_some_and(|line| !line.unwrap_or_default().is_empty()) {}
                let path = first.split(' ').nth(1).unwrap_or("/").trim_start_matches('/');
                let answer = match fs::read(folder.join(path)) {
                    Ok(content) => {
                        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len());
                        [head.into_bytes(), content].concat()
                    }
                    Err(_) => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
                };
                if stream.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    (at, count)
}

/// More packages than apt asks for at once.
const COUNT: usize = 25;

/// An archive with so many packages, in `folder`; `None` where its tools are not installed.
fn make_archive(folder: &Path, count: usize) -> Option<()> {
    for number in 0..count {
        let tree = folder.join(format!("tree{number}"));
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: goldimg-test-{number}\nVersion: 1\nArchitecture: all\nMaintainer: none <none@example.org>\nDescription: none\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        // Some that do not fit into one read.
        fs::write(tree.join("content"), uuid::Uuid::new_v4().to_string().repeat(number * number * 200))
            .unwrap();
        let made =
            Command::new("dpkg-deb").args(["-Znone", "--build"]).arg(&tree).arg(folder).output().ok()?;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::remove_dir_all(&tree).unwrap();
    }
    let list =
        Command::new("dpkg-scanpackages").args(["--multiversion", "."]).current_dir(folder).output().ok()?;
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    fs::write(folder.join("Packages"), list.stdout).unwrap();
    Some(())
}

/// apt-get in a state of its own, in the namespace.
fn apt(network: &Network, state: &Path, what: &[String]) -> std::process::Output {
    let set = |name: &str, value: &str| format!("{name}={value}");
    let path = |below: &str| state.join(below).display().to_string();
    let proxy = network.proxy().unwrap();
    let options = [
        set("Dir::Etc::SourceList", &path("sources.list")),
        set("Dir::Etc::SourceParts", "-"),
        set("Dir::Etc::Main", "-"),
        set("Dir::Etc::Parts", "-"),
        set("Dir::State", &path("state")),
        set("Dir::State::Status", &path("status")),
        set("Dir::Cache", &path("cache")),
        set("APT::Sandbox::User", "root"),
        set("Acquire::Languages", "none"),
        set("Acquire::http::Proxy", &proxy),
        set("Acquire::https::Proxy", &proxy),
    ];
    let mut command = Command::new("apt-get");
    command.env_clear().env("PATH", programs_path()).env("LC_ALL", "C").current_dir(state);
    command.args(options.iter().flat_map(|option| ["-o", option])).args(["-q", "-y"]).args(what);
    inside(network, || command.output().unwrap())
}

fn programs_path() -> std::ffi::OsString {
    crate::variables::Variables::of_tests().path()
}

#[test]
fn apt_takes_packages_from_an_archive_on_this_machine_and_from_no_other() {
    if done_elsewhere("apt_takes_packages_from_an_archive_on_this_machine_and_from_no_other") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (archive, state) = (folder.path().join("archive"), folder.path().join("state"));
    fs::create_dir_all(&archive).unwrap();
    for below in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(state.join(below)).unwrap();
    }
    fs::write(state.join("status"), "").unwrap();
    if make_archive(&archive, COUNT).is_none() {
        assert!(env::var_os("GOLDIMG_PEERS").is_none_or(|value| value != "required"), "no dpkg-dev here");
        return;
    }
    let (at, connections) = serve(&archive);
    let network = begin(Access::Packages, vec![Address::new("127.0.0.1", at.port())]);
    fs::write(state.join("sources.list"), format!("deb [trusted=yes] http://{at}/ ./\n")).unwrap();
    let update = apt(&network, &state, &["update".into()]);
    assert!(update.status.success(), "{}", String::from_utf8_lossy(&update.stderr));
    let packages: Vec<String> = (0..COUNT).map(|number| format!("goldimg-test-{number}")).collect();
    let what: Vec<String> = ["download".to_owned()].into_iter().chain(packages).collect();
    let before = connections.load(Ordering::Relaxed);
    let download = apt(&network, &state, &what);
    assert!(download.status.success(), "{}", String::from_utf8_lossy(&download.stderr));
    for number in 0..COUNT {
        let name = format!("goldimg-test-{number}_1_all.deb");
        assert!(fs::read(state.join(&name)).unwrap() == fs::read(archive.join(&name)).unwrap(), "{name}");
    }
    // One for all of them.
    assert_eq!(connections.load(Ordering::Relaxed) - before, 1);
    // Another archive, that the recipe knows nothing of.
    let (other, _) = serve(&archive);
    fs::write(state.join("sources.list"), format!("deb [trusted=yes] http://{other}/ ./\n")).unwrap();
    let refused = apt(&network, &state, &["update".into()]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("403  not an archive of packages, and the recipe lets steps reach nothing else"),
        "{said}"
    );
}
