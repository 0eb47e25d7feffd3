//! Standing in for `qemu-img`: its options, its text, its exit codes, our images.
//!
//! ```text
//! qemu-img info -f qcow2 a.qcow2        started under that name, or as `goldimg qemu-img …`
//!    │      └─ options ─► Call ─► info.rs, create.rs, … one file a subcommand ─► image-core
//!    └─ SUBCOMMANDS                 │
//!                                   ├─ node      which image a name, `--image-opts` or `json:{…}` means
//!                                   ├─ json, size, key_values    QEMU's ways to write and to read
//!                                   └─ failure, words            what is said, and how it ends
//! ```
//!
//! A subcommand is a file with a table of [`options`] and a function `run(call) -> Result<u8, Failure>`, and a line
//! in [`SUBCOMMANDS`]; `help/NAME.txt` is what `--help` prints. It takes options one after the other with
//! [`Call::option`] (help and `--object` are dealt with there), names with [`Call::names`], prints data with
//! [`Call::print`] and warnings with [`Talk::report`]. Everything that ends it early is a [`Failure`]; an exit code
//! that is no failure is its `Ok`. The work itself is image-core's: nothing here knows how an image is read or written.
//!
//! Its test is `tests/qemu_img/NAME.rs`: command lines that the machine's own qemu-img and this one run on two copies of
//! one folder, compared word for word and image for image.
//!
//! Deliberately different: an image does not decide which other files are opened. Backing files and data files are opened
//! beneath the folder of the image named on the command line; what leads out of it is refused with a message that
//! says how to allow it.

mod amend;
mod bench;
mod bitmap;
mod bytes;
mod cache;
mod check;
mod commit;
mod compare;
mod convert;
mod create;
mod dd;
mod drivers;
mod failure;
mod format_options;
mod info;
mod json;
mod key_values;
mod map;
mod measure;
mod new_file;
mod node;
mod objects;
mod options;
mod progress;
mod rebase;
mod resize;
mod size;
mod snapshot;
mod snapshot_disk;
mod snapshot_list;
mod whole_sectors;
mod words;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use failure::{Failure, Speaker};
use options::{Given, Opt, Options, flag, valued};

/// The name that this is started under.
const NAME: &str = "qemu-img";

/// A subcommand.
#[derive(Debug)]
struct Subcommand {
    name: &'static str,
    options: &'static [Opt],
    help: &'static str,
    run: fn(&mut Call) -> Result<u8, Failure>,
}

/// A line of the table of subcommands.
macro_rules! subcommand {
    ($name:ident) => {
        Subcommand {
            name: stringify!($name),
            options: $name::OPTIONS,
            help: include_str!(concat!("qemu_img/help/", stringify!($name), ".txt")),
            run: $name::run,
        }
    };
}

const SUBCOMMANDS: &[Subcommand] = &[
    subcommand!(bench),
    subcommand!(amend),
    subcommand!(bitmap),
    subcommand!(check),
    subcommand!(compare),
    subcommand!(convert),
    subcommand!(create),
    subcommand!(dd),
    subcommand!(info),
    subcommand!(map),
    subcommand!(measure),
    subcommand!(commit),
    subcommand!(rebase),
    subcommand!(resize),
    subcommand!(snapshot),
];

/// What may stand in front of the subcommand.
const STANDARD_OPTIONS: &[Opt] = &[flag('h', "help"), flag('V', "version"), valued('T', "trace")];

/// What is printed when no work is asked for.
const VERSION: &str = concat!("qemu-img version 10.0.2 (goldimg ", env!("CARGO_PKG_VERSION"), ")\n");

/// The words of the command line as qemu-img's, the program's name first, if that is what was started.
pub(crate) fn words(arguments: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let words: Vec<OsString> = arguments.collect();
    if Path::new(words.first()?).file_name() == Some(OsStr::new(NAME)) {
        return Some(words);
    }
    (words.get(1)? == NAME).then(|| words[1..].to_vec())
}

/// Does what `words` ask for.
pub(crate) fn run(words: Vec<OsString>) -> ExitCode {
    let mut strings = words.into_iter().map(|word| bytes::to_text(word.as_bytes()));
    let program = strings.next().unwrap_or_default();
    let talk = Talk::of(&program);
    let mut options = Options::before_names(STANDARD_OPTIONS, strings.collect());
    let code = match standard(&mut options) {
        Ok(Some(text)) => {
            print(&text);
            0
        }
        Ok(None) => return start(&program, options.take_names()),
        Err(failure) => talk.fail(failure, &program),
    };
    ExitCode::from(code)
}

