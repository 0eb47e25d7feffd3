//! What a user sees of the command line itself.

use crate::support::goldimg;

#[test]
fn help_says_what_there_is() {
    insta::assert_snapshot!(goldimg(["--help"]).run().snapshot());
}

#[test]
fn wrong_usage_ends_with_64() {
    let outcome = goldimg(["biuld"]).run();
    assert_eq!(outcome.code, 64);
    insta::assert_snapshot!(outcome.snapshot());
}

#[test]
fn completions_and_the_man_page_are_written() {
    for shell in ["bash", "zsh", "fish", "man"] {
        let outcome = goldimg(["completions", shell]).run();
        assert_eq!(outcome.code, 0, "{shell}: {}", outcome.stderr);
        assert!(outcome.stdout.contains("goldimg"), "{shell}");
        assert_eq!(outcome.stderr, "", "{shell}");
    }
}
