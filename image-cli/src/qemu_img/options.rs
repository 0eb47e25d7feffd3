//! The command line as the GNU C library reads it for `getopt_long(3)`, with its words for what is wrong.
//!
//! ```text
//! -qf raw  -fraw  --format raw  --format=raw  --form raw    the same option, wherever it stands
//! --                                                         everything behind it is a name
//! ```
//!
//! Options are taken one after the other and what stands between them is kept for the end: a subcommand that acts on an
//! option at once (help, a wrong value) does so before a mistake further on is seen, as QEMU's do.

use super::bytes;
use super::failure::Failure;

/// An option of a subcommand. Its long name is what the subcommand knows it by.
#[derive(Debug)]
pub(super) struct Opt {
    short: Option<char>,
    long: &'static str,
    takes_value: bool,
    /// Whether the beginning of its long name stands for it, if that of no other is the same.
    abbreviated: bool,
}

impl Opt {
    /// The same, with a long name that QEMU's help promises and its reader of options does not know: it changes nothing
    /// of what the beginnings of other names mean.
    pub(super) const fn only_in_full(self) -> Self {
        Self { abbreviated: false, ..self }
    }
}

/// An option without a value.
pub(super) const fn flag(short: char, long: &'static str) -> Opt {
    Opt { short: Some(short), long, takes_value: false, abbreviated: true }
}

/// An option with a value.
pub(super) const fn valued(short: char, long: &'static str) -> Opt {
    Opt { short: Some(short), long, takes_value: true, abbreviated: true }
}

/// An option without a value that has no short name.
pub(super) const fn long_flag(long: &'static str) -> Opt {
    Opt { short: None, long, takes_value: false, abbreviated: true }
}

/// An option with a value that has no short name.
pub(super) const fn long_valued(long: &'static str) -> Opt {
    Opt { short: None, long, takes_value: true, abbreviated: true }
}

/// An option as it was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// Its long name, in full.
    pub(super) name: &'static str,
    /// Its value; empty for one that takes none.
    pub(super) value: String,
}

/// The words of a command line, as far as they are read.
#[derive(Debug)]
pub(super) struct Options {
    table: &'static [Opt],
    words: std::vec::IntoIter<String>,
    /// What is left of a word of short options.
    cluster: String,
    names: Vec<String>,
    /// Whether options end at the first word that is none.
    in_order: bool,
    /// Whether the second name is a size, which may be below zero and look like an option.
    sized: bool,
}

impl Options {
    /// Reads `words` by `table`.
    pub(super) fn new(table: &'static [Opt], words: Vec<String>) -> Self {
        let in_order = std::env::var_os("POSIXLY_CORRECT").is_some();
        Self {
            table,
            words: words.into_iter(),
            cluster: String::new(),
            names: Vec::new(),
            in_order,
            sized: false,
        }
    }

    /// The same, with options only before the first word that is none.
    pub(super) fn before_names(table: &'static [Opt], words: Vec<String>) -> Self {
        Self { in_order: true, ..Self::new(table, words) }
    }

    /// The same, with two names, a file and a size: "-5" right behind the file is the size, and a third name is refused
    /// where it stands.
    pub(super) fn with_size(self) -> Self {
        Self { sized: true, in_order: false, ..self }
    }

