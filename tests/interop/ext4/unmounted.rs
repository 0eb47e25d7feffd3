//! What the kernel of a machine may not mount, filled by mke2fs: blocks that are larger than a page, names found whatever their case.

use std::collections::BTreeMap;
use std::path::Path;

use super::witness::{Judge, assert_same, ours, say};
use crate::support::folder;

/// Facts that mke2fs takes from a folder: not numbers of inodes, sectors, times of changes, or where nothing is stored.
const KEPT: [&str; 7] = ["mode=", "owner=", "modified=", "device=", "target=", "attribute=", "content="];

/// Lines with nothing but those facts; times to the second, which is what mke2fs takes.
fn kept(lines: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let short = |facts: &str| {
        let mut words = facts.split(' ');
        let kind = words.next().unwrap_or_default().to_owned();
        let kept = words.filter(|word| KEPT.iter().any(|kept| word.starts_with(kept)));
        let seconds = kept.map(|word| match word.strip_prefix("modified=") {
            Some(time) => {
                format!("modified={}", time.parse::<i128>().expect("a number").div_euclid(1_000_000_000))
            }
            None => word.to_owned(),
        });
        [vec![kind], seconds.collect()].concat().join(" ")
    };
    let made = |path: &str| path == "." || path == "lost+found";
    lines.iter().filter(|(path, _)| !made(path)).map(|(path, facts)| (path.clone(), short(facts))).collect()
}

/// Makes a filesystem of the files in `source` and compares.
fn compare(judge: &Judge, image: &Path, source: &Path, size: &str, words: &[&str]) -> usize {
    let from = ["-d", source.to_str().expect("UTF-8")];
    judge.make(image, size, &[words, &from].concat());
    let ours = kept(&ours(image));
    assert_same(&kept(&judge.tell(source)), &ours);
    say(ours.len(), &words.join(" "));
    ours.len()
}

#[test]
fn ext4_that_mke2fs_filled_has_what_was_in_the_folder() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let (image, source) = (dir.path().join("image"), dir.path().join("source"));
    std::fs::create_dir(&source).unwrap();
    judge.fill(&source, &["kinds"]);
    // What mke2fs does not take along: sockets, names with quotes, targets as long as a block.
    for name in ["kinds/socket", "kinds/link-4000", "kinds/link-1023"] {
        std::fs::remove_file(source.join(name)).unwrap();
    }
    for words in [
        &["-t", "ext4", "-b", "8192"][..],
        &["-t", "ext4", "-b", "16384", "-O", "inline_data"],
        &["-t", "ext4", "-b", "32768", "-O", "^extent,^64bit"],
        &["-t", "ext4", "-b", "65536"],
        &["-t", "ext4", "-b", "65536", "-O", "^metadata_csum"],
        &["-t", "ext4", "-O", "quota,project"],
        &["-t", "ext4", "-b", "1024", "-O", "casefold", "-E", "encoding=utf8"],
    ] {
        assert!(compare(&judge, &image, &source, "400M", words) > 150);
        if words.contains(&"quota,project") {
            // A kernel without quotas mounts it to be read.
            assert!(judge.compare(&image) > 150);
        }
        std::fs::remove_file(&image).unwrap();
    }
}

#[test]
fn ext4_names_are_found_whatever_their_case_where_that_is_asked_for() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let (image, source) = (dir.path().join("image"), dir.path().join("source"));
    std::fs::create_dir_all(source.join("folded")).unwrap();
    std::fs::write(source.join("folded/ReadMe"), "folded").unwrap();
    std::fs::create_dir_all(source.join("exact")).unwrap();
    std::fs::write(source.join("exact/ReadMe"), "exact").unwrap();
    judge.make(&image, "20M", &["-t", "ext4", "-O", "casefold", "-d", source.to_str().unwrap()]);
    // Extents, and the flag that chattr +F sets.
    judge.debugfs.must(["-w", "-R", "sif /folded flags 0x40080000", image.to_str().unwrap()]);
    let ext4 =
        image_core::fs::Ext4::open(std::sync::Arc::new(image_core::block::FileDisk::open(&image).unwrap()))
            .unwrap();
    let read = |path: &str| {
        ext4.resolve(path.as_bytes(), true).unwrap().map(|inode| ext4.read(&inode, 100).unwrap())
    };
    for path in ["/folded/ReadMe", "/folded/README", "/folded/readme"] {
        assert_eq!(read(path).as_deref(), Some(&b"folded"[..]), "{path}");
    }
    assert_eq!(read("/exact/ReadMe").as_deref(), Some(&b"exact"[..]));
    assert_eq!(read("/exact/readme"), None);
}
