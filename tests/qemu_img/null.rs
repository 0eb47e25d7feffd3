//! Disks that are not there (`null-co`, `null-aio`), and backing files that are named by a description.

use super::{Row, differs, mapped_otherwise, same, table_with};
use crate::support::{folder, goldimg};

const NULL: &[Row] = &[
    same("info null-co://"),
    same("info --output=json null-co://"),
    same("info -f raw null-aio://"),
    same("info -f null-co null-co://"),
    same("info -f null-co null-aio://"),
    same("info -f null-co disk.raw"),
    same("info -f qcow2 null-co://"),
    same("info -U null-co://"),
    same("info null-co:"),
    same("info null-co:///"),
    same("info null-aio:x"),
    same("info null-co"),
    same("info sub/null-co://"),
    same("info json:{\"driver\":\"null-co\"}"),
    same("info json:{\"driver\":\"null-co\",\"size\":1048576}"),
    same("info json:{\"driver\":\"null-co\",\"size\":\"1000\",\"latency-ns\":5,\"read-zeroes\":true}"),
    same("info --output=json json:{\"driver\":\"null-aio\",\"read-zeroes\":true}"),
    same("info json:{\"driver\":\"raw\",\"file\":{\"driver\":\"null-co\"}}"),
    same(
        "info json:{\"driver\":\"raw\",\"file\":{\"driver\":\"null-aio\",\"size\":512,\"read-zeroes\":true}}",
    ),
    same("info json:{\"driver\":\"raw\",\"file\":{\"driver\":\"null-co\",\"foo\":1}}"),
    same("info json:{\"driver\":\"null-co\",\"filename\":\"x\"}"),
    same("info --image-opts driver=null-co,size=1M"),
    same("info --image-opts driver=null-co,size=0"),
    same("info --image-opts driver=null-co,latency-ns=5"),
    same("info --image-opts driver=null-co,latency-ns=-1"),
    same("info --image-opts driver=null-co,size=1M,cache.direct=on,force-share=on"),
    same("info --image-opts file.driver=null-aio,file.size=2M"),
    same("info --image-opts driver=raw,offset=64k,file.driver=null-co,file.size=1M"),
    same("info --output=json --image-opts driver=raw,offset=64k,size=64k,file.driver=null-co,file.size=1M"),
    same("info --image-opts driver=qcow2,file.driver=null-co"),
    // Theirs ends by a signal.
    differs(
        "info --image-opts driver=null-co,size=x",
        "qemu-img: Could not open 'driver=null-co,size=x': Parameter 'size' expects a non-negative number below 2^64\n\
         Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.\n",
        1,
    ),
    same("map null-co://"),
    same("map --output=json null-co://"),
    same("map --output=json -f null-co null-co://"),
    same("map --output=json --image-opts driver=null-co,size=1M,read-zeroes=on"),
    same("map --output=json --image-opts driver=raw,file.driver=null-co,file.size=1M,file.read-zeroes=on"),
    same("measure null-co://"),
    same("measure -O qcow2 null-co://"),
    same("measure -O qcow2 --image-opts driver=null-co,size=1M,read-zeroes=on"),
    same("check null-co://"),
    same("compare null-co:// null-co://"),
    same("compare --image-opts driver=null-co,size=4M,read-zeroes=on driver=raw,file.filename=disk.raw"),
    same("snapshot -l null-co://"),
    same("snapshot -c x null-co://"),
    same("resize null-co:// 1M"),
    same("resize -f raw null-co:// 2G"),
    same("resize --shrink -f raw null-co:// 1M"),
    same("create -f raw null-co:// 1M"),
    same("create -f qcow2 null-aio:// 1M"),
    same("create -f raw null-co:x 1M"),
    same("convert disk.raw null-co://"),
    same("convert -p disk.raw null-co://"),
    same("convert -O null-co disk.raw null-co://"),
    same("convert -n disk.raw null-co://"),
    same("convert -n -O null-aio disk.raw null-aio://"),
    same("convert -n -p -O raw top.qcow2 null-co://"),
    same("convert -n -O qcow2 disk.raw null-co://"),
    same("convert -n -O raw null-co:// disk.raw"),
    same("convert -n --target-image-opts disk.raw driver=null-co,size=8M"),
    same("convert -n --target-image-opts disk.raw driver=null-co,size=1M"),
    same("convert -S 0 -n disk.raw null-co://"),
    same("convert --image-opts driver=null-co,size=1M,read-zeroes=on out"),
    same("convert -O qcow2 --image-opts driver=null-co,size=1M,read-zeroes=on out"),
    same("dd if=disk.raw of=null-co:// bs=1M count=2"),
    same("amend -o compat=0.10 null-co://"),
    same("commit null-co://"),
    same("create -f qcow2 -b null-co:// -F raw new && check new"),
    same("create -q -f qcow2 -b null-co:// -F null-co new"),
    same("info --backing-chain raw.qcow2"),
    same("info --output=json --backing-chain null.qcow2"),
    same("info --backing-chain wrong.qcow2"),
    same("convert wrong.qcow2 out"),
    same("create -q -f qcow2 -b null-co:// new"),
    same("create -q -f qcow2 -b null-aio:// -F raw new && map --output=json new && check new"),
    mapped_otherwise("create -q -f qcow2 -b null-co:// -F raw new && rebase -b '' new"),
    same("create -q -f qcow2 -b null-co:// -F raw new && commit new"),
    same("create -q -f qcow2 -b null-co:x -F raw new"),
    same("rebase -u -b null-co:// -F null-co overlay.qcow2 && convert overlay.qcow2 out"),
    mapped_otherwise("rebase -b null-co:// -F raw overlay.qcow2 && check overlay.qcow2"),
];

