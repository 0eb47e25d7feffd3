//! Text from untrusted places (a guest, an image, a server), made fit for a terminal.

use std::fmt::Write;

/// `text` with everything that a terminal could take for a command, or that reorders what is shown, escaped as in
/// Rust source.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Line and paragraph separators, and what changes the direction of text or is not seen at all.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                let _ = write!(shown, "{}", c.escape_unicode());
            }
            '\t' => shown.push(' '),
            c if c.is_control() => {
                let _ = write!(shown, "{}", c.escape_default());
            }
            c => shown.push(c),
        }
    }
    shown
}

/// The first `limit` characters of the first line, with "…" where something was left out.
pub(crate) fn brief(text: &str, limit: usize) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let cut = line.chars().count() > limit || line.len() < text.trim().len();
    let mut shown = printable(&line.chars().take(limit).collect::<String>());
    if cut {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        assert_eq!(printable("a\tb – é"), "a b – é");
        assert_eq!(printable("\x1b]0;title\x07\r\n\u{9b}2J"), "\\u{1b}]0;title\\u{7}\\r\\n\\u{9b}2J");
        assert_eq!(printable("a\u{202e}b\u{feff}"), "a\\u{202e}b\\u{feff}");
        assert_eq!(brief("one\ntwo", 20), "one…");
        assert_eq!(brief("  abcdef\n", 3), "abc…");
        assert_eq!(brief("abc", 3), "abc");
    }
}
