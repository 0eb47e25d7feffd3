//! Images in exports of an NBD server: both programs read the same ones.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{Row, allowed, differs, same, table_with};
use crate::support::folder;
use crate::support::peer::{Peer, peer};
use crate::support::server::{Place, Server};

/// `run` leads to the sockets: `raw` offers disk.raw, `q` disk.qcow2 as the export "x", `probed` disk.raw without saying
/// that it is raw,
/// `q2` disk.qcow2 as the disk that it holds, `told` the third of a chain, with a bitmap b.
const ROWS: &[Row] = &[
    // Names.
    same("info nbd+unix://?socket=run/raw"),
    same("info nbd+unix:///?socket=run/raw"),
    same("info nbd:unix:run/raw"),
    same("info nbd:unix:run/q:exportname=x"),
    same("info nbd+unix:///x?socket=run/q"),
    same("info nbd+unix:///%78?socket=run%2fq"),
    same("info --output=json nbd+unix://?socket=run/raw"),
    same("info --output=json nbd+unix:///x?socket=run/q"),
    same("info --output=json nbd+unix://?socket=run/q2"),
    same("info -f raw nbd+unix:///x?socket=run/q"),
    same("info -f qcow2 nbd+unix:///x?socket=run/q"),
    same("info -f nbd nbd+unix:///x?socket=run/q"),
    same("info -f nbd --output=json nbd+unix:///x?socket=run/q"),
    same("info -U nbd:unix:run/raw"),
    same("info --backing-chain nbd+unix:///x?socket=run/q"),
    // Descriptions.
    same("info json:{\"driver\":\"nbd\",\"path\":\"run/raw\"}"),
    same("info --output=json json:{\"driver\":\"nbd\",\"path\":\"run/raw\"}"),
    same("info json:{\"driver\":\"raw\",\"file\":{\"driver\":\"nbd\",\"path\":\"run/raw\"}}"),
    same(
        "info json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"nbd\",\"server\":{\"type\":\"unix\",\"path\":\"run/q\"},\
         \"export\":\"x\"}}",
    ),
    same(
        "info json:{\"driver\":\"raw\",\"offset\":1048576,\"file\":{\"driver\":\"nbd\",\"path\":\"run/raw\"}}",
    ),
    same("info json:{\"driver\":\"raw\",\"file\":{\"driver\":\"nbd\"}}"),
    same("info --image-opts driver=nbd,path=run/raw"),
    same("info --image-opts driver=nbd,server.type=unix,server.path=run/raw"),
    same("info --image-opts driver=raw,file.driver=nbd,file.path=run/raw"),
    same("info --image-opts driver=raw,offset=1M,size=1M,file.driver=nbd,file.path=run/raw"),
    same("info --image-opts driver=raw,file.filename=nbd:unix:run/raw"),
    same("info --image-opts driver=raw,file.driver=nbd,file.filename=nbd:unix:run/raw"),
    same(
        "info --image-opts driver=qcow2,file.driver=nbd,file.server.type=unix,file.server.path=run/q,file.export=x",
    ),
    same("info --image-opts file.driver=nbd,file.path=run/q,file.export=x"),
    same("info --image-opts driver=nbd,path=run/raw,reconnect-delay=1,open-timeout=1"),
    same("info --image-opts driver=nbd,path=run/raw,read-only=on,node-name=n"),
    // What is wrong with them.
    same("info nbd:"),
    same("info nbd:foo"),
    same("info nbd://"),
    same("info nbd:///x"),
    same("info nbd+unix:///x?sucket=run/q"),
    same("info nbd+unix:///x?socket=run/q&a=b"),
    same("info nbd+unix://host/x?socket=run/q"),
    same("info nbds://127.0.0.1/x"),
    same("info nbd+unix://?socket=run/nobody"),
    same("info nbd:unix:run/nobody"),
    same("info nbd+unix:///y?socket=run/q"),
    same("info nbd+unix://?socket=run/q"),
    same("info -f qcow2 nbd+unix://?socket=run/raw"),
    same("info -f nbd disk.raw"),
    same("info -f foo nbd+unix://?socket=run/raw"),
    same("info file:nbd:unix:run/raw"),
    same("info --image-opts nbd:unix:run/raw"),
    same("info --image-opts driver=nbd"),
    same("info --image-opts driver=nbd,export=x"),
    same("info --image-opts driver=nbd,port=10809"),
    same("info --image-opts driver=nbd,host=127.0.0.1,path=run/raw"),
    same("info --image-opts driver=nbd,path=run/nobody,bogus=1"),
    same("info --image-opts driver=nbd,path=run/raw,bogus=1"),
    same("info --image-opts driver=nbd,server.type=bogus,server.path=run/raw"),
    same("info --image-opts driver=raw,file.driver=nbd,file.path=run/raw,bogus=1"),
    same("info --image-opts driver=nbd,path=run/raw,open-timeout=x"),
    same("info --image-opts driver=nbd,path=run/raw,reconnect-delay=-1"),
    same("info --image-opts driver=nbd,path=run/nobody,open-timeout=1"),
    // Bitmaps of a server, and how deep something lies.
    same("map --image-opts driver=nbd,path=run/told,x-dirty-bitmap=qemu:dirty-bitmap:b"),
    same("map --output=json --image-opts driver=nbd,path=run/told,x-dirty-bitmap=qemu:dirty-bitmap:b"),
    same("map --output=json --image-opts driver=nbd,path=run/told,x-dirty-bitmap=qemu:allocation-depth"),
    same("map --output=json --image-opts driver=nbd,path=run/told,x-dirty-bitmap=base:allocation"),
    same("map --output=json --image-opts driver=nbd,path=run/told,x-dirty-bitmap=qemu:dirty-bitmap:none"),
    same("map --output=json --image-opts driver=nbd,path=run/told,x-dirty-bitmap=none"),
    same(
        "map --output=json --image-opts driver=raw,file.driver=nbd,file.path=run/told,\
         file.x-dirty-bitmap=qemu:dirty-bitmap:b",
    ),
    same(
        "map --output=json json:{\"driver\":\"nbd\",\"path\":\"run/told\",\
         \"x-dirty-bitmap\":\"qemu:dirty-bitmap:b\"}",
    ),
    same("info --image-opts driver=nbd,path=run/told,x-dirty-bitmap=qemu:dirty-bitmap:b"),
    // It tells nothing of zeroes, and all is read.
    same(
        "convert -O raw --image-opts driver=nbd,path=run/told,x-dirty-bitmap=qemu:dirty-bitmap:b out.raw && \
         compare out.raw nbd+unix://?socket=run/told",
    ),
    differs(
        "map over-export.qcow2",
        "qemu-img: Could not open 'over-export.qcow2': The backing file \"nbd+unix://?socket=run/raw\" is an export, which an \
         image must not choose: set GOLDIMG_ALLOW_BACKING=anywhere in the environment to open it\n",
        1,
    ),
    // What is in them.
    same("map nbd+unix://?socket=run/raw"),
    same("map --output=json nbd+unix://?socket=run/raw"),
    same("map --output=json nbd+unix://?socket=run/probed"),
    same("map --output=json -f nbd nbd+unix://?socket=run/raw"),
    same("map nbd+unix:///x?socket=run/q"),
    same("map --output=json nbd+unix:///x?socket=run/q"),
    same("map --output=json nbd+unix://?socket=run/q2"),
    same("map --output=json --start-offset 1000k --max-length 100k nbd+unix://?socket=run/raw"),
    same("map --output=json --image-opts driver=raw,offset=1M,size=1M,file.driver=nbd,file.path=run/raw"),
    same("check nbd+unix:///x?socket=run/q"),
    same("check --output=json nbd+unix:///x?socket=run/q"),
    same("check nbd+unix://?socket=run/raw"),
    same("snapshot -l nbd+unix:///x?socket=run/q"),
    same("compare nbd+unix://?socket=run/raw disk.qcow2"),
    same("compare disk.raw nbd+unix:///x?socket=run/q"),
    same("compare nbd+unix:///x?socket=run/q nbd+unix://?socket=run/raw"),
    same("compare -s nbd+unix://?socket=run/q2 nbd+unix://?socket=run/raw"),
    same("compare -f raw nbd+unix:///x?socket=run/q disk.raw"),
    same("convert nbd+unix://?socket=run/raw out.raw"),
    same("convert -O qcow2 nbd+unix://?socket=run/raw out.qcow2"),
    same("convert nbd+unix:///x?socket=run/q out.raw"),
    same("convert -f raw nbd+unix:///x?socket=run/q out.raw"),
    same("convert -c -O qcow2 nbd+unix:///x?socket=run/q out.qcow2"),
    same("convert -O qcow2 nbd:unix:run/raw nbd+unix:///x?socket=run/q out.qcow2"),
    same("convert --image-opts driver=raw,offset=1M,size=1M,file.driver=nbd,file.path=run/raw out.raw"),
    same("convert -n nbd+unix://?socket=run/raw disk.raw"),
    same("convert -p -O raw nbd+unix://?socket=run/q2 out.raw"),
    same("convert nbd+unix://?socket=run/nobody out.raw"),
    // Nothing may be written.
    same("convert -n disk.raw nbd+unix://?socket=run/raw"),
    same("convert -n --target-image-opts disk.raw driver=nbd,path=run/raw"),
    same("bench -c 10 -w nbd+unix://?socket=run/raw"),
    same("snapshot -c new nbd+unix:///x?socket=run/q"),
    same("create -f raw nbd+unix://?socket=run/raw 1M"),
    same("create -f qcow2 nbd+unix://?socket=run/nobody 1M"),
    same("convert disk.raw nbd+unix://?socket=run/raw"),
    same("dd if=nbd+unix://?socket=run/raw of=out.raw bs=64k skip=1 count=3"),
    same("dd if=disk.raw of=nbd+unix://?socket=run/nobody"),
    same("measure -O qcow2 nbd+unix://?socket=run/raw"),
    same("measure -O raw nbd+unix:///x?socket=run/q"),
    // Over a backing file that is an export.
    same("create -f qcow2 -b nbd+unix://?socket=run/raw -F raw over.qcow2"),
    same("create -f qcow2 -b nbd:unix:run/raw over.qcow2"),
    same("info over-export.qcow2"),
    same("info --output=json over-export.qcow2"),
    allowed("info --backing-chain over-export.qcow2"),
    same("create -f qcow2 -b nbd+unix://?socket=run/nobody -F raw over.qcow2"),
    same("create -f qcow2 -u -b nbd+unix://?socket=run/nobody -F raw over.qcow2 1M"),
    allowed(
        "create -f qcow2 -b nbd+unix:///x?socket=run/q -F qcow2 over.qcow2 && map over.qcow2 && \
         map --output=json over.qcow2 && check over.qcow2 && compare over.qcow2 disk.raw && \
         convert over.qcow2 out.raw",
    ),
    allowed(
        "create -f qcow2 -b disk.raw -F raw over.qcow2 && rebase -F raw -b nbd+unix://?socket=run/raw over.qcow2 && \
         map --output=json over.qcow2",
    ),
    allowed(
        "convert -O qcow2 -B nbd+unix://?socket=run/base -F raw disk.raw over.qcow2 && commit over.qcow2 && \
         compare disk.raw nbd+unix://?socket=run/base",
    ),
    allowed("create -f qcow2 -b nbd+unix://?socket=run/raw -F raw over.qcow2 && commit over.qcow2"),
    // Into exports of 4 MiB each that both write to, one after the other.
    same("convert disk.raw nbd+unix://?socket=run/room && map --output=json nbd+unix://?socket=run/room"),
    same("convert -n -S 0 disk.raw nbd:unix:run/full && map --output=json nbd:unix:run/full"),
    same("dd if=disk.raw of=nbd:unix:run/dd bs=64k && compare disk.raw nbd:unix:run/dd"),
    same("create -f raw nbd:unix:run/raw4 1M && create -f raw nbd:unix:run/raw4 8M"),
    same("resize -f raw nbd:unix:run/raw4 8M"),
    same("resize -f raw --shrink nbd:unix:run/raw4 1M"),
    same(
        "create -f qcow2 nbd:unix:run/new 64M && info nbd:unix:run/new && snapshot -c s nbd:unix:run/new && \
         resize nbd:unix:run/new 80M && snapshot -d s nbd:unix:run/new && amend -o compat=0.10 nbd:unix:run/new && \
         check nbd:unix:run/new",
    ),
    same(
        "create -f qcow2 -u -b disk.raw -F raw nbd:unix:run/over 1M && info nbd:unix:run/over && info --output=json nbd:unix:run/over",
    ),
    same("convert -O qcow2 -c disk.raw nbd:unix:run/packed && compare disk.raw nbd:unix:run/packed"),
];

