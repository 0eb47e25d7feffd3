//! Running a program and keeping everything it said.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{built, until};

/// Prepares a run of goldimg.
pub(crate) fn goldimg<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Invocation {
    Invocation::new(built::program(), arguments)
}

/// A program about to run: without colours, in English, with nothing on standard input.
#[derive(Debug)]
pub(crate) struct Invocation {
    command: Command,
    words: Vec<OsString>,
    redactions: Vec<(String, String)>,
}

/// What a program said, and how it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit code; 128 + the signal's number after a signal.
    pub(crate) code: i32,
    /// Standard output, as text.
    pub(crate) stdout: String,
    /// Standard error, as text.
    pub(crate) stderr: String,
    words: String,
}

impl Invocation {
    /// Prepares a run of the program at `path`.
    pub(crate) fn new<A: AsRef<OsStr>>(path: &Path, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments: Vec<OsString> = arguments.into_iter().map(|word| word.as_ref().to_owned()).collect();
        let mut command = Command::new(path);
        command.args(&arguments).stdin(Stdio::null());
        command.env("NO_COLOR", "1").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        let mut words = vec![path.file_name().unwrap_or_default().to_owned()];
        words.extend(arguments);
        Self { command, words, redactions: Vec::new() }
    }

    /// Runs it in `folder`, which is called `[folder]` in snapshots.
    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self.redact(&folder.to_string_lossy(), "[folder]")
    }

    /// Starts it under another name than its own.
    pub(crate) fn named(mut self, name: &str) -> Self {
        use std::os::unix::process::CommandExt;
        self.command.arg0(name);
        self
    }

    /// Starts `wrapper`, which starts it: the program and its arguments are the wrapper's last ones.
    pub(crate) fn by_way_of(self, wrapper: &[&str]) -> Self {
        let (first, rest) = wrapper.split_first().expect("a program");
        let mut command = Command::new(first);
        command.args(rest).arg(self.command.get_program());
        self.instead(command)
    }

    /// Starts it where it lies, too: at `path`.
    pub(crate) fn at(self, path: &Path) -> Self {
        self.instead(Command::new(path))
    }

    /// Starts `command` with the arguments, the environment and the folder of this one.
    fn instead(mut self, mut command: Command) -> Self {
        command.args(self.command.get_args()).stdin(Stdio::null());
        for (name, value) in self.command.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        self.command = command;
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Calls `text` by another name in snapshots, where it differs from run to run.
    pub(crate) fn redact(mut self, text: &str, name: &str) -> Self {
        self.redactions.push((text.to_owned(), name.to_owned()));
        self
    }

    /// Starts it, with nothing of what it says kept.
    ///
    /// # Panics
    /// If it cannot be started.
    pub(crate) fn spawn(mut self) -> std::process::Child {
        self.command.stdout(Stdio::null()).stderr(Stdio::null());
        self.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.words))
    }

    /// Starts it as the server of `socket`, which it gets as systemd would hand it over (sd_listen_fds(3)), with nothing
    /// of what it says kept.
    ///
    /// # Panics
    /// If it cannot be started.
    pub(crate) fn serve(self, socket: OwnedFd) -> Child {
        // Only the process itself knows its number before it runs.
        let script = "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\" 3<&0 </dev/null";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        command.stdin(socket).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.words))
    }

    /// Starts it with its standard output into `output`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub(crate) fn spawn_into(mut self, output: OwnedFd) -> Child {
        self.command.stdout(output).stderr(Stdio::null());
        self.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.words))
    }

    /// Starts it, and keeps what it says for the one who waits.
    ///
    /// # Panics
    /// If it cannot be started.
    pub(crate) fn start(mut self) -> Child {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.words))
    }

    /// Where the program lies.
    pub(crate) fn path(&self) -> PathBuf {
        self.command.get_program().into()
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub(crate) fn run(mut self) -> Outcome {
        let output = self.command.output().unwrap_or_else(|error| panic!("{:?}: {error}", self.words));
        self.outcome(&output)
    }

    /// Runs it until `ready` is true, and sends it SIGINT, as Ctrl-C does.
    ///
    /// # Panics
    /// If it cannot be started, or ends before.
    pub(crate) fn run_interrupted(self, ready: impl Fn() -> bool) -> Outcome {
        self.run_signalled("INT", ready)
    }

    /// The same with another signal.
    ///
    /// # Panics
    /// If it cannot be started, or ends before.
    pub(crate) fn run_signalled(mut self, signal: &str, ready: impl Fn() -> bool) -> Outcome {
        let child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{:?}: {error}", self.words));
        until("it is to be interrupted", || {
            assert!(child.try_wait().expect("a child").is_none(), "{:?} ended too early", self.words);
            ready()
        });
        let killed = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(killed.expect("kill runs").success(), "{:?} ended too early", self.words);
        let output = child.wait_with_output().expect("a child");
        self.outcome(&output)
    }

    fn outcome(&self, output: &std::process::Output) -> Outcome {
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.redactions.iter().fold(text, |text, (from, to)| text.replace(from, to))
        };
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        Outcome {
            code: exit_code(output.status),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            words: text(words.join(" ").as_bytes()),
        }
    }
}

fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

impl Outcome {
    /// All of it as one text: the command, standard output, standard error and the exit code.
    pub(crate) fn snapshot(&self) -> String {
        let mut text = format!("$ {}\n", self.words);
        for (name, said) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !said.is_empty() {
                text.push_str(&format!("--- {name}\n{said}"));
                if !said.ends_with('\n') {
                    text.push_str("\n(no newline at the end)\n");
                }
            }
        }
        text.push_str(&format!("--- exit code {}\n", self.code));
        text
    }
}