#[test]
fn what_is_not_there_is_as_theirs() {
    table_with(NULL, |prepared| {
        prepared.img("create -q -f qcow2 -b null-co:// -F raw raw.qcow2");
        prepared.img("create -q -f qcow2 -b null-co:// -F null-co null.qcow2");
        prepared.img("create -q -u -f qcow2 -b null-co:x -F raw wrong.qcow2 1M");
    });
}

const DESCRIBED: &[Row] = &[
    same("info described.qcow2"),
    same("info --backing-chain described.qcow2"),
    same("info --backing-chain --output=json described.qcow2"),
    same("create -f qcow2 -b json:{\"driver\":\"qcow2\",\"file.filename\":\"disk.qcow2\"} new"),
    same(
        "create -f qcow2 -b json:{\"driver\":\"qcow2\",\"file.filename\":\"disk.qcow2\"} -F qcow2 new && map new && convert new out && check new",
    ),
    same(
        "create -q -f qcow2 -b json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"disk.raw\"}} -F raw new \
         && compare new disk.raw && measure -O qcow2 new && resize new 8M && snapshot -c s new",
    ),
    mapped_otherwise(
        "create -q -f qcow2 -b json:{\"driver\":\"raw\",\"file.filename\":\"disk.raw\"} -F raw new && rebase -b '' new",
    ),
    mapped_otherwise(
        "convert -O qcow2 -B json:{\"driver\":\"qcow2\",\"file.filename\":\"disk.qcow2\"} -F qcow2 overlay.qcow2 new && \
         commit new",
    ),
    mapped_otherwise(
        "rebase -b json:{\"driver\":\"raw\",\"file.filename\":\"disk.raw\"} -F raw overlay.qcow2",
    ),
    same(
        "rebase -u -b json:{\"driver\":\"raw\",\"file.filename\":\"disk.raw\"} -F raw overlay.qcow2 && check overlay.qcow2",
    ),
    // What is recorded for the format outweighs what is described.
    same("create -f qcow2 -b json:{\"driver\":\"raw\",\"file.filename\":\"disk.raw\"} -F qcow2 new"),
    same(
        "create -q -f qcow2 -b json:{\"driver\":\"qcow2\",\"file.filename\":\"disk.qcow2\"} -F raw new && convert new out",
    ),
    same("create -f qcow2 -b json:{ -F qcow2 new"),
    same("create -f qcow2 -b json:{} -F qcow2 new"),
    same("create -f qcow2 -b json:[] -F qcow2 new"),
    same("create -f qcow2 -b json:{\"driver\":\"qcow2\",\"file.filename\":\"nofile\"} -F qcow2 new"),
    same("create -f qcow2 -b json:{\"driver\":\"foo\"} -F qcow2 new"),
    same("create -f qcow2 -u -b json:{\"a\":1} -F qcow2 new 1M"),
    same("create -f qcow2 -u -b json:{\"a\":1} -F qcow2 new 1M && convert new out"),
    same("create -f qcow2 -u -b json:{ -F qcow2 new 1M && convert new out"),
    same(
        "create -q -f qcow2 -b json:{\"driver\":\"null-co\",\"size\":65536} -F null-co new && convert new out",
    ),
    same("create -q -f qcow2 -b json:{\"driver\":\"null-co\",\"size\":65536} -F raw new"),
    // From where the program was started, not from the image.
    same(
        "create -q -f qcow2 -b json:{\"driver\":\"qcow2\",\"file.filename\":\"base.qcow2\"} -F qcow2 sub/new",
    ),
    same(
        "create -q -f qcow2 -b json:{\"driver\":\"qcow2\",\"file.filename\":\"sub/base.qcow2\"} -F qcow2 sub/new && \
         convert sub/new out",
    ),
];

