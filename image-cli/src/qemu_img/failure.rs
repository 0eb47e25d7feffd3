//! How a run ends early, and how that is said: on standard error, each message behind the program's name.

/// Why a subcommand ends before its end.
#[derive(Debug)]
pub(super) struct Failure {
    /// Who says it.
    pub(super) speaker: Speaker,
    /// What is wrong; without a line break at its end. Nothing if it is said already.
    pub(super) message: String,
    /// Lines below it.
    pub(super) hint: String,
    /// Whether the user is sent to the help.
    pub(super) names_help: bool,
    /// What is printed to standard output: the answer to a question that ends the run.
    pub(super) answer: Option<&'static str>,
    /// The exit code.
    pub(super) code: u8,
}

/// Who a message is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    /// The program.
    Program,
    /// The reader of options, which names the subcommand too.
    Options,
}

impl Failure {
    /// The work failed.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            speaker: Speaker::Program,
            message: message.into(),
            hint: String::new(),
            names_help: false,
            answer: None,
            code: 1,
        }
    }

    /// No failure at all: help was asked for.
    pub(super) fn answer(text: &'static str) -> Self {
        Self { answer: Some(text), code: 0, ..Self::new("") }
    }

    /// The command line is wrong, and the help is named.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { names_help: true, ..Self::new(message) }
    }

    /// An option is wrong.
    pub(super) fn of_options(message: impl Into<String>) -> Self {
        Self { speaker: Speaker::Options, ..Self::usage(message) }
    }

    /// With lines below the message; each ends with a line break.
    pub(super) fn hint(mut self, hint: &str) -> Self {
        self.hint.push_str(hint);
        self
    }

    /// With what was tried in front: "what: message".
    pub(super) fn context(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}
