//! How a failure is shown: the chain of what was being done, a blank line, a hint; and its exit code.

use std::fmt;
use std::process::ExitCode;

use image_core::ErrorKind;
use image_core::block::NotADisk;
use image_core::format::{ReferenceRule, UnsupportedFormat, UnsupportedKind};
use image_core::new_file::{PlaceError, PlaceRule};

use crate::interrupt;
use crate::size::Size;
use crate::ui::Ui;

/// The exit code of work that failed.
pub(crate) const FAILED: u8 = 1;
/// The exit code of wrong usage or a wrong recipe (EX_USAGE of sysexits.h).
pub(crate) const USAGE: u8 = 64;

/// A link of an error chain that adds no words, but what the user can do and how the program ends.
#[derive(Debug)]
struct Advice {
    hint: Option<String>,
    exit: Option<u8>,
    cause: anyhow::Error,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for Advice {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

/// Adds advice to a failing result.
pub(crate) trait Advise<T> {
    /// What the user can do: a sentence, or better a command to paste.
    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> anyhow::Result<T>;
    /// Ends the program with this exit code.
    fn exit_code(self, code: u8) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Advise<T> for Result<T, E> {
    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> anyhow::Result<T> {
        self.map_err(|cause| Advice { hint: Some(hint().into()), exit: None, cause: cause.into() }.into())
    }

    fn exit_code(self, code: u8) -> anyhow::Result<T> {
        self.map_err(|cause| Advice { hint: None, exit: Some(code), cause: cause.into() }.into())
    }
}

/// The cause of this kind, behind words and advice.
pub(crate) fn cause<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&E> {
    error.downcast_ref().or_else(|| cause(&error.downcast_ref::<Advice>()?.cause))
}

/// Shows `error` and answers with its exit code.
pub(crate) fn report(error: &anyhow::Error, ui: &Ui) -> ExitCode {
    ui.error(&render(error));
    ExitCode::from(exit_code_of(error))
}

/// Shows what was wrong with the command line, or the help or version that was asked for.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    // Nothing can be done about a closed standard error.
    let _ = error.print();
    match error.use_stderr() {
        true => ExitCode::from(USAGE),
        false => ExitCode::SUCCESS,
    }
}

/// The chain joined by ": ", and the outermost hint below a blank line.
pub(crate) fn render(error: &anyhow::Error) -> String {
    let mut text = String::new();
    let mut last = String::new();
    for link in error.chain() {
        let words = link.to_string();
        // An advice has the words of its cause.
        if words == last || words.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&words);
        last = words;
    }
    if let Some(hint) = hint(error) {
        text.push_str("\n\nhint: ");
        text.push_str(&hint);
    }
    text
}

/// What can be done: the outermost hint, or what can be said of the cause.
pub(crate) fn hint(error: &anyhow::Error) -> Option<String> {
    first(error, |advice| advice.hint.clone()).or_else(|| hint_of_cause(error))
}

/// What can be done about causes that any command may meet, where it says nothing better.
fn hint_of_cause(error: &anyhow::Error) -> Option<String> {
    if let Some(PlaceError { path, rule }) = within(error) {
        return hint_of_place(&path.display().to_string(), *rule);
    }
    if let Some(foreign) = within::<UnsupportedFormat>(error) {
        return Some(hint_of_foreign(foreign));
    }
    if let Some(ReferenceRule::NotAllowed { .. } | ReferenceRule::Export { .. }) = within(error) {
        return Some("goldimg convert --allow-backing -O qcow2 IMAGE WHOLE makes one file of it".to_owned());
    }
    if let Some(no_disk) = within::<NotADisk>(error) {
        let hint = match no_disk {
            NotADisk::Pipe | NotADisk::Unsized | NotADisk::MadeWhileRead => {
                "put all of it into a file first: cat THAT > disk.raw"
            }
            NotADisk::Folder => "name the image in it",
            NotADisk::CharacterDevice | NotADisk::Socket => return None,
        };
        return Some(hint.to_owned());
    }
    let too_large = rustix::io::Errno::FBIG.raw_os_error();
    (within::<std::io::Error>(error)?.raw_os_error() == Some(too_large)).then(hint_of_size_limit)
}

fn hint_of_place(path: &str, rule: PlaceRule) -> Option<String> {
    Some(match rule {
        PlaceRule::Exists => "--force replaces it".to_owned(),
        PlaceRule::Folder => "name the file in it".to_owned(),
        PlaceRule::MountPoint | PlaceRule::ReadOnlyFolder | PlaceRule::Sticky => {
            format!(
                "write to another place; or empty it (truncate -s 0 {path}): what is empty is written where it is"
            )
        }
        PlaceRule::Immutable => format!("lsattr -d {path} . shows it, chattr -ia takes it away"),
        PlaceRule::LinkOfOthers => "name the file itself".to_owned(),
        PlaceRule::Owner { .. } | PlaceRule::Attribute => {
            format!("to have a new file of your own: rm {path}")
        }
        PlaceRule::Changed => "see what it is now; nothing was changed there".to_owned(),
        PlaceRule::NoFile | PlaceRule::Links => return None,
    })
}

fn hint_of_foreign(foreign: &UnsupportedFormat) -> String {
    // Of a second image, or of one that is written to, other options say it.
    let raw =
        "given as raw (-f raw; of a second image as its own option says) it is taken as the bytes of a disk";
    match (foreign.kind, foreign.decompressor, foreign.name) {
        (_, Some(program), _) => format!("unpack it first ({program}); {raw}"),
        (UnsupportedKind::Disc, ..) => format!("{raw}; goldimg upload sends it as it is"),
        (.., "LUKS") => format!("open it first (cryptsetup open); {raw}"),
        (.., "an Android sparse image") => format!("unpack it first (simg2img); {raw}"),
        (UnsupportedKind::Image, None, name) if name != "an Apple sparse image" => {
            format!("convert it first with a program that reads it (qemu-img convert -O qcow2); {raw}")
        }
        _ => raw.to_owned(),
    }
}

/// A file may be no larger than the shell allows, or the filesystem.
fn hint_of_size_limit() -> String {
    match rustix::process::getrlimit(rustix::process::Resource::Fsize).current {
        Some(limit) => format!("files may have no more than {} here: ulimit -f unlimited", Size(limit)),
        None => "its filesystem has no larger files: write to another one".to_owned(),
    }
}

/// Adds what can be done where a new file cannot be begun.
pub(crate) fn placed<T>(begun: image_core::Result<T>) -> anyhow::Result<T> {
    match begun.as_ref().map_err(image_core::Error::kind) {
        Err(ErrorKind::InUse) => begun.hint(|| "stop the program that uses it"),
        Err(ErrorKind::Io) => {
            begun.hint(|| "the folder of the target must exist, with room and the right to write")
        }
        _ => Ok(begun?),
    }
}

/// The cause of this kind, wherever in the chain it is.
fn within<T: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&T> {
    error.chain().find_map(|link| {
        if let Some(advice) = link.downcast_ref::<Advice>() {
            return within(&advice.cause);
        }
        let typed = link.downcast_ref::<image_core::Error>().and_then(image_core::Error::cause);
        link.downcast_ref().or(typed)
    })
}

fn exit_code_of(error: &anyhow::Error) -> u8 {
    let cancelled = error.chain().any(|link| {
        link.downcast_ref::<image_core::Error>().is_some_and(|e| e.kind() == image_core::ErrorKind::Cancelled)
    });
    first(error, |advice| advice.exit)
        .unwrap_or_else(|| if cancelled { interrupt::exit_code() } else { FAILED })
}

/// The outermost advice that has what is asked for.
fn first<T>(error: &anyhow::Error, what: impl Fn(&Advice) -> Option<T>) -> Option<T> {
    let mut error = error;
    loop {
        // `downcast_ref` also looks through the words that anyhow's `context` adds.
        let advice = error.downcast_ref::<Advice>()?;
        if let Some(found) = what(advice) {
            return Some(found);
        }
        error = &advice.cause;
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn the_chain_is_told_once_and_the_outermost_hint_wins() {
        let error = Err::<(), _>(anyhow!("no such file"))
            .hint(|| "inner")
            .context("reading the recipe")
            .hint(|| "goldimg plan --help")
            .exit_code(USAGE)
            .unwrap_err();
        assert_eq!(render(&error), "reading the recipe: no such file\n\nhint: goldimg plan --help");
        assert_eq!(exit_code_of(&error), USAGE);
        let rare = Err::<(), _>(std::fmt::Error).hint(|| "inner").context("writing").hint(|| "outer");
        let rare = rare.unwrap_err();
        assert!(cause::<std::fmt::Error>(&rare).is_some() && cause::<std::io::Error>(&rare).is_none());
        let plain = anyhow!("no");
        assert_eq!((render(&plain).as_str(), exit_code_of(&plain)), ("no", FAILED));
        let stopped =
            anyhow::Error::from(image_core::Error::cancelled().doing("converting")).context("building");
        assert_eq!(exit_code_of(&stopped), 130);
        assert_eq!(render(&stopped), "building: converting: stopped on request");
    }
}
