//! The cache modes of `-t` and `-T`: checked, and otherwise without effect, since nothing is cached here but by the kernel.

use super::failure::Failure;

const MODES: [&str; 6] = ["none", "off", "writeback", "directsync", "unsafe", "writethrough"];

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
