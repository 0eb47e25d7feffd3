//! Secrets of the caller's: read in the steps that ask for them, and nowhere else. The whole build of `build.rs` has one,
//! as root and as another user.

use std::fs;
use std::path::Path;

use super::build;
use crate::support::folder;
use crate::support::program::Outcome;

/// One that has nothing from its spelling, so that nobody has it by chance.
const TOKEN: &str = "glpat-8Vd2-xq0PzLw";

/// A step leaves a trap, one reads, and one must not.
pub(super) const STEPS: &str = r#"
[[steps]]
run = "ln -s /etc /run/secrets"
[[steps]]
run = { script = '''
test "$(ls -A /run/secrets)" = token
test "$(stat -c %a:%u:%F /run/secrets/token)" = "400:0:regular file"
test "$(stat -c %a /run/secrets)" = 700
echo it is $(cat /run/secrets/token)
! rm /run/secrets/token
! umount /run/secrets
! setpriv --reuid 65534 --regid 65534 --clear-groups cat /run/secrets/token
! tr '\0' '\n' < /proc/self/environ | grep -F -f /run/secrets/token
test ! -e /etc/token
''', secrets = ["token"] }
[[steps]]
run = "test -z \"$(ls -A /run/secrets)\""
"#;
/// A step keeps what it should not.
const LEAVES: &str = r#"
[[steps]]
run = { script = "printf 'token = %s\n' $(cat /run/secrets/token) > /etc/app.conf", secrets = ["token"] }
"#;

/// A file with the secret in `folder`, and the option that gives it.
pub(super) fn given(folder: &Path) -> [String; 2] {
    let file = folder.join("token.txt");
    fs::write(&file, format!("{TOKEN}\n")).expect("a file");
    ["--secret".to_owned(), format!("token={}", file.display())]
}

/// Looks into all that the build in `folder` left, and what it said.
pub(super) fn judge(folder: &Path, said: &Outcome) {
    let log = fs::read_to_string(folder.join("tiny-1.log")).expect("a log");
    assert!(log.contains("\nit is ***\n"), "{log}");
    assert!(!said.stdout.contains(TOKEN) && !said.stderr.contains(TOKEN), "{}", said.snapshot());
    for entry in fs::read_dir(folder).expect("outputs").flatten() {
        let bytes = fs::read(entry.path()).expect("an output");
        let found = bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes());
        assert!(!found, "{}", entry.path().display());
    }
}

#[test]
fn an_image_that_has_a_secret_in_it_is_none() {
    let folder = folder();
    let [option, value] = given(folder.path());
    let outcome = build(folder.path(), "leaves", LEAVES, &[&option, &value]).run();
    assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
    assert!(outcome.stderr.contains("\n  /etc/app.conf: the secret \"token\"\n"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains(TOKEN), "{}", outcome.stderr);
    let outputs: Vec<_> = fs::read_dir(folder.path().join("leaves")).expect("a folder").flatten().collect();
    assert_eq!(outputs.len(), 1, "nothing but the log: {outputs:?}");
}

#[test]
fn a_secret_that_is_missing_or_cannot_be_hidden_is_wrong_usage() {
    let folder = folder();
    let outcome = build(folder.path(), "missing", STEPS, &[]).run();
    assert_eq!(outcome.code, 64, "{}", outcome.snapshot());
    for part in ["step 2 asks for the secret \"token\"", "hint: goldimg build --secret token=FILE"] {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    let file = folder.path().join("short");
    fs::write(&file, "hush\n").expect("a file");
    let value = format!("token={}", file.display());
    let outcome = build(folder.path(), "short", STEPS, &["--secret", &value]).run();
    assert_eq!(outcome.code, 64, "{}", outcome.snapshot());
    assert!(outcome.stderr.contains("it has 4 bytes"), "{}", outcome.stderr);
}
