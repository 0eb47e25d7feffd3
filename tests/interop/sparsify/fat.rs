//! FAT, which mtools fill and read, for not every kernel mounts it.

use std::fs;
use std::path::Path;

use super::{GONE, Tried};
use crate::support::folder;
use crate::support::peer::peer;

/// The files of the FAT `image`, with their content.
fn files(image: &Path) -> Vec<(String, Vec<u8>)> {
    let out = folder();
    let target = out.path().to_str().expect("UTF-8");
    peer("mcopy").expect("a peer").must(["-n", "-s", "-i", image.to_str().expect("UTF-8"), "::/*", target]);
    let names = fs::read_dir(out.path()).expect("files").map(|entry| entry.expect("a file").path());
    let mut files: Vec<_> = names
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

/// As many bytes as mdir says are free.
fn free(image: &Path) -> u64 {
    let told = peer("mdir").expect("a peer").must(["-i", image.to_str().expect("UTF-8"), "::/"]);
    let line = told.lines().find(|line| line.ends_with("bytes free")).expect("what is free");
    line.chars().filter(char::is_ascii_digit).collect::<String>().parse().expect("a number")
}

#[test]
fn fat_loses_what_was_deleted_and_nothing_else() {
    if !["mkfs.fat", "mcopy", "mdel", "mdir", "fsck.fat"].iter().all(|name| peer(name).is_some()) {
        return;
    }
    let dir = folder();
    let image = dir.path().join("fat");
    let name = image.to_str().expect("UTF-8");
    for (width, size) in [("12", 2 << 20), ("16", 40 << 20), ("32", 80 << 20)] {
        fs::write(&image, []).expect("room");
        fs::File::options().write(true).open(&image).and_then(|file| file.set_len(size)).expect("room");
        peer("mkfs.fat").expect("a peer").must(["-F", width, name]);
        for index in 0..20_u8 {
            let (own, bytes) = match index % 2 {
                0 => (format!("kept{index}"), vec![index + 1; 40_000 + usize::from(index)]),
                _ => (format!("gone{index}"), GONE.repeat(4000)),
            };
            let path = dir.path().join(&own);
            fs::write(&path, bytes).expect("room");
            peer("mcopy").expect("a peer").must([
                "-i",
                name,
                path.to_str().expect("UTF-8"),
                &format!("::/{own}"),
            ]);
        }
        peer("mdel").expect("a peer").must(["-i", name, "::/gone*"]);
        let before = files(&image);
        assert_eq!(before.len(), 10);
        Tried { image: &image, unused: free(&image), skipped: 0 }.each(&|raw| {
            assert!(files(raw) == before);
            peer("fsck.fat").expect("a judge").must(["-n", raw.to_str().expect("UTF-8")]);
        });
    }
}
