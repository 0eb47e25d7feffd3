//! Reads the guest's first serial port while it boots, and sees early that a boot will come to nothing.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;

use crate::printable::printable;

/// Lines that are kept for the one who reads about a failure.
const TAIL: usize = 12;
/// Of those behind the one that tells of trouble.
const AFTERMATH: usize = 3;
/// No boot says so much.
const LIMIT: u64 = 32 << 20;
/// Failed units that are remembered.
const UNITS_LIMIT: usize = 32;
/// What counts of a line.
const LINE_LIMIT: usize = 4096;

/// Why a boot will come to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    #[error("the firmware finds nothing to boot on the disk")]
    NotBootable,
    #[error("Secure Boot refuses the boot loader")]
    Refused,
    #[error("the boot loader stops at its prompt")]
    BootLoader,
    #[error("the initrd does not find the root filesystem, and opens a shell")]
    NoRoot,
    #[error("the kernel panics")]
    Panic,
    /// A fault of the emulator on a busy machine, not of the image.
    #[error("the kernel panics because the emulated timer does not tick")]
    Timer,
    #[error("the system stops in emergency mode")]
    Emergency,
    #[error("the first boot asks a question on the console, and waits for an answer")]
    Question,
    #[error("cloud-init finds no data source")]
    NoDataSource,
    #[error("the guest restarts")]
    Restarted,
    #[error("the guest switches itself off")]
    SwitchedOff,
    #[error("QEMU ended")]
    Ended,
    #[error("the guest floods its console")]
    Flood,
    /// As [`Trouble::Timer`].
    #[error("the emulated guest got too little time to run: systemd gave up waiting for its console")]
    Starved,
}

/// What a whole line has that tells of trouble. The first one counts.
const SIGNS: [(&str, Trouble); 16] = [
    ("IO-APIC + timer doesn't work", Trouble::Timer),
    ("Kernel panic - not syncing", Trouble::Panic),
    // SeaBIOS, then OVMF, its shell, and its attempts over the network.
    ("No bootable device.", Trouble::NotBootable),
    ("No bootable option or device was found", Trouble::NotBootable),
    ("UEFI Interactive Shell", Trouble::NotBootable),
    (">>Start PXE over IPv4", Trouble::NotBootable),
    (">>Start HTTP Boot", Trouble::NotBootable),
    (": Access Denied", Trouble::Refused),
    ("Security Violation", Trouble::Refused),
    // initramfs-tools, then dracut and systemd.
    ("Dropping to a shell!", Trouble::NoRoot),
    ("Entering emergency mode", Trouble::Emergency),
    ("You are in emergency mode", Trouble::Emergency),
    ("Cannot open access to console, the root account is locked", Trouble::Emergency),
    ("Give root password for maintenance", Trouble::Emergency),
    ("Datasource DataSourceNone.", Trouble::NoDataSource),
    ("Used fallback datasource", Trouble::NoDataSource),
];

/// What a line begins with that has no end, because someone is asked for an answer.
const PROMPTS: [(&str, Trouble); 9] = [
    ("grub rescue>", Trouble::BootLoader),
    ("grub>", Trouble::BootLoader),
    ("(initramfs)", Trouble::NoRoot),
    ("Shell>", Trouble::NotBootable),
    // systemd-firstboot, which waits for a key at first; cryptsetup; a GRUB that is locked.
    ("-- Press any key to proceed --", Trouble::Question),
    ("‣ Please enter", Trouble::Question),
    ("Please enter passphrase for disk", Trouble::Question),
    ("Please unlock disk", Trouble::Question),
    ("Enter username:", Trouble::Question),
];

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Console {
    read: u64,
    /// The line that has no end yet.
    line: Vec<u8>,
    tail: VecDeque<String>,
    trouble: Option<Trouble>,
    /// The lines since then.
    aftermath: usize,
    /// Whether a guest without data is as it should be.
    may_lack_data: bool,
    /// Units that systemd told of as failed, and not as started since.
    failed_units: Vec<String>,
    /// systemd gave up waiting for the console's own device, which is always there: the guest got no time to run.
    starved: bool,
    /// cloud-init has come to its end.
    pub(super) cloud_init_ended: bool,
    /// The kernel, cloud-init and a login prompt were heard.
    pub(super) kernel: bool,
    pub(super) cloud_init: bool,
    pub(super) login: bool,
}