#[test]
fn descriptions_of_backing_files_are_read_as_theirs() {
    table_with(DESCRIBED, |prepared| {
        let described = r#"json:{"driver":"qcow2","file.filename":"disk.qcow2"}"#;
        prepared.img(&format!("create -q -f qcow2 -b {described} -F qcow2 described.qcow2"));
    });
}

/// A description leads no further than a path does.
#[test]
fn what_is_described_stays_beneath_the_folder_of_the_image() {
    let folder = folder();
    let ours = |words: &[&str], allowed: bool| {
        let run = goldimg(["qemu-img"].iter().chain(words)).folder(folder.path());
        if allowed { run.env("GOLDIMG_ALLOW_BACKING", "anywhere").run() } else { run.run() }
    };
    std::fs::create_dir(folder.path().join("sub")).expect("a folder");
    std::fs::write(folder.path().join("secret"), [7; 512]).expect("a file");
    let name = r#"json:{"driver":"raw","file.filename":"secret"}"#;
    let made = ours(&["create", "-q", "-f", "qcow2", "-b", name, "-F", "raw", "sub/new"], false);
    assert_eq!(made.code, 0, "{}", made.snapshot());
    for nested in
        [r#"{"driver":"nbd","path":"/nowhere"}"#, r#"{"driver":"raw","offset":0,"file.filename":"sub/new"}"#]
    {
        let words = ["rebase", "-u", "-b", &format!("json:{nested}"), "-F", "raw", "sub/new"];
        assert_eq!(ours(&words, false).code, 0);
        assert_eq!(ours(&["convert", "sub/new", "out"], true).code, 1, "{nested}");
    }
    assert_eq!(ours(&["rebase", "-u", "-b", name, "-F", "raw", "sub/new"], false).code, 0);
    for words in [&["convert", "sub/new", "out"][..], &["map", "sub/new"], &["commit", "sub/new"]] {
        let run = ours(words, false);
        assert_eq!(run.code, 1, "{}", run.snapshot());
        assert!(run.stderr.contains("is outside of the image's folder"), "{}", run.snapshot());
    }
    assert_eq!(ours(&["compare", "sub/new", "secret"], true).code, 0);
    // The other face reads no descriptions.
    let other = goldimg(["convert", "--allow-backing", "sub/new", "out.raw"]).folder(folder.path()).run();
    assert_ne!(other.code, 0, "{}", other.snapshot());
    assert!(other.stderr.contains("no plain path"), "{}", other.snapshot());
}
