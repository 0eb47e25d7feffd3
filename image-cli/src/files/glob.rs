//! Patterns of names, as fnmatch(3) has them: `*`, `?`, `[a-z]`, `[!…]`, and `\` before what stands for itself.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// Whether `pattern` stands for all of `name`. A `/` in it is a character like others. It takes no more steps than the product of
/// their lengths.
pub(super) fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    // Behind the last star, and what it stands for at least up to there.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            (star, pattern) = (Some((rest, name)), rest);
            continue;
        }
        match step(pattern, name) {
            Some((behind, left)) if !name.is_empty() => (pattern, name) = (behind, left),
            _ if name.is_empty() && pattern.is_empty() => return true,
            _ => {
                // The star stands for one character more.
                let Some((behind, from)) = star.filter(|(_, from)| !from.is_empty()) else { return false };
                let left = from.get(character(from).len()..).unwrap_or_default();
                (star, pattern, name) = (Some((behind, left)), behind, left);
            }
        }
    }
}

/// What is left of both if the first element of `pattern`, which is no star, stands for the first character of `name`.
fn step<'p, 'n>(pattern: &'p [u8], name: &'n [u8]) -> Option<(&'p [u8], &'n [u8])> {
    let first = character(name);
    let left = name.get(first.len()..)?;
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some((rest, left)),
        [b'[', rest @ ..] => match set(rest) {
            Some((members, behind)) => has(members, first).then_some((behind, left)),
            // Without its end it stands for itself.
            None => (first == b"[").then_some((rest, left)),
        },
        [b'\\', rest @ ..] if !rest.is_empty() => {
            let own = character(rest);
            (own == first).then(|| (rest.get(own.len()..).unwrap_or_default(), left))
        }
        _ => {
            let own = character(pattern);
            (own == first).then(|| (pattern.get(own.len()..).unwrap_or_default(), left))
        }
    }
}

/// What is in a set that begins behind its bracket, and what is behind it.
fn set(pattern: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = usize::from(matches!(pattern, [b'!' | b'^', ..]));
    // A bracket that comes first is a member.
    let from = first.saturating_add(1);
    let end = pattern.iter().skip(from).position(|byte| *byte == b']')?.saturating_add(from);
    Some((pattern.get(..end)?, pattern.get(end.saturating_add(1)..)?))
}

/// Whether the set with these `members` has the character `own`.
fn has(members: &[u8], own: &[u8]) -> bool {
    let (members, is_not) = match members {
        [b'!' | b'^', rest @ ..] => (rest, true),
        all => (all, false),
    };
    let mut rest = members;
    let mut found = false;
    while !rest.is_empty() {
        let low = character(rest);
        rest = rest.get(low.len()..).unwrap_or_default();
        let high = match rest {
            [b'-', behind @ ..] if !behind.is_empty() => {
                let high = character(behind);
                rest = behind.get(high.len()..).unwrap_or_default();
                high
            }
            _ => low,
        };
        // UTF-8 has the order of its characters.
        found |= low <= own && own <= high;
    }
    found != is_not
}

/// The first character: of UTF-8 all its bytes, of anything else one.
fn character(text: &[u8]) -> &[u8] {
    let len = match text.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => 1,
    };
    let all = text.get(..len).filter(|bytes| std::str::from_utf8(bytes).is_ok());
    all.or_else(|| text.get(..1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_fnmatch() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("*", "", true),
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.d", false),
            ("a*b*c", "aXbYbc", true),
            ("?", "ü", true),
            ("??", "ü", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]a]", "]", true),
            ("[]-]", "-", true),
            ("[", "[", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("/etc/*", "/etc/a/b", true),
            ("[ä-ö]", "å", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        assert!(fits(b"?", b"\xff") && fits(b"*\xff", b"a\xff") && !fits(b"a", b"\xff"));
        // However many stars there are, it ends.
        assert!(!fits("*a".repeat(50).as_bytes(), "a".repeat(49).as_bytes()));
    }
}
