//! All of the network for a namespace, without a right on this machine's: slirp4netns(1), a TCP/IP stack in a process.
//!
//! Not pasta(1): it gives the namespace this machine's own addresses and names, so that a build could tell where it
//! took place, and Debian 12's is from before its first year. Here every namespace has the same addresses.
//!
//! What it connects to for the namespace, it connects to from this machine: without more, a step would reach what
//! listens on this machine's own addresses, and what a cloud tells its machines alone. Routes to nowhere prevent it,
//! which a step cannot take away without rights over its network.

use std::io::Read;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::netlink;
use std::ffi::OsStr;

/// Where names are resolved, in the namespace.
pub(super) const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// RFC 3927: one link's own addresses.
const LINK_LOCAL: (Ipv4Addr, u8) = (Ipv4Addr::new(169, 254, 0, 0), 16);
const PROGRAM: &str = "slirp4netns";
const OPTIONS: [&str; 11] = [
    "--configure",
    "--mtu=65520",
    // The machine's own loopback would be at 10.0.2.2.
    "--disable-host-loopback",
    "--enable-sandbox",
    "--enable-seccomp",
    // The same one for every build.
    "--macaddress=52:55:0a:00:02:64",
    "--netns-type=path",
    // It ends with its standard input, however this process ends, and says "1" when all is there.
    "--exit-fd=0",
    "--ready-fd=1",
    "NAMESPACE",
    "tap0",
];
/// How long it may take to begin.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most that is kept of what it says.
const MOST_WORDS: u64 = 4 << 10;

/// slirp4netns at work; dropped: ended.
#[derive(Debug)]
pub(super) struct Slirp {
    child: Child,
    /// Its end is the program's.
    lifeline: Option<ChildStdin>,
}

/// Why there is none, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unavailable {
    pub(super) why: String,
    pub(super) hint: String,
}

impl Slirp {
    /// Connects `namespace`, by the program in a folder of `path`. The answer comes when it is connected.
    ///
    /// # Errors
    /// If it is not installed, or this user cannot make network interfaces.
    pub(super) fn start(namespace: BorrowedFd<'_>, path: &OsStr) -> Result<Self, Unavailable> {
        // Our own number as /proc here counts, which may be another namespace's.
        let own = std::fs::read_link("/proc/self").unwrap_or_default();
        let handle = format!("/proc/{}/fd/{}", own.display(), namespace.as_raw_fd());
        let mut command = Command::new(PROGRAM);
        command.args(OPTIONS.map(|option| if option == "NAMESPACE" { handle.as_str() } else { option }));
        command.env_clear().env("PATH", path).current_dir("/");
        // Ctrl-C is for the build, which ends this one when it needs it no more.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| refused(&format!("{PROGRAM}: {error}")))?;
        let lifeline = child.stdin.take();
        let mut slirp = Self { child, lifeline };
        match slirp.is_ready() {
            true => shut_off(namespace).map(|()| slirp),
            false => Err(refused(&slirp.last_words())),
        }
    }

    #[cfg(test)]
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the "1" that it writes, behind lines of text.
    fn is_ready(&mut self) -> bool {
        let Some(mut said) = self.child.stdout.take() else { return false };
        let started = Instant::now();
        let mut line = Vec::new();
        let mut buffer = [0; 512];
        while wait_for(said.as_fd(), PATIENCE.saturating_sub(started.elapsed()))
            && let Ok(length @ 1..) = said.read(&mut buffer)
        {
            for byte in buffer.iter().take(length) {
                match byte {
                    b'\n' => line.clear(),
                    byte => line.push(*byte),
                }
            }
            if line == b"1" {
                return true;
            }
            line.truncate(buffer.len());
        }
        false
    }