impl Console {
    /// Of a guest that is given data, or of one that has to do without.
    pub(super) fn new(is_given_data: bool) -> Self {
        Self { may_lack_data: !is_given_data, ..Self::default() }
    }

    /// Whether all that a boot starts has come to its end: one can log in, and cloud-init is done if it runs.
    pub(super) fn has_booted(&self) -> bool {
        self.login && self.cloud_init == self.cloud_init_ended
    }

    /// Reads what is new in the log; whether there was anything.
    pub(super) fn follow(&mut self, path: &Path) -> io::Result<bool> {
        use std::os::unix::fs::FileExt;

        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        let before = self.read;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let len = file.read_at(&mut buffer, self.read)?;
            if len == 0 {
                return Ok(self.read > before);
            }
            self.read += len as u64;
            if self.read > LIMIT {
                self.trouble.get_or_insert(Trouble::Flood);
                return Ok(true);
            }
            self.hear(&buffer[..len]);
        }
    }

    /// The first trouble that was heard.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// Whether the guest got so little time that systemd gave up waiting for the console's own device.
    pub(super) fn is_starved(&self) -> bool {
        self.starved
    }

    /// Units that failed, as systemd calls them on the console: by name, or (before 250) by description.
    pub(super) fn failed_units(&self) -> &[String] {
        &self.failed_units
    }

    /// The last lines, escaped.
    pub(super) fn tail(&self) -> Vec<String> {
        let last = plain(&self.line);
        let lines = self.tail.iter().map(String::as_str).chain([last.trim_end()]);
        lines.filter(|line| !line.trim().is_empty()).map(printable).collect()
    }

    fn hear(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end_of_line(),
                byte if self.line.len() < LINE_LIMIT => self.line.push(*byte),
                _ => {}
            }
        }
        let line = plain(&self.line);
        self.login |= is_login_prompt(&line);
        self.heed(PROMPTS.iter().find(|(prompt, _)| line.trim_start().starts_with(prompt)));
    }

    fn end_of_line(&mut self) {
        let line = plain(&self.line);
        self.line.clear();
        self.kernel |= line.contains("Linux version ") || has_kernel_time(&line);
        let of_cloud_init = line.contains("Cloud-init v.");
        self.cloud_init |= of_cloud_init;
        // Someone else may have gone on behind the prompt.
        self.login |= is_login_prompt(&line);
        self.cloud_init_ended |= of_cloud_init && line.contains(" finished at ");
        self.starved |= line.contains("Timed out waiting for device") && line.contains("dev-ttyS");
        self.note_unit(&line);
        self.heed(SIGNS.iter().find(|(words, _)| line.contains(words)));
        self.aftermath += usize::from(self.trouble.is_some());
        // Traces behind a panic would push out what led to it.
        if !line.trim().is_empty() && self.aftermath <= AFTERMATH {
            self.tail.push_back(line);
        }
        if self.tail.len() > TAIL {
            self.tail.pop_front();
        }
    }

    /// systemd's status messages (its `src/core/job.c`).
    fn note_unit(&mut self, line: &str) {
        let line = line.trim();
        if let Some(failed) = line.strip_prefix("[FAILED] Failed to ").and_then(unit_behind_a_verb) {
            if self.failed_units.len() < UNITS_LIMIT && !self.failed_units.iter().any(|unit| unit == failed) {
                self.failed_units.push(failed.to_owned());
            }
        } else if let Some(well) = line.strip_prefix("[  OK  ] ").and_then(unit_behind_a_verb) {
            self.failed_units.retain(|unit| unit != well);
        }
    }

    /// The first sign is the reason; what comes behind it follows from it.
    fn heed(&mut self, sign: Option<&(&str, Trouble)>) {
        let sign = sign.filter(|(_, trouble)| !(self.may_lack_data && *trouble == Trouble::NoDataSource));
        self.trouble = self.trouble.or(sign.map(|(_, trouble)| *trouble));
    }
}

