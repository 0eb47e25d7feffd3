//! `goldimg convert` into what is there, from several images, from a snapshot, from damage, and through a pipe.

use std::fs;
use std::path::Path;

use crate::support::peer::{Peer, peer};
use crate::support::program::Outcome;
use crate::support::{folder, goldimg};

/// QEMU's tools, and a folder with `a.raw` of 3 MiB and `b.qcow2` of 1 MiB + 512 bytes.
struct Bench {
    img: Peer,
    io: Peer,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Option<Self> {
        let bench = Self { img: peer("qemu-img")?, io: peer("qemu-io")?, folder: folder() };
        bench.img(&["create", "-q", "-f", "raw", "a.raw", "3M"]);
        bench.io("a.raw", &["write -P 1 100k 300k", "write -P 2 2M 64k"]);
        bench.img(&["create", "-q", "-f", "qcow2", "b.qcow2", "1049088"]);
        bench.io("b.qcow2", &["write -P 3 64k 200k", "write -P 4 1M 512"]);
        Some(bench)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn img(&self, words: &[&str]) {
        let outcome = self.img.command(words).folder(self.path()).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    }

    fn io(&self, file: &str, commands: &[&str]) {
        let format = if file.ends_with("raw") { "raw" } else { "qcow2" };
        let commands = commands.iter().flat_map(|command| ["-c", command]);
        let words: Vec<&str> = ["-f", format].into_iter().chain(commands).chain([file]).collect();
        let outcome = self.io.command(words).folder(self.path()).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        assert!(!outcome.stdout.contains("Pattern verification failed"), "{}", outcome.snapshot());
    }

    fn convert(&self, words: &[&str]) -> Outcome {
        goldimg(["convert", "-q"].iter().chain(words)).folder(self.path()).run()
    }

    fn must(&self, words: &[&str]) -> Outcome {
        let outcome = self.convert(words);
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        outcome
    }
}

#[test]
fn what_is_there_keeps_what_is_not_written() {
    let Some(bench) = Bench::new() else { return };
    for (target, format) in [("t.raw", "raw"), ("t.qcow2", "qcow2")] {
        bench.img(&["create", "-q", "-f", format, target, "4M"]);
        bench.io(target, &["write -P 9 0 4M"]);
        bench.must(&["-n", "-O", format, "a.raw", target]);
        // All of the source, its holes as zeroes, and nothing behind its end.
        let source = ["read -P 0 0 100k", "read -P 1 100k 300k", "read -P 0 400k 1648k", "read -P 2 2M 64k"];
        bench.io(target, &[&source[..], &["read -P 0 2112k 960k", "read -P 9 3M 1M"]].concat());
        bench.io(target, &["write -P 9 0 4M"]);
        bench.must(&["-n", "-O", format, "--target-is-zero", "a.raw", target]);
        bench.io(target, &["read -P 9 0 100k", "read -P 1 100k 300k", "read -P 9 400k 1648k"]);
        if format == "qcow2" {
            bench.img(&["check", "-q", target]);
        }
    }
    let outcome = bench.convert(&["-n", "-O", "raw", "a.raw", "small.raw"]);
    assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
    bench.img(&["create", "-q", "-f", "raw", "small.raw", "1M"]);
    let outcome = bench.convert(&["-n", "-O", "raw", "a.raw", "small.raw"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("goldimg resize"), "{}", outcome.snapshot());
    let outcome = bench.convert(&["-n", "-O", "raw", "a.raw", "a.raw"]);
    assert!(outcome.stderr.contains("is both source and target"), "{}", outcome.snapshot());
    assert_eq!(bench.convert(&["-n", "-o", "compat=0.10", "a.raw", "t.qcow2"]).code, 64);
    let outcome = bench.convert(&["-n", "-c", "-O", "raw", "a.raw", "t.raw"]);
    assert_eq!(outcome.code, 64, "{}", outcome.snapshot());
    let outcome = bench.convert(&["-n", "-c", "-f", "raw", "a.raw", "t.raw"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("cannot be compressed"), "{}", outcome.snapshot());
}

#[test]
fn what_is_there_gets_compressed_clusters() {
    let Some(bench) = Bench::new() else { return };
    for (kind, level) in [("zlib", "9"), ("zstd", "15")] {
        for options in ["cluster_size=4k", "cluster_size=64k", "cluster_size=64k,extended_l2=on"] {
            let options = format!("compression_type={kind},{options}");
            bench.img(&["create", "-q", "-f", "qcow2", "-o", &options, "t.qcow2", "4M"]);
            bench.io("t.qcow2", &["write -P 9 0 4M"]);
            bench.img(&["snapshot", "-c", "before", "t.qcow2"]);
            // Over plain clusters that a snapshot has too; then over compressed ones.
            for _ in 0..2 {
                bench.must(&["-n", "-c", "--level", level, "-O", "qcow2", "a.raw", "t.qcow2"]);
                bench.img(&["check", "-q", "t.qcow2"]);
            }
            let map = bench.img.command(["map", "--output=json", "t.qcow2"]).folder(bench.path()).run();
            let packed = r#""length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": true"#;
            // Old ones do not tell what is compressed but by counting it.
            let tells = map.stdout.contains("compressed");
            assert!(!tells || map.stdout.contains(packed), "{}", map.snapshot());
            let check = bench.img.command(["check", "t.qcow2"]).folder(bench.path()).run();
            let counts = check.stdout.contains("% compressed clusters");
            assert!(counts && !check.stdout.contains(" 0.00% compressed"), "{}", check.snapshot());
            let source =
                ["read -P 0 0 100k", "read -P 1 100k 300k", "read -P 0 400k 1648k", "read -P 2 2M 64k"];
            bench.io("t.qcow2", &[&source[..], &["read -P 0 2112k 960k", "read -P 9 3M 1M"]].concat());
            // QEMU goes on with it, and goes back.
            bench.io("t.qcow2", &["write -P 5 110k 100k", "write -z 2M 64k", "write -c -P 6 2M 64k"]);
            bench.img(&["check", "-q", "t.qcow2"]);
            bench.img(&["snapshot", "-a", "before", "t.qcow2"]);
            bench.io("t.qcow2", &["read -P 9 0 4M"]);
            bench.img(&["check", "-q", "t.qcow2"]);
        }
    }
    assert_eq!(bench.convert(&["--target-is-zero", "a.raw", "new.raw"]).code, 64);
}

#[test]
fn several_images_follow_each_other() {
    let Some(bench) = Bench::new() else { return };
    bench.img(&["convert", "-O", "raw", "a.raw", "b.qcow2", "a.raw", "theirs.raw"]);
    bench.must(&["a.raw", "b.qcow2", "a.raw", "ours.raw"]);
    let read = |name: &str| fs::read(bench.path().join(name)).unwrap();
    assert!(read("ours.raw") == read("theirs.raw"));
    bench.must(&["-c", "a.raw", "b.qcow2", "ours.qcow2"]);
    bench.img(&["convert", "-O", "qcow2", "a.raw", "b.qcow2", "theirs.qcow2"]);
    bench.img(&["compare", "-q", "ours.qcow2", "theirs.qcow2"]);
}

#[test]
fn a_snapshot_is_a_source() {
    let Some(bench) = Bench::new() else { return };
    bench.img(&["snapshot", "-c", "before", "b.qcow2"]);
    bench.io("b.qcow2", &["write -P 7 0 1M"]);
    bench.img(&["convert", "-l", "before", "-O", "raw", "b.qcow2", "theirs.raw"]);
    for name in ["before", "1"] {
        bench.must(&["--force", "-l", name, "b.qcow2", "ours.raw"]);
        let read = |name: &str| fs::read(bench.path().join(name)).unwrap();
        assert!(read("ours.raw") == read("theirs.raw"));
    }
    for (words, code) in [(["-l", "after", "b.qcow2"], 1), (["-l", "before", "a.raw"], 1)] {
        let outcome = bench.convert(&[&words[..], &["x.raw"]].concat());
        assert!(outcome.code == code && outcome.stderr.contains("has no snapshot"), "{}", outcome.snapshot());
    }
    assert_eq!(bench.convert(&["-l", "before", "b.qcow2", "b.qcow2", "x.raw"]).code, 64);
}

#[test]
fn what_is_lost_is_told_and_the_rest_is_saved() {
    let Some(bench) = Bench::new() else { return };
    bench.must(&["-O", "qcow2", "a.raw", "torn.qcow2"]);
    // The last data of the guest lie before the tables: an L2 entry is made to point behind the end of the file.
    let map = goldimg(["map", "--json", "torn.qcow2"]).folder(bench.path()).run();
    let map: serde_json::Value = serde_json::from_str(&map.stdout).unwrap();
    let last = map.as_array().unwrap().iter().rfind(|it| it["data"] == true).unwrap();
    let (start, host) = (last["start"].as_u64().unwrap(), last["offset"].as_u64().unwrap());
    let path = bench.path().join("torn.qcow2");
    let mut bytes = fs::read(&path).unwrap();
    let entry = (1_u64 << 63 | host).to_be_bytes();
    let at = bytes.windows(8).position(|window| window == entry).unwrap();
    bytes[at..at + 8].copy_from_slice(&(1_u64 << 63 | 1 << 40).to_be_bytes());
    fs::write(&path, bytes).unwrap();
    let refused = bench.convert(&["torn.qcow2", "x.raw"]);
    assert!(refused.code == 1 && refused.stderr.contains(&format!("guest offset {start:#x}")));
    let saved = bench.must(&["--salvage", "--json", "torn.qcow2", "saved.raw"]);
    let report: serde_json::Value = serde_json::from_str(&saved.stdout).unwrap();
    assert_eq!(report["lost"], serde_json::json!([{ "start": start, "length": 65536 }]));
    assert!(saved.stderr.contains("65536 bytes could not be read"), "{}", saved.stderr);
    bench.io("saved.raw", &["read -P 1 100k 300k", &format!("read -P 0 {start} 64k")]);
}

#[test]
fn a_pipe_gets_what_a_file_would() {
    let Some(bench) = Bench::new() else { return };
    for words in [&["-O", "qcow2"][..], &["-c", "-O", "qcow2"], &["-O", "raw"]] {
        bench.must(&[words, &["--force", "a.raw", "file"]].concat());
        let shell =
            format!("{} convert -q {} a.raw - > piped", goldimg([""; 0]).path().display(), words.join(" "));
        let status = std::process::Command::new("sh").args(["-c", &shell]).current_dir(bench.path()).status();
        assert!(status.unwrap().success());
        let read = |name: &str| fs::read(bench.path().join(name)).unwrap();
        assert!(read("piped") == read("file"), "{words:?}");
    }
    bench.must(&["-r", "1G", "--force", "a.raw", "slow.raw"]);
    bench.img(&["compare", "-q", "a.raw", "slow.raw"]);
}

#[test]
fn over_a_backing_file_only_what_differs_is_stored() {
    let Some(bench) = Bench::new() else { return };
    bench.img(&["create", "-q", "-f", "qcow2", "-b", "a.raw", "-F", "raw", "over.qcow2", "4M"]);
    // Written as it was, changed, zeroed over data, and behind the end of the backing file.
    bench.io(
        "over.qcow2",
        &["write -P 1 128k 64k", "write -P 5 192k 64k", "write -z 256k 64k", "write -P 6 3M 64k"],
    );
    for (words, zero_is_stored) in
        [(&["-O", "qcow2"][..], false), (&["-c"], false), (&["-o", "compat=0.10"], true)]
    {
        let target = ["over.qcow2", "new.qcow2"];
        bench.must(&[words, &["--force", "--allow-backing", "-B", "a.raw"], &target].concat());
        bench.img(&["compare", "-q", "over.qcow2", "new.qcow2"]);
        bench.img(&["check", "-q", "new.qcow2"]);
        let map = goldimg(["map", "--json", "--allow-backing", "new.qcow2"]).folder(bench.path()).run();
        let map: serde_json::Value = serde_json::from_str(&map.stdout).unwrap();
        let own = map.as_array().unwrap().iter().filter(|it| it["depth"] == 0 && it["data"] == true);
        let stored: u64 = own.map(|it| it["length"].as_u64().unwrap()).sum();
        assert_eq!(stored, if zero_is_stored { 192 << 10 } else { 128 << 10 }, "{words:?}: {map}");
    }
    let info = goldimg(["info", "--json", "new.qcow2"]).folder(bench.path()).run();
    let info: serde_json::Value = serde_json::from_str(&info.stdout).unwrap();
    assert_eq!(info["backing-filename-format"], "raw", "{info}");
    assert_eq!(bench.convert(&["-O", "raw", "-B", "a.raw", "b.qcow2", "x.raw"]).code, 64);
}
