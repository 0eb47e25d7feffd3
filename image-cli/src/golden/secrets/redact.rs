//! Texts that nobody sees, replaced on their way into a log.
//!
//! ```text
//! "… tok" + "en-0123 …"     a text may come in pieces: what could be its beginning is held back
//!      └─► "… *** …"
//! ```

use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};

use super::{Secrets, lines, trimmed};

const STARS: &[u8] = b"***";

/// What is hidden.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redactor(Option<Arc<Texts>>);

struct Texts {
    finder: AhoCorasick,
    texts: Vec<Vec<u8>>,
}

/// How many they are.
impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} texts", self.texts.len())
    }
}

impl Redactor {
    /// Hides every secret, and each of its lines.
    ///
    /// # Errors
    /// If they are too many.
    pub(crate) fn new(secrets: &Secrets) -> crate::Result<Self> {
        let texts =
            secrets.iter().flat_map(|(_, content)| std::iter::once(trimmed(content)).chain(lines(content)));
        let mut texts: Vec<Vec<u8>> = texts.map(<[u8]>::to_vec).collect();
        texts.sort();
        texts.dedup();
        if texts.is_empty() {
            return Ok(Self(None));
        }
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&texts)?;
        Ok(Self(Some(Arc::new(Texts { finder, texts }))))
    }

    /// `text` without them.
    pub(crate) fn in_text(&self, text: &[u8]) -> Vec<u8> {
        let mut stream = self.stream();
        let mut shown = stream.take(text);
        shown.extend(stream.end());
        shown
    }

    /// For a text that comes in pieces.
    pub(crate) fn stream(&self) -> Stream<'_> {
        Stream { hidden: self, held: Vec::new() }
    }
}

/// A text on its way.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    hidden: &'a Redactor,
    held: Vec<u8>,
}

impl Stream<'_> {
    /// What can be shown now that `bytes` have come.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some(texts) = self.hidden.0.as_deref() else { return bytes.to_vec() };
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let mut shown = Vec::with_capacity(all.len());
        let mut rest = all.as_slice();
        // A match may be the beginning of a longer one that has not come yet.
        while let Some(found) = texts.finder.find(rest)
            && texts.open_from(rest).is_none_or(|open| found.start() < open)
        {
            shown.extend_from_slice(rest.get(..found.start()).unwrap_or_default());
            shown.extend_from_slice(STARS);
            rest = rest.get(found.end()..).unwrap_or_default();
        }
        let (certain, open) = rest.split_at(texts.open_from(rest).unwrap_or(rest.len()));
        shown.extend_from_slice(certain);
        self.held = open.to_vec();
        shown
    }

    /// What was held back, when nothing will follow.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        match self.hidden.0.as_deref() {
            Some(texts) => texts.finder.replace_all_bytes(&held, &vec![STARS; texts.texts.len()]),
            None => held,
        }
    }
}

impl Texts {
    /// Where the last bytes of `rest` begin that more bytes could make one of the texts.
    fn open_from(&self, rest: &[u8]) -> Option<usize> {
        let longest = self.texts.iter().map(Vec::len).max()?;
        let first = rest.len().saturating_sub(longest.saturating_sub(1));
        (first..rest.len()).find(|start| {
            let end = rest.get(*start..).unwrap_or_default();
            self.texts.iter().any(|text| text.len() > end.len() && text.starts_with(end))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::secrets;
    use super::*;

    const KEY: &[u8] =
        b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n";

    #[test]
    fn however_it_comes_it_is_hidden() {
        let hidden =
            Redactor::new(&secrets(&[("token", b"token-0123\n"), ("long", b"token-0123-and-more")])).unwrap();
        let said = b"to token-012 token-0123\ntoken-0123-and-more token-0123-and-mor";
        for size in 1..said.len() {
            let mut stream = hidden.stream();
            let mut shown: Vec<u8> = said.chunks(size).flat_map(|piece| stream.take(piece)).collect();
            shown.extend(stream.end());
            assert_eq!(String::from_utf8(shown).unwrap(), "to token-012 ***\n*** ***-and-mor", "{size}");
        }
        assert_eq!(Redactor::default().in_text(b"token-0123"), b"token-0123");
    }

    #[test]
    fn what_is_no_secret_is_shown_at_once() {
        let hidden = Redactor::new(&secrets(&[("token", b"token-0123")])).unwrap();
        assert_eq!(hidden.stream().take(b"Setting up curl ...\n"), b"Setting up curl ...\n");
        assert_eq!(hidden.stream().take(b"a t"), b"a ");
    }

    #[test]
    fn lines_of_a_key_are_hidden_and_what_names_it_is_not() {
        let hidden = Redactor::new(&secrets(&[("key", KEY)])).unwrap();
        assert_eq!(hidden.in_text(b"> hkiG9w0BAQEFAASC <"), b"> *** <");
        assert_eq!(hidden.in_text(KEY), b"***\n");
        let names = b"-----BEGIN PRIVATE KEY-----\nanother";
        assert_eq!(hidden.in_text(names), names);
        assert_eq!(format!("{hidden:?}"), "Redactor(Some(3 texts))");
    }
}
