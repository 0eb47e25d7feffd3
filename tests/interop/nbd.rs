//! Exports of qemu-nbd and of nbdkit, written and read by us; and servers that lie.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::support::peer::{Peer, peer};
use crate::support::program::Outcome;
use crate::support::server::{Place, Server};
use crate::support::{folder, goldimg};

const MIB: u64 = 1 << 20;

/// A folder with `source.raw`, 8 MiB: data, zeroes that are stored, and holes.
struct Bench {
    img: Peer,
    nbd: Peer,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Option<Self> {
        let bench = Self { img: peer("qemu-img")?, nbd: peer("qemu-nbd")?, folder: folder() };
        let mut bytes = vec![0; 8 << 20];
        for (index, byte) in bytes[MIB as usize..][..300_000].iter_mut().enumerate() {
            *byte = (index * 7 % 251) as u8;
        }
        bytes[5 << 20..][..65_536].fill(9);
        bytes[(8 << 20) - 10..].fill(4);
        fs::write(bench.path("source.raw"), bytes).unwrap();
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that is nowhere zero.
    fn dirty(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, vec![0xaa; size as usize]).unwrap();
        path
    }

    /// A socket that nobody has used, and a port.
    fn places(&self, name: &str) -> [Place; 2] {
        [Place::unix(self.path(name)), Place::some_port()]
    }

    fn must(&self, words: &[&str]) -> String {
        let outcome = goldimg(words).folder(self.folder.path()).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        outcome.stdout
    }

    fn fails(&self, words: &[&str]) -> Outcome {
        let outcome = goldimg(words).folder(self.folder.path()).run();
        assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
        outcome
    }

    fn json(&self, words: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.must(words)).unwrap()
    }

    /// QEMU reads the same from both.
    fn same(&self, one: &str, other: &Path) {
        let (one, other) = (self.path(one), other.to_str().unwrap());
        let said = self.img.must(["compare", one.to_str().unwrap(), other]);
        assert_eq!(said.trim_end().lines().last(), Some("Images are identical."), "{said}");
    }
}

#[test]
fn what_is_written_into_a_raw_export_is_there() {
    let Some(bench) = Bench::new() else { return };
    let words: [&[&str]; 4] = [
        &["convert", "-q", "-n", "-O", "raw", "source.raw"],
        &["qemu-img", "convert", "-n", "source.raw"],
        &["qemu-img", "convert", "-O", "raw", "source.raw"],
        &["qemu-img", "convert", "-n", "-S", "0", "source.raw"],
    ];
    for (index, words) in words.into_iter().enumerate() {
        for place in bench.places(&format!("s{index}")) {
            let target = bench.dirty("target.raw", 8 * MIB);
            // For one client, and gone when that leaves: one connection does all.
            let server =
                Server::qemu(&bench.nbd, place, &["-f", "raw", "--discard=unmap", "-x", "x"], &target);
            let address = server.address("x");
            bench.must(&[words, &[address.as_str()]].concat());
            server.ends();
            assert!(fs::read(&target).unwrap() == fs::read(bench.path("source.raw")).unwrap(), "{words:?}");
        }
    }
}

