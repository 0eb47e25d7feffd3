//! Btrfs with what was synced and not committed: its log, of which no tree of the filesystem tells.

use std::collections::BTreeMap;
use std::path::Path;

use super::{SUMS, Tried, has, lived_in, mounted, number, unused_of_btrfs};
use crate::support::folder;
use crate::support::peer::{Peer, peer};

fn btrfs() -> Peer {
    peer("btrfs").expect("asked for before")
}

/// What the log of `image` has, whose tree blocks are there twice and have `node` bytes: blocks and extents, as `btrfs` prints them.
fn logged_bytes(image: &Path, node: u64) -> u64 {
    let told = btrfs().must(["inspect-internal", "dump-tree", image.to_str().expect("UTF-8")]);
    let mut taken = BTreeMap::new();
    let mut is_log = false;
    for line in told.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["leaf" | "node", address, "items" | "level", .., owner] => {
                is_log = owner == "TREE_LOG";
                if is_log {
                    taken.insert(address.to_owned(), 2 * node);
                }
            }
            ["extent", "data", "disk", "byte", address, "nr", len] if is_log && address != "0" => {
                taken.insert(address.to_owned(), len.parse().expect("a number"));
            }
            _ => (),
        }
    }
    assert!(taken.len() > 2, "{taken:?}");
    taken.values().sum()
}

#[test]
fn what_was_synced_and_not_committed_stays() {
    if !has(&["mkfs.btrfs", "btrfs"]) {
        return;
    }
    let dir = folder();
    let image = dir.path().join("btrfs");
    lived_in(&image, 400 << 20, &["mkfs.btrfs", "-q", "-f", "-m", "dup", "-d", "single"]);
    let logged = dir.path().join("logged");
    // What the first sync of a folder commits as a whole is not in the log.
    let write = "import os, random, sys
for i in range(6):
    file = open(sys.argv[1] + \"/logged%d\" % i, \"wb\")
    file.write(random.Random(i).randbytes(700000 * i + 1000))
    file.flush()
    os.fsync(file.fileno())";
    let words = format!(
        "python3 -c '{write}' $m; cp --sparse=always {} {}; {SUMS}",
        image.display(),
        logged.display()
    );
    // Nothing is committed meanwhile, however slow the machine is.
    let files = mounted(&image, ",commit=300", &words);
    let told = |path: &Path, key: &str| {
        let words = ["inspect-internal", "dump-super", path.to_str().expect("UTF-8")];
        number(&btrfs().must(words), key)
    };
    assert!(told(&image, "log_root") == 0 && told(&logged, "log_root") != 0);
    let (size, node) = (told(&logged, "dev_item.total_bytes"), told(&logged, "nodesize"));
    let unused = unused_of_btrfs(&logged, size, node) - logged_bytes(&logged, node);
    Tried { image: &logged, unused, skipped: 0 }.each(&|raw| {
        assert_eq!(mounted(raw, "", SUMS), files);
        btrfs().must(["check", raw.to_str().expect("UTF-8")]);
        let scrubbed = mounted(raw, "", "btrfs scrub start -B $m");
        assert!(scrubbed.contains("no errors found"), "{scrubbed}");
    });
}
