//! The cache modes of `-t` and `-T`. Nothing is cached here but by the kernel, which a mode leaves as it is; with every mode
//! but "unsafe" what was written is on the disk in the end.

use super::failure::Failure;

const MODES: [&str; 6] = ["none", "off", "writeback", "directsync", "unsafe", "writethrough"];

/// Whether what was written is to be on the disk in the end.
pub(super) fn is_flushed(mode: &str) -> bool {
    mode != "unsafe"
}

/// The mode of what is read.
pub(super) fn check_source(mode: &str) -> Result<(), Failure> {
    match MODES.contains(&mode) {
        true => Ok(()),
        false => Err(Failure::new(format!("Invalid source cache option: {mode}"))),
    }
}

/// The mode of what is written.
pub(super) fn check_target(mode: &str) -> Result<(), Failure> {
    match MODES.contains(&mode) {
        true => Ok(()),
        false => Err(Failure::new(format!("Invalid cache option: {mode}"))),
    }
}
