//! The full log of a build: what every command was and said. Commands run here, so that none escapes it.
//!
//! ```text
//! Log::run(command) ─► a child writing into the log file ─► ended, or stopped on request
//!                                                      └─► failed: an error with its last words
//! ```
//!
//! Children write into the file itself, not into a pipe: a daemon that a script left behind holds up nobody.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::interrupt;

/// How many of a failed command's last lines its error shows.
const LAST_WORDS: usize = 12;
/// How much of a failed command's output is looked at for them, in bytes.
const LAST_WORDS_LEN: u64 = 16 << 10;
/// How often a running command is interrupted by the question whether to stop.
const PATIENCE: Duration = Duration::from_millis(100);

/// A log file. Clones write into the same one.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    path: PathBuf,
    file: Arc<File>,
}

impl Log {
    /// Begins a new log at `path`.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let doing = || format!("making the log file {}", path.display());
        File::create(path).with_context(doing)?;
        Self::resume(path)
    }

    /// Goes on with the log at `path`.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn resume(path: &Path) -> anyhow::Result<Self> {
        // Appending: children and this process write through descriptors of their own.
        let file = File::options()
            .read(true)
            .append(true)
            .open(path)
            .with_context(|| format!("opening the log file {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file: Arc::new(file) })
    }

    /// Where the log is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a line of our own.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn note(&self, text: &str) -> anyhow::Result<()> {
        (&*self.file)
            .write_all(format!("# {text}\n").as_bytes())
            .with_context(|| format!("writing the log file {}", self.path.display()))
    }

    /// Runs `command` with its output in the log and nothing to read.
    ///
    /// # Errors
    /// If it cannot be started, fails (with its last words), or the work is to stop.
    pub(crate) fn run(&self, command: &mut Command) -> anyhow::Result<()> {
        let (mut child, start) = self.start(command, None)?;
        let status = wait(&mut child)?;
        self.judge(command, status, start)
    }

    /// Runs `command` and answers with what it writes to standard output; the rest goes into the log.
    ///
    /// # Errors
    /// As [`Log::run`].
    pub(crate) fn output(&self, command: &mut Command) -> anyhow::Result<Vec<u8>> {
        let (mut child, start) = self.start(command, Some(Stdio::piped()))?;
        let mut output = Vec::new();
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_end(&mut output).with_context(|| format!("reading what {} says", name(command)))?;
        }
        let status = wait(&mut child)?;
        self.judge(command, status, start)?;
        Ok(output)
    }

    fn start(&self, command: &mut Command, stdout: Option<Stdio>) -> anyhow::Result<(Child, u64)> {
        interrupt::check()?;
        self.note(&shown(command))?;
        let start = (&*self.file).seek(SeekFrom::End(0))?;
        command.stdin(Stdio::null()).stderr(self.file.try_clone()?);
        command.stdout(match stdout {
            Some(stdout) => stdout,
            None => self.file.try_clone()?.into(),
        });
        let child = command.spawn().with_context(|| format!("starting {}", name(command)))?;
        Ok((child, start))
    }

    fn judge(&self, command: &Command, status: ExitStatus, start: u64) -> anyhow::Result<()> {
        if status.success() {
            return Ok(());
        }
        // Ctrl-C reaches the command as well: it did not fail by itself.
        interrupt::check()?;
        Err(Failed { program: name(command), status, last_words: self.last_words(start)? }.into())
    }

    /// The last lines written since `start`.
    fn last_words(&self, start: u64) -> anyhow::Result<Vec<String>> {
        let mut file = File::open(&self.path)?;
        let end = file.seek(SeekFrom::End(0))?;
        let from = start.max(end.saturating_sub(LAST_WORDS_LEN));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(LAST_WORDS_LEN).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<String> = text.lines().map(plain).filter(|line| !line.trim().is_empty()).collect();
        Ok(lines[lines.len().saturating_sub(LAST_WORDS)..].to_vec())
    }
}

