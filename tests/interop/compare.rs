//! `goldimg compare` beside `qemu-img compare`: the same exit codes, and the same first sector that differs.

use std::path::Path;

use crate::support::peer::peer;
use crate::support::{folder, goldimg};

/// Makes an image by the commands of qemu-io.
fn image(folder: &Path, create: &[&str], commands: &[&str]) {
    let (Some(img), Some(io)) = (peer("qemu-img"), peer("qemu-io")) else { return };
    let run = img.command([&["create", "-q"], create].concat()).folder(folder).run();
    assert_eq!(run.code, 0, "{}", run.snapshot());
    let file = create[create.len() - 2];
    let format = create[create.iter().position(|word| *word == "-f").unwrap() + 1];
    let arguments = commands.iter().flat_map(|command| ["-c", command]);
    let run = io.command(["-f", format].into_iter().chain(arguments).chain([file])).folder(folder).run();
    assert_eq!(run.code, 0, "{}", run.snapshot());
}

/// Pairs of images, and more words for both programs.
const PAIRS: [&[&str]; 22] = [
    &["a.raw", "a.raw"],
    &["a.raw", "a.qcow2"],
    &["a.qcow2", "a.raw"],
    &["a.raw", "late.raw"],
    &["a.qcow2", "late.raw"],
    &["a.raw", "zeroes.qcow2"],
    &["zeroes.qcow2", "a.raw"],
    &["a.raw", "long.raw"],
    &["long.raw", "a.raw"],
    &["a.raw", "longer.raw"],
    &["longer.raw", "a.qcow2"],
    &["-s", "a.raw", "long.raw"],
    &["-s", "a.raw", "a.raw"],
    &["-s", "a.raw", "a.qcow2"],
    &["-s", "a.raw", "late.raw"],
    &["-s", "zeroes.qcow2", "zeroes.qcow2"],
    &["-f", "raw", "-F", "raw", "a.qcow2", "a.raw"],
    &["-f", "raw", "-F", "qcow2", "a.raw", "a.qcow2"],
    &["-f", "qcow2", "a.raw", "a.qcow2"],
    &["a.raw", "none.raw"],
    &["none.raw", "a.raw"],
    &["a.raw", "torn.qcow2"],
];

#[test]
fn exit_codes_and_first_differences_are_those_of_qemu_img() {
    let Some(img) = peer("qemu-img") else { return };
    let folder = folder();
    let here = folder.path();
    let data = ["write -P 1 100k 300k", "write -P 2 1M 64k", "write -P 3 3000k 5k"];
    image(here, &["-f", "raw", "a.raw", "4M"], &data);
    image(here, &["-f", "qcow2", "-o", "cluster_size=4k", "a.qcow2", "4M"], &data);
    image(here, &["-f", "raw", "late.raw", "4M"], &[data[0], data[1], data[2], "write -P 9 3004k 512"]);
    image(here, &["-f", "qcow2", "zeroes.qcow2", "4M"], &["write -z 0 1M", "write -P 0 2M 1M"]);
    image(here, &["-f", "raw", "long.raw", "5M"], &[data[0], data[1], data[2], "write -P 0 4500k 64k"]);
    image(here, &["-f", "raw", "longer.raw", "6M"], &[data[0], data[1], data[2], "write -P 5 5500k 512"]);
    image(here, &["-f", "qcow2", "torn.qcow2", "4M"], &[data[0], data[1], data[2]]);
    let torn = std::fs::File::options().write(true).open(here.join("torn.qcow2")).unwrap();
    torn.set_len(torn.metadata().unwrap().len() - (128 << 10)).unwrap();
    for words in PAIRS {
        let theirs = img.command(["compare"].iter().chain(words)).folder(here).run();
        let ours = goldimg(["compare", "--json", "--ranges", "0"].iter().chain(words)).folder(here).run();
        if words.contains(&"torn.qcow2") {
            // What is missing is zeroes to QEMU; to us it is damage.
            assert_eq!((theirs.code, ours.code), (1, 4), "{}", ours.snapshot());
            assert!(ours.stderr.contains("guest offset"), "{}", ours.stderr);
            continue;
        }
        assert_eq!(ours.code, theirs.code, "{}{}", ours.snapshot(), theirs.snapshot());
        let told = theirs.stdout.lines().find_map(|line| {
            line.strip_prefix("Content mismatch at offset ")?.strip_suffix('!')?.parse::<u64>().ok()
        });
        if let Some(told) = told {
            let json: serde_json::Value = serde_json::from_str(&ours.stdout).unwrap();
            let first = json["first-difference"].as_u64().unwrap();
            assert_eq!(first / 512 * 512, told, "{}{}", ours.snapshot(), theirs.snapshot());
        }
    }
}
