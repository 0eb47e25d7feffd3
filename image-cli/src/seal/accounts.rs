//! Passwords: accounts that got one on the way are locked, for a password in an image is known to all who have it.

use std::collections::BTreeSet;

/// A field that no password matches (shadow(5)).
const LOCKED: &str = "*";

/// The line with its second field locked, unless it is: "x" (see shadow), "*", or "!" before what was a password.
pub(crate) fn lock(line: &str) -> String {
    let Some((name, rest)) = line.split_once(':') else { return line.to_owned() };
    let (password, rest) = rest.split_once(':').unwrap_or((rest, ""));
    // What follows a "!" is a password that was locked: it could be tried at leisure, or unlocked.
    let harmless = matches!(password, "x" | "*" | "!" | "!!" | "!*");
    if harmless { line.to_owned() } else { format!("{name}:{LOCKED}:{rest}") }
}

/// As [`lock`], but for the accounts `kept`, whose passwords were asked for.
pub(crate) fn lock_others(line: &str, kept: &BTreeSet<String>) -> String {
    let is_kept = line.split(':').next().is_some_and(|account| kept.contains(account));
    if is_kept { line.to_owned() } else { lock(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_empty_ones_are_locked() {
        assert_eq!(lock("root:$y$j9T$x:20000:0:99999:7:::"), "root:*:20000:0:99999:7:::");
        assert_eq!(lock("ann::20000:0:99999:7:::"), "ann:*:20000:0:99999:7:::");
        assert_eq!(lock("ann:!$y$j9T$x:1::::::"), "ann:*:1::::::");
        for same in [
            "root:*:1::::::",
            "ann:!:1::::::",
            "sshd:!*:1::::::",
            "root:x:0:0:root:/root:/bin/sh",
            "nonsense",
            "",
        ] {
            assert_eq!(lock(same), same);
        }
    }
}
