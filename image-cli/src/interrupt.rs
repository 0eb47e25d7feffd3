//! Ctrl-C and its kin: the first one asks the work to stop and clean up, the second one ends the program.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static REQUESTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Listens from now on. Called by commands that have something to clean up; the others just end.
pub(crate) fn listen() -> anyhow::Result<()> {
    let flag = REQUESTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the conditional one looks at the flag before this signal sets it.
        signal_hook::flag::register_conditional_shutdown(
            signal,
            i32::from(crate::failure::INTERRUPTED),
            Arc::clone(flag),
        )?;
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    Ok(())
}

/// Asks the work to stop, as a signal would.
pub(crate) fn request() {
    REQUESTED.get_or_init(Arc::default).store(true, Ordering::Relaxed);
}

/// Whether the work was asked to stop.
pub(crate) fn requested() -> bool {
    REQUESTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Fails if the work was asked to stop.
pub(crate) fn check() -> image_core::Result<()> {
    if requested() { Err(image_core::Error::cancelled()) } else { Ok(()) }
}
