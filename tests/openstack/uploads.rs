//! What is uploaded is what is there: every method, every kind of refusal, against a real Glance.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use super::cloud::{Cloud, raw_image, start};
use crate::support::peer::peer;

fn id(told: &Value) -> &str {
    told["image"]["id"].as_str().expect("an id")
}

#[test]
fn every_method_stores_the_same_bytes() {
    let Some(cloud) = start(&[]) else { return };
    let image = raw_image(&cloud.dir().join("disk.raw"), 5_000_000, 3);

    let told =
        cloud.upload("credential", &image, &["--method", "direct", "--name", "direct", "--store", "cheap"]);
    assert_eq!((&told["verified"], &told["image"]["stores"]), (&true.into(), &"cheap".into()));
    assert_eq!(told["image"]["min_disk"], 1);
    cloud.assert_downloads(id(&told), &image);

    let both = ["--method", "glance-direct", "--name", "staged", "--store", "fast", "--store", "cheap"];
    let told = cloud.upload("demo", &image, &both);
    let mut stores: Vec<&str> = told["image"]["stores"].as_str().expect("stores").split(',').collect();
    stores.sort_unstable();
    assert_eq!((&told["verified"], stores), (&true.into(), vec!["cheap", "fast"]));
    cloud.assert_downloads(id(&told), &image);

    let told = cloud.upload("demo", &image, &["--all-stores", "--name", "everywhere"]);
    let stores = told["image"]["stores"].as_str().expect("stores");
    assert_eq!((&told["verified"], stores.split(',').count()), (&true.into(), 2));
    cloud.assert_downloads(id(&told), &image);

    let uri = serve(&image);
    let told = cloud.upload("demo", &image, &["--uri", &uri, "--name", "fetched"]);
    assert_eq!(told["verified"], true);
    cloud.assert_downloads(id(&told), &image);

    // The cloud fetches other bytes than those that are here.
    let other = serve(&raw_image(&cloud.dir().join("other.raw"), 5_000_000, 4));
    let outcome = cloud.refused("demo", &image, &["--uri", &other, "--name", "mistaken"]);
    assert!(outcome.stderr.contains("the cloud stored other bytes than were sent"), "{}", outcome.stderr);
    let outcome = cloud.refused("demo", &image, &["--uri", "http://127.0.0.1:1/x", "--name", "nowhere"]);
    assert!(outcome.stderr.contains("the cloud's import"), "{}", outcome.stderr);
    assert_eq!(cloud.images("demo").len(), 4, "nothing is left of what failed");
    properties_arrive(&cloud, &image);
}

/// Serves one file to whoever asks, for the time of a test.
fn serve(file: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let bytes = fs::read(file).expect("the file");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes));
        }
    });
    format!("http://{address}/image")
}

fn properties_arrive(cloud: &Cloud, image: &Path) {
    let more = [
        ["--name", "{name} {version}"],
        ["--image-version", "7"],
        ["--property", "hw_disk_bus=scsi"],
        ["--tag", "os:Debian"],
        ["--visibility", "community"],
        ["--protected", "--hidden"],
        ["--min-ram", "512"],
        ["--min-disk", "4"],
    ]
    .concat();
    let told = cloud.upload("demo", image, &more);
    let shown = cloud.openstack("demo", &["image", "show", "-f", "json", id(&told)]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["name"], "disk 7");
    assert_eq!((&shown["visibility"], &shown["protected"]), (&"community".into(), &true.into()));
    assert_eq!((&shown["min_disk"], &shown["min_ram"]), (&4.into(), &512.into()));
    assert_eq!(shown["tags"], serde_json::json!(["os:Debian"]));
    assert_eq!(shown["properties"]["hw_disk_bus"], "scsi");
    assert_eq!(shown["properties"]["os_hidden"], true);
}