/// Exports of 4 MiB that are written to, each for one row.
const ROOMS: [&str; 8] = ["room", "base", "full", "dd", "raw4", "new", "over", "packed"];

#[test]
fn exports_are_read_as_theirs() {
    let (Some(nbd), run) = (peer("qemu-nbd"), folder()) else { return };
    let mut servers = Vec::new();
    table_with(ROWS, |prepared| {
        prepared.img("create -q -f qcow2 -u -b nbd+unix://?socket=run/raw -F raw over-export.qcow2 1M");
        for room in ROOMS {
            let file = run.path().join(room).with_extension("raw");
            std::fs::write(&file, vec![7; 4 << 20]).expect("a new file");
            let place = Place::unix(run.path().join(room));
            let words = ["-t", "-e", "0", "-f", "raw", "--discard=unmap"];
            servers.push(Server::qemu(&nbd, place, &words, &file));
        }
        for (socket, words, image) in [
            ("raw", &["-f", "raw"][..], "disk.raw"),
            ("q", &["-f", "raw", "-x", "x"], "disk.qcow2"),
            ("probed", &[], "disk.raw"),
            ("q2", &["-f", "qcow2"], "disk.qcow2"),
        ] {
            let place = Place::unix(run.path().join(socket));
            let words = [&["-t", "-e", "0", "-r"], words].concat();
            servers.push(Server::qemu(&nbd, place, &words, &prepared.path().join(image)));
        }
        servers.push(Server::qemu(
            &nbd,
            Place::unix(run.path().join("told")),
            &["-t", "-r", "-e", "0", "-f", "qcow2", "-B", "b", "-A"],
            &told(&prepared.img, &prepared.io, run.path()),
        ));
        symlink(run.path(), prepared.path().join("run")).expect("a new name");
    });
}

