//! Disks by the serial numbers that the machine gave them.
//!
//! ```text
//! /sys/block/vda/serial   /sys/block/nvme0n1/device/serial ─► /dev/vda, /dev/nvme0n1
//! ```

use std::fs::{self, File};
use std::time::{Duration, Instant};

use super::super::fault::{Fault, Task};

/// Drivers find disks beside all else: so long they are waited for.
const PATIENCE: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(10);

/// The device of the disk with this serial number.
pub(super) fn path_of_disk(serial: &str) -> Result<String, Fault> {
    let started = Instant::now();
    loop {
        if let Some(name) = find(serial) {
            return Ok(format!("/dev/{name}"));
        }
        if started.elapsed() > PATIENCE {
            return Err(Fault::new(Task::Disk, serial, "the kernel does not find it"));
        }
        std::thread::sleep(LOOK);
    }
}

/// The disk with this serial number, to be read.
pub(super) fn open_disk(serial: &str) -> Result<File, Fault> {
    let path = path_of_disk(serial)?;
    File::open(path).map_err(|error| Fault::of(Task::Disk, serial, error))
}

fn find(serial: &str) -> Option<String> {
    let entries = fs::read_dir("/sys/block").ok()?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let is_it = |name: &String| {
        ["serial", "device/serial"].iter().any(|file| {
            let told = fs::read_to_string(format!("/sys/block/{name}/{file}"));
            told.is_ok_and(|told| told.trim() == serial)
        })
    };
    names.into_iter().find(is_it)
}
