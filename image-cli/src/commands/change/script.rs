//! Several changes, one a line.

use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Parser, Subcommand};

use super::Script;
use super::operations::{
    Chmod, Chown, CopyIn, Edit, Link, MakeDirectory, Move, Perform, Remove, TarIn, Touch, Truncate, Write,
};
use crate::failure::{Advise, USAGE};
use crate::interrupt;
use crate::ui::Ui;

/// A line.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true)]
struct Line {
    #[command(subcommand)]
    operation: Operation,
}

/// A change, by the name of its command.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
enum Operation {
    CopyIn(CopyIn),
    TarIn(TarIn),
    Write(Write),
    Edit(Edit),
    Rm(Remove),
    Mkdir(MakeDirectory),
    Mv(Move),
    Ln(Link),
    Chmod(Chmod),
    Chown(Chown),
    Touch(Touch),
    Truncate(Truncate),
}

impl Operation {
    fn perform(&self, editor: &mut goldimg::change::Editor, ui: &Ui) -> anyhow::Result<()> {
        match self {
            Self::CopyIn(own) => own.perform(editor, ui),
            Self::TarIn(own) => own.perform(editor, ui),
            Self::Write(own) => own.perform(editor, ui),
            Self::Edit(own) => own.perform(editor, ui),
            Self::Rm(own) => own.perform(editor, ui),
            Self::Mkdir(own) => own.perform(editor, ui),
            Self::Mv(own) => own.perform(editor, ui),
            Self::Ln(own) => own.perform(editor, ui),
            Self::Chmod(own) => own.perform(editor, ui),
            Self::Chown(own) => own.perform(editor, ui),
            Self::Touch(own) => own.perform(editor, ui),
            Self::Truncate(own) => own.perform(editor, ui),
        }
    }

    /// Whether it starts an editor.
    fn asks_somebody(&self) -> bool {
        matches!(self, Self::Edit(own) if own.is_by_hand())
    }

    /// Whether it reads standard input, which the script itself may be.
    fn reads_input(&self) -> bool {
        match self {
            Self::Write(own) => own.reads_input(),
            Self::TarIn(own) => own.reads_input(),
            _ => false,
        }
    }
}

/// Makes all changes of a script.
pub(crate) fn run(args: &Script, ui: &Ui) -> anyhow::Result<ExitCode> {
    let (text, name) = match &args.file {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            (text, path.display().to_string())
        }
        None => {
            (std::io::read_to_string(std::io::stdin()).context("reading the script")?, "script".to_owned())
        }
    };
    // Every line is understood before the first one is done.
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", index + 1);
        let words = words(line).with_context(|| place.clone()).exit_code(USAGE)?;
        if words.is_empty() {
            continue;
        }
        let operation = understood(words).with_context(|| place.clone()).exit_code(USAGE)?;
        if operation.asks_somebody() {
            return Err(anyhow!("{place}: nobody edits by hand in a script"))
                .hint(|| "give substitutions: -e 's/PATTERN/REPLACEMENT/'")
                .exit_code(USAGE);
        }
        let is_taken =
            args.file.is_none() || lines.iter().any(|(_, own): &(String, Operation)| own.reads_input());
        if operation.reads_input() && is_taken {
            return Err(anyhow!("{place}: it reads standard input, which something else reads"))
                .hint(|| "name files, or give the script as a file: goldimg script IMAGE FILE")
                .exit_code(USAGE);
        }
        lines.push((place, operation));
    }
    interrupt::listen()?;
    let mut open = args.target.open(ui)?;
    for (place, operation) in &lines {
        interrupt::token().check()?;
        operation.perform(open.editor(), ui).with_context(|| format!("{place}: nothing was changed"))?;
    }
    open.finish().with_context(|| format!("changing {}", args.target.path().display()))?;
    ui.note(&format!("{} changes made", lines.len()));
    Ok(ExitCode::SUCCESS)
}

fn understood(words: Vec<String>) -> anyhow::Result<Operation> {
    let line = Line::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let said: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
        anyhow!("{}", said.join(" ").trim_start_matches("error: ").to_owned())
    })?;
    Ok(line.operation)
}

/// The words of a line, quoted as in a shell: `'…'`, `"…"`, a backslash; `#` begins a comment.
fn words(line: &str) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(own) = chars.next() {
        match own {
            ' ' | '\t' => words.extend(word.take()),
            '#' if word.is_none() => break,
            '\\' => {
                let next = chars.next().context("nothing is behind the backslash at its end")?;
                word.get_or_insert_default().push(next);
            }
            quote @ ('\'' | '"') => {
                let word = word.get_or_insert_default();
                loop {
                    let next = chars.next().with_context(|| format!("a quote {quote} has no end"))?;
                    match next {
                        next if next == quote => break,
                        '\\' if quote == '"' => {
                            let next = chars.next().with_context(|| format!("a quote {quote} has no end"))?;
                            if !matches!(next, '"' | '\\' | '$' | '`') {
                                word.push('\\');
                            }
                            word.push(next);
                        }
                        next => word.push(next),
                    }
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_in_a_shell() {
        for (line, expected) in [
            ("", vec![]),
            ("  # nothing", vec![]),
            ("rm -r  /a\t/b # both", vec!["rm", "-r", "/a", "/b"]),
            ("edit /x -e 's/a b/\"c\"/'", vec!["edit", "/x", "-e", "s/a b/\"c\"/"]),
            ("rm \"a \\\"b\\\" \\n\" c\\ d a#b ''", vec!["rm", "a \"b\" \\n", "c d", "a#b", ""]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        for wrong in ["'a", "\"a", "a\\"] {
            assert!(words(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_line_is_a_command_without_its_image() {
        let line = |text: &str| understood(words(text).unwrap());
        assert!(matches!(line("rm -rf /tmp/x").unwrap(), Operation::Rm(_)));
        assert!(matches!(line("chmod u+x /x").unwrap(), Operation::Chmod(_)));
        assert!(line("write /x").unwrap().reads_input());
        assert!(!line("write --content hello /x").unwrap().reads_input());
        let error = line("remove /x").unwrap_err().to_string();
        assert!(error.contains("unrecognized subcommand 'remove'"), "{error}");
    }
}