#[test]
fn qcow2_in_an_export_is_sound_whatever_was_there_before() {
    let Some(bench) = Bench::new() else { return };
    for (index, options) in
        ["cluster_size=64k", "cluster_size=4k", "compat=0.10", "extended_l2=on"].into_iter().enumerate()
    {
        for (other, compress) in [&[][..], &["-c"]].into_iter().enumerate() {
            let target = bench.dirty("target.raw", 3 * MIB);
            let place = Place::unix(bench.path(&format!("s{index}{other}")));
            let server = Server::qemu(&bench.nbd, place, &["-f", "raw"], &target);
            let address = server.address("");
            let words =
                [&["qemu-img", "convert", "-O", "qcow2", "-o", options], compress, &["source.raw", &address]];
            bench.must(&words.concat());
            server.ends();
            let check = bench.img.must(["check", "-f", "qcow2", target.to_str().unwrap()]);
            assert!(check.starts_with("No errors were found on the image."), "{check}");
            bench.same("source.raw", &target);
        }
    }
    // In place: what is there is an empty image with room behind it.
    let target = bench.path("target.qcow2");
    bench.img.must(["create", "-q", "-f", "qcow2", target.to_str().unwrap(), "8M"]);
    fs::File::options().write(true).open(&target).unwrap().set_len(4 * MIB).unwrap();
    let server = Server::qemu(&bench.nbd, Place::unix(bench.path("place")), &["-t", "-f", "raw"], &target);
    let address = server.address("");
    bench.must(&["convert", "-q", "-n", "-O", "qcow2", "source.raw", &address]);
    bench.must(&["snapshot", "--create", "first", &address]);
    assert!(bench.must(&["snapshot", &address]).contains("first"));
    let check = bench.json(&["check", "--json", &address]);
    assert_eq!((&check["corruptions"], &check["leaks"]), (&0.into(), &0.into()), "{check}");
    let info = bench.json(&["info", "--json", &address]);
    assert_eq!((&info["format"], &info["virtual-size"]), (&"qcow2".into(), &(8 * MIB).into()));
    assert_eq!((&info["actual-size"], &info["file-size"]), (&serde_json::Value::Null, &(4 * MIB).into()));
    drop(server);
    let check: serde_json::Value =
        serde_json::from_str(&bench.img.must(["check", "--output=json", target.to_str().unwrap()])).unwrap();
    // 1 MiB + 300,000 bytes begin 5 clusters; one at 5 MiB, and the last one.
    assert_eq!((&check["allocated-clusters"], &check["check-errors"]), (&7.into(), &0.into()), "{check}");
    bench.same("source.raw", &target);
}

#[test]
fn an_export_is_written_over_by_who_says_so() {
    let Some(bench) = Bench::new() else { return };
    let target = bench.dirty("target.raw", 9 * MIB);
    let place = Place::unix(bench.path("s.qcow2"));
    let server = Server::qemu(&bench.nbd, place, &["-t", "-e", "0", "-f", "raw"], &target);
    let address = server.address("");
    let told = bench.fails(&["convert", "source.raw", &address]).stderr;
    assert!(told.contains("is an export, which holds something already"), "{told}");
    assert!(fs::read(&target).unwrap() == vec![0xaa; 9 << 20]);
    // The name of the socket says nothing of the format.
    bench.must(&["convert", "-q", "--force", "source.raw", &address]);
    let written = fs::read(&target).unwrap();
    assert!(written[..8 << 20] == fs::read(bench.path("source.raw")).unwrap());
    assert!(written[8 << 20..].iter().all(|byte| *byte == 0xaa), "what is behind it stays");
    bench.must(&["convert", "-q", "--force", "-c", "-O", "qcow2", "source.raw", &address]);
    let check = bench.json(&["check", "--json", &address]);
    assert_eq!((&check["corruptions"], &check["leaks"]), (&0.into(), &0.into()), "{check}");
    assert!(bench.must(&["compare", &address, "source.raw"]).ends_with("hold the same\n"));
    fs::File::create(bench.path("large.raw")).unwrap().set_len(16 * MIB).unwrap();
    let told = bench.fails(&["convert", "--force", "large.raw", &address]).stderr;
    assert!(told.contains("has 9437184 bytes, and the image needs 16777216"), "{told}");
}