/// A command that failed.
#[derive(Debug)]
struct Failed {
    program: String,
    status: ExitStatus,
    last_words: Vec<String>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed ({})", self.program, self.status)?;
        for line in &self.last_words {
            write!(f, "\n  | {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failed {}

/// Waits for the end of `child`, or ends it when the work is to stop.
fn wait(child: &mut Child) -> anyhow::Result<ExitStatus> {
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("watching a command")?;
    let patience = Timespec::try_from(PATIENCE).context("watching a command")?;
    loop {
        let mut watched = [PollFd::new(&ended, PollFlags::IN)];
        match poll(&mut watched, Some(&patience)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(child.wait()?),
            Err(error) => return Err(error).context("watching a command"),
        }
        if let Err(stop) = interrupt::check() {
            // Its own children end with the namespace.
            child.kill()?;
            child.wait()?;
            return Err(stop.into());
        }
    }
}

/// A line without what would move a terminal's cursor or colour it.
fn plain(line: &str) -> String {
    line.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}

/// The program's name as people know it: of a command in a chroot, the one inside.
fn name(command: &Command) -> String {
    let mut words = std::iter::once(command.get_program()).chain(command.get_args());
    let first = words.next().map(file_name).unwrap_or_default();
    match first.as_str() {
        "chroot" => words.nth(1).map(file_name).unwrap_or(first),
        _ => first,
    }
}

fn file_name(word: &std::ffi::OsStr) -> String {
    Path::new(word).file_name().unwrap_or(word).to_string_lossy().into_owned()
}

/// The command line, for people. Its environment is not shown: it may hold secrets.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
    format!("$ {}", words.join(" "))
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (tempfile::TempDir, Log) {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::create(&dir.path().join("build.log")).unwrap();
        (dir, log)
    }

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_log_has_commands_and_all_they_say() {
        let (_dir, log) = log();
        log.run(&mut sh("echo to out; echo to err >&2")).unwrap();
        let output = log.output(&mut sh("echo answer; echo aside >&2")).unwrap();
        assert_eq!(output, b"answer\n");
        let text = std::fs::read_to_string(log.path()).unwrap();
        assert!(
            text.starts_with("# $ /bin/sh -c 'echo to out; echo to err >&2'\nto out\nto err\n"),
            "{text}"
        );
        assert!(text.ends_with("\naside\n") && !text.contains("\nanswer"), "{text}");
    }

    #[test]
    fn a_failure_has_its_own_last_words_only() {
        let (_dir, log) = log();
        log.run(&mut sh("echo earlier")).unwrap();
        let error = log.run(&mut sh("seq 1 40; printf '\\033[31mred\\033[0m\\n'; exit 3")).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("sh failed (exit status: 3)\n  | 30\n"), "{text}");
        assert!(text.ends_with("\n  | 40\n  | [31mred[0m"), "{text}");
        let text = log.run(&mut sh("kill -9 $$")).unwrap_err().to_string();
        assert_eq!(text, "sh failed (signal: 9 (SIGKILL))");
    }

    #[test]
    fn a_daemon_left_behind_holds_up_nobody() {
        let (_dir, log) = log();
        log.run(&mut sh("sleep 600 & echo $!")).unwrap();
        let text = std::fs::read_to_string(log.path()).unwrap();
        let pid: i32 = text.lines().last().unwrap().parse().unwrap();
        // That it still runs says that nobody waited for it.
        assert_ne!(std::fs::read(format!("/proc/{pid}/cmdline")).unwrap(), b"");
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    }

    #[test]
    fn a_command_in_a_chroot_is_called_by_its_own_name() {
        let mut command = Command::new("/usr/sbin/chroot");
        command.args(["/some/tree", "/usr/bin/apt-get", "install", "it's"]);
        assert_eq!(name(&command), "apt-get");
        assert_eq!(shown(&command), r"$ /usr/sbin/chroot /some/tree /usr/bin/apt-get install 'it'\''s'");
    }
}