#[test]
fn what_the_cloud_refuses_is_said_and_leaves_nothing() {
    let cap = ("SERVICES_GLANCE", "[DEFAULT]\nimage_size_cap = 40000000");
    let Some(cloud) = start(&[cap]) else { return };
    let small = raw_image(&cloud.dir().join("small.raw"), 70_000, 5);
    let said = |outcome: crate::support::program::Outcome, what: &str| {
        assert!(outcome.stderr.contains(what), "{what}: {}", outcome.snapshot());
    };
    for reader in ["reader", "credential-reader"] {
        said(
            cloud.refused(reader, &small, &[]),
            "HTTP 403: Forbidden You are not authorized to complete add_image action.",
        );
    }
    said(
        cloud.refused("demo", &small, &["--public"]),
        "HTTP 403: Forbidden You are not authorized to complete publicize_image",
    );
    said(cloud.refused("demo", &small, &["--store", "dear"]), "its stores are: ");
    // Over the cap, with the size told beforehand: refused while it is sent.
    let large = raw_image(&cloud.dir().join("large.raw"), 64_000_000, 6);
    said(cloud.refused("demo", &large, &[]), "HTTP 413");
    // Glance looks into what it gets, and so does goldimg before it sends anything.
    said(cloud.refused("demo", &small, &["--disk-format", "vmdk"]), "it is declared to be vmdk, and is raw");
    let declared = ["--disk-format", "vmdk", "--no-inspect"];
    said(cloud.refused("demo", &small, &declared), "HTTP 415");
    // The task of an import fails, and the image stays "importing".
    let staged = [&declared[..], &["--method", "glance-direct"]].concat();
    said(cloud.refused("demo", &small, &staged), "the cloud's import into store fast failed");
    said(cloud.refused("demo", &small, &["--disk-format", "floppy"]), "HTTP 400");
    let mut hybrid = fs::read(&small).expect("the image");
    hybrid[446 + 4] = 0xee;
    hybrid[446 + 16 + 4] = 0x83;
    hybrid[446..462].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0, 0, 0]);
    hybrid[462..510].fill(0);
    hybrid[466] = 0x83;
    hybrid[510..512].copy_from_slice(&[0x55, 0xaa]);
    let hybrid_path = cloud.dir().join("hybrid.raw");
    fs::write(&hybrid_path, hybrid).expect("an image");
    said(cloud.refused("demo", &hybrid_path, &[]), "Glance would refuse");
    // The same file as Glance sees it: its word against ours.
    said(cloud.refused("demo", &hybrid_path, &["--no-inspect"]), "HTTP 415");
    assert_eq!(cloud.images("demo"), Vec::<Value>::new());
    // Others may exist: an administrator publishes, and a name is used once.
    assert_eq!(cloud.upload("admin", &small, &["--public"])["image"]["visibility"], "public");
    said(
        cloud.refused("admin", &raw_image(&cloud.dir().join("b.raw"), 70_000, 7), &["--name", "small"]),
        "an image of that name already",
    );
}

#[test]
fn formats_that_glance_judges_are_judged_alike() {
    let Some(qemu_img) = peer("qemu-img") else { return };
    let Some(cloud) = start(&[]) else { return };
    let path = |name: &str| cloud.dir().join(name).to_string_lossy().into_owned();
    qemu_img.must(["create", "-q", "-f", "raw", &path("base"), "2M"]);
    let cases: &[(&str, &[&str], bool)] = &[
        ("v3", &["-f", "qcow2", "FILE", "3G"], true),
        ("v2", &["-f", "qcow2", "-o", "compat=0.10", "FILE", "3G"], true),
        ("zstd", &["-f", "qcow2", "-o", "compression_type=zstd", "FILE", "3G"], true),
        ("lazy", &["-f", "qcow2", "-o", "lazy_refcounts=on", "FILE", "3G"], true),
        ("extended", &["-f", "qcow2", "-o", "extended_l2=on", "FILE", "3G"], false),
        ("backing", &["-f", "qcow2", "-b", "base", "-F", "raw", "FILE", "3G"], false),
        ("external", &["-f", "qcow2", "-o", "data_file=external.data", "FILE", "3G"], false),
        ("vhdx", &["-f", "vhdx", "FILE", "3G"], true),
        ("vdi", &["-f", "vdi", "FILE", "3G"], true),
        ("vmdk", &["-f", "vmdk", "FILE", "3G"], true),
    ];
    for (name, words, accepted) in cases {
        let file = path(name);
        let words: Vec<&str> =
            words.iter().map(|word| if *word == "FILE" { file.as_str() } else { word }).collect();
        let made = qemu_img.command(["create", "-q"].iter().chain(&words)).folder(cloud.dir()).run();
        assert_eq!(made.code, 0, "{}", made.snapshot());
        let glance = cloud.goldimg("demo", &["upload", &file, "--no-inspect", "--min-disk", "3"]).run();
        assert_eq!(glance.code == 0, *accepted, "Glance and {name}: {}", glance.snapshot());
        let ours = cloud.goldimg("demo", &["upload", &file, "--plan", "--min-disk", "3"]).run();
        assert_eq!(ours.code == 0, *accepted, "goldimg and {name}: {}", ours.snapshot());
    }
    // What is made here.
    for (name, options) in [
        ("our.vmdk", &[][..]),
        ("stream.vmdk", &["-o", "subformat=streamOptimized"]),
        ("our.vhdx", &[]),
        ("our.vdi", &[]),
        ("our.vhd", &[]),
    ] {
        let file = path(name);
        let words = [&["create", "-q"], options, &[&file, "3G"]].concat();
        let made = crate::support::goldimg(&words).run();
        assert_eq!(made.code, 0, "{}", made.snapshot());
        for inspected in [&["--no-inspect", "--min-disk", "3"][..], &[]] {
            let taken =
                cloud.goldimg("demo", &[&["upload", &file, "--name", name][..], inspected].concat()).run();
            assert_eq!(taken.code, 0, "Glance and {name}: {}", taken.snapshot());
        }
    }
}