#[test]
fn nbdkit_is_written_and_read_within_its_limits() {
    let (Some(bench), Some(nbdkit)) = (Bench::new(), peer("nbdkit")) else { return };
    let limits = ["blocksize-minimum=4096", "blocksize-preferred=4096", "blocksize-maximum=65536"];
    let strict =
        [&["--filter=blocksize-policy", "memory", "8M", "blocksize-error-policy=error"][..], &limits]
            .concat();
    let kinds: [&[&str]; 5] = [
        &["memory", "8M"],
        &strict,
        &["--no-sr", "memory", "8M"],
        &["--filter=nozero", "memory", "8M"],
        &["--filter=noextents", "memory", "8M"],
    ];
    for (index, words) in kinds.into_iter().enumerate() {
        for place in bench.places(&format!("s{index}")) {
            let server = Server::nbdkit(&nbdkit, place, words);
            let address = server.address("");
            bench.must(&["convert", "-q", "-n", "-O", "raw", "source.raw", &address]);
            bench.must(&["convert", "-q", "-O", "raw", "--force", &address, "back.raw"]);
            assert!(
                fs::read(bench.path("back.raw")).unwrap() == fs::read(bench.path("source.raw")).unwrap(),
                "{words:?}"
            );
            assert!(bench.must(&["compare", &address, "source.raw"]).ends_with("hold the same\n"));
            // The map is QEMU's, but for the file's name.
            let theirs: serde_json::Value =
                serde_json::from_str(&bench.img.must(["map", "--output=json", &address])).unwrap();
            let mut ours = bench.json(&["map", "--json", &address]);
            // Old ones do not tell what is compressed, which nothing in a raw image is.
            let tells_compressed = theirs[0].get("compressed").is_some();
            for stretch in ours.as_array_mut().unwrap() {
                let stretch = stretch.as_object_mut().unwrap();
                stretch.remove("filename");
                assert_eq!(stretch["compressed"], false, "{words:?}");
                if !tells_compressed {
                    stretch.remove("compressed");
                }
            }
            assert_eq!(ours, theirs, "{words:?}");
        }
    }
}

#[test]
fn failures_of_a_server_are_told_with_the_offset() {
    let (Some(bench), Some(nbdkit)) = (Bench::new(), peer("nbdkit")) else { return };
    let start = |name: &str, words: &[&str]| Server::nbdkit(&nbdkit, Place::unix(bench.path(name)), words);
    let full = start("full", &["--filter=error", "memory", "8M", "error=ENOSPC", "error-pwrite-rate=100%"]);
    let told = bench.fails(&["convert", "-q", "-n", "-O", "raw", "source.raw", &full.address("")]).stderr;
    assert!(told.contains("No space left on device") && told.contains("at offset 0x100000"), "{told}");
    let old = start("old", &["--oldstyle", "memory", "8M"]);
    let told = bench.fails(&["info", &old.address("")]).stderr;
    assert!(told.contains("the server negotiates nothing"), "{told}");
    // Data up to the third megabyte can be read; what cannot is zeroes, and told.
    let words =
        ["--filter=offset", "--filter=error", "pattern", "8M", "error-pread=EIO", "error-pread-rate=100%"];
    let broken = start("broken", &words);
    let told = bench.fails(&["convert", "-q", "-f", "raw", &broken.address(""), "out.raw"]).stderr;
    assert!(told.contains("Input/output error") && told.contains("at offset 0x0"), "{told}");
    let outcome = goldimg(["convert", "-f", "raw", "--salvage", &broken.address(""), "out.raw"]);
    let outcome = outcome.folder(bench.folder.path()).run();
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    assert!(outcome.stderr.contains("8388608 bytes could not be read"), "{}", outcome.stderr);
}

#[test]
fn an_image_in_an_export_opens_no_file() {
    let Some(bench) = Bench::new() else { return };
    let (image, source) = (bench.path("overlay.qcow2"), bench.path("source.raw"));
    for name in ["source.raw", source.to_str().unwrap(), "nbd:unix:s"] {
        let words =
            ["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", name, image.to_str().unwrap(), "8M"];
        bench.img.must(words);
        let server =
            Server::qemu(&bench.nbd, Place::unix(bench.path("s")), &["-t", "-r", "-f", "raw"], &image);
        let address = server.address("");
        bench.must(&["info", &address]);
        for words in [&["map"][..], &["map", "--allow-backing"], &["qemu-img", "map"]] {
            let told = bench.fails(&[words, &[&address]].concat()).stderr;
            assert!(
                told.contains("he backing file") || told.contains("Could not open backing file"),
                "{told}"
            );
        }
        // Who trusts the image gets what has an absolute name.
        let anywhere = goldimg(["qemu-img", "map", &address]).env("GOLDIMG_ALLOW_BACKING", "anywhere").run();
        assert_eq!(anywhere.code, i32::from(!name.starts_with('/')), "{}", anywhere.snapshot());
    }
}

