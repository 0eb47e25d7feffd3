//! Ctrl-C and its kin: the first one asks the work to stop and clean up, one that comes a second later ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, Once, OnceLock};
use std::time::Duration;

use goldimg::CancellationToken;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// What the first signal cancels.
static TOKEN: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);
/// The signal that asked; 0 for none.
static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// What a shell adds to the number of the signal that ended a program.
const BY_SIGNAL: u8 = 128;

/// Signals that come so close together are one.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Listens from now on. Called by commands that have something to clean up; the others just end.
pub(crate) fn listen() -> anyhow::Result<()> {
    static ONCE: Once = Once::new();
    let mut done = Ok(());
    // A second time, the first signal would find two listeners, and the later one take it for the second signal.
    ONCE.call_once(|| done = listen_once());
    done
}

fn listen_once() -> anyhow::Result<()> {
    let first = SIGNAL.get_or_init(Arc::default);
    let impatient: Arc<AtomicBool> = Arc::default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // By nohup, or by a shell for what runs in the background.
    let heard: Vec<i32> =
        [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(&status, *signal)).collect();
    for signal in &heard {
        flag::register_conditional_shutdown(*signal, i32::from(BY_SIGNAL) + signal, Arc::clone(&impatient))?;
        flag::register_usize(*signal, Arc::clone(first), usize::try_from(*signal)?)?;
        flag::register(*signal, TOKEN.flag())?;
    }
    // Where the caller has had SIGCHLD ignored, the status of children is lost (sigaction(2), NOTES).
    flag::register(SIGCHLD, Arc::default())?;
    // timeout(1) sends its signal to a program and then to the program's group: only what comes later is impatience.
    let mut signals = Signals::new(&heard)?;
    let wait = move || {
        if signals.forever().next().is_some() {
            std::thread::sleep(AT_ONCE);
            impatient.store(true, Ordering::Relaxed);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}

/// As [`listen`], for a command in which somebody edits: Ctrl-C is the editor's, which is in the foreground too.
///
/// # Errors
/// Whatever the system says.
pub(crate) fn leave_to_editor() -> std::io::Result<()> {
    for signal in [SIGINT, SIGQUIT] {
        // Heard by nobody: that it does not end the program is enough.
        flag::register(signal, Arc::default())?;
    }
    for signal in [SIGTERM, SIGHUP] {
        flag::register(signal, TOKEN.flag())?;
    }
    Ok(())
}

/// Whether the text of `/proc/PID/status` says that `signal` is ignored (proc_pid_status(5): SigIgn, a mask in hexadecimal).
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask.checked_shr((signal - 1).cast_unsigned()).unwrap_or(0) & 1 == 1
}

/// Has a write beyond the limit on file sizes fail as any other; else a signal would end the program without a word.
///
/// # Errors
/// Whatever the system says.
pub(crate) fn survive_file_size_limit() -> std::io::Result<()> {
    // Listened to by nobody: that it does not end the program is enough. Programs that are started get it as it was.
    flag::register(SIGXFSZ, Arc::default()).map(drop)
}

/// The token of all work of this program.
pub(crate) fn token() -> &'static CancellationToken {
    &TOKEN
}

/// Whether the work was asked to stop.
pub(crate) fn requested() -> bool {
    TOKEN.is_cancelled()
}

/// Fails if the work was asked to stop.
pub(crate) fn check() -> image_core::Result<()> {
    if requested() { Err(image_core::Error::cancelled()) } else { Ok(()) }
}

/// The exit code of work that was asked to stop: 128 and the number of the signal, as shells count; that of Ctrl-C where
/// it was asked otherwise.
pub(crate) fn exit_code() -> u8 {
    let signal = SIGNAL.get().map_or(0, |signal| signal.load(Ordering::Relaxed));
    let signal = u8::try_from(signal).ok().filter(|signal| *signal != 0);
    BY_SIGNAL + signal.unwrap_or(SIGINT as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        assert!(is_ignored(status, SIGHUP) && !is_ignored(status, SIGINT) && !is_ignored(status, SIGTERM));
        assert!(!is_ignored("", SIGHUP) && !is_ignored("SigIgn:\tx", SIGHUP));
        assert_eq!(exit_code(), 130);
    }
}
