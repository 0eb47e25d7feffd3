//! The full log of a build: what every command was and said. Commands run here, so that none escapes it.
//!
//! ```text
//! Log::run(program) ─► a child ── pipe ──► the log file
//!                       └─► ended, or stopped on request, or out of time
//!                           └─► failed: an error with its last words
//! ```
//!
//! A child has a pipe, never the file: what it could open again through `/proc/self/fd` it could also read and cut. A
//! daemon that a script left behind holds up nobody: the end of the child counts, not that of the pipe.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, PipeReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::secrets::redact::{Redactor, Stream};
use super::shell;
use crate::error::Context;
use crate::monitor::CancellationToken;

/// How many of a failed command's last lines its error shows.
const LAST_WORDS: usize = 12;
/// How much of a failed command's output is looked at for them, in bytes.
const LAST_WORDS_LEN: u64 = 16 << 10;
/// How often it is asked whether a running command is to be stopped.
const PATIENCE: Duration = Duration::from_millis(100);

const WRITING: &str = "writing the log file";

/// A log file. Clones write into the same one.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    path: PathBuf,
    file: Arc<File>,
    hidden: Redactor,
    cancel: CancellationToken,
}

impl Log {
    /// Begins a new log at `path`.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub(crate) fn create(path: &Path) -> crate::Result<Self> {
        let doing = || format!("making the log file {}", path.display());
        // What commands say may be nobody else's business.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(doing),
            _ => {}
        }
        File::options().write(true).create_new(true).mode(0o600).open(path).with_context(doing)?;
        Self::resume(path)
    }

    /// Goes on with the log at `path`.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn resume(path: &Path) -> crate::Result<Self> {
        // Appending: children and this process write through descriptors of their own.
        let file = File::options()
            .read(true)
            .append(true)
            .open(path)
            .with_context(|| format!("opening the log file {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file: Arc::new(file),
            hidden: Redactor::default(),
            cancel: CancellationToken::new(),
        })
    }

    /// The same log, in which nobody sees what is `hidden`.
    pub(crate) fn hiding(self, hidden: Redactor) -> Self {
        Self { hidden, ..self }
    }

    /// The same log, whose commands are stopped when `cancel` is cancelled.
    pub(crate) fn until(self, cancel: &CancellationToken) -> Self {
        Self { cancel: cancel.clone(), ..self }
    }

    /// Fails if the work was asked to stop.
    ///
    /// # Errors
    /// Of the kind [`Cancelled`](crate::ErrorKind::Cancelled).
    pub(crate) fn check(&self) -> crate::Result<()> {
        self.cancel.check()
    }

    /// Where the log is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a line of our own.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn note(&self, text: &str) -> crate::Result<()> {
        (&*self.file)
            .write_all(&self.hidden.in_text(format!("# {text}\n").as_bytes()))
            .with_context(|| format!("writing the log file {}", self.path.display()))
    }

    /// Runs `program` with its output in the log and nothing to read.
    ///
    /// # Errors
    /// If it cannot be started, fails (with its last words), or the work is to stop.
    pub(crate) fn run(&self, program: &mut impl Program) -> crate::Result<()> {
        self.run_for(program, None)
    }

    /// As [`Log::run`], but kills the program, with all that it started in its sandbox, after `limit`.
    ///
    /// # Errors
    /// As [`Log::run`], and if it took longer.
    pub(crate) fn run_for(&self, program: &mut impl Program, limit: Option<Duration>) -> crate::Result<()> {
        let start = self.begin(program)?;
        let (said, writer) = pipe()?;
        let running = program.spawn(writer.try_clone()?.into(), writer.into())?;
        let status = self.follow(running, said, None, limit)?;
        self.judge(program, status, start)
    }

    /// Runs `program` and answers with what it writes to standard output; the rest goes into the log.
    ///
    /// # Errors
    /// As [`Log::run`].
    pub(crate) fn output(&self, program: &mut impl Program) -> crate::Result<Vec<u8>> {
        let start = self.begin(program)?;
        let (said, writer) = pipe()?;
        let (answer, answers) = pipe()?;
        let running = program.spawn(answers.into(), writer.into())?;
        let mut output = Vec::new();
        let status = self.follow(running, said, Some((answer, &mut output)), None)?;
        self.judge(program, status, start)?;
        Ok(output)
    }

    /// Notes what is run, and answers with where its words will begin.
    fn begin(&self, program: &impl Program) -> crate::Result<u64> {
        self.check()?;
        self.note(&shown(program))?;
        Ok((&*self.file).seek(SeekFrom::End(0))?)
    }

    /// Waits for the end of `running`, and writes what it says; kills it when the work is to stop, or `limit` is over.
    fn follow(
        &self,
        running: Running,
        said: PipeReader,
        answer: Option<(PipeReader, &mut Vec<u8>)>,
        limit: Option<Duration>,
    ) -> crate::Result<ExitStatus> {
        let mut shown = self.hidden.stream();
        let status = self.watch(running, said, answer, limit, &mut shown);
        (&*self.file).write_all(&shown.end()).context(WRITING)?;
        status
    }

    fn watch(
        &self,
        running: Running,
        said: PipeReader,
        mut answer: Option<(PipeReader, &mut Vec<u8>)>,
        limit: Option<Duration>,
        shown: &mut Stream<'_>,
    ) -> crate::Result<ExitStatus> {
        let Running { mut child, verdict } = running;
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).context("watching a command")?;
        let patience = Timespec::try_from(PATIENCE).context("watching a command")?;
        let mut said = Some(said);
        loop {
            let mut watched = vec![PollFd::new(&ended, PollFlags::IN)];
            let pipes = said.iter().chain(answer.iter().map(|(pipe, _)| pipe));
            watched.extend(pipes.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            match poll(&mut watched, Some(&patience)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("watching a command"),
            }
            // Looked at before the pipes are emptied: what was written before the end is in them by now.
            let over = !watched[0].revents().is_empty();
            drop(watched);
            let write = |bytes: &[u8]| (&*self.file).write_all(&shown.take(bytes)).context(WRITING);
            // A pipe that nobody writes to any more would always be ready.
            said = said.map(|pipe| drain(pipe, write)).transpose()?.flatten();
            if let Some((pipe, output)) = answer.take() {
                let pipe = drain(pipe, |bytes| {
                    output.extend_from_slice(bytes);
                    Ok(())
                })?;
                answer = pipe.map(|pipe| (pipe, output));
            }
            if over {
                let status = child.wait()?;
                return verdict.map_or(Ok(status), |verdict| verdict(status));
            }
            if let Err(stop) = self.check() {
                end(&mut child)?;
                return Err(stop);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                end(&mut child)?;
                return Err(crate::Error::failed(OutOfTime { seconds: limit.unwrap_or_default().as_secs() }));
            }
        }
    }

    fn judge(&self, program: &impl Program, status: ExitStatus, start: u64) -> crate::Result<()> {
        if status.success() {
            return Ok(());
        }
        // Ctrl-C reaches the command as well: it did not fail by itself.
        self.check()?;
        Err(crate::Error::failed(Failed {
            program: program.name(),
            status,
            last_words: self.last_words(start)?,
        }))
    }

    /// The last lines written since `start`.
    fn last_words(&self, start: u64) -> crate::Result<Vec<String>> {
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

/// A command that took longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("stopped after its time limit of {seconds} s")]
pub(crate) struct OutOfTime {
    seconds: u64,
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

/// What can be run with its output in a [`Log`].
pub(crate) trait Program {
    /// Its name as people know it.
    fn name(&self) -> String;
    /// The program and its arguments, for people. Its environment is not shown: it may hold secrets.
    fn words(&self) -> Vec<OsString>;
    /// Starts it, with nothing to read.
    ///
    /// # Errors
    /// If that fails.
    fn spawn(&mut self, stdout: Stdio, stderr: Stdio) -> crate::Result<Running>;
}

/// What was started.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// What became of the program, where the child's own status does not tell.
    pub(crate) verdict: Option<Box<dyn FnOnce(ExitStatus) -> crate::Result<ExitStatus>>>,
}

/// A program of this machine.
impl Program for Command {
    fn name(&self) -> String {
        let program = Path::new(self.get_program());
        program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
    }

    fn words(&self) -> Vec<OsString> {
        std::iter::once(self.get_program()).chain(self.get_args()).map(OsString::from).collect()
    }

    fn spawn(&mut self, stdout: Stdio, stderr: Stdio) -> crate::Result<Running> {
        self.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let child = Command::spawn(self).with_context(|| format!("starting {}", Program::name(self)))?;
        // Its ends of the pipes are the child's alone.
        self.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Running { child, verdict: None })
    }
}

