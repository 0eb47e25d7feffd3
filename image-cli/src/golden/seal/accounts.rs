//! Passwords: accounts that got one on the way are locked, for a password in an image is known to all who have it.

use crate::golden::tree::Tree;

/// A field that no password matches (shadow(5)).
const LOCKED: &str = "*";

/// Locks every account that has a password, or needs none.
///
/// # Errors
/// If the files cannot be read or written.
pub(super) fn lock_passwords(tree: &Tree) -> anyhow::Result<()> {
    for (file, mode) in [("/etc/shadow", 0o640), ("/etc/gshadow", 0o640), ("/etc/passwd", 0o644)] {
        let Some(text) = tree.text(file)? else { continue };
        let locked: String = text.lines().map(|line| format!("{}\n", lock(line))).collect();
        if locked != text {
            // In place: the owner and group of the file stay.
            tree.write(file, locked, mode)?;
        }
    }
    Ok(())
}

/// The line with its second field locked, unless it is: "x" (see shadow), "*", or "!" before what was a password.
fn lock(line: &str) -> String {
    let Some((name, rest)) = line.split_once(':') else { return line.to_owned() };
    let (password, rest) = rest.split_once(':').unwrap_or((rest, ""));
    // What follows a "!" is a password that was locked: it could be tried at leisure, or unlocked.
    let harmless = matches!(password, "x" | "*" | "!" | "!!" | "!*");
    if harmless { line.to_owned() } else { format!("{name}:{LOCKED}:{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::tree::tests::scratch;

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

    #[test]
    fn groups_without_password_stay_as_they_are() {
        let (_dir, tree) = scratch();
        tree.write("/etc/gshadow", "root:*::\nstaff:!::ann\n", 0o640).unwrap();
        tree.write("/etc/passwd", "root::0:0:root:/root:/bin/sh\n", 0o644).unwrap();
        lock_passwords(&tree).unwrap();
        assert_eq!(tree.text("/etc/gshadow").unwrap().unwrap(), "root:*::\nstaff:!::ann\n");
        assert_eq!(tree.text("/etc/passwd").unwrap().unwrap(), "root:*:0:0:root:/root:/bin/sh\n");
    }
}
