//! `goldimg upload`, as far as it goes without a cloud: what is refused, and plans.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::support::program::Outcome;
use crate::support::{folder, goldimg};

/// Longer than any hash of it that a test would see the end of.
const HUGE: u64 = 4 << 40;

/// Uploads from `folder`, as somebody with no clouds but those in its `clouds.yaml`; a command that does not come to an
/// end is ended.
fn upload(folder: &Path, words: &[&str]) -> Outcome {
    let home = format!("HOME={}", folder.display());
    let clouds = format!("OS_CLIENT_CONFIG_FILE={}", folder.join("clouds.yaml").display());
    goldimg(["upload", "--audit", "off"].iter().chain(words))
        .folder(folder)
        .by_way_of(&["timeout", "300", "env", "-i", "LC_ALL=C.UTF-8", &home, &clouds])
        .run()
}

/// A sparse file that begins so.
fn sparse(path: &Path, len: u64, start: &[u8]) {
    let file = File::create(path).expect("a new file");
    file.set_len(len).and_then(|()| file.write_all_at(start, 0)).expect("room");
}

#[test]
fn what_is_wrong_is_told_before_the_image_is_read() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("clouds.yaml"), "").expect("room");
    sparse(&path("disk.raw"), HUGE, b"");
    sparse(&path("disk.xz"), HUGE, b"\xfd7zXZ\0\0");
    sparse(&path("other.raw"), HUGE, b"");
    let manifest = r#"{ "manifest_version": 1, "name": "n", "version": "1", "build_date": "2026-11-23", "min_ram": 1,
        "files": [{ "name": "other.raw", "size": 3, "sha256": "00" }] }"#;
    fs::write(path("other.json"), manifest).expect("room");
    for (words, code, told) in [
        (&["disk.xz"][..], 1, "it looks like an xz file"),
        (&["disk.raw", "--disk-format", "vmdk"], 1, "it is declared to be vmdk, and is raw"),
        (&["other.raw"], 1, "is not the file its manifest describes: it has 4398046511104 bytes, and not 3"),
        (&["disk.raw", "--name", "{nam}"], 64, "{nam} means nothing in a name"),
        (&["disk.raw", "--min-disk", "1"], 64, "is less than the image's virtual size of 4096 GiB"),
        (&["disk.raw", "--property", "hw_disk_bus=nosuch"], 64, "hw_disk_bus"),
        (&["disk.raw", "--method", "web-download"], 64, "give it with --uri"),
        (&["disk.raw", "--method", "direct", "--all-stores"], 64, "a direct upload goes to one store"),
        (&["disk.raw", "--method", "direct", "--uri", "http://x/"], 64, "--method web-download does that"),
        (&["disk.raw", "--method", "glance-direct", "--uri", "http://x/"], 64, "an address is of use only"),
    ] {
        let outcome = upload(folder.path(), &[words, &["--plan"]].concat());
        assert_eq!(outcome.code, code, "{}", outcome.snapshot());
        assert!(outcome.stderr.contains(told), "{}", outcome.snapshot());
    }
    let outcome = upload(folder.path(), &["disk.raw"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("no cloud is described"), "{}", outcome.snapshot());
}

#[test]
fn a_plan_needs_no_cloud() {
    let folder = folder();
    let clouds = folder.path().join("clouds.yaml");
    sparse(&folder.path().join("disk.raw"), 1 << 20, b"");
    let one =
        |name: &str| format!("  {name}:\n    auth: {{ auth_url: 'http://h', username: u, password: p }}\n");
    let two = format!("clouds:\n{}{}", one("a"), one("b"));
    for text in ["", &two] {
        fs::write(&clouds, text).expect("room");
        let planned = upload(folder.path(), &["disk.raw", "--plan", "--name", "N", "--replace"]);
        assert_eq!(planned.code, 0, "{}", planned.snapshot());
        assert!(planned.stderr.contains("no cloud is chosen (--cloud): "), "{}", planned.snapshot());
        for (words, are_there) in [
            ("POST {image service}/v2/images\n", true),
            ("(1048576 bytes)", true),
            (
                "\"goldimg_build_id\":\"30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58\"",
                true,
            ),
            ("/auth/tokens", false),
            ("identity-service", false),
        ] {
            assert_eq!(planned.stdout.contains(words), are_there, "{words}: {}", planned.snapshot());
        }
        // Who names a cloud means it.
        let named = upload(folder.path(), &["disk.raw", "--plan", "--cloud", "c"]);
        assert_eq!((named.code, named.stdout.as_str()), (1, ""), "{}", named.snapshot());
    }
    let known = upload(folder.path(), &["disk.raw", "--plan", "--cloud", "a"]);
    assert!(
        known.code == 0 && known.stdout.starts_with("POST http://h/v3/auth/tokens"),
        "{}",
        known.snapshot()
    );
    assert!(!known.stderr.contains("no cloud"), "{}", known.snapshot());
}

#[test]
fn a_fixed_vhd_is_sent_as_raw_if_that_is_said() {
    const CONTENT: u64 = 1 << 20;
    let folder = folder();
    fs::write(folder.path().join("clouds.yaml"), "").expect("room");
    let path = folder.path().join("disk.vhd");
    sparse(&path, CONTENT + 512, b"");
    let file = File::options().write(true).open(&path).expect("a file");
    file.write_all_at(b"conectix", CONTENT).expect("room");
    for declared in [&[][..], &["--disk-format", "vhd", "--min-disk", "1"]] {
        let refused = upload(folder.path(), &[&["disk.vhd", "--plan"], declared].concat());
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{}", refused.snapshot());
        for words in ["it is a fixed VHD", "-f vpc -O qcow2", "--disk-format raw sends it with its footer"] {
            assert!(refused.stderr.contains(words), "{words}: {}", refused.snapshot());
        }
    }
    let sent = upload(folder.path(), &["disk.vhd", "--plan", "--disk-format", "raw"]);
    assert_eq!(sent.code, 0, "{}", sent.snapshot());
    assert!(sent.stderr.contains("warning: it is a fixed VHD, sent as raw"), "{}", sent.snapshot());
    assert!(sent.stdout.contains(&format!("({} bytes)", CONTENT + 512)), "{}", sent.snapshot());
}
