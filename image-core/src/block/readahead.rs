//! Bringing what is read next into the page cache.
//!
//! The kernel reads ahead by itself, but does not know where it will be read: behind each run of data it goes on into
//! the hole, for which it fills pages with zeroes, and the next run it only begins with when that is asked for.

use std::fs::File;
use std::num::NonZeroU64;

use rustix::fs::{Advice, fadvise};

use super::ByteRange;

/// How much is asked for in one call: the kernel brings no more for one than a device takes at once, often 1.25 MiB.
const STEP: u64 = 512 * 1024;

/// Has the kernel begin to read `range` of `file`, and does not wait for it; 3 µs for a MiB that is there
/// (`posix_fadvise(2)`, POSIX_FADV_WILLNEED).
pub(super) fn readahead(file: &File, range: ByteRange) {
    let mut at = range.offset();
    while at < range.end() {
        let len = (range.end() - at).min(STEP);
        // What is not brought is read when it is asked for.
        let _only_later = fadvise(file, at, NonZeroU64::new(len), Advice::WillNeed);
        at += len;
    }
}