/// `start ssh.service - OpenBSD Secure Shell server.`, `Started ssh.service - …`, or with a description alone.
fn unit_behind_a_verb(words: &str) -> Option<&str> {
    let (_, unit) = words.split_once(' ')?;
    let name = unit.split_once(" - ").map_or_else(|| unit.trim_end_matches('.'), |(name, _)| name);
    let name = name.strip_prefix("on ").unwrap_or(name);
    (!name.is_empty()).then_some(name)
}

/// agetty(8): the host's name, and what is asked for.
fn is_login_prompt(line: &str) -> bool {
    line.trim_start().split_once(" login:").is_some_and(|(host, _)| !host.is_empty() && !host.contains(' '))
}

/// Whether a line begins with a time as the kernel writes it: `[   12.345678] `.
fn has_kernel_time(line: &str) -> bool {
    let time = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map(|(time, _)| time.trim());
    let halves = time.and_then(|time| time.split_once('.'));
    halves.is_some_and(|(seconds, rest)| {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits(seconds) && digits(rest) && rest.len() == 6
    })
}

/// A line without the sequences that colour text and move a cursor (ECMA-48, 5.4).
fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\x1b' {
            shown.push(c);
        } else if chars.next() == Some('[') {
            // Parameters, then one final byte; systemd may have shortened the line in the middle of it.
            while chars.next_if(|c| (' '..='?').contains(c)).is_some() {}
            let _ = chars.next_if(|c| ('@'..='~').contains(c));
        }
    }
    shown
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::trial) fn heard(text: &str) -> Console {
        let mut console = Console::default();
        // In small pieces, as a serial port delivers them.
        for piece in text.as_bytes().chunks(7) {
            console.hear(piece);
        }
        console
    }

    #[test]
    fn trouble_is_seen_early() {
        let of = |text: &str| heard(text).trouble();
        assert_eq!(
            of("[    1.234567] Kernel panic - not syncing: VFS: Unable to mount\r\n"),
            Some(Trouble::Panic)
        );
        let timer = "[    0.1] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with\n";
        assert_eq!(of(timer), Some(Trouble::Timer));
        assert_eq!(of("\x1b[2J\x1b[0mBooting...\r\nNo bootable device.\r\n"), Some(Trouble::NotBootable));
        assert_eq!(of("error: no such device.\r\n\x1b[0mgrub rescue> "), Some(Trouble::BootLoader));
        assert_eq!(of("\r\n\x1b[1;1Hgrub> "), Some(Trouble::BootLoader));
        assert_eq!(of("ALERT!  UUID=1 does not exist.  Dropping to a shell!\r\n"), Some(Trouble::NoRoot));
        assert_eq!(of("You are in \x1b[1memergency mode. After\r\n"), Some(Trouble::Emergency));
        assert_eq!(of("BdsDxe: failed to load Boot0001 from Pci: Access Denied\r\n"), Some(Trouble::Refused));
        assert_eq!(of("mount failed\r\n(initramfs) "), Some(Trouble::NoRoot));
        assert_eq!(of("Welcome to Debian\r\ntrial login: "), None);
        assert_eq!(of("starting grub> no\r\n"), None);
    }

    #[test]
    fn a_console_speaks_when_kernel_cloud_init_and_login_are_heard() {
        let console =
            heard("[    0.000000] Command line: quiet\r\n[   17.5] cloud-init[3]: Cloud-init v. 22.4.2 \r\n");
        assert!(console.kernel && console.cloud_init && !console.login);
        assert!(heard("Linux version 6.1.0\n").kernel && !heard("[  OK  ] Reached target.\n").kernel);
        assert!(heard("\r\nDebian 12 trial ttyS0\r\n\r\ntrial login: ").login);
        assert!(!heard("systemd-logind: New login: none\npam_unix(login:session)\n login:\n").login);
    }

    #[test]
    fn a_guest_without_data_has_booted_when_everything_is_done() {
        let mut console = Console::new(false);
        let mut hear = |text: &str| {
            console.hear(text.as_bytes());
            (console.has_booted(), console.trouble())
        };
        assert_eq!(hear("Linux version 6.1\nCloud-init v. 22.4.2 running 'init'\n"), (false, None));
        assert_eq!(hear("trial login: [   48.1] cloud-init\nUsed fallback datasource\n"), (false, None));
        let end = "Cloud-init v. 22.4.2 finished at Mon. Datasource DataSourceNone.  Up 48.20 seconds\n";
        assert_eq!(hear(end), (true, None));
        assert!(heard("localhost login: ").has_booted());
        assert_eq!(heard(end).trouble(), Some(Trouble::NoDataSource));
    }

    #[test]
    fn a_question_is_no_end_of_a_boot() {
        let of = |text: &str| heard(text).trouble();
        let welcome = "Welcome to your new installation of Debian!\r\nPlease configure your system!\r\n\r\n";
        assert_eq!(of(&format!("{welcome}-- Press any key to proceed --")), Some(Trouble::Question));
        let unlock = "\x1b[0mPlease enter passphrase for disk QEMU_HARDDISK (root): ";
        assert_eq!(of(unlock), Some(Trouble::Question));
        assert_eq!(of("\u{2023} Please enter system locale name or number: "), Some(Trouble::Question));
        assert_eq!(of("Please enter a comment below\r\nhost login: "), None);
    }

    #[test]
    fn units_that_failed_are_remembered_until_they_are_well() {
        let failed = "[\x1b[0;1;31mFAILED\x1b[0m] Failed to start \x1b[0;1;39mssh.service\x1b[0m - OpenBSD.\r\n\
                      See 'systemctl status ssh.service' for details.\r\n\
                      [FAILED] Failed to start Wait for Network to be Configured.\n\
                      [FAILED] Failed to listen on acpid.socket - ACPID Listen Socket.\n\
                      [DEPEND] Dependency failed for x.target - X.\n";
        let units = ["ssh.service", "Wait for Network to be Configured", "acpid.socket"];
        assert_eq!(heard(failed).failed_units(), units);
        let well = format!(
            "{failed}[  OK  ] Started ssh.service - OpenBSD.\n[  OK  ] Listening on acpid.socket - A.\n"
        );
        assert_eq!(heard(&well).failed_units(), ["Wait for Network to be Configured"]);
        // Cut to the console's width, in the middle of a colour.
        let cut = "[\x1b[0;1;31mFAILED\x1b[0m] Failed to start \x1b[0;1;\u{2026}d-wait-online.service\x1b[0m - Wait.\n";
        assert_eq!(heard(cut).failed_units(), ["\u{2026}d-wait-online.service"]);
        let many: String = (0..99).map(|n| format!("[FAILED] Failed to start {n}.service - N.\n")).collect();
        assert_eq!(heard(&many).failed_units().len(), UNITS_LIMIT);
    }

    #[test]
    fn what_led_to_a_panic_is_not_pushed_out_by_its_trace() {
        let trace: String = (0..40).map(|n| format!("trace {n}\n")).collect();
        let console = heard(&format!("cannot mount root\nKernel panic - not syncing: VFS\n{trace}"));
        let told = ["cannot mount root", "Kernel panic - not syncing: VFS", "trace 0", "trace 1"];
        assert_eq!(console.tail(), told);
    }

    #[test]
    fn the_tail_is_short_and_fit_for_a_terminal() {
        let text: String = (0..40).map(|n| format!("line {n}\r\n\r\n")).collect();
        let console = heard(&(text + "\x1b]0;owned\x07\x1b[31mred"));
        let tail = console.tail();
        assert_eq!(tail.len(), TAIL + 1);
        assert_eq!(tail[0], "line 28");
        assert!(tail[TAIL].ends_with("red") && !tail[TAIL].contains(['\x1b', '\x07']), "{}", tail[TAIL]);
    }
}
