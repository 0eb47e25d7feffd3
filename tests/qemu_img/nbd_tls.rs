//! Exports over encrypted connections, and those who must not be trusted: both programs meet the same servers.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Row, differs, same, table_with};
use crate::support::certificates::Authority;
use crate::support::folder;
use crate::support::peer::peer;
use crate::support::server::{Place, Server};

/// `run` leads to sockets and to folders of certificates, those of clients in `run/a`:
/// `all` takes every client, `known` those with a certificate, `old` has one of its own that is out of date,
/// `kit` is nbdkit's, `plain` does not encrypt; `image`, `rebased` and `other` hold a qcow2 image.
const ROWS: &[Row] = &[
    same(
        "info --object tls-creds-x509,id=t,dir=run/a/client,endpoint=client --image-opts \
          driver=nbd,path=run/known,tls-creds=t,tls-hostname=localhost",
    ),
    same(
        "info --output=json --object tls-creds-x509,id=t,dir=run/a/client --image-opts \
          driver=nbd,path=run/known,tls-creds=t,tls-hostname=127.0.0.1",
    ),
    same(
        "info --object {\"qom-type\":\"tls-creds-x509\",\"id\":\"t\",\"dir\":\"run/a/client\",\"endpoint\":\"client\"} \
          --image-opts driver=nbd,path=run/known,tls-creds=t,tls-hostname=localhost",
    ),
    same(
        "map --output=json --object tls-creds-x509,id=t,dir=run/a/nobody,endpoint=client \
          json:{\"driver\":\"nbd\",\"path\":\"run/all\",\"tls-creds\":\"t\",\"tls-hostname\":\"localhost\"}",
    ),
    same(
        "compare --object tls-creds-x509,id=t,dir=run/a/nobody,endpoint=client --image-opts \
          driver=raw,file.driver=nbd,file.path=run/all,file.tls-creds=t,file.tls-hostname=localhost \
          driver=raw,file.filename=disk.raw",
    ),
    same(
        "convert --object tls-creds-x509,id=t,dir=run/a/client,endpoint=client -O qcow2 --image-opts \
          driver=nbd,path=run/known,tls-creds=t,tls-hostname=localhost out.qcow2",
    ),
    same(
        "convert --object tls-creds-x509,id=t,dir=run/a/client,endpoint=client -n --target-image-opts disk.raw \
          driver=nbd,path=run/room,tls-creds=t,tls-hostname=localhost",
    ),
    same(
        "info --object tls-creds-x509,id=t,dir=run/a/nobody,endpoint=client --image-opts \
          driver=nbd,path=run/kit,tls-creds=t,tls-hostname=localhost",
    ),
    same(
        "info --object tls-creds-x509,id=t,dir=run/b/nobody,endpoint=client,verify-peer=off --image-opts \
          driver=nbd,path=run/all,tls-creds=t",
    ),
    same(
        "info --object tls-creds-x509,id=t,dir=run/a/nobody,endpoint=client,verify-peer=off --image-opts \
          driver=nbd,path=run/old,tls-creds=t,tls-hostname=other",
    ),
    same("info --image-opts driver=nbd,path=run/plain,tls-hostname=localhost"),
    // An image in one, of which the name alone does not say that it is encrypted.
    same(
        "snapshot -c s --object tls-creds-x509,id=t,dir=run/a/client,endpoint=client --image-opts \
         driver=qcow2,file.driver=nbd,file.path=run/image,file.tls-creds=t,file.tls-hostname=localhost",
    ),
    same(
        "rebase -u -F raw -b nothing --object tls-creds-x509,id=t,dir=run/a/client,endpoint=client --image-opts \
         driver=qcow2,file.driver=nbd,file.path=run/rebased,file.tls-creds=t,file.tls-hostname=localhost",
    ),
    same(
        "convert --bitmaps -n --target-image-opts --object tls-creds-x509,id=t,dir=run/a/client,endpoint=client --image-opts driver=qcow2,file.filename=disk.qcow2 \
         driver=qcow2,file.driver=nbd,file.path=run/other,file.tls-creds=t,file.tls-hostname=localhost",
    ),
    // Who must not be trusted.
    same(
        "info --object tls-creds-x509,id=t,dir=run/a/client,endpoint=client --image-opts \
          driver=nbd,path=run/all,tls-creds=t,tls-hostname=other",
    ),
    same(
        "info --object tls-creds-x509,id=t,dir=run/a/client,endpoint=client --image-opts \
          driver=nbd,path=run/all,tls-creds=t,tls-hostname=127.0.0.2",
    ),
    same(
        "info --object tls-creds-x509,id=t,dir=run/a/client,endpoint=client --image-opts \
          driver=nbd,path=run/all,tls-creds=t",
    ),
    same(
        "info --object tls-creds-x509,id=t,dir=run/b/nobody,endpoint=client --image-opts \
          driver=nbd,path=run/all,tls-creds=t,tls-hostname=localhost",
    ),
    // Theirs says that it is not trusted, and not why.
    differs(
        "info --object tls-creds-x509,id=t,dir=run/a/nobody,endpoint=client --image-opts \
         driver=nbd,path=run/old,tls-creds=t,tls-hostname=localhost",
        "qemu-img: Could not open 'driver=nbd,path=run/old,tls-creds=t,tls-hostname=localhost': The certificate has \
         expired\n",
        1,
    ),
    same(
        "info --object tls-creds-x509,id=t,dir=run/a/none-revoked,endpoint=client --image-opts \
          driver=nbd,path=run/all,tls-creds=t,tls-hostname=localhost",
    ),
    // Theirs reads the list for its servers only.
    differs(
        "info --object tls-creds-x509,id=t,dir=run/a/one-revoked,endpoint=client --image-opts \
         driver=nbd,path=run/all,tls-creds=t,tls-hostname=localhost",
        "qemu-img: Could not open 'driver=nbd,path=run/all,tls-creds=t,tls-hostname=localhost': The certificate has \
         been revoked\n",
        1,
    ),
    same(
        "info --object tls-creds-x509,id=t,dir=run/past/nobody,endpoint=client --image-opts \
          driver=nbd,path=run/all,tls-creds=t,tls-hostname=localhost",
    ),
    // Encryption on one side only.
    same(
        "info --object tls-creds-x509,id=t,dir=run/a/client,endpoint=client --image-opts \
          driver=nbd,path=run/plain,tls-creds=t,tls-hostname=localhost",
    ),
    same("info --image-opts driver=nbd,path=run/all"),
    same("info nbd+unix://?socket=run/all"),
    same("info nbd+unix://?socket=run/kit"),
    // A server that wants a certificate and gets none: what each side's library makes of that.
    differs(
        "info --object tls-creds-x509,id=t,dir=run/a/nobody,endpoint=client --image-opts \
         driver=nbd,path=run/known,tls-creds=t,tls-hostname=localhost",
        "qemu-img: Could not open 'driver=nbd,path=run/known,tls-creds=t,tls-hostname=localhost': opening \
         nbd+unix://?socket=run/known: negotiating with the server: the server closed the connection\n",
        1,
    ),
    // Objects.
    same("info --image-opts driver=nbd,path=run/all,tls-creds=t"),
    same("info --object secret,id=t,data=x --image-opts driver=nbd,path=run/all,tls-creds=t"),
    same(
        "info --object tls-creds-x509,id=t,dir=run/a/server,endpoint=server --image-opts \
          driver=nbd,path=run/all,tls-creds=t",
    ),
    same("info --object tls-creds-x509,id=t,dir=run/nowhere,endpoint=client disk.raw"),
    same("info --object tls-creds-x509,id=t,endpoint=client disk.raw"),
    same("info --object tls-creds-x509,id=t,dir=run/a/client,endpoint=both disk.raw"),
    same("info --object tls-creds-x509,id=t,dir=run/a/client,endpoint=client,bogus=1 disk.raw"),
    same("info --object tls-creds-x509,id=t,dir=run/a/client,endpoint=client,verify-peer=maybe disk.raw"),
    same("info --object tls-creds-x509,id=t,dir=run/a/client --object secret,id=t,data=x disk.raw"),
    same("info --object tls-creds-x509,id=1,dir=run/a/client,endpoint=client disk.raw"),
    same("info --object tls-creds-x509,id=t,dir=run/a/mixed,endpoint=client disk.raw"),
    same("info --object tls-creds-x509,id=t,dir=run/a/client,endpoint=client disk.raw"),
    differs(
        "info --object tls-creds-anon,id=t,endpoint=client --image-opts driver=nbd,path=run/all,tls-creds=t",
        "qemu-img: Could not open 'driver=nbd,path=run/all,tls-creds=t': goldimg does not use 'tls-creds-anon': make \
         credentials of 'tls-creds-x509'\n",
        1,
    ),
    differs(
        "info --object tls-creds-x509,id=t,dir=run/a/client,endpoint=client,priority=NORMAL:-VERS-TLS1.2 disk.raw",
        "qemu-img: goldimg does not read priorities of GnuTLS: leave out 'priority'\n",
        1,
    ),
    differs(
        "info --object tls-creds-x509,id=t,dir=run/a/unreadable,endpoint=client disk.raw",
        "qemu-img: Unable to import certificate revocation list run/a/unreadable/ca-crl.pem\n",
        1,
    ),
];

