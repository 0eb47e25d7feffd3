//! Secrets: what some steps may read, and nobody else ever sees.
//!
//! ```text
//! --secret NAME=FILE ─► outer ── the pipe that is inner's standard input ──► inner
//!                                                                             ├─ /run/secrets/NAME in the steps that
//!                                                                             │  ask for it (sandbox/secrets.rs)
//!                                                                             ├─ stars in the log (redact.rs)
//!                                                                             └─ looked for in the tree, before it
//!                                                                                becomes a disk (search.rs)
//! ```
//!
//! No command line, no environment and no disk has one on its way. What the caller lists is hidden and looked for
//! whether or not a step asks for it.

pub(crate) mod redact;
pub(crate) mod search;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::recipe::Recipe;
use crate::error::{Advise, Context, bail, err};
use crate::variables::Variables;

/// Where steps find them.
pub(crate) const FOLDER: &str = "/run/secrets";
/// Fewer bytes are in too many places to be told from other text.
const SHORTEST: usize = 8;
/// More is no password, token or key.
const LARGEST: u64 = 64 << 10;

/// What the caller lists: `NAME=FILE`, or `NAME` for a variable of his environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    name: String,
    /// None: the variable with the name.
    file: Option<PathBuf>,
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = match text.split_once('=') {
            Some((_, "")) => return Err("there is no file behind the `=`".into()),
            Some((name, file)) => (name, Some(PathBuf::from(file))),
            None => (text, None),
        };
        if !is_name(name) {
            return Err(
                "a secret's name has letters, digits, `_`, `-` and `.`, and begins with none of the last two"
                    .into(),
            );
        }
        Ok(Self { name: name.to_owned(), file })
    }
}

/// Whether `text` can name a secret: it becomes a file's name.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with(['-', '.'])
}

impl Asked {
    fn read(&self, variables: &Variables) -> crate::Result<Vec<u8>> {
        let Some(file) = &self.file else {
            let value = variables
                .value(&self.name)
                .ok_or_else(|| err!("there is no variable {} in the environment", self.name))
                .hint(|| format!("--secret {}=FILE takes it from a file", self.name))?;
            return Ok(value.as_encoded_bytes().to_vec());
        };
        let doing = || format!("reading {}", file.display());
        let mut content = Vec::new();
        File::open(file)
            .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut content))
            .with_context(doing)?;
        Ok(content)
    }
}

/// Secrets by their names.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secrets(BTreeMap<String, Vec<u8>>);

/// Their names alone.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// Reads what the caller lists.
    ///
    /// # Errors
    /// If one cannot be read, or could not be hidden.
    pub(crate) fn read(asked: &[Asked], variables: &Variables) -> crate::Result<Self> {
        let mut secrets = BTreeMap::new();
        for one in asked {
            let read = || {
                let content = one.read(variables)?;
                match trimmed(&content).len() {
                    0 => bail!("it is empty"),
                    length if length < SHORTEST => bail!(
                        "it has {length} bytes, and fewer than {SHORTEST} cannot be told from other text"
                    ),
                    _ if content.len() as u64 > LARGEST => {
                        bail!("it has more than {} KiB", LARGEST >> 10)
                    }
                    _ => Ok(content),
                }
            };
            let content = read().with_context(|| format!("the secret {:?}", one.name)).invalid()?;
            if secrets.insert(one.name.clone(), content).is_some() {
                return Err(err!("the secret {:?} is given twice", one.name)).invalid();
            }
        }
        Ok(Self(secrets))
    }

    /// Makes sure that the recipe's steps find what they ask for, and answers with the names that none asks for.
    ///
    /// # Errors
    /// If a secret is missing, with exit code 64.
    pub(crate) fn unasked(&self, recipe: &Recipe) -> crate::Result<Vec<&String>> {
        let mut unasked: Vec<&String> = self.0.keys().collect();
        for (index, step) in recipe.steps.iter().enumerate() {
            let secrets = step.secrets();
            if let Some(missing) = secrets.iter().find(|name| !self.0.contains_key(*name)) {
                return Err(err!("step {} asks for the secret {missing:?}", index + 1))
                    .hint(|| format!("goldimg build --secret {missing}=FILE …"))
                    .invalid();
            }
            unasked.retain(|name| !secrets.contains(name));
        }
        Ok(unasked)
    }

    /// Makes sure that none of them is in `text`, what the caller wrote himself.
    ///
    /// # Errors
    /// With the name and the line, and exit code 64.
    pub(crate) fn none_in(&self, text: &str) -> crate::Result<()> {
        for (name, content) in self.iter() {
            let secret = trimmed(content);
            let at = text.as_bytes().windows(secret.len()).position(|window| window == secret);
            if let Some(at) = at {
                let before = text.as_bytes().get(..at).unwrap_or_default();
                let line = before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
                return Err(err!("line {line} of the recipe has the secret {name:?} itself in it"))
                    .hint(|| {
                        format!(
                            "let the step read it: run = {{ …, secrets = [\"{name}\"] }}, {FOLDER}/{name}"
                        )
                    })
                    .invalid();
            }
        }
        Ok(())
    }

    /// Those with these names.
    pub(crate) fn only(&self, names: &[String]) -> Self {
        let wanted = self.0.iter().filter(|(name, _)| names.contains(name));
        Self(wanted.map(|(name, content)| (name.clone(), content.clone())).collect())
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each with its name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, content)| (name.as_str(), content.as_slice()))
    }
}