#[test]
fn what_is_no_disk_is_refused_by_its_name_and_a_disc_goes_as_a_disc() {
    let (Some(sh), Some(_), Some(_)) = (peer("sh"), peer("xorriso"), peer("xz")) else { return };
    let Some(cloud) = start(&[]) else { return };
    raw_image(&cloud.dir().join("disk"), 3 << 20, 41);
    let script = "xz -k -0 disk && gzip -k disk && tar -cf disk.tar disk && \
                  xorriso -as mkisofs -quiet -r -o disc.iso disk 2>/dev/null && \
                  qemu-img convert -f raw -O parallels disk disk.hds && \
                  qemu-img convert -f raw -O vpc -o subformat=fixed disk disk.vhd";
    let made = sh.command(["-euc", script]).folder(cloud.dir()).run();
    assert_eq!(made.code, 0, "{}", made.snapshot());
    for (name, what) in [
        ("disk.xz", "an xz file"),
        ("disk.gz", "a gzip file"),
        ("disk.tar", "a tar archive"),
        ("disk.hds", "Parallels"),
        ("disk.vhd", "it is a fixed VHD"),
    ] {
        let outcome = cloud.refused("demo", &cloud.dir().join(name), &[]);
        assert!(outcome.stderr.contains(what), "{}", outcome.snapshot());
        assert!(outcome.stderr.contains("\nhint: "), "{}", outcome.snapshot());
    }
    assert_eq!(cloud.images("demo"), Vec::<Value>::new());
    let disc = cloud.dir().join("disc.iso");
    let told = cloud.upload("demo", &disc, &[]);
    assert_eq!((&told["verified"], &told["image"]["disk_format"]), (&true.into(), &"iso".into()));
    cloud.assert_downloads(id(&told), &disc);
    // Who says so may send what is packed: some clouds unpack.
    let packed = cloud.dir().join("disk.xz");
    let told = cloud.upload("demo", &packed, &["--disk-format", "raw"]);
    cloud.assert_downloads(id(&told), &packed);
}

#[test]
fn images_are_converted_on_their_way_and_described_by_their_manifest() {
    let Some(qemu_img) = peer("qemu-img") else { return };
    let Some(cloud) = start(&[]) else { return };
    let disk = raw_image(&cloud.dir().join("disk.raw"), 3 << 20, 31);
    let image = cloud.dir().join("debian-12-7.qcow2");
    let (from, to) = (disk.to_string_lossy().into_owned(), image.to_string_lossy().into_owned());
    qemu_img.must(["convert", "-c", "-O", "qcow2", &from, &to]);
    let sum = peer("sha256sum").expect("coreutils").must([&to]);
    let manifest = serde_json::json!({
        "manifest_version": 1, "name": "debian-12", "version": "7", "build_date": "2026-11-23 05:21:09",
        "min_disk": 1, "min_ram": 768, "properties": { "os_version": "12", "hw_cdrom_bus": "scsi" },
        "files": [{ "name": "debian-12-7.qcow2", "sha256": sum.split(' ').next() }],
    });
    fs::write(image.with_extension("json"), manifest.to_string()).expect("a manifest");

    let told = cloud.upload("demo", &image, &["--convert", "raw", "--name", "{name} {version} raw {date}"]);
    assert_eq!(
        (&told["verified"], &told["image"]["name"]),
        (&true.into(), &"debian-12 7 raw 20261123".into())
    );
    assert_eq!((&told["image"]["disk_format"], &told["image"]["min_ram"]), (&"raw".into(), &768.into()));
    assert_eq!(
        (&told["image"]["os_version"], &told["image"]["hw_cdrom_bus"]),
        (&"12".into(), &"scsi".into())
    );
    cloud.assert_downloads(id(&told), &disk);

    let told = cloud.upload("demo", &disk, &["--convert", "qcow2:zstd", "--name", "packed"]);
    assert_eq!((&told["verified"], &told["image"]["disk_format"]), (&true.into(), &"qcow2".into()));
    assert_eq!(told["image"]["virtual_size"], 3 << 20);
    let copy = cloud.dir().join("copy.qcow2").to_string_lossy().into_owned();
    cloud.openstack("demo", &["image", "save", "--file", &copy, id(&told)]);
    qemu_img.must(["compare", &from, &copy]);

    // A file that is not the one its manifest describes is not sent.
    fs::copy(&disk, &image).expect("another file");
    let outcome = cloud.refused("demo", &image, &[]);
    assert!(outcome.stderr.contains("is not the file its manifest describes"), "{}", outcome.stderr);
}