    /// Ends it, and answers with what it said of its trouble.
    fn last_words(&mut self) -> String {
        self.end();
        let mut words = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = stderr.take(MOST_WORDS).read_to_end(&mut words);
        }
        String::from_utf8_lossy(&words).trim().to_owned()
    }

    fn end(&mut self) {
        self.lifeline = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Slirp {
    fn drop(&mut self) {
        self.end();
    }
}

/// Makes this machine unreachable from `namespace`, whichever of its addresses is tried.
fn shut_off(namespace: BorrowedFd<'_>) -> Result<(), Unavailable> {
    let list = std::fs::read_to_string("/proc/thread-self/net/fib_trie").unwrap_or_default();
    let mut targets = vec![LINK_LOCAL];
    targets.extend(local_addresses(&list).map(|address| (address, 32)));
    let work = || {
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
        targets.iter().try_for_each(|(address, bits)| netlink::shut_off(*address, *bits))
    };
    // A thread of its own: this one stays in this machine's namespace.
    let done = thread::scope(|scope| scope.spawn(work).join());
    match done {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(refused(&format!("shutting off this machine: {error}"))),
        Err(_) => Err(refused("shutting off this machine")),
    }
}

/// The addresses that the kernel takes for this machine's, in the text of /proc/net/fib_trie: each below a line with
/// the address itself. Without loopback, and those that are the namespace's own.
fn local_addresses(text: &str) -> impl Iterator<Item = Ipv4Addr> {
    let pairs = text.lines().zip(text.lines().skip(1));
    let local = pairs.filter(|(_, kind)| kind.trim() == "/32 host LOCAL");
    let addresses = local.filter_map(|(line, _)| line.trim().strip_prefix("|-- ")?.parse::<Ipv4Addr>().ok());
    addresses.filter(|address| !address.is_loopback() && !address.octets().starts_with(&[10, 0, 2]))
}

/// Whether there is something to read within `patience`.
fn wait_for(what: BorrowedFd<'_>, patience: Duration) -> bool {
    let started = Instant::now();
    loop {
        let left = patience.saturating_sub(started.elapsed());
        let Ok(left) = Timespec::try_from(left) else { return false };
        let mut watched = [PollFd::new(&what, PollFlags::IN)];
        match poll(&mut watched, Some(&left)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// What `said` means for the user.
fn refused(said: &str) -> Unavailable {
    let missing = said.starts_with(PROGRAM) && said.contains("No such file");
    let (why, hint) = if missing {
        (format!("{PROGRAM} is not installed"), format!("sudo apt-get install {PROGRAM}"))
    } else if said.contains("/dev/net/tun") && said.contains("No such file") {
        ("this machine has no /dev/net/tun".to_owned(), "sudo modprobe tun".to_owned())
    } else if said.contains("/dev/net/tun") {
        ("this user may not use /dev/net/tun".to_owned(), "sudo chmod 0666 /dev/net/tun".to_owned())
    } else {
        let last = said.lines().last().unwrap_or("it says nothing");
        let last: String = last.chars().filter(|c| !c.is_control()).take(200).collect();
        (format!("{PROGRAM} does not work here ({last})"), "build as root".to_owned())
    };
    Unavailable { why, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_list_says_what_this_machine_is() {
        let text = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 127.0.0.0/8 2 0 2\n\
                    \x20          |-- 127.0.0.1\n              /32 host LOCAL\n        |-- 192.0.2.7\n           /32 host LOCAL\n\
                    \x20       |-- 192.0.2.255\n           /32 link BROADCAST\n     |-- 10.0.2.15\n        /32 host LOCAL\nLocal:\n";
        assert_eq!(local_addresses(text).collect::<Vec<_>>(), [Ipv4Addr::new(192, 0, 2, 7)]);
        assert_eq!(local_addresses("").count(), 0);
    }

    #[test]
    fn the_trouble_is_named_with_its_remedy() {
        let hint = |said: &str| refused(said).hint;
        assert_eq!(
            hint("slirp4netns: No such file or directory (os error 2)"),
            "sudo apt-get install slirp4netns"
        );
        assert_eq!(
            hint("open(\"/dev/net/tun\"): Permission denied\nchild failed(1)\n"),
            "sudo chmod 0666 /dev/net/tun"
        );
        assert_eq!(
            hint("open(\"/dev/net/tun\"): No such file or directory\nchild failed(1)"),
            "sudo modprobe tun"
        );
        assert!(
            refused("a\nsetns: \u{1b}Operation not permitted")
                .why
                .ends_with("(setns: Operation not permitted)")
        );
        assert!(refused("").why.contains("it says nothing"));
    }
}
