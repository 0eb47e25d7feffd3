//! What a user sees of the command line itself.

mod change;
mod convert;
mod dd;
mod look;
mod memory;
mod quiet;
mod replaced;
mod signals;
mod sources;
mod target_names;
mod upload;

use crate::support::goldimg;

/// The names of the subcommands, as `--help` lists them.
pub(crate) fn subcommands() -> Vec<String> {
    let help = goldimg(["--help"]).run();
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    let list = help.stdout.split_once("Commands:\n").expect("a list of commands").1;
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    let names = lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.map(str::to_owned).collect()
}

#[test]
fn each_subcommand_says_what_it_does_in_a_short_line() {
    let names = subcommands();
    assert!(names.contains(&"completions".to_owned()), "{names:?}");
    for name in names {
        let help = goldimg([name.as_str(), "--help"]).run();
        let first = help.stdout.lines().next().unwrap_or_default();
        assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{name}");
        assert!((8..=80).contains(&first.chars().count()), "{name}: {first:?}");
        assert!(help.stdout.contains(&format!("Usage: goldimg {name}")), "{name}: {}", help.stdout);
    }
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
