//! Encrypted exports: as many bytes as there are, both ways, and nothing that others could read.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::support::certificates::Authority;
use crate::support::peer::peer;
use crate::support::server::{Place, Server};
use crate::support::{folder, goldimg};

const MIB: usize = 1 << 20;

/// Runs it as qemu-img in `folder`, with the credentials of `folder/a/client`; what it says on standard error.
fn run(folder: &Path, words: &[&str], code: i32) -> String {
    let object = ["--object", "tls-creds-x509,id=t,dir=a/client,endpoint=client"];
    let all = [&["qemu-img"][..], &words[..1], &object, &words[1..]].concat();
    let outcome = goldimg(all).folder(folder).run();
    assert_eq!(outcome.code, code, "{}", outcome.snapshot());
    outcome.stderr
}

#[test]
fn what_is_written_encrypted_is_there_and_read_again() {
    let (Some(nbd), Some(nbdkit), Some(openssl)) = (peer("qemu-nbd"), peer("nbdkit"), peer("openssl")) else {
        return;
    };
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let authority = Authority::new(&openssl, &path("a"), 30);
    let certificates = authority.issue("server", "server", "DNS:localhost,IP:127.0.0.1", 30);
    authority.issue("client", "client", "DNS:client", 30);
    // Longer than what a socket and TLS hold at a time, and of no round size.
    let bytes: Vec<u8> = (0..24 * MIB + 512).map(|at| (at * 7 % 251 + at / MIB) as u8).collect();
    fs::write(path("source.raw"), &bytes).unwrap();
    let object = format!("tls-creds-x509,id=t,dir={},endpoint=server,verify-peer=on", certificates.display());
    for (index, priority) in ["NORMAL", "NORMAL:-VERS-TLS1.3"].into_iter().enumerate() {
        for place in [Place::unix(path(&format!("s{index}"))), Place::some_port()] {
            fs::write(path("target.raw"), vec![0xaa; bytes.len()]).unwrap();
            let object = format!("{object},priority={priority}");
            let words = ["-t", "-e", "0", "-f", "raw", "-x", "x", "--tls-creds", "t", "--object", &object];
            // Of a port, the certificate has the address.
            let name = if place.port().is_none() { ",tls-hostname=localhost" } else { "" };
            let server = Server::qemu(&nbd, place, &words, &path("target.raw"));
            let export = format!("{}{name},export=x,tls-creds=t", server.options());
            run(
                folder.path(),
                &["convert", "-n", "-m", "8", "--target-image-opts", "source.raw", &export],
                0,
            );
            run(folder.path(), &["convert", "-m", "8", "-W", "--image-opts", &export, "back.raw"], 0);
            drop(server);
            for name in ["target.raw", "back.raw"] {
                assert!(fs::read(path(name)).unwrap() == bytes, "{name} with {priority} at {export}");
            }
        }
    }
    let place = Place::unix(path("kit"));
    let certificates = format!("--tls-certificates={}", certificates.display());
    let words = ["--tls=require", "--tls-verify-peer", &certificates, "memory", &bytes.len().to_string()];
    let _server = Server::nbdkit(&nbdkit, place, &words);
    let export = "driver=nbd,path=kit,tls-creds=t,tls-hostname=localhost";
    run(folder.path(), &["convert", "-n", "--target-image-opts", "source.raw", export], 0);
    run(folder.path(), &["convert", "--image-opts", export, "kit.raw"], 0);
    assert!(fs::read(path("kit.raw")).unwrap() == bytes);
}

/// What a client says to a server that does `deed` once it was asked for encryption.
fn heard(deed: fn(&mut UnixStream) -> std::io::Result<()>) -> (Vec<u8>, String) {
    let Some(openssl) = peer("openssl") else { return Default::default() };
    let folder = folder();
    Authority::new(&openssl, &folder.path().join("a"), 30).trusting("client");
    let listener = UnixListener::bind(folder.path().join("s")).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"NBDMAGICIHAVEOPT\0\x03").unwrap();
        let mut heard = vec![0; 4 + 16];
        stream.read_exact(&mut heard).unwrap();
        let done = deed(&mut stream).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        assert!(done.is_ok(), "{done:?}");
        let _ = stream.read_to_end(&mut heard);
        heard
    });
    let export = "driver=nbd,path=s,export=secret-name,tls-creds=t,tls-hostname=localhost";
    let said = run(folder.path(), &["info", "--image-opts", export], 1);
    (server.join().unwrap(), said)
}

#[test]
fn nothing_is_said_to_a_server_that_does_not_encrypt() {
    const ASKED: &[u8] = b"\0\0\0\x03IHAVEOPT\0\0\0\x05\0\0\0\0";
    const ACKNOWLEDGED: &[u8] = b"\0\x03\xe8\x89\x04\x55\x65\xa9\0\0\0\x05\0\0\0\x01\0\0\0\0";
    if peer("openssl").is_none() {
        return;
    }
    let (words, said) =
        heard(|stream| stream.write_all(b"\0\x03\xe8\x89\x04\x55\x65\xa9\0\0\0\x05\x80\0\0\x01\0\0\0\0"));
    assert_eq!(words, ASKED);
    assert!(said.contains("Server don't support STARTTLS option"), "{said}");
    // Somebody in between who says yes, and goes on as if it were encrypted; or says nothing more.
    let (words, said) = heard(|stream| {
        stream.write_all(ACKNOWLEDGED)?;
        stream.write_all(b"\0\x03\xe8\x89\x04\x55\x65\xa9\0\0\0\x08\0\0\0\x01\0\0\0\0")
    });
    assert!(words.starts_with(ASKED) && words[ASKED.len()] == 0x16, "TLS begins behind the option");
    assert!(!words.windows(6).any(|part| part == b"secret"), "the export's name is nobody's business");
    assert!(said.contains("TLS handshake failed"), "{said}");
    let (words, said) = heard(|stream| stream.write_all(ACKNOWLEDGED));
    assert!(!words.windows(6).any(|part| part == b"secret"), "the export's name is nobody's business");
    assert!(said.contains("the server closed the connection"), "{said}");
}