/// A pipe that is read without waiting.
fn pipe() -> crate::Result<(PipeReader, std::io::PipeWriter)> {
    let (reader, writer) = std::io::pipe().context("making a pipe")?;
    let flags = fcntl_getfl(&reader).context("making a pipe")?;
    fcntl_setfl(&reader, flags | OFlags::NONBLOCK).context("making a pipe")?;
    Ok((reader, writer))
}

/// Takes what is in `pipe` now, and answers with it unless nothing will come any more.
fn drain(
    mut pipe: PipeReader,
    mut take: impl FnMut(&[u8]) -> crate::Result<()>,
) -> crate::Result<Option<PipeReader>> {
    let mut buffer = [0; 16 << 10];
    // A program that never stops talking must not keep this from looking at the clock.
    for _ in 0..64 {
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(count) => take(&buffer[..count])?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("reading what a command says"),
        }
    }
    Ok(Some(pipe))
}

/// Kills `child`; what it started ends with its sandbox.
fn end(child: &mut Child) -> crate::Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// A line without what would move a terminal's cursor or colour it.
fn plain(line: &str) -> String {
    line.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}

/// The command line, for people.
fn shown(program: &impl Program) -> String {
    let words: Vec<String> =
        program.words().iter().map(|word| shell::typed(&word.to_string_lossy())).collect();
    format!("$ {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::secrets::Secrets;

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
        // That it still runs says that nobody waited for it. Its command line would be empty while it becomes sleep(1), too.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let state = stat.rsplit_once(") ").unwrap().1.chars().next().unwrap();
        assert!(!"ZX".contains(state), "{stat}");
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    }

    #[test]
    fn command_lines_are_shown_as_they_could_be_typed() {
        let mut command = Command::new("/usr/bin/apt-get");
        command.args(["install", "it's"]);
        assert_eq!(command.name(), "apt-get");
        assert_eq!(shown(&command), r"$ /usr/bin/apt-get install 'it'\''s'");
    }

    #[test]
    fn much_output_on_both_ways_stops_nothing() {
        let (_dir, log) = log();
        let script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; \
                      echo $i bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb >&2; done";
        let output = log.output(&mut sh(script)).unwrap();
        assert!(output.len() > 100_000 && output.ends_with(b"a\n"));
        let text = std::fs::read_to_string(log.path()).unwrap();
        assert_eq!(text.lines().filter(|line| line.ends_with('b')).count(), 3000);
        assert!(!text.lines().skip(2).any(|line| line.ends_with('a')));
    }

    #[test]
    fn secrets_are_hidden_in_commands_in_what_they_say_and_in_their_last_words() {
        let (dir, log) = log();
        let file = dir.path().join("token");
        std::fs::write(&file, "token-0123\n").unwrap();
        let asked = format!("token={}", file.display()).parse().unwrap();
        let log = log.hiding(
            Redactor::new(&Secrets::read(&[asked], &crate::variables::Variables::of_tests()).unwrap())
                .unwrap(),
        );
        log.note("with token-0123").unwrap();
        let script = "printf token-; sleep 0.2; printf '0123 '; echo token-0123 >&2; printf token-01; exit 3";
        let error = log.run(&mut sh(script)).unwrap_err().to_string();
        let answer = log.output(&mut sh("echo token-0123")).unwrap();
        let text = std::fs::read_to_string(log.path()).unwrap();
        assert!(!text.contains("token-0123") && !error.contains("token-0123"), "{text}{error}");
        assert!(text.contains("\n*** ***\ntoken-01"), "{text}");
        assert!(error.contains("*** ***") && error.ends_with("token-01"), "{error}");
        assert_eq!(answer, b"token-0123\n", "who asked gets it");
    }

    #[test]
    fn what_takes_too_long_is_killed() {
        let (_dir, log) = log();
        let limit = Some(Duration::from_millis(1));
        let error = log.run_for(&mut sh("exec sleep 600"), limit).unwrap_err();
        assert_eq!(error.to_string(), "stopped after its time limit of 0 s");
        log.run_for(&mut sh("true"), Some(Duration::from_secs(600))).unwrap();
    }

    #[test]
    fn the_log_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("build.log");
        std::fs::write(&path, "older, and open to all").unwrap();
        let log = Log::create(&path).unwrap();
        assert_eq!(log.path().metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }
}