/// Reads what a client says while it negotiates, and offers 1 MiB: 512 blocks, no chunks.
fn negotiated(stream: &mut (impl Read + Write)) -> std::io::Result<()> {
    let reply = |option: u32, kind: u32, data: &[u8]| {
        let head = [option, kind, data.len() as u32].map(u32::to_be_bytes).concat();
        [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &head, data].concat()
    };
    stream.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
    stream.read_exact(&mut [0; 4 + 16])?;
    stream.write_all(&reply(8, 0x8000_0001, b""))?;
    stream.read_exact(&mut [0; 16 + 8])?;
    stream.write_all(&reply(7, 3, b"\0\0\0\0\0\0\0\x10\0\0\0\x01"))?;
    stream.write_all(&reply(7, 1, b""))
}

/// What a server does with a connection.
type Deed = fn(&mut UnixStream) -> std::io::Result<()>;

/// What a client of ours says of a server that does `deed` with each connection.
fn told(deed: Deed) -> String {
    let folder = folder();
    let listener = UnixListener::bind(folder.path().join("s")).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = deed(&mut stream).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
            // Only what it says matters, not what it does not hear.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let outcome =
        goldimg(["convert", "-f", "raw", "nbd+unix://?socket=s", "out.raw"]).folder(folder.path()).run();
    assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
    assert!(!folder.path().join("out.raw").exists());
    outcome.stderr
}

#[test]
fn lies_are_told_and_nobody_waits() {
    let lies: [(&str, Deed); 7] = [
        ("it is no NBD server", |stream| stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")),
        ("the server closed the connection", |stream| stream.write_all(b"NBDMAGIC")),
        ("more than any needs", |stream| {
            stream.write_all(
                b"NBDMAGICIHAVEOPT\0\x03\0\x03\xe8\x89\x04\x55\x65\xa9\0\0\0\x08\0\0\0\x01\xff\xff\xff\xff",
            )
        }),
        ("more than 64 replies", |stream| {
            stream.write_all(
                b"NBDMAGICIHAVEOPT\0\x03\0\x03\xe8\x89\x04\x55\x65\xa9\0\0\0\x08\x80\0\0\x01\0\0\0\0",
            )?;
            loop {
                stream.write_all(b"\0\x03\xe8\x89\x04\x55\x65\xa9\0\0\0\x07\0\0\0\x03\0\0\0\x02\0\x09")?;
            }
        }),
        ("the request 0x4141414141414141, of which there is none", |stream| {
            negotiated(stream)?;
            stream.read_exact(&mut [0; 28])?;
            stream.write_all(b"\x67\x44\x66\x98\0\0\0\0AAAAAAAA")
        }),
        ("the server closed the connection", |stream| {
            negotiated(stream)?;
            let mut request = [0; 28];
            stream.read_exact(&mut request)?;
            stream.write_all(&[b"\x67\x44\x66\x98\0\0\0\0", &request[8..16], &[7; 1000]].concat())
        }),
        ("Input/output error", |stream| {
            negotiated(stream)?;
            let mut request = [0; 28];
            for round in 0.. {
                stream.read_exact(&mut request)?;
                let len = u32::from_be_bytes([request[24], request[25], request[26], request[27]]);
                let error = if round == 1 { b"\0\0\0\x05" } else { b"\0\0\0\0" };
                let bytes = vec![7; if round == 1 { 0 } else { len as usize }];
                stream.write_all(&[b"\x67\x44\x66\x98", &error[..], &request[8..16], &bytes].concat())?;
            }
            Ok(())
        }),
    ];
    for (expected, deed) in lies {
        let told = told(deed);
        assert!(told.contains(expected), "{expected:?} is not in {told}");
    }
}