/// Certificates for all rows.
fn certify(openssl: &crate::support::peer::Peer, run: &Path) {
    let authority = Authority::new(openssl, &run.join("a"), 30);
    authority.issue("server", "server", "DNS:localhost,IP:127.0.0.1", 30);
    authority.issue("old", "server", "DNS:localhost", -1);
    authority.issue("client", "client", "DNS:client", 30);
    authority.trusting("nobody");
    let mixed = authority.issue("mixed", "client", "DNS:client", 30);
    std::fs::copy(authority.path("server-key.pem"), mixed.join("client-key.pem")).expect("a copy");
    authority.list_revoked(&authority.trusting("none-revoked"), None);
    authority.list_revoked(&authority.trusting("one-revoked"), Some("server"));
    std::fs::write(authority.trusting("unreadable").join("ca-crl.pem"), "none\n").expect("a new file");
    Authority::new(openssl, &run.join("b"), 30).trusting("nobody");
    Authority::new(openssl, &run.join("past"), -1).trusting("nobody");
}

#[test]
fn encrypted_exports_are_read_as_theirs() {
    let (Some(nbd), Some(nbdkit), Some(openssl)) = (peer("qemu-nbd"), peer("nbdkit"), peer("openssl")) else {
        return;
    };
    let run = folder();
    let mut servers = Vec::new();
    table_with(ROWS, |prepared| {
        certify(&openssl, run.path());
        let place = |name: &str| Place::unix(run.path().join(name));
        std::fs::write(run.path().join("room.raw"), vec![7; 4 << 20]).expect("a new file");
        let object = |verify: &str| {
            let folder = run.path().join("a/server");
            format!("tls-creds-x509,id=t,dir={},endpoint=server,verify-peer={verify}", folder.display())
        };
        let disk = prepared.path().join("disk.raw");
        for (name, verify) in [("all", "off"), ("known", "on")] {
            let words = ["-t", "-r", "-e", "0", "-f", "raw", "--tls-creds", "t", "--object", &object(verify)];
            servers.push(Server::qemu(&nbd, place(name), &words, &disk));
        }
        let words = ["-t", "-e", "0", "-f", "raw", "--tls-creds", "t", "--object", &object("on")];
        // One for each row that writes: rows run side by side.
        for image in ["image", "rebased", "other"] {
            let path = run.path().join(image).with_extension("qcow2");
            prepared.img.must(["create", "-q", "-f", "qcow2", path.to_str().expect("UTF-8"), "4M"]);
            // With room behind it: it cannot grow.
            let file = std::fs::File::options().write(true).open(&path).expect("it is there");
            file.set_len(8 << 20).expect("a larger file");
            servers.push(Server::qemu(&nbd, place(image), &words, &path));
        }
        servers.push(Server::qemu(&nbd, place("room"), &words, &run.path().join("room.raw")));
        servers.push(Server::qemu(&nbd, place("plain"), &["-t", "-r", "-e", "0", "-f", "raw"], &disk));
        for (name, folder) in [("kit", "server"), ("old", "old")] {
            let folder = run.path().join("a").join(folder);
            let words =
                ["--tls=require", &format!("--tls-certificates={}", folder.display()), "memory", "4M"];
            servers.push(Server::nbdkit(&nbdkit, place(name), &words));
        }
        symlink(run.path(), prepared.path().join("run")).expect("a new name");
    });
}
