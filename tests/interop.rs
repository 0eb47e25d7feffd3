//! Other programs write and we read, we write and they judge: the same bytes, the same maps, the same numbers.
//!
//! Content alone proves little: each test compares exact quantities too, such as extents and counts of clusters.

#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod compare;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod convert;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod convert_into;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod create;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod ext4;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod fat;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod filesystems;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod foreign;
mod fuzzed;
mod guest;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod layers;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod locks;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod measure;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod nbd;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod nbd_tls;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod qcow2_bitmaps;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod qcow2_check;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod qcow2_discard;
mod qcow2_hostile;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod qcow2_late;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod qcow2_lies;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod qcow2_read;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod qcow2_repair;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod qcow2_sequences;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod qcow2_snapshots;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod readers;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod seal;
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod sparsify;
