//! Standing in for `qemu-img`: command lines that the machine's own one and ours run on two copies of one folder.
//!
//! ```text
//! prepared folder ─┬─ copy ─► qemu-img            WORDS ─► stdout, stderr, exit code, files ─┐
//!                  └─ copy ─► goldimg as qemu-img WORDS ─► stdout, stderr, exit code, files ─┴─► the same?
//! ```
//!
//! A row is a command line (or several, joined by " && "); [`same`] wants it to be like qemu-img's, [`differs`] says what
//! ours says instead where it is different on purpose. A file per subcommand: a table, and what its folder has in it
//! beyond [`folder`](prepared::Prepared). Words are split at spaces; single quotes hold them together, and "´" stands
//! for one that is part of a word.

mod amend;
mod bench;
mod bitmap;
mod chains;
mod check;
mod compare;
mod comparison;
mod convert;
mod create;
mod dd;
mod found;
mod headers;
mod info;
mod layers;
mod map;
mod measure;
mod nbd;
mod nbd_tls;
mod null;
mod prepared;
mod resize;
mod scripts;
mod snapshot;
mod usage;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use prepared::Prepared;

/// A command line, and what is expected of it.
#[derive(Debug)]
struct Row {
    words: &'static str,
    /// What ours says on standard error, and its exit code, where it differs on purpose.
    differs: Option<(&'static str, i32)>,
    /// Whether images may be mapped in another way, as long as a guest reads the same.
    other_map: bool,
    /// Whether ours may open backing files in any folder.
    allowed: bool,
}

/// It is as with qemu-img.
const fn same(words: &'static str) -> Row {
    Row { words, differs: None, other_map: false, allowed: false }
}

/// It is as with qemu-img, but the images that come of it are mapped in another way, for a reason that stands beside the row.
const fn mapped_otherwise(words: &'static str) -> Row {
    Row { words, differs: None, other_map: true, allowed: false }
}

/// It is as with qemu-img where ours may open backing files in any folder.
const fn allowed(words: &'static str) -> Row {
    Row { words, differs: None, other_map: false, allowed: true }
}

/// It is different on purpose: ours ends with `code` and says `stderr`, and theirs does not.
const fn differs(words: &'static str, stderr: &'static str, code: i32) -> Row {
    Row { words, differs: Some((stderr, code)), other_map: false, allowed: false }
}

/// Runs all rows, on two threads, and fails with every one that is not as expected.
fn table(rows: &[Row]) {
    table_with(rows, |_| ());
}

/// The same; `more` adds to the folder, with qemu-img and otherwise.
fn table_with(rows: &[Row], more: impl FnOnce(&Prepared)) {
    let Some(prepared) = Prepared::new() else { return };
    more(&prepared);
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(difference) = comparison::compare(&prepared, row) {
                        failures.lock().expect("no thread panics").push(difference);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no thread panics");
    assert!(failures.is_empty(), "{} of {} rows:\n{}", failures.len(), rows.len(), failures.join("\n"));
}