/// Without the end of the line that a file has and the secret does not.
fn trimmed(content: &[u8]) -> &[u8] {
    content.trim_ascii_end()
}

/// The lines of `content` that are long enough to know them again, but for those that name what follows (RFC 7468).
fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| line.len() >= SHORTEST && !line.starts_with(b"-----"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::recipe::{Run, Step, example};

    /// For the tests of what uses them.
    pub(super) fn secrets(all: &[(&str, &[u8])]) -> Secrets {
        Secrets(all.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect())
    }

    #[test]
    fn they_come_from_files_and_from_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "a-token-0123\n").unwrap();
        let asked = |text: &str| text.parse::<Asked>().unwrap();
        let given = [asked(&format!("token={}", file.display())), asked("PATH")];
        let secrets = Secrets::read(&given, &Variables::of_tests()).unwrap();
        assert_eq!(secrets.iter().next().unwrap().0, "PATH");
        assert_eq!(secrets.iter().nth(1).unwrap(), ("token", &b"a-token-0123\n"[..]));
        assert_eq!(format!("{secrets:?}"), r#"{"PATH", "token"}"#);
        assert_eq!(secrets.only(&["token".into()]).iter().count(), 1);
        for text in ["", "=x", "a=", "../x=f", ".x=f", "-x=f", "a b=f"] {
            assert!(text.parse::<Asked>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_hidden_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |content: &str| {
            let file = dir.path().join("one");
            std::fs::write(&file, content).unwrap();
            format!(
                "{:#}",
                Secrets::read(&[Asked { name: "x".into(), file: Some(file) }], &Variables::default())
                    .unwrap_err()
            )
        };
        assert_eq!(refused("\n"), "the secret \"x\": it is empty");
        assert!(refused("hunter2\n").starts_with("the secret \"x\": it has 7 bytes"));
        assert_eq!(refused(&"x".repeat(65 << 10)), "the secret \"x\": it has more than 64 KiB");
        let twice = Asked { name: "PATH".into(), file: None };
        let error = Secrets::read(&[twice.clone(), twice], &Variables::of_tests()).unwrap_err();
        assert_eq!(error.to_string(), "the secret \"PATH\" is given twice");
        let none = Asked { name: "GOLDIMG_NO_SUCH_VARIABLE".into(), file: None };
        assert!(Secrets::read(&[none], &Variables::of_tests()).is_err());
    }

    #[test]
    fn a_recipe_with_a_secret_in_it_is_a_mistake() {
        let secrets = secrets(&[("token", b"token-0123\n")]);
        secrets.none_in("name = \"x\"\n# token-012\n").unwrap();
        let told = crate::error::rendered(
            &secrets.none_in("name = \"x\"\nrun = \"echo token-0123\"\n").unwrap_err(),
        );
        assert!(told.starts_with("line 2 of the recipe has the secret \"token\" itself in it"), "{told}");
        assert!(!told.contains("token-0123"), "{told}");
    }

    #[test]
    fn a_step_that_asks_in_vain_ends_the_build_before_it_begins() {
        let mut recipe = example();
        let asks = |name: &str| Step::Run(Run { secrets: vec![name.into()], ..Run::default() });
        recipe.steps = vec![Step::Install(vec!["curl".into()]), asks("token")];
        let given = secrets(&[("token", b"0123456789"), ("other", b"0123456789")]);
        assert_eq!(given.unasked(&recipe).unwrap(), ["other"]);
        let error = secrets(&[("tokem", b"0123456789")]).unasked(&recipe).unwrap_err();
        let told = crate::error::rendered(&error);
        assert!(told.contains("step 2 asks for the secret \"token\""), "{told}");
        assert!(told.contains("--secret token=FILE"), "{told}");
    }
}