/// The third image of a chain, each with data of its own, and the last one with a bitmap of what was written since.
fn told(img: &Peer, io: &Peer, folder: &Path) -> PathBuf {
    let path = |name: &str| folder.join(name).display().to_string();
    let write = |name: &str, at: &str| {
        io.must(["-f", "qcow2", "-c", &format!("write -P 5 {at} 100k"), &path(name)]);
    };
    img.must(["create", "-q", "-f", "qcow2", &path("one"), "4M"]);
    write("one", "1M");
    for (name, backing, at) in [("two", "one", "2M"), ("three", "two", "3M")] {
        img.must(["create", "-q", "-f", "qcow2", "-b", &path(backing), "-F", "qcow2", &path(name)]);
        write(name, at);
    }
    img.must(["bitmap", "--add", &path("three"), "b"]);
    write("three", "200k");
    folder.join("three")
}

#[test]
fn a_port_of_tcp_is_as_good() {
    let (Some(nbd), place) = (peer("qemu-nbd"), Place::some_port()) else { return };
    let port = place.port().expect("a port");
    let rows: Vec<Row> = [
        format!("info nbd://127.0.0.1:{port}/x"),
        format!("info nbd+tcp://127.0.0.1:{port}//x"),
        format!("info nbd:127.0.0.1:{port}:exportname=x"),
        format!("info --image-opts driver=nbd,host=127.0.0.1,port={port},export=x"),
        format!(
            "info --image-opts driver=nbd,server.type=inet,server.host=127.0.0.1,server.port={port},export=x"
        ),
        format!(
            "info json:{{\"driver\":\"nbd\",\"host\":\"127.0.0.1\",\"port\":\"{port}\",\"export\":\"x\"}}"
        ),
        format!("info nbd://127.0.0.1:{port}"),
        format!("info nbd://127.0.0.1:{port}/x?y=z"),
        format!("map --output=json nbd://127.0.0.1:{port}/x"),
        format!("compare nbd://127.0.0.1:{port}/x disk.raw"),
        format!("convert -O qcow2 nbd://127.0.0.1:{port}/x out.qcow2"),
        "info nbd://127.0.0.1:1/x".to_owned(),
    ]
    .into_iter()
    .map(|words| same(words.leak()))
    .collect();
    let mut server = None;
    table_with(&rows, |prepared| {
        let image = prepared.path().join("disk.raw");
        let words = ["-t", "-r", "-e", "0", "-f", "raw", "-x", "x"];
        server = Some(Server::qemu(&nbd, place, &words, &image));
    });
}