    /// The next option, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Given>, Failure> {
        if !self.cluster.is_empty() {
            return self.short().map(Some);
        }
        while let Some(word) = self.words.next() {
            if word == "--" {
                break;
            }
            if let Some(long) = word.strip_prefix("--") {
                return self.long(long).map(Some);
            }
            if let Some(cluster) = word.strip_prefix('-').filter(|cluster| !cluster.is_empty()) {
                self.cluster = cluster.to_owned();
                return self.short().map(Some);
            }
            self.names.push(word);
            if self.sized {
                self.take_size()?;
            }
            if self.in_order {
                break;
            }
        }
        self.names.extend(self.words.by_ref());
        Ok(None)
    }

    /// Takes the size that follows the file, if it looks like an option.
    fn take_size(&mut self) -> Result<(), Failure> {
        let is_number = |word: &String| {
            word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        match self.names.len() {
            1 if self.words.as_slice().first().is_some_and(is_number) => self.names.extend(self.words.next()),
            1 | 2 => {}
            _ => return Err(Failure::usage("Extra argument(s) in command line")),
        }
        Ok(())
    }

    /// What was no option, in order; complete when there are no more options.
    pub(super) fn take_names(&mut self) -> Vec<String> {
        std::mem::take(&mut self.names)
    }

    fn short(&mut self) -> Result<Given, Failure> {
        let letter = self.cluster.remove(0);
        let Some(option) = self.table.iter().find(|option| option.short == Some(letter)) else {
            // The first byte of it is what the C library takes for the letter.
            let letter = bytes::of_text(&letter.to_string())[..1].to_vec();
            return Err(Failure::of_options(format!("invalid option -- '{}'", bytes::to_text(&letter))));
        };
        if !option.takes_value {
            return Ok(Given { name: option.long, value: String::new() });
        }
        let attached = std::mem::take(&mut self.cluster);
        let value = if attached.is_empty() { self.words.next() } else { Some(attached) };
        let missing = || Failure::of_options(format!("option requires an argument -- '{letter}'"));
        Ok(Given { name: option.long, value: value.ok_or_else(missing)? })
    }

    fn long(&mut self, word: &str) -> Result<Given, Failure> {
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word, None),
        };
        let option = self.find(name, word)?;
        let long = option.long;
        match (option.takes_value, attached) {
            (false, None) => Ok(Given { name: long, value: String::new() }),
            (false, Some(_)) => {
                Err(Failure::of_options(format!("option '--{long}' doesn't allow an argument")))
            }
            (true, attached) => {
                let missing = || Failure::of_options(format!("option '--{long}' requires an argument"));
                let value = attached.or_else(|| self.words.next()).ok_or_else(missing)?;
                Ok(Given { name: long, value })
            }
        }
    }

    /// The option of this name, or the only one whose name begins so.
    fn find(&self, name: &str, word: &str) -> Result<&'static Opt, Failure> {
        let table = self.table;
        if let Some(exact) = table.iter().find(|option| option.long == name) {
            return Ok(exact);
        }
        let candidates: Vec<&Opt> =
            table.iter().filter(|option| option.abbreviated && option.long.starts_with(name)).collect();
        match candidates[..] {
            [] => Err(Failure::of_options(format!("unrecognized option '--{word}'"))),
            [only] => Ok(only),
            _ => {
                let names: String = candidates.iter().map(|option| format!(" '--{}'", option.long)).collect();
                Err(Failure::of_options(format!("option '--{word}' is ambiguous; possibilities:{names}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Opt] =
        &[flag('q', "quiet"), valued('f', "format"), long_flag("force"), long_valued("output")];

    fn read(words: &[&str]) -> (Vec<Given>, Vec<String>) {
        let mut options = Options::new(TABLE, words.iter().map(|word| (*word).to_owned()).collect());
        let mut given = Vec::new();
        while let Some(option) = options.next().unwrap() {
            given.push(option);
        }
        (given, options.take_names())
    }

    fn given(name: &'static str, value: &str) -> Given {
        Given { name, value: value.to_owned() }
    }

    #[test]
    fn options_stand_anywhere_in_every_spelling() {
        let format = || given("format", "raw");
        for words in [["-qf", "raw"], ["-q", "-fraw"], ["--quiet", "--format=raw"], ["--qui", "--form=raw"]] {
            assert_eq!(read(&words).0, [given("quiet", ""), format()], "{words:?}");
        }
        assert_eq!(read(&["a", "-f", "raw", "b"]), (vec![format()], vec!["a".into(), "b".into()]));
        assert_eq!(read(&["-", "--", "-q"]), (vec![], vec!["-".into(), "-q".into()]));
        assert_eq!(read(&["--output", "--", "a"]), (vec![given("output", "--")], vec!["a".into()]));
        let first = Options::before_names(TABLE, vec!["a".into(), "-q".into()]).next().unwrap();
        assert_eq!(first, None);
    }
}