/// Help or the version, if it is asked for in front of the subcommand.
fn standard(options: &mut Options) -> Result<Option<String>, Failure> {
    while let Some(option) = options.next()? {
        match option.name {
            "help" => {
                let (before, after) =
                    include_str!("qemu_img/help/qemu-img.txt").split_once('\n').unwrap_or_default();
                return Ok(Some(format!("{VERSION}{before}\n{after}")));
            }
            "version" => return Ok(Some(VERSION.to_owned())),
            // There is nothing to trace.
            _ => {}
        }
    }
    Ok(None)
}

/// Starts the subcommand that is the first of `words`.
fn start(program: &str, mut words: Vec<String>) -> ExitCode {
    let talk = Talk::of(program);
    if words.is_empty() {
        return ExitCode::from(talk.fail(Failure::usage("Not enough arguments"), program));
    }
    let name = words.remove(0);
    let Some(subcommand) = SUBCOMMANDS.iter().find(|subcommand| subcommand.name == name) else {
        return ExitCode::from(talk.fail(Failure::usage(format!("Command not found: {name}")), program));
    };
    let options = Options::new(subcommand.options, words);
    let options = if name == "resize" { options.with_size() } else { options };
    let mut call = Call { options, help: subcommand.help, talk };
    let code = match (subcommand.run)(&mut call) {
        Ok(code) => code,
        Err(failure) => call.talk.fail(failure, &format!("{program} {name}")),
    };
    ExitCode::from(code)
}

/// A subcommand on its way.
#[derive(Debug)]
struct Call {
    options: Options,
    help: &'static str,
    talk: Talk,
}

impl Call {
    /// The next option; help is given, and objects are looked at, here.
    fn option(&mut self) -> Result<Option<Given>, Failure> {
        loop {
            let given = self.options.next()?;
            match given.as_ref().map(|given| given.name) {
                Some("help") => return Err(Failure::answer(self.help)),
                Some("object") => objects::accept(&given.map(|given| given.value).unwrap_or_default())?,
                _ => return Ok(given),
            }
        }
    }

    /// What was no option, in order; for after the last option.
    fn names(&mut self) -> Vec<String> {
        self.options.take_names()
    }

    /// The only name, or what `otherwise` says.
    fn one_name(&mut self, otherwise: &str) -> Result<String, Failure> {
        match <[String; 1]>::try_from(self.names()) {
            Ok([name]) => Ok(name),
            Err(_) => Err(Failure::usage(otherwise)),
        }
    }

    /// Writes data to standard output.
    fn print(&self, text: &str) {
        print(text);
    }
}

/// How an answer is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Output {
    #[default]
    Human,
    Json,
}

impl Output {
    /// The value of `--output`.
    fn parse(value: &str) -> Result<Self, Failure> {
        match value {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(Failure::usage(format!("--output expects 'human' or 'json' not '{value}'"))),
        }
    }
}

/// Standard error.
#[derive(Debug)]
struct Talk {
    /// What messages begin with.
    name: String,
}

impl Talk {
    fn of(program: &str) -> Self {
        let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name }
    }

    /// Says it, behind the program's name.
    fn report(&self, text: &str) {
        say(&format!("{}: {text}\n", self.name));
    }

    /// Says it as it is.
    fn say(&self, text: &str) {
        say(text);
    }

    /// Says why the program ends, and answers with its exit code. `called` is the program as it was called, with the
    /// subcommand.
    fn fail(&self, failure: Failure, called: &str) -> u8 {
        if let Some(answer) = failure.answer {
            print(answer);
        }
        if !failure.message.is_empty() {
            match failure.speaker {
                Speaker::Program => self.report(&failure.message),
                Speaker::Options => say(&format!("{called}: {}\n", failure.message)),
            }
            say(&failure.hint);
        }
        if failure.names_help {
            say(&format!("Try '{called} --help' for more info\n"));
        }
        failure.code
    }
}

/// Nothing can be done where standard output is closed.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(&bytes::of_text(text)).and_then(|()| out.flush());
}

/// Nothing can be done where standard error is closed.
fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(&bytes::of_text(text));
}
