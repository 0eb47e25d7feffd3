//! What a build does not take over from its caller: the same recipe gives the same bytes whoever starts it.
//!
//! ```text
//! caller ─► outer ── a list of variables, signals ──► inner ─► settle(): umask, limits, nice level, open files
//!           as it was started                                  so have all programs of this machine that it starts
//! ```
//!
//! The programs of the tree have an environment of their own (`tree.rs`).

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit, umask};

use crate::error::Context;
use crate::variables::Variables;

/// What a new file of the image can be read by, unless told otherwise.
const UMASK: Mode = Mode::from_raw_mode(0o022);
/// Open files: what a program may open, and what it may raise that to (systemd's defaults).
const FILES: (u64, u64) = (1024, 512 * 1024);
const STACK: u64 = 8 << 20;
/// What starts inner: signals that the caller has had ignored would be ignored by every program, and `setarch i386` would
/// be in force (execve(2), personality(2)).
pub(super) const CLEAN: [&str; 4] = ["env", "--default-signal", "setarch", "linux64"];
/// Variables of the caller's that inner needs: where its folders are, how to talk, what fetching needs.
const KEPT: [&str; 14] = [
    "APT_CONFIG",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLORTERM",
    "COLUMNS",
    "HOME",
    "LOGNAME",
    "NO_COLOR",
    "RUST_BACKTRACE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TERM",
    "USER",
    "XDG_CACHE_HOME",
];

/// The environment of inner, from the `caller`'s.
pub(super) fn kept(caller: &Variables) -> Variables {
    let fixed = [("LANG", "C.UTF-8".into()), ("TZ", "UTC".into()), ("PATH", caller.path())]
        .map(|(name, value)| (name.into(), value));
    let kept = caller.iter().filter(|(name, _)| name.to_str().is_some_and(|name| KEPT.contains(&name)));
    let own = kept.chain(caller.proxies()).map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.chain(fixed).collect()
}

/// What the caller had, for files that are his and not the image's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    umask: Mode,
}

impl Caller {
    /// Does `work` with the caller's umask: it makes files for him.
    pub(super) fn files<T>(self, work: impl FnOnce() -> T) -> T {
        let before = umask(self.umask);
        let result = work();
        umask(before);
        result
    }
}

/// Gives this process, inner, the state that every build begins with. Called before it has opened anything.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn settle() -> crate::Result<Caller> {
    close_inherited()?;
    limit(Resource::Core, Some(0), Some(0))?;
    limit(Resource::Nofile, Some(FILES.0), Some(FILES.1))?;
    limit(Resource::Stack, Some(STACK), None)?;
    // Only root may hurry up again.
    let _ = setpriority_process(None, 0);
    Ok(Caller { umask: umask(UMASK) })
}

/// Sets a limit, as far as the caller's own lets it.
fn limit(resource: Resource, soft: Option<u64>, hard: Option<u64>) -> crate::Result<()> {
    let most = getrlimit(resource).maximum;
    let within = |wanted: Option<u64>, most: Option<u64>| match (wanted, most) {
        (Some(wanted), Some(most)) => Some(wanted.min(most)),
        (wanted, most) => wanted.or(most),
    };
    // More than the caller's is for root alone.
    let maximum = match setrlimit(resource, Rlimit { current: within(soft, hard), maximum: hard }) {
        Ok(()) => return Ok(()),
        Err(_) => within(hard, most),
    };
    setrlimit(resource, Rlimit { current: within(soft, maximum), maximum })
        .with_context(|| format!("setting the limit {resource:?}"))
}

/// Closes what the caller left open, but for the three standard files: a step could read it.
fn close_inherited() -> crate::Result<()> {
    let doing = "closing what the caller left open";
    let number = |entry: std::io::Result<std::fs::DirEntry>| {
        Ok(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()))
    };
    // To its end first: the folder is open, too, while it is read.
    let numbers: std::io::Result<Vec<Option<i32>>> =
        std::fs::read_dir("/proc/self/fd").context(doing)?.map(number).collect();
    for number in numbers.context(doing)?.into_iter().flatten().filter(|number| *number > 2) {
        // That of the folder is closed already.
        let _ = nix::unistd::close(number);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_change_bytes_is_left_behind() {
        let caller = [
            ("HOME", "/home/ann"),
            ("TMPDIR", "/home/ann/tmp"),
            ("GREP_OPTIONS", "-v"),
            ("TAR_OPTIONS", "-z"),
            ("MKE2FS_CONFIG", "/home/ann/mke2fs.conf"),
            ("LD_PRELOAD", "libfaketime.so"),
            ("LC_ALL", "tr_TR.UTF-8"),
            ("LANG", "tr_TR.UTF-8"),
            ("TZ", "Asia/Tokyo"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("HTTPS_PROXY", "http://proxy"),
            ("no_proxy", "localhost"),
        ];
        let inner = kept(&caller.into_iter().collect());
        let inner: Vec<(&str, &str)> =
            inner.iter().map(|(name, value)| (name.to_str().unwrap(), value.to_str().unwrap())).collect();
        let expected = [
            ("HOME", "/home/ann"),
            ("HTTPS_PROXY", "http://proxy"),
            ("LANG", "C.UTF-8"),
            ("PATH", "/usr/local/sbin:/usr/sbin:/sbin"),
            ("TZ", "UTC"),
            ("no_proxy", "localhost"),
        ];
        assert_eq!(inner, expected);
    }
}
